"""Checkpoints: a run that was killed at any moment goes on as if it had not been.

What it teaches: what "exactly" takes.  Besides the weights and the optimizer, the state of a run
is every random stream, what the selector remembers, every counter, and how long the record was.
And a file that is being written when the power fails is neither the old one nor the new one.  So a
checkpoint is written aside, forced to the disk and moved into place in one step, and the one before
it is kept.

    RUN/checkpoint/    tensors.safetensors   weights, optimizer, the generator of the rollouts
                       state.json            everything else, in plain numbers and texts
                       SHA256SUMS            `sha256sum -c SHA256SUMS` checks it by hand
    RUN/previous/      the checkpoint before that one

Where it stands: below `run.py`, every `checkpoint_every` steps of the loop in `train.py`.  Nothing
in a checkpoint can run code: it is safetensors and JSON only.

Try changing first: in `Run.restore`, leave out the line that restores `candidate_stream`.  Of the
61 tests of `tests/test_resume.py` and `tests/test_parallel.py`, 24 then fail.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plumbing.command import UserError
from plumbing.weights import sums

LATEST, PREVIOUS, SET_ASIDE = "checkpoint", "previous", "checkpoint.set-aside"
UNFINISHED = "checkpoint.unfinished"
FILES = ("tensors.safetensors", "state.json")
SUMS = "SHA256SUMS"


def save(run: Path, tensors: dict[str, Tensor], state: dict) -> None:
    """Write a checkpoint; `UserError` where the disk refuses, and then the last one stays whole."""
    new, latest, previous = (run / name for name in (UNFINISHED, LATEST, PREVIOUS))
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed while writing
        new.mkdir()
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_cpu, new / FILES[0])
        (new / FILES[1]).write_text(json.dumps(state) + "\n", encoding="utf-8")
        (new / SUMS).write_text(sums(new, FILES), encoding="utf-8")
        for path in (*new.iterdir(), new):
            _to_disk(path)
        if latest.exists():
            shutil.rmtree(previous, ignore_errors=True)
            latest.rename(previous)
        new.rename(latest)  # killed before this line, `load` finds the previous one
        _to_disk(run)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise UserError(f"{new}: cannot be written ({error})") from error


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
        return tensors, state
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error}){remedy}") from error


def set_latest_aside(run: Path) -> None:
    """Keep the latest checkpoint apart when the one before is gone on from: it may be damaged."""
    if (run / LATEST).exists():
        shutil.rmtree(run / SET_ASIDE, ignore_errors=True)
        (run / LATEST).rename(run / SET_ASIDE)


def _to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_process(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone, until it ends in whatever way."""
    with (run / "lock").open("w") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no such lock, so there is no protection there
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{run}: another process is training in this folder") from error
        yield


class Stop:
    """Turns Ctrl-C and SIGTERM into a wish: finish the step and save.  A second one ends at once.

    `asked` is the number of the signal, 0 for none.
    """

    def __enter__(self) -> "Stop":
        self.asked, self.before = 0, {}
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.ask)
        return self

    def ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number
        print("\nfinishing the step, then saving; again to leave at once", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, which then takes the place of the old one."""
    aside = folder.with_name(folder.name + ".unfinished")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        write(aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be written ({error})") from error


def write_text(path: Path, text: str) -> None:
    """Write a whole text file; a process that is killed meanwhile leaves the file as it was."""
    aside = path.with_name(path.name + ".unfinished")
    aside.write_text(text, encoding="utf-8")
    _to_disk(aside)
    aside.rename(path)
