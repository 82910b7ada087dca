"""How few rollouts can possibly be enough to unlock an ability from verifiable rewards?

What it teaches: lower bounds by change of measure, and what one well-chosen problem can and cannot
give.  Theorem 1 of DoPR (arXiv 2602.00815) is not public to us; the theorems below are known ones,
chosen by us, each with its assumptions and source, and each checked by simulating the best
procedure there is.

Where it stands: beside the algorithm.  `python bound.py` prints every bound with its simulation and
draws `bound.png`; `python bound.py --run runs/small` sets a training run's rollouts against them.

Try changing first: `skill_table`, the pass rate of every problem under every skill.  Make the
informative problems weaker, rarer or noisier: which way of picking problems suffers most?

THE ARGUMENT, ON ONE PAGE

A reward of 0 or 1 is a coin.  Whoever decides something from coins can only decide as well as the
coins differ between the worlds they could come from.  Write kl(a, b) = a ln(a/b) + (1-a)
ln((1-a)/(1-b)) for the divergence between coins of bias a and b, in nats.

1. Change of measure.  Let a procedure look at coins one after the other, choose each next coin as
it likes, stop when it likes (after n flips, n random) and decide.  Let world 1 and world 0 give
coin x the biases p_x and q_x.  For every event D that the flips decide,
        sum over x of E_1[n_x] kl(p_x, q_x)  >=  kl(P_1(D), P_0(D)),
for the left side is the divergence between what the two worlds show (Wald's identity: divergence
adds up over the flips), and looking at D alone cannot increase it (data processing).  [Wald 1945;
Kaufmann, Cappe, Garivier, arXiv 1407.4443, lemma 1]

2. Recognition.  Has a policy of pass rate p0 become one of p1?  Errors of at most delta both ways
force kl(P_1(D), P_0(D)) >= kl(delta, 1-delta), hence E_1[n] >= kl(delta, 1-delta) / kl(p1, p0).
With n fixed beforehand, P_1(err) + P_0(err) >= exp(-n kl)/2 (Bretagnolle, Huber 1979) gives
n >= ln(1/(4 delta)) / min(kl(p0,p1), kl(p1,p0)).  The exact best fixed n is Neyman and Pearson's.

3. Discovery.  Before the first success there is nothing to reinforce.  n independent tries fail
altogether with probability (1-p)^n, so a success is seen with probability 1-delta iff
n >= ln(1/delta) / -ln(1-p).  GRPO needs more: a group of G with unequal rewards, which a group is
with probability 1 - p^G - (1-p)^G.

4. Identification.  K latent skills are possible, problem x is solved with probability P_xk under
skill k; which one is it?  (a) Fano: one reward carries at most C bits, the capacity of the channel
from skill to reward, and log2 K bits are missing, up to what delta forgives; for a uniform prior
and an average error of delta, E[n] >= [(1-delta) log2 K - h(delta)] / C.  (b) Transport: point 1
holds against each wrong skill k separately, so the fractions w_x of problems must satisfy
        E_J[n] sum_x w_x kl(P_xJ, P_xk)  >=  kl(delta, 1-delta)     for all k at once.
The best w is a strategy in a zero-sum game; by duality any weights lambda over the wrong skills
certify
        E_J[n] >= kl(delta, 1-delta) / max over x of sum_k lambda_k kl(P_xJ, P_xk).
[Chernoff 1959; Garivier, Kaufmann, arXiv 1602.04589]

5. Few problems suffice.  The game's best w is a vertex of a linear program with K-1 constraints
besides sum w = 1, so at most K-1 problems are needed whatever the size of the pool, and for K = 2
exactly one: the problem whose coin differs most.  And which one differs most can be seen without
knowing the answer: a problem that half of the remaining skills solve has reward variance near 1/4,
one that all or none solve has none.  Picking the largest *predictive variance* is nearly optimal in
the simulations below (within 1.5x), picking at random wastes the share of the pool that cannot
tell skills apart.  This is the bridge to DoPR: volatility is an estimate of that variance.

6. The KL budget.  However it is trained, a policy of pass rate p1 has moved at least kl(p1, p0)
nats from its start in divergence of whole responses (data processing again), and reward tilting, pi
proportional to pi_0 exp(r / beta), moves no further.

What this does NOT say.  These are bounds on information: nobody can *decide* with fewer rollouts.
They do not bound how many gradient steps it takes to write the decision into weights, and say
nothing of a learner that gets other signals (a demonstration, the text of the problem).  A run's
rollouts divided by the bound is its *optimisation gap*, and it is large: learning is not deciding.

Departures: all logarithms natural but in `capacity` and Fano's bound (bits); (a) drops the "-1" of
Fano's log2(K-1), as is common, and is the weaker for it.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from curve import pyplot

# --------------------------------------------------------------------------- the bounds


def _probabilities(*values) -> list[np.ndarray]:
    """As float arrays; ValueError outside [0, 1] (and for NaN)."""
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    for array in arrays:
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"probabilities lie in [0, 1], not {array.tolist()}")
    return arrays


def kl(a, b) -> np.ndarray:
    """Relative entropy of a coin of bias a to one of bias b, in nats; inf where b rules out a."""
    a, b = _probabilities(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        heads = np.where(a > 0, a * (np.log(a) - np.log(b)), 0.0)
        tails = np.where(a < 1, (1 - a) * (np.log1p(-a) - np.log1p(-b)), 0.0)
    return np.maximum(np.where(a == b, 0.0, heads + tails), 0.0)[()]


def _first_n(miss, delta):
    """Least whole n >= 0 with miss**n <= delta; inf where there is none."""
    miss, delta = np.broadcast_arrays(miss, delta)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.ceil(np.log(delta) / np.log(miss) - 1e-9)  # the division may round above a whole n
    n = np.where(miss == 0, 1.0, np.where(miss == 1, np.inf, n))
    return np.where(delta >= 1, 0.0, np.where((delta <= 0) & (miss > 0), np.inf, n))[()]


def discovery_rollouts(p, delta) -> np.ndarray:
    """Rollouts until a success of probability p is seen with probability 1 - delta; exact."""
    p, delta = _probabilities(p, delta)
    return _first_n(1 - p, delta)


def discovery_groups(p, G, delta) -> np.ndarray:
    """Groups of G until one has unequal rewards with probability 1 - delta; exact."""
    p, delta = _probabilities(p, delta)
    G = np.asarray(G)
    if not ((G >= 1) & (np.floor(G) == G)).all():
        raise ValueError(f"G is a number of rollouts, at least 1, not {G.tolist()}")
    return _first_n(p**G + (1 - p) ** G, delta)


def _certainty(delta) -> np.ndarray:
    """kl(delta, 1 - delta): the divergence that a decision needs; 0 where guessing will do."""
    return np.where(delta < 0.5, kl(delta, 1 - delta), 0.0)


def _divide(needed, offered):
    """needed / offered, inf where something is needed and nothing is offered."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(needed == 0, 0.0, np.where(np.isinf(offered), 0.0, needed / offered))
    return ratio[()]


