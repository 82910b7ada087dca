r"""Names: what may stand on the left of "= 5" and only say what 5 is.

What it teaches: "x = 5" says that x is 5, and "2x = 10" says something else, though it follows.  So
the left side of an equation counts for nothing only if it is a name: a letter, f(2), the area, or
an expression that stands for itself, such as \gcd(12, 18) and a_1 + a_2.  What can be computed is
no name, since both sides can be compared then: 5 = 6 is not 6.

Where it stands: `latex.py` asks `is_name` when it reads an equation.  `verifier.py` asks
`named_value` where the gold answer is a number, for left sides that the grammar does not have.

Try changing first: let `named_value` return None.  Then 19 of the left sides in
`tests/test_finished.py` are refused, among them \det A = 5 where the gold answer is 5.
"""

import re
from collections.abc import Callable

from answers.atoms import FUNCTIONS
from answers.finished import MEASURED
from answers.patterns import pattern
from answers.trees import NotUnderstood, Tree

_ARGUMENT = pattern("f(g(2))", r"(?<=[A-Za-z0-9}'])\([^()]*\)(?=\)*\s*\Z)")
_PARTS = pattern("S_{ABC}", r"_\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|.)|\^\s*\{\s*-1\s*\}|\([^()]*\)\s*$")
_PRODUCT = pattern("x(x+1)", r"([A-Za-z])\([^()]*\1[^()]*\)")
_NO_NAME = pattern("2x", r"^-|\d|\^|\\(?:sqrt|in|ln|log|exp)(?![a-z])|\bnot\b")


def is_name(left: str) -> bool:
    """Say whether `left = 5` only says what 5 is.

    That holds for x, f(2), S_4, AB, (x, y) and a+b, but not for 2x or x+x, which are equations.
    """
    left = left.strip()
    if _PRODUCT.search(left):
        return False
    while (shorter := _ARGUMENT.sub("", left, count=1)) != left:
        left = shorter
    bare = _PARTS.sub("", left) or left.strip("() ")
    if _NO_NAME.search(bare):
        return False
    commands = re.findall(r"\\([A-Za-z]+)", bare)
    letters = re.findall("[A-Za-z]", re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", "", bare))
    repeated = len(set(letters)) < len(letters) and re.search("[a-z]", "".join(letters))
    return bool(letters or commands) and not repeated


_CHAIN = pattern("x = 5", r"\s*(?=[\\\w(|\[#])(.*[\w)\]}|'%])\s*=\s*([^=<>]+)")
_DENIED = pattern(
    "x < 3", r"[<>]|\\(?:le|ge|ne|in|approx|pm)(?![A-Za-z])|\b(?:not|or|and|maybe)\b|,\s*[a-z]\s*="
)
_COEFFICIENT = pattern("2x", r"\d[a-z]\b")
_OTHER_NOTATION = pattern(
    "101_2", r"\(?([0-9A-F]{1,99})\)?_\{?(\d{1,2})\}?|(0[xbo][0-9a-fA-F]{1,99})"
)
_OF_EVENTS = pattern(  # or P(A|B), E[X^2], n(A \cup B)
    r"|A\cap B|", r"\\?[A-Za-z]+\s*[(\[].*[)\]]|\|.*\\(?:cap|cup).*\||\\?#\s*[A-Z]"
)
_NUMBER_OF = pattern("44 thirds", r"\s*[-+\d./]+\s*[A-Za-z][A-Za-z ]{2,}")
_TIMES_A_NAME = pattern(r"2\det A", r"[\d.]+\s*(\\[a-z]+\b.*)")
_BRACKET = pattern(r"\{", r"\\?[()\[\]{}]")
_SQUARE = pattern(r"\sin^2 x", r"(\\(?:sin|cos|tan|cot|sec|csc))\s*\^\s*(?:\d|\{\s*\d+\s*\})")
_TERM = r"[A-Za-z](?:_(?:\w|\{\w+\}))?(?:\^(?:\d|\{\d+\}))?"
_SUM = pattern("a_1+a_2", rf"(?:{_TERM}\s*){{1,9}}(?:[+-]\s*(?:{_TERM}\s*){{1,9}}){{0,9}}")


def named_value(equation: str, parse: Callable[[str], Tree]) -> str | None:
    r"""Return the 5 of \det A = 5 and a_1+a_2 = 5, whose left sides the grammar takes for no names.

    `parse` is the grammar: a left side that it does not have cannot be compared with the right one.
    A sum must have more than one letter: x^2 + x = 6 is an equation that can be solved.
    """
    found = _CHAIN.fullmatch(equation)
    if not found or _DENIED.search(found[1]):
        return None
    left, value = found.groups()
    if not _is_balanced(left) or any(map(_is_amount, left.split("="))):
        return None
    if notation := _OTHER_NOTATION.fullmatch(left):
        return _converted(notation, value)
    if _OF_EVENTS.fullmatch(left) and not _is_product(left):
        return value
    if _SQUARE.search(left) and is_name(_SQUARE.sub(r"\1 ", left)):
        return value
    if _SUM.fullmatch(left) and _unknowns(left) > 1:
        return value
    if "\\" not in left and _COEFFICIENT.search(left):
        return None
    try:
        parse(left)
    except NotUnderstood:
        return value
    except RecursionError:
        return None
    return None


def _converted(notation: re.Match[str], value: str) -> str | None:
    """Return "5 = 5" for the left side 101_2, so that both sides are compared."""
    digits, base, prefixed = notation.groups()
    try:
        return f"{int(prefixed, 0) if prefixed else int(digits, int(base))} = {value}"
    except ValueError:  # a digit or a base that there is not
        return None


def _is_amount(side: str) -> bool:
    r"""Say whether a side is a number of something, as 44 thirds and 2\det A are."""
    side = side.strip()
    if not _is_balanced(side):
        return False  # the = stands in a bracket, as in \Pr(X = 1)
    if MEASURED.fullmatch(side) or _NUMBER_OF.fullmatch(side):
        return True
    times_a_name = _TIMES_A_NAME.fullmatch(side)
    return bool(times_a_name) and is_name(times_a_name[1])


def _is_balanced(text: str) -> bool:
    """Say whether every bracket closes the one that was opened last."""
    opened = []
    for bracket in _BRACKET.findall(text):
        if bracket[-1] in "([{":
            opened.append(bracket[:-1] + {"(": ")", "[": "]", "{": "}"}[bracket[-1]])
        elif not opened or opened.pop() != bracket:
            return False
    return not opened


def _is_product(left: str) -> bool:
    """Say whether x(x+1) is no call, since the letter stands in the bracket, or is a function."""
    name = re.match(r"\\?([A-Za-z]+)", left)
    return bool(name) and (name[1] in FUNCTIONS or name[1] in left[name.end() :])


def _unknowns(left: str) -> int:
    """Count the different letters of a sum, each with its index."""
    return len(set(re.findall(r"(?![ei])[A-Za-z](?:_(?:\w|\{\w+\}))?", left)))
