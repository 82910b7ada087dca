r"""Wording: answers that are no formulas, such as choices, words and times of day.

What it teaches: "(C)", "no solution" and "4:40" would be formulas too (a letter, a product of
letters, a ratio), and wrong ones: 1:20 and 3:60 are equal as ratios and not as times.  So they are
recognised first, and compared as what they are.

Where it stands: between `spelling.py` and `latex.py`; `verifier.py` asks `compare_words` before it
reads an answer as a formula, and falls back on `without_spacing` where that fails.

Try changing first: `_CLOCK`.  Without it 1:20 equals 3:60, as a ratio, and the date 1/2/2024 equals
2/4/2024, as a quotient.
"""

import re

from answers.patterns import pattern

_CHOICE = pattern("(C)", r"\(?([A-J])\)?")
_CHOSEN = pattern(
    "C. 42", r"(?:\\text\{(?:option|choice) )?\(?([A-Ja-j])(?:\)|\.(?!\d)| ?:|\}|$)", re.IGNORECASE
)
_CHOSEN_TOO = pattern(  # a second letter, or what makes of the first no choice
    "(C) or (D)",
    r"(?<![A-Za-z\\])(?:[A-J](?![A-Za-z])|[a-j][).])"
    r"|\b(?:not|wrong|incorrect|or)\b|(?<=\)) ?[\^+*/=-]",
)
LABEL = pattern("(C) 42", r"\([A-J]\) (?=[\d\\$-])")
_CLOCK = pattern("4:40", r"\d?\d:\d\d|\d\d?/\d\d?/\d{2,4}|\d{4}-\d\d-\d\d")
_WORDS = pattern(
    r"\text{no solution}",  # or 4:40 p.m.
    r"(?=.*[A-Za-z]{3})(?:\\text\{[A-Za-z .'-]*\}|[A-Za-z .'-])*|\d?\d:\d\d.*[AaPp]\.?[Mm].*",
)


def compare_words(left: str, right: str) -> tuple[bool, str] | None:
    """Compare an answer with a gold that is a choice, words or a time; None if it is none of them.

    The second value says which rule decided.
    """
    choice = _CHOICE.fullmatch(right)
    if choice and (chosen := _CHOSEN.match(left)) and not _CHOSEN_TOO.search(left, chosen.end()):
        return chosen[1].upper() == choice[1], "choices are compared by their letters"
    if _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return _folded(left) == _folded(right), "words are compared without regard to case"
    if _CLOCK.fullmatch(left) and _CLOCK.fullmatch(right):
        same = without_spacing(left) == without_spacing(right)
        return same, "times and dates are compared as text"
    return None


def without_label(left: str, right: str) -> str | None:
    """Return the 42 of "(C) 42" if the gold has no label of its own; None where there is none."""
    if LABEL.match(left) and not LABEL.match(right) and not _CHOICE.fullmatch(right):
        return LABEL.sub("", left, count=1)
    return None


def _folded(text: str) -> str:
    """Take case, articles, stops and braces away from words."""
    text = re.sub(r"\\text|(?<=[A-Za-z])\.|[{}]", "", text)
    return re.sub(r"\b(?:an?|the) (?=\w)|\s+", "", text.strip().casefold())


def without_spacing(text: str) -> str:
    """Take away braces around one character, and spaces that part no words or numbers."""
    text = re.sub(r"(\\[A-Za-z]+)\s+(?=[^A-Za-z])", r"\1", text)  # \le 0 is \le0
    return re.sub(r"(?<![\w.])\s+|\s+(?![\w.])", "", re.sub(r"\{\s*(\w)\s*\}", r"\1", text).strip())
