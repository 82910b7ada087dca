"""Why one group per step can save rollouts, and when it cannot: the noise of the gradient.

    python experiments/noise_scale.py --groups 2048                    measure B: 1 minute
    python experiments/noise_scale.py --groups 2048 --task tables
    python experiments/noise_scale.py --groups 2048 --models base runs/small/model
    python experiments/noise_scale.py --beside experiments/results     predictions beside what was
                                                                       seen by `compare.py`

Write g for the mean gradient over informative groups and S for the covariance of the gradient of
one group.  The noise scale B = tr S / |g|^2 (McCandlish et al., arXiv 1812.06162) is the number of
groups whose average is as much signal as noise.  A step with n informative groups makes, beside
what the true gradient would make, the progress

    f(n) = n / (n + B)          if each step has its best size
    f(n) = (1 + B/n)^(-1/2)     if Adam has the same small learning rate for all arms, since it
                                divides by the size of a gradient that holds the noise too
    f(n) = 1                    if plain gradient descent has it, with the mean over these groups

and none where n = 0.  A step of full batch rolls out M groups, and n is random: binomial with the
share s of informative groups.  A step of one problem rolls out one group, which is informative with
the share s' of its picks, and then n = 1.  So the rollouts of full batch over those of one problem
per step are

    ratio(s') = M s' f(1) / E f(n)

Where all groups pull the same way (B << 1) this is M s' / P(n >= 1): one group says what all of
them say, and full batch asks M times.  Where each group teaches something else (B >> M s) it is
s' / s at the best size: no group is wasted, and all that remains is that a selector finds more
informative ones.

What B calls noise may be signal.  If a pool asks for two skills, the gradients of problems of one
have much in common and those of different skills have little, so that B is large although each
group says clearly what it has to say.  `parts` says from where two gradients differ: chance in the
responses to one problem, the problems of one skill, or the skills (an operator, or one times
table).  Only the first of these is noise that more responses to the problem would average away.

How to read it: the first three commands print B, its standard error (jackknife), and the ratio at
best steps for three values of s'.  --beside prints, per arm, its s' at the learning rate 1e-4 until
the task's level, and each ratio beside what is like it: Adam's beside the runs at 1e-4, that of the
best step beside each arm at its best learning rate.  Where some runs of an arm never reached the
level, what was seen is a bound.  And B changes while a model learns; it is that of the model that
is given.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import compare
import numpy as np
import torch
from project import ROOT
from runs import (
    EQUAL_RATE,
    MAIN,
    TASKS,
    best_rates,
    cost_to,
    informative_share,
    of_table,
    read,
    saved,
)
from tqdm import tqdm

from bound import binomial
from data import Problem
from grpo import group_advantages, grpo_loss, token_logprobs
from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.config import read_config, stream_seed
from plumbing.setup import read_problems
from policy import Attempt, Policy

# ----------------------------------------------------------------------- the noise and the formula


def noise_scale(gradients: torch.Tensor) -> tuple[float, float, float]:
    """Return B, |g|^2 and tr S from the gradients of k groups, (k, W) for W weights.

    The last two are without bias; B, which is their ratio, is not.
    """
    k = len(gradients)
    mean = gradients.mean(dim=0)  # (W,)
    trace = float(((gradients - mean) ** 2).sum() / (k - 1))
    square = float((mean**2).sum()) - trace / k  # the length of the mean holds its own noise too
    return trace / square if square > 0 else np.inf, square, trace


def jackknife(gradients: torch.Tensor) -> float:
    """Return the standard error of B, from what it would be without each of the k groups."""
    k, total = len(gradients), gradients.sum(dim=0)  # (W,)
    squares = (gradients**2).sum(dim=1)  # (k,)
    rest = (total**2).sum() - 2 * (gradients @ total) + squares  # (k,) |sum of the others|^2
    trace = (squares.sum() - squares - rest / (k - 1)) / (k - 2)
    B = (trace / (rest / (k - 1) ** 2 - trace / (k - 1))).double()
    return float(((k - 1) / k * ((B - B.mean()) ** 2).sum()).sqrt())


def parts_of_noise(
    gradients: torch.Tensor, problems: list[str], skills: list[str]
) -> dict[str, float]:
    """Return from where two groups' gradients differ, in units of their mean squared length.

    With <.> the mean inner product of two groups of one problem, of two problems of one skill, or
    of two skills, the parts are 1 - <problem>, <problem> - <skill>, <skill> - <skills>, and what
    all have in common, <skills>.  They add up to 1.  NaN stands where there are no such pairs.
    """
    k, squares = len(gradients), float((gradients**2).sum())

    def alike(names: list[str]) -> tuple[float, int]:
        """Return the sum of the inner products of pairs of the same name, and how many they are."""
        each = [[i for i, name in enumerate(names) if name == one] for one in set(names)]
        total = sum(float((gradients[i].sum(dim=0) ** 2).sum()) for i in each)
        return total - squares, sum(len(i) ** 2 for i in each) - k

    sums = [
        alike(problems),
        alike(skills),
        alike([""] * k),
    ]  # each holds the pairs of the one before
    between = [sums[0], *((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(sums))]
    problem, skill, common = (total / n / (squares / k) if n else math.nan for total, n in between)
    return {
        "responses": 1 - problem, "problems": problem - skill, "skills": skill - common,
        "common": common,
    }  # fmt: skip


def best_step(n: np.ndarray, B: float) -> np.ndarray:
    """Return f(n) of steps of the best size."""
    return n / (n + B)


def adam(n: np.ndarray, B: float) -> np.ndarray:
    """Return f(n) of Adam at an equal small learning rate."""
    return (1 + B / n) ** -0.5


def ratio(B: float, share: float, picked: float, M: int, progress: Callable = best_step) -> float:
    """Return ratio(s') of the formula above, for s = `share` and s' = `picked`."""
    made = progress(np.arange(1, M + 1), B)  # (M,) f(1..M)
    return float(M * picked * made[0] / (binomial(M, share)[1:] @ made))


def skill_of(problem: str) -> str:
    """Return what a built-in problem asks for: its operator and, of a product, the times table."""
    operator = next((c for c in problem if c in "+-*"), "")
    return operator + problem.partition("*")[2].rstrip("=")


def group_gradient(policy: Policy, attempt: Attempt) -> torch.Tensor:
    """Return the gradient of one group's loss, all weights in one vector, (W,)."""
    A = group_advantages(attempt.rewards)
    group = attempt.group
    logp = token_logprobs(policy.model, group.tokens, group.prompt_len, 1.0)
    loss, _ = grpo_loss(logp, group.logprobs, A, group.mask)
    parameters = list(policy.model.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def measure(policy: Policy, pool: list[Problem], n: int, G: int, M: int) -> dict:
    """Roll out n groups, taking the problems of the pool in turn; return B and some ratios."""
    stream = torch.Generator().manual_seed(stream_seed(0, "rollouts"))
    gradients, problems = [], []
    for i in tqdm(range(n), desc="groups", leave=False):
        attempt = policy.attempt(pool[i % len(pool)], G, stream)
        if max(attempt.rewards) > min(attempt.rewards):
            gradients.append(group_gradient(policy, attempt))
            problems.append(pool[i % len(pool)].text)
    if len(gradients) < 2:
        raise UserError(
            f"--groups {n}: {len(gradients)} of them informative: too few to compare; raise it"
        )
    stacked = torch.stack(gradients)  # (k, W)
    B, square, trace = noise_scale(stacked)
    parts = parts_of_noise(stacked, problems, list(map(skill_of, problems)))
    error = jackknife(stacked) if len(stacked) > 2 and np.isfinite(B) else None
    share = len(gradients) / n
    return {
        "groups": n, "informative": len(gradients), "B": B, "error": error, "square": square,
        "trace": trace,
        "parts": {name: None if math.isnan(part) else part for name, part in parts.items()},
        "ratio": {str(s): ratio(B, share, s, M) for s in (0.25, 0.5, 1.0)},
    }  # fmt: skip


# --------------------------------------------------------------------- beside what compare.py saw


def share_to_level(record: dict, G: int) -> float:
    """Return the share of informative groups until the level, in a run of one problem per step."""
    reached = cost_to(record, TASKS[record["task"]].level)
    rollouts, _, updates, _ = [point for point in record["curve"] if point[0] <= reached][-1]
    return updates * G / rollouts


def read_noise(task: str, folder: Path) -> dict:
    """Return what was measured of a task's base model, from a folder of results."""
    try:
        (found,) = json.loads((folder / f"noise-{task}.json").read_text()).values()
        return {name: float(found[name]) for name in ("B", "error", "informative", "groups")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder}: needs noise-{task}.json of one model, made with --out ({error})"
        ) from error


def beside(task: str, folder: Path, G: int, M: int) -> str:
    """Return a table in Markdown: what the formula predicts for each arm, and what was seen."""
    noise = read_noise(task, folder)
    B, B_error = noise["B"], noise["error"]
    file = folder / f"compare-{task}.jsonl"
    records = [r for r in read(file, compare.run_of).values() if r["task"] == task]
    best = best_rates(records)
    rates = {arm: (EQUAL_RATE, best.get(arm, EQUAL_RATE)) for arm in MAIN}
    runs = {arm: [of_table(records, arm, rate) for rate in rates[arm]] for arm in MAIN}
    if not all(all(of_arm) for of_arm in runs.values()):
        raise UserError(f"{file}: needs runs of {', '.join(MAIN)}; make them with compare.py")
    full, full_at_best = runs["full_batch"]
    share, level = informative_share(full), TASKS[task].level
    lines = [
        f"s = {share:.1%} (full batch at {EQUAL_RATE:g}), B = {B:.1f} "
        f"+- {B_error:.1f} groups; "
        f"to {level:.0%}\n",
        f"| arm | s' | Adam, equal rate | seen at {EQUAL_RATE:g} "
        "| best step | seen, each at its best rate |",
        "|---|---|---|---|---|---|",
    ]
    for arm in MAIN[1:]:
        mine, mine_at_best = runs[arm]
        picked = float(np.mean([share_to_level(r, G) for r in mine]))
        lines.append(
            f"| `{arm}` | {picked:.2f} | {ratio(B, share, picked, M, adam):.1f} "
            f"| {saved(full, mine, level)} | {ratio(B, share, picked, M):.1f} "
            f"| {saved(full_at_best, mine_at_best, level)} |"
        )
    return "\n".join(lines)


# ------------------------------------------------------------------------------------ the command


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments, with paths that lead to the same place from any folder."""
    parser = Parser(prog="noise_scale.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--task", default="small", choices=list(TASKS))
    add("--models", nargs="+", default=[], help="folders or hub names [the task's base model]")
    add("--groups", type=whole_number(2), default=512, help="how many to roll out [512]")
    add("--out", type=file_to_write, metavar="FILE", help="write the numbers to this JSON file")
    add("--beside", type=Path, metavar="FOLDER",
        help="measure nothing; print predictions beside the results in this folder")  # fmt: skip
    args = parser.parse_args(argv)
    args.models = [str(Path(m).absolute()) if Path(m).exists() else m for m in args.models]
    args.beside = args.beside and args.beside.absolute()
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure the noise scale of models, or print predictions beside what was seen."""
    args = read_arguments(argv)
    config = TASKS[args.task].config
    os.chdir(ROOT)  # the configurations name models from here
    torch.set_num_threads(1)
    cfg = read_config(config, [])
    G, M = cfg.rollout.group_size, cfg.selector.candidates
    if args.beside:
        print(beside(args.task, args.beside, G, M))
        return
    pool = read_problems(cfg.data.pool, cfg.data.pool_size, seed=0, heldout=False)
    found = {}
    for model in args.models or [cfg.model]:
        policy = Policy(read_config(config, [f"model={model}"]))
        found[model] = row = measure(policy, pool, args.groups, G, M)
        ratios = ", ".join(f"{s}: {r:.1f}x" for s, r in row["ratio"].items())
        print(
            f"{model}: {row['informative']} of {row['groups']} groups informative, "
            f"B = {row['B']:.1f} +- {row['error'] or math.nan:.1f} groups; full batch over one "
            f"problem per step, by the share of informative picks: {ratios}"
        )
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
