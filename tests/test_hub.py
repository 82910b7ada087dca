"""Datasets: rows become lines, and a folder in the hub's form is read without any network."""

import json
import sys
from collections import Counter
from dataclasses import replace

import pytest
from conftest import ROOT

import data
import evaluate
from data import load_jsonl
from plumbing import hub
from plumbing.command import UserError
from plumbing.config import read_config
from plumbing.hub import READY, Source, answer_text, column, lines_of

GSM8K = READY["gsm8k"]
SOLVED = {
    "question": "Tom has 6 eggs.\nHow many are 7 times 6? ",
    "answer": "7*6=<<7*6=42>>42\n#### 42",
}


def refusal(capsys, words):
    """The one line that the command ends in."""
    assert data.main(["hub", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


# ---- rows


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("so\n#### 1,000", "1,000"), ("Thus $x = \\boxed{\\frac{3}{4}}$.", "\\frac{3}{4}"),
        (27.0, "27.0"), (27, "27"), (["2"], "2"), (["1", "-1"], "1, -1"), ("['5', '6']", "5, 6"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
    ],
)  # fmt: skip
def test_an_answer_is_reduced_as_in_a_file(tmp_path, answer, text):
    """And what was written is read back as it is."""
    (line,), left_out = lines_of([{"problem": "p", "answer": answer}], Source("x", {}), 1000)
    assert json.loads(line) == {"problem": "p", "answer": text} and not left_out
    (tmp_path / "p.jsonl").write_text(line)
    assert [p.answer for p in load_jsonl(tmp_path / "p.jsonl")] == [text]


def test_rows_that_nobody_could_solve_are_counted_by_their_reason():
    worked = "First we note that the sum of the angles is known. " * 3 + "\nSo we are done."
    rows = [
        {"problem": "p", "answer": answer}
        for answer in (
            "1",
            None,
            "",
            "  ",
            [],
            True,
            {"a": 1},
            float("nan"),
            ["1", 2],
            worked,
            "####",
        )
    ]
    rows += [{"problem": problem, "answer": "1"} for problem in (None, "", " \n", 3, "x" * 990)]
    lines, left_out = lines_of(rows, Source("x", {}), 1000)
    assert len(lines) == 1
    assert left_out == Counter({
        "no answer": 4, "an answer that is neither a text nor a number": 4,
        "a solution in which no final answer is found": 2, "an empty problem": 3,
        "a problem that is no text": 1, "more than 1,000 characters": 1,
    })  # fmt: skip


def test_a_column_within_a_column():
    row = {"a": {"b": ["x", {"c": 1}]}, "d.e": 2}
    assert column(row, "a.b.0") == "x" and column(row, "a.b.1.c") == 1 and column(row, "d.e") == 2
    assert column(row, "a.b.2") is column(row, "a.z") is column(row, "a.b.x") is None
    with pytest.raises(UserError, match="there is no column 'q', but a, d"):
        column(row, "q.b")


def test_further_columns_are_kept_as_they_are_and_the_kind_is_a_text():
    source = Source("x", {}, kind="level", keep=("tags", "level"))
    row = {"problem": "p", "answer": "1", "level": 3, "tags": ["a"], "other": 0}
    (line,), _ = lines_of(
        [
            row,
        ][:1],
        source,
        1000,
    )
    kept = {"problem": "p", "answer": "1", "kind": "3", "tags": ["a"], "level": 3}
    assert json.loads(line) == kept
    with pytest.raises(UserError, match="--keep tags level: Object of type bytes is not JSON"):
        lines_of([{**row, "tags": b"1"}], source, 1000)


@pytest.mark.parametrize(
    ("level", "kind"), [(0, "0"), (False, "False"), (1, "1"), (None, ""), ("", ""), ("a", "a")]
)
def test_a_kind_that_is_false_is_a_kind_and_one_that_is_not_there_is_none(level, kind):
    (line,), _ = lines_of(
        [{"problem": "p", "answer": "1", "level": level}], Source("x", {}, kind="level"), 1000
    )
    assert json.loads(line)["kind"] == kind


def test_a_column_to_keep_that_is_not_there_is_named_with_its_option():
    with pytest.raises(UserError, match=r"there is no column 'no', but problem, answer; see .*--k"):
        lines_of([{"problem": "p", "answer": "1"}], Source("x", {}, keep=("no",)), 1000)
    with pytest.raises(UserError, match=r"see --problem, --answer, --kind, --keep$"):
        lines_of([{"problem": "p"}], Source("x", {}), 1000)


def test_what_the_pool_of_dsr_sub_adds_to_every_problem_is_left_out():
    """Its rows are chats of one turn, with the answer in the reward's own column."""
    how = "Let's think step by step and output the final answer within \\boxed{}."
    row = {
        "prompt": [{"role": "user", "content": f"Find $x$. {how}"}],
        "reward_model": {"style": "rule", "ground_truth": "12.8"},
    }
    (line,), _ = lines_of([row], READY["dsr_sub"], 1000)
    assert json.loads(line) == {"problem": "Find $x$.", "answer": "12.8"}


def test_lists_of_answers_are_those_of_olympiadbench():
    assert answer_text(["$2$"]) == "$2$" and answer_text(["1", " 2 "]) == "1, 2"
    for nothing in (["", ""], [" "], ","):
        with pytest.raises(ValueError, match="no answer"):
            answer_text(nothing)


# ---- the table of names


def test_both_gpu_configurations_find_their_files_after_one_command_each():
    """`data.py hub gsm8k`, and `data.py hub dsr_sub math500`."""
    for name, names in (("qwen3-0.6b", ["gsm8k"]), ("qwen2.5-math-1.5b", ["dsr_sub", "math500"])):
        cfg = read_config(ROOT / "configs" / f"{name}.json", []).data
        written = {f"benchmarks/{file}" for each in names for file in READY[each].files}
        assert written == {cfg.pool, cfg.heldout}
        command = f"python data.py hub {' '.join(names)}\n"
        assert command in (ROOT / "docs" / "own-problems.md").read_text()


def test_every_name_is_one_that_evaluate_knows_with_the_same_file():
    assert evaluate.BENCHMARKS["gsm8k"] == "gsm8k_test.jsonl"
    assert evaluate.BENCHMARKS["math500"] == "math500.jsonl"
    files = [file for source in READY.values() for file in source.files]
    assert len(set(files)) == len(files) == 9 and set(evaluate.BENCHMARKS.values()) < set(files)


# ---- the command, with rows in place of the library


@pytest.fixture
def rows(monkeypatch):
    """What the library would yield, by the split; `asked` says for what it was asked."""
    found = {"train": [SOLVED, {"question": "q", "answer": None}], "test": [SOLVED]}
    monkeypatch.setattr(hub, "rows_of", lambda source, split: iter(found[split]))
    return found


def test_a_ready_name_writes_its_files_and_says_what_was_left_out(tmp_path, capsys, rows):
    assert data.main(["hub", "gsm8k", "--folder", str(tmp_path / "new")]) == 0
    shown = capsys.readouterr().out.splitlines()
    train, test = tmp_path / "new/gsm8k_train.jsonl", tmp_path / "new/gsm8k_test.jsonl"
    place = "of huggingface.co/datasets/openai/gsm8k (see its licence)"
    assert shown == [
        f"{train}: 1 problems written, 1 left out (1 with no answer); split 'train' {place}",
        f"{test}: 1 problems written, 0 left out; split 'test' {place}",
    ]
    (problem,) = load_jsonl(train)
    assert (problem.text, problem.answer) == (SOLVED["question"].strip(), "42")
    assert sorted(p.name for p in train.parent.iterdir()) == [test.name, train.name]
    assert "openai" not in train.read_text() + test.read_text()


def test_nothing_is_overwritten_unless_that_is_asked_for(tmp_path, capsys, rows):
    words = ["gsm8k", "--folder", tmp_path]
    (tmp_path / "gsm8k_test.jsonl").write_text("mine")
    assert "gsm8k_test.jsonl: is already there; add --overwrite" in refusal(capsys, words)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]  # nor is the other one written
    assert data.main(["hub", *map(str, words), "--overwrite"]) == 0
    assert len(load_jsonl(tmp_path / "gsm8k_test.jsonl")) == 1
    (tmp_path / "gsm8k_test.jsonl").unlink()
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "gsm8k_test.jsonl").symlink_to("kept")
    assert "is a link to kept" in refusal(capsys, [*words, "--overwrite"])
    assert (tmp_path / "kept").read_text() == "mine"


