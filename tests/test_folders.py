"""Folders as people have them: nothing in one takes for ever, and every fault ends in one line."""

import json
import os
import random
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from conftest import TINY, random_model
from safetensors.torch import load_file
from test_model import EMBEDDING, HEAD, NORM, edit_config
from transformers import AutoModelForCausalLM

from model import load
from plumbing.command import UserError
from plumbing.json_files import LARGEST
from plumbing.weights import find_folder, stop_ids

# --------------------------------------------------------------------------- nothing without end


@pytest.fixture
def folder(tmp_path):
    random_model().save(tmp_path)
    return tmp_path


def refusal(call) -> str:
    """The one line, not a long one, of the `UserError` that a call raises."""
    with pytest.raises(UserError) as error:
        call()
    line = str(error.value)
    assert "\n" not in line and len(line) < 5000, line
    return line


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("num_hidden_layers", 10**6, "1000"),
        ("num_hidden_layers", 1001, "1000"),
        ("vocab_size", 10**12, "16777216"),
        ("vocab_size", 10**400, "16777216"),
        ("hidden_size", 10**12, "16777216"),
        ("intermediate_size", 2**63, "16777216"),
        ("head_dim", 2**25, "16777216"),
        ("num_attention_heads", 2**24, "16777216"),  # times a head size of 8
        ("max_position_embeddings", 10**400, str(2**63 - 1)),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_size_beyond_every_model_is_refused_before_anything_is_built(
    folder, monkeypatch, key, value, limit
):
    edit_config(folder, **{"head_dim": 8, key: value})
    monkeypatch.setattr("model.nn.Embedding", lambda *sizes: pytest.fail("built"))
    line = refusal(lambda: load(folder))
    assert f"'{key}'" in line and limit in line


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 10**6, "[" * 10**5, "2.0", "true"],
    ids=lambda text: text[:9],
)
@pytest.mark.parametrize("key", ["num_hidden_layers", "rms_norm_eps"])
def test_a_number_that_is_none_is_refused(folder, key, text):
    if key == "rms_norm_eps" and text == "2.0":
        text = "1e-400"  # which is 0
    config = json.dumps(TINY | {key: "here"}).replace('"here"', text)
    (folder / "config.json").write_text(config)
    assert "config.json: " in refusal(lambda: load(folder))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**10)


FILES = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "10 GB": sparse,
    "empty": Path.touch,
    "not UTF-8": lambda path: path.write_bytes(b'{"a": "\xe9"}'),
    "UTF-16": lambda path: path.write_text("{}", encoding="utf-16"),
    "a byte-order mark": lambda path: path.write_text("{}", encoding="utf-8-sig"),
    "a list": lambda path: path.write_text("[]"),
}
NAMES = ["config.json", "generation_config.json", "model.safetensors"]
NAMES += ["model.safetensors.index.json"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_readable_file_is_named(folder, name, kind):
    if name.startswith("model"):
        (folder / "model.safetensors").unlink()
    (folder / name).unlink(missing_ok=True)
    FILES[kind](folder / name)
    tokenizer = SimpleNamespace(eos_token_id=1)
    line = refusal(lambda: (load(folder), stop_ids(folder, tokenizer)))
    assert line.startswith(f"{folder / name}: ")
    if kind == "10 GB" and name != "model.safetensors":
        assert f"{LARGEST:,} are allowed" in line


def header(file: bytes) -> tuple[dict, bytes]:
    end = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:end]), file[end:]


