"""The disk: every file that has to survive is written here, whole, and never through a link.

What it teaches: a file that is being written when the power fails is neither the old one nor the
new one.  So the new one is written aside, forced to the disk, and moved into place in one step; and
what it replaces goes only when it is there.

Where it stands: below whatever writes (checkpoints, the record, the trained model, results), above
`system.py`, which knows how the operating systems differ.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from plumbing import system
from plumbing.command import UserError

UNFINISHED = ".unfinished"  # suffix of what is still being written
REPLACED = ".replaced"  # suffix of a folder that is just being replaced


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """Yield the name of a new file to write, which then takes the place of `path`, whole.

    A process that is killed meanwhile, or an error, leaves the file as it was.
    """
    aside = path.with_name(path.name + UNFINISHED)
    remove(aside)
    try:
        yield aside
    except BaseException:
        with suppress(OSError):
            remove(aside)
        raise
    system.force_to_disk(aside)
    aside.replace(path)
    system.force_to_disk(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with in_place_of(path) as aside, aside.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def replace_folder(folder: Path, write: Callable[[Path], None], keep: Path | None = None) -> None:
    """Let `write` fill an empty folder, which then takes the place of the one before.

    That one is moved to `keep`, or removed at the end.  `UserError` where the disk refuses; then
    the one before is whole.
    """
    aside = folder.with_name(folder.name + UNFINISHED)
    before = keep or folder.with_name(folder.name + REPLACED)
    moved = False
    try:
        remove(aside)  # of a process that was killed while writing
        aside.mkdir()
        write(aside)
        for path in (*aside.rglob("*"), aside):
            system.force_to_disk(path)
        if os.path.lexists(folder):
            remove(before)
            folder.rename(before)
            moved = True
        aside.rename(folder)  # killed before this line, the one before is under the other name
        system.force_to_disk(folder.parent)
        if not keep:
            remove(before)
    except (OSError, SafetensorError, UserError) as error:
        with suppress(OSError):
            remove(aside)
        if moved and not os.path.lexists(folder):
            with suppress(OSError):
                before.rename(folder)
        raise UserError(f"{folder}: cannot be written ({error})", code=1) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal number."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(value: object) -> str:
    """Return the SHA-256 of plain numbers and texts, written as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def refuse_name(path: Path) -> None:
    """Raise `UserError` for a path that is not UTF-8, where safetensors cannot write."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: its name is not UTF-8; name another with --out") from error


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_to_append(path: Path) -> BinaryIO:
    """Return a file opened to append to, made if need be; `UserError` for a link or a pipe."""
    refuse_link(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is no file that can be written; remove it")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def refuse_link(path: Path) -> None:
    """Raise `UserError` where a name stands for another file, which nobody may have meant."""
    if path.is_symlink():
        raise UserError(
            f"{path}: is a link to {path.readlink()}, and links are not written through; remove it"
        )


def is_still(file: BinaryIO, path: Path) -> bool:
    """Return whether a path still leads to this open file; its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def appending(path: Path, busy: str = "another process is writing it") -> Iterator[BinaryIO]:
    """Open a file to append to, for this process alone.

    `UserError` says that it is `busy` where another process has it.
    """
    with open_to_append(path) as file:
        try:
            held = system.hold(file)
        except OSError as error:
            held = True
            print(
                f"warning: {path}: this file system cannot keep a second process out "
                f"({error.strerror})",
                file=sys.stderr,
            )
        if not held or not is_still(file, path):
            raise UserError(f"{path}: {busy}")
        yield file
