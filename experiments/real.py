"""Does one well-chosen problem per step save rollouts on a real checkpoint?

    python experiments/real.py --model FOLDER       4 hours on two cores, by estimate
    python experiments/real.py --quick              two rates, three seeds: an hour
    python experiments/real.py --shares 5 25        the other pools, at the rates of the 10% pool
    python experiments/real.py --device cuda --processes 11 --tune --rates 1e-5
                                                    one rate on a GPU: minutes
    python experiments/real.py --tables             print the tables of the runs that are there
    python experiments/real.py --arms dopr --seeds 0 --tune        only this part of the runs
    python experiments/real.py --out mine.jsonl     make all runs anew, into a file of your own

It trains SmolLM2-135M-Instruct with `configs/smollm2-135m.json`, from FOLDER or else from the hub,
on pools of 128 problems of which only 5, 10 or 25% can teach: plain sums, which the model solves
now and then.  All others are products of three-digit numbers, out of its reach.  It measures how
many rollouts each arm needs until half of the held-out sums are right, greedily.  The level is 50%
because in a first trial the runs that learned best ended at 50 to 62%: nearer to the limit of what
such a pool teaches, luck would decide when a run arrives, and whether.

Selectors and random problems choose among 64 candidates.  Full batch is there with M = 64, which
is usual, and with M = 16.  Groups have 8 responses, and learning rates are constant.  Four rates
are tried for every arm on the seeds 100 and 101, on the 10% pool (or on those of --tune); one that
failed on the first is not tried on the second.  Then the seeds 0 to 4 are run at the equal rate
1e-5 and at each arm's best rate.

A run ends at the second of two evaluations in a row at the level, and arrives at the first; or it
ends after its budget.  That is 3,840 rollouts for a selector, and for a baseline fifteen times the
mean of what the best selector needed on pools of that share at that rate (or at 1e-5, if the rate
is larger and no selector always arrived there), on seeds of the same kind, 30,720 at most.  So the
selectors come first.  A command that is stopped loses only the runs that were under way, and goes
on with what is missing.

Before it begins, the command says how long its runs will take on a CPU: with the step times below,
measured on one core, where a selector's run at the equal rate ends after 640 rollouts on the 10%
pool (the first trial did), a baseline's after five times as many, and all after twice as many at a
quarter of the rate.  On one H200 with 16 CPU cores the 20 runs of all arms but random problems at
the equal rate took 3.4 minutes, eleven at a time, with temporary files in memory
(`TMPDIR=/dev/shm`).  A run takes 2.5 GB of memory (`train.py` prints the parts) and 3 GB in the
folder for temporary files.  To save time, leave out rates with --rates; --tune or --shares with
nothing behind it leaves out the tuning or the other runs.

How to read it: costs are means over the seeds 0 to 4 with 95% bootstrap intervals.  A run that
never reaches the level counts with its end, and then the cost is marked ">".  A ratio is the cost
of a baseline over that of a selector, with a bootstrap interval that draws the runs of both.  It is
marked ">" where the baseline did not always arrive, so that it is a bound, and "<" where the
selector did not.  Seconds are those of rollouts and updates, without evaluations, and of runs that
shared the machine.  The last accuracies are those at which runs ended, so 50% and more wherever a
run arrived.  The last lines say how often a product was paid, and for what.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from project import ROOT
from runs import (
    ACCURACY,
    ROLLOUTS,
    SEEDS,
    TOKENS,
    all_arrive,
    cost_cell,
    cost_to,
    costs,
    failed_rates,
    held,
    informative_share,
    is_count,
    is_number,
    is_run,
    learning_rate,
    make_runs,
    of_table,
    overview,
    read,
    results,
    saved_cell,
    train_once,
)
from runs import best_rates as best_by_loss
from tqdm import tqdm

from data import Problem, plain_sums, write_jsonl
from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.config import read_config
from plumbing.device import kind, pick_device
from plumbing.record import RESPONSES
from plumbing.weights import find_folder

CONFIG = ROOT / "configs/smollm2-135m.json"
SHARES = (5, 10, 25)  # per cent of the pool that can teach
POOL, HELDOUT = 128, 50  # problems; an evaluation of 50 takes as long as seven groups
KINDS = ("sum", "product", "wrong product")
LEVEL = 0.5  # the accuracy whose cost is compared
RATES = (3e-6, 1e-5, 3e-5, 1e-4)
EQUAL_RATE = 1e-5  # at which all arms are set beside each other
TUNING = (100, 101)  # only these seeds pick an arm's best rate
TUNED = 10  # the share whose pools they are run on, unless others are asked for
BUDGET, MOST = 3840, 30720  # rollouts of a selector's run; of a baseline's at most
TIMES = 15  # a baseline's run may take so many times what the best selector needed
TYPICAL = {5: 1280, 10: 640, 25: 384}  # rollouts of a selector at the equal rate, by guess
UNKNOWN = 0.0  # a learning rate that is still to be picked
SECONDS = 4  # a column of a record's curve, behind those of `runs.py`


@dataclass(frozen=True)
class Arm:
    """What an arm sets, and what its runs cost."""

    keys: dict  # of the configuration
    every: int  # rollouts between two evaluations
    group: float  # seconds that a group of 8 rollouts takes on one core


ONE = {"selector.candidates": 64, "selector.entropy": "none"}
ALL = {**ONE, "selector.name": "full_batch"}
ARMS = {
    "dopr": Arm({**ONE, "selector.name": "dopr", "selector.ema": 0.9}, 64, 0.9),
    "informative": Arm({**ONE, "selector.name": "informative"}, 64, 0.9),
    "random_one": Arm({**ONE, "selector.name": "random_one"}, 128, 0.9),
    "full_batch_16": Arm({**ALL, "selector.candidates": 16}, 256, 0.36),
    "full_batch_64": Arm(ALL, 512, 0.36),  # 512 is one step
}
SELECTORS, BASELINES = list(ARMS)[:2], list(ARMS)[2:]
UPDATE, EVALUATION, START = 1.8, 6.2, 12.0  # seconds on one core: per informative group, each, once


# ---------------------------------------------------------------------------------- the problems


def pool(share: int, seed: int) -> list[Problem]:
    """Return the pool of a seed in which so many per cent can teach.

    The sums of a pool with fewer of them are the first ones of a pool with more.
    """
    rng = np.random.default_rng(seed)
    sums = plain_sums(round(POOL * max(SHARES) / 100), rng, heldout=False)
    n = round(POOL * share / 100)
    taught = [Problem(p.text, p.answer, KINDS[0]) for p in sums[:n]]
    return taught + out_of_reach(POOL - n, rng)


def heldout(seed: int) -> list[Problem]:
    """Return the sums that a run of the seed is evaluated on; none of them is in any pool."""
    return plain_sums(HELDOUT, np.random.default_rng(seed), heldout=True)


def out_of_reach(n: int, rng: np.random.Generator) -> list[Problem]:
    """Return n products of three-digit numbers; every other one has a wrong gold.

    Nothing is to be earned with them.  The numbers have no 0 and no 1, so that no product is easy.
    A wrong gold is off by an odd amount of less than 100, so that no right answer earns it, however
    it is written.  And no gold can be copied together from the question: 222*222 - 99 is larger
    than any sum, and a number with the other behind it is larger than their product by more than
    99.  What is left is to hit five or six digits by chance.  A trick that the verifier would pay
    would show as right answers to products whose gold is right, and as none to the others; every
    record counts both.
    """
    found: dict[str, Problem] = {}
    while len(found) < n:
        a, b = (int("".join(map(str, digits))) for digits in rng.integers(2, 10, size=(2, 3)))
        wrong = len(found) % 2
        gold = a * b + wrong * int(2 * rng.integers(-50, 50) + 1)
        found.setdefault(f"{a}*{b}=", Problem(f"{a}*{b}=", str(gold), KINDS[1 + wrong]))
    return list(found.values())


# -------------------------------------------------------------------------------------- the runs


def run(
    share: int, arm: str, rate: float, seed: int, *, model: str, device: str,
    limits: dict[tuple[int, float], int], scratch: str | None = None,
) -> dict:  # fmt: skip
    """Train once, at most until the limit for its share and rate, and return the record of the run.

    `scratch` is the folder for its temporary files.
    """
    earned: list[list[str]] = []
    limit = limits[share, rate]  # in rollouts
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        files = {name: Path(folder) / f"{name}.jsonl" for name in ("pool", "heldout")}
        write_jsonl(files["pool"], pool(share, seed))
        write_jsonl(files["heldout"], heldout(seed))
        steps, summary = train_once(str(CONFIG), {
            "model": model, "device": device, "seed": seed, "data.pool": files["pool"],
            "data.pool_size": 0, "data.heldout": files["heldout"], "data.heldout_size": 0,
            "steps": limit, "max_rollouts": limit, "update.lr": rate,
            "update.decay": "false", "eval_every": ARMS[arm].every, "stop_accuracy": LEVEL,
            "responses": "true", **ARMS[arm].keys,
        }, within=Path(folder), look=lambda out: earned.extend(paid_products(out)))  # fmt: skip
    curve, seconds = [[0, 0, 0, summary["accuracy_before"], 0]], 0.0
    paid = {name: [0, 0] for name in KINDS}  # right responses, and all
    for step in steps:
        seconds += step["seconds"]["rollout"] + step["seconds"]["update"]
        for name, solved in zip(step["kind"], step["solved"], strict=True):
            paid[name][0] += int(sum(solved))
            paid[name][1] += len(solved)
        if "accuracy" in step:
            names = ("rollouts", "tokens", "updates", "accuracy")
            curve.append([*(step[name] for name in names), round(seconds, 1)])
    return {
        "share": share, "arm": arm, "rate": rate, "seed": seed, "device": kind(device),
        "curve": curve, "informative": summary["informative_groups"],
        "groups": summary["rollouts"] // summary["group_size"], "paid": paid, "earned": earned,
        "seconds": {name: round(value, 1) for name, value in summary["seconds"].items()},
    }  # fmt: skip


def paid_products(run: Path) -> list[list[str]]:
    """Return the first responses of a run that a product was paid for, with their problems.

    They are to be read: a product may have been learned by heart, or the verifier tricked.
    """
    rows = map(json.loads, (run / RESPONSES).read_text(encoding="utf-8").splitlines())
    paid = [(row["problem"], row["text"]) for row in rows if row["solved"]]
    return [[problem, text] for problem, text in paid if "*" in problem][:4]


def run_of(record: dict, device: str | None = None) -> tuple:
    """Return the job that made a record; ValueError where it is no record of this command.

    With `device` it also has to be made on such a one.
    """
    share, arm, rate, seed = (record.get(name) for name in ("share", "arm", "rate", "seed"))
    paid, seconds = record.get("paid"), record.get("seconds")
    earned = record.get("earned", [])  # which the oldest records do not have
    if not (
        share in SHARES and arm in list(ARMS) and is_number(rate) and rate > 0
        and is_run(record, columns=5, accuracy=ACCURACY) and record["curve"][0][:3] == [0, 0, 0]
        and isinstance(paid, dict) and list(paid) == list(KINDS)
        and all(isinstance(n, list) and list(map(is_count, n)) == [True] * 2 for n in paid.values())
        and isinstance(seconds, dict) and all(map(is_number, seconds.values()))
        and isinstance(earned, list)
        and all(isinstance(pair, list) and [*map(type, pair)] == [str, str] for pair in earned)
    ):  # fmt: skip
        raise ValueError("not the record of a run of real.py")
    if device is not None and record.get("device") != device:
        raise ValueError(f"the record of a run on another device than {device}")
    return share, arm, rate, seed


def best_rates(records: list[dict], share: int) -> dict[str, float]:
    """Return the best rate of every arm that was tuned, by the tuning seeds alone.

    They are those of the share's own pools, or of the 10% pools where there are none.  Of the rates
    that arrived on every seed, or else of all, the best is the one of the least mean cost, and of
    equals the one that ends with the most right.
    """
    tuning = [r for r in records if r["seed"] in TUNING]
    tuning = [r for r in tuning if r["share"] == share] or [
        r for r in tuning if r["share"] == TUNED
    ]

    def loss(mine: list[dict]) -> tuple[bool, float, float]:
        return not all_arrive(mine, LEVEL), float(np.mean(costs(mine, LEVEL))), -last_accuracy(mine)

    return best_by_loss(tuning, loss, ARMS, TUNING)


def budget(records: Iterable[dict], share: int, rate: float, seeds: Sequence[int]) -> int:
    """Return the rollouts after which a baseline's run ends, as a multiple of a selector's cost.

    It is that of the best selector whose runs all arrived, at the baseline's rate, or else, above
    the equal rate, at the equal one.  Where there is none it is the most.
    """
    mine = [r for r in records if r["share"] == share]
    for at in (rate, EQUAL_RATE) if rate > EQUAL_RATE else (rate,):
        runs = [of_table(mine, arm, at, seeds) for arm in SELECTORS]
        if arrived := [some for some in runs if some and all_arrive(some, LEVEL)]:
            least = min(float(np.mean(costs(some, LEVEL))) for some in arrived)
            return min(MOST, 512 * math.ceil(TIMES * least / 512))
    return MOST


def tuning_jobs(args: argparse.Namespace, records: list[dict], seed: int) -> list[tuple]:
    """Return the jobs of one tuning seed: the rates that did not fail on the other, so far."""
    failed = failed_rates(records, {*TUNING} - {seed}, LEVEL)
    return [
        (share, arm, rate, seed)
        for share in args.tune for rate in args.rates or RATES for arm in args.arms
        if (share, arm, rate) not in failed
    ]  # fmt: skip


def table_jobs(args: argparse.Namespace, records: list[dict]) -> list[tuple]:
    """Return the jobs of the tables; a best rate that the tuning is still to pick is UNKNOWN."""
    found = []
    for share in args.shares:
        best = best_rates(records, share)
        for seed, arm in ((seed, arm) for seed in args.seeds for arm in args.arms):
            pick = [best[arm]] if arm in best else [UNKNOWN] if args.tune else []
            found += [(share, arm, rate, seed) for rate in args.rates or [EQUAL_RATE, *pick]]
    return list(dict.fromkeys(found))


def make_all(args: argparse.Namespace, model: str, scratch: str) -> None:
    """Make the runs that are missing: of each part those of the selectors first."""
    recorded = partial(run_of, device=kind(args.device))
    done = read(args.out, recorded, leave_unfinished=True)
    records = [held(record) for record in done.values()]
    tuning = [partial(tuning_jobs, seed=seed) for seed in TUNING]
    every = [job for part in (*tuning, table_jobs) for job in part(args, records)]
    say_time(args, [job for job in every if job not in done])
    stages = [(part, SELECTORS) for part in tuning] + [(part, BASELINES) for part in tuning]
    stages += [(table_jobs, SELECTORS), (table_jobs, BASELINES)]
    for part, arms in stages:
        records = [held(r) for r in read(args.out, recorded, leave_unfinished=True).values()]
        wanted = [job for job in part(args, records) if job[1] in arms and job[2] != UNKNOWN]
        seeds = SEEDS if part is table_jobs else TUNING
        limits = {
            (share, rate): BUDGET if arms is SELECTORS else budget(records, share, rate, seeds)
            for share, _, rate, _ in wanted
        }
        make = partial(run, model=model, device=args.device, limits=limits, scratch=scratch)
        for record in make_runs(make, wanted, args.out, args.processes, recorded):
            share, arm, rate, seed = run_of(record)
            rollouts, accuracy = (record["curve"][-1][column] for column in (ROLLOUTS, ACCURACY))
            tqdm.write(
                f"{share}% {arm} {rate:g} seed {seed}: {accuracy:.0%} after {rollouts:,} rollouts"
            )


def say_time(args: argparse.Namespace, missing: list[tuple]) -> None:
    """Print how many runs there are to make and, for a CPU, about how long they will take."""
    text = f"{len(missing)} runs to make"
    if kind(args.device) == "cpu":
        hours = sum(seconds_of(*job) for job in missing) / args.processes / 3600
        text += f"; about {hours:.1f} hours, with {args.processes} at once and a core for each"
    print(text, flush=True)


def seconds_of(share: int, arm: str, rate: float, seed: int) -> float:
    """Return about how long a run takes on one core, if it ends where one would expect it."""
    rollouts = TYPICAL[share] * (1 if arm in SELECTORS else 5)
    if rate != UNKNOWN:
        rollouts *= math.sqrt(EQUAL_RATE / rate)
    teaches = 0.5 if arm in SELECTORS else share / 100
    evaluations = rollouts / ARMS[arm].every
    return START + rollouts / 8 * (ARMS[arm].group + teaches * UPDATE) + evaluations * EVALUATION


# ------------------------------------------------------------------------------------- the tables


def last_accuracy(mine: list[dict]) -> float:
    """Return the mean accuracy at which runs ended."""
    return float(np.mean([r["end"] for r in mine]))


def table(records: list[dict], rates: dict[str, float]) -> str:
    """Return a table in Markdown: one row per arm, each at its learning rate."""
    lines = [
        f"| arm | rate | arrived | rollouts to {LEVEL:.0%} | tokens | seconds "
        "| last accuracy | informative |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, rate in rates.items():
        if mine := of_table(records, arm, rate):
            arrived = sum(np.isfinite(cost_to(r, LEVEL)) for r in mine)
            cells = [cost_cell(mine, LEVEL, column) for column in (ROLLOUTS, TOKENS, SECONDS)]
            lines.append(
                f"| `{arm}` | {rate:g} | {arrived} of {len(mine)} | {' | '.join(cells)} "
                f"| {last_accuracy(mine):.1%} | {informative_share(mine):.0%} |"
            )
    return "\n".join(lines)


def ratios(records: list[dict], rates: dict[str, float]) -> str:
    """Return a table in Markdown: the cost of each baseline over that of each selector."""
    under = {arm: of_table(records, arm, rates[arm]) for arm in SELECTORS if arm in rates}
    under = {arm: runs for arm, runs in under.items() if runs}
    pairs = [(arm, column) for column in (ROLLOUTS, SECONDS) for arm in under]
    names = {ROLLOUTS: "rollouts", SECONDS: "seconds"}
    lines = ["| | " + " | ".join(f"{names[column]} over `{arm}`" for arm, column in pairs) + " |"]
    lines.append("|" + "---|" * (len(pairs) + 1))
    for arm in BASELINES:
        over = of_table(records, arm, rates[arm]) if arm in rates else []
        if over and under:
            cells = [saved_cell(over, under[selector], LEVEL, column) for selector, column in pairs]
            lines.append(f"| `{arm}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def show(records: list[dict]) -> None:
    """Print every table, share by share."""
    cell = partial(cost_cell, level=LEVEL)
    for share in sorted({r["share"] for r in records}):
        mine = [r for r in records if r["share"] == share]
        print(f"\n## {share}% of the pool can teach")
        for title, seeds in (("the seeds 0 to 4", SEEDS), ("the tuning seeds", TUNING)):
            if any(r["seed"] in seeds for r in mine):
                found = overview(mine, cell, ARMS, seeds)
                print(f"\nRollouts to {LEVEL:.0%}, by learning rate, on {title}\n\n{found}")
        seen = sorted({r["rate"] for r in mine if r["seed"] in SEEDS})
        sides = {f"All at {rate:g}": dict.fromkeys(ARMS, rate) for rate in seen}
        if best := best_rates(records, share):
            sides["Each arm at its best rate"] = best
        for title, rates in sides.items():
            print(f"\n{title}\n\n{table(mine, rates)}")
            if found := ratios(mine, rates):
                print(f"\n{title}: baselines over selectors\n\n{found}")
        show_paid(mine)


def show_paid(records: list[dict]) -> None:
    """Print how often each kind of problem was paid, and the first response paid for a product."""
    counts = np.sum([list(r["paid"].values()) for r in records], axis=0)  # (kinds, 2)
    said = [f"{n:,} of {of:,} responses to a {KINDS[i]}" for i, (n, of) in enumerate(counts)]
    print(f"\nPaid: {', '.join(said)}")
    for record in records:
        for problem, text in record.get("earned", [])[:1]:
            print(f"{record['arm']}, seed {record['seed']}, paid for {problem}: {text!r}")


# ------------------------------------------------------------------------------------ the command


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments, with those that --quick stands for."""
    parser = Parser(prog="real.py", description=__doc__.split("\n")[0])
    share = {"type": whole_number(1), "choices": SHARES, "nargs": "*", "metavar": "PERCENT"}
    add = parser.add_argument
    add("--model", metavar="FOLDER", help="the checkpoint [that of configs/smollm2-135m.json]")
    add("--device", default="cpu", help="'cpu', 'cuda', 'cuda:1' or 'auto' [cpu]")
    add("--processes", type=whole_number(1), default=2, help="how many runs at once [2]")
    add("--shares", **share, default=(TUNED,), help="pools of the tables' runs [10]")
    add("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    add("--rates", nargs="+", type=learning_rate, metavar="RATE",
        help="[four on the tuning seeds; then 1e-5 and each arm's best]")  # fmt: skip
    add("--seeds", nargs="+", type=whole_number(0), default=SEEDS, metavar="SEED",
        help="[0 1 2 3 4]")  # fmt: skip
    add("--tune", **share, default=(TUNED,),
        help="pools on which rates are tried, on the seeds 100 and 101 [10]")  # fmt: skip
    add("--quick", action="store_true", help="one pool, two learning rates, three seeds")
    add("--tables", action="store_true", help="make no runs, print only the tables")
    add("--out", type=file_to_write, metavar="FILE",
        help="where the runs are kept [experiments/results/real.jsonl]")  # fmt: skip
    args = parser.parse_args(argv)
    if args.quick:
        args.shares, args.tune, args.rates, args.seeds = [TUNED], [], [EQUAL_RATE, 3e-5], SEEDS[:3]
    device = kind(args.device)
    form = "-quick" * args.quick + f"-{device}" * (device != "cpu")
    args.out = args.out or results(f"real{form}.jsonl")
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print the tables."""
    args = read_arguments(argv)
    if not args.tables:
        cfg = read_config(CONFIG, [f"device={args.device}"])
        pick_device(cfg.device)
        model = str(find_folder(args.model or cfg.model).resolve())
        # a run that is stopped leaves its checkpoint, which goes with this folder
        with tempfile.TemporaryDirectory() as scratch:
            make_all(args, model, scratch)
    records = [held(record) for record in read(args.out, run_of).values()]
    if not records:
        raise UserError(f"{args.out}: no finished runs; leave out --tables to make them")
    show(records)


if __name__ == "__main__":
    sys.exit(main())
