"""Where is ten times real?  A map of the rollouts that choosing one problem per step saves.

    python experiments/map.py --predict             what theory says, before any run: seconds
    python experiments/map.py                       every run of the default task: hours
    python experiments/map.py --task tables         the task that needs more updates
    python experiments/map.py --quick               three shares, two rates, one seed: 6 minutes
    python experiments/map.py --tables --figure map.png    tables and map of the runs that are there
    python experiments/map.py --shares 5 --arms dopr --seeds 0          only this part of the runs

Every pool of a task holds as many problems that can teach, 8 or 32, and so many dull ones that
their share is 2, 5, 10, 25 or 50%.  Each run counts the rollouts to a level that nearly all reach:
90% of the held-out problems right, or 65% in the harder task, whose 32 problems teach hardly more.
It arrives at the first of two evaluations in a row at the level, since at large rates many touch it
once and fall again.

The baselines roll out M = 1, 4, 16 or 64 of the problems per step, or all of the pool.  The
selectors choose one of 64.  Four learning rates are tried for every arm and share on the seeds 100
to 102; a rate that has failed on one of them is not tried on the others.  Then the seeds 0 to 4 are
run at the equal rate, 1e-4, and at each arm's best.  AdamW's second decay is 0.95 where 16 groups
or more make a step; where fewer do it is 0.95^(M/16), so that its memory holds as many groups
(arXiv 2507.07101).

The prediction takes from earlier experiments how many updates from single groups the task needs at
either rate (`compare-TASK.jsonl`, `dopr` without a gate), and how the gradient's noise scale B adds
up several groups (`noise_scale.py`).  A teaching problem's group is informative with probability q.
A step of M problems makes the progress f(n) of its n informative groups, as in `noise_scale.py`.  A
selector needs a group per update, 1/s' of them where s' is the chance that one of its candidates
teaches, times q; and before that it visits dull problems: on average those that precede the first
teaching one of every skill (`bound.dull_visits`) if it begins to learn as soon as it can, or the
whole pool if it tours it first, as `dopr` does, to which all that is unseen looks volatile.

How to read it: a cell is the rollouts of a baseline over those of a selector.  ">" marks that the
baseline did not always arrive, "<" that the selector did not.  In the figure the number in brackets
is the prediction for that cell, and cells of ten and more where all runs arrived have a frame.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import compare
import numpy as np
from noise_scale import adam, best_step, read_noise
from project import ROOT
from runs import (
    ACCURACY,
    EQUAL_RATE,
    ROLLOUTS,
    SEEDS,
    TASKS,
    UPDATES,
    best_rates,
    cost_cell,
    costs,
    curve_of,
    failed_rates,
    held,
    informative_share,
    is_number,
    is_run,
    learning_rate,
    make_runs,
    of_table,
    overview,
    read,
    results,
    saved,
    saved_cell,
    train_once,
)
from tqdm import tqdm

import data
from bound import binomial, dull_visits
from data import Problem, write_jsonl
from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.figure import pyplot, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = (2, 5, 10, 25, 50)  # per cent of the pool that can teach
RATES = (1e-4, 4e-4, 1.2e-3, 3.2e-3)
TUNING = (100, 101, 102)  # only these seeds pick an arm's best rate
CANDIDATES, G = 64, 8
SIDES = {"equal": "all at the equal rate", "best": "each arm at its best rate"}


@dataclass(frozen=True)
class Place:
    """What the map has of a task."""

    kinds: tuple[str, ...]  # of problems: the one that teaches, then the dull ones
    teach: int  # problems in every pool that can teach
    level: float  # the accuracy whose cost in rollouts is compared
    skills: int  # in how many skills they fall
    groups: int  # a run's budget is that of so many groups, and of a tour of the pool


PLACES = {
    "small": Place(("carry", "plain", "product"), teach=8, level=0.9, skills=2, groups=400),
    "tables": Place(("shaky", "easy", "long"), teach=32, level=0.65, skills=4, groups=800),
}
DATA = {"small": "arithmetic", "tables": "tables"}  # the names of the tasks in `data.py`
BASELINES = {"M = 1": 1, "M = 4": 4, "M = 16": 16, "M = 64": 64, "all": 10**6}
SELECTORS = ("dopr", "informative")
ARMS = (*SELECTORS, *BASELINES)


# ------------------------------------------------------------------------------------- the runs


def pool_size(task: str, share: int) -> int:
    """Return how many problems there are where so many per cent of them can teach."""
    return round(100 * PLACES[task].teach / share)


def pool(task: str, share: int, seed: int) -> list[Problem]:
    """Return the pool of a seed; its dull kinds are mixed as in the task's own pool."""
    name, (teaches, *dull) = DATA[task], PLACES[task].kinds
    rest, mix = pool_size(task, share) - PLACES[task].teach, data.TASKS[name].pool
    first = round(rest * mix[dull[0]] / sum(mix[kind] for kind in dull))
    counts = {teaches: PLACES[task].teach, dull[0]: first, dull[1]: rest - first}
    rng, found = np.random.default_rng(seed), {}
    for kind, count in counts.items():
        operators = data.TASKS[name].operators[kind]
        for k in range(count):
            problem = data.draw_problem(name, kind, operators[k % len(operators)], rng, known=found)
            found[problem.text] = problem
    problems = list(found.values())
    return [problems[i] for i in rng.permutation(len(problems))]


