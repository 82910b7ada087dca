"""The record of a run: what it cost, one line of JSON per step, and the progress bar.

Where it stands: the last stage of the loop in `train.py`.  `Costs` counts, `Record` writes, and
`read_steps` is how every other part of the project reads what was written.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from tqdm import tqdm

from data import Problem
from plumbing import parallel
from plumbing.command import UserError

METRICS, NONFINITE = "metrics.jsonl", "nonfinite.jsonl"
BAD_UPDATES = 5  # after so many in a row that were not finite, training stops


@dataclass
class Step:
    """What happened in one step of the loop, with one attempt per chosen problem."""

    number: int
    offer: dict  # what the selector thought of the candidates before it chose
    chosen: list[int]  # indices in the pool
    attempts: list  # a `policy.Attempt` for each
    informative: int  # how many of their groups have unequal rewards
    stats: dict  # of the update
    evaluation: dict = field(default_factory=dict)  # empty where none was due


class Costs:
    """What a run has spent: rollouts, tokens, updates, seconds."""

    KEPT = (
        "rollouts", "tokens", "updates", "informative_groups", "group_size", "seconds", "reported",
    )  # fmt: skip

    def __init__(self, updates_per_group: int) -> None:
        self.updates_per_group = updates_per_group
        self.rollouts = self.tokens = self.updates = self.informative_groups = self.group_size = 0
        self.seconds = {"rollout": 0.0, "update": 0.0, "evaluate": 0.0, "total": 0.0}
        self.reported = dict(self.seconds)  # what earlier lines of the record have reported
        self.since = time.perf_counter()  # when "total" was last brought up to date

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Add the time that is spent within to a part of `seconds`."""
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start

    def count(self, step: Step) -> None:
        """Add what a step cost; a group that taught nothing was paid for all the same."""
        self.group_size = len(step.attempts[0].rewards)
        self.rollouts += len(step.attempts) * self.group_size
        self.tokens += sum(int(attempt.group.lengths.sum()) for attempt in step.attempts)
        self.informative_groups += step.informative
        if step.informative and "skipped" not in step.stats:
            self.updates += self.updates_per_group

    def count_total(self) -> None:
        """Bring the total time up to date."""
        now = time.perf_counter()
        self.seconds["total"] += now - self.since
        self.since = now

    def since_last_line(self) -> dict[str, float]:
        """Return the seconds that were spent since this was last asked."""
        self.count_total()
        seconds = {part: self.seconds[part] - self.reported[part] for part in self.seconds}
        self.reported = dict(self.seconds)
        return seconds


