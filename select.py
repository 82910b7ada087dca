"""The one-shot selector: which single problem is worth this step's rollouts?

What it teaches: rollouts are spent before anyone knows whether they teach.  A group whose rewards
are all equal has zero advantage and no gradient, and in a real pool that is most groups.  The
history of rewards predicts which problem is *informative* next: the one whose rewards still vary.

Where it stands: the line "i_t = argmax over the candidates of A_i" of DoPR, before each rollout;
and after it the update of what is remembered of problem i.  Per problem: m (running pass rate), v
(running reward variance), n (visits), H (running entropy).  After a group with mean reward r and
population variance s2:

    v <- (1-b) v + b [ s2 + (1-b)(r - m)^2 ]     within the group, plus the drift between visits
    m <- m + b (r - m)                           b = `ema`; with 0/1 rewards v = m (1-m) exactly
    V_i = sqrt(v_i)                              volatility, in [0, 1/2]
    A_i = V_i + c h_i sqrt(ln(1+t) / (1+n_i))    acquisition; c = `bonus`, t = groups seen so far
    h_i = clip(H_i / mean H, 1/2, 2)             entropy gate; 1 where H_i is unknown or `entropy`
                                                 is "none", which it is in `small.json`

The paper's own formulas are not known to us, so this is *our* reading of "reward volatility" and
"exploration bonus": v holds both GRPO's within-group variance and the historical variance of 1-shot
RLVR (arXiv 2504.20571, eq. 1); the bonus has the shape of UCB1 (Auer et al. 2002) as in XRPO (arXiv
2510.06672).  An unseen problem looks maximally volatile (m = 1/2, v = 1/4), so each is tried early.

`Informative`, the default, keeps all this but V: it asks outright what V stands for, how likely the
next group is to teach.  The README has both beside the other arms.

Try changing first: `bonus` (0 trusts the history alone, 1 drowns it), then `ema`.

This file shares its name with a module of the standard library, which `subprocess` and with it
torch import by that name.  So under the name `select` it hands over the real one; the project loads
it by its path under another name (`config.selectors`).
"""

from __future__ import annotations

import math
import sys

if __name__ == "select":  # asked for by the standard library, not by us
    from importlib.machinery import BuiltinImporter, PathFinder
    from importlib.util import module_from_spec

    # built into some interpreters, a shared library of others, and never a .py file
    _specs = [
        BuiltinImporter.find_spec("select"),
        *(PathFinder.find_spec("select", [p]) for p in sys.path),
    ]
    _spec = next(s for s in _specs if s is not None and not str(s.origin).endswith(".py"))
    sys.modules["select"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["select"])
else:  # importing numpy in the other case would go round in a circle
    import numpy as np