def batch(task: str, share: int, arm: str) -> int:
    """Return how many problems an arm rolls out per step."""
    return 1 if arm in SELECTORS else min(BASELINES[arm], pool_size(task, share))


def keys(task: str, share: int, arm: str) -> dict:
    """Return the keys that an arm sets."""
    size, rolled_out = pool_size(task, share), batch(task, share, arm)
    offered = CANDIDATES if arm in SELECTORS else rolled_out
    return {
        "selector.name": arm if arm in SELECTORS else "full_batch",
        "selector.candidates": min(offered, size), "selector.ema": 0.9 if arm == "dopr" else 0.3,
        "update.beta2": round(0.95 ** min(1, rolled_out / 16), 4),
        "eval_every": max(64 if arm in SELECTORS else 128, G * rolled_out),
    }  # fmt: skip


def budget(task: str, share: int, arm: str) -> int:
    """Return the rollouts after which a run ends: for a baseline five times a selector's."""
    return G * (pool_size(task, share) + PLACES[task].groups) * (2 if arm in SELECTORS else 10)


def run(task: str, share: int, arm: str, rate: float, seed: int) -> dict:
    """Train once and return the record of the run."""
    limit = budget(task, share, arm)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pool.jsonl"
        write_jsonl(file, pool(task, share, seed))
        steps, summary = train_once(TASKS[task].config, {
            "seed": seed, "data.pool": file, "data.pool_size": 0, "steps": limit,
            "max_rollouts": limit, "update.lr": rate, "update.decay": "false",
            "stop_accuracy": PLACES[task].level, **keys(task, share, arm),
        })  # fmt: skip
    return {
        "task": task, "share": share, "arm": arm, "rate": rate, "seed": seed,
        "curve": curve_of(steps, summary),
        "informative": summary["informative_groups"], "groups": summary["rollouts"] // G,
        "seconds": {name: round(value, 1) for name, value in summary["seconds"].items()},
    }  # fmt: skip


def run_of(record: dict) -> tuple:
    """Return the job that made a record; ValueError where it is no record of this command."""
    task, share, arm, rate, seed = (
        record.get(name) for name in ("task", "share", "arm", "rate", "seed")
    )
    seconds = record.get("seconds")
    if not (
        task in list(PLACES) and share in SHARES and arm in ARMS and is_number(rate) and rate > 0
        and is_run(record, columns=4) and record["curve"][0][:3] == [0, 0, 0]
        and isinstance(seconds, dict) and all(map(is_number, seconds.values()))
    ):  # fmt: skip
        raise ValueError("not the record of a run of map.py")
    return task, share, arm, rate, seed


def best(records: list[dict], task: str) -> dict[str, float]:
    """Return each arm's best rate by the tuning seeds, given the held records of one share."""
    return best_rates(records, lambda runs: np.mean(costs(runs, PLACES[task].level)), ARMS, TUNING)


def tuning_jobs(args: argparse.Namespace, records: list[dict], seed: int) -> list[tuple]:
    """Return the jobs of one tuning seed: the rates that did not fail on another, so far."""
    failed = failed_rates(records, {*TUNING} - {seed}, PLACES[args.task].level)
    return [
        (args.task, share, arm, rate, seed)
        for share in args.shares for rate in args.rates for arm in args.arms
        if (share, arm, rate) not in failed
    ]  # fmt: skip