class Record:
    """Writes a run's `metrics.jsonl`, moves its progress bar, and remembers its evaluations."""

    KEPT = ("before", "last", "good_enough", "evaluated_at", "bad_updates")

    def __init__(self, out: Path, pool: list[Problem], n_steps: int, stop_accuracy: float) -> None:
        self.out, self.pool, self.n_steps = out, pool, n_steps
        self.stop_accuracy = stop_accuracy
        self.before: dict = {}  # the evaluation before the first step
        self.last: dict = {}  # the latest evaluation
        self.good_enough = 0  # evaluations in a row that reached `stop_accuracy`
        self.evaluated_at = 0  # rollouts at the latest evaluation
        self.bad_updates = 0  # in a row
        self.writes = parallel.rank() == 0  # other processes count along, and write nothing
        self.bar = tqdm(disable=True)  # until `show`

    def __enter__(self) -> "Record":
        self.file = (self.out / METRICS).open("ab") if self.writes else TemporaryFile()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self.file.close()

    def show(self, step: int) -> None:
        """Begin the progress bar at a step."""
        self.bar = tqdm(
            total=self.n_steps, initial=step, desc="training", mininterval=0.2, dynamic_ncols=True,
            disable=not self.writes,
        )  # fmt: skip

    def position(self) -> int:
        """Return the length of the record in bytes, once all of it is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def cut_back(self, position: int) -> None:
        """Remove what was written after a checkpoint, so that no step is recorded twice."""
        if self.writes and self.file.tell() < position:
            raise UserError(f"{self.out / METRICS}: shorter than at the checkpoint")
        self.file.truncate(position)

    def evaluation_due(self, rollouts: int, every: int) -> bool:
        """Whether the rollouts have passed a multiple of `every` since the last evaluation.

        A step that passes several multiples at once is evaluated once.
        """
        due = rollouts // every > self.evaluated_at // every
        if due:
            self.evaluated_at = rollouts
        return due

    def may_end_early(self) -> bool:
        """Whether the run may end early: two evaluations in a row reached `stop_accuracy`."""
        return self.stop_accuracy > 0 and self.good_enough >= 2

    def write(self, step: Step, costs: Costs) -> None:
        """Write one line: what was on offer, what was chosen, what came of it, what it cost."""
        entry = {
            "step": step.number, **step.offer, "chosen": step.chosen,
            "kind": [self.pool[i].kind for i in step.chosen],
            "rewards": [attempt.rewards for attempt in step.attempts],
            "solved": [attempt.solved for attempt in step.attempts],
            "rollouts": costs.rollouts, "tokens": costs.tokens, "updates": costs.updates,
            "informative_groups": costs.informative_groups,
            "entropy": float(np.mean([a.group.entropy() for a in step.attempts])), **step.stats,
            **step.evaluation, "seconds": costs.since_last_line(),
        }  # fmt: skip
        self.file.write(_line(entry))
        self.file.flush()
        if step.evaluation:
            self.last = step.evaluation
            enough = step.evaluation["accuracy"] >= self.stop_accuracy
            self.good_enough = self.good_enough + 1 if enough else 0
        problem, solved = self.pool[step.chosen[0]].text, step.attempts[0].solved
        self.bar.set_postfix_str(
            f"accuracy {self.last['accuracy']:.1%}, {costs.rollouts} rollouts, "
            f"{problem[:24]!r} {sum(solved):.0f}/{len(solved)} right",
            refresh=False,
        )
        self.bar.update()
        if step.informative:
            self.bad_updates = self.bad_updates + 1 if "skipped" in step.stats else 0
        if "skipped" in step.stats:
            self._keep_bad_groups(step)

    def _keep_bad_groups(self, step: Step) -> None:
        """Write the groups of a skipped update to a file of their own; after five, end the run."""
        file = self.out / NONFINITE
        if self.writes:
            with file.open("ab") as opened:
                for i, attempt in zip(step.chosen, step.attempts, strict=True):
                    entry = {
                        "step": step.number, "problem": self.pool[i].text,
                        "responses": attempt.texts, "rewards": attempt.rewards, **step.stats,
                    }  # fmt: skip
                    opened.write(_line(entry))
        if self.bad_updates >= BAD_UPDATES:
            raise UserError(
                f"{BAD_UPDATES} updates in a row were not finite and were skipped; look at the "
                f"groups in {file} or lower update.lr; the last checkpoint is whole",
                code=1,
            )


def _line(entry: dict) -> bytes:
    """Return one line of JSON; numbers of numpy and torch become plain ones."""
    return (json.dumps(entry, default=lambda number: number.item()) + "\n").encode()


def read_steps(run: str | Path) -> list[dict]:
    """Return every line of a run's `metrics.jsonl`, as `Record.write` wrote it.

    `UserError` names the file, and the line that is not such a line.
    """
    file = Path(run) / METRICS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); name the folder of a run") from error
    steps = []
    for number, line in enumerate(lines, start=1):
        try:
            step = json.loads(line)
            lists = [step[name] for name in ("chosen", "kind", "rewards", "solved")]
            if not lists[0] or not all(len(each) == len(lists[0]) for each in lists):
                raise ValueError("its lists have different lengths, or are empty")
            for rewards, solved in zip(step["rewards"], step["solved"], strict=True):
                if not rewards or len(rewards) != len(solved) or not {0, 1}.issuperset(solved):
                    raise ValueError("a group without rewards, or without verdicts of 0 and 1")
            int(step["step"]), int(step["rollouts"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}:{number}: not a line of a training run ({error!r})") from error
        steps.append(step)
    if not steps:
        raise UserError(f"{file}: holds no step yet")
    return steps
