"""select.py: the formulas by hand, the baselines by their one difference, the clash of names."""

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from data import TASKS
from plumbing.config import selectors

ARMS = selectors.SELECTORS
DoPR = selectors.OneShotSelector


def test_two_visits_by_hand():
    s = DoPR(3, ema=0.3, bonus=0.05, entropy="none")
    s.update(1, [1, 0, 0, 0])  # mean 1/4, population variance 3/16
    m = 0.5 + 0.3 * (0.25 - 0.5)
    v = 0.7 * 0.25 + 0.3 * (0.1875 + 0.7 * (0.25 - 0.5) ** 2)
    assert s.mean[1] == pytest.approx(m) and s.variance[1] == pytest.approx(v)
    s.update(1, [1, 1, 1, 1])
    v = 0.7 * v + 0.3 * (0 + 0.7 * (1 - m) ** 2)
    assert s.variance[1] == pytest.approx(v)
    expected = [
        0.5 + 0.05 * math.sqrt(math.log(3)),
        math.sqrt(v) + 0.05 * math.sqrt(math.log(3) / 3),
    ]
    assert s.scores([0, 1]) == pytest.approx(expected)


def test_with_binary_rewards_the_variance_is_that_of_a_coin():
    s, rng = DoPR(1), np.random.default_rng(0)
    for _ in range(50):
        s.update(0, rng.integers(0, 2, size=8))
        assert s.variance[0] == pytest.approx(s.mean[0] * (1 - s.mean[0]))


@pytest.mark.parametrize("ema", [0.1, 0.9])
def test_the_long_run_of_the_variance_at_a_constant_rate(ema):
    """E v = p(1-p) [1 - b/((2-b)G)]: the mean m wanders, and v = m(1-m) is concave in it."""
    p, G, rng, seen = 0.3, 4, np.random.default_rng(0), []
    s = DoPR(1, ema=ema)
    for visit in range(20_000):
        s.update(0, rng.random(G) < p)
        if visit > 100:
            seen.append(s.variance[0])
    assert np.mean(seen) == pytest.approx(0.21 * (1 - ema / ((2 - ema) * G)), rel=0.02)


NEVER = 1e14


@pytest.mark.parametrize(
    ("ema", "failed", "not_yet", "back"),
    [(0.3, 1, None, 0), (0.3, 2, 1, 2), (0.3, 3, 39_000, 40_000), (0.3, 4, NEVER, None),
     (0.9, 1, NEVER, None), (0.9, 2, NEVER, None)],
)  # fmt: skip
def test_when_the_bonus_brings_a_failed_problem_back(ema, failed, not_yet, back):
    """The table of the docstring, against a rival of p = .3 that was visited very often."""
    s = DoPR(2, ema=ema, entropy="none")
    s.mean[1], s.variance[1], s.visits[1] = 0.3, 0.21, 10**15
    for _ in range(failed):
        s.update(0, [0] * 8)
    for t, chosen in ((not_yet, 1), (back, 0)):
        if t is not None:
            s.t = t
            assert s.scores([0, 1]).argmax() == chosen


def test_the_default_s_product_is_not_the_probability_of_both():
    """Group informative and one of three more wrong, p by Jeffreys: .463; the product is .417."""
    G, p = 8, np.sin(np.pi / 2 * (np.arange(100_000) + 0.5) / 100_000) ** 2  # its quantiles
    q = 1 - p
    both = ((1 - p**G - q**G) * (1 - p**3)).mean()
    means = [np.mean(x) for x in (p**G, q**G, p**3, p ** (G + 3), p**3 * q**G)]
    assert both == pytest.approx(1 - means[0] - means[1] - means[2] + means[3] + means[4])
    assert both == pytest.approx(0.463, abs=5e-4)
    all_right = math.comb(16, 8) / 2**16  # E[p^8] of an unseen problem; E[p^3] is 5/16
    expected = (1 - 2 * all_right) * 11 / 16
    assert ARMS["informative"](1).volatility([0])[0] == pytest.approx(expected)


