"""experiments/bounds.py: simulated procedures, and training runs, beside the bounds."""

import json
import math
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "experiments"))

import bounds
from bounds import DELTAS, IDENTIFICATIONS, pick, questions, simulate_identification, skill_table

from bound import certificate, divergences, dull_visits, first_update_groups, play, transport_bound

# ---- good procedures


@pytest.fixture(scope="module")
def rows():
    return bounds.table(runs=200, seed=1)


def test_bound_optimum_and_practical_procedure_come_in_this_order(rows):
    assert len(rows) == 3 * len(DELTAS) + 4 * len(DELTAS) + 2 * 4 * len(IDENTIFICATIONS)
    for row in rows:
        assert row["bound"] <= row["optimum"] <= row["practical"] + 3 * row["se"], row
        if "recognition" in row["problem"]:
            assert row["optimum"] <= 1.024 * row["bound"], row
            assert row["practical"] <= 1.3 * row["optimum"], row
        if "information" in row["problem"]:
            assert row["practical"] <= 1.15 * row["optimum"] + 3 * row["se"], row
        if "random" in row["problem"]:
            assert row["practical"] >= 4 * row["optimum"], row


def test_errors_of_both_kinds_are_as_rare_as_they_should_be(rows):
    """In both worlds; on average and, where there are enough runs, under every skill."""
    for row in rows:
        runs = 200 * (1 if "identification" in row["problem"] else 10)
        runs //= 5 if "DoPR" in row["problem"] else 1
        skills = int(row["problem"].split("K=")[1][0]) if "K=" in row["problem"] else 1
        if not row["unfinished"]:
            for error, n in zip(row["errors"], (runs, runs / skills), strict=False):
                if n >= 40:
                    assert error <= row["delta"] + 4 * math.sqrt(row["delta"] / n), row
        kinds = 1 if "discovery" in row["problem"] else 2
        assert len(row["errors"]) == kinds


def test_variance_agrees_with_information_until_chance_looks_like_it(rows):
    for row in rows:
        if "highest variance" not in row["problem"]:
            continue
        if "chance" in row["problem"]:  # it takes the problem of pure chance for ever
            assert row["unfinished"] == 1 and row["practical"] == 2000, row
        else:
            assert row["unfinished"] == 0 and row["practical"] <= 1.2 * row["optimum"], row


def test_a_row_has_a_random_stream_of_its_own():
    rows = list(questions())
    few = [rows[0], rows[7], rows[-1]]
    alone = [bounds.table(100, seed=3, rows=[row])[0] for row in few]
    assert bounds.table(100, seed=3, rows=few[::-1])[::-1] == alone
    assert bounds.table(100, seed=4, rows=few) != alone


def test_the_pool_has_one_problem_for_each_bit():
    success = skill_table(3, solved=5, impossible=4, gap=0.4)
    assert success.shape == (30, 8)
    assert success[:3, 5] == pytest.approx([0.7, 0.3, 0.7])  # 5 is 101 in bits
    assert np.ptp(success[3:], axis=1).max() == 0
    assert set(success[3:].flat) == {0.95, 0.02}


def test_the_game_of_the_skill_table_is_solved():
    """Three bits, each told by its own problem: a third of the rollouts each, by symmetry."""
    success = skill_table(3)
    gains = divergences(success, 5)
    _, allocation = play(gains)
    assert allocation[:3] == pytest.approx([1 / 3] * 3, abs=0.01) and allocation[3:].max() == 0
    needed = 0.98 * math.log(99)  # kl(.01, .99), and what a rollout brings against each wrong bit
    found = needed / (gains * allocation[:, None]).sum(axis=0).min()
    certified = transport_bound(success, 5, 0.01)
    assert certified == pytest.approx(needed / certificate(gains, play(gains)[0]))
    assert certified <= found <= 1.01 * certified


def test_pickers_choose_what_they_say():
    """Problem 0 is pure chance under both skills, problem 1 tells them apart."""
    success, unsure = np.array([[0.5, 0.5], [0.2, 0.7]]), np.array([[0.5, 0.5]])
    rng = np.random.default_rng(0)
    assert pick("most information", success, unsure, rng).tolist() == [1]
    assert pick("highest variance", success, unsure, rng).tolist() == [0]
    with pytest.raises(ValueError, match="no such picker: 'best'"):
        pick("best", success, unsure, rng)


def test_a_procedure_that_never_decides_is_stopped_and_the_table_says_so(capsys):
    """Variance takes pure chance for the best problem, and learns nothing from it."""
    success = skill_table(1, chance=1)
    rng = np.random.default_rng(0)
    result = simulate_identification(success, 0.01, "highest variance", 20, rng, limit=200)
    assert result.rollouts == 200 and result.unfinished == 1
    row = bounds.Row("pure chance", 0.01, 13.0, 13.5, lambda runs, rng: result)
    bounds.print_table(bounds.table(100, rows=[row]))
    assert "(100% stopped undecided)" in capsys.readouterr().out


