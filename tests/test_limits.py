"""Values that no run can have: named before anything is written, or as soon as they are there."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, train_small
from safetensors.torch import load_file, save_file

import evaluate
import train
from data import Problem
from plumbing import setup
from plumbing.command import UserError
from plumbing.config import read_config
from policy import Policy, numbers

SETS = ["steps=1", "eval_every=100", "data.heldout_size=4", "data.pool_size=4"]
SETS += ["rollout.group_size=2", "rollout.max_new_tokens=4"]


pytestmark = pytest.mark.usefixtures("in_the_project")


def start(out, *sets):
    return train_small(out, [*SETS, *sets])


def last_line(capsys):
    return capsys.readouterr().err.splitlines()[-1]


# ---- the starting model


@pytest.mark.parametrize("size", [1e25, 1e38])
def test_finite_weights_that_overflow_are_refused_and_leave_nothing(tmp_path, capsys, size):
    model = shutil.copytree(ROOT / "base", tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    huge = {n: w if "norm" in n else torch.full_like(w, size) for n, w in tensors.items()}
    save_file(huge, model / "model.safetensors")
    assert start(tmp_path / "run", f"model={model}") == 2
    assert "its weights are so large that its logits are not finite" in last_line(capsys)
    assert not (tmp_path / "run").exists()


def test_an_end_token_outside_the_vocabulary_names_the_file(tmp_path, capsys):
    model = shutil.copytree(ROOT / "base", tmp_path / "model")
    (model / "generation_config.json").write_text('{"eos_token_id": [2, 99]}')
    assert start(tmp_path / "run", f"model={model}") == 2
    assert "generation_config.json: 'eos_token_id' [2, 99]" in last_line(capsys)


# ---- prompts


@pytest.mark.parametrize(("digits", "fits"), [(2046, True), (2047, False), (900_000, False)])
def test_a_prompt_far_beyond_what_the_model_was_made_for_is_refused(base, digits, fits):
    """base/ was made for 128 tokens; sixteen times as many, with the BOS, are a mistake."""
    policy = Policy(read_config("small.json", []))
    problem = Problem("1" * digits + "=", "1", source="pool.jsonl:7")
    prompts = [policy.prompt(problem)]
    if fits:
        assert len(prompts[0]) == 2048
        setup.check_lengths(base, [problem], prompts, 4)
        return
    with pytest.raises(UserError, match=r"pool.jsonl:7: .* tokens; at most 2,048 are read"):
        setup.check_lengths(base, [problem], prompts, 4)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_neither_command_begins_with_such_a_prompt(tmp_path, capsys, command):
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"problem": "1" * 5000, "answer": "1"}) + "\n")
    out = tmp_path / "out"
    if command == "train":
        assert start(out, f"data.heldout={file}") == 2
    else:
        assert evaluate.main(["--model", "base", "--data", str(file), "--out", str(out)]) == 2
    assert "long.jsonl:1: its prompt has 5,001 tokens" in last_line(capsys)
    assert not out.exists()


def test_a_prompt_that_is_left_out_of_the_pool_may_be_of_any_length(tmp_path):
    file = tmp_path / "pool.jsonl"
    lines = [{"problem": text, "answer": "2"} for text in ("1+1=", "1" * 5000)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert start(tmp_path / "run", f"data.pool={file}", "data.max_prompt_tokens=50") == 0


@pytest.mark.parametrize("key", ["data.template", "data.prefill", "model"])
def test_a_text_of_megabytes_is_no_value_of_a_key(tmp_path, capsys, key):
    config = json.loads((ROOT / "small.json").read_text())
    *section, name = key.split(".")
    where = config.setdefault(section[0], {}) if section else config
    where[name] = "{problem}" * 500_000
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert train.main(["--config", str(file), "--out", str(tmp_path / "run")]) == 2
    assert f"{key}: has 4,500,000 characters; 100,000 are allowed" in last_line(capsys)


@pytest.mark.parametrize("key", ["update.clip_high", "update.weight_decay", "update.lr"])
def test_a_number_that_float32_cannot_hold_is_refused(tmp_path, capsys, key):
    assert start(tmp_path / "run", f"{key}=1e308") == 2
    assert f"{key}: must be at most 1e+30" in last_line(capsys)


@pytest.mark.parametrize(
    ("name", "text"), [("template", r"Q: {problem}\nA:"), ("prefill", r"a\tb")]
)
def test_a_backslash_that_a_shell_left_is_told_by_evaluate_too(capsys, name, text):
    evaluate.main(["--model", "nowhere", "--data", "arithmetic", f"--{name}", text])
    assert f"warning: --{name}: holds a backslash and the letter" in capsys.readouterr().err


def test_a_device_that_needs_a_module_which_is_not_there_is_one_line(tmp_path, capsys):
    assert start(tmp_path / "run", "device=privateuseone") == 2
    assert "this machine has no 'privateuseone'" in last_line(capsys)


# ---- what a changed policy or selector returns


@pytest.mark.parametrize(
    "values",
    [[1, 0.5], (np.float32(1), torch.tensor(0.5)), np.array([1, 0.5]), torch.tensor([1, 0.5])],
)
def test_numbers_of_numpy_and_torch_are_rewards(values):
    assert numbers(values, 2, "rewards") == [1.0, 0.5]


@pytest.mark.parametrize(
    "values", [[1], [1, float("nan")], [1, None], 1.0, None, [[1], [0]], ["a", "b"], [1, [0, 1]]]
)
def test_rewards_that_are_none_are_refused_in_one_line(values):
    with pytest.raises(UserError, match=r"Policy.rewards: must return 2") as error:
        numbers(values, 2, "rewards")
    assert error.value.code == 1


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor, lambda i: [np.int64(i)]])
def test_a_selector_may_return_one_index_of_any_kind(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(
        train.selectors.Informative, "choose", lambda self, candidates: kind(int(candidates[0]))
    )
    assert start(tmp_path / "run") == 0


@pytest.mark.parametrize("chosen", [None, [], [99], [-1], [0.7], [float("nan")], "ab", [[0]]])
def test_a_choice_that_is_none_is_one_line(tmp_path, monkeypatch, capsys, chosen):
    monkeypatch.setattr(train.selectors.Informative, "choose", lambda *_: chosen)
    assert start(tmp_path / "run") == 1
    assert "Informative.choose: must return indices in the pool" in last_line(capsys)


def test_what_a_selector_remembers_may_be_numbers_of_numpy_and_torch(tmp_path, monkeypatch):
    class Odd(train.selectors.OneShotSelector):
        MEMORY = (*train.selectors.OneShotSelector.MEMORY, "odd", "more")
        odd, more = np.float32(0.5), torch.tensor([1, 2])

    monkeypatch.setitem(train.selectors.SELECTORS, "informative", Odd)
    assert start(tmp_path / "run") == 0
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert (state["selector"]["odd"], state["selector"]["more"]) == (0.5, [1, 2])
