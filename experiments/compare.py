"""Does one well-chosen problem a step save rollouts?  Every arm, learning rate and seed.

python experiments/compare.py                   # an hour on two cores; goes on where it was
python experiments/compare.py --task tables     # the harder task, some four hours
python experiments/compare.py --quick           # a few minutes: four arms, two rates, three seeds
python experiments/compare.py --tables          # the tables of what is there, no runs
python experiments/compare.py --out mine.jsonl  # all anew, the runs that come with it left alone
python experiments/compare.py --set update.updates_per_group=4 --out four.jsonl  # for every arm

Each run is `train.py` with one of the configurations in TASKS.  The same for every arm: the pool,
the candidates of a step, an evaluation every so many rollouts, and a stop rule fixed beforehand,
two evaluations in a row at 97% or more.  Learning rates are constant, so that no run depends on
its length before its end.  One JSON line a run.

Seeds 0 to 4 are in the tables; each arm's own best rate is picked on seeds 100 to 102 alone, by the
mean number of rollouts to the task's level (a run that never gets there counts with its budget).
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))

import train
from config import ConfigError, read_config
from evaluate import interval

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Task:
    config: str
    budget: int  # rollouts at which a run ends; full batch may go on for twice as many
    every: int  # rollouts between evaluations
    level: float  # the accuracy whose cost is compared
    rates: tuple[float, ...]
    rollouts: int  # accuracies are compared after so many,
    updates: int  # and after so many


TASKS = {
    "small": Task(
        "small.json", budget=6400, every=64, level=0.9,
        rates=(5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3), rollouts=1408, updates=40,
    ),
    "tables": Task(
        "configs/tables.json", budget=12800, every=256, level=0.8,
        rates=(1e-4, 2e-4, 4e-4, 8e-4), rollouts=8192, updates=200,
    ),
}  # fmt: skip
EQUAL_RATE = 1e-4  # small.json's own
ARMS = {  # what is set beside the learning rate and the seed
    "full_batch": {}, "random_one": {}, "fixed_one": {}, "ucb_only": {}, "volatility_only": {},
    "thompson": {}, "dopr": {"selector.entropy": "policy"},
    "dopr, gate by answers": {"selector.entropy": "answers"}, "dopr, no gate": {},
    "informative": {}, "informative, c = 0.2": {"selector.bonus": 0.2},
}  # fmt: skip
MAIN = ["full_batch", "random_one", "dopr", "informative"]
SEEDS, TUNING = (0, 1, 2, 3, 4), (100, 101, 102)
LEVELS = (0.8, 0.9, 0.95)


def stop(message: str) -> NoReturn:
    """What a user can mend: one line, exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def at_least(least: int):
    """An argparse type: whole numbers no smaller than this."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number >= {least}")
        return int(text)

    return number


def learning_rate(text: str) -> float:
    """An argparse type."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < np.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no learning rate > 0")


def path_from_here(text: str) -> Path:
    """An argparse type: where a path leads before `os.chdir`."""
    return Path(text).resolve()