@pytest.mark.parametrize("arm", ["dopr", "informative", "xrpo"])
def test_a_tour_tries_every_problem_once_before_any_twice(arm):
    """Even beside a problem that varies as much as can be, without any bonus besides."""
    toured = ARMS[arm](6, bonus=0.0, tour=True)
    visited = []
    for _ in range(6):
        (i,) = toured.choose(range(6))
        visited.append(i)
        toured.update(i, [0, 1] * 4)
    assert sorted(visited) == list(range(6))
    assert (toured.exploration(range(6)) == 0).all()  # nothing is left of it
    assert (ARMS[arm](6, bonus=0.0).exploration(range(6)) == 0).all()


def test_the_entropy_gate():
    s = DoPR(5, bonus=1.0)
    for i, entropy in enumerate([0.1, 0.4, 1.6]):
        s.update(i, [0, 1], entropy)
    s.update(3, [0, 1])  # entropy unknown
    plain = math.sqrt(math.log(5) / 2)
    # the mean of the known entropies is 0.7: 1/7 is raised to 1/2, 4/7 stays, 16/7 is cut to 2
    assert s.exploration([0, 1, 2, 3]) / plain == pytest.approx([0.5, 4 / 7, 2.0, 1.0])
    assert s.exploration([4])[0] == pytest.approx(math.sqrt(math.log(5)))  # never visited
    ungated = DoPR(5, bonus=1.0, entropy="none")
    ungated.update(0, [0, 1], 0.1)
    assert ungated.exploration([0])[0] == pytest.approx(math.sqrt(math.log(2) / 2))


def test_ties_are_broken_at_random_and_the_best_wins():
    s = DoPR(10)
    assert {s.choose(range(10))[0] for _ in range(200)} == set(range(10))
    for i in range(10):
        s.update(i, [1, 1] if i != 6 else [0, 1])
    assert s.choose(range(10)) == [6]
    assert s.choose([7, 8, 9, 6]) == [6]  # an index in the pool, not a place among the candidates


@pytest.mark.parametrize("rewards", [[math.nan, 1], [math.inf], []])
def test_rewards_that_are_no_numbers_are_refused(rewards):
    with pytest.raises(ValueError, match="problem 2"):
        DoPR(3).update(2, rewards)


@pytest.mark.parametrize("arm", ARMS)
def test_rewards_that_are_no_verdicts_are_learned_from_or_refused(arm):
    """A Beta posterior cannot count -0.4 of a success: it would become a "probability" of -2.45."""
    graded, shaped = ARMS[arm](3), ARMS[arm](3)
    graded.update(0, [0.25, 0.75, 1.0, 0.0])
    assert np.isfinite(graded.scores([0, 1])).all()
    if ARMS[arm].NEEDS_VERDICTS:
        with pytest.raises(ValueError, match="give it verdicts from 0 to 1"):
            shaped.update(0, [-0.4] * 8)
    else:
        shaped.update(0, [-0.4] * 8)
        assert np.isfinite(shaped.scores([0, 1])).all()


def test_a_score_that_is_no_number_wins_nothing():
    s = DoPR(3)
    s.variance[1] = math.nan
    with pytest.raises(ValueError, match="nan"):
        s.choose([0, 1, 2])


@pytest.mark.parametrize(
    "arguments",
    [{"n_problems": 0}, {"ema": 0}, {"bonus": -1}, {"bonus": math.nan}, {"entropy": "x"}],
)
def test_parameters_without_sense_are_refused(arguments):
    with pytest.raises(ValueError):
        DoPR(**({"n_problems": 3} | arguments))


@pytest.mark.parametrize("arm", ARMS)
def test_state_goes_through_json_and_on_exactly(arm):
    def play(selector, steps):
        rng = np.random.default_rng(steps)
        picks = []
        for _ in range(steps):
            candidates = rng.choice(20, 6, replace=False)
            chosen = selector.choose(candidates)
            picks.append(chosen)
            for i in chosen:
                selector.update(i, rng.integers(0, 2, 4), rng.random())
        return picks

    first = ARMS[arm](20, seed=3)
    play(first, 30)
    second = ARMS[arm](20, seed=99)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert play(first, 40) == play(second, 40)
    with pytest.raises(ValueError, match="20 problems, not 3"):
        ARMS[arm](3).load_state_dict(first.state_dict())


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_the_same_methods_and_changes_nothing_when_asked(arm):
    s = ARMS[arm](20, seed=0)
    for step in range(10):
        scores = s.scores([4, 7, 9])
        assert scores.shape == (3,) and np.array_equal(scores, s.scores([4, 7, 9]))
        chosen = s.choose([4, 7, 9])
        assert chosen == [4, 7, 9] if arm == "full_batch" else chosen in ([4], [7], [9])
        s.update(7, [step % 2, 1])


