"""Exercise 6: an acquisition of one's own.  The page is README.md in this folder."""

import numpy as np

from plumbing.config import selectors

EPSILON = 0.1


class EpsilonGreedy(selectors.VolatilityOnly):
    """With probability EPSILON any candidate, and else the one of the largest volatility."""

    def choose(self, candidates: np.ndarray) -> list[int]:
        """Return a list of one of the candidates, (M,), indices of problems in the pool.

        `self.volatility(candidates)` is an array (M,), `self.rng` a numpy Generator.
        """
        raise NotImplementedError


class MyOwn(selectors.OneShotSelector):
    """Yours: the candidate of the largest score is chosen."""

    def scores(self, candidates: np.ndarray) -> np.ndarray:
        """Return a finite score for each candidate, (M,), the same when it is asked twice.

        `self.mean`, `self.variance` and `self.visits` hold what is known of each problem of
        the pool, (N,); `self.mean[candidates]` is (M,).
        """
        raise NotImplementedError
