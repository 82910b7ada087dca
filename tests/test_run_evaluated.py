"""evaluate.py RUN: a run's own settings, taken from its folder; and the first look before a run."""

import json
import shlex
import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, train_small, write_carries
from safetensors.torch import load_file

import evaluate
import policy
from data import load_jsonl
from plumbing import first_look
from plumbing.first_look import what_is_seen
from plumbing.watch import EQUAL, Watch

pytestmark = pytest.mark.usefixtures("in_the_project")


def evaluated(out, *words):
    """The head and the lines of the record, or the one line of an error."""
    assert evaluate.main([*map(str, words), "--out", str(out)]) == 0
    head, *lines = [json.loads(line) for line in out.read_text().splitlines()]
    return head, lines


def refusal(capsys, *words):
    assert evaluate.main([*map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def accuracy(lines):
    return float(np.mean([line["greedy_right"] for line in lines]))


def summary(run):
    return json.loads((run / "summary.json").read_text())


SHORT = ["steps=6", "rollout.group_size=4", "update.lr=0.002", "data.heldout_size=20"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A run of the built-in task, with another seed than evaluate.py's own."""
    run = tmp_path_factory.mktemp("usual") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("report.draw", lambda out: "not drawn")
        assert train_small(run, [*SHORT, "seed=3", "rollout.max_new_tokens=30"]) == 0
    return run


# prints its system line, the day and an argument, so that each of them changes the prompt
TEMPLATE = "{{ messages[0].content }}{{ strftime_now('%d') }}+{{ more }}{{ messages[-1].content }}"


@pytest.fixture(scope="module")
def special(tmp_path_factory):
    """A run in which every setting is another than evaluate.py's own."""
    folder = tmp_path_factory.mktemp("special")
    shutil.copytree(ROOT / "base", folder / "model")
    file = folder / "model" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    problems = [("", "8"), ("", "28"), *[(f"{a}+{a}=", str(2 * a)) for a in range(10, 24)]]
    lines = [json.dumps({"problem": p or f"{a}+2=", "answer": a}) for p, a in problems]
    (folder / "heldout.jsonl").write_text("\n".join(lines))
    sets = [
        *SHORT, f"model={folder}/model", f"data.pool={write_carries(folder / 'pool.jsonl')}",
        f"data.heldout={folder}/heldout.jsonl", "data.heldout_size=12", "data.template=chat",
        'data.system="9"', "data.template_args.more=4", "data.date=2001-02-03",
        "data.prefill=7+5=12,", 'rollout.stop=["=9"]', "rollout.stop_ids=[2, 5]",
        "rollout.max_new_tokens=21", "precision=bfloat16", "seed=5",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("report.draw", lambda out: "not drawn")
        assert train_small(folder / "run", sets) == 0
    return folder / "run"


def test_greedily_it_is_the_runs_own_last_accuracy(tmp_path, usual):
    head, lines = evaluated(tmp_path / "e", usual)
    assert len(lines) == 20 and accuracy(lines) == summary(usual)["accuracy_after"] > 0
    assert head["model"] == str(usual / "model") and head["seed"] == 3
    # and another seed has other held-out problems
    assert [line["problem"] for line in evaluated(tmp_path / "o", usual, "--seed", "0")[1]] != [
        line["problem"] for line in lines
    ]


def test_every_setting_is_the_runs(tmp_path, special, monkeypatch):
    """What the policy was asked in the run's last evaluation and answered, it is and does again."""
    head, lines = evaluated(tmp_path / "e", special)
    config = json.loads((special / "config.json").read_text())
    assert [line["problem"] for line in lines] == [
        p.text for p in load_jsonl(config["data"]["heldout"])[:12]
    ]
    named = {**config["data"], **config["rollout"], **config}
    for name in ("template", "system", "template_args", "prefill", "date", "stop", "stop_ids",
                 "max_new_tokens", "precision", "seed"):  # fmt: skip
        assert head[name] == named[name], name
        assert named[name] not in (None, "", [], 0), name
    assert accuracy(lines) == summary(special)["accuracy_after"]
    made = policy.Policy(evaluate.build(evaluate.Config, {**config, "model": head["model"]}))
    again = made.greedy(load_jsonl(config["data"]["heldout"])[:12], 256)
    assert [text for _, text, *_ in again] == [line["greedy"] for line in lines]


@pytest.mark.parametrize(
    "words",
    [
        ["--system", "8"], ["--template_args", '{"more": 5}'], ["--prefill", "1"],
        ["--stop"], ["--stop_ids"], ["--max_new_tokens", "5"], ["--model", "base-too"],
        ["--template", "{problem}", "--system", "", "--template_args", "{}"],
        ["--n", "3"], ["--precision", "float32"], ["--data", "arithmetic", "--n", "4"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_setting_has_an_option_that_goes_before_it(tmp_path, special, words):
    if "base-too" in words:
        words = ["--model", str(special.parent / "model")]
    before, lines = evaluated(tmp_path / "e", special)
    after, others = evaluated(tmp_path / "o", special, *words)
    if words[0] in ("--n", "--data"):
        assert len(others) == int(words[-1]) and len(lines) == 12
    else:
        assert before != after and len(others) == 12
    if words[0] in ("--system", "--template_args", "--template"):
        assert all(a["prompt"] != b["prompt"] for a, b in zip(lines, others, strict=True))
    if words[0] in ("--stop", "--stop_ids", "--max_new_tokens", "--prefill"):
        assert [a["greedy"] for a in lines] != [b["greedy"] for b in others]


def test_another_template_leaves_out_what_only_a_chat_has(tmp_path, special):
    """Nobody has to take back by hand what the run said of its chat template."""
    bare = ["--template", "{problem}"]
    head, lines = evaluated(tmp_path / "e", special, *bare)
    assert (head["template"], head["system"], head["date"]) == ("{problem}", "", "")
    more = ["--system", "", "--template_args", "{}"]
    assert evaluated(tmp_path / "o", special, *bare, *more) == (head, lines)
    # and what is said of one is not left out without a word
    assert evaluate.main([str(special), *bare, "--system", "8", "--out", str(tmp_path / "u")]) == 2


def test_the_model_before_training_may_be_a_name_of_the_hub(tmp_path, usual, capsys, monkeypatch):
    """Only the run's own model has to be there; of another, whoever reads it says where it is."""
    asked = []

    def found(name):
        asked.append(name)
        return ROOT / "base"

    monkeypatch.setattr("policy.find_folder", found)
    head, lines = evaluated(tmp_path / "e", usual, "--model", "owner/name")
    assert asked == ["owner/name"] and head["model"] == "owner/name" and len(lines) == 20


def test_other_problems_are_all_taken_and_a_run_has_one_record(tmp_path, usual, monkeypatch):
    (tmp_path / "30.jsonl").write_text(
        "\n".join(f'{{"problem": "{a}+1=", "answer": {a + 1}}}' for a in range(10, 40))
    )
    assert len(evaluated(tmp_path / "e", usual, "--data", tmp_path / "30.jsonl")[1]) == 30
    assert [*evaluate.default_out(evaluate.read_arguments([str(usual)])).parts] == [
        "evaluations", "run-model-arithmetic-k0-t0.6.jsonl",
    ]  # fmt: skip


def test_what_is_no_run_is_one_line(tmp_path, capsys, usual):
    (tmp_path / "begun").mkdir()
    shutil.copy(usual / "config.json", tmp_path / "begun")
    for words, message in (
        ([tmp_path / "nowhere"], "nowhere/config.json: no such file; name the folder of a run"),
        ([usual / "model"], "model/config.json: not of a run ("),
        ([tmp_path / "begun"], "begun/model: is not there; a run's model is written when it ends"),
        ([], "name the folder of a run, or a model with --model and problems with --data"),
        (["--model", "base"], "name the folder of a run, or a model"),
        ([usual, "--template", "chat"], "has no chat template"),
        ([usual, "--n", "-1"], "need --k >= 0"),
    ):
        assert message in refusal(capsys, *words, "--out", tmp_path / "o")
    (tmp_path / "begun" / "config.json").write_text("[")
    assert "config.json: not of a run (cannot be read" in refusal(capsys, tmp_path / "begun")
    assert not (tmp_path / "o").exists()


def test_the_command_that_a_line_proposes_is_quoted_for_the_shell(tmp_path, usual, capsys):
    run = tmp_path / "run"
    shutil.copytree(usual, run)
    config = json.loads((run / "config.json").read_text())
    for reward in ("a.py:b'; touch hacked; '", {"a.py:b'$(touch hacked)": 1.0}):
        (run / "config.json").write_text(json.dumps({**config, "reward": reward}))
        *_, words = shlex.split(refusal(capsys, run).strip().rpartition("add ")[2])
        assert words == (reward if isinstance(reward, str) else json.dumps(reward))


@pytest.mark.parametrize("several", [False, True])
def test_a_runs_folder_does_not_choose_which_code_runs(tmp_path, usual, capsys, several):
    """Its reward is taken where it is a ready one; that of a file has to be named."""
    run = tmp_path / "run"
    shutil.copytree(usual, run)
    (tmp_path / "mine.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef score(response, problem): return 1"
    )
    config = json.loads((run / "config.json").read_text())
    code = f"{tmp_path}/mine.py:score"
    reward = {code: 0.5, "format": 0.5} if several else code
    (run / "config.json").write_text(json.dumps({**config, "reward": reward}))
    said = json.dumps(reward) if several else code
    assert f"add --reward {shlex.quote(said)}\n" in refusal(
        capsys, run, "--n", 2, "--out", tmp_path / "o"
    )
    assert not (tmp_path / "ran").exists() and not (tmp_path / "o").exists()
    head, lines = evaluated(tmp_path / "o", run, "--n", 2, "--reward", said)
    assert head["reward"] == reward and accuracy(lines) == 1.0 and (tmp_path / "ran").exists()
    (run / "config.json").write_text(json.dumps({**config, "reward": "format"}))
    assert evaluated(tmp_path / "ready", run, "--n", 2)[0]["reward"] == "format"


# ---- the first look


@dataclass
class Seen:
    solved: list[float]
    answers: list[str | None]
    finished: list[bool]

    @property
    def rewards(self):
        return self.solved

    @property
    def texts(self):
        return self.answers

    @property
    def group(self):
        return SimpleNamespace(finished=torch.tensor(self.finished))


FINE = Seen([1.0, 0.0], ["1", "2"], [True, True])
MUTE = Seen([0.0, 0.0], [None, None], [True, True])
CUT = Seen([0.0, 0.0], [None, "1"], [False, False])
WRONG, RIGHT = Seen([0.0] * 2, ["1"] * 2, [True] * 2), Seen([1.0] * 2, ["1"] * 2, [True] * 2)


@pytest.mark.parametrize(
    ("seen", "line", "helps"),
    [
        ([FINE, WRONG], "of 4 responses to 2 problems 25% are right, 0% cut off, 0% without", ""),
        ([FINE, FINE, MUTE], "33% are right, 0% cut off, 33% without an answer", ""),
        ([FINE, MUTE], "25% are right, 0% cut off, 50% without an answer", "data.prefill"),
        ([CUT], "0% are right, 100% cut off, 50% without", "rollout.max_new_tokens"),
        ([CUT, WRONG, WRONG], "0 of 3 groups are informative", "easier problems, or a stronger"),
        ([RIGHT], "100% are right, 0% cut off, 0% without", "harder problems"),
    ],
)
def test_what_is_seen_and_what_helps_only_where_something_is_wrong(seen, line, helps):
    first, *more = what_is_seen(seen)
    assert line in first and len(more) == bool(helps)
    for advice in more:
        assert advice.startswith("what usually helps: ") and helps in advice


@pytest.mark.parametrize(
    ("reward", "asked"),
    [("mine.py:score", False), ("overlong", False), ("format", True), ("verifier", True),
     ({"mine.py:score": 1.0, "verifier": 0.0}, True), ({"mine.py:score": 1.0}, False)],
)  # fmt: skip
def test_answers_are_looked_for_only_where_some_reward_reads_them(reward, asked):
    """Under a reward of one's own there may be no answer that the verifier would know, by right."""
    (line, *more) = what_is_seen([MUTE, FINE], reward)
    assert ("without an answer that the verifier finds" in line) == asked == bool(more)
    assert line.startswith("first look: of 4 responses to 2 problems 25% are right, 0% cut off")
    assert line.endswith("; 1 of 2 groups are informative")
    _, helps = what_is_seen([MUTE], reward)
    assert ("data.prefill" in helps) == asked and ("a stronger checkpoint" in helps) != asked


# the shorter run evaluates once more, at its end
EVALUATED = ("seconds", "accuracy", "accuracy_by_kind")


def own(tmp_path):
    """A pool of ten problems of one's own, in a file."""
    return [*SHORT, f"data.pool={write_carries(tmp_path / 'pool.jsonl')}", "data.pool_size=0"]


def test_before_a_run_on_a_file_its_problems_are_tried_and_the_run_is_the_same(
    tmp_path, capsys, monkeypatch
):
    sets = own(tmp_path)
    assert train_small(tmp_path / "with", sets) == 0
    shown = capsys.readouterr().out
    assert "\nfirst look: of 32 responses to 8 problems " in shown
    # at resume there is no other
    assert train_small(tmp_path / "with", [*sets, "steps=7"], resume=["--resume"]) == 0
    assert "first look" not in capsys.readouterr().out
    monkeypatch.setattr("train.first_look", lambda *_: None)
    assert train_small(tmp_path / "without", [*sets, "steps=7"]) == 0
    records = [
        [
            {k: v for k, v in json.loads(line).items() if k not in EVALUATED}
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("with", "without")
    ]
    assert len(records[0]) == 7 and records[0] == records[1]
    weights, others = (
        load_file(tmp_path / n / "model/model.safetensors") for n in ("with", "without")
    )
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert summary(tmp_path / "with")["rollouts"] == 28


def test_a_first_look_ends_in_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(first_look, "MOST_SECONDS", 0)
    assert train_small(tmp_path / "run", own(tmp_path)) == 0
    assert "\nfirst look: of 4 responses to 1 problems " in capsys.readouterr().out


def test_what_is_cut_off_is_told_before_the_run(tmp_path, capsys):
    assert train_small(tmp_path / "run", [*own(tmp_path), "rollout.max_new_tokens=2"]) == 0
    shown = capsys.readouterr().out
    assert "0% are right, 100% cut off, 100% without an answer" in shown
    assert "what usually helps: a larger rollout.max_new_tokens" in shown


def test_built_in_problems_are_known_and_not_tried(usual, tmp_path, capsys):
    assert train_small(tmp_path / "run", SHORT) == 0
    assert "first look" not in capsys.readouterr().out


def test_a_run_without_an_informative_group_says_so_once_with_what_helps():
    watch, told = Watch(), []
    for step in range(1, 3 * EQUAL):
        told += [(step, text) for text in watch.see(step, "1+1=", [0.0] * 8, [0.0] * 8, False)]
    assert [step for step, _ in told] == [EQUAL]
    assert "in the last 50 groups all rewards were equal" in told[0][1]
    assert "data.prefill" in told[0][1] and "easier problems" in told[0][1]
