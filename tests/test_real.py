"""The comparison on a real checkpoint: its pools, its budgets, its tables, and what it refuses."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "experiments"))

import real
import runs

from verifier import verify

ARRIVES, NEVER = ((64, 0.2), (128, 0.5), (192, 0.6)), ((64, 0.1), (1280, 0.2))


def record(arm="dopr", rate=1e-5, seed=0, share=10, costs=ARRIVES, **more):
    """A run whose evaluations came at so many rollouts, with so much right."""
    curve = [[0, 0, 0, 0.0, 0], *([n, 7 * n, n // 16, right, n / 8] for n, right in costs)]
    groups = curve[-1][0] // 8
    return {
        "share": share, "arm": arm, "rate": rate, "seed": seed, "device": "cpu", "curve": curve,
        "informative": groups // 2, "groups": groups,
        "paid": {"sum": [5, 8], "product": [0, 80], "wrong product": [0, 72]},
        "seconds": {"rollout": 1.0, "update": 1.0, "evaluate": 1.0, "total": 4.0}, **more,
    }  # fmt: skip


def write(path, *records):
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


# ---- pools


@pytest.mark.parametrize(("share", "sums"), [(5, 6), (10, 13), (25, 32)])
def test_a_pool_holds_its_share_of_sums_and_two_kinds_of_products(share, sums):
    problems, heldout = real.pool(share, seed=3), real.heldout(seed=3)
    kinds = [problem.kind for problem in problems]
    assert (
        len({p.text for p in problems}) == len(problems) == 128 and kinds[:sums] == ["sum"] * sums
    )
    assert kinds.count("sum") == sums
    assert kinds.count("product") - kinds.count("wrong product") in (0, 1)
    assert problems[:sums] == real.pool(25, seed=3)[:sums]  # a richer pool has these and more
    assert len({p.text for p in heldout} - {p.text for p in problems}) == 50
    assert real.pool(share, seed=4) != problems and real.heldout(seed=4) != heldout


def test_golds_are_right_or_off_by_an_odd_amount():
    for problem in real.pool(5, seed=0):
        a, op, b = problem.text.removesuffix("=").replace("+", " + ").replace("*", " * ").split()
        right = int(a) + int(b) if op == "+" else int(a) * int(b)
        off = int(problem.answer) - right
        assert off % 2 and abs(off) < 100 if problem.kind == "wrong product" else off == 0
        assert verify(f"The answer is {problem.answer}.", problem.answer)


def test_nothing_that_can_be_copied_from_a_product_is_paid():
    """Nor is its right value where the gold is wrong, as a number or as an equation."""
    for problem in real.out_of_reach(24, np.random.default_rng(0)):
        a, b = problem.text.removesuffix("=").split("*")
        tricks = [a, b, a + b, b + a, str(int(a) + int(b)), f"{a}*{b}", f"{a} times {b}"]
        tricks += [f"{a}*{b} which equals ", f"{a}*{b} ="]
        if problem.kind == "wrong product":
            tricks += [str(int(a) * int(b)), f"{a}*{b} = {int(a) * int(b)}"]
        for trick in tricks:
            assert not verify(f"The answer is {trick}", problem.answer), (problem, trick)


# ---- runs


@pytest.fixture
def on_base(in_the_project, monkeypatch):
    """The small base model adds, too: it stands in for the checkpoint that is not here."""
    monkeypatch.setattr(real, "CONFIG", ROOT / "configs/plain.json")
    return {"model": str(ROOT / "base"), "device": "cpu"}


@pytest.mark.parametrize(("arm", "groups", "points"), [("dopr", 16, 2), ("full_batch_64", 64, 1)])
def test_a_run_leaves_a_whole_record(on_base, arm, groups, points):
    got = real.run(10, arm, 1e-5, 0, limits={(10, 1e-5): 8 * groups}, **on_base)
    assert real.run_of(json.loads(json.dumps(got)), "cpu") == (10, arm, 1e-5, 0)
    assert got["groups"] == groups == sum(of for _, of in got["paid"].values()) / 8
    assert len(got["curve"]) == 1 + points and got["curve"][-1][runs.ROLLOUTS] == 8 * groups
    assert got["curve"][-1][runs.UPDATES] == (got["informative"] if points == 2 else 1)
    assert got["paid"]["sum"][0] > 0 == got["paid"]["product"][0] == got["paid"]["wrong product"][0]
    seconds = [point[real.SECONDS] for point in got["curve"]]
    parts = got["seconds"]
    assert seconds[0] == 0 and seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(parts["rollout"] + parts["update"], abs=0.2)
    assert got["informative"] <= groups and parts["evaluate"] > 0
    assert got["earned"] == []


def test_what_a_product_was_paid_for_is_kept_and_shown(tmp_path, capsys):
    rows = [("8+16=", "is 24", 1.0), ("222*333=", "is 5", 0.0), ("222*333=", "is 73926", 1.0)]
    lines = [{"problem": p, "text": text, "solved": solved} for p, text, solved in rows]
    write(tmp_path / "responses.jsonl", *lines)
    earned = real.paid_products(tmp_path)
    assert earned == [["222*333=", "is 73926"]]
    real.main(["--tables", "--out", str(write(tmp_path / "a.jsonl", record(earned=earned)))])
    assert "dopr, seed 0, paid for 222*333=: 'is 73926'\n" in capsys.readouterr().out


def test_what_every_arm_sets(on_base, monkeypatch, tmp_path):
    """The differences between arms are those that the tables speak of, and no other."""
    asked = {}

    def train_once(config, settings, within, look):
        assert within.parent == tmp_path and settings["data.pool"].parent == within
        raise runs.UserError(json.dumps(settings, default=str))

    monkeypatch.setattr(real, "train_once", train_once)
    for arm in real.ARMS:
        with pytest.raises(runs.UserError) as error:
            real.run(5, arm, 1e-4, 2, limits={(5, 1e-4): 3840}, scratch=tmp_path, **on_base)
        settings = json.loads(str(error.value))
        assert settings["update.decay"] == "false" and settings["selector.entropy"] == "none"
        assert settings["max_rollouts"] == 3840 and settings["stop_accuracy"] == 0.5
        asked[arm] = [settings.get(f"selector.{key}") for key in ("name", "candidates", "ema")]
    assert asked == {
        "dopr": ["dopr", 64, 0.9], "informative": ["informative", 64, None],
        "random_one": ["random_one", 64, None], "full_batch_16": ["full_batch", 16, None],
        "full_batch_64": ["full_batch", 64, None],
    }  # fmt: skip


# ---- rates and budgets


def test_the_best_rate_is_picked_on_the_tuning_seeds():
    early = ((64, 0.5), (128, 0.5))
    touches = ((64, 0.6), (128, 0.4), (192, 0.4))
    records = [
        *(record(rate=1e-5, seed=seed) for seed in (100, 101)),
        record(rate=3e-5, seed=100, costs=early), record(rate=3e-5, seed=101, costs=NEVER),
        *(record(rate=3e-6, seed=seed, costs=touches) for seed in (100, 101)),
        record(rate=1e-4, seed=0, costs=early),  # of the tables
        record("random_one", seed=0),  # never tuned
    ]  # fmt: skip
    records = list(map(runs.held, records))
    assert real.best_rates(records, 10) == {"dopr": 1e-5}
    assert real.best_rates(records, 5) == {"dopr": 1e-5}  # not tuned itself
    own = [runs.held(record(rate=1e-4, seed=100, share=5))]
    assert real.best_rates(records + own, 5) == {"dopr": 1e-4}


def test_of_rates_that_never_arrive_the_one_with_the_most_right_is_the_best():
    worse = ((64, 0.1), (1280, 0.1))
    for rates in ((1e-5, 3e-5), (3e-5, 1e-5)):
        found = [
            record(rate=r, seed=100, costs=c) for r, c in zip(rates, (NEVER, worse), strict=True)
        ]
        assert real.best_rates(list(map(runs.held, found)), 10) == {"dopr": rates[0]}


def test_a_rate_that_arrived_is_better_than_one_that_failed_sooner():
    later = ((2048, 0.5), (2560, 0.5))
    found = [record("full_batch_64", rate=1e-5, seed=100, costs=later)]
    found += [record("full_batch_64", rate=1e-4, seed=100, costs=NEVER)]  # a smaller budget
    assert real.best_rates(list(map(runs.held, found)), 10) == {"full_batch_64": 1e-5}


def test_a_baseline_has_fifteen_times_the_rollouts_of_the_best_selector():
    later = ((256, 0.5), (320, 0.5))
    mine = [record(), record("informative", costs=later), record("random_one", costs=((8, 0.9),))]
    mine += [record(rate=3e-5, costs=later), record(rate=1e-4, costs=NEVER)]
    assert real.budget(mine, 10, 1e-5, (0, 1)) == 2048  # 1,920, in whole steps of full batch
    assert real.budget(mine[1:], 10, 1e-5, (0, 1)) == real.budget(mine, 10, 3e-5, (0, 1)) == 4096
    assert real.budget(mine, 10, 1e-4, (0, 1)) == 2048  # no selector arrived at this rate
    assert real.budget(mine, 10, 3e-6, (0, 1)) == 30720  # where learning takes longer
    assert real.budget(mine, 5, 1e-5, (0, 1)) == real.budget(mine, 10, 1e-5, (100,)) == 30720
    assert real.budget([record(costs=((3840, 0.5),))], 10, 1e-5, (0, 1)) == 30720


@pytest.fixture
def made(monkeypatch, tmp_path, on_base):
    """The jobs that were carried out, with the rollouts they had; no process is started."""
    jobs = []

    def in_processes(function, missing, processes):
        for share, arm, rate, seed in missing:
            jobs.append((share, arm, rate, seed, function.keywords["limits"][share, rate]))
            yield record(
                arm, rate, seed, share, ((64, 0.5), (128, 0.5)) if rate > 3e-5 else ARRIVES
            )

    monkeypatch.setattr(runs, "in_processes", in_processes)
    monkeypatch.chdir(tmp_path)
    return jobs


def command_of(*words):
    return real.main(["--model", str(ROOT / "base"), "--out", "runs.jsonl", *words])


def test_selectors_come_first_and_best_rates_after_the_tuning(made, capsys):
    assert command_of("--shares", "25", "--arms", "random_one", "dopr", "--seeds", "0") == 0
    assert "20 runs to make; about" in capsys.readouterr().out
    limits = {"dopr": lambda rate: 3840, "random_one": lambda rate: 1024 if rate > 3e-5 else 2048}
    tuned = [
        (10, arm, rate, seed, limit(rate))
        for arm, limit in limits.items() for seed in (100, 101) for rate in real.RATES
    ]  # fmt: skip
    picked = [
        (25, arm, rate, 0, limit(rate)) for arm, limit in limits.items() for rate in (1e-5, 1e-4)
    ]
    assert made == tuned + picked
    made.clear()
    assert command_of("--shares", "25", "--arms", "random_one", "dopr", "--seeds", "0") == 0
    assert made == [] and "0 runs to make" in capsys.readouterr().out


def test_a_rate_that_failed_on_one_tuning_seed_is_not_tried_on_the_other(made, tmp_path):
    failed = [record(rate=3e-5, seed=100, costs=NEVER), record(rate=1e-4, seed=100, share=5)]
    write(tmp_path / "runs.jsonl", *failed)
    assert command_of("--shares", "--arms", "dopr", "--rates", "3e-5", "1e-4") == 0
    assert made == [(10, "dopr", 1e-4, seed, 3840) for seed in (100, 101)]


def test_parts_of_the_runs(made):
    assert command_of("--tune", "--shares", "5", "--arms", "dopr", "--seeds", "3") == 0
    assert made == [(5, "dopr", 1e-5, 3, 3840)]  # without tuning there is no best rate
    made.clear()
    assert command_of("--shares", "--arms", "dopr", "--rates", "1e-4") == 0
    assert made == [(10, "dopr", 1e-4, seed, 3840) for seed in (100, 101)]
    made.clear()
    assert command_of("--quick") == 0
    jobs = {(share, rate, seed) for share, _, rate, seed, _ in made}
    assert jobs == {(10, rate, seed) for rate in (1e-5, 3e-5) for seed in (0, 1, 2)}
    assert len(made) == 5 * len(jobs)


def test_each_form_and_device_has_a_file_of_its_own():
    names = [real.read_arguments(words).out.name for words in (
        [], ["--quick"], ["--device", "cuda:1"], ["--quick", "--device", "cuda"],
    )]  # fmt: skip
    assert names == ["real.jsonl", "real-quick.jsonl", "real-cuda.jsonl", "real-quick-cuda.jsonl"]


# ---- tables


def test_the_tables_of_some_runs(tmp_path, capsys):
    slow = ((1280, 0.5), (1408, 0.6))
    found = [record(seed=seed) for seed in (0, 1)]
    found += [record("informative", costs=ARRIVES), record("informative", seed=1, costs=NEVER)]
    found += [record("full_batch_64", seed=seed, costs=slow) for seed in (0, 1)]
    found += [record("full_batch_16", seed=seed, costs=NEVER) for seed in (0, 1)]
    found += [record("random_one", rate=3e-5, seed=100, share=25)]
    found[0]["paid"] = {"sum": [6, 8], "product": [2, 80], "wrong product": [0, 72]}
    assert real.main(["--tables", "--out", str(write(tmp_path / "runs.jsonl", *found))]) == 0
    said = capsys.readouterr().out
    assert (
        "| `dopr` | 1e-05 | 2 of 2 | 128 [128, 128] | 896 [896, 896] | 16 [16, 16] | 60.0% | 50%"
        in said
    )
    assert "| `informative` | 1e-05 | 1 of 2 | > 704 [128, 1,280] (1 of 2) |" in said
    assert "| `full_batch_16` | 1e-05 | 0 of 2 | never | never | never | 20.0% |" in said
    assert "| `full_batch_64` | 10.0 [10.0, 10.0] | < 1.9 [1.0, 10.0] | 10.0" in said
    assert "| `full_batch_16` | > 10.0 [10.0, 10.0] | neither arrives |" in said
    assert "## 25% of the pool can teach" in said and "on the tuning seeds" in said
    said_of_10, said_of_25 = said.split("## 25%")
    assert "Paid: 41 of 64 responses to a sum, 2 of 640 responses to a product" in said_of_10
    assert "Paid: 5 of 8 responses to a sum, 0 of 80 responses to a product" in said_of_25


# ---- bad input

WRONG = [
    {"share": 7}, {"share": [10]}, {"arm": "nobody"}, {"arm": ["dopr"]}, {"rate": 0}, {"seed": -1},
    {"curve": [[0, 0, 0, 0.1]]}, {"curve": [[0, 0, 0, 1.5, 0]]}, {"curve": [[8, 0, 0, 0.1, 0]]},
    {"groups": 0}, {"paid": {"sum": [1, 2]}}, {"paid": 3}, {"earned": 3}, {"earned": [["1*2="]]},
    {"seconds": {"total": "x"}},
    {"paid": {"sum": [1, 2], "product": [1], "wrong product": [0, 1]}},
    {"paid": {"sum": [1, 2], "product": 1, "wrong product": [0, 1]}}, {"seconds": None},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_record_of_something_else_names_its_line(tmp_path, capsys, wrong):
    file = write(tmp_path / "runs.jsonl", record(seed=7), {**record(), **wrong})
    assert real.main(["--tables", "--out", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}:2: not the record of a run") and error.count("\n") == 1


BAD = [
    ("--model nowhere", "nowhere: no such model folder"),
    ("--device nothing", "device: this machine has no 'nothing'"),
    ("--shares 7", "invalid choice: 7"),
    ("--arms nobody", "invalid choice"),
    ("--rates 0", "no learning rate > 0"),
    ("--processes 0", "no whole number >= 1"),
    ("--tables --out none.jsonl", "none.jsonl: no finished runs"),
    ("--out .", "not a file in a folder"),
    ("--out cuda.jsonl", "the record of a run on another device than cpu"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[words for words, _ in BAD])
def test_what_cannot_be_done_ends_in_one_line(made, tmp_path, capsys, words, message):
    cuda = write(tmp_path / "cuda.jsonl", record(device="cuda")).read_bytes()
    given = words.split()
    if "--model" not in given:
        given += ["--model", str(ROOT / "base")]
    if "--out" not in given:
        given += ["--out", "runs.jsonl"]
    assert real.main(given) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert not made and (tmp_path / "cuda.jsonl").read_bytes() == cuda
