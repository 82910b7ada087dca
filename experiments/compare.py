"""Does one well-chosen problem per step save rollouts?  Every arm, learning rate and seed.

    python experiments/compare.py                   1.5 hours on two cores
    python experiments/compare.py --task tables     the harder task, 4.4 hours
    python experiments/compare.py --quick           four arms, two rates, three seeds: 4 minutes
    python experiments/compare.py --tables          print the tables of the runs that are there
    python experiments/compare.py --out mine.jsonl  make all runs anew, into a file of your own
    python experiments/compare.py --set update.updates_per_group=4 --out four.jsonl

It measures how many rollouts each arm needs to reach an accuracy on held-out problems.  Each run is
`train.py` with a configuration of `runs.TASKS`.  Every arm has the same pool, the same number of
candidates, an evaluation after the same number of rollouts, and the same rule to stop: two
evaluations in a row at 97% or more.  Learning rates are constant, so that what a run does never
depends on how long it was meant to be.  A run that is stopped loses only the runs that were under
way: the same command goes on with what is missing.

How to read it: costs are means over the seeds 0 to 4 with 95% bootstrap intervals.  A run that
never reaches the level counts with the rollouts at its end, and then the cost is marked ">".  Each
arm's best rate is picked on the seeds 100 to 102 alone, which are in no table.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
from project import ROOT
from runs import (
    ACCURACY,
    ARMS,
    MAIN,
    ROLLOUTS,
    SEEDS,
    TASKS,
    TOKENS,
    TUNING,
    UPDATES,
    best_rates,
    budget_of,
    cost_cell,
    curve_of,
    informative_share,
    is_number,
    is_run,
    learning_rate,
    make_runs,
    of_table,
    overview,
    read,
    results,
    train_once,
)
from tqdm import tqdm

from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.config import read_config

LEVELS = (0.8, 0.9, 0.95)  # of accuracy


# ------------------------------------------------------------------------------------- the tables


def accuracy_at(record: dict, column: int, limit: float) -> float:
    """Return the accuracy at the last evaluation within so many rollouts, tokens or updates."""
    return [point[ACCURACY] for point in record["curve"] if point[column] <= limit][-1]


def accuracy_cell(mine: list[dict]) -> str:
    """Return the mean accuracy at the budget of one problem per step, and the informative share.

    Full batch has twice that budget, and is compared after as many rollouts as the others.
    """
    budget = TASKS[mine[0]["task"]].budget
    mean = np.mean([accuracy_at(r, ROLLOUTS, budget) for r in mine])
    return f"{mean:.1%} ({informative_share(mine):.0%})"


def table(records: list[dict], task: str, rates: dict[str, float]) -> str:
    """Return a table in Markdown: one row per arm, each at its learning rate."""
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
        for level, column in [*((level, ROLLOUTS) for level in LEVELS), (0.9, TOKENS)]:
            cells.append(cost_cell(mine, level, column))
        for column, limit in ((ROLLOUTS, rollouts), (UPDATES, updates)):
            cells.append(f"{np.mean([accuracy_at(r, column, limit) for r in mine]):.1%}")
        share = informative_share(mine)
        lines.append(f"| `{arm}` | {rate:g} | " + " | ".join(cells) + f" | {share:.0%} |")
    return "\n".join(lines)


def show(records: list[dict], task: str) -> None:
    """Print every table of a task's runs."""
    for level in LEVELS:
        found = overview(records, partial(cost_cell, level=level))
        print(f"\nRollouts to {level:.0%}, by learning rate\n\n{found}")
    title = f"Accuracy at {TASKS[task].budget:,} rollouts (informative groups)"
    print(f"\n{title}, by learning rate\n\n{overview(records, accuracy_cell)}")
    for rate in sorted({r["rate"] for r in records}):
        print(f"\nAll at {rate:g}\n\n{table(records, task, dict.fromkeys(ARMS, rate))}")
    if best := best_rates(records):
        print(f"\nEach arm at its best rate\n\n{table(records, task, best)}")


# --------------------------------------------------------------------------------------- the runs


