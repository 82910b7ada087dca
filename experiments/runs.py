"""Runs of `train.py` as the experiments make and read them: tasks, arms, records, costs.

Where it stands: below `compare.py`, `few_instances.py`, `map.py`, `noise_scale.py`, `plots.py`,
`real.py` and `seeds.py`, which import it.  It is no command of its own.

A record is what is kept of one run, one line of JSON in a file of `results/`.  `compare.py` keeps

    task, arm, rate, seed   what was run: a name of TASKS, one of ARMS, the learning rate, the seed
    set                     other keys of the configuration that were set, if there were any
    curve                   one [rollouts, tokens, updates, accuracy] per evaluation, from 0 on
    groups, informative     how many groups were rolled out, and how many of them were informative
    picked                  how many groups of each kind were rolled out between two evaluations
    seconds                 the time that the run took
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import numpy as np
from project import ROOT
from tqdm import tqdm

import train
from evaluate import interval
from plumbing import jsonl
from plumbing.command import UserError
from plumbing.record import is_finite_number, read_steps


@dataclass(frozen=True)
class Task:
    """What is the same for every arm that is compared on a configuration."""

    config: str
    budget: int  # rollouts after which a run ends; full batch gets twice as many
    every: int  # rollouts between two evaluations
    level: float  # the accuracy whose cost in rollouts is compared
    rates: tuple[float, ...]  # learning rates
    rollouts: int  # accuracies are compared after so many rollouts,
    updates: int  # and after so many updates


TASKS = {
    "small": Task(
        "configs/plain.json", budget=6400, every=64, level=0.9,
        rates=(5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3), rollouts=1408, updates=40,
    ),
    "tables": Task(
        "configs/tables.json", budget=12800, every=256, level=0.8,
        rates=(1e-4, 2e-4, 4e-4, 8e-4), rollouts=8192, updates=200,
    ),
}  # fmt: skip
ARMS = {  # which keys an arm sets, beside the selector's name
    "full_batch": {}, "random_one": {}, "fixed_one": {}, "ucb_only": {}, "volatility_only": {},
    "thompson": {}, "dopr": {"selector.entropy": "policy"},
    "dopr, gate by answers": {"selector.entropy": "answers"}, "dopr, no gate": {},
    "informative": {}, "mopps": {}, "greso": {}, "xrpo": {},
}  # fmt: skip
MAIN = ["full_batch", "random_one", "dopr", "informative"]  # the arms of the figures
EQUAL_RATE = 1e-4  # the learning rate at which all arms are set beside each other
SEEDS = (0, 1, 2, 3, 4)  # what tables and figures are about
TUNING = (100, 101, 102)  # only these seeds pick an arm's best learning rate

LARGEST = 10**9  # of any number in a record; no run comes near it
ROLLOUTS, TOKENS, UPDATES, ACCURACY = range(4)  # columns of a record's curve


def budget_of(task: str, arm: str) -> int:
    """Return the rollouts after which a run of the arm ends."""
    return TASKS[task].budget * (2 if arm == "full_batch" else 1)


# ------------------------------------------------------------------------------- making the runs


def train_once(
    config: str, settings: dict, within: Path | None = None,
    look: Callable[[Path], object] = lambda out: None,
) -> tuple[list[dict], dict]:  # fmt: skip
    """Run `train.py` with a configuration and these keys set; return its steps and its summary.

    Its folder is a temporary one, in the folder `within` where one is given.  `look` is given the
    folder before it goes.
    """
    usual = {"checkpoint_every": 10**6, "threads": 1, "responses": "false"}
    pairs = [f"{name}={value}" for name, value in {**usual, **settings}.items()]
    keys = [word for pair in pairs for word in ("--set", pair)]
    said = io.StringIO()
    with tempfile.TemporaryDirectory(dir=within) as folder:
        out = Path(folder) / "run"
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = train.main(["--config", config, "--out", str(out), *keys])
        if status:
            reason = said.getvalue().strip().splitlines()[-1].removeprefix("error: ")
            raise UserError(f"a run ended early: {reason}", code=status)
        look(out)
        return read_steps(out), json.loads((out / "summary.json").read_text())


def make_runs(
    run: Callable, jobs: Iterable[tuple], out: Path, processes: int, run_of: Callable
) -> Iterator[dict]:
    """Make the runs that are not yet in a file; yield the record of each, once it is in the file.

    `run(*job)` makes one, and `run_of(record)` returns its job again, as `read` needs it.  No other
    process can write the file meanwhile.
    """
    with jsonl.extending(out, "another process is making these runs; name another --out") as file:
        done = read(out, run_of, leave_unfinished=True)
        jsonl.mend_end(out, file)
        missing = [job for job in dict.fromkeys(jobs) if job not in done]
        for record in in_processes(run, missing, processes):
            jsonl.add(file, record)
            yield record


def in_processes(function: Callable, jobs: list[tuple], processes: int) -> Iterator:
    """Yield what function(*job) returns for every job, in the order in which the jobs end."""

    def leave(number, _):
        print("stopped; the same command goes on with what is missing", file=sys.stderr)
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    workers = ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent)
    try:
        running = [workers.submit(function, *job) for job in jobs]
        for finished in tqdm(as_completed(running), total=len(jobs), desc="runs", disable=not jobs):
            yield finished.result()
    except BrokenProcessPool as error:
        raise UserError(
            "the process of a run was ended from outside, perhaps because there was not enough "
            "memory; the same command goes on, with fewer --processes if need be",
            code=1,
        ) from error
    except BaseException:  # whatever ends this process: no worker is left behind, training on
        for worker in active_children():
            worker.kill()
        raise
    finally:
        workers.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Let a worker end when its parent has, even by SIGKILL; by itself it would train on."""

    def wait():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def curve_of(steps: list[dict], summary: dict) -> list[list]:
    """Return a record's curve: one [rollouts, tokens, updates, accuracy] per evaluation."""
    names = ("rollouts", "tokens", "updates", "accuracy")
    curve = [[step[name] for name in names] for step in steps if "accuracy" in step]
    return [[0, 0, 0, summary["accuracy_before"]], *curve]