class OneShotSelector:
    """DoPR's selector: per candidate volatility plus exploration, and the largest sum is chosen.

    `n_problems` is the size of the pool; `entropy` says what `update` is given as a group's entropy
    ("policy": of the sampled tokens, "answers": of the answers they led to) or that it counts for
    nothing ("none").  Raises ValueError for parameters, candidates or rewards that make no sense.
    """

    def __init__(self, n_problems, ema=0.3, bonus=0.05, entropy="policy", seed=0):
        if n_problems < 1 or not 0 < ema <= 1 or not 0 <= bonus < math.inf:
            raise ValueError(
                f"need n_problems >= 1, 0 < ema <= 1 and a finite bonus >= 0, "
                f"not {n_problems}, {ema} and {bonus}"
            )
        if entropy not in ("policy", "answers", "none"):
            raise ValueError(f"entropy must be 'policy', 'answers' or 'none', not {entropy!r}")
        self.ema, self.bonus, self.entropy = ema, bonus, entropy
        self.mean = np.full(n_problems, 0.5)  # m, (N,)
        self.variance = np.full(n_problems, 0.25)  # v, (N,)
        self.visits = np.zeros(n_problems, dtype=np.int64)  # n, (N,)
        self.entropies = np.full(n_problems, np.nan)  # H, (N,); NaN where unknown
        self.t = 0  # groups seen
        self.rng = np.random.default_rng(seed)

    def volatility(self, candidates) -> np.ndarray:
        """V_i = sqrt(v_i), the running standard deviation of the reward, (M,)."""
        return np.sqrt(self.variance[candidates])

    def exploration(self, candidates) -> np.ndarray:
        """c h_i sqrt(ln(1+t) / (1+n_i)): large for problems seldom visited, (M,)."""
        gate = np.ones(len(candidates))  # h, (M,)
        known = np.isfinite(self.entropies)  # (N,)
        if self.entropy != "none" and known.any() and self.entropies[known].mean() > 0:
            relative = self.entropies[candidates] / self.entropies[known].mean()  # (M,)
            gate = np.where(known[candidates], np.clip(relative, 0.5, 2.0), 1.0)
        return self.bonus * gate * np.sqrt(math.log(1 + self.t) / (1 + self.visits[candidates]))

    def scores(self, candidates) -> np.ndarray:
        """The acquisition A_i of each candidate, (M,); asking changes nothing."""
        candidates = np.asarray(candidates)
        return self.volatility(candidates) + self.exploration(candidates)

    def choose(self, candidates) -> int:
        """The candidate of the highest score; ties are broken at random."""
        scores = self.scores(candidates)
        if len(scores) == 0 or not np.isfinite(scores).all():
            raise ValueError(f"cannot choose by these scores: {scores.tolist()}")
        best = np.flatnonzero(scores == scores.max())
        return int(candidates[self.rng.choice(best)])

    def update(self, i, rewards, entropy=None) -> None:
        """Remember the rewards (G,) of a group of problem i, and its entropy (nats) if known."""
        rewards = np.asarray(rewards, dtype=np.float64)
        if not 0 <= i < len(self.mean) or rewards.size == 0 or not np.isfinite(rewards).all():
            raise ValueError(f"cannot learn from rewards {rewards.tolist()} of problem {i}")
        b, r = self.ema, rewards.mean()
        # West's exponentially weighted variance, with the group's own variance inside
        self.variance[i] += b * (
            rewards.var() + (1 - b) * (r - self.mean[i]) ** 2 - self.variance[i]
        )
        self.mean[i] += b * (r - self.mean[i])
        if entropy is not None:
            first = np.isnan(self.entropies[i])
            self.entropies[i] = entropy if first else (1 - b) * self.entropies[i] + b * entropy
        self.visits[i] += 1
        self.t += 1

    def state_dict(self) -> dict:
        """All that `load_state_dict` needs to go on exactly, in plain types that JSON can hold."""
        return {
            "mean": self.mean.tolist(),
            "variance": self.variance.tolist(),
            "visits": self.visits.tolist(),
            "entropies": [None if np.isnan(h) else h for h in self.entropies.tolist()],
            "t": self.t,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict()` of a selector of the same kind over as many problems."""
        if len(state["mean"]) != len(self.mean):
            raise ValueError(f"the state is of {len(state['mean'])} problems, not {len(self.mean)}")
        self.mean = np.array(state["mean"], dtype=np.float64)
        self.variance = np.array(state["variance"], dtype=np.float64)
        self.visits = np.array(state["visits"], dtype=np.int64)
        self.entropies = np.array(state["entropies"], dtype=np.float64)  # None becomes NaN
        self.t = state["t"]
        self.rng.bit_generator.state = state["rng"]


class Informative(OneShotSelector):
    """DoPR with the volatility's purpose in its place: the chance that the next group teaches.

    V_i = (1 - E[p^G] - E[(1-p)^G]) (1 - E[p^3]): the chance that G rewards are not all equal, times
    the chance that three more tries would show something left to learn.  The pass rate p is
    Beta(1 + hits, 1 + misses); each visit first multiplies both counts by 1 - `ema`.  Beside
    sqrt(v) it knows how little an unseen problem promises against one that was seen to vary, and
    that 4 of 8 once is less certain than always.  Ours; `experiments/replay.py` leaves out one part
    after the other.
    """

    TRIES = 3  # 1 turns away from half-learned problems too, infinitely many from none

    def __init__(self, n_problems, ema=0.3, bonus=0.05, entropy="policy", seed=0):
        super().__init__(n_problems, ema, bonus, entropy, seed)
        self.hits = np.zeros(n_problems)
        self.misses = np.zeros(n_problems)
        self.group_size = 8  # until the first group tells

    def volatility(self, candidates):
        a, b = 1 + self.hits[candidates], 1 + self.misses[candidates]  # (M,)

        def in_a_row(n, a, b):
            """E[p^n] = prod_j (a + j) / (a + b + j) for j < n, where p ~ Beta(a, b)."""
            j = np.arange(n)[:, None]  # (n, 1)
            return np.prod((a + j) / (a + b + j), axis=0)  # (M,)

        G = self.group_size
        teaches = 1 - in_a_row(G, a, b) - in_a_row(G, b, a)
        return teaches * (1 - in_a_row(self.TRIES, a, b))

    def update(self, i, rewards, entropy=None):
        super().update(i, rewards, entropy)
        rewards = np.asarray(rewards, dtype=np.float64)
        self.group_size = rewards.size
        self.hits[i] += rewards.sum() - self.ema * self.hits[i]
        self.misses[i] += (1 - rewards).sum() - self.ema * self.misses[i]

    def state_dict(self):
        own = {"hits": self.hits.tolist(), "misses": self.misses.tolist()}
        return {**super().state_dict(), **own, "group_size": self.group_size}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.hits = np.array(state["hits"], dtype=np.float64)
        self.misses = np.array(state["misses"], dtype=np.float64)
        self.group_size = state["group_size"]


# --------------------------------------------------------------------------- baselines
# Each differs from DoPR in one thing and keeps its memory: every arm logs the same quantities.


class VolatilityOnly(OneShotSelector):
    """No exploration: A_i = V_i."""

    def exploration(self, candidates):
        return np.zeros(len(candidates))


class UcbOnly(OneShotSelector):
    """No volatility: the least visited candidate, more or less a walk through the pool in turn."""

    def volatility(self, candidates):
        return np.zeros(len(candidates))


class RandomOne(OneShotSelector):
    """Any candidate: all tie, and ties are broken at random."""

    def scores(self, candidates):
        return np.zeros(len(candidates))


class FixedOne(RandomOne):
    """1-shot RLVR (arXiv 2504.20571): one problem, drawn at the first step, at every step.

    The one selector whose choice may lie outside the candidates of a later step.
    """

    fixed: int | None = None

    def choose(self, candidates):
        if self.fixed is None:
            self.fixed = super().choose(candidates)
        return self.fixed

    def state_dict(self):
        return {**super().state_dict(), "fixed": self.fixed}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.fixed = state["fixed"]


class Thompson(OneShotSelector):
    """Thompson sampling: draw a pass rate p from each Beta posterior, choose the largest p (1 - p).

    One draw a problem holds until the next update, so that scores can be asked for without changing
    them.
    """

    def __init__(self, n_problems, ema=0.3, bonus=0.05, entropy="policy", seed=0):
        super().__init__(n_problems, ema, bonus, entropy, seed)
        self.passed = np.ones(n_problems)  # Beta(1, 1): nothing known
        self.failed = np.ones(n_problems)
        self.draw = self.rng.beta(self.passed, self.failed)  # (N,)

    def scores(self, candidates):
        p = self.draw[np.asarray(candidates)]  # (M,)
        return p * (1 - p)

    def update(self, i, rewards, entropy=None):
        super().update(i, rewards, entropy)
        self.passed[i] += np.sum(rewards)
        self.failed[i] += np.size(rewards) - np.sum(rewards)
        self.draw = self.rng.beta(self.passed, self.failed)

    def state_dict(self):
        own = {name: getattr(self, name).tolist() for name in ("passed", "failed", "draw")}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        for name in ("passed", "failed", "draw"):
            setattr(self, name, np.array(state[name], dtype=np.float64))


class FullBatch(RandomOne):
    """No selection, as in plain GRPO: every candidate, M times the rollouts a step."""

    def choose(self, candidates) -> list[int]:
        return [int(i) for i in candidates]


SELECTORS = {
    "dopr": OneShotSelector,
    "informative": Informative,
    "random_one": RandomOne,
    "fixed_one": FixedOne,
    "volatility_only": VolatilityOnly,
    "ucb_only": UcbOnly,
    "thompson": Thompson,
    "full_batch": FullBatch,
}
