"""A solution of exercise 5."""

import math
from collections.abc import Sequence

import numpy as np


def remember(
    mean: float, variance: float, rewards: Sequence[float], ema: float
) -> tuple[float, float]:
    r, s2 = np.mean(rewards), np.var(rewards)
    variance = (1 - ema) * variance + ema * (s2 + (1 - ema) * (r - mean) ** 2)
    return mean + ema * (r - mean), variance


def volatility(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(variance)


def bonus(visits: np.ndarray, t: int, c: float) -> np.ndarray:
    return c * np.sqrt(math.log(1 + t) / (1 + visits))
