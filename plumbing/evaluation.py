"""The record of an evaluation: written line by line, and gone on with after an interruption.

Where it stands: below `evaluate.py`.  The first line holds the settings, and each other line one
problem with its responses.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from plumbing import jsonl
from plumbing.command import UserError
from plumbing.config import Config, build
from plumbing.json_files import read_json

WHAT = "the record of an evaluation"


def settings_of_run(folder: Path) -> dict:
    """Return what an evaluation takes from a run: model, held-out problems, prompt, limits.

    The names are those of the options of `evaluate.py`.
    """
    file = folder / "config.json"
    if not os.path.lexists(file):
        raise UserError(f"{file}: no such file; name the folder of a run, or a model with --model")
    try:
        cfg = build(Config, read_json(file))
    except UserError as error:
        whole = str(error).removeprefix(f"{file}: ")
        raise UserError(f"{file}: not of a run ({whole}); a model is named with --model") from error
    data, rollout = cfg.data, cfg.rollout
    return {
        "model": str(folder / "model"), "data": data.heldout, "n": data.heldout_size,
        "template": data.template, "system": data.system, "template_args": data.template_args,
        "prefill": data.prefill, "date": data.date, "stop": list(rollout.stop),
        "stop_ids": list(rollout.stop_ids), "max_new_tokens": rollout.max_new_tokens,
        "batch": cfg.eval_batch, "device": cfg.device, "precision": cfg.precision,
        "threads": cfg.threads, "seed": cfg.seed, "reward": cfg.reward,
    }  # fmt: skip


class EvaluationRecord:
    """A record that this process holds, with the `lines` of the problems so far."""

    def __init__(self, file: BinaryIO, settings: dict, lines: list[dict]) -> None:
        self.file, self.settings, self.lines = file, settings, lines

    def write(self, line: dict) -> None:
        """Add a problem's line, and the settings before the first."""
        empty = not os.fstat(self.file.fileno()).st_size
        jsonl.add(self.file, *([self.settings, line] if empty else [line]))
        self.lines.append(line)


def read_head(out: Path) -> dict:
    """Return the settings in the first line of a record; none where there is no record yet."""
    if not os.path.lexists(out):
        return {}
    return next(iter(jsonl.read(out, WHAT, leave_unfinished=True)), {})


@contextmanager
def open_record(out: Path, settings: dict, questions: list[dict]) -> Iterator[EvaluationRecord]:
    """Hold a record for this process alone, with what an interruption left in it.

    `questions` say of each problem what its line begins with.  A record in which nothing was
    written is removed again.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    busy = "another evaluation is writing it; name another file with --out"
    try:
        with jsonl.extending(out, busy) as file:
            lines = read_done(out, settings, questions)
            jsonl.mend_end(out, file)
            yield EvaluationRecord(file, settings, lines)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None


def read_done(out: Path, settings: dict, questions: list[dict]) -> list[dict]:
    """Return the records that an interrupted evaluation with the same settings left behind."""
    head, *records = jsonl.read(out, WHAT, leave_unfinished=True) or [settings]
    if not {"model", "k"} <= set(head):
        raise UserError(f"{out}:1: not {WHAT}; name another file with --out")
    if changed := differences(head, settings):
        raise UserError(
            f"{out}: holds an evaluation with other settings ({'; '.join(changed)}); give them "
            "again, or name another file with --out"
        )
    for number, record in enumerate(records, start=2):
        asked = questions[number - 2] if number - 2 < len(questions) else {}
        if not asked or {name: record.get(name) for name in asked} != asked:
            raise UserError(
                f"{out}:{number}: holds an evaluation of other problems or prompts; name another "
                "file with --out"
            )
        right, greedy = record.get("right"), record.get("greedy_right")
        if (
            not isinstance(right, list)
            or len(right) != settings["k"]
            or not all(
                isinstance(each, bool | float) and 0 <= each <= 1 for each in [greedy, *right]
            )
        ):
            raise UserError(f"{out}:{number}: not {WHAT}: it lacks verdicts; remove the line")
    return records


def differences(head: dict, settings: dict) -> list[str]:
    """Return what differs between two first lines of records: both values, or which files."""
    found = []
    for name in [name for name in {**head, **settings} if head.get(name) != settings.get(name)]:
        theirs, ours = head.get(name), settings.get(name)
        if name != "files":
            found.append(f"{name} {theirs!r}, not {ours!r}")
        elif isinstance(theirs, dict):
            changed = [each for each in {**theirs, **ours} if theirs.get(each) != ours.get(each)]
            found.append(f"changed since: {', '.join(changed)}")
        else:
            found.append("it does not say of which files")
    return found
