"""The record of a run: what it cost, what was said and paid, and the progress bar.

Where it stands: the last stage of the loop in `train.py`.  `Costs` counts, `Record` writes one line
per step to `metrics.jsonl` and one line per response to `responses.jsonl`, `Watch` warns of what a
curve does not show, and `read_steps` is how the rest of the project reads the metrics.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data import Problem
from plumbing import disk, jsonl, parallel, system
from plumbing.command import UserError
from plumbing.config import Config
from plumbing.live import Live
from plumbing.tensorboard import Events
from plumbing.watch import Watch
from rollout import Group

METRICS, RESPONSES, NONFINITE = "metrics.jsonl", "responses.jsonl", "nonfinite.jsonl"
GROWING = (METRICS, RESPONSES, NONFINITE)  # the files that a run appends to
EXAMPLE = ("step", "problem", "gold", "text", "answer", "reward")  # what is said of a response
BAD_UPDATES = 5  # after so many in a row that were not finite, training stops


@dataclass
class Attempt:
    """What became of G tries at one problem; the lists are (G,)."""

    group: Group  # the tokens
    texts: list[str]  # what the verifier reads
    answers: list[str | None]  # what it takes for the answer
    solved: list[float]  # the verdicts, 1.0 for right, 0.0 for wrong, or a share between them
    rewards: list[float]  # what the advantages are made of

    def entropy(self, whose: str) -> float | None:
        """Return the entropy that gates the selector's bonus; None where `whose` is "none".

        "policy": the mean of -log p over the sampled tokens, in nats per token.  "answers": the
        entropy of the distribution of the group's final answers, in nats per response.
        """
        if whose == "policy":
            return self.group.entropy()
        if whose == "none":
            return None
        answers = [str(answer) for answer in self.answers]
        share = np.unique(answers, return_counts=True)[1] / len(answers)
        return float(-(share * np.log(share)).sum())


@dataclass
class Step:
    """What happened in one step of the loop, with one attempt per chosen problem."""

    number: int
    offer: dict  # what the selector thought of the candidates before it chose
    chosen: list[int]  # indices in the pool
    attempts: list[Attempt]  # one for each
    informative: int  # how many of their groups have unequal rewards
    stats: dict  # of the update
    evaluation: dict = field(default_factory=dict)  # empty where none was due

    @property
    def moved(self) -> bool:
        """Whether the weights have changed."""
        return self.has_update and "skipped" not in self.stats

    @property
    def has_update(self) -> bool:
        """Whether any group was learned from; with a KL penalty a group of equal rewards is too."""
        return "grad_norm" in self.stats


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
        if step.moved:
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


class Lines:
    """A file of JSON lines that only grows, and that is cut back to a checkpoint on resume.

    It is made when the first line is written, and only the first process writes to it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, None

    def write(self, entries: list[dict]) -> None:
        """Add one line per entry; numbers of numpy and torch become plain ones."""
        if parallel.rank() > 0:
            return
        self.file = self.file or disk.open_to_append(self.path)
        for entry in entries:
            line = json.dumps(entry, default=lambda array: array.tolist())
            self.file.write(line.encode() + b"\n")
        self.file.flush()

    def length(self) -> int:
        """Return the length in bytes, once all of it is on the disk."""
        if self.file:
            system.force_descriptor(self.file.fileno())
        return self.path.stat().st_size if self.path.exists() else 0

    def n_lines(self, length: int) -> int:
        """Return how many lines there are in so many bytes."""
        return self.path.read_bytes()[:length].count(b"\n") if self.path.exists() else 0

    def cut_back(self, length: int) -> None:
        """Remove what was written after a checkpoint, so that nothing stands there twice."""
        if parallel.rank() == 0 and self.path.exists():
            with disk.open_to_append(self.path) as file:
                file.truncate(length)

    def close(self) -> None:
        """Let go of the file."""
        if self.file:
            self.file.close()


def refuse_links(out: Path) -> None:
    """Raise `UserError` where a file of the record is a link, or any file of a run a folder."""
    for name in GROWING:
        disk.refuse_link(out / name)
    for name in (*GROWING, "config.json", "summary.json", "curve.png", "report.html"):
        if (out / name).is_dir() and not (out / name).is_symlink():
            raise UserError(f"{out / name}: is a folder where a file is written; remove it")


