"""experiments/optima.py: the exact optima against bounds, enumeration and each other; and learning.

The first update and the counterexamples of bound.py's points 2, 6, 7 and 8 are here as well.
"""

import json
import math
import sys
from functools import cache

import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "experiments"))

from optima import exact_test, naming_optimum, sequential_optimum, wald_test

from bound import (
    accuracy_ceiling,
    dull_visits,
    entropy_bits,
    first_update_groups,
    identification_bound,
    learning_bound,
    recognition_bound,
)
from plumbing.config import selectors

# ---- tests of two pass rates


@pytest.mark.parametrize(
    ("p0", "p1", "bound", "optimum", "wald"),
    [(0.36, 0.736, 9.06, 9.14, 10.76), (0.2, 0.6, 6.94, 7.07, 8.25),
     (0.3, 0.5, 30.40, 30.52, 34.02), (0.05, 0.2, 18.96, 19.40, 23.50)],
)  # fmt: skip
def test_bound_optimum_and_practical_test_in_this_order(p0, p1, bound, optimum, wald):
    assert recognition_bound(p0, p1, 0.05) == pytest.approx(bound, abs=0.005)
    assert sequential_optimum(p0, p1, 0.05, 10 * int(bound)) == pytest.approx(optimum, abs=0.005)
    n, missed, alarmed = wald_test(p0, p1, 0.05, 10 * int(bound))
    assert n == pytest.approx(wald, abs=0.006) and max(missed, alarmed) <= 0.05


def test_a_later_end_changes_nothing():
    near, far = (sequential_optimum(0.36, 0.736, 0.05, horizon) for horizon in (80, 200))
    assert near == pytest.approx(far, abs=1e-4)


def test_no_test_of_two_flips_beats_the_optimum_of_two_flips():
    """All 3^3 rules by the state they stop in, mixed in pairs and threes by their own prices."""
    p0, p1, delta = 0.2, 0.8, 0.2

    def rule(first, second):
        def choose(L, options):
            if len(L) == 3:
                return np.array([0, int(second), 1])
            return np.array([first[0], first[1]]) if len(L) == 2 else np.array([2])

        return exact_test(p0, p1, 2, choose)

    found = [rule((a, b), c) for a in range(3) for b in range(3) for c in (0, 1)]
    found += [np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])]  # not a single flip
    best = math.inf
    shares = np.linspace(0, 1, 401)[:, None]
    for one in found:
        for two in found:
            mixed = shares * one + (1 - shares) * two
            allowed = mixed[(mixed[:, 1:] <= delta + 1e-9).all(axis=1)]
            best = min(best, allowed[:, 0].min(initial=math.inf))
    assert sequential_optimum(p0, p1, delta, 2) == pytest.approx(best, abs=0.01) == 1.0


def test_the_exact_test_by_hand():
    """Stop after one flip and believe it."""
    got = exact_test(0.3, 0.6, 1, lambda L, options: 1 * (L < 1) if len(L) == 2 else np.array([2]))
    assert got == pytest.approx([1, 0.4, 0.3])


# ---- naming a skill


@pytest.mark.parametrize(("bits", "bound", "optimum"), [(1, 13.29, 13.55), (2, 26.57, 31.32)])
def test_naming_a_skill_at_best(bits, bound, optimum):
    told = (np.arange(2**bits) >> np.arange(bits)[:, None] & 1) * 0.4 + 0.3
    assert identification_bound(told, 0.01) == pytest.approx(bound, abs=0.005)
    assert naming_optimum(bits, 0.01) == pytest.approx(optimum, abs=0.005)


def test_naming_one_of_two_is_a_walk_between_two_walls():
    """Stopping at a lead of k errs 1/(1 + (7/3)^k); the optimum mixes two neighbouring walls."""

    def wall(k):
        error = 1 / (1 + (7 / 3) ** k)
        return k * (1 - 2 * error) / 0.4, error  # Wald: mean lead over mean step

    (n5, e5), (n6, e6) = wall(5), wall(6)
    share = (0.01 - e6) / (e5 - e6)
    assert naming_optimum(1, 0.01) == pytest.approx(share * n5 + (1 - share) * n6, abs=1e-3)


# ---- the first update (point 2)


