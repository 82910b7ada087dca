"""The settings of a network: `config.json` of a Hugging Face folder, read with care.

What it teaches: how much one JSON file decides.  A key that is overlooked gives another network
with the same weights, whose logits are wrong and whose text is fluent.  So each key that changes
the network is either understood here or refused; a key that is missing has the value that the
configuration classes of transformers give it; and the limits are checked before anything is built.

Where it stands: below `model.py`, whose `ModelConfig` is filled from `read_settings`, and beside
`weights.py`, which reads and writes the files.

Try changing first: add `"mistral": ("MistralForCausalLM", 32768)` to `FAMILIES`.  A
Mistral model whose `sliding_window` is null is a Llama under another name: with random weights, all
logits were those of transformers to the last bit.  Where it is a number the logits of long texts
would be wrong, so let `_slides` say so.
"""

from collections.abc import Mapping
from typing import Any

import torch

from plumbing.command import UserError

# the class that transformers and vLLM build, and what it takes where the longest text is not given
FAMILIES = {
    "qwen2": ("Qwen2ForCausalLM", 32768),
    "qwen3": ("Qwen3ForCausalLM", 32768),
    "llama": ("LlamaForCausalLM", 2048),
}
ROPE_FACTORS = {  # what each kind of rotary scaling needs beside `rope_theta`
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    ),
}  # fmt: skip
MOST_LAYERS = 1_000  # the deepest model of these families has 126
LARGEST_SIZE = 2**24  # of a vocabulary, a hidden size, all heads together; 262,144 are in use
LARGEST_NUMBER = 1e18  # of an angle's base or a factor; what is computed from them fits float32
NULL_IS_MISSING = {  # transformers 4 took a null for a missing key, and 5 refuses it
    "attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window",
    "max_position_embeddings",
}  # fmt: skip
OTHER_NETWORKS = {  # keys that ask for another network, and why they are refused
    "auto_map": "names code, which is never run",
    "quantization_config": "asks for quantised weights; give the unquantised checkpoint",
    "per_layer_config": "gives layers settings of their own, which is not supported",
    "transformers_weights": "names another file of weights; rename it to model.safetensors",
}


