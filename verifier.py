"""The verifier: is the answer in this response equal to the gold answer?

What it teaches: a verifiable reward is three small questions asked in a row.  *Which* part of the
response is the answer (`extract_answer`), *what* does it say once typography is gone (`normalise`),
and *is it equal* to the gold (`is_equivalent`)?  A wrong yes teaches the model to cheat, a wrong no
throws a rollout away, so whatever is not understood is compared as text and otherwise refused.

Where it stands: r(x, y) in every formula.  `train.py` calls `verify` once a rollout.

Try changing first: accept a response whose *last number* is right, whatever stands before it, and
watch in a run how the policy stops writing out its working.
"""

import re
from fractions import Fraction

# Where an answer may stand, most trusted first; within a kind the last one counts.
ANSWER_PATTERNS = (
    re.compile(r"(?<!#)####(?!#)[ \t]*([^\n]+)"),  # GSM8K
    re.compile(r"(?:answer is|answer:)[ \t]*:?[ \t]*([^\n]+)", re.IGNORECASE),
    re.compile(r"(?<!#)#(-?\d+)\s*$"),  # the built-in arithmetic of data.py
)


def extract_answer(response: str) -> str | None:
    r"""The answer that a response commits to, or None where it gives none.

    The last `\boxed{...}` if the word occurs at all (one that is unclosed or empty is no answer),
    else the first of `ANSWER_PATTERNS` that occurs.  A stray last number is no answer.
    """
    if "\\boxed" in response:
        return _last_box(response)
    for pattern in ANSWER_PATTERNS:
        found = pattern.findall(response)
        if found:
            return found[-1].strip().rstrip(".").strip() or None
    return None


def _last_box(response: str) -> str | None:
    start = response.rindex("\\boxed") + len("\\boxed")
    inside = response[start:].lstrip()
    if not inside.startswith("{"):
        return None
    depth = 0
    for position, character in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return inside[1:position].strip() or None
    return None  # never closed


def normalise(text: str) -> str:
    """The text without what carries no value: dollars, spacing, sizes, percent and degree signs."""
    text = text.strip().strip("$").rstrip(".")
    text = re.sub(r"\\(?:left|right|displaystyle|quad|[,;:! ])", "", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[$%]|[$%]|\^\{?\\circ\}?", "", text)
    text = re.sub(r"\s+", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,234 -> 1234
    return text.lower()


_NUMBER = r"([+-]?\d{1,1000}(?:\.\d{1,1000})?|[+-]?\.\d{1,1000})"
_FRACTIONS = (
    re.compile(rf"([+-]?)\\frac\{{{_NUMBER}\}}\{{{_NUMBER}\}}"),
    re.compile(r"([+-]?)\\frac(\d)(\d)"),
    re.compile(rf"(){_NUMBER}/{_NUMBER}"),
)


def number(text: str) -> Fraction | None:
    """The exact value of a normalised integer, decimal or fraction; None for anything else."""
    if re.fullmatch(_NUMBER, text):
        return Fraction(text)
    for pattern in _FRACTIONS:
        match = pattern.fullmatch(text)
        if match and Fraction(match[3]) != 0:
            value = Fraction(match[2]) / Fraction(match[3])
            return -value if match[1] == "-" else value
    return None


def is_equivalent(answer: str, gold: str) -> bool:
    """Equal as exact numbers where both are numbers, else as normalised text; never for empty."""
    left, right = normalise(answer), normalise(gold)
    if not left or not right:
        return False
    left_value, right_value = number(left), number(right)
    if left_value is None or right_value is None:
        return left == right
    return left_value == right_value


def verify(response: str, gold: str) -> bool:
    """The reward: True where the response commits to an answer that equals the gold one."""
    answer = extract_answer(response)
    return answer is not None and is_equivalent(answer, gold)