# ------------------------------------------------------------------------------ reading the runs


def results(name: str) -> Path:
    """Return a file of the folder where the raw results of the experiments are kept."""
    return ROOT / "experiments" / "results" / name


def read(path: Path, run_of: Callable, *, leave_unfinished: bool = False) -> dict[tuple, dict]:
    """Return the records in a file, each under its run; none where there is no file.

    `run_of(record)` returns which run it is, or raises ValueError where the record is none of the
    command's own.  `UserError` names such a line, and both lines of a run that is there twice.
    """
    if not os.path.lexists(path):
        return {}
    found: dict[tuple, dict] = {}
    records = jsonl.read(path, "the record of a run", leave_unfinished=leave_unfinished)
    for at, record in enumerate(records, start=1):
        try:
            run = run_of(record)
        except ValueError as error:
            raise UserError(f"{path}:{at}: {error}; remove it or name another file") from error
        if run in found:
            first = list(found).index(run) + 1
            raise UserError(
                f"{path}: the lines {first} and {at} hold the same run, {run}; remove one"
            )
        found[run] = record
    return found


def is_run(record: dict, columns: int, accuracy: int = -1) -> bool:
    """Return whether seed, curve and groups of a record are such as all experiments leave.

    A row of the curve has so many columns; `accuracy` is the index of the one that is at most 1.
    """
    curve, groups, informative = (record.get(n) for n in ("curve", "groups", "informative"))
    return (
        is_count(record.get("seed"))
        and is_count(informative) and is_count(groups) and 0 < groups >= informative
        and isinstance(curve, list) and len(curve) > 0
        and all(isinstance(row, list) and len(row) == columns for row in curve)
        and all(is_number(number) for row in curve for number in row)
        and all(row[accuracy] <= 1 for row in curve)
    )  # fmt: skip


def is_count(value: object) -> bool:
    """Return whether a value of JSON is a whole number >= 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: object) -> bool:
    """Return whether a value of JSON is a number such as runs leave."""
    return is_finite_number(value) and 0 <= value <= LARGEST


def of_table(
    records: list[dict], arm: str, rate: float, seeds: Sequence[int] = SEEDS
) -> list[dict]:
    """Return an arm's runs at a learning rate, without those on other seeds, as the tuning ones."""
    return [r for r in records if (r["arm"], r["rate"]) == (arm, rate) and r["seed"] in seeds]


def cost_to(record: dict, level: float, column: int = ROLLOUTS) -> float:
    """Return the rollouts (or tokens) at the first evaluation that reaches a level; inf if none."""
    return next((p[column] for p in record["curve"] if p[ACCURACY] >= level), np.inf)


def held(record: dict) -> dict:
    """Return a record in which an accuracy counts only as far as the next evaluation confirms it.

    Each becomes the lower of itself and the next one, the last one the lower of itself and the one
    before.  So a run arrives at the first of two evaluations in a row at a level, at the second of
    which runs with `stop_accuracy` end; one that touches it once does not arrive.  "end" keeps the
    last accuracy.
    """
    curve = record["curve"]
    seen = [row[ACCURACY] for row in curve]
    lower = [min(pair) for pair in pairwise(seen)]
    lower += lower[-1:] or seen
    rows = [
        [*row[:ACCURACY], low, *row[ACCURACY + 1 :]] for row, low in zip(curve, lower, strict=True)
    ]
    return {**record, "curve": rows, "end": seen[-1]}


