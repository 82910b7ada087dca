"""How few problems are enough?  Accuracy on held-out problems against the size of the pool.

    python experiments/few_instances.py                                     5 minutes on two cores
    python experiments/few_instances.py --task tables --sizes 2 8 32 80     25 minutes
    python experiments/few_instances.py --tables     print the table of the runs that are there

It trains on pools of N learnable problems, drawn at random, and nothing else.  At each step one of
them, at random, is rolled out, with the task's own settings, until 1,408 rollouts are spent (8,192
on the harder task).

How to read it: one row per size of pool, and in it one entry per seed.  "groups to 90%" is the
number of informative groups until an evaluation is at 90%: by this the harder task was chosen.
The last column is the ceiling of accuracy *without transfer* (`bound.py`, point 8): the held-out
accuracy if training made every fact that the pool asks for perfect, and left the others as the
annotators have them.  The facts are those that the task is made of: to carry and to borrow,
or each of the 28 shaky products.  Accuracy above the ceiling is transfer from fact to fact.  (The
rates are those of sampling.  Accuracy is that of the likeliest answer, which without the fact is
wrong, as they are below 1/2: without any transfer it is lower still.)
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from project import ROOT
from runs import (
    TASKS,
    informative_share,
    is_count,
    is_number,
    is_run,
    make_runs,
    read,
    results,
    train_once,
)

from bound import accuracy_ceiling
from data import FORGET, MISTAKE, Problem, draw_problem, is_shaky, n_carries, write_jsonl
from evaluate import interval
from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.config import read_config
from plumbing.setup import read_problems

SIZES, SEEDS = (1, 2, 4, 8, 16, 32, 80), (0, 1, 2, 3, 4)
SKILLS = {
    "small": ["+", "-"],
    "tables": [f"{x}*{b}" for x in range(10) for b in range(10) if is_shaky(x, b)],
}
MOST = 1000  # problems at most, all different; there are 3,450 shaky products


def draw(task: str, n: int, seed: int) -> list[Problem]:
    """Return n different problems that the base model solves now and then.

    With the same seed, the problems of a smaller pool are the first ones of a larger pool.
    """
    rng = np.random.default_rng(seed)
    problems: dict[str, Problem] = {}
    while len(problems) < n:
        if task == "tables":
            problem = draw_problem("tables", "shaky", "*", rng)
        else:
            problem = draw_problem("arithmetic", "carry", str(rng.choice(["+", "-"])), rng)
        problems[problem.text] = problem
    return list(problems.values())


# ------------------------------------------------------------------------------------ the ceiling


def needs(problem: Problem) -> dict[str, float]:
    """Return the skills that a problem asks for, and what share of tries is right without each."""
    op = next(c for c in problem.text if c in "+-*")
    a, b = problem.text.rstrip("=").split(op)
    if op == "*":
        facts = [f"{x}*{b}" for x in a if is_shaky(int(x), int(b))]
        return {fact: (1 - MISTAKE) ** facts.count(fact) for fact in facts}
    return {op: (1 - FORGET) ** n_carries(int(a), op, int(b))}


def ceiling_of(task: str, pool: list[Problem], seed: int) -> float:
    """Return the ceiling of accuracy, on a run's held-out problems, of training on a pool."""
    data = read_config(ROOT / TASKS[task].config, []).data
    test = read_problems(data.heldout, data.heldout_size, seed, heldout=True)
    rates = [[needs(problem).get(skill, 1.0) for skill in SKILLS[task]] for problem in test]
    asked = {skill for problem in pool for skill, rate in needs(problem).items() if rate < 1}
    return accuracy_ceiling(rates, [skill in asked for skill in SKILLS[task]])


# --------------------------------------------------------------------------------------- the runs


