"""How good can a procedure be?  The optima beside the bounds of `bound.py`, by dynamic programs.

What it teaches: a lower bound is as good as the optimum is close to it.  Each optimum here is over
*all* procedures: what to do next is chosen backwards, from what can follow, for every state that a
procedure can be in.  Where errors are limited, they get a price instead, and the price is raised
until there are few enough of them.

Where it stands: below `bounds.py`, and `python bound.py` prints some of it.  It is no command of
its own, and imports nothing of the project.

Try changing first: the delta that `wald_test` is given.  For 0.36 -> 0.736 and delta = 0.05 it
needs 10.76 rollouts with errors of 3.4%; at 0.07 it needs 9.04, less than the optimum of 9.14, but
one of its errors is 5.3%.  Its thresholds are passed by more than is needed, and this is the loss.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

# --------------------------------------------------------------- telling two pass rates apart


def exact_test(
    p0: float, p1: float, horizon: int, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return E_1[n], P_1(it says "p0") and P_0(it says "p1") of a sequential test, (3,).

    For every number of successes among n flips `choose(L, options)` returns 0 to say "p0", 1 to say
    "p1", or 2 to go on.  L (n+1,) is the likelihood ratio of p0 to p1; options (2 or 3, 3, n+1)
    holds what each choice adds to the three numbers from there on.  At `horizon` it must stop.
    """
    win, loss = math.log(p0 / p1), math.log((1 - p0) / (1 - p1))
    later = np.zeros((3, horizon + 2))
    for n in range(horizon, -1, -1):  # backwards: what comes later is known
        s = np.arange(n + 1)
        L = np.exp(np.clip(s * win + (n - s) * loss, -600, 600))
        options = np.zeros((2 if n == horizon else 3, 3, n + 1))
        options[0, 1], options[1, 2] = 1, L  # under P_1, an error in world 0 weighs L
        if n < horizon:
            options[2] = p1 * later[:, 1:] + (1 - p1) * later[:, :-1]
            options[2, 0] += 1
        later = np.take_along_axis(options, choose(L, options)[None, None], axis=0)[0]
    return later[:, 0]


def wald_test(p0: float, p1: float, delta: float, horizon: int) -> np.ndarray:
    """Return `exact_test` of the practical one: Wald's, which stops where L or 1/L is 1/delta."""

    def choose(L: np.ndarray, options: np.ndarray) -> np.ndarray:
        stop = (L * delta * (1 + 1e-12) >= 1) | (delta * (1 + 1e-12) >= L) | (len(options) == 2)
        return np.where(stop, L < 1, 2)

    return exact_test(p0, p1, horizon, choose)


@cache
def sequential_optimum(p0: float, p1: float, delta: float, horizon: int) -> float:
    """Return the least E_1[n] of all tests whose two errors are at most delta (0 < p0, p1 < 1).

    For any prices of the errors, the least E_1[n] + prices * (errors - delta) of all tests, which a
    dynamic program finds, is no more than that; for the best prices it is equal (Lagrange).  It is
    concave in the prices, so the ellipsoid method (Shor 1977) finds them: each test's excess errors
    say in which half of the ellipse they are.  Tests stop at `horizon`, far beyond the usual.
    """
    nats = p1 * math.log(p1 / p0) + (1 - p1) * math.log((1 - p1) / (1 - p0))
    scale = np.array([2 * math.log(1 / delta), 1 / delta]) / nats  # as the bound's derivatives
    prices, ellipse, best = np.ones(2), 9 * np.eye(2), 0.0
    for _ in range(200):
        if (prices >= 0).all():
            price = np.array([1.0, *(scale * prices)])
            choose = lambda L, options, price=price: (price @ options).argmin(axis=0)  # noqa: E731
            excess = exact_test(p0, p1, horizon, choose) - np.array([0.0, delta, delta])
            best = max(best, float(price @ excess))
            ascent = scale * excess[1:]
        else:
            ascent = (prices < 0).astype(float)
        length = math.sqrt(ascent @ ellipse @ ascent)
        if length < 1e-6 * best:  # no price in the ellipse can bring more than this
            break
        step = ellipse @ ascent / length
        prices = prices + step / 3
        ellipse = 4 / 3 * (ellipse - 2 / 3 * np.outer(step, step))
    return best


def optimum_and_wald(p0: float, p1: float, delta: float) -> tuple[float, float]:
    """Return the least E_1[n] of all tests, and that of Wald's test.

    NaN where tests take so long that the computation does, or numbers are too extreme for float64.
    """
    if not (1e-9 < delta < 0.5 and 1e-9 < min(p0, p1) < max(p0, p1) < 1 - 1e-9):
        return math.nan, math.nan
    nats = p1 * math.log(p1 / p0) + (1 - p1) * math.log((1 - p1) / (1 - p0))
    horizon = 20 + math.ceil(10 * math.log(1 / delta) / max(nats, 1e-9))
    if horizon > 2000:
        return math.nan, math.nan
    optimum = sequential_optimum(p0, p1, delta, horizon)
    return optimum, float(wald_test(p0, p1, delta, horizon)[0])


# --------------------------------------------------------------- naming one of K = 2^bits skills


@cache
def naming_optimum(bits: int, delta: float, rate: float = 0.7, size: int = 14) -> float:
    """Return the least mean number of rollouts that names the skill of `bounds.skill_table`.

    Each bit has a problem of its own, passed with probability `rate` or 1 - `rate`; all other
    problems tell nothing, so that nobody needs them.  What is known of a bit is its lead, by how
    many more rewards spoke for 1 than for 0; leads stop at +-(`size` - 1).  By symmetry the average
    error and the error under every skill have the same optimum.
    """
    low, high, best = 1.0, 1e5, 0.0
    for _ in range(25):  # raise or lower the price of an error, as in `sequential_optimum`
        price = math.sqrt(low * high)
        n, error = priced_naming(bits, price, rate, size)
        best = max(best, n + price * (error - delta))
        low, high = (price, high) if error > delta else (low, price)
    return best


def priced_naming(bits: int, price: float, rate: float, size: int) -> np.ndarray:
    """Return E[n] and P(error) of the procedure with the least E[n] + price * P(error), (2,)."""
    sure = 1 / (1 + ((1 - rate) / rate) ** np.arange(size))  # that the likelier value is right
    grows = sure * rate + (1 - sure) * (1 - rate)  # the chance that its lead grows
    grows[0] = 1.0
    right = np.prod([sure[lead] for lead in np.indices((size,) * bits)], axis=0)
    stop = np.stack([np.zeros_like(right), 1 - right])  # (2, size, ..., size)
    later = stop
    while True:  # once more each round, until more rollouts change nothing
        options = [stop]
        for bit in range(1, bits + 1):
            values = np.moveaxis(later, bit, -1)
            up = np.concatenate([values[..., 1:], values[..., -1:]], axis=-1)
            down = np.concatenate([values[..., 1:2], values[..., :-1]], axis=-1)
            ask = np.moveaxis(grows * up + (1 - grows) * down, -1, bit).copy()
            ask[0] += 1
            options.append(ask)
        costs = np.stack([option[0] + price * option[1] for option in options])
        new = np.take_along_axis(np.stack(options), costs.argmin(axis=0)[None, None], axis=0)[0]
        if np.abs(new - later).max() < 1e-9:
            return new[(slice(None), *(0,) * bits)]
        later = new