def with_header(text: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def changed(**changes):
    def change(file: bytes) -> bytes:
        tensors, data = header(file)
        tensors[NORM] |= changes
        return with_header(json.dumps(tensors).encode(), data)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: with_header(b"{}", size=10**12),
        lambda file: with_header(b"{}", size=2**64 - 1),
        lambda file: b"1234567",
        lambda file: bytes(1000),
        lambda file: with_header(b"null"),
        lambda file: with_header(b"\xff\xfe"),
        lambda file: with_header(b"[" * 10**5),
        lambda file: with_header(b'{"a":' * 10**5 + b"1" + b"}" * 10**5),
        lambda file: with_header(b"{}"),
        lambda file: file[:-1],
        lambda file: file[:500],
        lambda file: file + b"x",
        lambda file: with_header(
            json.dumps(header(file)[0]).replace(f'"{EMBEDDING}"', f'"{NORM}"').encode(),
            header(file)[1],
        ),
        changed(data_offsets=[0, 128]),
        changed(data_offsets=[10**12, 10**12 + 128]),
        changed(shape=[-32]),
        changed(shape=[2**62, 2**62]),
        changed(shape=[]),
        changed(shape=[0]),
        changed(dtype="F4"),
        changed(dtype="none"),
        changed(dtype="I32"),
        changed(dtype=None),
    ],
)
def test_a_damaged_file_of_weights_is_named(folder, damage):
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    assert refusal(lambda: load(folder)).startswith(str(folder))


def test_weights_for_which_there_is_no_memory_are_named(folder, monkeypatch):
    def none_left(*args, **kwargs):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20 GiB.\nSee the manual"
        )

    monkeypatch.setattr(torch.Tensor, "to", none_left)
    line = refusal(lambda: load(folder))
    assert "weight cannot be moved to cpu (CUDA out of memory." in line


# --------------------------------------------------------------------------- anything anywhere

EVIL = [None, True, -1, 0, 2, 0.5, 10**12, 10**400, 1e300, 1e-320, "", "x", "32", "\n", "\ud800",
        [], [1], [None], {}, {"a": 1}, {"rope_type": []}, "a" * 10**5, [7] * 1000]  # fmt: skip
ROPE = {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16}  # fmt: skip
EVERY_KEY = {
    **TINY, "head_dim": 8, "rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": False,
    "max_position_embeddings": 64, "rope_theta": 1e4, "rope_scaling": ROPE, "eos_token_id": 2,
    "use_sliding_window": False, "sliding_window": 4, "layer_types": ["full_attention"] * 2,
    "dtype": "float32",
}  # fmt: skip


def mutated(draw: random.Random, value: dict) -> object:
    """The same JSON object with something else in one or two places."""
    if not value or draw.random() < 0.02:
        return draw.choice(EVIL)
    value = dict(value)
    for _ in range(draw.choice([1, 1, 2])):
        key = draw.choice(list(value))
        inner = isinstance(value[key], dict) and draw.random() < 0.7
        value[key] = mutated(draw, value[key]) if inner else draw.choice(EVIL)
    return value


def test_anything_anywhere_in_a_folder_ends_in_one_line(folder):
    weights = folder / "model.safetensors"
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(weights), "a.safetensors")}
    weights.rename(folder / "a.safetensors")
    whole = {
        "config.json": EVERY_KEY,
        "generation_config.json": {"eos_token_id": [2, 3], "temperature": 0.5},
        "model.safetensors.index.json": index,
    }
    refused = 0
    for seed in range(150):
        draw = random.Random(seed)
        changed = draw.choice(["config.json", *whole])
        for name, value in whole.items():
            text = json.dumps(mutated(draw, value) if name == changed else value)
            (folder / name).write_text(text[: draw.choice([None, None, None, 9])])
        try:
            load(folder)(torch.arange(5)[None])
            stop_ids(folder, SimpleNamespace(eos_token_id=draw.choice([None, 1, 99])))
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            assert str(error).startswith(str(folder))
            refused += 1
    assert 30 < refused < 150


# --------------------------------------------------------------------------- where it is