def first_update_optimum(live, impossible, solved, q, cut, end=0.0):
    """Return the least E[min(groups, cut)] to an informative group, over all policies.

    Labels are in random order.  A group of a live problem is informative with probability q, and
    else all its answers are wrong, as for an impossible problem; a solved one shows itself.  What
    is left after `cut` groups is counted as `end`.
    """
    N = live + impossible + solved

    @cache
    def weight(failures, unseen, known):
        """Of all labellings that agree with what was seen, the summed probability of seeing it."""
        if min(live, impossible, solved - known) < 0:
            return 0.0
        chosen = [1.0] + [0.0] * len(failures)  # [j]: over sets of j live ones among those seen
        for f in failures:
            for j in range(len(chosen) - 1, 0, -1):
                chosen[j] += chosen[j - 1] * (1 - q) ** f
        total = 0.0
        for j, seen in enumerate(chosen):
            left = (live - j, impossible - (len(failures) - j), solved - known)
            if min(left) >= 0:
                ways = math.factorial(unseen) / math.prod(map(math.factorial, left))
                total += seen * ways
        return total

    @cache
    def groups(failures, unseen, known, left):
        if left == 0:
            return end
        here, best = weight(failures, unseen, known), math.inf

        def after(seen, unseen, known):
            chance = weight(seen, unseen, known) / here
            return chance * groups(seen, unseen, known, left - 1) if chance > 0 else 0.0

        if unseen:
            shown = after(failures, unseen - 1, known + 1) if known < solved else 0.0
            failed = after(tuple(sorted((*failures, 1))), unseen - 1, known)
            best = 1 + shown + failed
        for f in set(failures):
            others = list(failures)
            others[others.index(f)] += 1
            best = min(best, 1 + after(tuple(sorted(others)), unseen, known))
        return best

    return groups((), N, 0, cut)


@pytest.mark.parametrize(
    ("pool", "at_twelve", "optimum", "bound"),
    [((1, 2, 2, 0.4), 6.69, 7.79, 4.5), ((1, 1, 4, 0.4), 6.38, 6.81, 5.0),
     ((2, 2, 2, 0.3), 6.37, 7.36, 4.67), ((1, 3, 1, 0.7), 4.66, 4.80, 3.43)],
)  # fmt: skip
def test_no_policy_comes_to_its_first_update_before_the_bound(pool, at_twelve, optimum, bound):
    live, impossible, solved, q = pool
    N = live + impossible + solved
    assert first_update_groups(N, live, q) == pytest.approx(bound, abs=0.005)
    assert first_update_optimum(*pool, cut=12) == pytest.approx(at_twelve, abs=0.005)
    least = first_update_optimum(*pool, cut=40)  # what comes later would only add to it
    assert bound < at_twelve < least <= optimum + 0.005
    assert first_update_optimum(*pool, cut=40, end=40.0) > optimum - 0.02


def test_where_every_group_of_a_live_problem_teaches_the_bound_is_met():
    assert first_update_optimum(2, 0, 4, 1.0, cut=12) == pytest.approx(4 / 3 + 1)
    assert first_update_groups(6, 2, 1.0) == pytest.approx(4 / 3 + 1)


@pytest.mark.parametrize("arm", selectors.SELECTORS)
def test_no_selector_comes_to_its_first_update_before_the_bound(arm):
    """Nothing is learned before; full batch pays for all the candidates of its step."""
    N, live, G, runs = 20, 3, 4, 150
    q = 1 - 0.3**G - 0.7**G
    groups = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        rates = rng.permutation([0.3] * live + [0.0] * 10 + [1.0] * 7)
        selector, spent, found = selectors.SELECTORS[arm](N, seed=seed), 0, False
        while not found and spent < 200:
            for i in selector.choose(rng.permutation(N)[:8].tolist()):
                rewards = (rng.random(G) < rates[i]).astype(float)
                selector.update(i, rewards)
                spent += 1
                found = found or rewards.min() < rewards.max()
        groups.append(spent)
    error = np.std(groups) / math.sqrt(runs)
    assert np.mean(groups) + 3 * error > first_update_groups(N, live, q)


