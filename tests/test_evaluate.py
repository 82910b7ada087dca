"""evaluate.py: the estimators against brute force, going on after an interruption, and errors."""

import itertools
import json

import numpy as np
import pytest
from conftest import ROOT

import evaluate
from evaluate import interval, main, pass_at_k, scores


@pytest.fixture(autouse=True)
def from_the_project_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


def arguments(out, *more):
    words = ["--model", "base", "--data", "arithmetic", "--n", "6", "--k", "3", "--batch", "4"]
    return [*words, "--temperature", "1", "--out", str(out), *more]


@pytest.mark.parametrize(("n", "k"), [(4, 1), (5, 2), (6, 6), (7, 3)])
def test_pass_at_k_is_the_chance_that_k_blindly_drawn_hold_a_right_one(n, k):
    """Not "right in the first k": every subset of k counts alike."""
    for right in range(n + 1):
        marks = [True] * right + [False] * (n - right)
        subsets = list(itertools.combinations(marks, k))
        assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "right", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_of_nonsense_is_refused(n, right, k):
    with pytest.raises(ValueError, match="need 0 <= right <= n"):
        pass_at_k(n, right, k)


def test_the_interval_is_that_of_the_mean():
    values = np.array([0.0, 1.0] * 200)
    mean, low, high = interval(values)
    assert mean == 0.5
    assert [low, high] == pytest.approx([0.451, 0.549], abs=0.01)  # 1.96 standard errors
    assert interval([1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert interval(values) == (mean, low, high)  # the resamples are fixed


def test_the_scores_of_hand_made_records():
    records = [
        {"greedy_right": True, "right": [True, True, False, False]},
        {"greedy_right": False, "right": [False, False, False, False]},
    ]
    found = {name: value[0] for name, value in scores(records).items()}
    assert found["greedy"] == 0.5 and found["avg@4"] == 0.25
    assert found["pass@2"] == pytest.approx((1 - 1 / 6) / 2) and found["pass@4"] == 0.5
    assert list(scores([{"greedy_right": True, "right": []}])) == ["greedy"]


def test_one_line_a_problem_and_a_summary(tmp_path, capsys):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    settings, *records = [json.loads(line) for line in out.read_text().splitlines()]
    assert settings["k"] == 3 and len(records) == 6
    for record in records:
        assert len(record["responses"]) == len(record["right"]) == 3
        for text, right in zip(record["responses"], record["right"], strict=True):
            assert right == text.endswith("#" + record["answer"])
    shown = capsys.readouterr().out
    assert "greedy" in shown and "avg@3" in shown and "pass@3" in shown and "95% interval" in shown


@pytest.mark.parametrize("cut", [0, 30, 700, -1])
def test_an_interrupted_evaluation_goes_on_and_ends_the_same(tmp_path, cut):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    assert main(arguments(whole)) == 0
    content = whole.read_bytes()
    out.write_bytes(content[:cut])  # the last line may be half written
    assert main(arguments(out, "--batch", "1")) == 0
    assert out.read_bytes() == content
    assert main(arguments(out)) == 0  # nothing left to do
    assert out.read_bytes() == content


def test_a_trained_checkpoint_is_better_on_what_it_learned(tmp_path, capsys):
    """Greedy of base/ itself: its plain problems, and no carry."""
    out = tmp_path / "e.jsonl"
    assert main(["--model", "base", "--data", "arithmetic", "--n", "50", "--out", str(out)]) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    right = {
        kind: [r["greedy_right"] for r in records if r["kind"] == kind]
        for kind in ("plain", "carry")
    }
    assert all(right["plain"]) and not any(right["carry"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "nowhere: no such model folder"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["--data", "math500", "--benchmarks", "nowhere"], "nowhere/math500.jsonl: no such file"),
        (["--k", "-1"], "need --k >= 0"),
        (["--temperature", "0"], "rollout.temperature: must be above 0"),
        (["--template", "x"], "data.template: must hold {problem}"),
        (["--system", "x"], "data.system: only the template 'chat'"),
        (["--device", "abacus"], "device: this machine has no 'abacus'"),
    ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(tmp_path, capsys, words, message):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out, *words)) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not out.exists()


def test_a_record_of_something_else_is_not_touched(tmp_path, capsys):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    content = out.read_bytes()
    for words, message in (
        (["--k", "2"], "with other settings"),
        (["--n", "3"], "of other problems"),
    ):
        assert main(arguments(out, *words)) == 2
        assert message in capsys.readouterr().err and out.read_bytes() == content
    out.write_text("poetry\n")
    assert main(arguments(out)) == 2
    assert "not the record of an evaluation" in capsys.readouterr().err


def test_a_model_that_was_trained_further_is_another(tmp_path, capsys, monkeypatch):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    monkeypatch.setattr(evaluate, "digest", lambda folder: "of other weights")
    assert main(arguments(out)) == 2
    assert "with other settings" in capsys.readouterr().err


def test_the_digest_is_that_of_the_weights(tmp_path):
    digests = []
    for content in (b"a", b"b", b"a"):
        (tmp_path / "model.safetensors").write_bytes(content)
        digests.append(evaluate.digest(tmp_path))
    assert digests[0] == digests[2] != digests[1]


def test_benchmarks_have_names(tmp_path):
    (tmp_path / "gsm8k_test.jsonl").write_text('{"question": "q", "answer": "so\\n#### 5"}\n')
    problems = evaluate.problems_named("gsm8k", str(tmp_path), n=0, seed=0)
    assert [p.answer for p in problems] == ["5"]
