"""What the experiments compute from their runs, by hand; and what they refuse."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, write_carries

sys.path.append(str(ROOT / "experiments"))

import compare
import few_instances
import format_or_arithmetic
import noise_scale
import plots
import replay
import runs

from data import HELDOUT_SUMS, Problem, is_heldout, load_jsonl
from plumbing.config import read_config, selectors
from policy import Policy


def record(arm="dopr", rate=1e-4, seed=0, task="small", costs=((64, 0.5), (128, 0.92)), **more):
    """A run whose evaluations came at so many rollouts, with so much right."""
    curve = [[0, 0, 0, 0.2], *([n, 20 * n, n // 16, accuracy] for n, accuracy in costs)]
    groups = curve[-1][0] // 8
    picked = [{"carry": 8}] * (groups // 8)
    return {
        "task": task, "arm": arm, "rate": rate, "seed": seed, "curve": curve,
        "informative": groups // 2, "groups": groups, "picked": picked, **more,
    }  # fmt: skip


NEVER = ((64, 0.5), (6400, 0.8))


# ---- costs


def test_the_cost_is_that_of_the_first_evaluation_at_the_level():
    run = record(costs=((64, 0.5), (128, 0.92), (192, 0.7), (256, 0.95)))
    assert runs.cost_to(run, 0.9) == 128 and runs.cost_to(run, 0.9, column=1) == 2560
    assert runs.cost_to(run, 0.96) == np.inf
    assert compare.accuracy_at(run, 0, 200) == 0.7 and compare.accuracy_at(run, 2, 8) == 0.92


def test_a_run_that_is_held_arrives_where_it_is_at_the_level_twice_in_a_row():
    run = record(costs=((64, 0.5), (128, 0.92), (192, 0.7), (256, 0.95), (320, 0.91), (384, 0.99)))
    held = runs.held(run)
    assert [row[runs.ACCURACY] for row in held["curve"]] == [0.2, 0.5, 0.7, 0.7, 0.91, 0.91, 0.91]
    assert [row[0] for row in held["curve"]] == [row[0] for row in run["curve"]]
    assert runs.cost_to(held, 0.9) == 256 and held["end"] == 0.99
    touched = runs.held(record(costs=((64, 0.5), (128, 0.95))))
    assert runs.cost_to(touched, 0.9) == np.inf and touched["end"] == 0.95
    unseen = runs.held({"curve": [[0, 0, 0, 0.3, 7]]})
    assert unseen == {"curve": [[0, 0, 0, 0.3, 7]], "end": 0.3}


def test_a_run_that_never_arrives_counts_with_its_end():
    there, never = record(), record(costs=NEVER)
    assert runs.cost_cell([there, there], 0.9) == "128 [128, 128]"
    assert runs.cost_cell([never], 0.9) == "never"
    assert runs.cost_cell([there, never], 0.9).startswith("> 3,264 [128, 6,400] (1 of 2)")
    assert runs.mean_cost([there, never]) == (128 + 6400) / 2
    assert runs.budget_of("small", "full_batch") == 2 * runs.budget_of("small", "dopr")


def test_the_best_rate_is_picked_on_the_tuning_seeds_alone():
    slow, quick = ((320, 0.92),), ((64, 0.92),)
    records = [
        *(record(rate=1e-4, seed=seed, costs=slow) for seed in (100, 101, 102)),
        *(record(rate=4e-4, seed=seed, costs=quick) for seed in (100, 101)),
        record(rate=4e-4, seed=102, costs=NEVER),
        record(rate=4e-4, seed=0, costs=quick),  # of the table
        record("random_one", rate=4e-4, seed=0),  # never tuned
    ]
    assert runs.best_rates(records) == {"dopr": 1e-4}
    equal = [record(rate=rate, seed=100) for rate in (4e-4, 2e-4)]
    assert runs.best_rates(equal) == {"dopr": 2e-4}  # the smaller one


def test_a_ratio_to_an_arm_that_does_not_arrive_is_a_bound():
    full = [record("full_batch", costs=((1280, 0.92),))]
    there, never = [record()], [record(), record(costs=NEVER)]
    assert runs.saved(full, there, 0.9) == "10.0"
    assert runs.saved(full, never, 0.9) == "< 0.4"
    assert runs.saved(never, there, 0.9) == "> 25.5"
    assert runs.saved(never, never, 0.9) == "neither arrives"


# ---- the noise scale


def test_the_noise_scale_of_gradients_whose_noise_is_known():
    """Around (3, 4) with variance 4 in each of two directions: B = 8 / 25."""
    stream = torch.Generator().manual_seed(0)
    gradients = torch.tensor([3.0, 4.0]) + 2 * torch.randn(20_000, 2, generator=stream)
    B, square, trace = noise_scale.noise_scale(gradients.double())
    assert square == pytest.approx(25, rel=0.02) and trace == pytest.approx(8, rel=0.02)
    assert pytest.approx(8 / 25, rel=0.03) == B


def test_the_ratio_between_its_two_ends():
    """One group says it all: M s' / P(n >= 1); every group teaches something else: s' / s."""
    assert noise_scale.ratio(B=0.0, share=0.1, picked=0.5, M=16) == pytest.approx(8 / (1 - 0.9**16))
    assert noise_scale.ratio(B=1e9, share=0.1, picked=0.5, M=16) == pytest.approx(5)
    assert noise_scale.ratio(0.0, 0.1, 0.5, 16) == noise_scale.ratio(
        0.0, 0.1, 0.5, 16, noise_scale.adam
    )


@pytest.mark.parametrize("progress", [noise_scale.best_step, noise_scale.adam])
def test_the_ratio_by_simulation_of_the_number_of_informative_groups(progress):
    """Not at the mean of n: progress is concave in it, and a step without any makes none."""
    n = np.random.default_rng(0).binomial(16, 0.1, size=200_000)
    full = np.mean([progress(k, 1.6) if k else 0.0 for k in n])
    one = 0.5 * progress(1, 1.6)
    predicted = noise_scale.ratio(1.6, 0.1, 0.5, 16, progress)
    assert predicted == pytest.approx(16 * one / full, rel=0.01)
    assert predicted > 1.05 * 16 * one / progress(1.6, 1.6)


def test_the_jackknife_leaves_out_each_group():
    g = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double() + 1
    left = [noise_scale.noise_scale(torch.cat((g[:i], g[i + 1 :])))[0] for i in range(9)]
    by_hand = np.sqrt(8 / 9 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert noise_scale.jackknife(g) == pytest.approx(by_hand)


def test_a_measurement_without_its_error_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise-small.json").write_text('{"base": {"B": 1.6}}')
    assert noise_scale.main(["--beside", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "needs noise-small.json" in error and error.count("\n") == 1


def test_two_signals_look_like_noise():
    """Two orthogonal directions without any noise in them: B = 1, and all of it between skills."""
    g = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 500).double()
    problems = [f"{i % 10}{'+-'[i % 2]}1=" for i in range(1000)]
    parts = noise_scale.parts_of_noise(g, problems, list(map(noise_scale.skill_of, problems)))
    assert parts == pytest.approx({"responses": 0, "problems": 0, "skills": 1, "common": 0})
    assert noise_scale.noise_scale(g)[0] == pytest.approx(1, rel=0.01)


def test_the_parts_of_the_noise_are_those_that_were_put_in():
    """Squared lengths 1 (common), 2 (skill), 3 (problem), 4 (responses), of 10 in all."""
    rng, W, rows, problems, skills = torch.Generator().manual_seed(0), 4000, [], [], []

    def part(size):
        return torch.randn(W, generator=rng).double() * (size / W) ** 0.5

    common = part(1)
    for skill in range(30):
        of_skill = part(2)
        for problem in range(4):
            of_problem = part(3)
            for _ in range(3):
                rows.append(common + of_skill + of_problem + part(4))
                problems.append(f"{skill} {problem}")
                skills.append(str(skill))
    found = noise_scale.parts_of_noise(torch.stack(rows), problems, skills)
    assert sum(found.values()) == pytest.approx(1)
    expected = {"responses": 0.4, "problems": 0.3, "skills": 0.2, "common": 0.1}
    assert found == pytest.approx(expected, abs=0.02)
    one = noise_scale.parts_of_noise(torch.stack(rows), problems, ["*"] * len(rows))
    assert one["problems"] > 0 and np.isnan(one["skills"]) and np.isnan(one["common"])
    assert [noise_scale.skill_of(p) for p in ("1+2=", "3-1=", "12*7=")] == ["+", "-", "*7"]


def test_the_share_of_informative_picks_until_the_level():
    """The third evaluation is the first at 90%: 12 updates in 24 groups of 8."""
    run = record(costs=((64, 0.5), (128, 0.6), (192, 0.95), (640, 0.99)))
    assert noise_scale.share_to_level(run, G=8) == 12 * 8 / 192


# ---- few problems


def test_which_skills_a_problem_asks_for():
    survive = 1 - few_instances.FORGET
    assert few_instances.needs(Problem("478+365=", "843", "carry")) == {"+": survive**2}
    assert few_instances.needs(Problem("123+321=", "444", "plain")) == {"+": 1.0}
    right = 1 - few_instances.MISTAKE
    assert few_instances.needs(Problem("737*8=", "5896", "shaky")) == {
        "7*8": right**2, "3*8": right
    }  # fmt: skip


def test_a_pool_of_sums_has_a_ceiling_for_it_never_asks_to_borrow():
    """A fifth of the test is plain, two fifths are sums; a borrow is remembered .4 of the time."""
    both = few_instances.draw("small", 30, seed=0)
    sums = [p for p in both if "+" in p.text]
    assert few_instances.ceiling_of("small", both, seed=0) == 1
    assert 0.6 < few_instances.ceiling_of("small", sums, seed=0) <= 0.6 + 0.4 * 0.4
    plain = [Problem("123+321=", "444", "plain")]  # it asks for no carry
    assert few_instances.ceiling_of("small", plain, seed=0) < 0.6


def test_what_the_recorded_runs_say_of_the_ceiling(capsys):
    """Without transfer it would never be exceeded; on the harder task three runs of 20 do so."""
    for task, said in (("small", "0 of 35 runs; correlation 0.98"),
                       ("tables", "3 of 20 runs; correlation 0.95")):  # fmt: skip
        assert few_instances.main(["--task", task, "--tables"]) == 0
        assert said in capsys.readouterr().out


def test_a_pool_begins_the_larger_one():
    small, large = (few_instances.draw("tables", n, seed=3) for n in (5, 9))
    assert large[:5] == small and len({p.text for p in large}) == 9


# ---- the runs themselves, short ones


def test_a_run_of_the_comparison_leaves_a_whole_record(monkeypatch):
    monkeypatch.chdir(ROOT)
    more = {"max_rollouts": 128, "data.heldout_size": 20}
    got = compare.run("small", "dopr", 1e-4, 0, more)
    assert {**got, "curve": 0, "picked": 0, "seconds": 0, "informative": 0} == {
        "task": "small", "arm": "dopr", "rate": 1e-4, "seed": 0, "set": more,
        "curve": 0, "picked": 0, "seconds": 0, "informative": 0, "groups": 16,
    }  # fmt: skip
    assert [point[runs.ROLLOUTS] for point in got["curve"]] == [0, 64, 128]
    assert got["curve"][-1][runs.UPDATES] == got["informative"]
    assert [sum(kinds.values()) for kinds in got["picked"]] == [8, 8]
    assert {kind for kinds in got["picked"] for kind in kinds} <= {"plain", "carry", "product"}


def test_a_run_on_few_problems_leaves_a_whole_record(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(few_instances.TASKS, "small", replace(runs.TASKS["small"], rollouts=80))
    got = few_instances.run("small", 2, 0)
    assert (got["N"], got["seed"], got["groups"], len(got["curve"])) == (2, 0, 10, 1)
    assert 0.7 < got["ceiling"] < 0.75 and got["curve"][0][0] == got["informative"] > 0


def test_a_run_that_cannot_go_on_says_why(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(runs.UserError, match="a run ended early: max_rollouts: one step costs 8"):
        runs.train_once("small.json", {"max_rollouts": 4})


def test_the_noise_scale_of_the_base_model(tmp_path):
    policy = Policy(read_config(ROOT / "small.json", [f"model={ROOT / 'base'}"]))
    pool = load_jsonl(write_carries(tmp_path / "carries.jsonl"))
    found = noise_scale.measure(policy, pool, n=10, G=8, M=16)
    assert found["groups"] == 10 >= found["informative"] >= 2 and found["trace"] > 0


# ---- replay


def test_an_oracle_picks_what_varies_and_informative_learns_to():
    """A problem in sixteen varies: at random its share is 1/16, and an oracle mostly has one."""
    history = [np.full(20, 0.5 if i % 16 == 0 else float(i % 2)) for i in range(replay.POOL)]
    share = {
        kind: replay.replay(history, selectors.SELECTORS.get(kind), {}, seed=0)
        for kind in ("random_one", "informative", "oracle")
    }
    assert share["random_one"] < 0.1 and share["oracle"] > 0.5
    assert 0.9 * share["oracle"] < share["informative"] <= share["oracle"] + 0.02


# ---- format or arithmetic


def test_the_sums_asked_are_held_out_and_of_their_size():
    for size, fits in format_or_arithmetic.SIZES.items():
        problems = format_or_arithmetic.sums(fits, 40)
        pairs = [tuple(map(int, p.text.rstrip("=").split("+"))) for p in problems]
        assert len(set(pairs)) == len(pairs) and all(fits(a, b) for a, b in pairs)
        assert all(is_heldout(a, "+", b, HELDOUT_SUMS) for a, b in pairs)
        assert len(problems) == (31 if size == "one digit" else 40)


def test_the_base_model_adds_when_it_is_asked():
    policy = Policy(read_config(ROOT / "small.json", [f"model={ROOT / 'base'}"]))
    problems = [Problem("12+34=", "46"), Problem("12+34=", "47")]
    assert format_or_arithmetic.accuracy(policy, problems, "asked") == 0.5


# ---- figures


def test_the_figures_of_a_comparison_and_of_few_problems(tmp_path, capsys):
    """Also where a kind of problem reads like a formula that there is not."""
    plt = pytest.importorskip("matplotlib.pyplot")
    strange = [{r"$\notacommand$": 4, "_hidden": 4}]
    found = [record(arm, seed=seed) for arm in runs.MAIN for seed in (0, 1, 100)]
    found += [record(seed=2, picked=strange)]
    few = {
        "N": 2, "seed": 0, "before": 0.2, "curve": [[7, 0.5]], "ceiling": 0.7, "informative": 7,
        "groups": 10,
    }  # fmt: skip
    both = [few, {**few, "seed": 1, "ceiling": 1.0}]
    for name, records in (("compare-mine", found), ("few-mine", both)):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(r) + "\n" for r in records))
        assert plots.main([str(file), "--out", str(tmp_path / "docs")]) == 0
    drawn = {path.name for path in (tmp_path / "docs").iterdir()}
    assert drawn == {"compare-mine.png", "choices-mine.png", "few-mine.png"}
    assert len(capsys.readouterr().out.split()) == 3 and not plt.get_fignums()


# ---- the end of a grid


def test_an_order_to_end_leaves_no_worker_behind():
    code = (
        "import os, signal, threading, time; from runs import in_processes;"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start();"
        "list(in_processes(time.sleep, [(300,)], 1))"
    )
    folder = str(ROOT / "experiments")
    ended = subprocess.run(  # would wait for the worker's 300 seconds
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 128 + 15 and "goes on with what is missing" in ended.stderr


# ---- bad input

WRONG = [
    ("compare.py --processes 0", "no whole number >= 1"),
    ("compare.py --rates 0", "no learning rate > 0"),
    ("compare.py --rates nan", "no learning rate > 0"),
    ("compare.py --tables --out {tmp}/none.jsonl", "none.jsonl: no finished runs"),
    ("compare.py --tables --out {tmp}/torn.jsonl", "torn.jsonl:2: not the record of a run"),
    ("compare.py --tables --out {tmp}", "not a file in a folder"),
    ("compare.py --out {tmp}/nowhere/runs.jsonl", "not a file in a folder"),
    ("compare.py --set nonsense=1 --out {tmp}/none.jsonl", "nonsense"),
    ("compare.py --set seed=1 --out {tmp}/tuning.jsonl", "a run with other keys set"),
    ("few_instances.py --sizes 0", "no whole number >= 1"),
    ("few_instances.py --sizes 100000", "at most 1000"),
    ("few_instances.py --tables --out {tmp}/tuning.jsonl", "tuning.jsonl:1: not the record"),
    ("noise_scale.py --groups 1", "no whole number >= 2"),
    ("noise_scale.py --models {tmp}/nowhere --groups 2", "nowhere"),
    ("noise_scale.py --beside {tmp}", "noise-small.json"),
    ("noise_scale.py --out {tmp}/nowhere/noise.json", "not a file in a folder"),
    ("plots.py {tmp}", "cannot be read"),
    ("plots.py {tmp}/none.jsonl", "no finished runs"),
    ("plots.py {tmp}/tuning.jsonl --out {tmp}/docs", "no runs at 0.0001"),
    ("replay.py {tmp}/none.jsonl", "none.jsonl: no object"),
    ("replay.py {tmp}/torn.jsonl", "torn.jsonl: no object"),
    ("replay.py {tmp}/few.json", "needs 128 problems"),
]


@pytest.mark.parametrize(("command", "message"), WRONG, ids=[c for c, _ in WRONG])
def test_what_cannot_be_done_ends_in_one_line(tmp_path, monkeypatch, capsys, command, message):
    tuning = json.dumps(record(seed=100))
    (tmp_path / "tuning.jsonl").write_text(tuning + "\n")
    (tmp_path / "torn.jsonl").write_text(tuning + "\n" + tuning[:50])
    (tmp_path / "few.json").write_text(json.dumps({"1+1=": [0.5] * 9}))
    script, *arguments = command.format(tmp=tmp_path).split()
    if script.startswith("plot"):
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module(script.removesuffix(".py")).main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
