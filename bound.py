"""How few rollouts could be enough to unlock an ability from verifiable rewards?

What it teaches: lower bounds by change of measure, and what one well-chosen problem can and cannot
give.  In this file "bound" means *lower bound*: nobody can do it with fewer.  Theorem 1 of DoPR
(arXiv 2602.00815) is not public to us; those below are known ones, or simple ones of our own.

Where it stands: beside the algorithm; training uses none of it.  `python bound.py` prints a table
of bounds, optima and practical procedures; `python bound.py --p0 0.36 --p1 0.736` answers one
question.  `experiments/bounds.py` simulates more procedures, selectors among them.

Try changing first: how far apart p0 and p1 are.  Telling 0.6 from 0.4 takes at least 32.7 rollouts
and 0.55 from 0.45 at least 132: half the difference, four times as many, since kl grows with its
square.  Ten times fewer errors (`--delta 0.005`) only double it: 0.6 from 0.4 takes at least 64.6.

THE ARGUMENT

A reward of 0 or 1 is the flip of a coin, and the pass rate is its bias.  To learn from such flips a
trainer must *find* problems that teach, *tell apart* the worlds that the flips could come from, and
*cover* what the test asks.  kl(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)) is the divergence of a
coin of bias a from one of bias b, in nats; h is the entropy of a coin, in bits.

1. Discovery.  All of n independent tries fail with probability (1-p)^n, so a success is seen with
probability 1-delta if and only if n >= ln(1/delta) / -ln(1-p).  GRPO needs a group of G whose
rewards are not all equal, an informative one: its probability is 1 - p^G - (1-p)^G.

2. The first update.  In this trainer the policy stays what it was until the first informative
group: a KL penalty has no gradient where it starts.  Let L of N problems be live: a group of one of
them is informative with probability at most q, and no group of the others ever is.  If nothing
tells beforehand which are live (every set of L is equally likely), then whatever the selector,
        E[groups up to the first informative one]  >=  (N-L)/(L+1) + 1/q.
Proof: tell the selector, at its first visit to a problem, whether it is live; this cannot hurt.  It
still meets (N-L)/(L+1) dull problems on average before a live one, and that one takes 1/q groups.
If learning needs informative groups from live problems of several skills, it meets on average at
least `dull_visits` dull problems first; the informative groups come on top of these.

3. Change of measure.  Let a procedure flip one coin after the other, choose each next coin as it
likes, stop when it likes (after n flips; n is random, with a finite mean) and decide.  Let coin x
have the bias p_x in world 1 and q_x in world 0.  For every event D that the flips decide,
        sum over x of E_1[n_x] kl(p_x, q_x)  >=  kl(P_1(D), P_0(D)).
The left side is the divergence between all that the two worlds show, since divergence adds up over
the flips (Wald's identity), and looking at D alone cannot increase it (data processing).  [Wald
1945; Kaufmann, Cappe, Garivier, arXiv 1407.4443, lemma 1]

4. Recognition.  Has a policy of pass rate p0 become one of p1?  If both errors are at most delta <
1/2, kl(P_1(D), P_0(D)) >= kl(delta, 1-delta), hence E_1[n] >= kl(delta, 1-delta) / kl(p1, p0).  The
least E_1[n] of any test (`experiments/optima.py`) is 0.2 to 2.3% more in our examples.  If n is
fixed beforehand, three bounds hold, of which the largest counts: the same with the smaller of
kl(p0, p1) and kl(p1, p0); Bretagnolle and Huber's (1979), ln(1/(4 delta)) over this, never larger;
and, with BC = sqrt(p0 p1) + sqrt((1-p0)(1-p1)), ln(1/(4 delta (1-delta))) / (-2 ln BC), since BC^n
is at most the same affinity of the decisions, 2 sqrt(delta (1-delta)).  The least n is that of
Neyman and Pearson's test, exactly.

5. Identification.  A policy has one of K skills, and with skill k it passes problem x with
probability P_xk.  Which skill is it?  (a) Let the *average error* be at most delta, all skills
equally likely.  A reward carries at most C bits, the capacity of the channel from skill to reward,
so that E[n] >= [(1-delta) log2 K - h(delta)] / C  [Fano 1961].  (b) Let the *error under every
skill* be at most delta < 1/2.  Then (a) holds, and so does point 3 against each wrong skill k.  Let
J be the true skill and w_x the shares of the rollouts that the problems get:
        E_J[n] sum_x w_x kl(P_xJ, P_xk)  >=  kl(delta, 1-delta)     for all k at once.
The best w is a strategy in a zero-sum game.  By duality, any weights lambda over the wrong skills
(none negative, their sum 1) prove that
        E_J[n] >= kl(delta, 1-delta) / max over x of sum_k lambda_k kl(P_xJ, P_xk).
[Chernoff 1959; Garivier, Kaufmann, arXiv 1602.04589]  Transport (b) needs its own kind of error: of
eleven skills of which two are identical, one can be right but for these two, and guess there.  The
average error is 1/11, but under one of the two it is 1/2 or more, however many rollouts.

6. Few problems suffice.  For one true skill J, the game's best w is a vertex of a linear program
with K-1 constraints besides sum w = 1: K-1 problems are enough, however large the pool, and for K =
2 it is one.  Which one may depend on J, as for rows (.01, .2) and (.2, .01): what is best under
every skill needs the union over J.  In finding them *volatility* and *information* part.  The
variance of the next reward is Var_k P_xk + E_k[P_xk (1-P_xk)], and only the first term tells skills
apart; information is h(mean P) - mean h(P).  In our simulations picking by variance, as DoPR does
by volatility, is as good where all dull problems are nearly always passed or nearly always failed.
But a problem of rate 1/2 under every skill has the most variance and tells nothing.  Volatility
finds what varies, information needs what differs.

7. Learning implies identification.  In each of K worlds another answer to a test prompt is right,
and a trainer ends in each with pass rate at least p1.  Sample once and name the world whose answer
came: this errs at most 1-p1 of the time in each.  So point 5 with delta = 1-p1 bounds *training*:
E[n] >= [p1 log2 K - h(p1)] / C and, for p1 > 1/2, transport.  As a trainer sees what it wrote, coin
x is here one *response*, and P_xk the chance that it is paid in world k.  (Pass rates would be
wrong: if A is paid in one world and B in the other, one A tells which, however rare it is.)  A
verifier without noise has P_xk 0 or 1: C is at most 1 bit, and transport says nothing.

8. Coverage.  If each problem asks for at most a of F facts, a pool that asks for all of them has at
least F/a problems.  Let a test problem succeed with the product of the rates of the facts that it
asks for, and let no training raise the rate of a fact that its pool never asks for (no transfer).
Then the accuracy is at most the mean of the product of the old rates of such facts.

9. The KL budget.  A policy of pass rate p1 is at least kl(p1, p0) nats away from its start in
divergence of whole responses (data processing); tilting by the reward, pi_0 exp(r / beta), does it.

What none of this says.  Nothing here is about gradient descent: how many informative groups it
takes to write into weights what rewards have told is measured, not proved.  Points 3 to 6 count
rewards alone: who is told more (a demonstration, the text of a response) may need fewer.
"""

