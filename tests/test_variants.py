"""Any folder of the three families is read as transformers reads it, or refused in one line."""

import json
import math
import random
import warnings
from pathlib import Path

import pytest
import torch
from conftest import NEEDS_TRANSFORMERS_5, TINY
from safetensors.torch import save_file
from test_model import EMBEDDING, HEAD, NORM
from transformers import AutoConfig, AutoModelForCausalLM, logging

from model import Transformer, load
from plumbing.command import UserError

logging.set_verbosity_error()
logging.disable_progress_bar()

# --------------------------------------------------------------------------- any config.json

MISSING = object()
USUAL = {  # of a tiny model; what is drawn besides is added to it
    "vocab_size": 23, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
    "num_attention_heads": 4,
}  # fmt: skip
FULL, SLIDING = "full_attention", "sliding_attention"


def draw_rope(draw: random.Random) -> dict:
    kind = draw.choice(["default", "default", "linear", "linear", "llama3", "llama3", "yarn",
                        "dynamic", "longrope", None, MISSING])  # fmt: skip
    other = draw.choice(["default", "linear"]) if draw.random() < 0.05 else kind
    names = draw.choice([("rope_type",), ("rope_type",), ("type",), ("rope_type", "type")])
    low, high = draw.choice([(1.0, 4.0), (1.0, 4.0), (1, 4), (0.5, 8), (4.0, 1.0), (2, 2)])
    rope = dict(zip(names, (kind, other), strict=False)) | {
        "rope_theta": draw.choice([*[MISSING] * 12, 500.0, 500, 10000, 50.0, None, 0]),
        "factor": draw.choice([2.0, 2.0, 4, 8.0, 3, 2.5, 0.5, None, MISSING]),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": draw.choice([8, 16, 16, 2048, MISSING, None]),
        "partial_rotary_factor": draw.choice([*[MISSING] * 9, None, 1.0, 0.5]),
    }
    if kind in ("default", "linear") and draw.random() < 0.8:
        rope = {k: v for k, v in rope.items() if "freq" not in k and "original" not in k}
    nested = draw.random() < 0.03
    rope = {key: value for key, value in rope.items() if value is not MISSING}
    return {FULL: rope} if nested else rope


def draw_config(draw: random.Random) -> dict:
    """A `config.json` of one of the families, most of whose keys are usual, missing or null."""
    flags = [True, False] * 6 + [None]
    kinds = [*[[FULL] * 2] * 6, [FULL, SLIDING], [FULL], [FULL] * 3, ["attention"] * 2, [], None]
    often = {  # left out half of the time
        "num_key_value_heads": [1, 2, 2, 4, 4, None, None, 3],
        "head_dim": [4, 8, 8, 6, 6, None, 5],
        "rms_norm_eps": [1e-6, *[1e-5] * 4, *[0.1] * 4, *[0.5] * 8, 1, None],
        "attention_bias": flags,
        "mlp_bias": flags,
        "tie_word_embeddings": flags,
        "max_position_embeddings": [*[16, 40, 128, 4096] * 4, None],
        "rope_theta": [*[10000, 10000.0, 500.0, 500, 50] * 3, None],
        "dtype": ["float32", "bfloat16", None],
        "torch_dtype": ["float32", "float16", None],
    }
    seldom = {
        "hidden_act": [*["silu", "swish"] * 3, "gelu", None],
        "use_sliding_window": [True, True, False, None],
        "sliding_window": [3, 3, 4096, None, 0],
        "max_window_layers": [0, 1, 2, 28, None],
        "layer_types": kinds,
        "partial_rotary_factor": [1, 1.0, None, 0.5],
        "original_max_position_embeddings": [8, 16, None],
        "is_causal": flags,
        "use_cache": [False],
        "attention_dropout": [0.5, 0.5, 0.5, None],
        "pretraining_tp": [2],
        "rope_interleaved": flags,
        "vocab_size": [*[23] * 6, 23.0, None],
        "num_attention_heads": [2, 2, 2, 32, None],
        "eos_token_id": [2, [2, 3], None],
    }
    hf = {"model_type": draw.choice(["qwen2", "qwen3", "llama"]), **USUAL}
    hf |= {key: draw.choice(values) for key, values in often.items() if draw.random() < 0.5}
    hf |= {key: draw.choice(values) for key, values in seldom.items() if draw.random() < 0.08}
    if hf.get("num_key_value_heads", MISSING) is MISSING and draw.random() < 0.9:
        hf["num_key_value_heads"] = 2
    for key in ("rope_scaling", "rope_parameters"):
        if draw.random() < 0.4:
            hf[key] = draw.choice([None, {}, *[draw_rope(draw) for _ in range(4)]])
    if draw.random() < 0.05 and hf.get("rope_scaling"):
        hf["rope_parameters"] = hf["rope_scaling"]
    return hf


