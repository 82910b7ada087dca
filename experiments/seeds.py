"""Does the default job hold?  `small.json` on a hundred seeds, as it is and with keys changed.

    python experiments/seeds.py                            the seeds 0 to 99: 9 minutes
    python experiments/seeds.py --threads 2 --seeds 20     sums round otherwise
    python experiments/seeds.py --seeds 20 --set selector.name=dopr --set selector.ema=0.9
    python experiments/seeds.py --tables                   print what is there

It measures how often a run ends well, by the last evaluation on 200 held-out problems.  Nothing was
tuned on these seeds: settings were picked on seeds from 1,000 on.  A run that is stopped loses only
the runs that were under way: the same command goes on with what is missing.

How to read it: one row per way of running, the default first.  A share of 99 in 100 is known to
within two points: its 95% interval (Wilson) stands beside it.  Below the table every seed of the
default is named that ends below 97%, with its accuracy by kind of problem.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
from project import ROOT
from runs import is_count, is_number, make_runs, read, results, train_once
from tqdm import tqdm

from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.config import read_config

CONFIG = ROOT / "small.json"
GOOD = 0.97


def run(seed: int, threads: int, sets: tuple[str, ...]) -> dict:
    """Train once with these keys set, "KEY=VALUE" each, and return the record of the run."""
    keys = dict(pair.split("=", 1) for pair in sets)
    _, summary = train_once(str(CONFIG), {**keys, "seed": seed, "threads": threads})
    names = ("accuracy_before", "accuracy_after", "rollouts", "tokens", "informative_groups")
    return {
        "seed": seed, "threads": threads, "set": keys, **{name: summary[name] for name in names},
        "by_kind": {k: round(a, 4) for k, a in summary["accuracy_by_kind_after"].items()},
        "seconds": round(summary["seconds"]["total"], 1),
    }  # fmt: skip


def run_of(record: dict) -> tuple[int, int, tuple[str, ...]]:
    """Return the job that made a record; ValueError where it is no record of this command."""
    names = ("accuracy_before", "accuracy_after", "rollouts", "informative_groups", "seconds")
    keys = record.get("set")
    if not (
        is_count(record.get("seed")) and is_count(record.get("threads"))
        and all(is_number(record.get(name)) for name in names) and record["accuracy_after"] <= 1
        and isinstance(record.get("by_kind"), dict) and isinstance(keys, dict)
    ):  # fmt: skip
        raise ValueError("not the record of a run of seeds.py")
    return record["seed"], record["threads"], tuple(f"{k}={v}" for k, v in keys.items())


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share of which k of n were seen (Wilson 1927)."""
    z = 1.959964
    middle, width = (k + z**2 / 2) / (n + z**2), z / (n + z**2)
    half = width * np.sqrt(k * (n - k) / n + z**2 / 4)
    return float(middle - half), float(middle + half)


def show(records: list[dict]) -> None:
    """Print how the runs of each way ended, and every one of the default that ended badly."""
    print(
        f"| set | threads | ends at {GOOD:.0%} or more | lowest | mean | informative groups "
        "| seconds |\n" + "|---" * 7 + "|"
    )
    ways = sorted({run_of(r)[1:] for r in records}, key=lambda way: (way[1] != (), way))
    for threads, sets in ways:
        mine = [r for r in records if run_of(r)[1:] == (threads, sets)]
        ends = np.array([r["accuracy_after"] for r in mine])
        good = int((ends >= GOOD).sum())
        low, high = wilson(good, len(mine))
        groups = [r["informative_groups"] for r in mine]
        print(
            f"| {', '.join(f'`{pair}`' for pair in sets) or 'the default'} | {threads} "
            f"| {good} of {len(mine)} [{low:.1%}, {high:.1%}] | {ends.min():.1%} "
            f"| {ends.mean():.1%} | {np.mean(groups):.0f} "
            f"| {np.mean([r['seconds'] for r in mine]):.1f} |"
        )
    print()
    for r in sorted(records, key=run_of):
        if r["accuracy_after"] < GOOD and not r["set"]:
            kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in r["by_kind"].items())
            print(
                f"seed {r['seed']}, {r['threads']} thread{'s' * (r['threads'] > 1)}: "
                f"{r['accuracy_after']:.1%} ({kinds})"
            )


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments."""
    parser = Parser(prog="seeds.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--seeds", type=whole_number(1), default=100, help="how many, from 0 on [100]")
    add("--threads", type=whole_number(1), default=1, help="CPU threads of each run [1]")
    add("--processes", type=whole_number(1), help="how many runs at once [cores / threads]")
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="set a key of the configuration")  # fmt: skip
    add("--tables", action="store_true", help="make no runs, print only what is there")
    add("--out", type=file_to_write, metavar="FILE",
        help="where the runs are kept [experiments/results/seeds.jsonl]")  # fmt: skip
    args = parser.parse_args(argv)
    args.out = args.out or results("seeds.jsonl")
    args.processes = args.processes or max(1, (os.cpu_count() or 1) // args.threads)
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print how they ended."""
    args = read_arguments(argv)
    if not args.tables:
        os.chdir(ROOT)  # the configuration names its model from here
        read_config(CONFIG, args.set)
        jobs = [(seed, args.threads, tuple(args.set)) for seed in range(args.seeds)]
        for record in make_runs(run, jobs, args.out, args.processes, run_of):
            if record["accuracy_after"] < GOOD:
                tqdm.write(f"seed {record['seed']}: {record['accuracy_after']:.1%}")
    records = list(read(args.out, run_of).values())
    if not records:
        raise UserError(f"{args.out}: no finished runs; leave out --tables to make them")
    show(records)


if __name__ == "__main__":
    sys.exit(main())
