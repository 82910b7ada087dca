"""JSON files, and others that people give: read with care, and refused in one line.

A name may lead to a pipe that never ends, to a device, or to a file that fills the memory; what is
in it may be anything.  Each of these is a `UserError` of one line that names the file.  Links are
followed, since a Hugging Face cache is made of them.

Where it stands: below whatever reads a configuration, a model folder, a tokenizer, problems, the
summary of a run, or JSON lines (`jsonl.py`).
"""

import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plumbing.command import UserError, why

LARGEST = 10_000_000  # bytes of a JSON file; the index of the largest models has 100,000


def regular(path: str | Path, most: int | None = None) -> Path:
    """Return the path of a regular file, or of a link to one, of at most `most` bytes."""
    try:
        about = os.stat(path)
    except OSError as error:
        lost = isinstance(error, FileNotFoundError) and os.path.islink(path)
        reason = "it is a link to a file that is not there" if lost else why(error)
        raise UserError(f"{path}: cannot be read ({reason})") from error
    if not stat.S_ISREG(about.st_mode):
        raise UserError(f"{path}: cannot be read (it is no file, but a folder, pipe or device)")
    if most is not None and about.st_size > most:
        raise UserError(f"{path}: has {about.st_size:,} bytes; {most:,} are allowed")
    return Path(path)


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """Return what is in a regular file of at most `most` bytes."""
    try:
        return regular(path, most).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({why(error)})") from error


def read_text(path: str | Path, most: int | None = None, encoding: str = "utf-8") -> str:
    """Return the text in a regular file of at most `most` bytes."""
    try:
        return read_bytes(path, most).decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read, as it is not UTF-8 ({error})") from error


def read_json(
    path: str | Path, most: int = LARGEST, **rules: Callable[..., object]
) -> dict[str, Any]:
    """Return the JSON object in a file, whose numbers are finite unless `rules` say otherwise.

    `rules` are those of `json.loads`.
    """
    content = read_bytes(path, most)
    try:
        return parse(content, **{"parse_constant": _finite, "parse_float": _finite, **rules})
    except ValueError as error:
        reason = f"cannot be read as JSON ({error})"
        raise UserError(f"{path}: {reason}; it must hold one JSON object") from error


def parse(content: bytes, **rules: Callable[..., object]) -> dict[str, Any]:
    """Return the JSON object that a file or a line holds; ValueError where it holds none."""
    try:
        value = json.loads(content.decode("utf-8"), **rules)
    except RecursionError as error:
        raise ValueError("brackets within brackets without end") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _finite(text: str) -> float:
    """Return a number of a JSON file; Python alone reads NaN, Infinity and 1e999 from one."""
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return float(text)
