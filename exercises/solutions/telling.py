"""A solution of exercise 8: Wald's sequential test."""

import math
from collections.abc import Iterator


def kl(a: float, b: float) -> float:
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


def fewest(p0: float, p1: float, delta: float) -> float:
    return kl(delta, 1 - delta) / kl(p1, p0)


def unlocked(rewards: Iterator[int], p0: float, p1: float, delta: float) -> bool:
    evidence, enough = 0.0, math.log((1 - delta) / delta)
    while abs(evidence) < enough:
        if next(rewards):
            evidence += math.log(p1 / p0)
        else:
            evidence += math.log((1 - p1) / (1 - p0))
    return evidence > 0
