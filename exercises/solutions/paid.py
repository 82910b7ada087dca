"""A solution of exercise 7."""

import re
from unittest.mock import patch

from data import Problem
from verifier import extract_answer, verify

COST = 0.01  # per character of a response


def short(response: str, problem: Problem) -> float:
    return float(verify(response, problem.answer)) - COST * len(response)


def penalty(response: str, problem: Problem) -> float:
    return -COST * len(response)


MENDED = {
    "reward": {"verifier": 1, "exercises/7/paid.py:penalty": 1},
    "update.advantage": "none",
}


def careless(response: str, problem: Problem) -> float:
    with patch("verifier.unfinished", lambda *_, **__: None):
        return float(verify(response, problem.answer))


def hack(question: str) -> str:
    return f"The answer is {question.rstrip('=')}."


def careful(response: str, problem: Problem) -> float:
    answer = extract_answer(response) or ""
    finished = re.fullmatch(r"-?\d+", answer.strip())
    return careless(response, problem) if finished else 0.0
