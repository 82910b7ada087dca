r"""Finished numbers: a computation is not its own result.

What it teaches: a reward is a target.  "18+25" equals 43, but a policy that is paid for it learns
to repeat the question instead of answering it: SmolLM2 did.  So where the gold answer is a plain
number, sums and products of numbers are refused.  The grader of PRM800K (arXiv 2305.20050) has such
a rule.

Where it stands: `verifier.py` asks these two questions before it compares any values.

Try changing first: let `is_left_undone` return False.  Nine texts in `tests/test_verifier.py` that
only repeat a question are then paid, among them "18+25" for 43 and "84 \div 2" for 42.
"""

from answers.atoms import NUMBER
from answers.patterns import pattern

_SIGNED = "-?" + NUMBER.pattern
_PLAIN_NUMBER = pattern("-43.5", _SIGNED)
_COMPUTATION = pattern("18+25*2", rf"{_SIGNED}(?:(?:[-+*]|\\times|\\cdot|\\div){_SIGNED})+")
_GROUPING = pattern("(18 + 25)", r"[\s(){}]")


def is_plain_number(text: str) -> bool:
    """Say whether a text is an integer or a decimal, with or without a minus."""
    return _PLAIN_NUMBER.fullmatch(text) is not None


def is_left_undone(text: str) -> bool:
    """Say whether a text adds or multiplies numbers and does not have the result beside them.

    "18+25" is left undone, and "18+25=43" is not.
    """
    sides = _GROUPING.sub("", text).split("=")
    return any(map(_COMPUTATION.fullmatch, sides)) and not any(map(_PLAIN_NUMBER.fullmatch, sides))