def file_to_write(text: str) -> Path:
    """An argparse type: as `path_from_here`, of a file in a folder that exists."""
    path = path_from_here(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a file in a folder that exists")
    return path


def budget_of(task: str, arm: str) -> int:
    """Rollouts at which a run of the arm ends."""
    return TASKS[task].budget * (2 if arm == "full_batch" else 1)


def train_once(config: str, settings: dict) -> tuple[list[dict], dict]:
    """`train.py` with a configuration and these keys set: its steps and its summary."""
    always = {"checkpoint_every": 10**6, "threads": 1}
    pairs = [f"{name}={value}" for name, value in {**settings, **always}.items()]
    keys = [word for pair in pairs for word in ("--set", pair)]
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = train.main(["--config", config, "--out", str(out), *keys])
        if status:
            raise RuntimeError(said.getvalue().strip().splitlines()[-1])
        steps = [json.loads(line) for line in (out / "metrics.jsonl").open()]
        return steps, json.loads((out / "summary.json").read_text())


def run(task: str, arm: str, rate: float, seed: int, more: dict) -> dict:
    """Train once, with `more` keys set; the record of the run, with its curve of accuracy."""
    every, budget = TASKS[task].every, budget_of(task, arm)
    settings = {
        "seed": seed, "update.lr": rate, "update.decay": "false", "steps": budget,
        "selector.name": arm.split(",")[0], "selector.entropy": "none", "max_rollouts": budget,
        "eval_every": every, "stop_accuracy": 0.97, **ARMS[arm], **more,
    }  # fmt: skip
    steps, summary = train_once(TASKS[task].config, settings)
    picked: list[dict] = []  # groups by kind between two evaluations
    for step in steps:
        while len(picked) <= (step["rollouts"] - 1) // every:
            picked.append({})
        for kind in step["kind"]:
            picked[-1][kind] = picked[-1].get(kind, 0) + 1
    names = ("rollouts", "tokens", "updates", "accuracy")
    curve = [[step[name] for name in names] for step in steps if "accuracy" in step]
    return {
        "task": task, "arm": arm, "rate": rate, "seed": seed, **({"set": more} if more else {}),
        "curve": [[0, 0, 0, summary["accuracy_before"]], *curve],
        "informative": summary["informative_groups"],
        "groups": summary["rollouts"] // summary["group_size"], "picked": picked,
        "seconds": round(summary["seconds"]["total"], 1),
    }  # fmt: skip


def key(record: dict) -> tuple:
    return record["task"], record["arm"], record["rate"], record["seed"]


def read(path: Path) -> list[dict]:
    """The records of the runs that are finished, a line a run; none where there is no file."""
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{path}: cannot be read ({error})")
    records = []
    for at, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            stop(f"{path}:{at}: not the record of a run; remove the line")
        if not isinstance(records[-1], dict) or not {"seed", "curve"} <= set(records[-1]):
            stop(f"{path}:{at}: not the record of a run of compare.py or few_instances.py")
    return records


def run_all(jobs: list[tuple], more: dict, out: Path, processes: int) -> None:
    """What is not yet in the file, a line a run as it ends."""
    before = read(out)
    if any(record.get("set", {}) != more for record in before):
        stop(f"{out}: holds runs with other keys set; name another file with --out")
    done = {key(record) for record in before}
    jobs = [job for job in jobs if job not in done]
    for record in in_processes(run, [(*job, more) for job in jobs], processes):
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        tqdm.write(f"{record['arm']} {record['rate']:g}: {record['curve'][-1][3]:.1%}")


def in_processes(function: Callable, jobs: list[tuple], processes: int) -> Iterator:
    """What function(*job) returns for every job, in the order in which they end."""

    def leave(number, _):
        print("stopped; the same command goes on with what is missing", file=sys.stderr)
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    workers = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        running = [workers.submit(function, *job) for job in jobs]
        for finished in tqdm(as_completed(running), total=len(jobs), desc="runs", disable=not jobs):
            yield finished.result()
    except BaseException:  # whatever ends this process: no worker is left behind, training on
        for worker in active_children():
            worker.kill()
        raise
    finally:
        workers.shutdown(cancel_futures=True)


# --------------------------------------------------------------------------- what came out


def cost_to(record: dict, level: float, column: int = 0) -> float:
    """Rollouts (column 0) or tokens (1) at the first evaluation at this level; inf if never."""
    return next((point[column] for point in record["curve"] if point[3] >= level), np.inf)


def accuracy_at(record: dict, column: int, limit: float) -> float:
    """Of the last evaluation within so many rollouts (column 0) or updates (2)."""
    return [point[3] for point in record["curve"] if point[column] <= limit][-1]


def of_table(records: list[dict], arm: str, rate: float) -> list[dict]:
    """An arm's runs at a rate, those on the tuning seeds left out."""
    return [r for r in records if (r["arm"], r["rate"]) == (arm, rate) and r["seed"] in SEEDS]


def cost_cell(mine: list[dict], level: float, column: int = 0) -> str:
    """Mean cost and its bootstrap 95% interval; a run that never got there counts to its end."""
    reached = [cost_to(r, level, column) for r in mine]
    got = sum(np.isfinite(reached))
    if not got:
        return "never"
    ends = [r["curve"][-1][column] for r in mine]
    mean, low, high = interval(np.minimum(reached, ends))
    cell = f"{mean:,.0f} [{low:,.0f}, {high:,.0f}]"
    return cell if got == len(mine) else f"> {cell} ({got} of {len(mine)})"


def accuracy_cell(mine: list[dict]) -> str:
    """Mean accuracy when one problem a step has spent its budget, and share of informative groups.

    Full batch, whose budget is twice that, is compared at the same number of rollouts.
    """
    budget = TASKS[mine[0]["task"]].budget
    share = sum(r["informative"] for r in mine) / sum(r["groups"] for r in mine)
    return f"{np.mean([accuracy_at(r, 0, budget) for r in mine]):.1%} ({share:.0%})"


def overview(records: list[dict], cell: Callable[[list[dict]], str]) -> str:
    """Markdown: an arm a row, a learning rate a column; a cell sums up the runs of a table."""
    rates = sorted({r["rate"] for r in records if r["seed"] in SEEDS})
    lines = ["| arm | " + " | ".join(f"{rate:g}" for rate in rates) + " |"]
    lines.append("|" + "---|" * (len(rates) + 1))
    for arm in ARMS:
        cells = [(mine := of_table(records, arm, rate)) and cell(mine) for rate in rates]
        if any(cells):
            lines.append(f"| `{arm}` | " + " | ".join(cell or "not run" for cell in cells) + " |")
    return "\n".join(lines)


def mean_cost(runs: list[dict]) -> float:
    """Rollouts to the task's level; a run that never gets there counts with its budget."""
    level = TASKS[runs[0]["task"]].level
    return float(np.mean([min(cost_to(r, level), budget_of(r["task"], r["arm"])) for r in runs]))


def best_rates(records: list[dict]) -> dict[str, float]:
    """Of every arm that was tuned, by the tuning seeds alone; of equals the smaller."""
    tuning: dict[str, dict[float, list]] = {}
    for record in records:
        if record["seed"] in TUNING:
            of_arm = tuning.setdefault(record["arm"], {})
            of_arm.setdefault(record["rate"], []).append(record)
    return {
        arm: min(sorted(tuning[arm]), key=lambda rate: mean_cost(tuning[arm][rate]))
        for arm in ARMS
        if arm in tuning
    }


def table(records: list[dict], task: str, rates: dict[str, float]) -> str:
    """Markdown: an arm a row, each at its rate, over the seeds of the table."""
    rollouts, updates = TASKS[task].rollouts, TASKS[task].updates
    lines = [
        f"| arm | rate | rollouts to 80% | to 90% | to 95% | tokens to 90% "
        f"| accuracy at {rollouts:,} rollouts | at {updates} updates | informative |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, rate in rates.items():
        mine = of_table(records, arm, rate)
        if not mine:
            continue
        cells = []
        for level, column in [*((level, 0) for level in LEVELS), (0.9, 1)]:
            cells.append(cost_cell(mine, level, column))
        for column, limit in ((0, rollouts), (2, updates)):
            cells.append(f"{np.mean([accuracy_at(r, column, limit) for r in mine]):.1%}")
        share = sum(r["informative"] for r in mine) / sum(r["groups"] for r in mine)
        lines.append(f"| `{arm}` | {rate:g} | " + " | ".join(cells) + f" | {share:.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--task", default="small", choices=list(TASKS))
    add("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    add("--rates", nargs="+", type=learning_rate, metavar="RATE", help="[the task's]")
    add("--seeds", nargs="+", type=at_least(0), default=[*SEEDS, *TUNING], metavar="SEED",
        help="[0 1 2 3 4 and, to pick the rates, 100 101 102]")  # fmt: skip
    add("--processes", type=at_least(1), default=os.cpu_count(), help="runs at once [one a core]")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of the configuration")
    add("--quick", action="store_true", help="four arms, two rates, three seeds")
    add("--tables", action="store_true", help="only the tables")
    add("--out", type=file_to_write, help="[experiments/results/compare-TASK.jsonl]")
    args = parser.parse_args()
    out = args.out or ROOT / "experiments" / "results" / f"compare-{args.task}.jsonl"
    if args.quick:
        args.arms, args.rates, args.seeds = MAIN, [1e-4, 4e-4], SEEDS[:3]
        out = args.out or out.with_name(f"compare-{args.task}-quick.jsonl")
    if not args.tables:
        os.chdir(ROOT)  # where the configurations' paths lead from
        rates = args.rates or TASKS[args.task].rates
        jobs = [(args.task, a, r, s) for s in args.seeds for r in rates for a in args.arms]
        try:
            read_config(TASKS[args.task].config, args.set)
        except ConfigError as error:
            stop(str(error))
        more = dict(pair.partition("=")[::2] for pair in args.set)
        run_all(list(dict.fromkeys(jobs)), more, out, args.processes)
    records = [r for r in read(out) if r.get("task") == args.task]
    if not records:
        stop(f"{out}: no finished runs of {args.task}; leave --tables away to make them")
    for level in LEVELS:
        found = overview(records, partial(cost_cell, level=level))
        print(f"\nRollouts to {level:.0%}, by learning rate\n\n{found}")
    title = f"Accuracy at {TASKS[args.task].budget:,} rollouts (informative groups)"
    print(f"\n{title}, by learning rate\n\n{overview(records, accuracy_cell)}")
    for rate in sorted({r["rate"] for r in records}):
        print(f"\nAll at {rate:g}\n\n{table(records, args.task, dict.fromkeys(ARMS, rate))}")
    if best := best_rates(records):
        print(f"\nEach arm at its best rate\n\n{table(records, args.task, best)}")


if __name__ == "__main__":
    main()
