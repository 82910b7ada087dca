"""warmup.py: where its model goes, and that nothing else is lost, overwritten or left behind."""

import json

import pytest

import warmup
from data import load_tokenizer
from model import load
from warmup import main

QUICK = ["--steps", "1", "--batch-size", "2"]


@pytest.fixture
def old(tmp_path):
    """A folder that holds what passes for an older model."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text("{}")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_force_replaces_the_whole_model(old):
    assert main(["--out", str(old), "--force", *QUICK]) == 0
    assert load(old).config.vocab_size == len(load_tokenizer(old)) == 19
    assert "model.safetensors.index.json" not in names(old)  # it would point to other weights
    assert names(old.parent) == ["old"]


def test_an_old_model_is_there_until_the_new_one_is_whole(old, capsys, monkeypatch):
    def full(tokenizer, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(warmup, "save_tokenizer", full)
    assert main(["--out", str(old), "--force", *QUICK]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {old}: cannot be written") and "No space left" in error
    assert (old / "config.json").read_text() == "{}" and names(old.parent) == ["old"]


@pytest.mark.parametrize("kind", ["folder", "file", "link to nothing"])
def test_force_replaces_nothing_but_a_model(tmp_path, capsys, kind):
    out = tmp_path / "mine"
    if kind == "folder":
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    elif kind == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    assert main(["--out", str(out), *QUICK]) == 2
    assert f"{out} exists" in capsys.readouterr().err
    assert main(["--out", str(out), "--force", *QUICK]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {out}: is no folder of a model, so --force does not replace it\n"
    assert names(tmp_path) == ["mine"]
    assert kind != "folder" or (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_nothing_is_written_through_a_link(old, tmp_path, name):
    precious = tmp_path / "precious.json"
    precious.write_text("{}")
    (old / name).unlink(missing_ok=True)
    (old / name).symlink_to(precious)
    assert main(["--out", str(old), "--force", *QUICK]) == 0
    assert precious.read_text() == "{}" and not (old / name).is_symlink()


def test_a_link_to_a_model_is_replaced_and_the_model_is_not(old, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(old)
    assert main(["--out", str(link), "--force", *QUICK]) == 0
    assert (old / "config.json").read_text() == "{}" and not link.is_symlink()
    assert json.loads((link / "config.json").read_text())["vocab_size"] == 19


def test_an_interrupted_warmup_leaves_nothing_in_the_way(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(warmup, "train_base", interrupt)
    assert main(["--out", str(tmp_path / "new"), *QUICK]) == 130
    assert not names(tmp_path) and "interrupted" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named_before_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(warmup, "train_base", lambda *_: pytest.fail("minutes were lost"))
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "new", tmp_path / ("n" * 300)):
        assert main(["--out", str(out), *QUICK]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {out}: cannot be made (") and error.count("\n") == 1
    assert names(tmp_path) == ["file"]
