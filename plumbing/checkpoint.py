"""Checkpoints: a run that was killed at any moment goes on as if it had not been.

What it teaches: what "exactly" takes.  Besides the weights and the optimizer, the state of a run
is every random stream, what the selector remembers, every counter, and how long the record was.
A checkpoint takes the place of the one before in one step (`disk.py`), and that one is kept.

    RUN/checkpoint/    tensors.safetensors   weights, optimizer, the generator of the rollouts
                       state.json            everything else, in plain numbers and texts
                       SHA256SUMS            `sha256sum -c SHA256SUMS` checks it by hand
    RUN/previous/      the checkpoint before that one

Where it stands: below `run.py`, every `checkpoint_every` steps of the loop in `train.py`.  Nothing
in a checkpoint can run code: it is safetensors and JSON only.

Try changing first: in `Run.restore`, leave out the line that restores `candidate_stream`.  Of the
59 tests of `tests/test_resume.py` and `tests/test_parallel.py`, 27 then fail.
"""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plumbing import disk
from plumbing.command import UserError

LATEST, PREVIOUS, SET_ASIDE = "checkpoint", "previous", "checkpoint.set-aside"
FILES = ("tensors.safetensors", "state.json")
SUMS = "SHA256SUMS"
LARGEST_SUMS, LARGEST_STATE = 10_000, 10**9  # bytes; nothing larger is read


def save(run: Path, tensors: dict[str, Tensor], state: dict) -> None:
    """Write a checkpoint; `UserError` where the disk refuses, and then the last one stays whole."""

    def write(folder: Path) -> None:
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_cpu, folder / FILES[0])
        plain = json.dumps(state, default=lambda array: array.tolist())  # of numpy and torch
        (folder / FILES[1]).write_text(plain + "\n", encoding="utf-8")
        (folder / SUMS).write_text(sums(folder, FILES), encoding="utf-8")

    disk.replace_folder(run / LATEST, write, keep=run / PREVIOUS)


def sums(folder: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 of each named file as the program `sha256sum` prints it, one per line."""
    return "".join(f"{disk.sha256(folder / name)}  {name}\n" for name in names)


def exists(run: Path) -> bool:
    """Return whether there is a checkpoint, damaged or not."""
    return any((run / name).exists() for name in (LATEST, PREVIOUS))


def load(run: Path, which: str = LATEST) -> tuple[dict[str, Tensor], dict]:
    """Return tensors and state of the latest checkpoint, or of the "previous" one.

    `UserError` names the file that is missing, cut short or changed by as little as one bit.
    """
    folder = run / which
    if which == LATEST and not folder.exists() and (run / PREVIOUS).exists():
        folder = run / PREVIOUS  # killed between the two renames of `save`
    remedy = "" if folder.name == PREVIOUS else "; --resume previous goes on from the one before"
    for name in (SUMS, *FILES):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing{remedy}")
    for name, most in {SUMS: LARGEST_SUMS, FILES[1]: LARGEST_STATE}.items():
        if (folder / name).stat().st_size > most:
            raise UserError(f"{folder / name}: more than {most:,} bytes: damaged{remedy}")
    try:
        written = (folder / SUMS).read_bytes().decode("ascii", errors="replace").split("\n")
        now = sums(folder, FILES)
        for line, name in zip(now.split("\n"), FILES, strict=False):
            if line not in written:
                raise UserError(f"{folder / name}: not as {SUMS} says: damaged{remedy}")
        if "\n".join(written) != now:
            raise UserError(f"{folder / SUMS}: damaged{remedy}")
        state = json.loads((folder / FILES[1]).read_text(encoding="utf-8"))
        tensors = load_file(folder / FILES[0])
    except UserError:
        raise
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{folder}: cannot be read ({error}){remedy}") from error
    if not isinstance(state, dict):
        raise UserError(f"{folder / FILES[1]}: not a JSON object{remedy}")
    return tensors, state


@contextmanager
def refusing_foreign_state(run: Path) -> Iterator[None]:
    """Turn the errors of a checkpoint with right sums and foreign content into one `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise UserError(f"{run}: holds no checkpoint of this run ({e!r})") from e


def check_structure(found: object, fresh: object, place: str = "state") -> None:
    """Raise ValueError where a value is of another kind than that of a run which has just begun.

    A dictionary needs the keys of the fresh one; one that is empty there may hold anything.
    """
    if isinstance(fresh, dict):
        if not isinstance(found, dict):
            raise ValueError(f"{place} is no object")
        if fresh and found.keys() != fresh.keys():
            raise ValueError(f"{place} holds {list(found)}")
        for name, value in fresh.items():
            check_structure(found[name], value, f"{place}.{name}")
    elif isinstance(fresh, (int, float)):
        kinds = (int,) if isinstance(fresh, int) else (int, float)
        if type(found) not in kinds or not math.isfinite(found) or found < 0:
            raise ValueError(f"{place} is {found!r:.30}")
    elif isinstance(fresh, (str, list)) and not isinstance(found, type(fresh)):
        raise ValueError(f"{place} is no {type(fresh).__name__}")


def set_latest_aside(run: Path) -> None:
    """Keep the latest checkpoint apart when the one before is gone on from: it may be damaged."""
    if (run / LATEST).exists():
        disk.remove(run / SET_ASIDE)
        (run / LATEST).rename(run / SET_ASIDE)