def fill(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Give a model random weights, large enough that its distributions are far from flat."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.state_dict()


def as_the_types_ask(values: dict) -> dict:
    """The same keys for transformers, whose checks of types know neither null nor 1 for 1.0."""
    found = {k: as_the_types_ask(v) if isinstance(v, dict) else v for k, v in values.items()}
    if found.get("rms_norm_eps") is not None:
        found["rms_norm_eps"] = float(found["rms_norm_eps"])
    may_be_null = "num_key_value_heads"  # which then are as many as there are heads
    return {k: v for k, v in found.items() if v is not None or k == may_be_null}


@torch.no_grad()
def compare(folder: Path, hf: dict, seed: int = 0) -> str:
    """Say what comes of a `config.json` and the weights that transformers makes for it."""
    (folder / "config.json").write_text(json.dumps(hf))
    tokens = torch.randint(0, 23, (2, 30), generator=torch.Generator().manual_seed(seed))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = AutoConfig.from_pretrained(folder)
            weights = fill(AutoModelForCausalLM.from_config(config, dtype=torch.float32), seed)
            if config.tie_word_embeddings:
                weights.pop("lm_head.weight")
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            theirs = model(tokens).logits
    except Exception as error:  # whatever transformers raises, it is no model
        theirs = error
    try:
        if isinstance(theirs, Exception):
            ours = Transformer(hf, str(folder)).config
        else:
            ours = load(folder)(tokens)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith(str(folder)), error
        return "both refuse" if isinstance(theirs, Exception) else "ours refuses"
    if isinstance(theirs, Exception):
        usual = as_the_types_ask(hf)
        assert json.dumps(usual) != json.dumps(hf), f"only ours loads it: {theirs}"
        assert ours == Transformer(usual, str(folder)).config
        assert compare(folder, usual, seed) == "equal", theirs
        return "only ours loads it"
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0, equal_nan=False)
    return "equal"


@NEEDS_TRANSFORMERS_5
@pytest.mark.parametrize("first", (0, 40))
def test_any_config_is_read_as_transformers_reads_it_or_refused(tmp_path, first):
    outcomes = []
    for seed in range(first, first + 40):
        for old in tmp_path.iterdir():
            old.unlink()
        outcomes.append(compare(tmp_path, draw_config(random.Random(seed)), seed))
    assert outcomes.count("equal") >= 12, outcomes  # else little was compared


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
THETA = {"rope_type": "default", "rope_theta": 50.0}


