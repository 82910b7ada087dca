r"""The verifier: is the answer in this response equal to the gold answer?

What it teaches: a verifiable reward is three questions asked in a row.  *Which* part of the
response is the answer (`extract_answer`)?  *What* does it say (`spelling.py` takes typography away,
`latex.py` makes a tree of the rest)?  And is that *equal* to the gold (`comparison.py`, with the
numbers of `algebra.py`)?  A wrong yes teaches the model to cheat, a wrong no throws a rollout away.

Where it stands: r(x, y) in every formula.  `train.py` calls `verify` once a rollout.  To watch it
decide:  python verifier.py "so \boxed{\tfrac{2}{4}}" "0.5"

"18+25" is not the answer 43, though equal: a policy that is paid for it learns to repeat the
question.  Where the gold is a plain number, sums and products of numbers are refused (the grader of
PRM800K, arXiv 2305.20050, has such a rule).

What is not understood is compared as text and otherwise refused.  Every loop has a limit, so that
any string of a megabyte is judged in a fraction of a second, in any thread.

Try changing first: `TRUST`.  Without its last row `small.json` never sees a reward; with one more
row, that takes any last number for the answer, what could a policy learn to write?
"""

import argparse
import re
import sys

from algebra import NotUnderstood
from comparison import Comparison, Exhausted
from latex import NUMBER, parse
from spelling import MAX_ANSWER, join_digits, normalise

MAX_BOXES = 50  # joined into one list


# ---- Extraction: which part of the response is the answer ----


def extract_answer(response: str) -> str | None:
    """The answer a response commits to, as written there; None where it commits to none.

    The first form of `TRUST` that occurs decides alone: an empty or unclosed box, or an echo of the
    instruction ("your answer"), is no answer whatever else the text says.
    """
    for _, find in TRUST:
        answer = find(response)
        if answer is not None:
            return None if _ECHO.fullmatch(answer) else answer
    return None


_ECHO = re.compile(
    r"(?:\\text|\\l?dots|[\s{}<>\[\]()._*?$…-]|(?:insert|put|the|your|final|answer|here)(?![a-z]))*",
    re.IGNORECASE,
)


def _boxed(response: str) -> str | None:
    r"""Inside the last \boxed{} or \fbox{}; boxes joined by "and", "or" or a comma are a list."""
    found: list[str] = []
    end = len(response)
    while len(found) < MAX_BOXES:
        reach = max(0, end - MAX_ANSWER) if found else 0
        start = max(response.rfind(box, reach, end) for box in ("\\boxed", "\\fbox"))
        if start < 0:
            break
        inside = _box_content(response, start)
        if not found and inside is None:
            return ""  # never closed
        joined = inside and (not found or _JOINER.fullmatch(response[inside[1] : end][:60]))
        if not joined:
            break
        if not found and not inside[0]:
            return ""
        found.append(inside[0])
        end = start
    return ", ".join(reversed(found)) if found else None


_JOINER = re.compile(
    r"(?:[\s$\\()\[\]{}*.]|text)*(?:(?:,|;|and|or)(?:[\s$\\()\[\]{}*]|text)*){1,3}"
)


def _box_content(response: str, start: int) -> tuple[str, int] | None:
    """What a box that starts here holds, and where it ends; None if it is never closed."""
    opening = _BOX.match(response, start)
    if not opening:
        return None
    if opening[1] != "{":
        return opening[1], opening.end()  # \boxed 7
    depth = 1
    for brace in _BRACES.finditer(response, opening.end(), opening.end() + MAX_ANSWER):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return response[opening.end() : brace.start()].strip(), brace.end()
    return None