def test_the_baselines_differ_from_dopr_in_one_thing():
    dopr, volatility, ucb = (ARMS[arm](4) for arm in ("dopr", "volatility_only", "ucb_only"))
    for s in (dopr, volatility, ucb):
        s.update(0, [0, 1, 1, 1], 0.2)
        s.update(1, [1, 1, 1, 1], 0.1)
    everyone = [0, 1, 2, 3]
    assert dopr.scores(everyone) == pytest.approx(
        volatility.scores(everyone) + ucb.scores(everyone)
    )
    assert ucb.choose([0, 1, 2]) == [2]


def test_random_one_is_uniform_and_fixed_one_is_fixed():
    random_one = ARMS["random_one"](8)
    for _ in range(5):
        random_one.update(0, [0, 1])
    counts = np.bincount([random_one.choose(range(8))[0] for _ in range(4000)])
    assert ((counts - 500) ** 2 / 500).sum() < 30  # chi-square, 7 degrees, level 1e-4
    fixed = ARMS["fixed_one"](8)
    assert len({fixed.choose(c)[0] for c in ([1, 2], [3, 4], [5, 6], [0, 7])}) == 1


def test_thompson_prefers_what_is_uncertain_over_what_is_known():
    s = ARMS["thompson"](2)
    for _ in range(200):
        s.update(0, [1, 1, 1, 1])
        s.update(1, [0, 1, 0, 1])
    assert s.choose([0, 1]) == [1]


def test_mopps_moves_its_counts_to_the_prior_before_each_group():
    """lambda = 1 - ema = 0.75: 0.75 * 1 + 0.25 * 1 + 3 = 4, then 0.75 * 4 + 0.25 + 0 = 3.25."""
    s = ARMS["mopps"](2, ema=0.25)
    s.update(0, [1, 1, 1, 0])
    assert (s.passed[0], s.failed[0]) == (4, 2)
    s.update(0, [0, 0, 0, 0])
    assert (s.passed[0], s.failed[0]) == (3.25, 5.75)
    assert (s.passed[1], s.failed[1]) == (1, 1)


def test_greso_keeps_a_problem_with_a_probability_that_falls_with_its_streak():
    """p^z, with p near 1/2: after one dull group a half, after four a sixteenth."""
    s, n = ARMS["greso"](3, seed=0), 4000
    for rewards in ([0, 0], [0, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 0]):
        s.update(1, rewards)
    s.update(2, [0, 1])
    assert s.streak.tolist() == [0, 4, 0]
    # six groups all wrong, one all right, one neither: 0.5 + 0.01 (8/6 - 6) and (8/12 - 1)
    assert s.keep == pytest.approx([0.5 - 0.01 * (6 - 8 / 6), 0.5 - 0.01 * (1 - 8 / 12)])
    kept = np.zeros(3)
    for _ in range(n):
        kept += s.scores([0, 1, 2])
        s.draw = s.rng.random(3)
    assert kept[0] == kept[2] == n
    expected = s.keep[0] ** 4
    assert abs(kept[1] / n - expected) < 4 * math.sqrt(expected / n)


def test_greso_comes_to_keep_as_many_dull_groups_as_it_aims_at():
    """Of 80 problems 40 are always right and 32 always wrong: 1 of 12 groups, and 1 of 6."""
    rng, s, found = np.random.default_rng(0), ARMS["greso"](80, seed=1), []
    rate = rng.permutation([1.0] * 40 + [0.0] * 32 + [0.4] * 8)
    for _ in range(6000):
        (i,) = s.choose(rng.choice(80, 64, replace=False))
        rewards = (rng.random(8) < rate[i]).astype(float)
        s.update(i, rewards)
        found.append((rewards.max() == 0, rewards.min() == 1))
    wrong, right = np.mean(found[2000:], axis=0)
    assert wrong == pytest.approx(1 / 6, abs=0.02) and right == pytest.approx(1 / 12, abs=0.02)


