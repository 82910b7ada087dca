"""data.py and the tokenizer: right working, separate splits, malformed lines named."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import data
import warmup
from data import (
    ALPHABET,
    TASKS,
    Problem,
    Task,
    is_heldout,
    load_jsonl,
    n_carries,
    solution,
    table_solution,
    task_problems,
    write_jsonl,
)
from model import load
from plumbing.command import UserError
from plumbing.config import read_config
from verifier import verify
from warmup import BOS, EOS, main, train_base, training_batch


@pytest.mark.parametrize(
    ("a", "op", "b", "text"),
    [
        (478, "+", 365, "8+5=13,7+6+1=14,4+3+1=8#843"),
        (523, "-", 178, "3-8=5,2-7-1=4,5-1-1=3#345"),
        (45, "+", 7, "5+7=12,4+0+1=5#52"),
        (99, "+", 99, "9+9=18,9+9+1=19#198"),
        (500, "-", 499, "0-9=1,0-9-1=0,5-4-1=0#1"),
    ],
)
def test_working_by_hand(a, op, b, text):
    assert solution(a, op, b, np.random.default_rng(0)) == text


def test_what_forgetting_every_carry_looks_like():
    rng = np.random.default_rng(0)
    assert solution(478, "+", 365, rng, forget=1.0) == "8+5=13,7+6=13,4+3=7#733"
    assert solution(523, "-", 178, rng, forget=1.0) == "3-8=5,2-7=5,5-1=4#455"


def test_remembered_working_is_right_and_carries_are_what_can_go_wrong():
    rng = np.random.default_rng(0)
    for problem in task_problems("arithmetic", 300, rng, heldout=True):
        op = "+" if "+" in problem.text else "-"
        a, b = map(int, problem.text[:-1].split(op))
        assert verify(solution(a, op, b, rng), problem.answer)
        wrong = not verify(solution(a, op, b, rng, forget=1.0), problem.answer)
        assert wrong == (n_carries(a, op, b) > 0) == (problem.kind == "carry")


@pytest.mark.parametrize(
    ("digits", "b", "right", "one_line_below"),
    [
        (478, 6, "8*6=48,7*6+4=46,4*6+4=28#2868", "8*6=42,7*6+4=40,4*6+4=22#2202"),
        (99, 9, "9*9=81,9*9+8=89#891", "9*9=72,9*9+7=79#792"),
        (207, 7, "7*7=49,0*7+4=4,2*7=14#1449", "7*7=42,0*7+4=4,2*7=14#1442"),
        (498, 5, "8*5=40,9*5+4=49,4*5+4=24#2490", "8*5=40,9*5+4=49,4*5+4=24#2490"),
    ],
)
def test_a_product_by_hand_right_and_with_every_shaky_line_mistaken(
    digits, b, right, one_line_below
):
    rng = np.random.default_rng(0)
    assert table_solution(digits, b, rng) == right
    assert table_solution(digits, b, rng, mistake=1.0) == one_line_below


def test_products_are_right_and_shaky_lines_are_what_can_go_wrong():
    rng = np.random.default_rng(0)
    for problem in task_problems("tables", 300, rng, heldout=True):
        a, b = map(int, problem.text[:-1].split("*"))
        assert verify(table_solution(a, b, rng), problem.answer)
        wrong = not verify(table_solution(a, b, rng, mistake=1.0), problem.answer)
        assert wrong == (problem.kind == "shaky")
    assert {p.kind for p in task_problems("tables", 80, rng)} == set(TASKS["tables"].pool)


@pytest.mark.parametrize("task", TASKS)
def test_heldout_problems_are_in_no_pool_and_no_warmup_batch(tokenizer, task):
    heldout, trained = set(), set()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        heldout |= {p.text for p in task_problems(task, 200, rng, heldout=True)}
        trained |= {p.text for p in task_problems(task, 80, rng)}
    tokens, _ = training_batch(np.random.default_rng(0), 2000, task)
    for row in tokens:
        trained.add(tokenizer.decode(row, skip_special_tokens=True).split("=")[0] + "=")
    assert len(trained) > 1200 and not trained & heldout
    mirrored = {"+".join(reversed(text[:-1].split("+"))) + "=" for text in heldout if "+" in text}
    assert not trained & mirrored
    assert is_heldout(12, "+", 77) == is_heldout(77, "+", 12)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("heldout", [False, True])
def test_a_pool_has_its_shares_and_no_problem_twice(task, heldout):
    problems = task_problems(task, 80, np.random.default_rng(1), heldout)
    mix = TASKS[task].heldout if heldout else TASKS[task].pool
    assert len({p.text for p in problems}) == 80
    for kind, share in mix.items():
        assert sum(p.kind == kind for p in problems) == round(80 * share)
    assert problems == task_problems(task, 80, np.random.default_rng(1), heldout)


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_shares_are_relative_and_can_be_changed(monkeypatch, share):
    monkeypatch.setitem(TASKS["arithmetic"].pool, "carry", share)
    problems = task_problems("arithmetic", 100, np.random.default_rng(1))
    expected = 100 * share / (0.9 + share)
    assert len(problems) == 100
    assert abs(sum(p.kind == "carry" for p in problems) - expected) <= 1


def test_warmup_targets_are_the_response_and_its_end(tokenizer):
    tokens, targets = training_batch(np.random.default_rng(0), 16)
    for row, target in zip(tokens, targets, strict=True):
        learned = target[target != -100].tolist()
        assert row[0] == BOS and learned[-1] == EOS
        text = tokenizer.decode(learned, skip_special_tokens=True)
        assert "#" in text and text.count("=") >= 2
        first = (target != -100).nonzero()[0, 0]
        assert (
            tokenizer.decode(row[first : first + 1]) == "="
        )  # the prompt's last token predicts it


def test_warmup_repeats_itself_and_writes_over_nothing(tmp_path, capsys):
    first, second = (train_base(3, 8, 3e-3, seed=1).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert main(["--out", str(tmp_path), "--steps", "1"]) == 2
    assert f"{tmp_path} exists" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert main(["--out", str(tmp_path / "new"), "--steps", "1", "--batch-size", "2"]) == 0
    assert load(tmp_path / "new").config.vocab_size == 19


# ---- a task of one's own


def seven_forgotten(a, op, b, rng):
    """Both remainders and their sum, from which every other annotator takes no seven."""
    total = a % 7 + b % 7
    right = total - 7 if total >= 7 and rng.random() < 0.5 else total
    return f"{a}={a % 7},{b}={b % 7},{a % 7}+{b % 7}={total}#{right}"


MOD7 = {
    "config": "small.json",
    "pool": {"plain": 0.5, "wraps": 0.5},
    "heldout": {"plain": 0.2, "wraps": 0.8},
    "pool_most": 1000,
    "heldout_most": 400,
    "operators": {"plain": "+", "wraps": "+"},
    "kind": lambda a, op, b: "wraps" if a % 7 + b % 7 >= 7 else "plain",
    "draw": lambda rng, kind, op: (int(rng.integers(10, 100)), int(rng.integers(10, 100))),
    "answer": lambda a, op, b: (a + b) % 7,
    "taught": "+",
    "working": seven_forgotten,
}


def test_a_new_task_is_one_entry(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(TASKS, "mod7", Task(**MOD7))
    problems = task_problems("mod7", 1000, np.random.default_rng(0))
    assert {p.kind for p in problems} == {"plain", "wraps"}
    for problem in problems:
        a, b = map(int, problem.text[:-1].split("+"))
        assert problem.answer == str((a + b) % 7) and not is_heldout(a, "+", b)
    assert len(task_problems("mod7", 400, np.random.default_rng(0), heldout=True)) == 400
    out = str(tmp_path / "base-mod7")
    assert main(["--task", "mod7", "--out", out, "--steps", "1", "--batch-size", "2"]) == 0
    words = shlex.split(capsys.readouterr().out.split("next: ")[1])
    assert words[:4] == ["python", "train.py", "--config", "small.json"]
    cfg = read_config(ROOT / words[3], [w for w in words[4:] if "=" in w])
    assert (cfg.data.pool, cfg.data.heldout, cfg.model) == ("mod7", "mod7", out)


def test_the_next_command_of_a_task_with_its_own_configuration_names_only_the_model():
    for task in ("arithmetic", "tables"):
        command = warmup.next_command(task, Path("m"))
        assert (
            command == f"python train.py --config {TASKS[task].config} --set model=m --out runs/m"
        )


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Task)])
def test_a_half_made_task_cannot_be_built(name):
    with pytest.raises(TypeError, match=name):
        Task(**{key: value for key, value in MOD7.items() if key != name})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": {"plain": 0.5, "wrap": 0.5}}, "kind 'wrap'; `operators` has plain, wraps"),
        ({"heldout": {"carry": 1.0}}, "kind 'carry'"),
        ({"pool": {"plain": 1.0, "wraps": 0.0}}, "share of 'wraps' is 0.0; give more than 0"),
        ({"heldout": {"plain": -1.0}}, "share of 'plain' is -1"),
        ({"pool": {"plain": float("nan")}}, "share of 'plain' is nan"),
        ({"pool": {}}, "no kind"),
        ({"heldout_most": 0}, "allows no problem"),
        ({"operators": {"plain": "+", "wraps": "%"}}, "must be some of 0123456789+-*=,#"),
        ({"operators": {"plain": "+", "wraps": ""}}, "must be some of"),
        ({"taught": ""}, "must be some of"),
    ],
)
def test_a_task_that_contradicts_itself_cannot_be_built(changes, message):
    with pytest.raises(UserError) as error:
        Task(**MOD7 | changes)
    assert message in str(error.value) and "data.TASKS" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "n", "kind"),
    [
        ({"draw": lambda rng, kind, op: (10, int(rng.integers(10, 100)))}, 200, "plain"),
        ({"kind": lambda a, op, b: "plain"}, 20, "wraps"),
    ],
)
def test_too_few_problems_are_an_error_and_no_endless_search(monkeypatch, changes, n, kind):
    monkeypatch.setattr(data, "MOST_DRAWS", 1000)
    monkeypatch.setitem(TASKS, "mod7", Task(**MOD7 | changes))
    for heldout in (False, True):
        with pytest.raises(UserError, match=f"'mod7': 1,000 draws.*new problem.*'{kind}'") as error:
            task_problems("mod7", n, np.random.default_rng(0), heldout)
        assert ("held out" in str(error.value)) == heldout


def test_the_warm_up_refuses_a_task_whose_problems_do_not_suffice_for_its_run(
    monkeypatch, tmp_path, capsys
):
    """Before minutes of training: of the held-out problems there are too few here."""
    monkeypatch.setattr(data, "MOST_DRAWS", 20_000)
    narrow = {"draw": lambda rng, kind, op: tuple(int(i) for i in rng.integers(10, 26, size=2))}
    monkeypatch.setitem(TASKS, "mod7", Task(**MOD7 | narrow))
    assert len(task_problems("mod7", 80, np.random.default_rng(0))) == 80
    assert warmup.main(["--task", "mod7", "--out", str(tmp_path / "new"), "--steps", "1"]) == 2
    assert "20,000 draws" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_the_smallest_task_makes_as_many_problems_as_it_says():
    most = TASKS["tables"].heldout_most
    assert len(task_problems("tables", most, np.random.default_rng(3), heldout=True)) == most


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"working": lambda a, op, b, rng: f"{a + b}%7#1"}, "'%' in it, but the alphabet"),
        ({"draw": lambda rng, kind, op: (11, 13)}, "are held out"),
        ({"config": "nowhere.json"}, "nowhere.json: cannot be read"),
    ],
)
def test_what_cannot_be_taught_ends_before_the_warmup(
    monkeypatch, tmp_path, capsys, changes, message
):
    monkeypatch.setattr(warmup, "MOST_DRAWS", 1000)
    monkeypatch.setattr(warmup, "is_heldout", lambda a, op, b: (a, b) == (11, 13))
    monkeypatch.setitem(TASKS, "mod7", Task(**MOD7 | changes))
    assert main(["--task", "mod7", "--out", str(tmp_path / "m"), "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "m").exists()
    assert ("mod7" in error and ALPHABET in error) or "'%'" not in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "--steps: '0' is no whole number >= 1"),
        (["--batch-size", "x"], "--batch-size: 'x' is no whole number"),
        (["--lr", "inf"], "--lr: must be above 0 and finite"),
        (["--seed", "-1"], "--seed: '-1' is no whole number >= 0"),
        (["--task", "mod8"], "invalid choice: 'mod8'"),
    ],
)
def test_impossible_warmups_are_one_line(tmp_path, capsys, words, message):
    assert main(["--out", str(tmp_path / "m"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "m").exists()


# ---- files


def test_jsonl(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"problem": "1+1=", "answer": 2}\n\n{"problem": "q", "answer": "x", "kind": "k"}\n'
    )
    assert load_jsonl(file) == [Problem("1+1=", "2"), Problem("q", "x", "k")]


def test_further_fields_of_a_line_are_kept_and_change_no_problem(tmp_path):
    line = '{"question": "q", "answer": 2, "unit": "km", "steps": [1, {"a": null}], "source": "s"}'
    (tmp_path / "p.jsonl").write_text(line + '\n{"problem": "q", "question": "r", "answer": "2"}\n')
    first, second = load_jsonl(tmp_path / "p.jsonl")
    assert first.fields == {"unit": "km", "steps": [1, {"a": None}], "source": "s"}
    assert first.source.endswith("p.jsonl:1") and second.fields == {"question": "r"}
    assert first == second == Problem("q", "2") and len({first, second}) == 1
    write_jsonl(tmp_path / "again.jsonl", [first, second])
    again = load_jsonl(tmp_path / "again.jsonl")
    assert [p.fields for p in again] == [first.fields, second.fields] and again == [first, second]


def test_jsonl_as_others_write_it(tmp_path):
    file = tmp_path / "p.jsonl"
    text = '{"question": "a\u2028b", "answer": "6*7=<<6*7=42>>42\\n#### 42", "kind": null}\r\n'
    file.write_text(text, encoding="utf-8-sig", newline="")
    assert load_jsonl(file) == [Problem("a\u2028b", "42")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"answer": "2"}', "'problem' must be"),
        ('{"problem": " ", "answer": "2"}', "'problem' must be"),
        ('{"problem": "p"}', "'answer' must be"),
        ('{"problem": "p", "answer": ""}', "'answer' must be"),
        ('{"problem": "p", "answer": true}', "'answer' must be"),
        ('{"problem": "p", "answer": null}', "'answer' must be"),
        ('{"problem": "p", "answer": "so #### "}', "behind its last ####"),
        ('{"problem": "p", "answer": "2", "kind": 3}', "'kind' must be"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    file = tmp_path / "p.jsonl"
    file.write_text('{"problem": "1+1=", "answer": 2}\n' + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        load_jsonl(file)
    assert f"{file}:2: " in str(error.value)


def test_a_line_of_millions_of_characters_is_refused_with_its_number(tmp_path, monkeypatch):
    file = tmp_path / "p.jsonl"
    lines = ['{"problem": "1+1=", "answer": 2}', json.dumps({"problem": "1" * 10**6, "answer": 2})]
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match=rf"{file}:2: has 1,000,0\d\d characters"):
        load_jsonl(file)
    monkeypatch.setattr(data, "MOST_CHARACTERS", 2 * 10**6)
    assert len(load_jsonl(file)[1].text) == 10**6


def test_files_that_hold_nothing_are_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no problems"):
        load_jsonl(tmp_path / "empty.jsonl")


# ---- plain sums


def test_plain_sums_are_right_and_kept_apart(tmp_path, capsys):
    assert data.main([str(tmp_path / "sums"), "--pool", "50", "--heldout", "30"]) == 0
    pool, heldout = (load_jsonl(tmp_path / f"sums/{n}.jsonl") for n in ("sums", "sums-heldout"))
    assert len(pool) == 50 and len(heldout) == 30
    assert {p.kind for p in pool} == {"one digit", "two digits"}
    for problem in pool + heldout:
        a, b = problem.text.removesuffix("=").split("+")
        assert int(a) + int(b) == int(problem.answer)
        assert is_heldout(int(a), "+", int(b), one_in=3) == (problem in heldout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pool", "9999"], "there are only"),
        (["--seed", "-1"], "error: "),
        (["--pool", "-5"], "error: "),
        (["--heldout", "0"], "'0' is no whole number >= 1"),
        (["--largest", "1000"], "may be 999, not 1000"),
    ],
)
def test_impossible_sums_are_one_line(tmp_path, capsys, words, message):
    assert data.main([str(tmp_path / "sums"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "sums").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert data.main([str(tmp_path / "taken")]) == 2
    error = capsys.readouterr().err
    assert "sums.jsonl: cannot be written" in error and error.count("\n") == 1


# ---- golds that no response could ever equal


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ('"We add 3 and 4. So \\\\boxed{7}."', "7"),
        ('"We add 3 and 4.\\n#### 7"', "7"),
        ("\"['5']\"", "5"),
        ('"[\\"1/2\\", \\"3\\"]"', "1/2, 3"),
        ("\"['\\\\\\\\frac{1}{2}']\"", "\\frac{1}{2}"),
        ('"[1, 2]"', "[1, 2]"),  # an interval
        ("7.5", "7.5"),
    ],
)
def test_a_worked_or_quoted_answer_is_read_as_its_answer(tmp_path, answer, gold):
    (tmp_path / "p.jsonl").write_text(f'{{"problem": "x", "answer": {answer}}}\n')
    assert [problem.answer for problem in load_jsonl(tmp_path / "p.jsonl")] == [gold]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("NaN", "must be a finite number, not nan"),
        ("Infinity", "must be a finite number, not inf"),
        ("1e400", "must be a finite number, not inf"),
        ("null", "must be a text or a number"),
        ('"First we add.\\nThen we stop."', "is a worked solution"),
        ('"' + "so we go on and " * 9 + '"', "is a worked solution"),
        ('"so \\\\boxed{}"', "holds no answer in its box"),
    ],
)
def test_a_gold_that_nothing_equals_is_refused_with_its_line(tmp_path, answer, message):
    file = tmp_path / "p.jsonl"
    file.write_text(
        f'{{"problem": "1+1=", "answer": "2"}}\n{{"problem": "x", "answer": {answer}}}\n'
    )
    with pytest.raises(UserError, match=rf"p\.jsonl:2: 'answer' .*{message}"):
        load_jsonl(file)


def test_the_same_problem_with_another_answer_is_told(tmp_path, capsys):
    lines = [{"problem": "x", "answer": a} for a in ("1", "1", "2")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(load_jsonl(tmp_path / "p.jsonl")) == 3
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "p.jsonl:3: the same problem as in" in told[0]
    assert "p.jsonl:1, with the answer '2' and not '1'" in told[0]
