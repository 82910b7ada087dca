"""Files of JSON lines: a damaged line is named, and the end is mended after a writer was killed.

Where it stands: below whatever reads such a file back: `record.read_steps`, `evaluate.py`, and the
experiments.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from plumbing import disk
from plumbing.command import UserError, why
from plumbing.json_files import parse, read_bytes

MOST_BYTES = 4 * 10**9  # of a file; nothing larger is read


def read(path: Path, what: str, *, leave_unfinished: bool = False) -> list[dict]:
    """Return the object in each line; `UserError` names the file and the line that holds none.

    `what` completes the sentence "this line is not ...".  The beginning of an object in a last line
    without its line break is an error too, unless it is to be left out.
    """
    *lines, last = read_bytes(path, MOST_BYTES).split(b"\n")
    records = []
    for number, line in enumerate([*lines, last] if last else lines, start=1):
        try:
            records.append(parse(line))
        except ValueError as error:
            reason = str(error)
            if number > len(lines):
                reason = "it is not finished: its writer is at work, or was killed"
                if leave_unfinished and last.startswith(b"{"):
                    break
            remedy = "remove the line" if number > 1 else "name another file"
            raise UserError(f"{path}:{number}: not {what} ({reason}); {remedy}") from error
    return records


@contextmanager
def extending(path: Path, busy: str) -> Iterator[BinaryIO]:
    """Open a file to add lines to, for this process alone.

    `busy` is the message if another process holds it.  A file in which there is nothing afterwards
    is removed again.
    """
    try:
        with ExitStack() as afterwards, disk.appending(path, busy) as file:
            try:
                yield file
            finally:
                if not os.fstat(file.fileno()).st_size:
                    try:
                        path.unlink()  # while no other process can have begun to write it
                    except PermissionError:  # Windows removes no file that is open
                        afterwards.callback(path.unlink)
    except OSError as error:
        if error.filename is not None or isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"{path}: {why(error)}; the same command goes on", code=1) from error


def add(file: BinaryIO, *entries: dict) -> None:
    """Add lines, and leave none of them waiting in this process."""
    for entry in entries:
        file.write(json.dumps(entry).encode() + b"\n")
    file.flush()


def mend_end(path: Path, file: BinaryIO) -> None:
    """Bring a file that is open to append to back to whole lines, as a killed writer left it.

    A whole line without its line break gets one; the beginning of a line is cut off, with a note.
    `read` comes first: it refuses a file whose end is not the beginning of an object.
    """
    content = read_bytes(path)
    last = content[content.rfind(b"\n") + 1 :]
    if not last:
        return
    try:
        parse(last)
    except ValueError:
        print(f"note: {path}: cut off its last line, which was not finished", file=sys.stderr)
        file.truncate(len(content) - len(last))
    else:
        file.write(b"\n")
        file.flush()
