"""What the experiments compute from their runs, by hand; and what they refuse."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

sys.path.append(str(ROOT / "experiments"))

import compare
import few_instances
import noise_scale

from data import Problem


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
    assert compare.cost_to(run, 0.9) == 128 and compare.cost_to(run, 0.9, column=1) == 2560
    assert compare.cost_to(run, 0.96) == np.inf
    assert compare.accuracy_at(run, 0, 200) == 0.7 and compare.accuracy_at(run, 2, 8) == 0.92


def test_a_run_that_never_arrives_counts_with_its_end():
    there, never = record(), record(costs=NEVER)
    assert compare.cost_cell([there, there], 0.9) == "128 [128, 128]"
    assert compare.cost_cell([never], 0.9) == "never"
    assert compare.cost_cell([there, never], 0.9).startswith("> 3,264 [128, 6,400] (1 of 2)")
    assert compare.mean_cost([there, never]) == (128 + 6400) / 2
    assert compare.budget_of("small", "full_batch") == 2 * compare.budget_of("small", "dopr")


def test_the_best_rate_is_picked_on_the_tuning_seeds_alone():
    slow, quick = ((320, 0.92),), ((64, 0.92),)
    records = [
        *(record(rate=1e-4, seed=seed, costs=slow) for seed in (100, 101, 102)),
        *(record(rate=4e-4, seed=seed, costs=quick) for seed in (100, 101)),
        record(rate=4e-4, seed=102, costs=NEVER),
        record(rate=4e-4, seed=0, costs=quick),  # of the table
        record("random_one", rate=4e-4, seed=0),  # never tuned
    ]
    assert compare.best_rates(records) == {"dopr": 1e-4}
    equal = [record(rate=rate, seed=100) for rate in (4e-4, 2e-4)]
    assert compare.best_rates(equal) == {"dopr": 2e-4}  # the smaller one


def test_a_ratio_to_an_arm_that_does_not_arrive_is_a_bound():
    full = [record("full_batch", costs=((1280, 0.92),))]
    there, never = [record()], [record(), record(costs=NEVER)]
    assert noise_scale.seen(full, there) == "10.0"
    assert noise_scale.seen(full, never) == "< 0.4"
    assert noise_scale.seen(never, there) == "> 25.5"
    assert noise_scale.seen(never, never) == "neither arrives"


# ---- the noise scale


def test_the_noise_scale_of_gradients_whose_noise_is_known():
    """Around (3, 4) with variance 4 in each of two directions: B = 8 / 25."""
    stream = torch.Generator().manual_seed(0)
    gradients = torch.tensor([3.0, 4.0]) + 2 * torch.randn(20_000, 2, generator=stream)
    B, square, trace = noise_scale.noise_scale(gradients.double())
    assert square == pytest.approx(25, rel=0.02) and trace == pytest.approx(8, rel=0.02)
    assert pytest.approx(8 / 25, rel=0.03) == B


def test_the_ratio_between_its_two_ends():
    """One group says it all: M s'; every group teaches something else: s' / s."""
    assert noise_scale.ratio(B=0.0, share=0.1, picked=0.5, M=16) == pytest.approx(8)
    assert noise_scale.ratio(B=1e9, share=0.1, picked=0.5, M=16) == pytest.approx(5)
    assert noise_scale.ratio(B=1.6, share=0.1, picked=0.5, M=16) == pytest.approx(5 * 3.2 / 2.6)


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


def test_a_pool_of_sums_can_never_tell_who_lacks_the_borrow():
    both = few_instances.draw("small", 30, seed=0)
    sums = [p for p in both if "+" in p.text]
    assert few_instances.bound_of("small", sums) == np.inf
    assert 0 < few_instances.bound_of("small", both) < 10


def test_a_pool_begins_the_larger_one():
    small, large = (few_instances.draw("tables", n, seed=3) for n in (5, 9))
    assert large[:5] == small and len({p.text for p in large}) == 9


# ---- the end of a grid


def test_an_order_to_end_leaves_no_worker_behind():
    code = (
        "import os, signal, threading, time; from compare import in_processes;"
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
    ("compare.py --set seed=1 --out {tmp}/tuning.jsonl", "holds runs with other keys"),
    ("few_instances.py --sizes 0", "no whole number >= 1"),
    ("few_instances.py --sizes 100000", "at most 1000"),
    ("few_instances.py --tables --out {tmp}/tuning.jsonl", "not made by few_instances.py"),
    ("noise_scale.py --groups 1", "no whole number >= 2"),
    ("noise_scale.py --models {tmp}/nowhere --groups 2", "nowhere"),
    ("noise_scale.py --beside {tmp}", "noise-small.json"),
    ("noise_scale.py --out {tmp}/nowhere/noise.json", "not a file in a folder"),
    ("bench.py --groups 1", "no whole number >= 2"),
    ("bench.py --device nowhere", "device: 'nowhere'"),
    ("bench.py --out {tmp}/nowhere/bench.json", "not a file in a folder"),
    ("plot_bench.py {tmp}/none.json {tmp}/none.json {tmp}/bench.png", "none.json: not written by"),
    ("plot_bench.py {tmp}/few.json {tmp}/few.json {tmp}/bench.png", "few.json: not written by"),
    ("plot_bench.py {growth} {growth} {tmp}/bench.png", "that of bench.py --growth second"),
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
    growth = ROOT / "experiments" / "results" / "bench-growth.json"
    script, *arguments = command.format(tmp=tmp_path, growth=growth).split()
    if script.startswith("plot"):
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(script.removesuffix(".py")).main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line[:1] not in "u "]
    assert ended.value.code == 2 and len(lines) == 1
    assert "error: " in lines[0] and message in lines[0]
