r"""Finished numbers: a computation is not its own result.

What it teaches: a reward is a target.  "311*641" equals 199351, but a policy that is paid for it
learns to repeat the question instead of answering it: SmolLM2 did.  A list of what to refuse is
never complete, since there are too many ways to write a value that nobody has computed.  So the
rule here is a list of what to pay.  Where the gold answer is a plain number, only a *finished*
number is paid, with or without a unit:

    5, -0.5, 0.1\overline{6}     an integer or a decimal
    4.5e33, 4.5 \times 10^{33}   in scientific notation
    \frac{3}{4}, 3/4             a fraction, unless it is an integer
    2\frac{1}{3}, 2 1/3          a mixed number, whose fraction has no sign and is below 1
    50\%                         a percentage

Of a chain of equalities the last side counts: "311*641 = 199351" is finished, and
"199351 = 311*641" is not.  The last side of "311*641 \approx 8" is 8, so that 8 is what it says,
although 311*641 has the right value: a policy found that, too.  A number has one sign, and its
brackets match.  Everything else is a computation that is left undone.  The grader of PRM800K
(arXiv 2305.20050) has a rule of this kind.

Where it stands: `verifier.py` asks these questions before it compares any values, and all of them
are about normalised texts.

Try changing first: let `unfinished` return None.  Then 71 of the 110 texts in
`tests/test_finished.py` that are not finished are paid, among them "300*641+11*641" and "3 dozen".
"""

import re
from functools import lru_cache

from answers.atoms import NUMBER
from answers.patterns import pattern
from answers.units import KNOWN_UNIT, MULTIPLIERS
from answers.wording import LABEL

_N = NUMBER.pattern
_INTEGER = r"(?:\(\s*[+-]?\d+\.?\s*\)|\{\s*[+-]?\d+\.?\s*\}|[+-]?\d+\.?)"
_PART = r"(?:\{\s*[+-]?\d+\.?\s*\}|\d)"
_FRACTION = rf"\\frac\s*{_PART}\s*{_PART}|{_INTEGER}\s*[/:]\s*{_INTEGER}"
_PROPER = r"\s*\\frac\s*(?:\{\s*\d+\s*\}|\d)\s*(?:\{\s*\d+\s*\}|\d)|\s+\d+/\d+"  # as the grammar's
_TEN = r"10\s*\^\s*(?:\{\s*[+-]?\s*\d+\s*\}|\(\s*[+-]?\d+\s*\)|[+-]?\d+)"
_UNITS = rf"""
    (?: \s* (?: % | \^\s*\{{?\s*\\circ\s*\}}? ) )?
    (?: \s* (?: \\text\{{ (?: [^{{}}\d*+=<>] | \^-?\d )* \}} | {KNOWN_UNIT} )
        (?: \s* (?: \^\s*\{{?\s*-?\d\s*\}}? | (?: / | \\cdot ) (?= \s*\\text ) ) )* )*
"""
MEASURED = pattern(
    r"-\frac{3}{4}\text{ cm}",
    rf"""
    (?P<open> (?: \\?[(\[{{] \s* ){{0,4}} (?P<sign> [+-] \s* )? (?: \\?[(\[{{] \s* ){{0,4}} )
    (?: (?P<mixed> \d+ (?P<proper> {_PROPER} ) )
      | (?P<fraction> {_FRACTION} )
      | (?P<decimal> \d*\.\d*\\(?:overline|bar|dot)\s*\{{?\s*(?!9+(?!\d))\d+\s*\}}?
        | {_N} (?: [eE][+-]?\d{{1,6}} | \s*(?:\\times|\\cdot|\*)\s*{_TEN} )? )
      | (?P<ten> {_TEN} ) )
    (?P<close> (?: \s* \\?[)\]}}] ){{0,8}} )
    (?P<unit> {_UNITS} ) (?P<closed> (?: \s* \\?[)\]}}] ){{0,8}} ) \s*""",
    re.VERBOSE,
)
_BRACKET = pattern(r"\{", r"\\?[()\[\]{}]")
_CLOSERS = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
_SCIENTIFIC = pattern("1e5", r"\d[eE][+-]?\d|10\s*\^")
_WORD_FORMULA = pattern(
    "3 dozen", r"\b(?:dozens?|dozenth|score|times|squared|cubed)\b", re.IGNORECASE
)
_MULTIPLIER = pattern("million", rf"\b(?:{'|'.join(MULTIPLIERS)})s?\b", re.IGNORECASE)

