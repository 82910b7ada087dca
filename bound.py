"""How few rollouts could be enough to unlock an ability from verifiable rewards?

What it teaches: lower bounds by change of measure, and what one well-chosen problem can and cannot
give.  In this file "bound" means *lower bound*: nobody can do it with fewer.  Theorem 1 of DoPR
(arXiv 2602.00815) is not public to us; those below are known ones of our choice, each with its
assumptions and source.  `experiments/bounds.py` simulates good procedures beside points 2 to 4.

Where it stands: beside the algorithm; training uses none of it.  `python bound.py` prints all
bounds for a few questions, `python bound.py --p0 0.36 --p1 0.736` answers one question.

Try changing first: how far apart p0 and p1 are.  Telling 0.6 from 0.4 takes at least 32.7 rollouts
and 0.55 from 0.45 at least 132: half the difference, four times as many, since kl grows with its
square.  Ten times fewer errors (`--delta 0.005`) only double it: 0.6 from 0.4 takes at least 64.6.

THE ARGUMENT, ON ONE PAGE

A reward of 0 or 1 is the flip of a coin, and the pass rate is its bias.  Whoever decides something
from such flips can decide only as well as the coins differ between the worlds that the flips could
come from.  Write kl(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)) for the divergence of a coin of bias
a from one of bias b, in nats.

1. Change of measure.  Let a procedure flip one coin after the other, choose each next coin as it
likes, stop when it likes (after n flips; n is random) and decide.  Let coin x have the bias p_x in
world 1 and q_x in world 0.  For every event D that the flips decide,
        sum over x of E_1[n_x] kl(p_x, q_x)  >=  kl(P_1(D), P_0(D)).
The left side is the divergence between all that the two worlds show, since divergence adds up over
the flips (Wald's identity), and looking at D alone cannot increase it (data processing).  [Wald
1945; Kaufmann, Cappe, Garivier, arXiv 1407.4443, lemma 1]

2. Discovery.  Before the first success there is nothing to reinforce.  All of n independent tries
fail with probability (1-p)^n, so a success is seen with probability 1-delta if and only if
n >= ln(1/delta) / -ln(1-p).  GRPO needs a group of G whose rewards are not all equal, which comes
with probability 1 - p^G - (1-p)^G.

3. Recognition.  Has a policy of pass rate p0 become one of p1?  If both errors are at most delta
< 1/2, kl(P_1(D), P_0(D)) >= kl(delta, 1-delta), hence E_1[n] >= kl(delta, 1-delta) / kl(p1, p0).
If n is fixed beforehand, P_1(error) + P_0(error) >= exp(-n kl) / 2 (Bretagnolle, Huber 1979) gives
n >= ln(1/(4 delta)) / min(kl(p0, p1), kl(p1, p0)).  The least fixed n that suffices is known
exactly: it is that of Neyman and Pearson's test.

4. Identification.  A policy has one of K skills, and with skill k it passes problem x with
probability P_xk.  Which skill is it?  (a) Fano: one reward carries at most C bits, the capacity of
the channel from skill to reward, and log2 K bits are missing, less what delta forgives.  For a
uniform prior and an average error of at most delta, E[n] >= [(1-delta) log2 K - h(delta)] / C.  (It
is a little weaker than Fano's own, which has log2(K-1) beside delta.  All other units are nats.)
(b) Transport: point 1 holds against each wrong skill k separately.  Let J be the true skill, w_x
the shares of the rollouts that the problems get, and the error under every skill <= delta < 1/2:
        E_J[n] sum_x w_x kl(P_xJ, P_xk)  >=  kl(delta, 1-delta)     for all k at once.
The best w is a strategy in a zero-sum game.  By duality, any weights lambda over the wrong skills
(none negative, their sum 1) prove that
        E_J[n] >= kl(delta, 1-delta) / max over x of sum_k lambda_k kl(P_xJ, P_xk).
[Chernoff 1959; Garivier, Kaufmann, arXiv 1602.04589]

5. Few problems suffice.  For one fixed true skill, the game's best w is a vertex of a linear
program with K-1 constraints besides sum w = 1: it needs at most K-1 problems, however large the
pool, and for K = 2 exactly one, the problem whose coins differ most.  (Which one that is may depend
on the true skill.)  Can it be found without knowing the answer?  A problem that half of the
remaining skills pass has a reward variance near 1/4, one that all or none pass has almost none.  In
our simulations, where all other problems are nearly always passed or nearly always failed, picking
the largest *predictive variance* comes within 1.5 times the bound.  This is the bridge to DoPR,
whose volatility is estimated from the same rewards.  It goes no further: a problem passed half of
the time under every skill has the largest variance of all, and tells nothing.

6. The KL budget.  However it is trained, a policy of pass rate p1 is at least kl(p1, p0) nats away
from its start in divergence of whole responses (data processing again), and reward tilting, pi
proportional to pi_0 exp(r / beta), moves no further than that.

What this does NOT say.  These are bounds on information: nobody can *decide* with fewer rollouts.
They do not say how many gradient steps it takes to write the decision into weights, and nothing of
a learner that gets other signals (a demonstration, the text of the problem).
"""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

