"""How often the default job ends well: its records, its interval, and what it refuses."""

import json
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "experiments"))

import seeds


def record(seed=0, threads=1, after=0.99, **more):
    return {
        "seed": seed, "threads": threads, "accuracy_before": 0.2, "accuracy_after": after,
        "set": {}, "rollouts": 1480, "tokens": 30000, "informative_groups": 100,
        "by_kind": {"carry": after, "plain": 1.0}, "seconds": 8.0, **more,
    }  # fmt: skip


def write(path, *records):
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def test_wilsons_interval_is_that_of_the_books():
    """81 of 263: 25.5% to 36.6%, Newcombe (1998), table I; all of 20: 83.9% to 100%."""
    assert seeds.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert seeds.wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)


def test_every_seed_that_ends_badly_is_named(tmp_path, capsys):
    runs = [record(seed) for seed in range(9)] + [record(9, after=0.6), record(0, threads=2)]
    runs.append(record(0, after=0.4, set={"selector.name": "dopr", "selector.ema": "0.9"}))
    assert not seeds.main(["--tables", "--out", str(write(tmp_path / "seeds.jsonl", *runs))])
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("| the default | 1 | 9 of 10 [59.6%, 98.2%] | 60.0% | 95.1% | 100 |")
    assert rows[3].startswith("| the default | 2 | 1 of 1 ")
    assert rows[4].startswith("| `selector.name=dopr`, `selector.ema=0.9` | 1 | 0 of 1 ")
    assert rows[6:] == ["seed 9, 1 thread: 60.0% (carry 60.0%, plain 100.0%)"]


def test_a_run_is_recorded_as_it_is_read(in_the_project):
    job = 3, 1, ("steps=2", "data.heldout_size=5")
    found = json.loads(json.dumps(seeds.run(*job)))
    assert seeds.run_of(found) == job and found["rollouts"] == 16


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"accuracy_after": 1.5}, {"by_kind": 3}, {"seconds": "x"}, {"set": []}]
)
def test_a_line_that_is_no_record_is_named(tmp_path, capsys, wrong):
    file = write(tmp_path / "seeds.jsonl", record(1), {**record(), **wrong})
    assert seeds.main(["--tables", "--out", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"{file}:2" in error and error.count("\n") == 1


def test_a_key_that_is_unknown_and_no_runs_are_refused(tmp_path, capsys):
    assert seeds.main(["--set", "nonsense=1", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert seeds.main(["--tables", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "nonsense" in (error := capsys.readouterr().err) and "no finished runs" in error
