"""Exercise 5: volatility and the bonus.  The page is README.md in this folder."""

from collections.abc import Sequence

import numpy as np


def remember(
    mean: float, variance: float, rewards: Sequence[float], ema: float
) -> tuple[float, float]:
    """Return a problem's running mean and variance, two numbers, after a group's list of rewards.

    r and s2 are the group's mean and population variance, b is `ema`:
        v <- (1-b) v + b [ s2 + (1-b) (r - m)^2 ]    with the m of before
        m <- m + b (r - m)
    """
    raise NotImplementedError


def volatility(variance: np.ndarray) -> np.ndarray:
    """Return V = sqrt(v) of each problem, (M,) -> (M,)."""
    raise NotImplementedError


def bonus(visits: np.ndarray, t: int, c: float) -> np.ndarray:
    """Return c sqrt(ln(1+t) / (1+n)) of each problem, (M,); t groups were seen, n of this one."""
    raise NotImplementedError
