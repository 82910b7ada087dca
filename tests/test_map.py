"""The map of the saving: its pools, its prediction, its tables, and what it refuses."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "experiments"))

import map as saving
import noise_scale
import runs

RESULTS = ROOT / "experiments" / "results"
ARRIVES, NEVER = ((64, 0.2), (128, 0.95), (192, 0.95)), ((128, 0.1), (6400, 0.2))


def record(arm="dopr", rate=1e-4, seed=0, share=10, curve=ARRIVES, **more):
    """A run whose evaluations came at so many rollouts, with so much right."""
    rows = [[0, 0, 0, 0.0], *([n, 7 * n, n // 16, right] for n, right in curve)]
    return {
        "task": "small", "share": share, "arm": arm, "rate": rate, "seed": seed, "curve": rows,
        "groups": rows[-1][0] // 8, "informative": rows[-1][0] // 16,
        "seconds": {"rollout": 1.0, "update": 1.0, "evaluate": 1.0, "total": 4.0}, **more,
    }  # fmt: skip


def write(path, *records):
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


# ---- pools


@pytest.mark.parametrize("task", saving.PLACES)
@pytest.mark.parametrize("share", saving.SHARES)
def test_a_pool_has_its_share_of_problems_that_teach(task, share):
    place, problems = saving.PLACES[task], saving.pool(task, share, seed=3)
    kinds = [p.kind for p in problems]
    assert kinds.count(place.kinds[0]) == place.teach == round(share / 100 * len(problems))
    assert len({p.text for p in problems}) == len(problems) and set(kinds) == set(place.kinds)
    assert problems != saving.pool(task, share, seed=4)
    for p in problems[:50]:
        assert str(eval_of(p.text)) == p.answer


def eval_of(text):
    a, op, b = text.removesuffix("=").replace("+", " + ").replace("-", " - ").replace(
        "*", " * "
    ).split()  # fmt: skip
    return {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op]


def test_both_skills_are_in_every_small_pool():
    texts = [p.text for p in saving.pool("small", 50, seed=0) if p.kind == "carry"]
    assert sum("+" in t for t in texts) == sum("-" in t for t in texts) == 4


# ---- arms


def test_an_arm_rolls_out_one_problem_or_as_many_as_its_batch():
    def of(arm, share):
        keys = saving.keys("small", share, arm)
        return keys["selector.name"], keys["selector.candidates"], keys["update.beta2"]

    assert of("dopr", 10) == ("dopr", 64, 0.9968)  # .95^(1/16)
    assert of("dopr", 50) == ("dopr", 16, 0.9968)  # the whole pool
    assert of("M = 1", 10) == ("full_batch", 1, 0.9968)
    assert of("M = 4", 10) == ("full_batch", 4, 0.9873)
    assert of("M = 64", 10) == ("full_batch", 64, 0.95)
    assert of("all", 10) == ("full_batch", 80, 0.95)
    ema = {arm: saving.keys("small", 10, arm)["selector.ema"] for arm in saving.SELECTORS}
    assert ema == {"dopr": 0.9, "informative": 0.3}  # each as it predicts best: replay.py


def test_one_run_of_each_kind_is_recorded_as_the_tables_read_it(in_the_project, monkeypatch):
    monkeypatch.setattr(saving, "budget", lambda *_: 128)
    for arm, groups in (("dopr", 16), ("M = 4", 16)):
        found = saving.run("small", 50, arm, 1e-4, 0)
        assert saving.run_of(json.loads(json.dumps(found))) == ("small", 50, arm, 1e-4, 0)
        assert found["groups"] == groups and found["curve"][-1][0] == 128


# ---- the prediction


def test_a_batch_whose_groups_all_teach_alike_costs_its_size():
    """B = 0 and q = 1: M = 16 asks 16 times for what one problem says, once something teaches."""
    theory = saving.Theory("small", updates=10, B=0.0, q=1.0, progress=noise_scale.best_step)
    some = 1 - 0.9**16  # the chance that any of 16 teaches
    assert theory.baseline(10, 16) == pytest.approx(8 * 16 * 10 / some)
    assert theory.baseline(10, 1) == pytest.approx(8 * 10 / 0.1)


def test_a_selector_pays_for_its_tour_and_for_steps_without_a_teaching_candidate():
    theory = saving.Theory("small", updates=10, B=1.6, q=0.5, progress=noise_scale.adam)
    none = np.prod([(72 - i) / (80 - i) for i in range(64)])
    cost = 8 * 10 / (0.5 * (1 - none))
    assert theory.selector(10, tours=True) == pytest.approx(8 * 72 + cost)
    assert theory.selector(10, tours=False) == pytest.approx(8 * 20.8 + cost)


def test_the_committed_prediction_is_what_the_command_prints(capsys):
    said = ""
    for task in saving.PLACES:
        assert not saving.main(["--predict", "--task", task])
        said += capsys.readouterr().out
    assert said == (RESULTS / "map-predicted.md").read_text()


# ---- tables and figure


def test_tables_count_how_many_times_fewer_rollouts(tmp_path, capsys):
    """Full batch's 1,280 over dopr's 128: ten times; M = 1 never arrives, so it is a bound."""
    found = [record(seed=seed) for seed in (0, 1)]
    late = ((640, 0.2), (1280, 0.9), (1920, 0.95))
    found += [record("M = 64", seed=seed, curve=late) for seed in (0, 1)]
    found += [record("M = 1", seed=0, curve=NEVER), record("dopr", 4e-4, seed=100)]
    file, figure = write(tmp_path / "map.jsonl", *found), tmp_path / "map.png"
    assert not saving.main(["--tables", "--out", str(file), "--figure", str(figure)])
    said = capsys.readouterr().out
    row = "| 10% | > 50.0 [50.0, 50.0] | not run | not run | 10.0 [10.0, 10.0] | not run |"
    assert row in said  # the runs of an arm are alike here
    assert "| `M = 1` | 0.0001 | never |" in said and figure.stat().st_size > 10_000


def test_the_best_rate_is_that_of_the_tuning_seeds():
    slow = ((128, 0.1), (1280, 0.95), (1920, 0.95))
    tuned = [record(rate=1e-4, seed=100, curve=slow), record(rate=4e-4, seed=100)]
    tuned += [record(rate=1e-4, seed=0), record(rate=4e-4, seed=0, curve=slow)]
    assert saving.best(tuned, "small") == {"dopr": 4e-4}


@pytest.mark.parametrize(
    "wrong",
    [{"share": 3}, {"arm": "M = 2"}, {"seconds": 4}, {"task": "x"}, {"rate": -1}, {"curve": []}],
)
def test_a_line_that_is_no_record_is_named(tmp_path, capsys, wrong):
    file = write(tmp_path / "map.jsonl", record(), {**record(seed=1), **wrong})
    assert saving.main(["--tables", "--out", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"{file}:2" in error and error.count("\n") == 1


def test_no_runs_and_unknown_parts_are_refused(tmp_path, capsys):
    assert saving.main(["--tables", "--out", str(tmp_path / "none.jsonl")]) == 2
    assert saving.main(["--shares", "7"]) == 2
    error = capsys.readouterr().err
    assert "no finished runs" in error and "argument --shares" in error


def test_a_rate_that_failed_on_one_tuning_seed_is_not_tried_on_another():
    args = saving.read_arguments(["--shares", "10", "--arms", "dopr", "--rates", "1e-4", "4e-4"])
    touches = ((64, 0.95), (128, 0.5), (6400, 0.2))
    tuned = [record(rate=1e-4, seed=100), record(rate=4e-4, seed=100, curve=touches)]
    tuned += [record(rate=1e-4, seed=0, curve=touches)]  # of the tables
    first, second = (
        saving.tuning_jobs(args, list(map(runs.held, tuned)), seed) for seed in (100, 101)
    )
    assert first == [("small", 10, "dopr", rate, 100) for rate in (1e-4, 4e-4)]
    assert second == [("small", 10, "dopr", 1e-4, 101)]


def test_the_runs_of_another_task_in_the_same_file_pick_nothing(tmp_path, monkeypatch):
    other = [record(rate=rate, seed=100, curve=NEVER, task="tables") for rate in saving.RATES]
    file, asked = write(tmp_path / "both.jsonl", *other), []
    monkeypatch.setattr(saving, "make_runs", lambda run, wanted, *_: asked.extend(wanted) or [])
    args = ["--shares", "10", "--arms", "dopr", "--seeds", "0", "--tune", "101", "--out", str(file)]
    saving.make_all(saving.read_arguments(args))
    tried = [("small", 10, "dopr", rate, 101) for rate in saving.RATES]
    assert asked == [*tried, ("small", 10, "dopr", 1e-4, 0)]


def test_the_best_rate_is_run_on_the_seeds_of_the_tables():
    args = saving.read_arguments(["--shares", "10", "--arms", "dopr", "--seeds", "0"])
    equal = ("small", 10, "dopr", 1e-4, 0)
    assert saving.table_jobs(args, []) == [equal]
    slow = ((128, 0.1), (1280, 0.95), (1920, 0.95))
    tuned = [record(rate=1e-4, seed=100, curve=slow), record(rate=4e-4, seed=100)]
    found = saving.table_jobs(args, list(map(runs.held, tuned)))
    assert found == [equal, ("small", 10, "dopr", 4e-4, 0)]