# Arrays broadcast, numbers give a number, and what is no probability raises ValueError.  float64
# rounds even the exact numbers: p below 1e-8, or p0 and p1 closer than that, leave hardly a digit.


def kl(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return the divergence of a coin of bias a from one of bias b, in nats; it may be infinite."""
    a, b = _probabilities(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        heads = np.where(a > 0, a * (np.log(a) - np.log(b)), 0.0)
        tails = np.where(a < 1, (1 - a) * (np.log1p(-a) - np.log1p(-b)), 0.0)
    return np.maximum(np.where(a == b, 0.0, heads + tails), 0.0)[()]


def discovery_rollouts(p: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return the exact number of rollouts that show a success with probability 1 - delta."""
    p, delta = _probabilities(p, delta)
    return _first_n(1 - p, delta)


def discovery_groups(p: ArrayLike, G: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return the exact number of groups of G that show unequal rewards, likewise."""
    p, delta = _probabilities(p, delta)
    G = np.asarray(G)
    if not ((G >= 1) & (np.floor(G) == G)).all():
        raise ValueError(f"G is a number of rollouts, at least 1, not {G.tolist()}")
    return _first_n(p**G + (1 - p) ** G, delta)


def recognition_bound(p0: ArrayLike, p1: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return the rollouts E_1[n] it takes at least to tell pass rate p1 from p0 (point 3)."""
    p0, p1, delta = _probabilities(p0, p1, delta)
    return _divide(_certainty(delta), kl(p1, p0))


def fixed_recognition_bound(p0: ArrayLike, p1: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Return how many it takes at least if their number is fixed beforehand (point 3)."""
    p0, p1, delta = _probabilities(p0, p1, delta)
    with np.errstate(divide="ignore"):
        needed = np.maximum(-np.log(4 * delta), 0.0)
    return _divide(needed, np.minimum(kl(p0, p1), kl(p1, p0)))


def exact_fixed_sample_size(p0: float, p1: float, delta: float, limit: int = 100_000) -> float:
    """Return the least fixed n for which Neyman and Pearson's test keeps both errors <= delta.

    inf where no n does, or where doubling n passes `limit`; a delta near 1e-15 is lost in rounding.
    The likelihood ratio grows with the number of successes S, so the best test of size delta says
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
        c = int(np.argmax(above <= delta))  # from c on "unlocked" for sure
        share = (delta - above[c]) / at_low[c - 1] if c and at_low[c - 1] > 0 else 0.0
        power = at_high[c:].sum() + (share * at_high[c - 1] if c else 0.0)
        return 1 - power

    n = 1
    while misses(n) > delta:  # misses(n) never grows with n: a test may ignore its last flips
        n *= 2
        if n > limit:
            return math.inf
    low_n, high_n = n // 2, n
    while high_n - low_n > 1:
        middle = (low_n + high_n) // 2
        low_n, high_n = (low_n, middle) if misses(middle) <= delta else (middle, high_n)
    return high_n


def identification_bound(success: ArrayLike, delta: float) -> float:
    """Return the least number of rollouts, on average over K equally likely skills, to name one.

    success (N, K): pass rate of problem x under skill k.  If the error is at most delta under every
    skill, Fano's bound and the mean of the transport bounds both hold; this is the larger.  inf
    where two skills pass every problem alike and delta < 1/2.
    """
    success = _skills(success)
    transport = [transport_bound(success, J, delta)[0] for J in range(success.shape[1])]
    return max(fano_bound(success, delta), float(np.mean(transport)))


def fano_bound(success: ArrayLike, delta: float) -> float:
    """Return Fano's bound (4a) for success (N, K): uniform prior, average error <= delta."""
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


def transport_bound(success: ArrayLike, J: int, delta: float) -> tuple[float, float]:
    """Return (the certified bound, what the best allocation found would need) for true skill J.

    The first is a theorem (4b), where the error is at most delta under every skill.  The second is
    never smaller, so that their difference is all that better weights could gain.
    """
    gains = divergences(success, J)
    weights, allocation = play(gains)
    needed = _certainty(_probabilities(delta)[0])
    most, least = certificate(gains, weights), guarantee(gains, allocation)
    return float(_divide(needed, most)), float(_divide(needed, least))


def divergences(success: ArrayLike, J: int) -> np.ndarray:
    """Return kl(P_xJ, P_xk) for each problem x and each wrong skill k, (N, K-1)."""
    success = _skills(success)
    return kl(success[:, [J]], np.delete(success, J, axis=1))


def certificate(gains: np.ndarray, weights: np.ndarray) -> float:
    """Return max_x sum_k lambda_k g_xk for weights (K-1,): the nats a rollout brings at most."""
    with np.errstate(invalid="ignore"):
        weighted = np.where(weights > 0, weights * gains, 0.0)  # (N, K-1); 0 * inf is 0
    return float(weighted.sum(axis=1).max())


def guarantee(gains: np.ndarray, allocation: np.ndarray) -> float:
    """Return min_k sum_x w_x g_xk for an allocation (N,): the nats a rollout brings at least."""
    with np.errstate(invalid="ignore"):
        weighted = np.where(allocation[:, None] > 0, allocation[:, None] * gains, 0.0)  # (N, K-1)
    return float(weighted.sum(axis=0).min())


def play(gains: np.ndarray, rounds: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return near-best weights (K-1,) and allocation (N,) of the game over gains (N, K-1).

    Multiplicative weights (Freund, Schapire 1999): each round draws the problem that brings most
    under the present weights, and the skills that it tells apart well lose weight.
    """
    cap = 10 * max(gains[np.isfinite(gains)].max(initial=0.0), 1.0)
    payoff = np.minimum(gains, cap)  # (N, K-1)
    N, wrong = payoff.shape
    scale = max(payoff.max(), 1e-12)
    log_weights, weights_sum, drawn = np.zeros(wrong), np.zeros(wrong), np.zeros(N)
    best, best_value = np.full(wrong, 1 / wrong), math.inf
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
    candidates = [best, weights_sum / rounds, *np.eye(wrong)]
    return min(candidates, key=lambda weights: certificate(gains, weights)), drawn / rounds


def kl_budget(p0: ArrayLike, p1: ArrayLike) -> np.ndarray:
    """Return the least KL(pi || pi_0), in nats, where pi has pass rate p1 and pi_0 has p0 (6)."""
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


def _first_n(miss: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Return the least whole n >= 0 with miss**n <= delta; inf where there is none."""
    miss, delta = np.broadcast_arrays(miss, delta)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.ceil(np.log(delta) / np.log(miss) - 1e-9)  # the division may round above a whole n
    n = np.where(miss == 0, 1.0, np.where(miss == 1, np.inf, n))
    return np.where(delta >= 1, 0.0, np.where((delta <= 0) & (miss > 0), np.inf, n))[()]


def _certainty(delta: np.ndarray) -> np.ndarray:
    """Return kl(delta, 1 - delta), the nats that a decision needs; 0 where guessing will do."""
    return np.where(delta < 0.5, kl(delta, 1 - delta), 0.0)


def _divide(needed: ArrayLike, offered: ArrayLike) -> np.ndarray:
    """Return needed / offered; inf where something is needed and nothing is offered."""
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
    for sentence, value in (
        ("Seeing a success at p0 takes this many rollouts (exact):", discovery_rollouts(p0, delta)),
        ("Seeing a group of 8 with unequal rewards at p0 takes this many groups (exact):",
         discovery_groups(p0, 8, delta)),
        ("Telling p1 from p0, stopping when sure, takes on average at least this many rollouts:",
         recognition_bound(p0, p1, delta)),
        ("Telling p1 from p0 by a number fixed beforehand takes (exact; inf is over 65,536):",
         exact_fixed_sample_size(p0, p1, delta)),
        ("The simple formula for a fixed number is weaker; it says at least:",
         fixed_recognition_bound(p0, p1, delta)),
        ("Going from p0 to p1 moves a policy at least this many nats of KL from its start:",
         kl_budget(p0, p1)),
    ):  # fmt: skip
        print(f"  {sentence:86} {float(value):9.6g}")


def show_examples(delta: float) -> None:
    """Print every bound for a few questions, each after a sentence that says what it is."""
    print(f"Lower bounds, or exact where it says so, for errors of probability delta = {delta:g}.")
    for p0, p1, what in ((0.36, 0.736, "1-shot RLVR on MATH-500"), (0.05, 0.2, "a hard problem")):
        print(f"\nThe pass rate was p0 = {p0} and may now be p1 = {p1} ({what}):")
        answer(p0, p1, delta)
    print("\nA policy has one of K skills.  For each bit of the skill's number there is a problem")
    print("that is passed with probability 0.7 where the bit is 1, and 0.3 where it is 0:")
    for K in (2, 4, 8):
        bit = np.arange(K) >> np.arange(K.bit_length() - 1)[:, None] & 1  # (log2 K, K)
        sentence = f"Naming one of K = {K} skills takes on average at least this many rollouts:"
        print(f"  {sentence:86} {identification_bound(0.3 + 0.4 * bit, delta):9.6g}")
    print("\nTo see simulated procedures beside the bounds: python experiments/bounds.py")


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
        if args.p0 is None:
            show_examples(args.delta)
        else:
            answer(args.p0, args.p1, args.delta)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    from plumbing.command import command  # what is above needs nothing of it

    sys.exit(command(main)())