_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,9}(\{|[^\s{}$\\]{1,100})")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace opens nothing


def _declared(response: str) -> str | None:
    """What the last "####" or "answer is" declares; a heading such as "#### Step 2" is neither.

    Of "####" the rest of the line, of "answer is", "Answer:" or "Final Answer" of the sentence.
    """
    hashes = _last(_HASHES, response, "####")
    phrase = _last(_PHRASE, response, "answer", "Answer", "ANSWER")
    if hashes and (not phrase or hashes.start() > phrase.start()):
        return _plain(hashes[1])
    if not phrase:
        return None
    rest = response[phrase.end() : phrase.end() + MAX_ANSWER]
    display = re.match(r"\s*(?:\\\[|\$\$)(.*?)(?:\\\]|\$\$)", rest, re.DOTALL)
    return display[1].strip() if display else _plain(_SENTENCE_END.split(rest, maxsplit=1)[0])


def _plain(text: str) -> str:
    """Without the emphasis of markdown and what stands behind a token that ends the text."""
    text = re.split(r"<\|[a-z_]{1,20}\|>|</s>", text, maxsplit=1)[0]
    text = re.sub(r"(?<![\w)])\*\*|\*\*(?![\w(])", "", text)
    return re.sub(r"(?<=[a-z])!+\Z", "", text.lstrip(" \t*_`,}").rstrip(" \t*_`.,"))


_HASHES = re.compile(
    r"(?<!#)####(?!#)(?!\W{0,9}(?:the\s)?(?:final\s)?answer)([^\n]{0,4000})", re.IGNORECASE
)
_PHRASE = re.compile(
    r"(?<!\w)answers?(?:\s(?:to|of|for)(?:\s\w{1,20}){1,5}?\s)?[*_\s]{0,4}(?:\b(?:is|are)\b|[:=])"
    r"[*_:\s]{0,8}"
    r"|(?:(?<=final )|(?<=[#*] )|(?<=\*\*))answer[*_: ]{0,4}\n\s{0,8}",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!approx)(?<!Rs)[.?](?:\s|$|\*)|\n|(?<!\{),?\s(?:because|since|so|as)\b"
)


def _closing_display(response: str) -> str | None:
    """A last line that is nothing but a formula between dollars or LaTeX's delimiters."""
    found = _CLOSING.search(response.rstrip()[-1000:])
    return found[1].strip(" $\n") if found else None


_CLOSING = re.compile(
    r"(?:\A|\n)[ \t]*(?:(?=\$)|\\\[|\\\()((?:\$\$?[^$]+\$\$?|(?:(?!\\[\[\]()]).)+?))"
    r"(?:(?<=\$)|\\\]|\\\))\.?\Z",
    re.DOTALL,
)


def _after_hash(response: str) -> str | None:
    """The format of this project's own arithmetic: "8+5=13,7+6+1=14,4+3+1=8#843"."""
    found = re.search(r"(?<=\d)#(-?\d{1,30})\Z", response.rstrip()[-40:])
    return found[1] if found else None


def _last(pattern: re.Pattern, text: str, *starts: str) -> re.Match | None:
    """The last match of a pattern that starts with one of these, among 50 places to start."""
    at = len(text)
    for _ in range(50):
        at = max(text.rfind(start, 0, at) for start in starts)
        if at < 0:
            return None
        if found := pattern.match(text, at):
            return found
    return None


# Where an answer may stand, most trusted first.  Within a form the last occurrence counts.
TRUST = (
    (r"the last \boxed{} or \fbox{}", _boxed),
    ('what the last "####" or "answer is" declares', _declared),  # GSM8K, and plain prose
    ("a formula that is the whole last line", _closing_display),
    ("the number behind a closing #", _after_hash),
)


# ---- The verdict ----


def decide(answer: str, gold: str) -> tuple[bool, str]:
    """Whether an answer equals the gold one, and the rule that decided."""
    if len(answer) > MAX_ANSWER or len(gold) > MAX_ANSWER:
        return answer.strip() == gold.strip() != "", "too long, compared as text"
    ungrouped = normalise(answer, joined=False), normalise(gold, joined=False)
    left, right = map(join_digits, ungrouped)
    if not left or not right:
        return False, "an empty answer or gold is never right"
    if left == right:
        return True, "the same text"
    choice = _CHOICE.fullmatch(right)
    if choice and (chosen := _CHOSEN.match(left)) and not _CHOSEN_TOO.search(left, chosen.end()):
        return chosen[1].upper() == choice[1], "choice letters"
    if _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return _folded(left) == _folded(right), "words, ignoring case"
    if _CLOCK.fullmatch(left) and _CLOCK.fullmatch(right):
        return _squeezed(left) == _squeezed(right), "times and dates are compared as text"
    if _LITERAL.fullmatch(right) and _undone(left):
        return False, "a computation that is left undone is no answer where the gold is a number"
    first, work = None, 0
    for one, other in _readings(left, right, *ungrouped):
        try:
            comparison = Comparison(salt="".join(sorted((left, right))))
            comparison.work = work  # one budget for all readings
            verdict = comparison.same(parse(*one), parse(*other)), comparison.why
        except NotUnderstood as error:
            text = f"compared as text, as the grammar ends here: {error}"
            verdict = _squeezed(left) == _squeezed(right), text
        except (Exhausted, RecursionError, ArithmeticError):
            verdict = False, "over the budget, and not the same text"
        if verdict[0]:
            return verdict
        first, work = first or verdict, comparison.work
    return first


_LITERAL = re.compile("-?" + NUMBER.pattern)
_UNDONE = re.compile(rf"{_LITERAL.pattern}(?:(?:[-+*]|\\times|\\cdot|\\div){_LITERAL.pattern})+")
_CHOICE = re.compile(r"\(?([A-J])\)?")
_CHOSEN = re.compile(r"(?:\\text\{(?:option|choice) )?\(?([A-Ja-j])(?:\)|\.(?!\d)| ?:|\}|$)", re.I)
_CHOSEN_TOO = re.compile(  # a second letter, or what makes of the first no choice
    r"(?<![A-Za-z\\])(?:[A-J](?![A-Za-z])|[a-j][).])"
    r"|\b(?:not|wrong|incorrect|or)\b|(?<=\)) ?[\^+*/=-]"
)
_CLOCK = re.compile(r"\d?\d:\d\d|\d\d?/\d\d?/\d{2,4}|\d{4}-\d\d-\d\d")
_LABEL = re.compile(r"\([A-J]\) (?=[\d\\$-])")
_WORDS = re.compile(
    r"(?=.*[A-Za-z]{3})(?:\\text\{[A-Za-z .'-]*\}|[A-Za-z .'-])*|\d?\d:\d\d.*[AaPp]\.?[Mm].*"
)


def _undone(text: str) -> bool:
    """Whether numbers stand there to be added or multiplied, and no result beside them."""
    sides = re.sub(r"[\s(){}]", "", text).split("=")
    return any(map(_UNDONE.fullmatch, sides)) and not any(map(_LITERAL.fullmatch, sides))


def _folded(text: str) -> str:
    """Words without case, articles, stops and braces."""
    text = re.sub(r"\\text|(?<=[A-Za-z])\.|[{}]", "", text)
    return re.sub(r"\b(?:an?|the) (?=\w)|\s+", "", text.strip().casefold())


def _squeezed(text: str) -> str:
    """Without braces around one character, and spaces but those that part words or numbers."""
    return re.sub(r"(?<![\w.])\s+|\s+(?![\w.])", "", re.sub(r"\{\s*(\w)\s*\}", r"\1", text).strip())


def _readings(left: str, right: str, left_list: str, right_list: str):
    """The pairs to compare: 1,234 may be a list, 2e-5 may be 2*e - 5, "(C) 42" is 42."""
    yield (left, True), (right, True)
    if left_list != left or _E_NOTATION.search(left):
        yield (left_list, False), (right, True)
    if right_list != right or _E_NOTATION.search(right):
        yield (left, True), (right_list, False)
    if left_list != left and right_list != right:
        yield (left_list, False), (right_list, False)
    if _LABEL.match(left) and not _LABEL.match(right) and not _CHOICE.fullmatch(right):
        yield (_LABEL.sub("", left, count=1), True), (right, True)


_E_NOTATION = re.compile(r"\d[eE][+-]?\d")


def is_equivalent(answer: str, gold: str) -> bool:
    """Whether an answer equals the gold answer; never for an empty one."""
    return decide(answer, gold)[0]


def verify(response: str, gold: str) -> bool:
    """The reward: True where the response commits to an answer that equals the gold one."""
    answer = extract_answer(response)
    if answer is None and len(gold) < MAX_ANSWER and gold.count("{") > gold.count("}"):
        box = response.rfind("\\boxed")  # some published golds lack a brace: it never closes
        return box >= 0 and response.startswith(f"\\boxed{{{gold}}}", box)
    return answer is not None and is_equivalent(answer, gold)


def main(argv: list[str] | None = None) -> int:
    """Show step by step how a response is judged."""
    parser = argparse.ArgumentParser(description="Show how the verifier judges a response.")
    parser.add_argument("response", help="what a model wrote, in quotes")
    parser.add_argument("gold", help="the gold answer, in quotes")
    args = parser.parse_args(argv)
    answer = extract_answer(args.response)
    if answer is None:
        print("extracted  nothing: the response commits to no answer\nverdict    wrong")
        return 1
    where = next(name for name, find in TRUST if find(args.response) is not None)
    right, why = decide(answer, args.gold)
    print(f"extracted  {answer}    ({where})")
    print(f"answer     {normalise(answer)}\ngold       {normalise(args.gold)}")
    print(f"verdict    {'right' if right else 'wrong'}: {why}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
