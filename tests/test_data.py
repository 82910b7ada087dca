"""data.py and the tokenizer: right working, separate splits, malformed lines named."""

import copy
import json

import numpy as np
import pytest
import torch
from conftest import ROOT

import data
from data import (
    HELDOUT_MIX,
    MIX,
    DataError,
    Problem,
    arithmetic_problems,
    is_heldout,
    load_jsonl,
    load_tokenizer,
    n_carries,
    prompt_ids,
    solution,
    table_solution,
)
from model import load
from verifier import verify
from warmup import BOS, EOS, build_tokenizer, main, train_base, training_batch


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
    for problem in arithmetic_problems(300, rng, heldout=True):
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
    for problem in arithmetic_problems(300, rng, heldout=True, task="tables"):
        a, b = map(int, problem.text[:-1].split("*"))
        assert verify(table_solution(a, b, rng), problem.answer)
        wrong = not verify(table_solution(a, b, rng, mistake=1.0), problem.answer)
        assert wrong == (problem.kind == "shaky")
    assert {p.kind for p in arithmetic_problems(80, rng, task="tables")} == set(MIX["tables"])


@pytest.mark.parametrize("task", MIX)
def test_heldout_problems_are_in_no_pool_and_no_warmup_batch(tokenizer, task):
    heldout, trained = set(), set()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        heldout |= {p.text for p in arithmetic_problems(200, rng, heldout=True, task=task)}
        trained |= {p.text for p in arithmetic_problems(80, rng, task=task)}
    tokens, _ = training_batch(np.random.default_rng(0), 2000, task)
    for row in tokens:
        trained.add(tokenizer.decode(row, skip_special_tokens=True).split("=")[0] + "=")
    assert len(trained) > 1200 and not trained & heldout
    mirrored = {"+".join(reversed(text[:-1].split("+"))) + "=" for text in heldout if "+" in text}
    assert not trained & mirrored
    assert is_heldout(12, "+", 77) == is_heldout(77, "+", 12)


@pytest.mark.parametrize("task", MIX)
@pytest.mark.parametrize("heldout", [False, True])
def test_a_pool_has_its_shares_and_no_problem_twice(task, heldout):
    problems = arithmetic_problems(80, np.random.default_rng(1), heldout, task)
    assert len({p.text for p in problems}) == 80
    for kind, share in (HELDOUT_MIX if heldout else MIX)[task].items():
        assert sum(p.kind == kind for p in problems) == round(80 * share)
    assert problems == arithmetic_problems(80, np.random.default_rng(1), heldout, task)


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_shares_are_relative_and_can_be_changed(monkeypatch, share):
    monkeypatch.setitem(MIX["arithmetic"], "carry", share)
    problems = arithmetic_problems(100, np.random.default_rng(1))
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


# ---- files


def test_jsonl(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"problem": "1+1=", "answer": 2}\n\n{"problem": "q", "answer": "x", "kind": "k"}\n'
    )
    assert load_jsonl(file) == [Problem("1+1=", "2"), Problem("q", "x", "k")]


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
    with pytest.raises(DataError, match=message) as error:
        load_jsonl(file)
    assert f"{file}:2: " in str(error.value)


def test_files_that_hold_nothing_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no problems"):
        load_jsonl(tmp_path / "empty.jsonl")


# ---- tokens


def test_exactly_one_bos(tokenizer):
    assert prompt_ids(tokenizer, "{problem}", Problem("1+1=", "2")) == [1, 4, 13, 4, 16]
    assert prompt_ids(tokenizer, "<bos>{problem}", Problem("1+1=", "2")) == [1, 4, 13, 4, 16]


def test_a_chat_template_is_used_once(tokenizer):
    with pytest.raises(DataError, match="no chat template"):
        prompt_ids(tokenizer, "chat", Problem("1+1=", "2"))
    chatty = load_tokenizer(ROOT / "base")
    chatty.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}="
    assert prompt_ids(chatty, "chat", Problem("1+1", "2")) == [1, 4, 13, 4, 16]


def test_a_character_outside_the_vocabulary_is_an_error(tokenizer):
    with pytest.raises(DataError, match="cannot encode '2x='"):
        prompt_ids(tokenizer, "{problem}", Problem("2x=", "2"))


def test_the_shipped_tokenizer_is_the_one_that_warmup_builds(tokenizer):
    built = build_tokenizer()
    assert built.get_vocab() == tokenizer.get_vocab() and len(built) == 19
    text = "0123456789+-*=,#"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert tokenizer.encode(text) == built.encode(text)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"broken": 1}))
    with pytest.raises(DataError, match="its tokenizer cannot be loaded"):
        load_tokenizer(tmp_path)


# ---- plain sums, and what stands around a problem


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
    ],
)
def test_impossible_sums_are_one_line(tmp_path, capsys, words, message):
    assert data.main([str(tmp_path / "sums"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "sums").exists()


def test_a_chat_has_its_system_line_and_its_first_words(tokenizer):
    chat = copy.deepcopy(tokenizer)
    chat.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{{ '+' if m['role'] == 'system' else '=' }}"
        "{% endfor %}"
    )
    ids = prompt_ids(chat, "chat", Problem("2", ""), system="1", prefill="{problem}+3#")
    assert chat.decode(ids, skip_special_tokens=True) == "1+2=2+3#"
    assert ids.count(BOS) == 1
    assert chat.decode(prompt_ids(chat, "chat", Problem("2", "")), skip_special_tokens=True) == "2="
