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

from bound import divergences, play, recognition_bound, transport_bound

# ---- good procedures


def test_no_procedure_beats_its_bound_and_the_good_ones_come_close():
    rows = bounds.table(runs=400, seed=1)
    assert len(rows) == 3 * len(DELTAS) + 4 * len(DELTAS) + 4 * len(IDENTIFICATIONS)
    for row in rows:
        assert row["bound"] <= row["simulated"] + 3 * row["se"], row
        runs = 400 * (1 if "identification" in row["problem"] else 10)
        runs //= 5 if "DoPR" in row["problem"] else 1
        assert row["error_rate"] <= row["delta"] + 3 * math.sqrt(row["delta"] / runs), row
        if "recognition" in row["problem"]:
            assert row["ratio"] <= 1.5, row
        if "variance" in row["problem"] or "information" in row["problem"]:
            assert row["ratio"] <= 1.5, row
        if "random" in row["problem"]:
            assert row["ratio"] >= 2, row


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
    certified, found = transport_bound(success, 5, 0.01)
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
    success = np.vstack([skill_table(1), [0.5, 0.5]])
    rng = np.random.default_rng(0)
    result = simulate_identification(success, 0.01, "highest variance", 20, rng, limit=200)
    assert result.rollouts == 200 and result.unfinished == 1
    row = bounds.Row("pure chance", 0.01, 13.0, lambda runs, rng: result)
    bounds.print_table(bounds.table(100, rows=[row]))
    assert "(100% stopped undecided)" in capsys.readouterr().out


# ---- a training run


def write_run(folder, steps):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return str(folder)


def one(step, i, solved, kind="carry", rewards=None):
    return {
        "step": step, "chosen": [i], "kind": [kind], "rewards": [rewards or solved],
        "solved": [solved], "rollouts": 4 * step,
    }  # fmt: skip


def ten_steps(rewards=None):
    steps = [one(1, 0, [1, 0, 0, 0], rewards=rewards), one(2, 1, [0, 1, 0, 0], rewards=rewards)]
    steps += [one(s, s % 2, [1, 1, 0, 0], rewards=rewards) for s in range(3, 9)]
    last = [one(9, 0, [1, 1, 1, 0], rewards=rewards), one(10, 1, [1, 0, 1, 1], rewards=rewards)]
    return steps + last


def test_a_run_is_set_against_its_bounds(tmp_path, capsys):
    assert bounds.main(["--run", write_run(tmp_path / "r", ten_steps())]) == 0
    shown = capsys.readouterr().out
    assert "40 rollouts" in shown and "0.250 [0.071, 0.591] -> 0.750 [0.409, 0.929]" in shown
    assert f"{recognition_bound(0.25, 0.75, 0.05):.2f}" in shown and "optimisation gap" in shown


@pytest.mark.parametrize("rewards", [[-0.4, -0.4, -0.4, -0.4], [0.5, 3.0, 0.5, 0.5]])
def test_pass_rates_are_made_of_verdicts_whatever_the_rewards_are(tmp_path, capsys, rewards):
    folders = [write_run(tmp_path / f"r{i}", ten_steps(r)) for i, r in enumerate((None, rewards))]
    shown = []
    for folder in folders:
        assert bounds.main(["--run", folder]) == 0
        shown.append(capsys.readouterr().out.replace(folder, ""))
    assert shown[0] == shown[1]


def test_a_full_batch_run_is_read_too(tmp_path, capsys):
    steps = [
        {"step": n, "chosen": [0, 1], "kind": ["a", "a"], "rewards": [[r, 0], [0, r]],
         "solved": [[r, 0], [0, r]], "rollouts": 4 * n}
        for n, r in enumerate([0, 0, 0, 1, 1], start=1)
    ]  # fmt: skip
    assert bounds.main(["--run", write_run(tmp_path / "r", steps)]) == 0
    assert "0.000" in capsys.readouterr().out


def test_a_run_that_learned_nothing(tmp_path, capsys):
    steps = [one(n, 0, [0, 0, 0, 0]) for n in range(1, 9)]
    assert bounds.main(["--run", write_run(tmp_path / "r", steps)]) == 0
    assert "nothing was unlocked" in capsys.readouterr().out


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
        (["--delta", "2"], "probabilities lie in [0, 1], not 2"),
        (["--delta", "nan"], "probabilities lie in [0, 1], not nan"),
        (["--runs", "1"], "--runs: '1' is no whole number >= 100"),
        (["--run", "nowhere"], "nowhere/metrics.jsonl: cannot be read"),
        (["--out", "nowhere/b.png"], "nowhere: no such folder"),
    ],
)
def test_bad_arguments_are_one_line(capsys, arguments, message):
    assert bounds.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_the_whole_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert bounds.main(["--runs", "100", "--out", str(tmp_path / "b.png")]) == 0
    shown = capsys.readouterr().out
    assert "identification K=8, random" in shown and "certificate" in shown
    assert (tmp_path / "b.png").stat().st_size > 20_000
