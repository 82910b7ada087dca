r"""The verifier: is the answer in this response equal to the gold answer?

What it teaches: a verifiable reward asks three questions in a row.

  1. Where is the answer?    `extract_answer` goes through the places in `answers/extraction.py`.
  2. What does it say?       `answers/spelling.py` takes typography away, and `answers/latex.py`
                             reads the rest as a formula.
  3. Is it the gold answer?  `decide` asks the rules for its kind in `answers/comparison.py`.

A wrong yes teaches the model to cheat, and a wrong no throws a rollout away.  So what cannot be
understood is compared as text, and everything has a limit: any text is judged within a fraction of
a second, in any thread.  "18+25" is not the answer 43, though it is equal: `answers/finished.py`
says why.

Where it stands: `verify` gives the verdict that the reward r(x, y) is made of.  `policy.py` calls
it once for each response.  To watch it decide:  python verifier.py "so \boxed{\tfrac{2}{4}}" "0.5"

Try changing first: `TRUST` in `answers/extraction.py`, the places where an answer may stand.
Without its last row `small.json` ends at 0.0% instead of 99.0%: no response is ever right, in
training or in evaluation.
"""

import sys
from collections.abc import Iterator

from answers.comparison import Comparison, Exhausted
from answers.extraction import DECLARED, find_answer, repeats_unclosed_gold
from answers.finished import is_plain_number, result_of, unfinished
from answers.latex import parse
from answers.names import named_value
from answers.patterns import pattern
from answers.spelling import MAX_ANSWER, join_digits, normalise
from answers.trees import NotUnderstood
from answers.wording import compare_words, without_label, without_spacing

_E_NOTATION = pattern("2e-5", r"\d[eE][+-]?\d")

_EXCLAIMED = pattern("$43$!", r"[\d%][ $*]{0,4}!{1,3}\Z")

Reading = tuple[str, bool]  # a normalised text, and whether 2e-5 in it is a number


def verify(response: str, gold: str) -> bool:
    """Return the verdict: True if the response commits to an answer equal to the gold answer."""
    found = find_answer(response)
    if found is None:
        return repeats_unclosed_gold(response, gold)
    return decide_in(*found, gold)[0]


def decide_in(answer: str, where: str, gold: str) -> tuple[bool, str]:
    """Decide as `decide`, but take "43!" for 43 too where a sentence ends with it.

    In a formula or a box the sign is a factorial.
    """
    verdict = decide(answer, gold)
    if verdict[0] or where != DECLARED or not _EXCLAIMED.search(answer):
        return verdict
    return decide(answer.rstrip("! "), gold)


def extract_answer(response: str) -> str | None:
    """Return the answer that a response commits to, as it is written there; None without one."""
    found = find_answer(response)
    return found[0] if found else None


def is_equivalent(answer: str, gold: str) -> bool:
    """Say whether an answer equals the gold answer; an empty one never does."""
    return decide(answer, gold)[0]


def decide(answer: str, gold: str) -> tuple[bool, str]:
    """Say whether an answer equals the gold answer, and which rule decided.

    The rules stand in order, and the first that applies decides.
    """
    if len(answer) > MAX_ANSWER or len(gold) > MAX_ANSWER:
        return answer.strip() == gold.strip() != "", "too long, and so compared as text"
    left_list, right_list = normalise(answer, joined=False), normalise(gold, joined=False)
    left, right = join_digits(left_list), join_digits(right_list)
    if not left or not right:
        return False, "an empty answer or gold is never right"
    if left == right:
        return True, "the same text"
    if verdict := compare_words(left, right):
        return verdict
    if is_plain_number(right):
        listed = right != right_list
        undone = unfinished(left, right, listed)
        if undone is not None:
            return False, f"not finished: {undone}"
        result = result_of(left, right, listed)
        if result is not None and not decide(result, gold)[0]:
            return False, f"the last side is not the gold: {result}"
    return compare_formulas(left, right, left_list, right_list)


def compare_formulas(left: str, right: str, left_list: str, right_list: str) -> tuple[bool, str]:
    """Compare two answers as formulas: right if any way of reading them makes them equal.

    `left` and `right` are normalised, and in `left_list` and `right_list` digits are not grouped.
    If they are equal in no reading, the first one gives the reason.
    """
    comparison = Comparison(salt="".join(sorted((left, right))))  # one budget for all readings
    first = None
    for one, other in readings(left, right, left_list, right_list):
        try:
            verdict = comparison.same(parse(*one), parse(*other)), comparison.why
        except NotUnderstood as error:
            same = without_spacing(left) == without_spacing(right)
            verdict = same, f"compared as text, since it could not be read: {error}"
        except (Exhausted, RecursionError, ArithmeticError):
            verdict = False, "too much to compute, and not the same text"
        if verdict[0]:
            return verdict
        first = first or verdict
    return first


def readings(
    left: str, right: str, left_list: str, right_list: str
) -> Iterator[tuple[Reading, Reading]]:
    """Yield the pairs to compare: 1,234 may be a list, 2e-5 may be 2*e - 5, "(C) 42" may be 42."""
    yield (left, True), (right, True)
    if left_list != left or _E_NOTATION.search(left):
        yield (left_list, False), (right, True)
    if right_list != right or _E_NOTATION.search(right):
        yield (left, True), (right_list, False)
    if left_list != left and right_list != right:
        yield (left_list, False), (right_list, False)
    if unlabelled := without_label(left, right):
        yield (unlabelled, True), (right, True)
    if not is_plain_number(right):
        return
    if "=" in left and (value := named_value(left, parse)):
        yield (value, True), (right, True)
    if "=" in right and (value := named_value(right, parse)):
        yield (left, True), (value, True)


def main(argv: list[str] | None = None) -> int:
    """Show step by step how a response is judged."""
    from plumbing.command import Parser  # only this command needs anything of plumbing/

    parser = Parser(description="Show how the verifier judges a response.")
    parser.add_argument("response", help="what a model wrote, in quotes")
    parser.add_argument("gold", help="the gold answer, in quotes")
    args = parser.parse_args(argv)
    found = find_answer(args.response)
    if found is None:
        print("extracted  nothing: the response commits to no answer\nverdict    wrong")
        return 1
    answer, where = found
    right, why = decide_in(answer, where, args.gold)
    print(f"extracted  {answer}    ({where})")
    print(f"answer     {normalise(answer)}\ngold       {normalise(args.gold)}")
    print(f"verdict    {'right' if right else 'wrong'}: {why}")
    return 0 if right else 1


if __name__ == "__main__":
    from plumbing.command import command

    sys.exit(command(main)())