import argparse
import math
import sys
from bisect import bisect_left
from collections.abc import Sequence
from itertools import combinations
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

# Arrays broadcast, numbers give a number, and what is no probability raises ValueError.


def kl(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return the divergence of a coin of bias a from one of bias b, in nats; it may be infinite."""
    a, b = _probabilities(a, b)
    return (_kl_part(a, b, a - b) + _kl_part(1 - a, 1 - b, b - a))[()]


def _kl_part(a: np.ndarray, b: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Return a ln(a/b) - (a - b) >= 0, also where a and b are so close that it cancels."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = difference / b
        series = b * x**2 * (1 / 2 - x / 6 + x**2 / 12 - x**3 / 20)  # of (1+x) ln(1+x) - x
        log_ratio = np.where(np.abs(x) < 1, np.log1p(x), np.log(a) - np.log(b))
        direct = np.where(a > 0, a * log_ratio, 0.0) - difference
    return np.where(difference == 0, 0.0, np.where(np.abs(x) < 1e-3, series, direct))


def discovery_rollouts(p: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return the exact number of rollouts that show a success with probability 1 - delta."""
    p, delta = _probabilities(p, delta)
    with np.errstate(divide="ignore"):
        return _first_n(np.log1p(-p), delta)


def discovery_groups(p: ArrayLike, G: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return the exact number of groups of G that show unequal rewards, likewise."""
    p, delta = _probabilities(p, delta)
    G = np.asarray(G)
    if not ((G >= 1) & (np.floor(G) == G)).all():
        raise ValueError(f"G is a number of rollouts, at least 1, not {G.tolist()}")
    q = np.minimum(p, 1 - p)
    log_miss = G * np.log1p(-q) + np.log1p((q / (1 - q)) ** G)  # ln(p^G + (1-p)^G)
    return _first_n(np.where(G == 1, 0.0, log_miss), delta)


def first_update_groups(N: int, L: int, q: float) -> float:
    """Return the groups it takes at least, on average, to an informative one (point 2)."""
    return dull_visits(N - L, [L]) + float(_divide(1.0, _probabilities(q)[0]))


def dull_visits(dull: int, live: Sequence[int]) -> float:
    """Return how many dull problems are met on average until every skill has met a live one.

    There are `dull` of them, and live[s] problems that are live for skill s, in random order.  A
    dull problem precedes the first of m others with probability 1/(m+1); it is met if it precedes
    the first of some skill, which inclusion and exclusion counts.
    """
    if dull < 0 or not live or min(live) < 1:
        raise ValueError(f"need dull >= 0 and a live problem per skill, not {dull} and {live}")
    sets = [c for size in range(1, len(live) + 1) for c in combinations(live, size)]
    return dull * sum((-1) ** (len(c) + 1) / (sum(c) + 1) for c in sets)


def recognition_bound(p0: ArrayLike, p1: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return the rollouts E_1[n] it takes at least to tell pass rate p1 from p0 (point 4)."""
    p0, p1, delta = _probabilities(p0, p1, delta)
    return _divide(_certainty(delta), kl(p1, p0))


def fixed_recognition_bounds(p0: ArrayLike, p1: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return three bounds (3, ...) on a fixed number (point 4): Huber's, by kl and by BC."""
    p0, p1, delta = np.broadcast_arrays(*_probabilities(p0, p1, delta))
    with np.errstate(divide="ignore", invalid="ignore"):
        huber = np.maximum(-np.log(4 * delta), 0.0)
        affinity = np.where(delta < 0.5, np.maximum(huber, -np.log(4 * delta * (1 - delta))), 0.0)
        gaps = [np.where(p == q, 0.0, (p - q) / (np.sqrt(p) + np.sqrt(q)))  # sqrt p - sqrt q
                for p, q in ((p0, p1), (1 - p0, 1 - p1))]  # fmt: skip
        apart = -2 * np.log1p(-np.minimum((gaps[0] ** 2 + gaps[1] ** 2) / 2, 1.0))  # -2 ln BC
    least = np.minimum(kl(p0, p1), kl(p1, p0))
    return np.stack([_divide(needed, offered) for needed, offered in
                     ((huber, least), (_certainty(delta), least), (affinity, apart))])  # fmt: skip


def fixed_recognition_bound(p0: ArrayLike, p1: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return how many it takes at least if their number is fixed beforehand: the largest bound."""
    return fixed_recognition_bounds(p0, p1, delta).max(axis=0)[()]


def exact_fixed_sample_size(p0: float, p1: float, delta: float, limit: int = 65_536) -> float:
    """Return the least fixed n for which Neyman and Pearson's test keeps both errors <= delta.

    inf where no n does; ValueError where one does, but only above `limit`.
    The likelihood ratio grows with the number of successes S, so the best test of size delta says
    "unlocked" above a threshold, and at the threshold with the probability that uses up delta.
    """
    _probabilities(p0, p1, delta)
    low, high = sorted((p0, p1))
    if delta >= 0.5 or low == high or (delta == 0 and (low, high) != (0, 1)):
        return 0 if delta >= 0.5 else math.inf

    def misses(n: int) -> float:
        at_low, at_high = binomial(n, low), binomial(n, high)
        above = np.append(np.cumsum(at_low[::-1])[::-1], 0.0)  # P_low(S >= c), c = 0..n+1
        c = int(np.argmax(above <= delta))  # from c on "unlocked" for sure
        if c == 0:
            return 0.0
        share = (delta - above[c]) / at_low[c - 1] if at_low[c - 1] > 0 else 0.0
        return at_high[: c - 1].sum() + (1 - share) * at_high[c - 1]  # 1 - power would cancel

    n = 1
    while misses(n) > delta:  # misses(n) never grows with n: a test may ignore its last flips
        n *= 2
        if n > limit:
            raise ValueError(f"it takes more than {n // 2:,}, and larger numbers are not tried")
    return bisect_left(range(n), True, lo=n // 2, key=lambda fewer: misses(fewer) <= delta)


def identification_bound(success: ArrayLike, delta: float) -> float:
    """Return the rollouts it takes to name one of K skills, at *every* skill's error <= delta.

    success (N, K): pass rate of problem x under skill k.  It bounds the mean of E_J[n] over the
    skills J: the larger of Fano's bound and the mean of the transport bounds (point 5).  inf where
    two skills pass every problem alike and delta < 1/2.
    """
    success = _skills(success)
    transport = [transport_bound(success, J, delta) for J in range(success.shape[1])]
    return max(average_error_bound(success, delta), float(np.mean(transport)))


def average_error_bound(success: ArrayLike, delta: float) -> float:
    """Return Fano's bound (5a), for which only the *average* error must be <= delta."""
    success = _skills(success)
    _probabilities(delta)
    K = success.shape[1]
    bits = (1 - delta) * math.log2(K) - float(entropy_bits(delta))
    C = capacity(success.min(axis=1), success.max(axis=1)).max()  # of the best problem
    return float(_divide(np.maximum(bits, 0.0), C))


def capacity(p0: ArrayLike, p1: ArrayLike) -> np.ndarray:
    """Return how many bits one reward can carry about which of two pass rates it comes from.

    The best distribution of rewards q is equally far from both: kl(p0, q) = kl(p1, q) = C, solved
    for q in closed form.  Of more than two skills only the extremes matter.
    """
    p0, p1 = np.broadcast_arrays(*_probabilities(p0, p1))
    h0, h1 = entropy_bits(p0), entropy_bits(p1)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = 1 / (1 + 2.0 ** -((h0 - h1) / (p1 - p0)))
    q = np.clip(np.where(p0 == p1, p0, q), np.minimum(p0, p1), np.maximum(p0, p1))  # rounding
    return (np.maximum(kl(p0, q), kl(p1, q)) / math.log(2))[()]


def transport_bound(success: ArrayLike, J: int, delta: float) -> float:
    """Return the bound (5b) for the true skill J, where the error under every skill is <= delta."""
    gains = divergences(success, J)
    return float(_divide(_certainty(_probabilities(delta)[0]), certificate(gains, play(gains)[0])))


def divergences(success: ArrayLike, J: int) -> np.ndarray:
    """Return kl(P_xJ, P_xk) for each problem x and each wrong skill k, (N, K-1)."""
    success = _skills(success)
    return kl(success[:, [J]], np.delete(success, J, axis=1))


def certificate(gains: np.ndarray, weights: np.ndarray) -> float:
    """Return max_x sum_k lambda_k g_xk for weights (K-1,): the nats a rollout brings at most."""
    with np.errstate(invalid="ignore"):
        weighted = np.where(weights > 0, weights * gains, 0.0)  # (N, K-1); 0 * inf is 0
    return float(weighted.sum(axis=1).max())


def play(gains: np.ndarray, rounds: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return near-best weights (K-1,) and allocation (N,) of the game over gains (N, K-1).

    Multiplicative weights (Freund, Schapire 1999): each round draws the problem that brings most
    under the present weights, and the skills that it tells apart well lose weight.
    """
    payoff = np.minimum(gains, 10 * max(gains[np.isfinite(gains)].max(initial=0.0), 1.0))
    N, wrong = payoff.shape
    rate = math.sqrt(8 * math.log(max(wrong, 2)) / rounds) / max(payoff.max(), 1e-12)
    log_weights, total, drawn = np.zeros(wrong), np.zeros(wrong), np.zeros(N)
    best = (math.inf, (1 / wrong,) * wrong)
    for _ in range(rounds):
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        values = payoff @ weights  # (N,)
        x = int(values.argmax())
        drawn[x] += 1
        total += weights
        best = min(best, (values[x], tuple(weights)))
        log_weights -= rate * payoff[x]
    candidates = [np.array(best[1]), total / rounds, *np.eye(wrong)]
    return min(candidates, key=lambda weights: certificate(gains, weights)), drawn / rounds


def learning_bound(success: ArrayLike, p1: float) -> float:
    """Return the rollouts of training that end with pass rate p1 in each of K worlds (point 7).

    success (N, K): the chance that the verifier pays response x in world k.
    """
    return identification_bound(success, 1 - p1)


def accuracy_ceiling(rates: ArrayLike, covered: ArrayLike) -> float:
    """Return the largest accuracy without transfer (point 8), where training covers some facts.

    rates (T, F): with what probability test problem t survives fact f, before training; 1 where it
    does not ask for it.  covered (F,): whether the pool asks for fact f.
    """
    (rates,) = _probabilities(rates)
    return float(np.where(covered, 1.0, rates).prod(axis=1).mean())


def kl_budget(p0: ArrayLike, p1: ArrayLike) -> np.ndarray:
    """Return the least KL(pi || pi_0), in nats, where pi has pass rate p1 and pi_0 has p0 (9)."""
    return kl(p1, p0)


def entropy_bits(p: ArrayLike) -> np.ndarray:
    """Return h(p), the entropy of a coin, in bits."""
    (p,) = _probabilities(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(q > 0, -q * np.log2(q), 0.0) for q in (p, 1 - p)]
    return (parts[0] + parts[1])[()]


def binomial(n: int, p: float) -> np.ndarray:
    """Return P(S = 0..n) for the number S of successes in n tries of pass rate p, (n+1,)."""
    s = np.arange(n + 1)
    chosen = [math.lgamma(k + 1) + math.lgamma(n - k + 1) for k in s]
    log_choose = math.lgamma(n + 1) - np.array(chosen)
    with np.errstate(divide="ignore", invalid="ignore"):
        heads = np.where(s > 0, s * np.log(p), 0.0)
        tails = np.where(s < n, (n - s) * np.log1p(-p), 0.0)
    return np.exp(log_choose + heads + tails)


def _first_n(log_miss: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Return the least whole n >= 0 with n log_miss <= ln(delta); inf where there is none."""
    log_miss, delta = np.broadcast_arrays(log_miss, delta)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.log(delta) / log_miss  # the division may round above a whole n
        n = np.maximum(np.ceil(n - np.minimum(1e-14 * n, 1e-9)), 1.0)
    n = np.where(np.isneginf(log_miss), 1.0, np.where(log_miss == 0, np.inf, n))
    return np.where(delta >= 1, 0.0, n)[()]


def _certainty(delta: np.ndarray) -> np.ndarray:
    """Return kl(delta, 1 - delta), the nats that a decision needs; 0 where guessing will do."""
    with np.errstate(divide="ignore"):
        needed = (1 - 2 * delta) * (np.log1p(-delta) - np.log(delta))
    return np.where(delta < 0.5, needed, 0.0)


def _divide(needed: ArrayLike, offered: ArrayLike) -> np.ndarray:
    """Return needed / offered; inf where something is needed and nothing is offered.

    What divides by a divergence ends here, and so has an answer for p0 = p1, where no reward tells
    anything.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(needed == 0, 0.0, np.where(np.isinf(offered), 0.0, needed / offered))
    return ratio[()]


def _probabilities(*values: ArrayLike) -> list[np.ndarray]:
    """Return the values as float arrays; ValueError where one is outside [0, 1] or NaN."""
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    for array in arrays:
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"probabilities lie in [0, 1], not {array.tolist()}")
    return arrays


def _skills(success: ArrayLike) -> np.ndarray:
    """Return a table of pass rates as an array (N, K); ValueError where it is none."""
    (success,) = _probabilities(success)
    if success.ndim != 2 or success.shape[0] < 1 or success.shape[1] < 2:
        raise ValueError(f"success has shape (problems, skills >= 2), not {success.shape}")
    return success


# --------------------------------------------------------------------------- the command


def answer(p0: float, p1: float, delta: float) -> None:
    """Print what is known of one question: a policy of pass rate p0 may have become one of p1."""
    from experiments.optima import optimum_and_wald  # only as a command

    bound = recognition_bound(p0, p1, delta)
    try:
        fixed = exact_fixed_sample_size(p0, p1, delta)
    except ValueError:
        fixed = math.nan
    print(f"  {'':58} {'bound':>9} {'optimum':>9} {'practical':>9}")
    for what, *values in (
        ("rollouts to see a success at p0", *[discovery_rollouts(p0, delta)] * 3),
        ("groups of 8 to see unequal rewards at p0", *[discovery_groups(p0, 8, delta)] * 3),
        ("rollouts to tell p1 from p0, stopping when sure, on average",
         bound, *optimum_and_wald(p0, p1, delta)),
        ("rollouts to tell p1 from p0, their number fixed beforehand",
         fixed_recognition_bound(p0, p1, delta), fixed, fixed),
        ("nats of KL that the policy moves from its start", *[kl_budget(p0, p1)] * 2, math.nan),
    ):  # fmt: skip
        show(what, *values)


def show_examples(delta: float) -> None:
    """Print the bounds for a few questions."""
    from experiments.optima import naming_optimum  # only as a command

    print("bound: nobody needs less.  optimum: the best there is, computed.  practical: Wald's")
    print(f"test, or the optimum where that is simple.  Errors of probability delta = {delta:g}.")
    for p0, p1, what in ((0.36, 0.736, "1-shot RLVR on MATH-500"), (0.05, 0.2, "a hard problem")):
        print(f"\nThe pass rate was p0 = {p0} and may now be p1 = {p1} ({what}):")
        answer(p0, p1, delta)
    print("\nA policy has one of K skills; for each bit of k a problem is passed at 0.7 or 0.3:")
    for bits in (1, 2, 3):
        bit = np.arange(2**bits) >> np.arange(bits)[:, None] & 1  # (bits, K)
        bound = identification_bound(0.3 + 0.4 * bit, delta)
        optimum = naming_optimum(bits, delta) if 1e-9 < delta < 0.5 else math.nan
        show(f"rollouts to name one of {2**bits}, on average", bound, optimum, math.nan)
    print("\nSimulated procedures that name a skill, selectors: python experiments/bounds.py")


def show(what: str, *values: float) -> None:
    """Print a row of the table, with "-" for what is not known."""
    print(f"  {what:58}", *(f"{'-' if v != v else f'{v:.6g}':>9}" for v in map(float, values)))


class _Parser(argparse.ArgumentParser):  # without argparse's usage above the error
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one question, or show examples; return 0, or 2 after a line about bad arguments."""
    parser = _Parser(description="Lower bounds on the rollouts that RLVR needs.")
    parser.add_argument("--p0", type=float, help="pass rate of the locked policy")
    parser.add_argument("--p1", type=float, help="pass rate of the unlocked policy")
    parser.add_argument("--delta", type=float, default=0.05, help="allowed error rate [0.05]")
    try:
        args = parser.parse_args(argv)
        _probabilities(args.delta)
        if (args.p0 is None) != (args.p1 is None):
            raise ValueError("--p0 and --p1 go together")
        show_examples(args.delta) if args.p0 is None else answer(args.p0, args.p1, args.delta)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    from plumbing.command import command  # what is above needs nothing of it

    sys.exit(command(main)())