@pytest.mark.parametrize(
    "name", ["x" * 300, "y/" * 4000, "a\0b", "caf\udce9", "a\nb", "./no", "", "no"]
)
def test_a_folder_that_is_not_there_is_sought_from_the_working_directory(
    tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    line = refusal(lambda: find_folder(name))
    assert f": no such model folder (looked for from {tmp_path}), nor a hub id" in line


@pytest.mark.parametrize("name", ["models/x", "owner/name", "a/b\0", "a/b\nc", "a/caf\udce9"])
def test_a_hub_id_that_cannot_be_had_is_also_sought_as_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = refusal(lambda: find_folder(name))
    assert f": no such model folder (looked for from {tmp_path}), and not to be had" in line


def test_a_folder_of_the_root_needs_no_other_place():
    line = refusal(lambda: find_folder("/no/such/folder"))
    assert line.startswith("/no/such/folder: no such model folder, nor")


@pytest.mark.parametrize("name", ["file", "link"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")
    assert "not a folder; give" in refusal(lambda: find_folder(tmp_path / name))


def test_a_folder_made_of_links_is_read(folder, tmp_path):
    """As the cache of the hub is, whose links point into another folder."""
    linked = tmp_path / "snapshots"
    linked.mkdir()
    for name in ("config.json", "model.safetensors"):
        (linked / name).symlink_to(folder / name)
    tokens = torch.arange(5)[None]
    assert torch.equal(load(linked)(tokens), load(folder)(tokens))


# --------------------------------------------------------------------------- written again


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("form", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("kind", ["default", "linear", "llama3"])
@torch.no_grad()
def test_a_saved_config_says_the_same_to_every_reader(tmp_path, family, form, kind):
    """transformers 4 knows the keys `rope_theta` and `rope_scaling` alone, and 5 reads them too."""
    rope = {"rope_type": kind, "rope_theta": 500.0}
    rope |= {"linear": {"factor": 3.0}, "llama3": ROPE, "default": {}}[kind]
    model = random_model(model_type=family, head_dim=8, attention_bias=None, **{form: rope})
    model.save(tmp_path)
    hf = json.loads((tmp_path / "config.json").read_text())
    assert hf["rope_theta"] == 500.0 and "rope_parameters" not in hf
    said = {key: value for key, value in rope.items() if key != "rope_theta"}
    assert hf.get("rope_scaling", {"rope_type": "default"}) == said
    assert hf["architectures"] == [f"{family.capitalize()}ForCausalLM"]  # what vLLM builds
    assert hf["dtype"] == "float32" and "torch_dtype" not in hf and None not in hf.values()
    names = load_file(tmp_path / "model.safetensors").keys()
    assert HEAD not in names and all(name.startswith("model.") for name in names)
    tokens = torch.arange(40)[None] % 23
    for reader in (load, AutoModelForCausalLM.from_pretrained):
        logits = reader(tmp_path)(tokens)
        logits = getattr(logits, "logits", logits)
        torch.testing.assert_close(logits, model(tokens), atol=1e-4, rtol=0)


def test_saving_never_writes_through_a_link(folder, tmp_path):
    """Else a model that is saved beside links into the hub's cache would change the cache."""
    linked = tmp_path / "linked"
    linked.mkdir()
    before = {}
    for name in ("config.json", "model.safetensors"):
        (linked / name).symlink_to(folder / name)
        before[name] = (folder / name).read_bytes()
    random_model(num_hidden_layers=1).save(linked)
    assert all((folder / name).read_bytes() == old for name, old in before.items())
    assert load(linked).config.n_layers == 1
    assert sorted(path.name for path in linked.iterdir()) == sorted(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_weights_may_be_read_by_whoever_may_read_the_config(tmp_path, umask):
    before = os.umask(umask)
    try:
        random_model().save(tmp_path)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


@pytest.mark.parametrize(("given", "read"), [(64, 64), (None, None), ("missing", None)])
def test_the_longest_text_is_told(given, read):
    changes = {} if given == "missing" else {"max_position_embeddings": given}
    assert random_model(**changes).config.max_positions == read
