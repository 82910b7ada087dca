"""Exercise 8: a bound, and the procedure that meets it.  The page is README.md in this folder."""

from collections.abc import Iterator


def kl(a: float, b: float) -> float:
    """Return a ln(a/b) + (1-a) ln((1-a)/(1-b)), in nats, for 0 < a, b < 1."""
    raise NotImplementedError


def fewest(p0: float, p1: float, delta: float) -> float:
    """Return the bound: kl(delta, 1-delta) / kl(p1, p0).

    Nobody who errs with probability delta at most, either way, can recognise a policy of pass rate
    p1 with fewer rollouts on average.
    """
    raise NotImplementedError


def unlocked(rewards: Iterator[int], p0: float, p1: float, delta: float) -> bool:
    """Say whether the pass rate is p1 (True) or p0 (False), with errors of delta at most.

    `next(rewards)` is one more rollout's reward, 0 or 1; take as few as you can.  p0 < p1.
    """
    raise NotImplementedError
