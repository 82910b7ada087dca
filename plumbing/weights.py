"""Model folders of the Hugging Face form: what a folder says, read with care and written back.

What it teaches: how little a checkpoint is.  One JSON file says which network it is, and one file
of named tensors holds its weights:

    FOLDER/config.json                    sizes and switches of the network
           model.safetensors              the weights, by name; or, for a large model,
           model.safetensors.index.json   a table that says which file holds which weight, and
           model-00001-of-00002.safetensors, ...
           generation_config.json         may name the tokens that end a response

Nothing in a folder is ever run: pickled weights are not read, and a configuration that names code
is refused.  So is a tensor that is missing, unknown or of another shape, in one line that names the
file and the tensor.

Where it stands: below `model.py`, whose `load` and `Transformer.save` call it.  It knows names,
shapes and files; what `config.json` may say stands in `settings.py`, and what the network computes
in `model.py`.

Try changing first: let `read_tensors` skip the tensors that it does not know, as transformers does
after a warning.  A Llama checkpoint with biases whose `config.json` does not say so then loads
without them, and answers another text.
"""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from plumbing import disk
from plumbing.command import UserError, looked_for_from, one_line, why
from plumbing.json_files import read_json, regular
from plumbing.settings import settings_to_write, shown

if TYPE_CHECKING:
    from safetensors import PySafeSlice
    from transformers import PreTrainedTokenizerBase

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


# --------------------------------------------------------------------------- the folder


def find_folder(folder_or_hub_id: str | Path) -> Path:
    """Return the folder itself or, for `owner/name` on the Hugging Face hub, a downloaded copy.

    Raises `UserError` where there is no such folder and the hub does not give one, and for a folder
    of PEFT, which holds adapters and not what they belong to.
    """
    name = str(folder_or_hub_id)
    if os.path.isdir(name):  # unlike Path.is_dir it takes any name, even one that is too long
        return _no_adapter(Path(name))
    place = one_line(name)
    if os.path.lexists(name):
        raise UserError(f"{place}: not a folder; give the folder that holds config.json")
    where = looked_for_from(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        raise UserError(
            f"{place}: no such model folder{where}, nor a hub id of the form owner/name"
        )
    # they come with transformers, and are needed only here
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError, RuntimeError, HfHubHTTPError, HFValidationError) as error:
        reason = one_line(str(error).strip().split("\n")[0])
        raise UserError(
            f"{place}: no such model folder{where}, and not to be had from the Hugging Face hub "
            f"({reason}); without a network, give the folder of a downloaded copy"
        ) from error
    return _no_adapter(folder)


def _no_adapter(folder: Path) -> Path:
    """Return the folder of a whole model."""
    if os.path.lexists(folder / "adapter_config.json"):
        raise UserError(
            f"{folder}: holds an adapter; give the model that it was merged into (a run here "
            "writes it as RUN/model, and PEFT's merge_and_unload makes it)"
        )
    return folder


def write_folder(
    folder: Path, hf_config: Mapping[str, Any], dtype: torch.dtype, tensors: Mapping[str, Tensor]
) -> None:
    """Write `config.json` and `model.safetensors`, which transformers and vLLM load as they are."""
    settings = settings_to_write(hf_config, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    disk.write_text(folder / "config.json", json.dumps(settings, indent=2, allow_nan=False) + "\n")
    write_tensors(folder / "model.safetensors", tensors, like=folder / "config.json")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], like: Path) -> None:
    """Write a safetensors file that those may read who may read the file `like`."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # written aside, for where the name is a link what it points to would be overwritten
    aside = path.with_name(path.name + disk.UNFINISHED)
    disk.remove(aside)
    save_file(on_cpu, aside, metadata={"format": "pt"})
    # safetensors lets nobody but the owner read it, and another user's server may have to
    aside.chmod(stat.S_IMODE(like.stat().st_mode))
    aside.replace(path)


# --------------------------------------------------------------------------- stop tokens


def stop_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the token ids that end a response, as the checkpoint itself says.

    They are those of the generation config (of `config.json` where it names none) and the end of
    text of the tokenizer, if the model knows it.  A chat ends with one of them and a text with the
    other, and vLLM too stops at both.  Raises `UserError` where there is none.
    """
    size = read_json(folder / "config.json").get("vocab_size")
    size = size if isinstance(size, int) else 2**63
    ids = _eos_of(folder / "generation_config.json", size) or _eos_of(folder / "config.json", size)
    own = tokenizer.eos_token_id
    if own is not None and own not in ids and own < size:
        ids = [*ids, own]
    if not ids:
        raise UserError(f"{folder}: names no stop token; set rollout.stop_ids")
    return ids