def table_jobs(args: argparse.Namespace, records: list[dict]) -> list[tuple]:
    """Return the jobs of the tables: each arm at the equal rate, and at its best where tuned."""
    found = []
    for share in args.shares:
        picked = best([r for r in records if r["share"] == share], args.task)
        for seed in args.seeds:
            for arm in args.arms:
                rates = dict.fromkeys((EQUAL_RATE, picked.get(arm, EQUAL_RATE)))
                found += [(args.task, share, arm, rate, seed) for rate in rates]
    return found


def make_all(args: argparse.Namespace) -> None:
    """Make the runs that are missing: those of each tuning seed in turn, and then the tables'."""
    for part in [*(partial(tuning_jobs, seed=seed) for seed in args.tune), table_jobs]:
        done = read(args.out, run_of, leave_unfinished=True)
        wanted = part(args, [held(r) for r in done.values() if r["task"] == args.task])
        print(f"{sum(job not in done for job in wanted)} runs to make", flush=True)
        for record in make_runs(run, wanted, args.out, args.processes, run_of):
            _, share, arm, rate, seed = run_of(record)
            end = record["curve"][-1]
            tqdm.write(
                f"{share}% {arm} {rate:g} seed {seed}: {end[ACCURACY]:.1%} after "
                f"{end[ROLLOUTS]:,} rollouts, {record['seconds']['total']:.0f} s"
            )


# ----------------------------------------------------------------------------------- the theory


