"""The disk: every file that has to survive is written here, whole, and never through a link.

What it teaches: a file that is being written when the power fails is neither the old one nor the
new one.  So the new one is written aside, forced to the disk, and moved into place in one step; and
what it replaces goes only when it is there.

Where it stands: below whatever writes (checkpoints, the record, the trained model, results), above
`system.py`, which knows how the operating systems differ.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from plumbing import system
from plumbing.command import UserError

UNFINISHED, OLD = ".unfinished", ".old"  # what the names of files and folders on the way end in


def write_text(path: Path, text: str) -> None:
    """Write a whole text file; a process that is killed meanwhile leaves the file as it was."""
    aside = path.with_name(path.name + UNFINISHED)
    remove(aside)
    with aside.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
    system.force_to_disk(aside)
    aside.replace(path)
    system.force_to_disk(path.parent)


def replace_folder(folder: Path, write: Callable[[Path], None], keep: Path | None = None) -> None:
    """Let `write` fill an empty folder, which then takes the place of the one before.

    That one is moved to `keep`, or removed at the end.  `UserError` where the disk refuses; then
    the one before is still whole, here or there.
    """
    aside = folder.with_name(folder.name + UNFINISHED)
    before = keep or folder.with_name(folder.name + OLD)
    try:
        remove(aside)  # of a process that was killed while writing
        aside.mkdir()
        write(aside)
        for path in (*aside.rglob("*"), aside):
            system.force_to_disk(path)
        if os.path.lexists(folder):
            remove(before)
            folder.rename(before)
        aside.rename(folder)  # killed before this line, the one before is under the other name
        system.force_to_disk(folder.parent)
        if not keep:
            remove(before)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written ({error})") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal number."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    """Whether an open file has its name: whoever held it before may have removed it meanwhile."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


@contextmanager
def appending(path: Path, why: str = "another process is writing it") -> Iterator[BinaryIO]:
    """Open a file to append to, for this process alone; `UserError` where another one has it."""
    with open_to_append(path) as file:
        try:
            if not system.hold(file) or not is_still(file, path):
                raise UserError(f"{path}: {why}")
        except OSError as error:
            print(
                f"warning: {path}: this file system cannot keep a second process out "
                f"({error.strerror})",
                file=sys.stderr,
            )
        yield file