def _eos_of(path: Path, vocab_size: int) -> list[int]:
    """Return the ids that a file gives as `eos_token_id`, none where the file is not there."""
    if not os.path.lexists(path):
        return []
    said = read_json(path).get("eos_token_id")
    ids = said if isinstance(said, list) else [] if said is None else [said]
    if any(not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < 2**63 for i in ids):
        raise UserError(
            f"{path}: 'eos_token_id' must be the number of a token, or a list of such numbers, "
            f"not {shown(said)}"
        )
    if any(i >= vocab_size for i in ids):
        raise UserError(
            f"{path}: 'eos_token_id' {shown(said)} is not in the vocabulary of {vocab_size} tokens"
        )
    return list(dict.fromkeys(ids))


# --------------------------------------------------------------------------- the weights


def read_tensors(
    folder: Path,
    shapes: Mapping[str, torch.Size],
    tied: bool,
    device: str | torch.device,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return the tensors of a folder's safetensors files, by name, on the device and in `dtype`.

    Every name of `shapes` must be there once with its shape, and no other name may be, but for two
    that some checkpoints have besides: the rotary table, and a head that is `tied` to the
    embedding, of which one stands for both.  Anything else raises a `UserError` that names file and
    tensor.
    """
    tensors: dict[str, Tensor] = {}
    known = {**shapes, HEAD: shapes[EMBEDDING]} if tied else shapes
    for path in _weight_files(folder):
        try:
            path.open("rb").close()  # says why a file cannot be opened, which the library does not
            with safe_open(path, framework="pt") as file:
                for saved in file.keys():  # noqa: SIM118 (safe_open is no dict)
                    if ".rotary_emb." in saved:
                        continue
                    # a network that was saved without its head has no "model." in its names
                    name = f"model.{saved}" if f"model.{saved}" in known else saved
                    if name in tensors:
                        raise UserError(f"{path}: {name} is there a second time")
                    _check_tensor(path, name, file.get_slice(saved), known)
                    tensors[name] = _moved(file.get_tensor(saved), f"{path}: {name}", device, dtype)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({why(error)})") from error
        except SafetensorError as error:
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
        raise UserError(f"{path}: unexpected tensor {one_line(name)}")
    shape, wanted = tensor.get_shape(), list(shapes[name])
    if shape != wanted:
        raise UserError(f"{path}: {name} has shape {shape}, not {wanted}")
    if tensor.get_dtype() not in ("F64", "F32", "F16", "BF16"):
        kind = tensor.get_dtype()
        raise UserError(f"{path}: {name} is quantised ({kind}); give the unquantised checkpoint")


def _moved(tensor: Tensor, name: str, device: str | torch.device, dtype: torch.dtype) -> Tensor:
    """Return a tensor on the device and in `dtype`, in which all its values must be finite."""
    try:
        tensor = tensor.to(device=device, dtype=dtype)
        finite = bool(tensor.isfinite().all())
    except RuntimeError as error:  # torch's word for memory that cannot be had
        reason = str(error).split("\n")[0]
        raise UserError(f"{name} cannot be moved to {device} ({reason})") from error
    if not finite:
        raise UserError(f"{name} holds values that are not finite")
    return tensor


def _weight_files(folder: Path) -> list[Path]:
    """Return the single file or, without one, the files that the index of shards names.

    Where both are there the index is a leftover: transformers too reads the single file.
    """
    single = folder / "model.safetensors"
    if os.path.lexists(single):
        return [regular(single)]
    index = folder / "model.safetensors.index.json"
    if not os.path.lexists(index):
        raise UserError(f"{folder}: no model.safetensors (pickled weights are not read)")
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: no 'weight_map'")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        plain = Path(name).name == name and name.isprintable() and len(name) < 256
        if not plain or not name.endswith(".safetensors"):
            raise UserError(
                f"{index}: {shown(name)} is not the name of a safetensors file beside it"
            )
        if not os.path.lexists(folder / name):
            raise UserError(f"{folder / name}: missing, though the index names it")
    return [regular(folder / name) for name in names]