@dataclass(frozen=True)
class Theory:
    """What the prediction takes from earlier experiments, for one kind of learning rate."""

    task: str
    updates: float  # from single groups, until the level
    B: float  # the noise scale of the gradient, in groups
    q: float  # how often the group of a problem that can teach is informative
    progress: Callable  # f(n, B) of a step from n informative groups

    def baseline(self, share: int, M: int) -> float:
        """Return the rollouts of a baseline that rolls out M problems per step."""
        made = self.progress(np.arange(1, M + 1), self.B)  # (M,) f(1..M)
        mean = binomial(M, share / 100 * self.q)[1:] @ made
        return G * M * max(1.0, self.updates * made[0] / mean)

    def selector(self, share: int, tours: bool) -> float:
        """Return the rollouts of a selector, which `tours` the pool first or finds by luck."""
        N, place = pool_size(self.task, share), PLACES[self.task]
        dull, offered = N - place.teach, min(CANDIDATES, N)
        none = math.comb(dull, offered) / math.comb(N, offered)  # no candidate can teach
        each = [place.teach // place.skills] * place.skills
        visits = dull if tours else dull_visits(dull, each)
        return G * (visits + self.updates / (self.q * (1 - none)))


def theories(task: str, folder: Path) -> dict[str, Theory]:
    """Return the theory at the equal rate and that at best rates, from the runs in a folder."""
    noise = read_noise(task, folder)
    teaching = data.TASKS[DATA[task]].pool[PLACES[task].kinds[0]]
    q = noise["informative"] / noise["groups"] / teaching
    records = list(read(folder / f"compare-{task}.jsonl", compare.run_of).values())
    arm = "dopr, no gate"
    rates = {"equal": EQUAL_RATE, "best": best_rates(records).get(arm)}
    found = {}
    for name, progress in (("equal", adam), ("best", best_step)):
        runs = of_table(records, arm, rates[name])
        if not runs:
            raise UserError(f"{folder}: compare-{task}.jsonl has no runs of {arm} to predict from")
        updates = np.mean(costs(runs, PLACES[task].level, UPDATES))
        found[name] = Theory(task, float(updates), noise["B"], q, progress)
    return found


def predictions(theory: Theory) -> str:
    """Return a table in Markdown: the predicted ratios, by share and baseline."""
    lines = [
        "| teach | " + " | ".join(BASELINES) + " | selector: tour, luck |",
        "|" + "---|" * (len(BASELINES) + 2),
    ]
    for share in SHARES:
        under = [theory.selector(share, tours) for tours in (True, False)]
        cells = []
        for arm in BASELINES:
            over = theory.baseline(share, batch(theory.task, share, arm))
            cells.append(f"{over / under[0]:.1f} to {over / under[1]:.1f}")
        lines.append(f"| {share}% | {' | '.join(cells)} | {under[0]:,.0f}, {under[1]:,.0f} |")
    return "\n".join(lines)


def show_predictions(task: str) -> None:
    """Print what theory says of a task."""
    for side, theory in theories(task, results("")).items():
        print(f"\nPredicted for {task}, {SIDES[side]}: {theory.updates:.0f} updates,"
              f" B = {theory.B:.1f} groups, q = {theory.q:.2f}\n")  # fmt: skip
        print(predictions(theory))


# --------------------------------------------------------------------------- tables and the map


def table(records: list[dict], task: str, rates: dict[str, float]) -> str:
    """Return a table in Markdown: one row per arm, each at its learning rate, for one share."""
    lines = [
        f"| arm | rate | rollouts to {PLACES[task].level:.0%} | updates | seconds "
        "| last accuracy | informative |",
        "|" + "---|" * 7,
    ]
    for arm, rate in rates.items():
        if mine := of_table(records, arm, rate):
            cells = [cost_cell(mine, PLACES[task].level, column) for column in (ROLLOUTS, UPDATES)]
            seconds = np.mean([r["seconds"]["rollout"] + r["seconds"]["update"] for r in mine])
            last = np.mean([r["end"] for r in mine])
            lines.append(
                f"| `{arm}` | {rate:g} | {' | '.join(cells)} | {seconds:.1f} | {last:.1%} "
                f"| {informative_share(mine):.0%} |"
            )
    return "\n".join(lines)


def pairs(records: list[dict], selector: str, rates: dict[int, dict]) -> list[list]:
    """Return (shares, baselines) the runs of each baseline and of the selector, [] where none."""
    found = []
    for share in SHARES:
        mine, rate = [r for r in records if r["share"] == share], rates[share]
        runs = {arm: of_table(mine, arm, rate.get(arm)) for arm in ARMS}
        found.append([(runs[arm], runs[selector]) for arm in BASELINES])
    return found


def sides(records: list[dict], task: str) -> dict[str, dict[int, dict]]:
    """Return the rates of every share and arm, on both sides of the map."""
    of_share = {share: [r for r in records if r["share"] == share] for share in SHARES}
    return {
        "equal": {share: dict.fromkeys(ARMS, EQUAL_RATE) for share in SHARES},
        "best": {share: best(some, task) for share, some in of_share.items()},
    }


def show(records: list[dict], task: str) -> None:
    """Print every table."""
    both = sides(records, task)
    for share in SHARES:
        mine = [r for r in records if r["share"] == share]
        if not mine:
            continue
        print(f"\n## {share}% of {pool_size(task, share)} problems can teach")
        cell = partial(cost_cell, level=PLACES[task].level)
        for title, seeds in (("the seeds 0 to 4", SEEDS), ("the tuning seeds", TUNING)):
            if any(r["seed"] in seeds for r in mine):
                found = overview(mine, cell, ARMS, seeds)
                print(f"\nRollouts to the level, by learning rate, on {title}\n\n{found}")
        for side, rates in both.items():
            print(f"\n{SIDES[side].capitalize()}\n\n{table(mine, task, rates[share])}")
    for side, rates in both.items():
        for selector in SELECTORS:
            print(f"\nRollouts of baselines over those of `{selector}`, {SIDES[side]}\n")
            print("| teach | " + " | ".join(BASELINES) + " |\n|" + "---|" * (len(BASELINES) + 1))
            for share, row in zip(SHARES, pairs(records, selector, rates), strict=True):
                cells = [
                    saved_cell(*pair, PLACES[task].level) if all(pair) else "not run"
                    for pair in row
                ]
                print(f"| {share}% | {' | '.join(cells)} |")


def draw(records: list[dict], task: str, path: Path) -> Path:
    """Draw the map: shares down, baselines across, one panel per selector and kind of rate."""
    theory, rates = theories(task, results("")), sides(records, task)
    figure, axes = pyplot().subplots(2, 2, figsize=(11, 8), layout="constrained")
    panels = [(side, selector) for side in rates for selector in SELECTORS]
    for axis, (side, selector) in zip(axes.flat, panels, strict=True):
        draw_panel(axis, pairs(records, selector, rates[side]), theory[side], selector)
        axis.set_title(f"over {selector}, {SIDES[side]}")
    figure.suptitle(
        f"{task}: rollouts of a baseline over a selector's, measured (predicted); M: its batch"
    )
    return save(figure, path, dpi=110)


def draw_panel(axis: "Axes", cells: list[list], theory: Theory, selector: str) -> None:
    """Draw one table of ratios in colours, with the prediction for each below it."""
    plt, task, level = pyplot(), theory.task, PLACES[theory.task].level
    values = np.full((len(SHARES), len(BASELINES)), np.nan)
    for y, share in enumerate(SHARES):
        under = theory.selector(share, tours=selector == "dopr")
        for x, (arm, pair) in enumerate(zip(BASELINES, cells[y], strict=True)):
            seen = saved(*pair, level) if all(pair) else "-"
            if all(pair) and seen != "neither arrives":
                over_runs, under_runs = (np.mean(costs(runs, level)) for runs in pair)
                values[y, x] = over_runs / under_runs
            predicted = theory.baseline(share, batch(task, share, arm)) / under
            text = f"{seen.replace(' arrives', '')}\n({predicted:.1f})"
            colour = "white" if values[y, x] > 14 else "black"
            axis.text(x, y, text, ha="center", va="center", fontsize=10, color=colour)
            if values[y, x] >= 10 and seen[0] not in "<>":
                frame = plt.Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, lw=2.5)
                axis.add_patch(frame)
    axis.imshow(np.log10(values), cmap="RdYlGn", vmin=-1.3, vmax=1.3, aspect="auto")
    axis.set_xticks(range(len(BASELINES)), list(BASELINES))
    axis.set_yticks(range(len(SHARES)), [f"{share}%" for share in SHARES])
    axis.set_ylabel("share of problems that teach")