class Record(AbstractContextManager):
    """Writes a run's files, moves its progress bar, and remembers its evaluations."""

    KEPT = ("before", "last", "good_enough", "evaluated_at", "bad_updates", "examples")

    def __init__(self, cfg: Config, out: Path, pool: list[Problem], n_steps: int) -> None:
        self.cfg, self.out, self.pool, self.n_steps = cfg, out, pool, n_steps
        self.before: dict = {}  # the evaluation before the first step
        self.last: dict = {}  # the latest evaluation
        self.good_enough = 0  # evaluations in a row that reached `stop_accuracy`
        self.evaluated_at = 0  # rollouts at the latest evaluation
        self.bad_updates = 0  # in a row
        self.examples: dict[str, dict] = {}  # the latest response that was paid, and that was not
        self.watch = Watch()
        self.files = {name: Lines(out / name) for name in GROWING}
        self.events = Events(out, on=cfg.log == "tensorboard")
        self.bar = tqdm(disable=True)  # until `show`
        self.live: Live | None = None  # only with `train.py --report`

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        for file in (*self.files.values(), self.events):
            file.close()

    def refuse_lines(self) -> None:
        """Raise `UserError` where there are lines: they came after a checkpoint, which is lost."""
        if parallel.rank() == 0 and any(file.length() for file in self.files.values()):
            raise UserError(
                f"{self.out}: holds the record of a run and no checkpoint to go on from; name "
                "another folder with --out"
            )

    def cut_back(self, lengths: dict[str, int]) -> None:
        """Remove from each file what was written after a checkpoint, if the run goes on from it."""
        for name, length in lengths.items():
            self.files[name].cut_back(length)

    def lengths_to_restore(self, saved: dict[str, int], step: int) -> dict[str, int]:
        """Return how long each file is to be; `UserError` where one is shorter already.

        Without `responses.jsonl` a run can go on, and begins another.
        """
        lengths = dict(saved)
        for name, file in self.files.items() if parallel.rank() == 0 else ():
            if name == RESPONSES and lengths[name] and not file.path.exists():
                print(f"warning: {file.path} is gone; it begins anew", file=sys.stderr)
                lengths[name] = 0
            if type(lengths[name]) is not int or lengths[name] < 0:
                raise ValueError(f"files.{name} is {lengths[name]!r:.30}")
            if file.length() < lengths[name]:
                raise UserError(f"{file.path}: shorter than at the checkpoint")
        if parallel.rank() == 0 and self.files[METRICS].n_lines(lengths[METRICS]) != step:
            raise UserError(f"{self.files[METRICS].path}: not the record of {step} steps")
        return lengths

    def show(self, step: int) -> None:
        """Begin the progress bar at a step, and the curves of TensorBoard."""
        self.events.begin(step, self.before)
        self.bar = tqdm(
            total=self.n_steps, initial=step, desc="training", mininterval=0.2, dynamic_ncols=True,
            disable=parallel.rank() > 0,
        )  # fmt: skip

    def evaluation_due(self, rollouts: int) -> bool:
        """Return whether rollouts have passed a multiple of `eval_every` since the last evaluation.

        A step that passes several multiples at once is evaluated once.
        """
        every = self.cfg.eval_every
        due = rollouts // every > self.evaluated_at // every
        if due:
            self.evaluated_at = rollouts
        return due

    def may_end_early(self) -> bool:
        """Return whether the run may end: two evaluations in a row reached `stop_accuracy`."""
        return self.cfg.stop_accuracy > 0 and self.good_enough >= 2

    def write(self, step: Step, costs: Costs) -> None:
        """Write what was on offer, what was chosen, what came of it, and what it cost."""
        groups = [attempt.group for attempt in step.attempts]
        entry = {
            "step": step.number, **step.offer, "chosen": step.chosen,
            "kind": [self.pool[i].kind for i in step.chosen],
            "rewards": [attempt.rewards for attempt in step.attempts],
            "solved": [attempt.solved for attempt in step.attempts],
            "rollouts": costs.rollouts, "tokens": costs.tokens, "updates": costs.updates,
            "informative_groups": costs.informative_groups,
            "entropy": float(np.mean([group.entropy() for group in groups])),
            "mean_length": float(np.mean([group.lengths.tolist() for group in groups])),
            "cut_off": 1 - float(np.mean([group.finished.tolist() for group in groups])),
            **step.stats, **step.evaluation, "seconds": costs.since_last_line(),
        }  # fmt: skip
        self.files[METRICS].write([entry])
        self.events.write(entry)
        for i, attempt in zip(step.chosen, step.attempts, strict=True):
            self.write_responses(step, self.pool[i], attempt)
        if step.evaluation:
            self.last = step.evaluation
            enough = step.evaluation["accuracy"] >= self.cfg.stop_accuracy
            self.good_enough = self.good_enough + 1 if enough else 0
        self.move_bar(step, costs)
        if step.has_update:
            self.bad_updates = self.bad_updates + 1 if "skipped" in step.stats else 0
        if "skipped" in step.stats:
            self.keep_bad_groups(step)

    def write_responses(self, step: Step, problem: Problem, attempt: Attempt) -> None:
        """Write one line per response, keep one of each kind for the summary, and watch."""
        group = attempt.group
        entries = [
            {
                "step": step.number, "problem": problem.text, "gold": problem.answer, "text": text,
                "answer": answer, "solved": solved, "reward": reward, "tokens": tokens,
                "cut_off": not finished,
            }
            for text, answer, solved, reward, tokens, finished in zip(
                attempt.texts, attempt.answers, attempt.solved, attempt.rewards,
                group.lengths.tolist(), group.finished.tolist(), strict=True,
            )
        ]  # fmt: skip
        if self.live and self.cfg.responses:
            self.live.add_tokens(entries, group, step.moved)
        if self.cfg.responses:
            self.files[RESPONSES].write(entries)
        for entry in entries:
            shown = {name: entry[name] for name in EXAMPLE}
            self.examples["paid" if entry["reward"] > 0 else "not paid"] = shown
        cut_off = not bool(group.finished.any())
        new = self.watch.see(step.number, problem.text, attempt.solved, attempt.rewards, cut_off)
        for warning in new if parallel.rank() == 0 else ():
            self.bar.write(f"warning, step {step.number}: {warning}", file=sys.stderr)

    def move_bar(self, step: Step, costs: Costs) -> None:
        """Show accuracy, rollouts and the chosen problem; "!" where there has been a warning."""
        problem, solved = self.pool[step.chosen[0]].text, step.attempts[0].solved
        right = round(sum(solved), 1)  # shares of a success add up to no whole number
        self.bar.set_postfix_str(
            f"{'! ' if self.watch.warnings else ''}accuracy {self.last['accuracy']:.1%}, "
            f"{costs.rollouts} rollouts, {problem[:24]!r} {right:g}/{len(solved)} right",
            refresh=False,
        )
        self.bar.update()

    def keep_bad_groups(self, step: Step) -> None:
        """Write the groups of a skipped update to a file of their own; after five, end the run."""
        self.files[NONFINITE].write([
            {
                "step": step.number, "problem": self.pool[i].text, "responses": attempt.texts,
                "rewards": attempt.rewards, **step.stats,
            }
            for i, attempt in zip(step.chosen, step.attempts, strict=True)
        ])  # fmt: skip
        if self.bad_updates >= BAD_UPDATES:
            raise UserError(
                f"{BAD_UPDATES} updates in a row were not finite and were skipped; look at the "
                f"groups in {self.files[NONFINITE].path} or lower update.lr; the last checkpoint "
                "is whole",
                code=1,
            )