def run(task: str, arm: str, rate: float, seed: int, more: dict) -> dict:
    """Train once, with the keys in `more` set as well, and return the record of the run."""
    every, budget = TASKS[task].every, budget_of(task, arm)
    settings = {
        "seed": seed, "update.lr": rate, "update.decay": "false", "steps": budget,
        "selector.name": arm.split(",")[0], "selector.entropy": "none", "max_rollouts": budget,
        "eval_every": every, "stop_accuracy": 0.97, **ARMS[arm], **more,
    }  # fmt: skip
    steps, summary = train_once(TASKS[task].config, settings)
    picked: list[dict] = []  # how many groups of each kind between two evaluations
    for step in steps:
        while len(picked) <= (step["rollouts"] - 1) // every:
            picked.append({})
        for kind in step["kind"]:
            picked[-1][kind] = picked[-1].get(kind, 0) + 1
    return {
        "task": task, "arm": arm, "rate": rate, "seed": seed, **({"set": more} if more else {}),
        "curve": curve_of(steps, summary),
        "informative": summary["informative_groups"],
        "groups": summary["rollouts"] // summary["group_size"], "picked": picked,
        "seconds": round(summary["seconds"]["total"], 1),
    }  # fmt: skip


def run_of(record: dict, more: dict | None = None) -> tuple:
    """Return the job that made a record; ValueError where it is no record of this command.

    With `more` it also has to be made with just these keys set.
    """
    task, arm, rate, seed = (record.get(name) for name in ("task", "arm", "rate", "seed"))
    picked = record.get("picked")
    if not (
        task in list(TASKS) and arm in list(ARMS) and is_number(rate) and rate > 0
        and is_run(record, columns=4) and record["curve"][0][:3] == [0, 0, 0]
        and isinstance(picked, list) and all(isinstance(counts, dict) for counts in picked)
        and all(is_number(n) for counts in picked for n in counts.values())
    ):  # fmt: skip
        raise ValueError("not the record of a run of compare.py")
    if more is not None and record.get("set", {}) != more:
        raise ValueError("the record of a run with other keys set")
    return task, arm, rate, seed


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments, with those that --quick stands for."""
    parser = Parser(prog="compare.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--task", default="small", choices=list(TASKS))
    add("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    add("--rates", nargs="+", type=learning_rate, metavar="RATE", help="[the task's]")
    add("--seeds", nargs="+", type=whole_number(0), default=[*SEEDS, *TUNING], metavar="SEED",
        help="[0 1 2 3 4 and, to pick the rates, 100 101 102]")  # fmt: skip
    add("--processes", type=whole_number(1), default=os.cpu_count(),
        help="how many runs at once [one per core]")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="set a key of the configuration for every arm")  # fmt: skip
    add("--quick", action="store_true", help="four arms, two learning rates, three seeds")
    add("--tables", action="store_true", help="make no runs, print only the tables")
    add("--out", type=file_to_write, metavar="FILE",
        help="where the runs are kept [experiments/results/compare-TASK.jsonl]")  # fmt: skip
    args = parser.parse_args(argv)
    if args.quick:
        args.arms, args.rates, args.seeds = MAIN, [1e-4, 4e-4], SEEDS[:3]
    args.rates = args.rates or TASKS[args.task].rates
    name = f"compare-{args.task}{'-quick' if args.quick else ''}.jsonl"
    args.out = args.out or results(name)
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print the tables."""
    args = read_arguments(argv)
    task = args.task
    if not args.tables:
        os.chdir(ROOT)  # the configurations name models and pools from here
        read_config(TASKS[task].config, args.set)
        more = dict(pair.partition("=")[::2] for pair in args.set)
        jobs = [(task, a, r, s) for s in args.seeds for r in args.rates for a in args.arms]
        make, mine = partial(run, more=more), partial(run_of, more=more)
        for record in make_runs(make, jobs, args.out, args.processes, mine):
            name, rate, accuracy = record["arm"], record["rate"], record["curve"][-1][ACCURACY]
            tqdm.write(f"{name} {rate:g}: {accuracy:.1%}")
    records = [record for record in read(args.out, run_of).values() if record["task"] == task]
    if not records:
        raise UserError(f"{args.out}: no finished runs of {task}; leave out --tables to make them")
    show(records, task)


if __name__ == "__main__":
    sys.exit(main())
