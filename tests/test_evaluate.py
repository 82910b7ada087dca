"""evaluate.py: the estimators against brute force, going on after an interruption, and errors."""

import datetime
import itertools
import json
import os
import shutil

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import evaluate
from evaluate import best_of_k, interval, main, pass_at_k, scores
from plumbing import disk


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


@given(st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=1, max_size=7), st.data())
def test_the_best_of_k_is_the_mean_of_the_largest_over_all_choices_of_k(shares, data):
    k = data.draw(st.integers(1, len(shares)))
    best = [max(chosen) for chosen in itertools.combinations(shares, k)]
    assert best_of_k(shares, k) == pytest.approx(sum(best) / len(best))
    marks = [share > 0.5 for share in shares]
    assert best_of_k(marks, k) == pass_at_k(len(marks), sum(marks), k)  # to the last bit


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


def test_the_scores_of_shares_by_hand():
    records = [
        {"greedy_right": 0.25, "right": [True, 0.5, False]},
        {"greedy_right": False, "right": [0.25, 0.25, 0.25]},
    ]
    found = {name: value[0] for name, value in scores(records).items()}
    assert found["greedy"] == 0.125 and found["avg@3"] == 0.375
    # the better of two: 1, 1 and 0.5 for the first problem
    assert found["pass@2"] == pytest.approx((2.5 / 3 + 0.25) / 2) and found["pass@3"] == 0.625


# ---- a reward of one's own

GRADED = "def score(response, problem):\n    return len(response) / 30 - 0.5\n"


@pytest.fixture
def graded(tmp_path):
    """A file of the user's, and the words that name it."""
    (tmp_path / "mine.py").write_text(GRADED)
    return ["--reward", f"{tmp_path}/mine.py:score"]


def test_a_reward_of_ones_own_counts_as_a_share(tmp_path, graded, capsys):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out, *graded)) == 0
    settings, *records = [json.loads(line) for line in out.read_text().splitlines()]
    assert (
        settings["reward"] == graded[1] and f"the reward's {tmp_path}/mine.py" in settings["files"]
    )
    for record in records:
        texts, shares = [record["greedy"], *record["responses"]], record["right"]
        by_hand = [min(1, max(0, len(text) / 30 - 0.5)) for text in texts]
        assert [record["greedy_right"], *shares] == pytest.approx(by_hand)
    shares = [share for record in records for share in record["right"]]
    assert any(0 < share < 1 for share in shares) and False in [s for s in shares if s is False]
    shown = capsys.readouterr().out
    assert f"avg@3      {np.mean([sum(r['right']) / 3 for r in records]):6.1%}" in shown


@pytest.mark.parametrize("cut", [900, 2000, -1])
def test_an_evaluation_by_shares_goes_on_and_ends_the_same(tmp_path, graded, cut):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    assert main(arguments(whole, *graded)) == 0
    out.write_bytes(whole.read_bytes()[:cut])
    assert main(arguments(out, *graded)) == 0
    assert out.read_bytes() == whole.read_bytes()


def test_another_reward_is_another_evaluation(tmp_path, graded, capsys):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out, *graded)) == 0
    content = out.read_bytes()
    (tmp_path / "mine.py").write_text(GRADED.replace("30", "31"))
    assert main(arguments(out, *graded)) == 2
    assert f"changed since: the reward's {tmp_path}/mine.py)" in capsys.readouterr().err
    assert main(arguments(out)) == 2
    assert "None" in (said := capsys.readouterr().err) and "reward" in said
    assert out.read_bytes() == content
    broken = content.replace(b'"greedy_right": ', b'"greedy_right": 1', 1)  # 1false, or 10.3
    out.write_bytes(broken)
    assert main(arguments(out, *graded)) == 2


def test_the_default_reward_leaves_the_record_as_it_was(tmp_path):
    plain, named = tmp_path / "plain.jsonl", tmp_path / "named.jsonl"
    assert main(arguments(plain)) == 0
    assert main(arguments(named, "--reward", "verifier")) == 0
    assert named.read_bytes() == plain.read_bytes() and b'"reward"' not in plain.read_bytes()
    assert main(arguments(plain, "--reward", '{"verifier": 1, "overlong": 1}')) == 2