# ------------------------------------------------------------------------------------ the command


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments, with those that --quick stands for."""
    parser = Parser(prog="map.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--task", default="small", choices=list(PLACES))
    add("--shares", nargs="+", type=whole_number(1), default=SHARES, choices=SHARES,
        metavar="PERCENT", help="[2 5 10 25 50]")  # fmt: skip
    add("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    add("--rates", nargs="+", type=learning_rate, default=RATES, metavar="RATE",
        help="learning rates tried on the tuning seeds [four]")  # fmt: skip
    add("--seeds", nargs="*", type=whole_number(0), default=SEEDS, metavar="SEED",
        help="[0 1 2 3 4]")  # fmt: skip
    add("--tune", nargs="*", type=whole_number(0), default=TUNING, choices=TUNING, metavar="SEED",
        help="seeds that pick the best rates [100 101 102]")  # fmt: skip
    add("--processes", type=whole_number(1), default=os.cpu_count(),
        help="how many runs at once [one per core]")  # fmt: skip
    add("--quick", action="store_true", help="three shares, two learning rates, one seed")
    add("--predict", action="store_true", help="make no runs, print what theory says")
    add("--tables", action="store_true", help="make no runs, print the tables and draw the map")
    add("--out", type=file_to_write, metavar="FILE",
        help="where the runs are kept [experiments/results/map-TASK.jsonl]")  # fmt: skip
    add("--figure", type=file_to_write, metavar="FILE", help="where the map is drawn [not at all]")
    args = parser.parse_args(argv)
    if args.quick:
        args.shares, args.rates, args.seeds, args.tune = (5, 10, 25), (1e-4, 4e-4), (0,), (100,)
    args.out = args.out or results(f"map-{args.task}{'-quick' * args.quick}.jsonl")
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the predictions, or make the runs that are missing and print and draw what they say."""
    args = read_arguments(argv)
    os.chdir(ROOT)  # the configurations name models from here
    if args.predict:
        show_predictions(args.task)
        return
    if not args.tables:
        make_all(args)
    records = [held(r) for r in read(args.out, run_of).values() if r["task"] == args.task]
    if not records:
        raise UserError(f"{args.out}: no finished runs of {args.task}; leave out --tables")
    show(records, args.task)
    if args.figure:
        print(f"\n{draw(records, args.task, args.figure)}")


if __name__ == "__main__":
    sys.exit(main())