def recognition_bound(p0, p1, delta) -> np.ndarray:
    """Rollouts E_1[n] that tell pass rate p1 from p0 with errors of at most delta, adaptively."""
    p0, p1, delta = _probabilities(p0, p1, delta)
    return _divide(_certainty(delta), kl(p1, p0))


def fixed_recognition_bound(p0, p1, delta) -> np.ndarray:
    """The same with the number of rollouts fixed beforehand (Bretagnolle-Huber)."""
    p0, p1, delta = _probabilities(p0, p1, delta)
    with np.errstate(divide="ignore"):
        needed = np.maximum(-np.log(4 * delta), 0.0)
    return _divide(needed, np.minimum(kl(p0, p1), kl(p1, p0)))


def exact_fixed_sample_size(p0: float, p1: float, delta: float, limit: int = 100_000) -> float:
    """The least n for which Neyman and Pearson's test keeps both errors <= delta; inf if none.

    The likelihood ratio grows with the number of successes, so the best test of size delta says
    "unlocked" above a threshold, and at the threshold with the probability that uses up delta.
    """
    _probabilities(p0, p1, delta)
    low, high = sorted((p0, p1))
    if delta >= 0.5:
        return 0
    if low == high:
        return math.inf

    def misses(n: int) -> float:
        at_low, at_high = binomial(n, low), binomial(n, high)
        above = np.append(np.cumsum(at_low[::-1])[::-1], 0.0)  # P_low(S >= c), c = 0..n+1
        c = int(np.argmax(above <= delta))  # reject surely from c on
        share = (delta - above[c]) / at_low[c - 1] if c and at_low[c - 1] > 0 else 0.0
        power = at_high[c:].sum() + (share * at_high[c - 1] if c else 0.0)
        return 1 - power

    n = 1
    while misses(n) > delta:  # a longer experiment can ignore its rest: misses(n) never grows
        n *= 2
        if n > limit:
            return math.inf
    low_n, high_n = n // 2, n
    while high_n - low_n > 1:
        middle = (low_n + high_n) // 2
        low_n, high_n = (low_n, middle) if misses(middle) <= delta else (middle, high_n)
    return high_n


