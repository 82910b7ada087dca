"""report.py and the one reader of a run's record: what is read, what is drawn, what is refused."""

import json
import os

import numpy as np
import pytest

import report
from plumbing import figure
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


def test_several_runs_are_shown_and_drawn(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
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
        {"accuracy_before": 10**400}, {"seconds": 3}, {"warnings": 3},
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


WRONG = [
    "{", "[]", "3", "", "[" * 100_000, "1" * 5000, '{"step": 1}', "\x00\x00",
    *(json.dumps({**STEP, **changes}) for changes in (
        {"chosen": 3}, {"chosen": []}, {"solved": []}, {"rewards": [[]]}, {"rewards": [["x", 1]]},
        {"rewards": [[float("nan"), 1]]}, {"rewards": [[10**400, 1]]}, {"rewards": None},
        {"solved": [5]}, {"solved": [[1.5, 1]]}, {"solved": [[None, 1]]},
        {"solved": [[float("nan"), 1]]}, {"kind": ["a", "b"]},
        {"kind": [None]}, {"kind": [{"a": 1}]}, {"kind": "c"}, {"rollouts": "x"}, {"rollouts": 0},
        {"rollouts": 10**400}, {"rollouts": 2.5}, {"rollouts": True}, {"step": None}, {"step": -1},
        {"accuracy": None}, {"accuracy": "0.5"}, {"accuracy": float("nan")}, {"accuracy": 10**400},
        {"accuracy": 1.5}, {"accuracy": True},
    )),
]  # fmt: skip


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[-40:])
def test_a_malformed_line_names_file_and_line(tmp_path, line):
    file = write_run(tmp_path / "run", [STEP]) / "metrics.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of a training run"):
        read_steps(tmp_path / "run")


def test_a_run_that_is_still_writing_says_so(tmp_path):
    file = write_run(tmp_path / "run", [STEP, STEP]) / "metrics.jsonl"
    file.write_text(file.read_text()[:-9])
    with pytest.raises(
        UserError, match=r"metrics\.jsonl:2: .*its writer is at work, or was killed"
    ):
        read_steps(tmp_path / "run")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"]
)
def test_a_summary_that_is_none_is_one_line(tmp_path, capsys, content):
    run = write_run(tmp_path / "a", [STEP])
    (run / "summary.json").write_text(content)
    assert report.main([str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "not the folder of a finished run" in said


def test_a_file_that_would_be_waited_for_is_refused(tmp_path, capsys):
    for name in ("summary.json", "metrics.jsonl"):
        run = write_run(tmp_path / name, [STEP])
        (run / name).unlink()
        os.mkfifo(run / name)
        assert report.main([str(run)]) == 2
        assert "it is no file" in capsys.readouterr().err


# ---- the figure

KINDS = [
    r"$\frac{1}$", r"$\notacommand$", "$", "$$", r"a\$b$", "_hidden", "", "two\nlines", "\x1b[31m",
    "日本語", "العربية", "\u202e", "\ud800", "a" * 10_000, "{problem}", "%s", "🎉",
]  # fmt: skip


def test_any_kind_has_a_label_that_shows_it(tmp_path, capfd, recwarn):
    """None is read as a formula, left out, or warned of; and the picture is drawn."""
    pytest.importorskip("matplotlib")
    for at in range(0, len(KINDS), 6):
        steps = [
            {**STEP, "kind": [kind], "rollouts": n} for n, kind in enumerate(KINDS[at : at + 6], 1)
        ]
        run = write_run(tmp_path / str(at), steps)
        assert report.main([str(run)]) == 0
        assert (run / "curve.png").stat().st_size > 10_000
    assert capfd.readouterr().err == "" and not list(recwarn)


def test_a_label_shows_the_text_as_it_stands():
    plt = figure.pyplot()
    axes = plt.figure().subplots()
    for kind in KINDS[:6]:
        axes.plot([1], label=figure.label(kind))
    shown = [text._preprocess_math(text.get_text())[0] for text in axes.legend().get_texts()]
    assert [text.strip() for text in shown] == KINDS[:6]
    plt.close()
    assert figure.label("a" * 99) == "a" * 21 + "..." and figure.label("a\nb\ud800") == "a?b?"


def test_many_kinds_are_drawn_as_few(tmp_path):
    kinds = [[f"kind {n}"] for n in range(300)] + [["often"]] * 5
    few, names = report.few_kinds(kinds)
    assert len(names) == report.KINDS and "often" in names and few[-1] == ["often"]
    assert few.count(["290 other kinds"]) == 290  # eleven have areas of their own
    assert report.few_kinds([["b"], ["a"]]) == ([["b"], ["a"]], ["a", "b"])


def test_the_figure_takes_the_place_of_a_link_and_is_not_written_through_it(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    run = write_run(tmp_path / "run", [STEP])
    for name in ("curve.png", "curve.png.unfinished"):
        (tmp_path / "kept").write_text("kept")
        (run / name).symlink_to(tmp_path / "kept")
        assert report.main([str(run)]) == 0
        assert (tmp_path / "kept").read_text() == "kept"
        assert {path.name for path in run.iterdir()} == {
            "curve.png",
            "metrics.jsonl",
            "report.html",
            "summary.json",
        }
        assert not (run / "curve.png").is_symlink()
    (run / "curve.png").unlink()
    (run / "curve.png").mkdir()
    assert report.main([str(run)]) == 2
    assert "curve.png" in capsys.readouterr().err


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.metrics\.jsonl: cannot be read"):
        read_steps(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not the folder of a finished run \(.*No such file"):
        report.show(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no step yet"):
        read_steps(write_run(tmp_path / "run", []))
