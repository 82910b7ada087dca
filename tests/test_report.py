"""report.py and the one reader of a run's record: what is read, what is drawn, what is refused."""

import json

import numpy as np
import pytest

import report
from plumbing.command import UserError
from plumbing.record import read_steps

STEP = {
    "step": 1, "chosen": [3], "kind": ["carry"], "rewards": [[1, 0]], "solved": [[1, 0]],
    "rollouts": 2,
}  # fmt: skip


def write_run(folder, lines, **summary):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in lines))
    whole = {
        "accuracy_before": 0.2, "accuracy_after": 0.9, "accuracy_by_kind_before": {"carry": 0.2},
        "accuracy_by_kind_after": {"carry": 0.9}, "steps": 2, "updates": 1, "rollouts": 4,
        "tokens": 40, "informative_groups": 1, "group_size": 2,
        "seconds": {"rollout": 1, "update": 1, "evaluate": 1, "total": 3}, **summary,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(whole))
    return folder


def test_several_runs_are_shown_and_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    steps = [STEP, {**STEP, "step": 2, "rollouts": 4, "accuracy": 0.9}]
    runs = [write_run(tmp_path / name, steps) for name in ("a", "b")]
    assert report.main(list(map(str, runs))) == 0
    shown = capsys.readouterr().out
    assert shown.count("20.0% -> 90.0%") == 4 and "1 of 2 groups" in shown
    assert all((run / "curve.png").stat().st_size > 10_000 for run in runs)


def test_what_was_paid_and_what_warned_is_shown(tmp_path, capsys):
    said = {"step": 2, "problem": "1+1=", "gold": "2", "text": "x" * 500 + "#2", "answer": "2"}
    run = write_run(tmp_path / "a", [STEP], examples={"paid": said}, warnings=["step 9: beware"])
    report.show(run)
    shown = capsys.readouterr().out
    assert "paid               '1+1=': 'xxx" in shown and "xx#2', answer '2'" in shown
    assert "warning            step 9: beware" in shown and max(map(len, shown.splitlines())) < 250


@pytest.mark.parametrize(
    "damage",
    [
        {"steps": None}, {"seconds": {}}, {"group_size": 0}, {"accuracy_before": "0.2"},
        {"examples": [1]}, {"examples": {"paid": {}}}, {"warnings": None}, {"rollouts": "x"},
        {"accuracy_by_kind_after": {"other": 0.5}}, {"accuracy_by_kind_after": {"carry": None}},
    ],
)  # fmt: skip
def test_a_damaged_summary_is_one_line(tmp_path, capsys, damage):
    run = write_run(tmp_path / "a", [STEP], **damage)
    assert report.main([str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "not the folder of a finished run" in said


def test_the_shares_around_each_step():
    kinds = [["a"]] * 40 + [["b", "b"]] * 40
    shown = report.shares(kinds, ["a", "b"])
    assert shown[:, 0].tolist() == [1, 0] and shown[:, -1].tolist() == [0, 1]
    assert np.allclose(shown.sum(axis=0), 1)
    n = report.WINDOW  # at the first step of the second half: n of the one, 2 (n + 1) of the other
    assert shown[0, 40] == pytest.approx(n / (n + 2 * (n + 1)))


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "3", '{"step": 1}', json.dumps({**STEP, "chosen": 3}),
        json.dumps({**STEP, "solved": []}), json.dumps({**STEP, "rewards": [[]]}),
        json.dumps({**STEP, "solved": [5]}), json.dumps({**STEP, "solved": [[0.5, 1]]}),
        json.dumps({**STEP, "kind": ["a", "b"]}), json.dumps({**STEP, "rollouts": "x"}),
    ],
)  # fmt: skip
def test_a_malformed_line_names_file_and_line(tmp_path, line):
    file = write_run(tmp_path / "run", [STEP]) / "metrics.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of a training run"):
        read_steps(tmp_path / "run")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.metrics\.jsonl: cannot be read"):
        read_steps(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not the folder of a finished run \(No such file"):
        report.show(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no step yet"):
        read_steps(write_run(tmp_path / "run", []))