def test_an_error_in_a_reward_is_one_line_and_what_was_done_stays(tmp_path, graded, capsys):
    calls = "calls = []\ndef score(a, b):\n    calls.append(1)\n    return 1 / (len(calls) < 10)\n"
    (tmp_path / "mine.py").write_text(calls)
    out = tmp_path / "e.jsonl"
    assert main(arguments(out, *graded)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"error: {tmp_path}/mine.py:4: ZeroDivisionError: division by zero"
    assert out.read_bytes().count(b"\n") == 3
    assert main(arguments(tmp_path / "f.jsonl", "--reward", "format")) == 0


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
        (["--temperature", "0"], "rollout.temperature: must be at least 1e-06, not 0"),
        (["--template", "x"], "data.template: must hold {problem}"),
        (["--system", "x"], "data.system: only the template 'chat'"),
        (["--device", "abacus"], "device: this machine has no 'abacus'"),
        (["--reward", "verfier"], "reward: 'verfier' is no reward; give verifier, format, "),
        (["--reward", "nowhere.py:score"], "nowhere.py: cannot be read (No such file or directory"),
        (["--reward", '{"verifier": "x"}'], "reward: the weight of 'verifier' must be a number"),
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


def test_other_settings_are_named_with_both_values(tmp_path, capsys):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    assert main(arguments(out, "--k", "2", "--temperature", "0.5", "--prefill", "1+")) == 2
    error = capsys.readouterr().err
    assert "(k 3, not 2; temperature 1.0, not 0.5; prefill '', not '1+')" in error


def test_benchmarks_have_names(tmp_path):
    (tmp_path / "gsm8k_test.jsonl").write_text('{"question": "q", "answer": "so\\n#### 5"}\n')
    problems = evaluate.problems_named("gsm8k", str(tmp_path), n=0, seed=0)
    assert [p.answer for p in problems] == ["5"]


# ---- the record, and who writes it


@pytest.fixture
def folder(tmp_path):
    """A copy of base/ that may be changed, with a chat template."""
    folder = shutil.copytree(ROOT / "base", tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ messages[0]['content'] }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


CHANGES = {  # a file, what stands in it, what stands there later
    "tokenizer_config.json": ("[0]", "[-1]"),
    "tokenizer.json": ('"version": "1.0"', '"version":  "1.0"'),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_model_that_changed_is_another_and_the_file_is_named(tmp_path, capsys, folder, name):
    """One file of the same size at a time; every other one is as it was."""
    words = arguments(tmp_path / "e.jsonl", "--model", str(folder), "--template", "chat")
    assert main(words) == 0
    content, (old, new) = (tmp_path / "e.jsonl").read_bytes(), CHANGES[name]
    text = (folder / name).read_text()
    assert text.count(old) >= 1
    (folder / name).write_text(text.replace(old, new, 1))
    assert main(words) == 2
    assert f"with other settings (changed since: {name});" in capsys.readouterr().err
    assert (tmp_path / "e.jsonl").read_bytes() == content


def test_a_record_that_does_not_say_of_which_files_is_another(tmp_path, capsys):
    """Older records had no such key.  The sums of all files would fill the terminal."""
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    head, *lines = out.read_text().splitlines(keepends=True)
    for files in ({}, {"files": None}, {"files": "a" * 16}):
        settings = {name: value for name, value in json.loads(head).items() if name != "files"}
        content = json.dumps({**settings, **files}) + "\n" + "".join(lines)
        out.write_text(content)
        assert main(arguments(out)) == 2
        error = capsys.readouterr().err
        assert "with other settings (it does not say of which files);" in error
        assert out.read_text() == content


def test_each_prompt_is_hashed_once(tmp_path, monkeypatch):
    made, genuine = [], evaluate.question
    monkeypatch.setattr(evaluate, "question", lambda *a: made.append(a) or genuine(*a))
    assert main(arguments(tmp_path / "e.jsonl")) == 0
    assert len(made) == 6


def test_a_model_that_was_trained_further_is_another(tmp_path, capsys, folder):
    words = arguments(tmp_path / "e.jsonl", "--model", str(folder))
    assert main(words) == 0
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors")
    assert main(words) == 2
    assert "(changed since: model.safetensors)" in capsys.readouterr().err


def test_an_evaluation_that_goes_on_keeps_its_day(tmp_path, capsys, folder, monkeypatch):
    """A template that prints today's date: after midnight the prompts are still the same."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ strftime_now('%d') }}+{{ messages[0]['content'] }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    words = arguments(tmp_path / "e.jsonl", "--model", str(folder), "--template", "chat")
    assert main(words) == 0
    whole = (tmp_path / "e.jsonl").read_text()
    head, *lines = whole.splitlines(keepends=True)
    day = json.loads(head)["date"]
    monkeypatch.setattr("plumbing.config.datetime", FakeDatetime)
    (tmp_path / "e.jsonl").write_text("".join([head, *lines[:3]]))
    assert main(words) == 0 and (tmp_path / "e.jsonl").read_text() == whole
    assert main([*words, "--out", str(tmp_path / "new.jsonl")]) == 0
    new = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert new[0]["date"] == "2001-02-03" != day
    assert new[1]["prompt"] != json.loads(lines[0])["prompt"]


class FakeDatetime:
    class date(datetime.date):
        @classmethod
        def today(cls):
            return datetime.date(2001, 2, 3)


def test_a_second_evaluation_on_one_record_is_refused(tmp_path, capsys):
    """And what the first has written stays as it is."""
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    content = out.read_bytes()
    for held, words in ((content, []), (content[:-700], []), (b"", []), (content, ["--k", "2"])):
        out.write_bytes(held)
        with disk.appending(out):
            capsys.readouterr()
            assert main(arguments(out, *words)) == 2
        error = capsys.readouterr().err
        assert "another evaluation is writing it" in error and error.count("\n") == 1
        assert out.read_bytes() == held


@pytest.mark.parametrize("cut", [1, 2, 50, 400])
def test_a_record_without_its_last_line_break_loses_nothing(tmp_path, capsys, cut):
    """The last line is whole without its line break, or not; no line is lost or there twice."""
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    content = out.read_bytes()
    out.write_bytes(content[:-cut])
    assert main(arguments(out)) == 0
    assert out.read_bytes() == content
    assert ("cut off its last line" in capsys.readouterr().err) == (cut > 1)


def damaged(lines: list[bytes]) -> dict[str, tuple[bytes, str]]:
    """Damaged contents of a record, and what is said of each."""
    record = json.loads(lines[2])
    whole = b"".join(lines)

    def with_line(**changes) -> bytes:
        return b"".join(
            [*lines[:2], json.dumps({**record, **changes}).encode() + b"\n", *lines[3:]]
        )

    return {
        "poetry": (b"a rose is", ":1: not the record"),
        "a list": (b"[]\n", ":1: not the record"),
        "deep": (b"[" * 100_000 + b"\n", ":1: not the record"),
        "a number of 5000 digits": (whole + b"1" * 5000, ":8: not the record"),
        "other bytes": (whole[:-9] + b"\xff" + whole[-9:], ":7: not the record"),
        "no head": (b"".join(lines[1:]), ":1: not the record"),
        "twice": (b"".join([*lines[:3], *lines[2:]]), ":4: holds an evaluation of other problems"),
        "one too many": (whole + lines[-1], ":8: holds an evaluation of other problems"),
        "no verdicts": (with_line(right=None), ":3: not the record"),
        "numbers for verdicts": (with_line(right=[1, 0, 10**400]), ":3: not the record"),
        "too few verdicts": (with_line(right=[True]), ":3: not the record"),
        "no greedy verdict": (with_line(greedy_right="yes"), ":3: not the record"),
        "another prompt": (with_line(prompt="0"), ":3: holds an evaluation of other problems"),
    }


def test_a_damaged_record_is_one_line_and_stays_as_it_is(tmp_path, capsys):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out)) == 0
    for name, (content, message) in damaged(out.read_bytes().splitlines(keepends=True)).items():
        out.write_bytes(content)
        capsys.readouterr()
        assert main(arguments(out)) == 2, name
        error = capsys.readouterr().err
        assert f"{out}{message}" in error and error.count("\n") == 1, (name, error)
        assert out.read_bytes() == content


def test_a_record_is_never_a_link_a_pipe_or_a_folder(tmp_path, capsys):
    (tmp_path / "kept").write_text("")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "nowhere").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in ("link", "nowhere", "loop", "fifo", ".", "kept/e.jsonl"):
        capsys.readouterr()
        assert main(arguments(tmp_path / name)) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "kept").read_bytes() == b""


def test_ctrl_c_leaves_a_record_that_goes_on(tmp_path, capsys, monkeypatch):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "e.jsonl"
    assert main(arguments(whole)) == 0
    verdicts, calls = evaluate.Policy.verdicts, iter(range(99))

    def interrupted(self, problem, texts):
        if next(calls) == 6:
            raise KeyboardInterrupt
        return verdicts(self, problem, texts)

    monkeypatch.setattr(evaluate.Policy, "verdicts", interrupted)
    capsys.readouterr()
    assert main(arguments(out)) == 130
    assert capsys.readouterr().err.endswith("\ninterrupted; the same command goes on\n")
    assert 1 < out.read_bytes().count(b"\n") < 7
    monkeypatch.setattr(evaluate.Policy, "verdicts", verdicts)
    assert main(arguments(out)) == 0 and out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["--k", "1000000000"], ["--k", "1e9"], ["--k", str(10**400)], ["--batch", "0"],
        ["--batch", str(10**12)], ["--n", str(10**30)], ["--threads", "0"], ["--threads", "99999"],
        ["--seed", "-1"], ["--seed", str(2**70)], ["--temperature", "1e-300"],
        ["--temperature", "nan"], ["--temperature", "inf"], ["--top_p", "nan"],
        ["--max_new_tokens", "-1"], ["--max_new_tokens", str(10**12)],
        ["--max_new_tokens", str(10**30)], ["--model", "a\0b"],
        ["--model", "\udcff"], ["--data", "a\0b"], ["--data", "a" * 5000], ["--out", "a\0b"],
        ["--out", "a" * 5000],
    ],
    ids=lambda words: f"{words[0]} {words[1][:12]!a}",
)  # fmt: skip
def test_what_cannot_be_had_is_one_line_and_leaves_nothing(tmp_path, capsys, words):
    out = tmp_path / "e.jsonl"
    assert main(arguments(out, *words)) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    assert lines[-1].startswith("error: ") and list(tmp_path.iterdir()) == []


def test_weights_that_overflow_are_one_line_and_leave_nothing(tmp_path, capsys, folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: w * 1e18 for name, w in weights.items()}, folder / "model.safetensors")
    out = tmp_path / "e.jsonl"
    assert main(arguments(out, "--model", str(folder))) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the model's logits are not finite") and not out.exists()