def read_settings(hf: Mapping[str, Any], source: str = "config.json") -> dict[str, Any]:
    """Return the arguments of `model.ModelConfig` from a `config.json`, each of them checked.

    Configurations of transformers 4 and 5 are read.  Raises a `UserError` that begins with `source`
    and names the key where a value has no sense or asks for what the network does not compute.
    """

    def size(key: str, default: int | None = None, most: int = LARGEST_SIZE) -> int:
        return _size(hf, key, source, default, most)

    def switch(key: str) -> bool:
        """Return `hf[key]`, which is off where it is missing or null."""
        value = False if hf.get(key) is None else hf[key]
        if not isinstance(value, bool):
            raise UserError(f"{source}: '{key}' must be true or false, not {shown(value)}")
        return value

    family = _family(hf, source)
    n_layers = size("num_hidden_layers", most=MOST_LAYERS)
    _refuse_other_attention(hf, family, n_layers, source)
    hidden_size, n_heads = size("hidden_size"), size("num_attention_heads")
    # a null means as many as query heads; where the key is missing, Qwen's classes take 32
    missing = 32 if family != "llama" and "num_key_value_heads" not in hf else n_heads
    head_dim = size("head_dim", 128 if family == "qwen3" else hidden_size // n_heads)
    attention_bias = switch("attention_bias")
    settings = {
        "family": family,
        "vocab_size": size("vocab_size"),
        "hidden_size": hidden_size,
        "mlp_size": size("intermediate_size"),
        "n_layers": n_layers,
        "n_heads": n_heads,
        "n_kv_heads": size("num_key_value_heads", missing),
        "head_dim": head_dim,
        "max_positions": _max_positions(hf, source),
        "norm_eps": _number(hf, "rms_norm_eps", source, 1e-6),
        "rope": _read_rope(hf, family, source),
        "qkv_bias": family == "qwen2" or attention_bias,
        "out_bias": family != "qwen2" and attention_bias,
        "mlp_bias": family == "llama" and switch("mlp_bias"),
        "qk_norm": family == "qwen3",
        "tied": switch("tie_word_embeddings"),
    }
    _check_heads(settings, source)
    return settings


def _check_heads(settings: Mapping[str, Any], source: str) -> None:
    """Raise a `UserError` where the sizes do not fit each other."""
    H, K, D = settings["n_heads"], settings["n_kv_heads"], settings["head_dim"]
    if H % K or D % 2:
        raise UserError(
            f"{source}: {H} heads do not divide over {K} key/value heads, or head size {D} is odd"
        )
    if H * D > LARGEST_SIZE:
        raise UserError(
            f"{source}: 'num_attention_heads' times 'head_dim' is {H * D}, and at most "
            f"{LARGEST_SIZE} is read"
        )


def settings_to_write(hf: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return the `config.json` of a trained model whose weights have this type.

    What was read is written so that transformers 4 and 5 and vLLM read the same.  The rotary
    positions stand as in transformers 4, whose form 5 reads as well; 4 passes over the
    `rope_parameters` of 5 without a word, and would rotate by other angles.
    """
    settings = read_settings(hf)
    rope = dict(settings["rope"])
    rewritten = (
        "rope_parameters", "rope_scaling", "partial_rotary_factor", "torch_dtype",
    )  # fmt: skip
    written = {
        key: value
        for key, value in hf.items()
        if key not in rewritten and not (value is None and key in NULL_IS_MISSING)
    }
    written |= {
        "architectures": [FAMILIES[settings["family"]][0]],
        "num_key_value_heads": settings["n_kv_heads"],
        "head_dim": settings["head_dim"],
        "rms_norm_eps": float(settings["norm_eps"]),  # transformers 5 refuses a whole number
        "rope_theta": rope.pop("rope_theta"),
        "dtype": str(dtype).removeprefix("torch."),
    }
    if rope["rope_type"] != "default":
        written["rope_scaling"] = rope
    return written


def shown(value: object) -> str:
    """Return a value as messages show it: on one line and not too long, whatever a file held."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} ..."


# --------------------------------------------------------------------------- numbers


def _size(hf: Mapping[str, Any], key: str, source: str, default: int | None, most: int) -> int:
    """Return `hf[key]`, a whole number from 1 to `most`; without a default it must be there."""
    value = default if hf.get(key) is None else hf[key]
    # to Python True is an int, but it is no size
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise UserError(f"{source}: '{key}' must be a positive int, not {shown(value)}")
    if value > most:
        raise UserError(f"{source}: '{key}' is {shown(value)}, and at most {most} is read")
    return value


def _number(
    hf: Mapping[str, Any], key: str, source: str, default: float | None = None
) -> float | int:
    """Return `hf[key]`, a number above 0 and no null; without a default it must be there."""
    value = hf.get(key, default)
    try:
        usable = not isinstance(value, bool) and 1 / LARGEST_NUMBER <= value <= LARGEST_NUMBER
    except TypeError:  # no number
        usable = False
    if not usable:
        raise UserError(
            f"{source}: '{key}' must be a positive number, of at most {LARGEST_NUMBER:g} and at "
            f"least {1 / LARGEST_NUMBER:g}, not {shown(value)}"
        )
    return value


def _max_positions(hf: Mapping[str, Any], source: str) -> int | None:
    """Return the length of the longest text that the model was made for, None if it is not said."""
    key = "max_position_embeddings"
    return None if hf.get(key) is None else _size(hf, key, source, None, 2**63 - 1)


# --------------------------------------------------------------------------- other networks


def _family(hf: Mapping[str, Any], source: str) -> str:
    """Return the `model_type`; `UserError` if it, or another key, names what `model.py` is not."""
    for key, why in OTHER_NETWORKS.items():
        if hf.get(key) is not None:
            raise UserError(f"{source}: '{key}' {why}")
    family = hf.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{source}: model_type {shown(family)} is not supported ({known} are)")
    if hf.get("hidden_act", "silu") not in ("silu", "swish"):  # two names of one function
        raise UserError(f"{source}: hidden_act {shown(hf['hidden_act'])} is not supported")
    return family


def _refuse_other_attention(hf: Mapping[str, Any], family: str, n_layers: int, source: str) -> None:
    """Raise a `UserError` unless every token sees all tokens before it, in every layer."""
    if hf.get("is_causal", True) is not True:
        raise UserError(f"{source}: 'is_causal' is not true, and other attention is not supported")
    layers = hf.get("layer_types")
    if layers is None:
        key, slides = "use_sliding_window", _slides(hf, family, n_layers)
    elif not isinstance(layers, list) or len(layers) != n_layers:
        raise UserError(
            f"{source}: 'layer_types' must be a list of {n_layers} names, one per layer"
        )
    else:
        key, slides = "layer_types", any(layer != "full_attention" for layer in layers)
    if slides:
        raise UserError(
            f"{source}: '{key}' asks for sliding-window attention, which is not supported"
        )


def _slides(hf: Mapping[str, Any], family: str, n_layers: int) -> bool:
    """Return whether any layer sees a window only, in a config without `layer_types`."""
    if family == "llama" or not hf.get("use_sliding_window"):
        return False
    first = hf.get("max_window_layers", 28)  # the layers from this one on have a window
    full = isinstance(first, int) and first >= n_layers
    return not full and hf.get("sliding_window", 4096) is not None


# --------------------------------------------------------------------------- rotary positions


def _read_rope(hf: Mapping[str, Any], family: str, source: str) -> dict[str, Any]:
    """Return `rope_type`, `rope_theta` and the factors that the type needs."""
    # transformers 5 writes one dict, `rope_parameters`; 4 wrote `rope_theta` and `rope_scaling`
    said = [key for key in ("rope_parameters", "rope_scaling") if hf.get(key)]
    read = [_rope_of(hf, key, family, source) for key in said]
    if not said:
        return _rope_of(hf, None, family, source)
    theta = read[0]["rope_theta"]
    if any(rope != read[0] for rope in read) or hf.get("rope_theta") not in (None, theta):
        raise UserError(
            f"{source}: 'rope_parameters', 'rope_scaling' and 'rope_theta' say different things; "
            "keep those that the model was trained with"
        )
    return read[0]


def _rope_of(hf: Mapping[str, Any], key: str | None, family: str, source: str) -> dict[str, Any]:
    """Return what one of the two dicts says, completed from the keys beside it, and no more."""
    given = hf[key] if key else {}
    place = f"{source}: '{key}'" if key else source
    if not isinstance(given, dict) or any(isinstance(value, dict) for value in given.values()):
        raise UserError(f"{place} must be one object, for all layers, of names and numbers")
    kind = given.get("rope_type", given.get("type", "default"))
    if not isinstance(kind, str) or kind not in ROPE_FACTORS:
        raise UserError(f"{place}: rope_type {shown(kind)} is not supported")
    if any(each.get("partial_rotary_factor") not in (None, 1, 1.0) for each in (hf, given)):
        raise UserError(f"{place}: partial_rotary_factor is not supported")
    longest = "original_max_position_embeddings"
    outside = (hf.get(longest), hf.get("max_position_embeddings"), FAMILIES[family][1])
    defaults = {
        "rope_theta": hf.get("rope_theta", 10000.0),
        longest: next(number for number in outside if number is not None),
    }
    rope = {"rope_type": kind}
    for name in ("rope_theta", *ROPE_FACTORS[kind]):
        rope[name] = _number(given, name, place, defaults.get(name))
    if kind == "llama3":
        if hf.get(longest, rope[longest]) != rope[longest]:
            raise UserError(f"{place}: '{longest}' is another here than beside it")
        if rope["low_freq_factor"] >= rope["high_freq_factor"]:
            raise UserError(f"{place}: 'low_freq_factor' must be below 'high_freq_factor'")
    return rope
