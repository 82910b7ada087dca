"""What is written is whole or not there, and nothing else is lost for it."""

import os
from pathlib import Path

import pytest
import torch
from conftest import random_model
from safetensors.torch import load_file, save_file

from plumbing import disk
from plumbing.command import UserError
from plumbing.run import restore_model, tensors_of


def folder_with(path, text):
    disk.replace_folder(path, lambda new: (new / "weights").write_text(text))


@pytest.mark.parametrize("name", ["model.old", "model.bak", "model.previous"])
def test_a_copy_that_somebody_made_beside_the_model_stays(tmp_path, name):
    folder_with(tmp_path / "model", "one")
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("precious")
    folder_with(tmp_path / "model", "two")
    assert (tmp_path / name / "mine").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model", name])


@pytest.mark.parametrize("nth", [1, 2])
def test_a_folder_that_cannot_be_replaced_is_there_as_before(tmp_path, monkeypatch, nth):
    folder_with(tmp_path / "model", "one")
    rename, left = Path.rename, [nth]

    def failing(path, to):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(5, "Input/output error", str(path))
        return rename(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(UserError, match=r"model: cannot be written .*Input/output error") as e:
            folder_with(tmp_path / "model", "two")
    assert e.value.code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "one"


@pytest.mark.parametrize("error", [OSError(28, "full"), UserError("the tokenizer: full")])
def test_whatever_cannot_be_written_leaves_the_old_folder_and_nothing_else(tmp_path, error):
    """Rust's libraries know no OSError."""
    folder_with(tmp_path / "model", "one")

    def refuse(new):
        (new / "weights").write_text("half")
        raise error

    with pytest.raises(UserError, match="model: cannot be written") as raised:
        disk.replace_folder(tmp_path / "model", refuse)
    assert raised.value.code == 1 and "full" in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "one"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, error):
    file = tmp_path / "a.json"
    disk.write_text(file, "one")

    def refuse(path):
        raise error

    monkeypatch.setattr(disk.system, "force_to_disk", refuse)
    with pytest.raises(type(error)):
        disk.write_text(file, "two")
    assert file.read_text() == "one"


def test_a_file_that_its_last_holder_removed_is_not_held(tmp_path):
    file = tmp_path / "results.jsonl"
    with disk.open_to_append(file) as opened:
        assert disk.is_still(opened, file)
        file.unlink()
        assert not disk.is_still(opened, file)
        file.write_text("another")
        assert not disk.is_still(opened, file)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="asks Linux what is mapped")
def test_what_was_restored_is_no_piece_of_the_checkpoints_file(tmp_path):
    model = random_model()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    file = tmp_path / "tensors.safetensors"
    save_file(tensors_of(model, optimizer), file)
    tensors = load_file(file)
    restore_model(model, optimizer, tensors)
    del tensors
    assert str(file) not in Path("/proc/self/maps").read_text()
