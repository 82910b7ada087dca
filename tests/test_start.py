"""What a run starts from: the same files, prompts and day on every resume, and texts that fit."""

import json
import shutil

import pytest
from conftest import ROOT, train_small

from plumbing import config

SETS = ["steps=1", "eval_every=100", "data.heldout_size=4", "data.pool_size=4"]
SETS += ["rollout.group_size=2", "rollout.max_new_tokens=4"]


pytestmark = pytest.mark.usefixtures("in_the_project")


@pytest.fixture
def model(tmp_path):
    """A copy of base/ with a chat template, a generation config, and room for changes."""
    folder = shutil.copytree(ROOT / "base", tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    return folder


def start(model, *sets, resume=()):
    return train_small(model.parent / "run", [*SETS, f"model={model}", *sets], resume)


def edit(file, **changes):
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, **changes}, indent=2))


CHANGES = {  # other files are in test_tokenizer.py
    "chat_template.jinja": lambda f: f.write_text("{{ messages[-1].content }}="),
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


def test_a_file_that_went_away_is_named_on_resume(model, capsys):
    assert start(model) == 0
    (model / "generation_config.json").unlink()
    assert start(model, "steps=2", resume=["--resume"]) == 2
    assert "the model's generation_config.json changed" in capsys.readouterr().err.splitlines()[-1]


def test_times_of_files_and_what_nobody_reads_do_not_change_the_start(model):
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