CASES = [  # what comes of the keys for qwen2 and qwen3, and for llama
    ({"is_causal": False}, "ours refuses", "ours refuses"),
    ({"is_causal": None}, "ours refuses", "ours refuses"),
    (
        {"use_sliding_window": True, "sliding_window": 0, "max_window_layers": 0},
        "both refuse", "equal",  # llama knows no such keys
    ),
    (
        {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
        "ours refuses", "equal",
    ),
    ({"layer_types": [FULL, "attention"]}, "ours refuses", "ours refuses"),
    (
        {"layer_types": [FULL, FULL], "rope_parameters": {FULL: THETA}},
        "both refuse", "ours refuses",
    ),
    ({"rope_scaling": {FULL: THETA}}, "both refuse", "ours refuses"),
    ({"rope_parameters": THETA, "rope_theta": 1e4}, "ours refuses", "ours refuses"),
    ({"rope_parameters": THETA, "rope_theta": 50}, "equal", "equal"),
    ({"rope_parameters": THETA, "rope_theta": None}, "equal", "equal"),
    (
        {"rope_parameters": THETA, "rope_scaling": {"type": "linear", "factor": 2.0}},
        "ours refuses", "ours refuses",
    ),
    (
        {"rope_parameters": {"rope_theta": 50.0}, "rope_scaling": {"rope_type": "default"}},
        "ours refuses", "ours refuses",
    ),
    (
        {"rope_parameters": {"rope_type": "default", "type": "linear", "factor": 2.0}},
        "equal", "equal",
    ),
    ({"rope_scaling": {"type": "linear", "factor": 2}, "rope_theta": 50}, "equal", "equal"),
    ({"rope_scaling": LLAMA3}, "equal", "equal"),
    ({"rope_scaling": LLAMA3, "max_position_embeddings": 16}, "equal", "equal"),
    ({"rope_scaling": LLAMA3, "original_max_position_embeddings": 16}, "equal", "equal"),
    (
        {
            "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 8},
            "original_max_position_embeddings": 16,
        },
        "ours refuses", "ours refuses",
    ),
    (
        {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}, "max_position_embeddings": 16},
        "ours refuses", "ours refuses",
    ),
    ({"per_layer_config": {"1": {"num_key_value_heads": 4}}}, "both refuse", "both refuse"),
    ({"head_dim": 6, "num_key_value_heads": 1}, "equal", "equal"),
    ({"num_key_value_heads": None}, "equal", "equal"),
    ({"rms_norm_eps": 0.5}, "equal", "equal"),
    ({"rms_norm_eps": None}, "both refuse", "both refuse"),
    # a whole number, or null for a flag, has one meaning only, but a type that transformers refuses
    ({"rms_norm_eps": 1}, "only ours loads it", "only ours loads it"),
    ({"mlp_bias": None}, "equal", "only ours loads it"),
]  # fmt: skip


@NEEDS_TRANSFORMERS_5
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize(("changes", "of_qwen", "of_llama"), CASES, ids=[str(c) for c, *_ in CASES])
def test_no_key_of_a_config_is_overlooked(tmp_path, family, changes, of_qwen, of_llama):
    found = compare(tmp_path, {"model_type": family, **USUAL, "num_key_value_heads": 2, **changes})
    assert found == (of_llama if family == "llama" else of_qwen)


# --------------------------------------------------------------------------- any weights

Q = "model.layers.0.self_attn.q_proj"


def cast(kinds: list[torch.dtype], draw: random.Random, w: dict) -> None:
    w |= {name: tensor.to(draw.choice(kinds)) for name, tensor in w.items()}


def rename(w: dict, new_name) -> None:
    for name in list(w):
        w[new_name(name)] = w.pop(name)


FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
CHANGES = {  # to the tensors w of a file
    "nothing": lambda w, draw: None,
    "no prefix": lambda w, draw: rename(w, lambda n: n.removeprefix("model.")),
    "some prefixes": lambda w, draw: rename(
        w, lambda n: n.removeprefix("model.") if draw.random() < 0.3 else n
    ),
    "another prefix": lambda w, draw: rename(w, lambda n: f"base_model.{n}"),
    "the head too": lambda w, draw: w.update({HEAD: w[EMBEDDING].clone()}),
    "another head": lambda w, draw: w.update({HEAD: w[EMBEDDING] + 1}),
    "the head alone": lambda w, draw: w.update({HEAD: w.pop(EMBEDDING, torch.ones(23, 32))}),
    "no head": lambda w, draw: w.pop(HEAD, None),
    "rotary tables": lambda w, draw: w.update(
        {
            "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
            "model.layers.1.self_attn.rotary_emb.cos_cached": torch.ones(9, 8),
            "model.rotary_emb.inv_freq": torch.ones(4),
        }
    ),
    "an old mask": lambda w, draw: w.update(
        {"model.layers.0.self_attn.masked_bias": torch.tensor(-1e4)}
    ),
    "no bias": lambda w, draw: w.pop(f"{Q}.bias", None),
    "a bias": lambda w, draw: w.update({f"{Q}.bias": torch.ones(32)}),
    "a layer more": lambda w, draw: w.update(
        {"model.layers.2.mlp.up_proj.weight": torch.ones(48, 32)}
    ),
    "no norm": lambda w, draw: w.pop(NORM, None),
    "nothing in it": lambda w, draw: w.clear(),
    "mixed types": lambda w, draw: cast(FLOATS, draw, w),
    "integers": lambda w, draw: cast([*FLOATS, torch.int8], draw, w),
    "another shape": lambda w, draw: w.update({f"{Q}.weight": w[f"{Q}.weight"][:-1].clone()}),
    "not a number": lambda w, draw: w.update({NORM: torch.full((32,), math.nan)}),
    "too large a number": lambda w, draw: w.update(
        {NORM: torch.full((32,), 1e300, dtype=torch.float64)}
    ),
}

HARMLESS = (
    "nothing", "no prefix", "some prefixes", "mixed types", "rotary tables", "the head too",
    "the head alone",
)  # fmt: skip


def write_shards(folder: Path, weights: dict, draw: random.Random) -> None:
    """Write two files and their index, which now and then is wrong."""
    place = {name: f"model-{draw.choice('12')}.safetensors" for name in weights}
    fault = draw.choice(["none", "none", "twice", "unlisted", "swapped", "both"])
    for file in ("model-1.safetensors", "model-2.safetensors"):
        part = {name: w for name, w in weights.items() if place[name] == file}
        if fault == "twice" and NORM in weights:
            part[NORM] = weights[NORM] + len(part)
        save_file(part, folder / file, metadata={"format": "pt"})
    if fault == "unlisted":
        place.pop(draw.choice(list(place)), None)
    if fault == "swapped":
        place = dict(zip(place, reversed(place.values()), strict=True))
    if fault == "both":
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@torch.no_grad()
def compare_weights(folder: Path, changes: list[str], draw: random.Random, seed: int) -> str:
    """Say what comes of a model whose file of weights was changed."""
    hf = {**TINY, "model_type": draw.choice(["qwen2", "qwen3", "llama"]), "head_dim": 8}
    model = Transformer({**hf, "tie_word_embeddings": draw.random() < 0.6})
    weights = dict(fill(model, seed))
    last = ("no prefix", "some prefixes", "another prefix", "the head alone", "nothing in it")
    for change in sorted(changes, key=last.__contains__):
        CHANGES[change](weights, draw)
    model.save(folder)
    if weights and draw.random() < 0.4:
        (folder / "model.safetensors").unlink()
        write_shards(folder, weights, draw)
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    try:
        ours = load(folder)(tokens := torch.arange(20).view(2, 10))
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith(str(folder)), error
        return f"refused: {error}"
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(tokens).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    return "equal"


@NEEDS_TRANSFORMERS_5
@pytest.mark.parametrize("change", CHANGES)
def test_any_weights_are_read_as_transformers_reads_them_or_refused(tmp_path, change):
    outcomes = []
    for seed in range(3):
        draw = random.Random(f"{change} {seed}")
        changes = [change, *draw.sample(list(CHANGES), seed % 2)]
        outcomes.append(compare_weights(tmp_path / str(seed), changes, draw, seed))
    assert outcomes[0] == "equal" if change in HARMLESS else outcomes[0].startswith("refused")