# ---- a training run


def write_run(folder, steps, pool=("1+9=", "2+9=", "12-5=", "1+1=", "2*3=")):
    """A run over these problems, of the kinds that they have in the built-in task."""
    folder.mkdir()
    kinds = {"+9=": "carry", "-5=": "carry", "+1=": "plain", "*3=": "product"}
    problems = [{"problem": p, "answer": "1", "kind": kinds[p[-3:]]} for p in pool]
    (folder / "pool.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems))
    (folder / "held.jsonl").write_text('{"problem": "7+7=", "answer": "14"}\n')
    config = json.loads((ROOT / "small.json").read_text())
    config["data"] |= {"pool": str(folder / "pool.jsonl"), "heldout": str(folder / "held.jsonl"),
                       "pool_size": 0, "heldout_size": 0}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return str(folder)


def one(step, i, rewards, **more):
    return {
        "step": step, "chosen": [i], "kind": ["carry"], "rewards": [rewards], "solved": [rewards],
        "rollouts": 2 * step, **more,
    }  # fmt: skip


RUN = [one(1, 3, [1, 1]), one(2, 0, [1, 0]), one(3, 2, [0, 1], accuracy=0.5),
       one(4, 2, [0, 1], accuracy=0.9), one(5, 0, [0, 1], accuracy=0.8)]  # fmt: skip


def test_a_run_stands_beside_the_bounds_on_learning(tmp_path, capsys):
    """Three live problems of five, two of them sums: 2/4 dull ones before the first live one."""
    assert bounds.main(["--run", write_run(tmp_path / "r", RUN)]) == 0
    shown = capsys.readouterr().out
    assert "5 groups, 4 of them informative" in shown
    assert first_update_groups(5, 3, 1.0) == 1.5
    assert "first informative one: 2; on average at least 1.5" in shown
    assert "90%: after 8 rollouts, 4 groups, 3 of them informative" in shown
    least = dull_visits(2, [2, 1]) + 3
    assert f"('+', '-'), take on average at least {least:.1f} groups" in shown


def test_a_full_batch_run_is_read_too(tmp_path, capsys):
    step = {"step": 1, "chosen": [3, 0], "kind": ["a", "a"], "rewards": [[1, 1], [1, 0]],
            "solved": [[1, 1], [1, 0]], "rollouts": 4, "accuracy": 1.0}  # fmt: skip
    assert bounds.main(["--run", write_run(tmp_path / "r", [step])]) == 0
    assert "after 4 rollouts, 2 groups, 1 of them informative" in capsys.readouterr().out


def test_a_run_that_learned_nothing_gets_no_number_for_it(tmp_path, capsys):
    steps = [one(n, 3, [0, 0], accuracy=0.2) for n in range(1, 9)]
    assert bounds.main(["--run", write_run(tmp_path / "r", steps)]) == 0
    shown = capsys.readouterr().out
    assert "none came" in shown and "90%: not reached" in shown


def test_a_kind_that_the_pool_does_not_have_is_refused(tmp_path, capsys):
    folder = write_run(tmp_path / "r", RUN)
    assert bounds.main(["--run", folder, "--live", "shaky"]) == 2
    assert "--live shaky: the run's pool has no such problem" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"chosen": 0}', '{"chosen": [0], "kind": [], "rewards": [[1]]}']
)
def test_a_malformed_run_names_file_and_line(tmp_path, capsys, line):
    folder = write_run(tmp_path / "r", [one(1, 0, [1, 0])])
    with open(f"{folder}/metrics.jsonl", "a") as file:
        file.write(line)
    assert bounds.main(["--run", folder]) == 2
    assert "metrics.jsonl:2: not a line" in capsys.readouterr().err


# ---- the command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "2"], "probabilities lie in [0, 1], not 2"),
        (["--target", "nan"], "probabilities lie in [0, 1], not nan"),
        (["--runs", "1"], "--runs: '1' is no whole number >= 100"),
        (["--run", "nowhere"], "nowhere/metrics.jsonl: cannot be read"),
        (["--out", "nowhere/b.png"], "nowhere: no such folder"),
    ],
)
def test_bad_arguments_are_one_line(capsys, arguments, message):
    assert bounds.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_the_whole_command(tmp_path, capsys, monkeypatch, rows):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(bounds, "table", lambda runs: rows)
    assert bounds.main(["--runs", "100", "--out", str(tmp_path / "b.png")]) == 0
    shown = capsys.readouterr().out
    assert "identification K=8, random" in shown and "bound  optimum  practical" in shown
    assert (tmp_path / "b.png").stat().st_size > 20_000
