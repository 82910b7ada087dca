"""What a run starts from: the same files, prompts and day on every resume, and texts that fit."""

import json
import shutil

import pytest
from conftest import ROOT

import report
import train
from plumbing import config

SETS = ["steps=1", "eval_every=100", "data.heldout_size=4", "data.pool_size=4"]
SETS += ["rollout.group_size=2", "rollout.max_new_tokens=4"]


@pytest.fixture(autouse=True)
def from_the_project_folder(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(report, "draw", lambda out: "not drawn: takes longer than the run")


@pytest.fixture
def model(tmp_path):
    """A copy of base/ with a chat template, a generation config, and room for changes."""
    folder = shutil.copytree(ROOT / "base", tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    return folder


def start(model, *sets, resume=()):
    words = [w for s in (*SETS, f"model={model}", *sets) for w in ("--set", s)]
    out = str(model.parent / "run")
    return train.main(["--config", "small.json", "--out", out, *words, *resume])


def edit(file, **changes):
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, **changes}, indent=2))


CHANGES = {
    "chat_template.jinja": lambda f: f.write_text("{{ messages[-1].content }}="),
    "tokenizer.json": lambda f: f.write_text(f.read_text().replace('"id": 1', '"id":  1')),
    "tokenizer_config.json": lambda f: edit(f, padding_side="left"),
    "generation_config.json": lambda f: edit(f, eos_token_id=[2, 3]),
    "config.json": lambda f: edit(f, rope_theta=2000.0),
    "model.safetensors": lambda f: f.write_bytes(f.read_bytes()[:-1] + b"\x01"),
    "special_tokens_map.json": lambda f: f.write_text("{}"),  # was not there before
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("template", ["chat", "{problem}"])
def test_a_file_that_changed_is_named_on_resume(model, capsys, name, template):
    assert start(model, f"data.template={template}") == 0
    CHANGES[name](model / name)
    assert start(model, f"data.template={template}", "steps=2", resume=["--resume"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"the model's {name} changed since the run began" in error
    prompts = name == "chat_template.jinja" and template == "chat"
    assert ("the prompts, " in error) == prompts


@pytest.mark.parametrize("name", ["chat_template.jinja", "generation_config.json"])
def test_a_file_that_went_away_is_named_on_resume(model, capsys, name):
    assert start(model) == 0
    (model / name).unlink()
    assert start(model, "steps=2", resume=["--resume"]) == 2
    assert f"the model's {name} changed" in capsys.readouterr().err.splitlines()[-1]


def test_a_copy_elsewhere_is_the_same_start(model, capsys):
    """What does not change the run may change: the time of a file, and files that nobody reads."""
    assert start(model) == 0
    (model / "README.md").write_text("a model")
    (model / "config.json").touch()
    assert start(model, "steps=2", resume=["--resume"]) == 0


DAY = "{{ strftime_now('%Y%m%d') }}{{ messages[-1].content }}"


@pytest.fixture
def clock(monkeypatch):
    """A calendar whose day a test chooses."""

    class Date(config.datetime.date):
        day = "2026-01-31"

        @classmethod
        def today(cls):
            return cls.fromisoformat(cls.day)

    monkeypatch.setattr(config.datetime, "date", Date)
    return Date


def recorded(model):
    return json.loads((model.parent / "run" / "config.json").read_text())["data"]["date"]


def test_a_template_that_prints_the_date_has_that_of_the_run_on_resume(model, clock, capsys):
    (model / "chat_template.jinja").write_text(DAY)
    assert start(model, "data.template=chat") == 0
    assert recorded(model) == "2026-01-31"
    clock.day = "2026-02-01"
    assert start(model, "data.template=chat", "steps=2", resume=["--resume"]) == 0
    assert recorded(model) == "2026-01-31"
    assert start(model, "data.template=chat", "data.date=2026-02-01", resume=["--resume"]) == 2
    assert "data.date '2026-01-31', not '2026-02-01'" in capsys.readouterr().err.splitlines()[-1]


def test_the_day_is_in_the_prompt_and_can_be_chosen(model, clock):
    (model / "chat_template.jinja").write_text(DAY)
    assert start(model, "data.template=chat", "data.date=2025-12-24") == 0
    assert recorded(model) == "2025-12-24"
    policy = train.Policy(
        config.read_config(
            "small.json", [f"model={model}", "data.template=chat", "data.date=2025-12-24"]
        )
    )
    problem = train.Problem("1+1=", "2")
    assert policy.tokenizer.decode(policy.prompt(problem)) == "202512241+1="


def test_a_template_without_a_chat_knows_no_day(model, clock):
    assert start(model) == 0
    assert recorded(model) == ""


@pytest.mark.parametrize(("limit", "warned"), [(12, True), (13, False), (None, False), (0, None)])
def test_texts_longer_than_the_model_was_made_for_are_told(model, capsys, limit, warned):
    """The longest prompt has 9 tokens with its BOS, and a response at most 4."""
    edit(model / "config.json", max_position_embeddings=limit)
    status = start(model)
    error = capsys.readouterr().err
    if warned is None:
        assert status == 2 and "max_position_embeddings" in error
        return
    assert status == 0
    assert ("warning: the longest prompt and 4 new tokens are" in error) == warned