def test_where_one_split_cannot_be_used_none_is_written(tmp_path, capsys, rows):
    rows["test"] = [{"question": "q", "answer": None}] * 3
    error = refusal(capsys, ["gsm8k", "--folder", tmp_path])
    assert "openai/gsm8k: split 'test' has no problem to write (3 with no answer)" in error
    rows["test"] = [{"Question": "q", "answer": "1"}]
    error = refusal(capsys, ["gsm8k", "--folder", tmp_path])
    assert "openai/gsm8k: there is no column 'question', but Question, answer; see --pro" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gsm8k", "--split", "test"], "--split: is known of gsm8k; give it with the id of a"),
        (["gsm8"], "gsm8: must be some of gsm8k, math500,"),
        (["gsm8k", "openai/gsm8k"], "must be some of gsm8k"),
        (["json"], "json: must be some of"),
        (["openai/gsm8k"], "openai/gsm8k: name the file to write with --out"),
        (["openai/gsm8k", "--out", "a", "--folder", "b"], "and no --folder"),
        (["openai/gsm8k", "--out", "a", "--keep", "answer"], "--keep: problem, answer and"),
        (["openai/gsm8k", "--trust_remote_code"], "unrecognized arguments: --trust_remote_code"),
        ([], "the following arguments are required: NAME"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)  # fmt: skip
