"""Exercise 7: a reward, and how it goes wrong.  The page is README.md in this folder."""

from unittest.mock import patch

from data import Problem
from verifier import extract_answer, verify  # noqa: F401 (the first is for you)

COST = 0.01  # per character of a response


def short(response: str, problem: Problem) -> float:
    """Return 1 for a right response and 0 for a wrong one, less COST per character.

    `verify(response, problem.answer)` says whether it is right.
    """
    raise NotImplementedError


def penalty(response: str, problem: Problem) -> float:
    """Return the cost alone, a number below 0."""
    raise NotImplementedError


# The two keys that mend the run, with the values to give them.
MENDED = {"reward": None, "update.advantage": None}


def careless(response: str, problem: Problem) -> float:
    """1 for an answer that equals the gold one, also for a sum that nobody has worked out."""
    with patch("verifier.unfinished", lambda *_, **__: None):  # the hole, open again in here
        return float(verify(response, problem.answer))


def hack(question: str) -> str:
    """Return a response to a question such as "478+365=" that `careless` pays, unread."""
    raise NotImplementedError


def careful(response: str, problem: Problem) -> float:
    """Return 1 where `careless` pays *and* the answer is one finished number, else 0."""
    raise NotImplementedError
