"""Commands: what a user can mend ends in one line on the terminal, and never in a traceback.

Where it stands: around the `main` of every command of the project.  Whatever reads the user's
input (a key, a file, a line of data, a checkpoint, an argument) raises `UserError`; `command`
turns it into that line and an exit code.  What the machine says (a full disk, no more memory,
Ctrl-C, a closed pipe) becomes such a line too, by `mendable`.  Any other exception is a mistake of
ours, and its traceback is shown.
"""

import argparse
import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import NoReturn, TextIO

LONGEST_LINE = 2000  # characters of a message; more are left out from its middle


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
    """Decorate a `main(argv)`: it returns an exit code, after one line for what a user can mend."""

    @wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _let_output_take_any_text()
        try:
            return _ended(main, argv)
        except Exception as error:
            found = mendable(error)
            if not found:
                raise
            rank = os.environ.get("RANK", "0")  # which process of torchrun's
            process = "" if rank == "0" else f" (process {rank})"
            line, code = f"error{process}: {found}" if str(found) else "", found.code
        except KeyboardInterrupt as error:  # its arguments say what to do next
            line, code = "; ".join(["interrupted", *map(str, error.args)]), 130
        with contextlib.suppress(OSError):
            print(one_line(line), end="\n" if line else "", file=sys.stderr, flush=True)
        _drop_output_that_cannot_be_written()
        return code

    return wrapped


def _ended(main: Callable[..., int | None], argv: Sequence[str] | None) -> int:
    """Return the exit code once all output is written; a full disk is noticed here, in time."""
    try:
        code = main(argv) or 0
    except SystemExit:  # of --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


# ------------------------------------------------------------------------- what the user can mend


def mendable(error: Exception) -> UserError | None:
    """Return what a user can mend as a `UserError`; None for a mistake of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, BrokenPipeError):  # `| head -1` has seen enough, and nobody is to mend it
        return UserError("", 128 + 13)  # what a shell reports of a program that SIGPIPE ended
    if isinstance(error, OSError):
        place = error.filename
        if place is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
            place = "the output"  # of writing, where the system does not say to what
        return UserError(f"{f'{os.fsdecode(place)}: ' if place else ''}{why(error)}")
    if _is_lack_of_memory(error):
        return UserError(
            f"not enough memory: {str(error) or 'none is left'}; lower the sizes that were asked "
            "for, such as rollout.group_size, rollout.max_new_tokens, --k or --batch",
            code=1,
        )
    if isinstance(error, FloatingPointError):
        why_not = "the model's weights are too large, or the temperature too low"
        return UserError(f"{error}: {why_not}", code=1)
    if isinstance(error, UnicodeEncodeError):
        return UserError(f"{error.object!r}: not a text that can be written ({error.reason})")
    if isinstance(error, ValueError) and str(error).startswith("embedded null"):
        return UserError("a path holds a NUL character; there is no such file")
    return None


def _is_lack_of_memory(error: Exception) -> bool:
    """Return whether Python, numpy or torch could not have the memory it wanted."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in said for each in words)
    )


def why(error: OSError) -> str:
    """Say what the system refused; of a relative path also from which folder it was looked for."""
    said = error.strerror or str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError) and error.filename:
        said += looked_for_from(error.filename)
    return said


def looked_for_from(path: str | bytes | Path) -> str:
    """Return " (looked for from FOLDER)" for a relative path, and nothing for an absolute one."""
    if os.path.isabs(path):
        return ""
    try:
        return f" (looked for from {Path.cwd()})"
    except OSError:
        return " (the folder that this was started in is gone)"


def one_line(text: str) -> str:
    """Return a message as one line of a terminal, whose colours it cannot change."""
    text = re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# ------------------------------------------------------------------------------------- the output


def _streams() -> list[TextIO]:
    return [sys.stdout, sys.stderr]


def _let_output_take_any_text() -> None:
    """Show a character that the terminal's encoding lacks as \\udcff; give a closed output a sink.

    A path of bytes that are not UTF-8 holds such characters.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as in `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the process ends)
    for stream in _streams():
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _drop_output_that_cannot_be_written() -> None:
    """Let what waits to be written go nowhere, or the interpreter would complain as it ends."""
    for stream in _streams():
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


# ---------------------------------------------------------------------------- types of arguments


def whole_number(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """An argparse type: whole numbers from `least` to `most`."""

    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            limit = "" if most == 2**63 - 1 else f" and <= {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number >= {least}{limit}")
        return int(text)

    return number


def json_object(text: str) -> dict:
    """An argparse type: an object, written as JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no object, such as {{"name": true}}')
    return value


def file_to_write(text: str) -> Path:
    """An argparse type: a file to write, in a folder that exists; returns its absolute path."""
    path = Path(text).absolute()
    if path.is_symlink():
        raise argparse.ArgumentTypeError(
            f"{text}: is a link, and links are not written through; name the file itself"
        )
    if (path.exists() and not path.is_file()) or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a file in a folder that exists")
    return path
