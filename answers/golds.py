"""Golds: the bare final answer in what a dataset calls the answer.

What it teaches: a gold that no response can ever equal makes its problem silently unsolvable.  Many
datasets give a worked solution, a box or the text of a list in its place.  What can be read is
read, and the rest is refused when the problems are loaded.

Where it stands: `data.load_jsonl` asks for the gold of every line, before any run begins.
"""

from answers.boxes import boxed
from answers.patterns import pattern

MOST_WORDS = 20  # of a gold; one with more of them is a worked solution

_TEXT = r"""(?:'[^']*'|"[^"]*")"""
_QUOTED = pattern("'5'", _TEXT)
_QUOTED_LIST = pattern("['5', '6']", rf"\[\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\]")
_WORD = pattern("apples", r"(?<![\\A-Za-z])[A-Za-z]{2,}")


def gold_answer(answer: str) -> str:
    r"""Return the bare final answer: what stands behind the last "####" or in the last \boxed{}.

    The items of a quoted list lose their quotes.  ValueError says why where there is no answer.
    """
    gold = answer.rpartition("####")[2].strip()  # GSM8K's answers end in "#### 42"
    if not gold:
        raise ValueError("holds nothing behind its last ####")
    if _QUOTED_LIST.fullmatch(gold):  # the text of a list, such as ['5'] or ["1", "2"]
        items = [text[1:-1].replace("\\\\", "\\") for text in _QUOTED.findall(gold)]
        if not all(items):
            raise ValueError(f"is a list with an empty item: {gold[:60]}")
        gold = ", ".join(items)
    if "\\boxed" in gold:
        gold = boxed(gold) or ""
    if not gold:
        raise ValueError(f"holds no answer in its box: {answer[:60]!r}")
    if "\n" in gold or len(_WORD.findall(gold)) > MOST_WORDS:
        raise ValueError(
            "is a worked solution, which no response will equal; give the bare final answer, or "
            "end the solution with '#### ANSWER'"
        )
    return gold
