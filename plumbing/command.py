"""Commands: what a user can mend ends in one line on the terminal, and never in a traceback.

Where it stands: around the `main` of every command of the project.  Whatever reads the user's
input (a key, a file, a line of data, a checkpoint, an argument) raises `UserError`; `command`
turns it into that line and an exit code.  Any other exception is a mistake of ours, and its
traceback is shown.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import NoReturn


class UserError(ValueError):
    """Something that the user can mend; the message names the file or key, the place, the remedy.

    `code` is the exit code: 2 for bad input, 1 where a run began well and cannot go on.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """argparse that raises `UserError` where the original prints its usage above the error."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorate a `main(argv)`: it returns an exit code, after one line for a `UserError`."""

    @wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv) or 0
        except UserError as error:
            rank = os.environ.get("RANK", "0")  # which process of torchrun's
            process = "" if rank == "0" else f" (process {rank})"
            print(f"error{process}: {error}", file=sys.stderr)
            return error.code
        except OSError as error:  # a full disk, a folder without permission
            place = f"{error.filename}: " if error.filename else ""
            print(f"error: {place}{error.strerror or error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return wrapped


def whole_number(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers that are no smaller than `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number >= {least}")
        return int(text)

    return number


def file_to_write(text: str) -> Path:
    """An argparse type: a file to write, in a folder that exists; returns its absolute path."""
    path = Path(text).resolve()
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a file in a folder that exists")
    return path