_SIMPLE_NAME = pattern(
    "S_{ABC}",
    r"\s*(?:[A-Za-z]|[A-Z]{2,4}|\\text\{[^{}]*\}|\\[a-z]+(?:\s[A-Z]{1,3})?)"
    r"(?:_(?:\w|\{[^{}]*\}))?'*(?:\([^()]*\))?\s*",
)
_PARTS = pattern(
    r"x = 5 \text{ or } y = 6",
    r"\\(?:left|right)?[\[({]|[\[({]|\\?[\])}]"  # these open and close
    r"|(?P<chain>=|\\(?:approx|in)(?![A-Za-z]))|(?P<item>[,;]|\b(?:and|or)\b)|\\[A-Za-z]+",
)


@lru_cache(maxsize=4096)
def is_plain_number(gold: str) -> bool:
    """Say whether a gold answer is a finished number, or only names one, as x = 5 does."""
    if "=" not in gold:
        return _is_finished(gold, gold)
    items = _sides_by_item(gold)
    if len(items) != 1 or _unfinished_side(items[0], gold) is not None:
        return False
    names = items[0][:-1]
    return all(_SIMPLE_NAME.fullmatch(name) or not re.search("[A-Za-z]", name) for name in names)


def unfinished(answer: str, gold: str, listed: bool = False) -> str | None:
    r"""Return the part of an answer that is no finished number; None if all of it is finished.

    In a list each item must be finished.  A power of ten such as 10^{5} counts as a number only
    where the gold has one.  `listed` says that the gold may be read as a list: it is 1,234.
    """
    answer = _opened(answer, listed)
    if _is_finished(answer, gold):
        return None
    undone = (_unfinished_side(sides, gold) for sides in _sides_by_item(answer))
    return next((side for side in undone if side is not None), None)


def result_of(answer: str, gold: str, listed: bool = False) -> str | None:
    r"""Return the last side alone where the side before it is no finished number; else None.

    It is 8 in 311*641 \approx 8, and 19 in 3x + 4 = 19.  Of a list it is that of every item.
    """
    items = _sides_by_item(_opened(answer, listed))
    if all(len(sides) == 1 or _is_finished(sides[-2], gold) for sides in items):
        return None
    return ", ".join(sides[-1].strip() for sides in items)


def _opened(answer: str, listed: bool) -> str:
    """Return an answer without its label, and without the brackets around a list."""
    if listed:
        answer = answer.strip().lstrip("([{\\").rstrip(")]}\\")
    return LABEL.sub("", answer, count=1)


def _unfinished_side(sides: list[str], gold: str) -> str | None:
    """Return the last side of a chain if it is no finished number."""
    return None if _is_finished(sides[-1], gold) else sides[-1].strip()


def _is_finished(side: str, gold: str) -> bool:
    """Say whether one side of a chain is a finished number; only now its digits are looked at."""
    found = MEASURED.fullmatch(side.strip())
    if not found or _WORD_FORMULA.search(found["unit"]) or not _brackets_match(found):
        return False
    if found["decimal"]:
        return True
    if found["ten"]:
        return _SCIENTIFIC.search(gold) is not None
    number = found["mixed"] or found["fraction"]
    if _MULTIPLIER.search(found["unit"]):
        return False  # 1/125 thousand has to be computed
    if bool(found["sign"]) + number.count("-") + number.count("+") > 1:
        return False  # --3/4
    if found["mixed"]:
        above, below = _above_and_below(found["proper"])
        return above < below
    above, below = _above_and_below(number)
    return below != 0 and above % below != 0


def _above_and_below(fraction: str) -> tuple[int, int]:
    r"""Return the 3 and the 4 of 3/4, (3):(4), \frac{3}{4} and \frac34."""
    numbers = re.findall(r"\d+", fraction)
    above, below = numbers if len(numbers) == 2 else numbers[0]
    return int(above), int(below)


def _brackets_match(number: re.Match[str]) -> bool:
    """Say whether the brackets around a number close in the order in which they were opened."""
    opened = _BRACKET.findall(number["open"])
    return [_CLOSERS[o] for o in opened[::-1]] == _BRACKET.findall(
        number["close"] + number["closed"]
    )


def _sides_by_item(text: str) -> list[list[str]]:
    """Split a text into the items of a list, and each item into the sides of its chain.

    What stands in brackets or braces is not split.
    """
    items, depth, start = [[]], 0, 0
    for part in _PARTS.finditer(text):
        sign = part[0].lstrip("\\")
        if sign[-1] in "([{":
            depth += 1
        elif sign in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and (part["chain"] or part["item"]):
            items[-1].append(text[start : part.start()])
            start = part.end()
            if part["item"]:
                items.append([])
    items[-1].append(text[start:])
    # ", and" has nothing between its two separators
    return [sides for sides in items if sides != [""] and sides != [" "]] or items[:1]