def read_steps(run: str | Path, *, leave_unfinished: bool = False) -> list[dict]:
    """Return every line of a run's `metrics.jsonl`, as `Record.write` wrote it.

    `UserError` names the file, and the line that is not such a line.  The last line of a run that
    is at work may be unfinished, and can be left out.
    """
    file, what = Path(run) / METRICS, "a line of a training run"
    steps = jsonl.read(file, what, leave_unfinished=leave_unfinished)
    for number, step in enumerate(steps, start=1):
        try:
            _check_step(step)
        except KeyError as error:
            raise UserError(f"{file}:{number}: not {what}: it lacks {error}") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}:{number}: not {what} ({error})") from error
    if not steps:
        raise UserError(f"{file}: holds no step yet")
    return steps


def _check_step(step: dict) -> None:
    """Raise ValueError, TypeError or KeyError where a line does not say what a step did."""
    lists = [step[name] for name in ("chosen", "kind", "rewards", "solved")]
    if not all(isinstance(each, list) and 0 < len(each) == len(lists[0]) for each in lists):
        raise ValueError("its lists have different lengths, or are empty or none")
    for problem, kind, rewards, solved in zip(*lists, strict=True):
        if type(problem) is not int or not isinstance(kind, str):
            raise ValueError("a problem that is no index, or a kind that is no text")
        if not rewards or len(rewards) != len(solved) or not all(0 <= s <= 1 for s in solved):
            raise ValueError("a group without rewards, or without verdicts from 0 to 1")
        if not all(is_finite_number(reward) for reward in rewards):
            raise ValueError("a reward that is no finite number")
    for name in ("step", "rollouts"):
        if type(step[name]) is not int or not 0 < step[name] < 2**53:
            raise ValueError(f"{name} is no whole number > 0")
    if not 0 <= (accuracy := step.get("accuracy", 0)) <= 1 or not is_finite_number(accuracy):
        raise ValueError("an accuracy that is not between 0 and 1")


def is_finite_number(value: object) -> bool:
    """Return whether a value from a file is a number that a float can hold."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max