def binomial(n: int, p: float) -> np.ndarray:
    """P(S = 0..n) for n coins of bias p, (n+1,)."""
    s = np.arange(n + 1)
    log_choose = math.lgamma(n + 1) - np.array(
        [math.lgamma(k + 1) + math.lgamma(n - k + 1) for k in s]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        heads = np.where(s > 0, s * np.log(p), 0.0)
        tails = np.where(s < n, (n - s) * np.log1p(-p), 0.0)
    return np.exp(log_choose + heads + tails)


def entropy_bits(p) -> np.ndarray:
    """h(p), the entropy of a coin, in bits."""
    (p,) = _probabilities(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(q > 0, -q * np.log2(q), 0.0) for q in (p, 1 - p)]
    return (parts[0] + parts[1])[()]


def capacity(p0, p1) -> np.ndarray:
    """Most bits that one reward can carry about which of two pass rates it comes from.

    The best output distribution q is equally far from both: kl(p0, q) = kl(p1, q) = C, solved for q
    in closed form.  With more skills than two, those between add nothing: the extremes suffice.
    """
    p0, p1 = np.broadcast_arrays(*_probabilities(p0, p1))
    h0, h1 = entropy_bits(p0), entropy_bits(p1)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = 1 / (1 + 2.0 ** -((h0 - h1) / (p1 - p0)))
    q = np.clip(np.where(p0 == p1, p0, q), np.minimum(p0, p1), np.maximum(p0, p1))  # rounding
    return (np.maximum(kl(p0, q), kl(p1, q)) / math.log(2))[()]


def kl_budget(p0, p1) -> np.ndarray:
    """Nats a policy of pass rate p1 has moved from one of p0: KL(pi || pi_0) >= kl(p1, p0)."""
    return kl(p1, p0)


def _skills(success) -> np.ndarray:
    (success,) = _probabilities(success)
    if success.ndim != 2 or success.shape[0] < 1 or success.shape[1] < 2:
        raise ValueError(f"success has shape (problems, skills >= 2), not {success.shape}")
    return success


def fano_bound(success, delta: float) -> float:
    """Rollouts to name the true of K skills, uniform prior, average error <= delta."""
    success = _skills(success)
    _probabilities(delta)
    K = success.shape[1]
    bits = (1 - delta) * math.log2(K) - float(entropy_bits(delta))
    C = capacity(success.min(axis=1), success.max(axis=1)).max()  # best problem's channel
    return float(_divide(np.maximum(bits, 0.0), C))


def divergences(success, J: int) -> np.ndarray:
    """kl(P_xJ, P_xk) for each problem x and each wrong skill k, (N, K-1)."""
    success = _skills(success)
    return kl(success[:, [J]], np.delete(success, J, axis=1))


def certificate(gains: np.ndarray, weights: np.ndarray) -> float:
    """Nats a rollout brings at most, by weights (K-1,) over the wrong skills: max_x sum_k."""
    with np.errstate(invalid="ignore"):
        weighted = np.where(weights > 0, weights * gains, 0.0)  # (N, K-1); 0 * inf is 0
    return float(weighted.sum(axis=1).max())


def guarantee(gains: np.ndarray, allocation: np.ndarray) -> float:
    """Nats a rollout brings at least, problems drawn by allocation (N,): min_k sum_x."""
    with np.errstate(invalid="ignore"):
        weighted = np.where(allocation[:, None] > 0, allocation[:, None] * gains, 0.0)  # (N, K-1)
    return float(weighted.sum(axis=0).min())


def play(gains: np.ndarray, rounds: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Near-best weights (K-1,) and allocation (N,) of the game over gains (N, K-1).

    Multiplicative weights (Freund, Schapire 1999): skills that the problems tell apart well lose
    weight, the problem that answers the present weights best is drawn, and both averages approach
    the value of the game from their sides.
    """
    finite = np.where(np.isfinite(gains), gains, 0.0)
    cap = 10 * max(finite.max(), 1.0)
    payoff = np.minimum(gains, cap)  # (N, K-1)
    N, wrong = payoff.shape
    scale = max(payoff.max(), 1e-12)
    log_weights, weights_sum, drawn = np.zeros(wrong), np.zeros(wrong), np.zeros(N)
    best, best_value = np.full(wrong, 1 / wrong), math.inf
    singles = [(certificate(gains, single), single) for single in np.eye(wrong)]
    for _ in range(rounds):
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        values = payoff @ weights  # (N,)
        x = int(values.argmax())
        drawn[x] += 1
        weights_sum += weights
        if values[x] < best_value:
            best, best_value = weights, values[x]
        log_weights -= math.sqrt(8 * math.log(max(wrong, 2)) / rounds) / scale * payoff[x]
    candidates = [(certificate(gains, w), w) for w in (best, weights_sum / rounds)] + singles
    return min(candidates, key=lambda c: c[0])[1], drawn / rounds


def transport_bound(success, J: int, delta: float) -> tuple[float, float]:
    """(certified bound, what the best allocation found would need) for skill J, in rollouts.

    The first is a theorem: E_J[n] of any procedure with errors <= delta is at least that.  The
    second bounds the first from above, so their difference is all that a better certificate or
    allocation could change.
    """
    gains = divergences(success, J)
    weights, allocation = play(gains)
    needed = _certainty(_probabilities(delta)[0])
    return (
        float(_divide(needed, certificate(gains, weights))),
        float(_divide(needed, guarantee(gains, allocation))),
    )


def identification_bound(success, delta: float) -> float:
    """Rollouts to name the true skill, on average over K equally likely ones: the best bound here.

    success (N, K): pass rate of problem x under skill k.  The larger of Fano's bound and the mean
    of the certified transport bounds; inf where two skills pass every problem alike.
    """
    success = _skills(success)
    transport = [transport_bound(success, J, delta)[0] for J in range(success.shape[1])]
    return max(fano_bound(success, delta), float(np.mean(transport)))


# --------------------------------------------------------------------------- the best procedures


def simulate_discovery(p: float, delta: float, runs: int, rng) -> tuple[float, float, float]:
    """Rollouts within which a share 1 - delta of runs saw a success; (n, its s.e., misses at n)."""
    first = rng.geometric(p, size=runs)
    n = float(np.quantile(first, 1 - delta, method="inverted_cdf"))
    density = max(p * (1 - p) ** (n - 1), 1e-300)
    return n, math.sqrt(delta * (1 - delta) / runs) / density, float((first > n).mean())


def simulate_recognition(p0: float, p1: float, delta: float, runs: int, rng):
    """Wald's SPRT with thresholds -+ ln(1/delta), under p1; (mean n, its s.e., error rate)."""
    win, loss = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    threshold = math.log(1 / delta)
    evidence, n = np.zeros(runs), np.zeros(runs, dtype=np.int64)
    active = np.arange(runs)
    while len(active):
        evidence[active] += np.where(rng.random(len(active)) < p1, win, loss)
        n[active] += 1
        active = active[np.abs(evidence[active]) < threshold]
    return float(n.mean()), float(n.std() / math.sqrt(runs)), float((evidence < 0).mean())


def skill_table(bits: int, solved: int = 5, impossible: int = 4, gap: float = 0.4) -> np.ndarray:
    """K = 2**bits skills and a pool like a real one: for each bit, one problem that tells it.

    Returns pass rates (bits * (1 + solved + impossible), K).  A telling problem is passed with
    probability 1/2 +- gap/2; `solved` and `impossible` ones a bit pass alike under every skill.
    """
    skills = np.arange(2**bits)
    telling = [0.5 + gap * ((skills >> b & 1) - 0.5) for b in range(bits)]
    dull = [np.full(2**bits, 0.95)] * (solved * bits) + [np.full(2**bits, 0.02)] * (
        impossible * bits
    )
    return np.array(telling + dull)


PICKERS = ("most information", "highest variance", "DoPR selector", "random")


def simulate_identification(success, delta: float, picker: str, runs: int, rng, limit=20_000):
    """Bayes with a uniform prior, stopped at a posterior of 1 - delta; (mean n, s.e., error rate).

    The pickers differ only in the next problem: the one whose reward tells most bits about the
    skill (the best that looks one rollout ahead), the largest predictive reward variance, the
    choice of `select.py`'s own selector, which sees rewards only, or any problem.
    """
    success = _skills(success)
    N, K = success.shape
    with np.errstate(divide="ignore"):
        log_pass, log_fail = np.log(success), np.log1p(-success)  # (N, K)
    truth = rng.integers(K, size=runs)
    log_posterior = np.zeros((runs, K))
    n = np.zeros(runs, dtype=np.int64)
    noise = entropy_bits(success)  # (N, K), bits of a reward that remain when the skill is known
    selectors = _selectors(N, runs if picker == "DoPR selector" else 0, rng)
    active = np.arange(runs)
    while len(active) and n.max() < limit:
        posterior = np.exp(log_posterior[active])  # (R, K)
        posterior /= posterior.sum(axis=1, keepdims=True)
        predicted = np.clip(posterior @ success.T, 0, 1)  # (R, N)
        if picker == "most information":
            x = (entropy_bits(predicted) - posterior @ noise.T).argmax(axis=1)
        elif picker == "highest variance":
            x = (predicted * (1 - predicted)).argmax(axis=1)
        elif picker == "DoPR selector":
            x = np.array([selectors[run].choose(np.arange(N)) for run in active])
        else:
            x = rng.integers(N, size=len(active))
        rewards = rng.random(len(active)) < success[x, truth[active]]  # (R,)
        for run, problem, reward in zip(active, x, rewards, strict=True) if selectors else ():
            selectors[run].update(problem, [float(reward)])
        log_posterior[active] += np.where(rewards[:, None], log_pass[x], log_fail[x])
        log_posterior[active] -= log_posterior[active].max(axis=1, keepdims=True)
        n[active] += 1
        weight = np.exp(log_posterior[active])  # the likeliest skill has weight 1
        active = active[1 / weight.sum(axis=1) < 1 - delta]
    wrong = log_posterior.argmax(axis=1) != truth
    return float(n.mean()), float(n.std() / math.sqrt(runs)), float(wrong.mean())


def _selectors(N: int, runs: int, rng) -> list:
    """One selector of the training loop for each run."""
    if not runs:
        return []
    from config import selectors  # loads select.py by its path

    return [selectors.OneShotSelector(N, seed=int(s)) for s in rng.integers(2**31, size=runs)]


# --------------------------------------------------------------------------- table and figure

# Coins as far apart as 0.1 and 0.9 would show Wald's overshoot instead: a bound of 1.5 rollouts
# cannot be met by whole rollouts, each of which brings 2.2 of the 3 nats that are needed.
RECOGNITIONS = ((0.36, 0.736), (0.2, 0.6), (0.3, 0.5), (0.05, 0.2))
IDENTIFICATIONS = (1, 2, 3)  # bits
DELTAS = (0.05, 0.01)


def table(runs: int, seed: int = 0) -> list[dict]:
    """Every bound beside its simulation; keys: problem, delta, bound, simulated, error_rate, ..."""
    rng = np.random.default_rng(seed)
    jobs = [("discovery", p, d) for p in (0.3, 0.05, 0.01) for d in DELTAS]
    jobs += [("recognition", pair, d) for pair in RECOGNITIONS for d in DELTAS]
    jobs += [(picker, bits, 0.01) for bits in IDENTIFICATIONS for picker in PICKERS]
    rows = []
    for kind, what, delta in tqdm(jobs, desc="simulating", leave=False):
        if kind == "discovery":
            name, bound = f"discovery p={what}", float(discovery_rollouts(what, delta))
            mean, error, rate = simulate_discovery(what, delta, 10 * runs, rng)
        elif kind == "recognition":
            name, bound = "recognition {}->{}".format(*what), float(recognition_bound(*what, delta))
            mean, error, rate = simulate_recognition(*what, delta, 10 * runs, rng)
        else:
            success = skill_table(what)
            name, bound = (
                f"identification K={2**what}, {kind}",
                identification_bound(success, delta),
            )
            some = runs // 5 if kind == "DoPR selector" else runs  # one object a run
            mean, error, rate = simulate_identification(success, delta, kind, some, rng)
        rows.append(
            {"problem": name, "delta": delta, "bound": bound, "simulated": mean, "se": error,
             "ratio": mean / bound, "error_rate": rate}
        )  # fmt: skip
    return rows


def print_table(rows: list[dict]) -> None:
    print(f"{'':38} delta    bound  simulated  +- s.e.  ratio  errors")
    for r in rows:
        print(
            f"{r['problem']:38} {r['delta']:5.2f} {r['bound']:8.2f}  {r['simulated']:9.2f}"
            f"  {r['se']:7.2f}  {r['ratio']:5.2f}  {r['error_rate']:6.4f}"
        )
    for bits in IDENTIFICATIONS:
        sides = [transport_bound(skill_table(bits), J, 0.01) for J in range(2**bits)]
        certified, found = np.mean(sides, axis=0)
        print(
            f"K={2**bits}: certificate {certified:.2f}, best allocation found {found:.2f} rollouts"
        )


def draw(path: Path, runs: int) -> Path:
    """Rollouts needed against p0, p1, delta and K; ImportError without matplotlib."""
    plt = pyplot()
    rng = np.random.default_rng(1)
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    p0s, p1s, deltas = (
        np.linspace(0.05, 0.65, 13),
        np.linspace(0.45, 0.95, 11),
        np.geomspace(1e-3, 0.3, 9),
    )
    sweeps = (
        (axes[0, 0], p0s, "p0, with p1 = 0.736", lambda v: (v, 0.736, 0.05), "linear"),
        (axes[0, 1], p1s, "p1, with p0 = 0.36", lambda v: (0.36, v, 0.05), "linear"),
        (axes[1, 0], deltas, "delta, for 0.36 -> 0.736", lambda v: (0.36, 0.736, v), "log"),
    )
    for axis, values, label, arguments, scale in tqdm(sweeps, desc="drawing", leave=False):
        axis.plot(values, [recognition_bound(*arguments(v)) for v in values], "k-", label="bound")
        sprt = [simulate_recognition(*arguments(v), runs, rng)[0] for v in values]
        axis.plot(values, sprt, "o", color="#0072b2", label="sequential test (SPRT)")
        exact = [exact_fixed_sample_size(*arguments(v)) for v in values]
        axis.plot(values, exact, "s", color="#e69f00", markersize=4, label="best fixed size")
        axis.set(xlabel=label, ylabel="rollouts", xscale=scale, yscale="log")
        axis.legend(frameon=False, fontsize=8)
    axis, Ks = axes[1, 1], [2**bits for bits in IDENTIFICATIONS]
    tables = [skill_table(bits) for bits in IDENTIFICATIONS]
    axis.plot(Ks, [identification_bound(t, 0.01) for t in tables], "k-", label="bound")
    for picker, marker, colour in zip(
        PICKERS, "ovsD", ("#009e73", "#0072b2", "#cc79a7", "#b8b8b8"), strict=True
    ):
        some = max(runs // 10, 50)
        means = [simulate_identification(t, 0.01, picker, some, rng)[0] for t in tables]
        axis.plot(Ks, means, marker, color=colour, label=picker)
    axis.set(xlabel="K latent skills, delta = 0.01", ylabel="rollouts", yscale="log", xscale="log")
    axis.set_xticks(Ks, map(str, Ks), minor=False)
    axis.set_yticks((10, 20, 50, 100, 200, 500))
    axis.minorticks_off()
    for each in axes.flat:
        each.yaxis.set_major_formatter("{x:g}")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


# --------------------------------------------------------------------------- a training run


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a pass rate from n independent rewards (Wilson 1927)."""
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def read_metrics(folder: Path) -> tuple[list[tuple[str, int, list]], int]:
    """Every group of a run in order, as (kind, problem, rewards), and the rollouts it spent."""
    file = folder / "metrics.jsonl"
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read ({error}): name a run's folder") from error
    groups: list[tuple[str, int, list]] = []
    rollouts = 0
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            step = json.loads(line)
            many = isinstance(step["chosen"], list)
            chosen, rewards = (step[k] if many else [step[k]] for k in ("chosen", "rewards"))
            groups += zip(step["kind"], chosen, rewards, strict=True)
            rollouts = int(step["rollouts"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}:{number}: no line of a training run ({error!r})") from error
    if not groups:
        raise ValueError(f"{file}: holds no step; nothing to compare")
    return groups, rollouts


def pass_rates(groups: list[tuple[str, int, list]]) -> dict[str, tuple[list, list]]:
    """By kind of problem: the rewards of first visits, and those of the last fifth of all groups.

    First visits come early, before much is learned.  The last fifth is what the selector chose
    then, mostly problems not yet learned: it understates how good the policy became.
    """
    seen, rates = set(), {}
    for number, (kind, problem, rewards) in enumerate(groups):
        before, after = rates.setdefault(kind, ([], []))
        if problem not in seen:
            before += rewards
        elif number >= 0.8 * len(groups):
            after += rewards
        seen.add(problem)
    return {kind: rate for kind, rate in rates.items() if all(rate)}


def report_run(folder: Path, delta: float) -> None:
    """What a run's rewards say it learned, and the bounds for learning that, beside its cost."""
    groups, spent = read_metrics(folder)
    rates = pass_rates(groups)
    print(f"{folder}: {spent:,} rollouts; pass rates with 95% intervals")
    print(f"  {'':12} {'first visits':>24}    last fifth of the groups")
    intervals = {}
    for kind, rewards in sorted(rates.items()):
        intervals[kind] = [(np.mean(r), *wilson(int(sum(r)), len(r))) for r in rewards]
        shown = (f"{p:.3f} [{low:.3f}, {high:.3f}]" for p, low, high in intervals[kind])
        print("  {:12} {:>24} -> {}".format(kind or "all", *shown))
    gains = {kind: after[0] - before[0] for kind, (before, after) in intervals.items()}
    kind = max(gains, key=gains.get, default=None)
    if kind is None or gains[kind] <= 0:
        print("no kind of problem was passed more often at the end: nothing was unlocked")
        return
    (p0, low0, high0), (p1, low1, high1) = intervals[kind]
    print(f"bounds for {kind or 'all'!r}, {p0:.3f} -> {p1:.3f}, delta {delta}:")
    answer(p0, p1, delta)
    bounds = [recognition_bound(p0, p1, delta), recognition_bound(low0, high1, delta)]
    bounds += [recognition_bound(high0, low1, delta) if high0 < low1 else math.inf]
    gaps = [spent / b if b else math.inf for b in map(float, bounds)]
    print(
        f"optimisation gap: {spent:,} rollouts / {bounds[0]:.2f} = {gaps[0]:,.0f}x"
        f" (at the ends of both intervals {gaps[2]:,.0f}x to {gaps[1]:,.0f}x)"
    )


def answer(p0: float, p1: float, delta: float) -> None:
    """The bounds for one question."""
    rows = (
        ("rollouts to see a first success, exactly", discovery_rollouts(p0, delta)),
        ("groups of 8 to see one of unequal rewards, exactly", discovery_groups(p0, 8, delta)),
        ("rollouts to tell p1 from p0, stopping when sure: >=", recognition_bound(p0, p1, delta)),
        ("the same, a number fixed beforehand, exactly", exact_fixed_sample_size(p0, p1, delta)),
        ("  and by formula, which is weaker: >=", fixed_recognition_bound(p0, p1, delta)),
        ("nats that the policy must move: >=", kl_budget(p0, p1)),
    )
    for label, value in rows:
        print(f"  {label:52} {float(value):10.6g}")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description="Lower bounds on the rollouts that RLVR needs.")
    parser.add_argument("--p0", type=float, help="pass rate of the locked policy")
    parser.add_argument("--p1", type=float, help="pass rate of the unlocked policy")
    parser.add_argument(
        "--delta", type=float, default=0.05, help="probability of error allowed [0.05]"
    )
    parser.add_argument(
        "--run", type=Path, help="a training run's folder, to set against the bounds"
    )
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs a cell [1000]")
    parser.add_argument(
        "--out", type=Path, default=Path("bound.png"), help="the figure [bound.png]"
    )
    args = parser.parse_args(argv)
    try:
        _probabilities(args.delta)
        if (args.p0 is None) != (args.p1 is None):
            raise ValueError("--p0 and --p1 go together")
        if args.runs < 100:
            raise ValueError(f"--runs must be at least 100, not {args.runs}")
        if not args.out.parent.is_dir():
            raise ValueError(f"--out {args.out}: {args.out.parent}: no such folder")
        if args.run:
            report_run(args.run, args.delta)
        elif args.p0 is not None:
            answer(args.p0, args.p1, args.delta)
        else:
            print_table(table(args.runs))
            print(f"figure: {draw(args.out, args.runs)}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"figure: none; {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
