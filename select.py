"""The one-shot selector: which single problem is worth this step's rollouts?

What it teaches: rollouts are paid for before anyone knows whether they teach.  A group whose
rewards are all equal has zero advantages and no gradient, and in a real pool most groups are like
that.  The history of rewards tells which problem is likely to be *informative* next: one whose
responses are still sometimes right and sometimes wrong.

Where it stands: the line "i = argmax A_i" of the algorithm box in `train.py`, before the rollouts,
and the line "remember" after them.  For each problem the selector keeps m (running pass rate), v
(running variance of the reward), n (visits) and H (running entropy).  After a group of rewards with
mean r and population variance s2:

    v <- (1-b) v + b [ s2 + (1-b)(r - m)^2 ]     spread within the group and between visits
    m <- m + b (r - m)                           b = `ema`; with 0/1 rewards v = m (1-m) exactly
    V_i = sqrt(v_i)                              volatility, in [0, 1/2] for 0/1 rewards
    A_i = V_i + c h_i sqrt(ln(1+t) / (1+n_i))    acquisition; c = `bonus`, t = groups seen so far
    h_i = clip(H_i / mean H, 1/2, 2)             entropy gate; 1 where H_i is unknown, and always 1
                                                 with `entropy` "none", as in `small.json`
    + 1 where n_i = 0                            with `tour`, as in `small.json`: of the candidates
                                                 those never tried go first, as V_i <= 1

DoPR's own formulas are not known to us.  This is *our* reading of "reward volatility" and
"exploration bonus": v holds both GRPO's variance within a group and the historical variance of
1-shot RLVR (arXiv 2504.20571, eq. 1); the bonus has the form of UCB1 (Auer et al. 2002), as in XRPO
(arXiv 2510.06672).  A problem that was never visited counts as maximally volatile (m = 1/2,
v = 1/4), so that every problem is tried early.

With 0/1 rewards V is therefore a function of m alone, whatever `ema` is: it does not tell drift
from spread.  For a constant pass rate p, E v = p (1-p) [1 - b / ((2-b) G)] in the long run.  And
after k failed groups a problem has m = (1-b)^k / 2, so that against a rival with V* (and many
visits) the bonus brings it back only when ln(1+t) >= (1+k) ((V* - V_k) / c)^2.  Against p = 0.3,
with c = 0.05 and no gate, that is at group t:

    failed groups k        1           2           3          4          5
    ema 0.3            at once         2      40,000      never      never
    ema 0.9              never      never      never      never      never

where "never" is beyond 10^14.  So at 0.3 each dull problem costs three groups, at 0.9 one.

The rewards that a selector is given here are the verdicts, 1 for right and 0 for wrong: whether a
problem can still teach depends on them, however the advantages are made.  Where the verifier takes
no part in the reward (`reward.py`), a verdict is the reward clipped to [0, 1], a share of a
success, and each docstring below says how it is read.

Try changing first: `ema`, with `--set selector.name=dopr --set selector.bonus=0.2`.  At 0.9, on
seeds 0 to 2, 71, 56 and 62 of the 185 groups are informative, at 0.3 only 35, 27 and 30, since a
group is eight observations, and the newest group is the best guess of the next.  Then `bonus`, with
ema 0.9: at 0 it is 98, 63 and 77 groups, and at 1 it is 34, 37 and 37, as curiosity outweighs the
history.  All of these runs end at 98.0 to 99.0%: the default job forgives much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

if __name__ == "select":  # imported in place of the standard module: see plumbing/selectors.py
    from plumbing.selectors import hand_over

    hand_over()
else:
    import numpy as np


class OneShotSelector:
    """DoPR's selector: the candidate with the most volatility plus exploration is chosen.

    Of rewards between 0 and 1 it keeps mean and variance as they are; then v <= m (1-m).
    `n_problems` is the size of the pool.  `entropy` says whose entropy scales the bonus: that of
    the sampled tokens ("policy"), of the answers they led to ("answers"), or nobody's ("none").
    With `tour` candidates that were never tried go first, as UCB1 begins.  Raises
    ValueError for parameters, candidates or rewards that make no sense.
    """

    MEMORY = ("mean", "variance", "visits", "entropies", "t")  # what a checkpoint has to hold
    NEEDS_VERDICTS = False  # whether it counts passes and failures: rewards from 0 to 1

    def __init__(
        self,
        n_problems: int,
        ema: float = 0.3,
        bonus: float = 0.05,
        entropy: str = "policy",
        seed: int = 0,
        tour: bool = False,
    ) -> None:
        if n_problems < 1 or not 0 < ema <= 1 or not 0 <= bonus < math.inf:
            raise ValueError(
                f"need n_problems >= 1, 0 < ema <= 1 and a finite bonus >= 0, "
                f"not {n_problems}, {ema} and {bonus}"
            )
        if entropy not in ("policy", "answers", "none"):
            raise ValueError(f"entropy must be 'policy', 'answers' or 'none', not {entropy!r}")
        self.ema, self.bonus, self.entropy, self.tour = ema, bonus, entropy, tour
        self.rng = np.random.default_rng(seed)
        self.forget(n_problems)

    def forget(self, n_problems: int) -> None:
        """Start with an empty memory of so many problems."""
        self.mean = np.full(n_problems, 0.5)  # m, (N,)
        self.variance = np.full(n_problems, 0.25)  # v, (N,)
        self.visits = np.zeros(n_problems, dtype=np.int64)  # n, (N,)
        self.entropies = np.full(n_problems, np.nan)  # H, (N,); NaN while it is unknown
        self.t = 0  # groups seen, of all problems

    def volatility(self, candidates: Sequence[int]) -> np.ndarray:
        """Return V_i = sqrt(v_i), the running standard deviation of the reward, (M,)."""
        return np.sqrt(self.variance[candidates])

    def exploration(self, candidates: Sequence[int]) -> np.ndarray:
        """Return c h_i sqrt(ln(1+t) / (1+n_i)), large for problems seldom visited, (M,).

        On a `tour` 1 is added where n_i = 0.
        """
        gate = np.ones(len(candidates))  # h, (M,)
        known = np.isfinite(self.entropies)  # (N,)
        if self.entropy != "none" and known.any() and self.entropies[known].mean() > 0:
            relative = self.entropies[candidates] / self.entropies[known].mean()  # (M,)
            gate = np.where(known[candidates], np.clip(relative, 0.5, 2.0), 1.0)
        n = self.visits[candidates]  # (M,)
        first = self.tour * (n == 0)  # (M,)
        return first + self.bonus * gate * np.sqrt(math.log(1 + self.t) / (1 + n))

    def scores(self, candidates: Sequence[int]) -> np.ndarray:
        """Return the acquisition A_i of each candidate, (M,); asking for it changes nothing."""
        candidates = np.asarray(candidates)
        return self.volatility(candidates) + self.exploration(candidates)

    def choose(self, candidates: Sequence[int]) -> list[int]:
        """Return the candidates to roll out: the one of the highest score, ties broken at random.

        A list, since the full-batch baseline returns all of them.
        """
        scores = self.scores(candidates)
        if len(scores) == 0 or not np.isfinite(scores).all():
            raise ValueError(f"cannot choose by these scores: {scores.tolist()}")
        best = np.flatnonzero(scores == scores.max())
        return [int(candidates[self.rng.choice(best)])]

    def update(self, i: int, rewards: Sequence[float], entropy: float | None = None) -> None:
        """Remember the rewards (G,) of a group of problem i, and its entropy (nats) if known."""
        rewards = np.asarray(rewards, dtype=np.float64)
        known = 0 <= i < len(self.mean) and rewards.size > 0 and np.isfinite(rewards).all()
        if not known or (self.NEEDS_VERDICTS and not ((rewards >= 0) & (rewards <= 1)).all()):
            needed = "verdicts from 0 to 1" if self.NEEDS_VERDICTS else "finite numbers"
            raise ValueError(
                f"cannot learn from rewards {rewards.tolist()} of problem {i}: give it {needed}"
            )
        b, r = self.ema, rewards.mean()
        # West's exponentially weighted variance, with the group's own variance inside
        deviation = rewards.var() + (1 - b) * (r - self.mean[i]) ** 2
        self.variance[i] += b * (deviation - self.variance[i])
        self.mean[i] += b * (r - self.mean[i])
        if entropy is not None:
            first = np.isnan(self.entropies[i])
            self.entropies[i] = entropy if first else (1 - b) * self.entropies[i] + b * entropy
        self.visits[i] += 1
        self.t += 1

    def state_dict(self) -> dict:
        """Return all that is needed to go on exactly, in plain types that JSON can hold."""
        state = {name: getattr(self, name) for name in self.MEMORY}
        arrays = {name: a.tolist() for name, a in state.items() if isinstance(a, np.ndarray)}
        arrays["entropies"] = [None if math.isnan(h) else h for h in arrays["entropies"]]
        return {**state, **arrays, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict) -> None:
        """Go on from the `state_dict()` of a selector of the same kind over as many problems."""
        if len(state["mean"]) != len(self.mean):
            raise ValueError(f"the state is of {len(state['mean'])} problems, not {len(self.mean)}")
        for name in self.MEMORY:
            fresh, saved = getattr(self, name), state[name]
            if isinstance(fresh, np.ndarray):
                saved = np.array(saved, dtype=fresh.dtype)  # None in it becomes NaN again
                if saved.shape != fresh.shape:
                    raise ValueError(f"{name} has shape {saved.shape}, not {fresh.shape}")
            setattr(self, name, saved)
        self.rng.bit_generator.state = state["rng"]


class Informative(OneShotSelector):
    """The default: V_i estimates what volatility only stands for, whether the next group teaches.

        V_i = (1 - E[p^G] - E[(1-p)^G]) (1 - E[p^3])

    is the chance that G rewards are not all equal, times the chance that at least one of three more
    tries is wrong, so that something is left to learn.  The pass rate p is Beta(1/2 + hits, 1/2 +
    misses), Jeffreys' prior, and each visit first multiplies both counts by 1 - `ema`.  With G = 8
    a problem that was never visited has V = .42; after one group it has .80 if 4 of 8 were right,
    .29 if none was and .04 if all were.  sqrt(v) cannot tell a problem never visited from one that
    was seen to vary, nor one visit with 4 of 8 from many; V_i can.  The formula is ours.  The
    product is a score, not the probability of both, which is 1 - E p^G - E q^G - E p^3 + E p^(G+3)
    + E p^3 q^G with q = 1-p (.46 for an unseen problem).  With a flat prior, 1 in place of 1/2, a
    problem that failed once has .47, and at least .22 however often it fails: the default job then
    goes on trying products, which it can never do.  `experiments/replay.py` leaves out one part
    after the other.  A reward r between 0 and 1 counts as r of a hit and 1-r of a miss.
    """

    MEMORY = (*OneShotSelector.MEMORY, "hits", "misses", "group_size")
    NEEDS_VERDICTS = True
    TRIES = 3  # fewer avoid half-learned problems already, more still visit nearly learned ones
    PRIOR = 0.5  # both counts begin with it; with less, p near 0 or 1 is expected more often

    def forget(self, n_problems: int) -> None:
        super().forget(n_problems)
        self.hits = np.zeros(n_problems)  # faded counts, (N,)
        self.misses = np.zeros(n_problems)
        self.group_size = 8  # a guess, until the first group

    def volatility(self, candidates: Sequence[int]) -> np.ndarray:
        a, b = self.PRIOR + self.hits[candidates], self.PRIOR + self.misses[candidates]  # (M,)

        def in_a_row(n: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            """Return E[p^n] = prod_j (a + j) / (a + b + j) over j < n, where p ~ Beta(a, b)."""
            j = np.arange(n)[:, None]  # (n, 1)
            return np.prod((a + j) / (a + b + j), axis=0)  # (M,)

        G = self.group_size
        teaches = 1 - in_a_row(G, a, b) - in_a_row(G, b, a)
        return teaches * (1 - in_a_row(self.TRIES, a, b))

    def update(self, i: int, rewards: Sequence[float], entropy: float | None = None) -> None:
        super().update(i, rewards, entropy)
        rewards = np.asarray(rewards, dtype=np.float64)
        self.group_size = rewards.size
        self.hits[i] += rewards.sum() - self.ema * self.hits[i]
        self.misses[i] += (1 - rewards).sum() - self.ema * self.misses[i]


# ------------------------------------------------------------------------------------- baselines
# Each keeps DoPR's memory, whatever it chooses by, so that every arm logs the same numbers.


class VolatilityOnly(OneShotSelector):
    """No exploration: A_i = V_i, the standard deviation of rewards of any size."""

    def exploration(self, candidates: Sequence[int]) -> np.ndarray:
        return np.zeros(len(candidates))


class UcbOnly(OneShotSelector):
    """No volatility: the candidate with the fewest visits, so that problems take turns.

    It counts visits and reads no reward; `entropy` may give some problems more turns.
    """

    def volatility(self, candidates: Sequence[int]) -> np.ndarray:
        return np.zeros(len(candidates))


class RandomOne(OneShotSelector):
    """Any candidate, whatever the rewards: all scores are equal, and ties are broken at random."""

    def scores(self, candidates: Sequence[int]) -> np.ndarray:
        return np.zeros(len(candidates))


class FixedOne(RandomOne):
    """1-shot RLVR (arXiv 2504.20571): one problem, drawn at the first step, at every step.

    The only selector whose choice need not be among the candidates of the step; no reward changes
    it.
    """

    MEMORY = (*OneShotSelector.MEMORY, "fixed")
    fixed: list[int] | None = None

    def choose(self, candidates: Sequence[int]) -> list[int]:
        self.fixed = self.fixed or super().choose(candidates)
        return self.fixed


class Thompson(OneShotSelector):
    """Thompson sampling: draw a pass rate p from each Beta posterior, choose the largest p (1 - p).

    The draws hold until the next update, so that asking for scores does not change them.  A reward
    r between 0 and 1 counts as r passed and 1-r failed.
    """

    MEMORY = (*OneShotSelector.MEMORY, "passed", "failed", "draw")
    NEEDS_VERDICTS = True

    def forget(self, n_problems: int) -> None:
        super().forget(n_problems)
        self.passed = np.ones(n_problems)  # Beta(1, 1): nothing is known
        self.failed = np.ones(n_problems)
        self.draw = self.rng.beta(self.passed, self.failed)  # (N,)

    def scores(self, candidates: Sequence[int]) -> np.ndarray:
        p = self.draw[np.asarray(candidates)]  # (M,)
        return p * (1 - p)

    def update(self, i: int, rewards: Sequence[float], entropy: float | None = None) -> None:
        super().update(i, rewards, entropy)
        self.passed[i] += np.sum(rewards)
        self.failed[i] += np.size(rewards) - np.sum(rewards)
        self.draw = self.rng.beta(self.passed, self.failed)


class Mopps(Thompson):
    """MoPPS (arXiv 2507.04632): Thompson sampling with counts that fade, as the policy changes.

    The paper takes the draw nearest to 1/2, which is the one of the largest p (1 - p).  Each visit
    first moves both counts towards the prior's by `ema`; the paper's lambda is 1 - `ema`.  Rewards
    between 0 and 1 are shared out as in `Thompson`.
    """

    def update(self, i: int, rewards: Sequence[float], entropy: float | None = None) -> None:
        self.passed[i] += self.ema * (1 - self.passed[i])
        self.failed[i] += self.ema * (1 - self.failed[i])
        super().update(i, rewards, entropy)


class Greso(OneShotSelector):
    """GRESO (arXiv 2506.02177): skip, more or less surely, what was uninformative in a row.

    A problem whose last z groups were all right is kept with probability p_easy^z, and one whose
    last z were all wrong with p_hard^z.  Any of those kept is chosen, or any of all if none is.
    The paper moves p_easy and p_hard by 1% per batch, towards 1 of 12 groups all right and 1 of 6
    all wrong.  A batch of one group is one or the other or neither, so here the size of the move
    follows: the targets are the same.  A group is dull if its rewards are equal, whatever they are;
    above 0 it then counts as all right.
    """

    MEMORY = (*OneShotSelector.MEMORY, "streak", "easy", "keep", "draw")
    NEEDS_VERDICTS = True
    TARGETS, STEP = (1 / 6, 1 / 12), 0.01  # the shares of groups all wrong, all right

    def forget(self, n_problems: int) -> None:
        super().forget(n_problems)
        self.streak = np.zeros(n_problems)  # z, (N,)
        self.easy = np.zeros(n_problems, dtype=np.int64)  # 1 where the last group was all right
        self.keep = np.array([0.5, 0.5])  # p_hard, p_easy
        self.draw = self.rng.random(n_problems)  # (N,), until the next update

    def scores(self, candidates: Sequence[int]) -> np.ndarray:
        candidates = np.asarray(candidates)
        kept = self.keep[self.easy[candidates]] ** self.streak[candidates]  # (M,)
        return (self.draw[candidates] < kept).astype(float)

    def update(self, i: int, rewards: Sequence[float], entropy: float | None = None) -> None:
        super().update(i, rewards, entropy)
        low, high = np.min(rewards), np.max(rewards)
        easy = int(low > 0)
        self.streak[i] = (self.streak[i] * (easy == self.easy[i]) + 1) if low == high else 0
        self.easy[i] = easy
        found = (low == high) * (np.arange(2) == easy)  # (2,) all wrong, all right
        self.keep = np.clip(self.keep + self.STEP * (np.array(self.TARGETS) - found), 0.05, 0.95)
        self.draw = self.rng.random(len(self.draw))


class Xrpo(Informative):
    """XRPO (arXiv 2510.06672): the problem whose pass rate the next group would make surer by most.

        A_i = h(n) - h(n + G) + c sqrt(ln(1+t) / (1+n_i)),   h(n) = t(.975; n-1) s / sqrt(n)

    h is half of the 95% confidence interval of the mean of n rewards of standard deviation s.  The
    paper shares out single rollouts within a step; here the history takes the place of what a step
    has sampled.  Counts fade as in `Informative`, and begin with one right and one wrong.  Of
    rewards between 0 and 1 only the mean counts: s is the spread of 0s and 1s with that mean.
    """

    def volatility(self, candidates: Sequence[int]) -> np.ndarray:
        n = 2 + self.hits[candidates] + self.misses[candidates]  # (M,)
        p = (1 + self.hits[candidates]) / n  # (M,)
        s = np.sqrt(p * (1 - p) * n / (n - 1))  # (M,)

        def half_width(n: np.ndarray) -> np.ndarray:
            return student_quantile(n - 1) * s / np.sqrt(n)

        return half_width(n) - half_width(n + self.group_size)


def student_quantile(freedom: np.ndarray) -> np.ndarray:
    """Return the 97.5% quantile of Student's t, to 1% from 3 degrees of freedom on.

    It is the expansion of Fisher and Cornish (1960) in the normal quantile, four terms of it.
    """
    z, f = 1.959964, freedom
    return (
        z
        + (z**3 + z) / (4 * f)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * f**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * f**3)
    )


class FullBatch(RandomOne):
    """No selection, as in plain GRPO: all candidates, at M times the rollouts per step.

    It reads no reward.
    """

    def choose(self, candidates: Sequence[int]) -> list[int]:
        return [int(i) for i in candidates]


SELECTORS = {
    "dopr": OneShotSelector,
    "informative": Informative,
    "random_one": RandomOne,
    "fixed_one": FixedOne,
    "volatility_only": VolatilityOnly,
    "ucb_only": UcbOnly,
    "thompson": Thompson,
    "mopps": Mopps,
    "greso": Greso,
    "xrpo": Xrpo,
    "full_batch": FullBatch,
}
