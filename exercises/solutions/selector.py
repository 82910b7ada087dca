"""A solution of exercise 6."""

from collections.abc import Sequence

import numpy as np

from plumbing.config import selectors

EPSILON = 0.1


class EpsilonGreedy(selectors.VolatilityOnly):
    """Any candidate with probability EPSILON, else the one of the largest volatility."""

    def choose(self, candidates: np.ndarray) -> list[int]:
        if self.rng.random() < EPSILON:
            return [int(self.rng.choice(candidates))]
        volatility = self.volatility(candidates)  # (M,)
        best = np.flatnonzero(volatility == volatility.max())
        return [int(candidates[self.rng.choice(best)])]


class MyOwn(selectors.OneShotSelector):
    """Hope: 1 at first, 1/2 where the last group differed, an eighth of it after a dull one."""

    MEMORY = (*selectors.OneShotSelector.MEMORY, "hope")

    def forget(self, n_problems: int) -> None:
        super().forget(n_problems)
        self.hope = np.ones(n_problems)  # (N,)

    def update(self, i: int, rewards: Sequence[float], entropy: float | None = None) -> None:
        super().update(i, rewards, entropy)
        dull = np.min(rewards) == np.max(rewards)
        self.hope[i] = self.hope[i] / 8 if dull else 0.5

    def scores(self, candidates: np.ndarray) -> np.ndarray:
        return self.hope[candidates]
