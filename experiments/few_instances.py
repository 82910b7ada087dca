"""How few problems are enough?  Accuracy on held-out problems against the size of the pool.

python experiments/few_instances.py [--task tables] [--sizes 80] [--tables]

The pool holds N learnable problems drawn at random and nothing else; one of them, at random, is
rolled out at each step, with the task's settings, for as many rollouts as `compare.Task` says
(1,408; the harder task 8,192).  "groups to 90%" is how many informative groups that takes: the
measure by which `tables` was chosen as the harder task.

Beside it stands the least number of rollouts that could tell, from this pool's rewards, *which*
skill a policy lacks: none, or one of those that the task is made of (to carry, to borrow; or one of
the 28 shaky products).  A pool that never asks for a skill cannot tell at all: "never".
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import ROOT, TASKS, at_least, file_to_write, in_processes, read, stop, train_once

from bound import identification_bound
from data import FORGET, MISTAKE, Problem, arithmetic_problem, is_shaky, n_carries, table_problem
from evaluate import interval

SIZES, SEEDS = (1, 2, 4, 8, 16, 32, 80), (0, 1, 2, 3, 4)
SKILLS = {
    "small": ["+", "-"],
    "tables": [f"{x}*{b}" for x in range(10) for b in range(10) if is_shaky(x, b)],
}
MOST = 1000  # different problems that `draw` finds without end; there are 3,450 shaky products
SKILLED, DELTA = 0.97, 0.05  # pass rate of whoever lacks nothing; errors allowed in naming the lack


def draw(task: str, n: int, seed: int) -> list[Problem]:
    """n different problems that the base model solves now and then; a pool begins the larger."""
    rng = np.random.default_rng(seed)
    problems: dict[str, Problem] = {}
    while len(problems) < n:
        if task == "tables":
            problem = table_problem(rng, "shaky", heldout=False)
        else:
            problem = arithmetic_problem(rng, "carry", str(rng.choice(["+", "-"])), heldout=False)
        problems[problem.text] = problem
    return list(problems.values())


def needs(problem: Problem) -> dict[str, float]:
    """The skills that it asks for, with the share of tries that survive without each."""
    op = next(c for c in problem.text if c in "+-*")
    a, b = problem.text.rstrip("=").split(op)
    if op == "*":
        facts = [f"{x}*{b}" for x in a if is_shaky(int(x), int(b))]
        return {fact: (1 - MISTAKE) ** facts.count(fact) for fact in facts}
    return {op: (1 - FORGET) ** n_carries(int(a), op, int(b))}


def bound_of(task: str, pool: list[Problem]) -> float:
    """Rollouts to name the lacking skill from this pool's rewards; inf where that is impossible."""
    survive = [[needs(problem).get(skill, 1.0) for skill in SKILLS[task]] for problem in pool]
    table = SKILLED * np.hstack((np.ones((len(pool), 1)), survive))  # (N, 1 + skills)
    return identification_bound(table, DELTA)


def run(task: str, n: int, seed: int) -> dict:
    pool = draw(task, n, seed)
    budget = TASKS[task].rollouts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.jsonl"
        lines = (json.dumps({"problem": p.text, "answer": p.answer, "kind": p.kind}) for p in pool)
        path.write_text("\n".join(lines) + "\n")
        steps, summary = train_once(TASKS[task].config, {
            "seed": seed, "selector.name": "random_one", "data.pool": path, "data.pool_size": 0,
            "steps": budget, "max_rollouts": budget, "eval_every": 80,
        })  # fmt: skip
    bound = bound_of(task, pool)
    curve = [(step["updates"], step["accuracy"]) for step in steps if "accuracy" in step]
    return {
        "N": n, "seed": seed, "before": summary["accuracy_before"], "curve": curve,
        "informative": summary["informative_groups"], "groups": len(steps),
        "bound": bound if np.isfinite(bound) else None,
    }  # fmt: skip


def table(records: list[dict]) -> str:
    """Markdown: a pool size a row, every seed shown."""
    lines = [
        "| problems | after, each seed | mean [95%] | informative | groups to 90% "
        "| bound, rollouts |",
        "|---|---|---|---|---|---|",
    ]
    for n in sorted({r["N"] for r in records}):
        mine = sorted((r for r in records if r["N"] == n), key=lambda r: r["seed"])
        after = [r["curve"][-1][1] for r in mine]
        mean, low, high = interval(after)
        share = sum(r["informative"] for r in mine) / sum(r["groups"] for r in mine)
        needed = [next((str(u) for u, a in r["curve"] if a >= 0.9), "never") for r in mine]
        bounds = ["never" if r["bound"] is None else f"{r['bound']:.1f}" for r in mine]
        lines.append(
            f"| {n} | {', '.join(f'{a:.0%}' for a in after)} | {mean:.0%} [{low:.0%}, {high:.0%}] "
            f"| {share:.0%} | {', '.join(needed)} | {', '.join(bounds)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--task", default="small", choices=list(TASKS))
    add("--sizes", type=at_least(1), nargs="+", default=SIZES, metavar="N",
        help="[1 2 4 8 16 32 80]")  # fmt: skip
    add("--processes", type=at_least(1), default=os.cpu_count(), help="runs at once [one a core]")
    add("--tables", action="store_true", help="only the table of what is there")
    add("--out", type=file_to_write, help="[experiments/results/few-TASK.jsonl]")
    args = parser.parse_args()
    if max(args.sizes) > MOST:
        stop(f"--sizes {max(args.sizes)}: at most {MOST} problems")
    args.out = args.out or ROOT / "experiments" / "results" / f"few-{args.task}.jsonl"
    records = read(args.out)
    if not all("N" in r for r in records):
        stop(f"{args.out}: not made by few_instances.py; name another file with --out")
    done = {(r["N"], r["seed"]) for r in records}
    sizes = [] if args.tables else dict.fromkeys(args.sizes)
    jobs = [(n, s) for s in SEEDS for n in sizes if (n, s) not in done]
    os.chdir(ROOT)
    for record in in_processes(run, [(args.task, *job) for job in jobs], args.processes):
        records.append(record)
        with args.out.open("a") as file:
            file.write(json.dumps(record) + "\n")
    if not records:
        stop(f"{args.out}: no finished runs; leave --tables away to make them")
    print(table(records))


if __name__ == "__main__":
    main()