def costs(runs: list[dict], level: float, column: int = ROLLOUTS) -> list[float]:
    """Return each run's `cost_to` a level; one that never reaches it counts with its end."""
    return [min(cost_to(r, level, column), r["curve"][-1][column]) for r in runs]


def mean_cost(runs: list[dict]) -> float:
    """Return the mean of `costs` to the task's level, in rollouts."""
    return float(np.mean(costs(runs, TASKS[runs[0]["task"]].level)))


def all_arrive(runs: list[dict], level: float) -> bool:
    """Return whether every run reaches a level."""
    return all(np.isfinite(cost_to(r, level)) for r in runs)


def failed_rates(records: list[dict], seeds: Iterable[int], level: float) -> set[tuple]:
    """Return the (share, arm, rate) of which a run on one of the seeds never reaches a level."""
    mine = [r for r in records if r["seed"] in seeds and not all_arrive([r], level)]
    return {(r["share"], r["arm"], r["rate"]) for r in mine}


def saved(full: list[dict], runs: list[dict], level: float, column: int = ROLLOUTS) -> str:
    """Return the mean cost of full batch over an arm's; a bound where some runs never arrive."""
    arrive = all_arrive(full, level), all_arrive(runs, level)
    if not any(arrive):
        return "neither arrives"
    times = np.mean(costs(full, level, column)) / np.mean(costs(runs, level, column))
    if not arrive[0]:
        return f"> {np.floor(10 * times) / 10:.1f}"
    return f"{times:.1f}" if arrive[1] else f"< {np.ceil(10 * times) / 10:.1f}"


def saved_cell(full: list[dict], runs: list[dict], level: float, column: int = ROLLOUTS) -> str:
    """Return what `saved` does, with a 95% bootstrap interval that draws the runs of both."""
    text, rng = saved(full, runs, level, column), np.random.default_rng(0)
    if text == "neither arrives":
        return text

    def means(some: list[dict]) -> np.ndarray:
        values = np.array(costs(some, level, column))  # (S,)
        return values[rng.integers(len(values), size=(2000, len(values)))].mean(axis=1)  # (2000,)

    low, high = np.quantile(means(full) / means(runs), (0.025, 0.975))
    return f"{text} [{low:.1f}, {high:.1f}]"


def informative_share(runs: list[dict]) -> float:
    """Return the share of informative groups among all groups of these runs."""
    return sum(r["informative"] for r in runs) / sum(r["groups"] for r in runs)


def best_rates(
    records: list[dict], loss: Callable = mean_cost, arms: Iterable[str] = ARMS,
    seeds: Sequence[int] = TUNING,
) -> dict[str, float]:  # fmt: skip
    """Return the best learning rate of every arm that was run on the tuning seeds, by these alone.

    The best is the one whose runs have the lowest `loss`, and of equals the smallest.
    """
    tuning: dict[str, dict[float, list]] = {}
    for record in records:
        if record["seed"] in seeds:
            of_arm = tuning.setdefault(record["arm"], {})
            of_arm.setdefault(record["rate"], []).append(record)
    return {
        arm: min(sorted(tuning[arm]), key=lambda rate: loss(tuning[arm][rate]))
        for arm in arms
        if arm in tuning
    }


# --------------------------------------------------------------------------- what tables consist of


def cost_cell(mine: list[dict], level: float, column: int = ROLLOUTS) -> str:
    """Return the mean cost to a level with its interval.

    A run that never reaches the level counts with its cost at the end.
    """
    arrived = sum(np.isfinite(cost_to(r, level)) for r in mine)
    if not arrived:
        return "never"
    mean, low, high = interval(costs(mine, level, column))
    cell = f"{mean:,.0f} [{low:,.0f}, {high:,.0f}]"
    return cell if arrived == len(mine) else f"> {cell} ({arrived} of {len(mine)})"


def overview(
    records: list[dict], cell: Callable[[list[dict]], str], arms: Iterable[str] = ARMS,
    seeds: Sequence[int] = SEEDS,
) -> str:  # fmt: skip
    """Return a table in Markdown: one row per arm, one column per learning rate."""
    rates = sorted({r["rate"] for r in records if r["seed"] in seeds})
    lines = ["| arm | " + " | ".join(f"{rate:g}" for rate in rates) + " |"]
    lines.append("|" + "---|" * (len(rates) + 1))
    for arm in arms:
        cells = [(mine := of_table(records, arm, rate, seeds)) and cell(mine) for rate in rates]
        if any(cells):
            lines.append(f"| `{arm}` | " + " | ".join(cell or "not run" for cell in cells) + " |")
    return "\n".join(lines)


def learning_rate(text: str) -> float:
    """Return the number above 0 in a text, as an argparse type."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < np.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no learning rate > 0")
