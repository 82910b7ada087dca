"""Model folders of the Hugging Face form: what a folder says, read with care and written back.

What it teaches: how little a checkpoint is.  One JSON file says which network it is, and one file
of named tensors holds its weights:

    FOLDER/config.json                    sizes and switches of the network
           model.safetensors              the weights, by name; or, for a large model,
           model.safetensors.index.json   a table that says which file holds which weight, and
           model-00001-of-00002.safetensors, ...
           generation_config.json         may name the tokens that end a response

Nothing in a folder is ever run: pickled weights are not read, and a configuration that names code
is refused.  So is one that asks for what `model.py` does not compute, and a tensor that is missing,
unknown or of another shape: each in one line that names the file and the key or tensor.

Where it stands: below `model.py`, whose `load` and `Transformer.save` call it.  It knows names,
shapes and files; what the network computes stands in `model.py`.

Try changing first: add "mistral" to `FAMILIES`.  A Mistral model whose `sliding_window` is null is
a Llama under another name: with random weights, all logits were those of transformers to the last
bit.  Where it is a number the logits of long texts would be wrong, so refuse it in
`_refuse_other_networks`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from plumbing.command import UserError

if TYPE_CHECKING:
    from safetensors import PySafeSlice
    from transformers import PreTrainedTokenizerBase

FAMILIES = ("qwen2", "qwen3", "llama")
ROPE_FACTORS = {  # what each kind of rotary scaling needs beside `rope_theta`
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    ),
}  # fmt: skip


EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


# --------------------------------------------------------------------------- the folder


def find_folder(folder_or_hub_id: str | Path) -> Path:
    """Return the folder itself or, for `owner/name` on the Hugging Face hub, a downloaded copy.

    Raises `UserError` where there is no such folder and the hub does not give one.
    """
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(folder_or_hub_id)
    if name.count("/") != 1 or name.startswith((".", "/")) or name.endswith("/"):
        raise UserError(f"{name}: no such model folder (nor a hub id of the form owner/name)")
    from huggingface_hub import snapshot_download  # comes with transformers; needed only here
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError, RuntimeError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{name}: no such folder, and not to be had from the Hugging Face hub ({reason}); "
            "without a network, give the folder of a downloaded copy"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or raise a `UserError` that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def write_folder(
    folder: Path, hf_config: Mapping[str, Any], dtype: torch.dtype, tensors: Mapping[str, Tensor]
) -> None:
    """Write `config.json` and `model.safetensors`, which transformers loads as they are.

    `hf_config` is written with `dtype` as its type of weights, under the name of transformers 5.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hf = {key: value for key, value in hf_config.items() if key != "torch_dtype"}
    hf["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(hf, indent=2) + "\n")
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(on_cpu, folder / "model.safetensors", metadata={"format": "pt"})


# --------------------------------------------------------------------------- config.json


def read_settings(hf: dict[str, Any], source: str = "config.json") -> dict[str, Any]:
    """Return the arguments of `model.ModelConfig` from a `config.json`, each of them checked.

    Configurations of transformers 4 and 5 are read.  Raises a `UserError` that begins with `source`
    and names the key where a value has no sense or asks for what the network does not compute.
    """

    def positive(key: str, default: float | None = None, kind: type = int) -> float:
        """Return `hf[key]`, a number above 0; without a default it must be there."""
        value = default if hf.get(key) is None else hf[key]
        kinds = (int, float) if kind is float else int
        # to Python True is an int, but it is no size
        if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:
            raise UserError(f"{source}: '{key}' must be a positive {kind.__name__}, not {value!r}")
        return value

    def switch(key: str) -> bool:
        """Return `hf[key]`, which is off where it is missing."""
        value = False if hf.get(key) is None else hf[key]
        if not isinstance(value, bool):
            raise UserError(f"{source}: '{key}' must be true or false, not {value!r}")
        return value

    _refuse_other_networks(hf, source)
    family = hf["model_type"]
    hidden_size, n_heads = positive("hidden_size"), positive("num_attention_heads")
    attention_bias = switch("attention_bias")
    settings = {
        "family": family,
        "vocab_size": positive("vocab_size"),
        "hidden_size": hidden_size,
        "mlp_size": positive("intermediate_size"),
        "n_layers": positive("num_hidden_layers"),
        "n_heads": n_heads,
        "n_kv_heads": positive("num_key_value_heads", n_heads),
        "head_dim": positive("head_dim", 128 if family == "qwen3" else hidden_size // n_heads),
        "norm_eps": positive("rms_norm_eps", 1e-6, float),
        "rope": _read_rope(hf, source),
        "qkv_bias": family == "qwen2" or attention_bias,
        "out_bias": family != "qwen2" and attention_bias,
        "mlp_bias": family == "llama" and switch("mlp_bias"),
        "qk_norm": family == "qwen3",
        "tied": switch("tie_word_embeddings"),
    }
    if n_heads % settings["n_kv_heads"] or settings["head_dim"] % 2:
        raise UserError(
            f"{source}: {n_heads} heads do not divide over {settings['n_kv_heads']} key/value "
            f"heads, or head size {settings['head_dim']} is odd"
        )
    return settings


def _refuse_other_networks(hf: dict[str, Any], source: str) -> None:
    """Raise a `UserError` where `config.json` describes a network that `model.py` is not."""
    if "auto_map" in hf:
        raise UserError(f"{source}: 'auto_map' names code, which is never run")
    family = hf.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{source}: model_type {family!r} is not supported ({known} are)")
    if hf.get("hidden_act", "silu") not in ("silu", "swish"):  # two names of one function
        raise UserError(f"{source}: hidden_act {hf['hidden_act']!r} is not supported")
    if _slides(hf, family):
        raise UserError(f"{source}: sliding-window attention is not supported")


def _slides(hf: dict[str, Any], family: str) -> bool:
    """Whether any layer sees a window of the tokens only, as transformers would decide it."""
    if hf.get("layer_types"):
        return "sliding_attention" in hf["layer_types"]
    first = hf.get("max_window_layers", 28)  # the layers from this one on have a window
    window = family != "llama" and hf.get("use_sliding_window") and hf.get("sliding_window", 4096)
    layers = hf.get("num_hidden_layers")
    return bool(window) and not (
        isinstance(first, int) and isinstance(layers, int) and first >= layers
    )


def _read_rope(hf: dict[str, Any], source: str) -> dict[str, Any]:
    """Return `rope_type`, `rope_theta` and the factors that the type needs."""
    # transformers 5 writes one dict, `rope_parameters`; 4 wrote `rope_theta` and `rope_scaling`
    scaling = hf.get("rope_scaling")
    if hf.get("rope_parameters") and scaling and scaling != hf["rope_parameters"]:
        raise UserError(
            f"{source}: 'rope_parameters' and 'rope_scaling' say different things; keep the one "
            "that the model was trained with"
        )
    rope = dict(hf.get("rope_parameters") or hf.get("rope_scaling") or {})
    rope.setdefault("rope_theta", hf.get("rope_theta") or 10000.0)
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    if rope["rope_type"] not in ROPE_FACTORS:
        raise UserError(f"{source}: rope_type {rope['rope_type']!r} is not supported")
    partial = (each.get("partial_rotary_factor") for each in (hf, rope))
    if any(factor not in (None, 1, 1.0) for factor in partial):
        raise UserError(f"{source}: partial_rotary_factor is not supported")
    for key in ("rope_theta", *ROPE_FACTORS[rope["rope_type"]]):
        if not isinstance(rope.get(key), (int, float)) or rope[key] <= 0:
            raise UserError(f"{source}: rope '{key}' must be a positive number")
    return rope


def stop_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the token ids that end a response, as the checkpoint itself says.

    The first of three to name any decides: the generation config, `config.json`, the tokenizer.
    Raises `UserError` where none does.
    """
    for name in ("generation_config.json", "config.json"):
        if (folder / name).exists():
            ids = read_json(folder / name).get("eos_token_id")
            ids = [ids] if isinstance(ids, int) else ids
            if isinstance(ids, list) and ids and all(isinstance(i, int) for i in ids):
                return ids
    if tokenizer.eos_token_id is None:
        raise UserError(f"{folder}: names no stop token; set rollout.stop_ids")
    return [tokenizer.eos_token_id]


# --------------------------------------------------------------------------- the weights


def read_tensors(
    folder: Path,
    shapes: Mapping[str, torch.Size],
    tied: bool,
    device: str | torch.device,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return the tensors of a folder's safetensors files, by name, on the device and in `dtype`.

    Every name of `shapes` must be there with its shape, and no other name may be, but for two that
    some checkpoints have besides: the rotary table, and a head that is `tied` to the embedding, of
    which one stands for both.  Anything else raises a `UserError` that names file and tensor.
    """
    tensors: dict[str, Tensor] = {}
    known = {**shapes, HEAD: shapes[EMBEDDING]} if tied else shapes
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for saved in file.keys():  # noqa: SIM118 (safe_open is no dict)
                    if saved.endswith("rotary_emb.inv_freq"):
                        continue
                    # a network that was saved without its head has no "model." in its names
                    name = f"model.{saved}" if f"model.{saved}" in known else saved
                    _check_tensor(path, name, file.get_slice(saved), known)
                    tensor = file.get_tensor(saved)
                    if not tensor.isfinite().all():
                        raise UserError(f"{path}: {name} holds values that are not finite")
                    tensors[name] = tensor.to(device=device, dtype=dtype)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not a whole safetensors file ({error})") from error
    if tied:
        head = tensors.pop(HEAD, None)
        if head is not None and not torch.equal(head, tensors.setdefault(EMBEDDING, head)):
            raise UserError(
                f"{folder}: 'tie_word_embeddings' is true, but {HEAD} is not the embedding"
            )
    missing = sorted(shapes.keys() - tensors.keys())
    if missing:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{folder}: missing tensor {missing[0]}{rest}")
    return tensors


def _check_tensor(
    path: Path, name: str, tensor: "PySafeSlice", shapes: Mapping[str, torch.Size]
) -> None:
    """Raise a `UserError` unless a slice of a file is a weight of the model, unquantised."""
    if name not in shapes:
        raise UserError(f"{path}: unexpected tensor {name}")
    shape, wanted = tensor.get_shape(), list(shapes[name])
    if shape != wanted:
        raise UserError(f"{path}: {name} has shape {shape}, not {wanted}")
    if tensor.get_dtype() not in ("F64", "F32", "F16", "BF16"):
        kind = tensor.get_dtype()
        raise UserError(f"{path}: {name} is quantised ({kind}); give the unquantised checkpoint")


def _weight_files(folder: Path) -> list[Path]:
    """Return the single file or, without one, the files that the index of shards names.

    Where both are there the index is a leftover: transformers too reads the single file.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if not index.exists():
        raise UserError(f"{folder}: no model.safetensors (pickled weights are not read)")
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: no 'weight_map'")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{index}: {name!r} is not the name of a safetensors file beside it")
        if not (folder / name).exists():
            raise UserError(f"{folder / name}: missing, though the index names it")
    return [folder / name for name in names]


# --------------------------------------------------------------------------- the same model?


def digest(folder: Path) -> str:
    """Return the checksums of a folder's weights, so that another model is told from this one.

    A model that was trained further has other checksums; a copy of the folder has the same.
    """
    return sums(folder, sorted(path.name for path in folder.glob("*.safetensors")))


def sums(folder: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 of each named file as the program `sha256sum` prints it, one per line."""
    lines = []
    for name in names:
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)