def run(task: str, n: int, seed: int) -> dict:
    """Train once on a pool of n problems, and return the record of the run."""
    pool = draw(task, n, seed)
    budget = TASKS[task].rollouts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.jsonl"
        write_jsonl(path, pool)
        steps, summary = train_once(TASKS[task].config, {
            "seed": seed, "selector.name": "random_one", "data.pool": path, "data.pool_size": 0,
            "steps": budget, "max_rollouts": budget, "eval_every": 80,
        })  # fmt: skip
    curve = [(step["updates"], step["accuracy"]) for step in steps if "accuracy" in step]
    return {
        "N": n, "seed": seed, "before": summary["accuracy_before"], "curve": curve,
        "informative": summary["informative_groups"], "groups": len(steps),
        "ceiling": ceiling_of(task, pool, seed),
    }  # fmt: skip


def table(records: list[dict]) -> str:
    """Return a table in Markdown: one row per size of pool, with every seed in it."""
    lines = [
        "| problems | after, each seed | mean [95%] | informative | groups to 90% "
        "| ceiling without transfer |",
        "|---|---|---|---|---|---|",
    ]
    for n in sorted({r["N"] for r in records}):
        mine = sorted((r for r in records if r["N"] == n), key=lambda r: r["seed"])
        after = [r["curve"][-1][1] for r in mine]
        mean, low, high = interval(after)
        share = informative_share(mine)
        needed = [next((str(u) for u, a in r["curve"] if a >= 0.9), "never") for r in mine]
        ceilings = [f"{r['ceiling']:.0%}" for r in mine]
        lines.append(
            f"| {n} | {', '.join(f'{a:.0%}' for a in after)} | {mean:.0%} [{low:.0%}, {high:.0%}] "
            f"| {share:.0%} | {', '.join(needed)} | {', '.join(ceilings)} |"
        )
    return "\n".join(lines)


def run_of(record: dict) -> tuple:
    """Return the job that made a record; ValueError where it is no record of this command."""
    n, before, ceiling = (record.get(name) for name in ("N", "before", "ceiling"))
    if not (
        is_count(n) and n > 0 and is_run(record, columns=2)
        and is_number(before) and before <= 1 and is_number(ceiling) and ceiling <= 1
    ):  # fmt: skip
        raise ValueError("not the record of a run of few_instances.py")
    return n, record["seed"]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print the table."""
    parser = Parser(prog="few_instances.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--task", default="small", choices=list(TASKS))
    add("--sizes", type=whole_number(1), nargs="+", default=SIZES, metavar="N",
        help="[1 2 4 8 16 32 80]")  # fmt: skip
    add("--processes", type=whole_number(1), default=os.cpu_count(),
        help="how many runs at once [one per core]")  # fmt: skip
    add("--tables", action="store_true", help="make no runs, print only the table")
    add("--out", type=file_to_write, metavar="FILE",
        help="where the runs are kept [experiments/results/few-TASK.jsonl]")  # fmt: skip
    args = parser.parse_args(argv)
    if max(args.sizes) > MOST:
        raise UserError(f"--sizes {max(args.sizes)}: at most {MOST} problems")
    out = args.out or results(f"few-{args.task}.jsonl")
    if not args.tables:
        jobs = [(n, seed) for seed in SEEDS for n in args.sizes]
        os.chdir(ROOT)  # the configurations name models from here
        for _ in make_runs(partial(run, args.task), jobs, out, args.processes, run_of):
            pass
    records = list(read(out, run_of).values())
    if not records:
        raise UserError(f"{out}: no finished runs; leave out --tables to make them")
    print(table(records))
    found, ceilings = np.array([(r["curve"][-1][1], r["ceiling"]) for r in records]).T
    print(f"above the ceiling: {(found > ceilings).sum()} of {len(records)} runs", end="")
    moves = min(np.ptp(found), np.ptp(ceilings)) > 0
    print(f"; correlation {np.corrcoef(found, ceilings)[0, 1]:.2f}" if moves else "")


if __name__ == "__main__":
    sys.exit(main())