def test_students_quantile_is_that_of_the_printed_tables():
    table = {3: 3.182, 5: 2.571, 7: 2.365, 15: 2.131, 30: 2.042, 120: 1.980}
    found = selectors.student_quantile(np.array(list(table), dtype=float))
    assert found == pytest.approx(list(table.values()), rel=0.01)


def test_xrpo_expects_of_a_group_what_it_takes_from_the_interval():
    """After 4 of 8 right: n = 10, s = sqrt(.25 * 10/9) = .527; h(10) = .377 and h(18) = .262."""
    s = ARMS["xrpo"](3, bonus=0)
    s.update(0, [0, 1] * 4)
    s.update(1, [0] * 8)
    varied, never, unseen = s.scores([0, 1, 2])
    assert varied == pytest.approx(0.377 - 0.262, abs=0.002)
    assert never == pytest.approx(0.226 - 0.157, abs=0.002)  # p = 1/10, s = .316
    assert unseen > varied > never > 0


def test_dopr_finds_the_informative_problems():
    """In the default pool, the tenth that teaches gets over half of the picks in the long run."""
    rng = np.random.default_rng(0)
    kinds = rng.permutation(
        [k for k, share in TASKS["arithmetic"].pool.items() for _ in range(round(80 * share))]
    )
    rate = {"plain": 1.0, "carry": 0.4, "product": 0.0}
    s, picks = DoPR(80, entropy="none"), []
    for _ in range(400):
        (i,) = s.choose(rng.choice(80, 16, replace=False))
        s.update(i, rng.random(8) < rate[kinds[i]])
        picks.append(kinds[i])
    assert np.mean([kind == "carry" for kind in picks[200:]]) > 0.5


# ---- the name


def run_python(code, cwd=ROOT):
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)


def test_import_select_is_the_standard_one():
    """From the project folder, where ours stands first on the path."""
    result = run_python(
        "import select, selectors, asyncio, subprocess\n"
        "assert callable(select.select) and not hasattr(select, 'OneShotSelector')\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "print(subprocess.run(['echo', 'ran'], capture_output=True, text=True).stdout)"
    )
    assert result.stdout.strip() == "ran", result.stderr


def test_our_file_under_the_name_select_hands_over_the_standard_one():
    """Also where the standard one is built in and ours would never be asked."""
    result = run_python(
        "import sys, importlib.util\n"
        "sys.modules.pop('select', None)\n"
        "spec = importlib.util.spec_from_file_location('select', 'select.py')\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(callable(sys.modules['select'].select))"
    )
    assert result.stdout.strip() == "True", result.stderr


def test_spawned_processes_work_from_the_project_folder(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import multiprocessing\n"
        "from plumbing.config import selectors\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(selectors.OneShotSelector(4).choose, ([2],)))\n"
    )
    result = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[2]", result.stderr


def test_selectors_pickle():
    s = DoPR(3, seed=5)
    assert pickle.loads(pickle.dumps(s)).choose([0, 1, 2]) == s.choose([0, 1, 2])


def test_the_chance_to_be_informative_beside_an_integral():
    """The means of 1 - p^G - (1-p)^G and of 1 - p^3 over the Beta density, on a grid."""
    s = ARMS["informative"](3, ema=0.25)
    s.update(1, [1, 0, 0, 0])
    s.update(1, [1, 1, 1, 0])
    assert s.volatility([0, 2]) == pytest.approx([(1 - 2 * 70 / 256) * 11 / 16] * 2)
    hits, misses = 0.75 * 1 + 3, 0.75 * 3 + 1
    p = (np.arange(100_000) + 0.5) / 100_000
    density = p ** (hits - 0.5) * (1 - p) ** (misses - 0.5)
    density /= density.sum()
    teaches, left = ((1 - p**4 - (1 - p) ** 4) * density).sum(), ((1 - p**3) * density).sum()
    assert s.volatility([1]) == pytest.approx([teaches * left], abs=1e-6)
    assert s.scores([1]) == pytest.approx(s.volatility([1]) + s.exploration([1]))


def test_what_was_seen_to_vary_is_preferred_to_the_unseen():
    """The volatility sqrt(v) ties them at best: it visits every dull problem once."""
    s = ARMS["informative"](3, bonus=0.0)
    s.update(0, [1, 0] * 4)
    s.update(1, [1] * 8)
    assert s.choose([0, 1, 2]) == [0] and s.choose([1, 2]) == [2]