def test_bad_arguments_are_one_line(capsys, words, message):
    assert message in refusal(capsys, words)


def test_without_the_library_one_line_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # `import datasets` now fails
    error = refusal(capsys, ["gsm8k", "--folder", tmp_path])
    assert "which cannot be imported" in error and "pip install -U 'datasets>=4'" in error
    old = type(sys)("datasets")
    old.__version__ = "3.6.0"
    monkeypatch.setitem(sys.modules, "datasets", old)
    error = refusal(capsys, ["gsm8k", "--folder", tmp_path])
    assert "datasets 3.6.0 may run code of a dataset; pip install -U 'datasets>=4'" in error


def test_sums_are_made_as_before(tmp_path, capsys):
    assert data.main([str(tmp_path), "--pool", "5", "--heldout", "4"]) == 0
    assert "sums.jsonl: 5 problems" in capsys.readouterr().out


# ---- the library itself, on folders in the hub's form


@pytest.fixture
def library(monkeypatch, tmp_path_factory):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    return datasets


README = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: other
  data_files: other/*
---
# Problems
"""


@pytest.fixture
def like_gsm8k(library, tmp_path):
    """A folder with two configurations, of which one has two splits, as parquet."""
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path / "hub"
    for name, rows in {
        "main/train-00000-of-00001": [SOLVED, {"question": " ", "answer": "1\n#### 1"}],
        "main/test-00000-of-00001": [{**SOLVED, "answer": "#### -7"}],
        "other/train": [{**SOLVED, "answer": "#### 0"}],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{name}.parquet")
    (folder / "README.md").write_text(README)
    return folder


def answers(file):
    return [p.answer for p in load_jsonl(file)]


def test_a_ready_name_reads_a_folder_in_the_form_of_its_dataset(
    like_gsm8k, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(READY, "gsm8k", replace(GSM8K, id=str(like_gsm8k)))
    assert data.main(["hub", "gsm8k", "--folder", str(tmp_path)]) == 0
    assert answers(tmp_path / "gsm8k_train.jsonl") == ["42"]
    assert answers(tmp_path / "gsm8k_test.jsonl") == ["-7"]
    shown = capsys.readouterr().out
    assert "1 left out (1 with an empty problem)" in shown and f"of {like_gsm8k}\n" in shown


def test_configuration_split_and_columns_are_those_asked_for(like_gsm8k, tmp_path, capsys):
    out = tmp_path / "o.jsonl"
    words = [like_gsm8k, "--problem", "question", "--out", out]
    for more, found in (
        (["--config", "main", "--split", "test"], ["-7"]), (["--config", "other"], ["0"]),
    ):  # fmt: skip
        assert data.main(["hub", *map(str, words), *more, "--overwrite"]) == 0
        assert answers(out) == found
    content = out.read_text()
    for more, message in (
        (["--config", "no"], "BuilderConfig 'no' not found"),
        ([], "Config name is missing"),
        (["--config", "main", "--split", "no"], "Bad split: no"),
        (["--config", "main", "--answer", "no"], "there is no column 'no', but question, answer"),
    ):
        assert message in refusal(capsys, [*words, *more, "--overwrite"])
        assert out.read_text() == content


def test_jsonl_without_a_readme_is_read_too(library, tmp_path):
    folder, rows = tmp_path / "plain", [{"problem": "1+1", "answer": 2, "level": "easy"}]
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "o.jsonl"
    words = ["hub", str(folder), "--kind", "level", "--keep", "level", "--out", str(out)]
    assert data.main(words) == 0
    record = {"problem": "1+1", "answer": "2", "kind": "easy", "level": "easy"}
    assert json.loads(out.read_text()) == record


def test_code_in_a_folder_is_never_run(library, tmp_path, capsys):
    folder, ran = tmp_path / "code", tmp_path / "ran"
    folder.mkdir()
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nimport datasets\n")
    error = refusal(capsys, [folder, "--out", tmp_path / "o.jsonl"])
    assert "split 'train' cannot be read" in error and not ran.exists()


def test_a_damaged_file_is_one_line_and_nothing_is_written(like_gsm8k, tmp_path, capsys):
    (like_gsm8k / "other" / "train.parquet").write_bytes(b"PAR1 no parquet")
    words = [like_gsm8k, "--config", "other", "--problem", "question", "--out", tmp_path / "o"]
    assert "split 'train' cannot be read (" in refusal(capsys, words)
    assert not (tmp_path / "o").exists()
