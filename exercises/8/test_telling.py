"""The grader of exercise 8: the bound against `bound.py`, and the procedure against coins."""

import math

import numpy as np
from grading import explain, numbers, refuse

import bound

P0, P1, DELTA = 0.36, 0.736, 0.05  # 1-shot RLVR on MATH-500, before and after
TRIES = 4000
MOST = 1.35  # times the bound; Wald's test needs 1.18 times as many here


def test_the_divergence_of_two_coins(answer):
    a, b = 0.3, 0.6
    right = a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))
    mistakes = {
        "that is kl(b, a): the divergence is not symmetric": bound.kl(b, a),
        "in bits; nats are asked for, by the natural logarithm": right / math.log(2),
        "the half for the failures, (1-a) ln((1-a)/(1-b)), is missing": a * math.log(a / b),
        "the sign is turned round": -right,
    }
    explain(numbers(answer.kl(a, b), (), "kl"), right, mistakes, "kl(0.3, 0.6)")


def test_the_bound(answer):
    needed, right = bound.kl(DELTA, 1 - DELTA), bound.recognition_bound(P0, P1, DELTA)
    mistakes = {
        "divided by kl(p0, p1).  Who flips the coin of pass rate p1 collects kl(p1, p0) nats per "
        "rollout": needed / bound.kl(P0, P1),
        "ln(1/delta) is near, but the decision needs kl(delta, 1-delta) nats": -math.log(DELTA)
        / bound.kl(P1, P0),
        "multiplied where it should be divided": needed * bound.kl(P1, P0),
        "turned upside down": bound.kl(P1, P0) / needed,
    }
    found = numbers(answer.fewest(P0, P1, DELTA), (), "fewest")
    explain(found, right, mistakes, f"fewest({P0}, {P1}, {DELTA})")


class Coin:
    """Rewards of a pass rate, which counts how many were taken."""

    def __init__(self, flips):
        self.flips, self.taken = flips, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == len(self.flips):
            refuse(
                f"unlocked took {self.taken} rollouts and had not decided: does it stop at a "
                "threshold on *either* side?"
            )
        self.taken += 1
        return int(self.flips[self.taken - 1])


def tried(answer, rate, p0=P0, p1=P1, delta=DELTA, tries=TRIES):
    """The share of "unlocked", and the mean number of rollouts."""
    rng = np.random.default_rng(0)
    said, taken = [], []
    for _ in range(tries):
        coin = Coin(rng.random(1000) < rate)
        decided = answer.unlocked(coin, p0, p1, delta)
        if not isinstance(decided, bool | np.bool_):
            refuse(f"unlocked must return True or False, not {decided!r}")
        said.append(bool(decided))
        taken.append(coin.taken)
    return float(np.mean(said)), float(np.mean(taken))


ROOM = 4 * (DELTA * (1 - DELTA) / TRIES) ** 0.5  # four standard deviations of a share seen


def test_its_errors_are_rare_on_both_sides(answer):
    for rate, name in ((P0, "p0, still locked"), (P1, "p1, unlocked")):
        said, taken = tried(answer, rate)
        errs = said if rate == P0 else 1 - said
        if errs > 0.5:
            refuse(f"of a policy of pass rate {name} it is wrong {errs:.0%} of the time: turned?")
        if errs > DELTA + ROOM:
            refuse(
                f"of a policy of pass rate {name} it is wrong {errs:.1%} of the time, after "
                f"{taken:.1f} rollouts on average; delta = {DELTA:.0%} is allowed.  It stops too "
                "early: each look at the rewards is one more chance to err, and the threshold on "
                "the log-likelihood ratio, ln((1-delta)/delta), is made for any number of looks."
            )


def test_it_takes_hardly_more_than_the_bound(answer):
    least = float(bound.recognition_bound(P0, P1, DELTA))
    said, taken = tried(answer, P1)
    if taken < 0.97 * least and 1 - said <= DELTA:
        refuse(f"{taken:.1f} rollouts on average are fewer than the bound, {least:.1f}: impossible")
    if taken > MOST * least:
        optimum = bound.exact_fixed_sample_size(P0, P1, DELTA)
        fixed = ""
        if abs(taken - round(taken)) < 1e-9:
            fixed = (
                f"  It always takes {taken:.0f}.  The best fixed number is {optimum:.0f}; stop as "
                "soon as the rewards are clear, and most runs are shorter."
            )
        refuse(
            f"it takes {taken:.1f} rollouts on average where the policy is unlocked.  Nobody needs "
            f"fewer than {least:.1f}, and {MOST * least:.1f} are allowed.{fixed}"
        )


def test_other_rates_and_errors(answer):
    for p0, p1, delta in ((0.05, 0.2, 0.05), (0.4, 0.6, 0.01)):
        said, taken = tried(answer, p1, p0, p1, delta, 800)
        least = float(bound.recognition_bound(p0, p1, delta))
        if 1 - said > delta + 4 * (delta * (1 - delta) / 800) ** 0.5 or taken > MOST * least:
            refuse(
                f"p0 = {p0}, p1 = {p1}, delta = {delta}: wrong {1 - said:.1%} of the time, after "
                f"{taken:.1f} rollouts; the bound is {least:.1f}.  Are thresholds and steps made "
                "of p0, p1 and delta, and not of the numbers of one case?"
            )