def test_the_dull_visits_before_every_skill_is_met():
    """One skill: (N-L)/(L+1).  The default pool: 72 (1/5 + 1/5 - 1/9).  And by simulation."""
    assert dull_visits(9, [2]) == pytest.approx(3) and dull_visits(0, [1, 1]) == 0
    assert dull_visits(72, [4, 4]) == pytest.approx(20.8)
    rng, met = np.random.default_rng(0), []
    for _ in range(4000):
        order = rng.permutation([0] * 20 + [1] * 2 + [2] * 3 + [3])
        met.append((order[: max(list(order).index(s) for s in (1, 2, 3))] == 0).sum())
    assert dull_visits(20, [2, 3, 1]) == pytest.approx(np.mean(met), abs=0.3)
    for wrong in ((3, []), (3, [0]), (-1, [1])):
        with pytest.raises(ValueError, match="a live problem per skill"):
            dull_visits(*wrong)


def test_the_most_that_a_selector_could_save_on_the_default_task():
    """20.8 dull visits and the least informative groups that any arm needed, against full batch."""
    updates, rollouts = {}, []
    for line in (ROOT / "experiments/results/compare-small.jsonl").read_text().splitlines():
        run = json.loads(line)
        reached = [point for point in run["curve"] if point[3] >= 0.9]
        if run["rate"] == 1e-4 and run["seed"] < 5 and run["arm"] != "fixed_one":
            if run["arm"] == "full_batch":
                rollouts.append(reached[0][0])
            else:
                updates.setdefault(run["arm"], []).append(reached[0][2])
    least = min(np.mean(counts) for counts in updates.values())
    assert (
        len(updates) == 11
        and least == pytest.approx(26)
        and np.mean(rollouts) == pytest.approx(3302.4)
    )
    assert np.mean(rollouts) / 8 / (dull_visits(72, [4, 4]) + least) == pytest.approx(8.8, abs=0.05)


# ---- volatility and information (point 6)


def test_the_variance_of_a_reward_is_of_two_parts():
    P = np.array([0.3, 0.7, 0.5, 0.9])
    assert P.mean() * (1 - P.mean()) == pytest.approx(P.var() + np.mean(P * (1 - P)))
    alike = np.full(4, 0.5)  # the second part alone: most variance, no information
    information = [entropy_bits(x.mean()) - entropy_bits(x).mean() for x in (P, alike)]
    assert information[0] > 0.1 and information[1] == 0
    assert alike.mean() * (1 - alike.mean()) > P.mean() * (1 - P.mean())


# ---- learning (point 7)


def test_learning_implies_identification():
    """A verifier that errs in a tenth of cases, eight worlds, one response for each bit."""
    paid = np.where(np.arange(8) >> np.arange(3)[:, None] & 1, 0.9, 0.1)
    h = entropy_bits(0.1)
    assert learning_bound(paid, 0.9) >= (0.9 * 3 - h) / (1 - h) - 1e-9
    assert learning_bound(paid, 0.9) == identification_bound(paid, 1 - 0.9)
    assert 0 < learning_bound(paid, 0.5) <= learning_bound(paid, 0.7) < learning_bound(paid, 0.99)


def test_pass_rates_in_place_of_responses_would_be_no_bound_on_learning():
    """A is written 7 times in 10, and B else; A is right in one world, B in the other.

    One rollout shows what was written and whether it was paid, and so the world for sure.
    """
    rates = np.array([[0.7, 0.3]])
    assert learning_bound(rates, 0.99) > 13
    worlds = {}
    for world in "AB":
        for written in "AB":
            worlds.setdefault((written, written == world), set()).add(world)
    assert all(len(possible) == 1 for possible in worlds.values())
    assert learning_bound(np.eye(2), 0.99) == pytest.approx(0.99 - entropy_bits(0.01))


# ---- coverage (point 8)


def test_the_ceiling_of_accuracy_by_hand():
    """Half of the test asks for fact 0 alone, half for fact 1 as well."""
    rates = [[0.4, 1.0], [0.4, 0.3]]
    assert accuracy_ceiling(rates, [True, False]) == pytest.approx((1 + 0.3) / 2)
    assert accuracy_ceiling(rates, [False, False]) == pytest.approx((0.4 + 0.12) / 2)
    assert accuracy_ceiling(rates, [True, True]) == 1
