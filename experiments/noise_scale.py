"""Why one group a step can save rollouts, and when it cannot: the noise of the gradient.

python experiments/noise_scale.py --groups 2048 [--task tables] [--models base ...]
python experiments/noise_scale.py --beside experiments/results [--task tables]   # and what was seen

Write g for the mean gradient over informative groups and S for the covariance of one group's.  The
noise scale B = tr S / |g|^2 (McCandlish et al., arXiv 1812.06162) is the number of groups whose
average is as much signal as noise.  With n informative groups a step, each step at its best size
brings n / (n + B) of what the true gradient would: so as many informative groups are needed as
(n + B).  A step of full batch has n = M s of them, at M G rollouts, where s is the share of
informative groups among its own; a step of one problem has n = 1 with the share s' of its picks.
Rollouts of full batch over those of one problem a step:

    ratio(s') = (s' / s) (M s + B) / (1 + B)

Where groups all pull the same way (B << 1) that is M s': one group says it all, and full batch
asks M times.  Where each teaches something else (B >> M s) it is s' / s: no group is wasted, and
what remains is that selection finds more informative ones.  All this at each arm's best step size;
at an equal learning rate that is too small for full batch, more can be seen.  B is that of the
model given, and changes while it learns.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import (
    EQUAL_RATE,
    MAIN,
    ROOT,
    TASKS,
    at_least,
    best_rates,
    cost_to,
    file_to_write,
    mean_cost,
    of_table,
    path_from_here,
    read,
    stop,
)

from config import ConfigError, read_config
from data import arithmetic_problems
from model import CheckpointError
from policy import Policy
from record import stream_seed
from train import group_advantages, grpo_loss, token_logprobs


def group_gradient(policy: Policy, group, rewards) -> torch.Tensor:
    """The gradient of one group's loss, all weights in one vector."""
    A = group_advantages(rewards)
    logp = token_logprobs(policy.model, group.tokens, group.prompt_len, 1.0)
    loss, _ = grpo_loss(logp, group.logprobs, A, group.mask)
    parameters = list(policy.model.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def noise_scale(gradients: torch.Tensor) -> tuple[float, float, float]:
    """B, |g|^2 and tr S from the gradients of k groups, (k, W), without bias but for B itself."""
    k = len(gradients)
    mean = gradients.mean(dim=0)
    trace = float(((gradients - mean) ** 2).sum() / (k - 1))
    square = float((mean**2).sum()) - trace / k  # the mean's own noise is in its length
    return trace / square if square > 0 else np.inf, square, trace


def ratio(B: float, share: float, picked: float, M: int) -> float:
    """Rollouts of full batch over those of one problem a step, from the docstring's formula."""
    return picked / share * (M * share + B) / (1 + B)


def measure(policy: Policy, pool, n: int, G: int, M: int) -> dict:
    """Groups of n problems of the pool in turn; B over the informative ones among them."""
    stream = torch.Generator().manual_seed(stream_seed(0, "rollouts"))
    gradients = []
    for i in tqdm(range(n), desc="groups", leave=False):
        problem = pool[i % len(pool)]
        group = policy.rollout(problem, G, stream)
        rewards = policy.rewards(problem, group)
        if max(rewards) > min(rewards):
            gradients.append(group_gradient(policy, group, rewards))
    if len(gradients) < 2:
        stop(f"{len(gradients)} of {n} groups informative: too few to compare; raise --groups")
    B, square, trace = noise_scale(torch.stack(gradients))
    share = len(gradients) / n
    return {
        "groups": n, "informative": len(gradients), "B": B, "square": square, "trace": trace,
        "ratio": {str(s): ratio(B, share, s, M) for s in (0.25, 0.5, 1.0)},
    }  # fmt: skip


def share_to_level(record: dict, G: int) -> float:
    """Share of informative groups in a run of one problem a step, until its task's level."""
    reached = cost_to(record, TASKS[record["task"]].level)
    rollouts, _, updates, _ = [point for point in record["curve"] if point[0] <= reached][-1]
    return updates * G / rollouts


def seen(full: list[dict], runs: list[dict]) -> str:
    """Full batch's rollouts over an arm's; a bound where some runs never reached the level."""
    level = TASKS[full[0]["task"]].level
    short = [not all(np.isfinite(cost_to(r, level)) for r in group) for group in (full, runs)]
    if all(short):
        return "neither arrives"
    times = mean_cost(full) / mean_cost(runs)
    if short[0]:
        return f"> {np.floor(10 * times) / 10:.1f}"
    return f"< {np.ceil(10 * times) / 10:.1f}" if short[1] else f"{times:.1f}"


def beside(task: str, folder: Path, G: int, M: int) -> str:
    """Markdown: what the formula predicts for each arm's picks, and what `compare.py` saw."""
    try:
        (found,) = json.loads((folder / f"noise-{task}.json").read_text()).values()
    except (OSError, ValueError) as error:
        stop(f"{folder}: needs noise-{task}.json of one model, made with --out ({error})")
    records = [r for r in read(folder / f"compare-{task}.jsonl") if r.get("task") == task]
    best = best_rates(records)
    rates = {arm: (EQUAL_RATE, best.get(arm, EQUAL_RATE)) for arm in MAIN}
    runs = {arm: [of_table(records, arm, rate) for rate in rates[arm]] for arm in MAIN}
    if not all(all(of_arm) for of_arm in runs.values()):
        stop(f"{folder / f'compare-{task}.jsonl'}: needs runs of {', '.join(MAIN)}")
    full, full_at_best = runs["full_batch"]
    share = sum(r["informative"] for r in full) / sum(r["groups"] for r in full)
    lines = [
        f"s = {share:.1%} (full batch at {EQUAL_RATE:g}), B = {found['B']:.1f} groups; "
        f"to {TASKS[task].level:.0%}\n",
        f"| arm | s' | predicted | seen at {EQUAL_RATE:g} | seen, each at its best rate |",
        "|---|---|---|---|---|",
    ]
    for arm in MAIN[1:]:
        mine, mine_at_best = runs[arm]
        picked = float(np.mean([share_to_level(r, G) for r in mine]))
        lines.append(
            f"| `{arm}` | {picked:.2f} | {ratio(found['B'], share, picked, M):.1f} "
            f"| {seen(full, mine)} | {seen(full_at_best, mine_at_best)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="small", choices=list(TASKS))
    parser.add_argument("--models", nargs="+", default=[], help="folders; the task's base model")
    parser.add_argument("--groups", type=at_least(2), default=512, help="groups to roll out [512]")
    parser.add_argument("--out", type=file_to_write, help="write the numbers to this JSON file")
    parser.add_argument("--beside", type=path_from_here, metavar="FOLDER",
                        help="results to set it beside")  # fmt: skip
    args = parser.parse_args()
    # a folder, wherever the command was given; or the name of a checkpoint on the hub
    models = [str(Path(model).resolve()) if Path(model).exists() else model
              for model in args.models]  # fmt: skip
    os.chdir(ROOT)
    torch.set_num_threads(1)
    cfg = read_config(ROOT / TASKS[args.task].config, [])
    G, M = cfg.rollout.group_size, cfg.selector.candidates
    if args.beside:
        print(beside(args.task, args.beside, G, M))
        return
    rng = np.random.default_rng(stream_seed(0, "pool"))
    pool = arithmetic_problems(cfg.data.pool_size, rng, task=cfg.data.pool)
    found = {}
    for model in models or [cfg.model]:
        try:
            policy = Policy(read_config(TASKS[args.task].config, [f"model={model}"]))
        except (ConfigError, CheckpointError) as error:
            stop(str(error))
        found[model] = row = measure(policy, pool, args.groups, G, M)
        ratios = ", ".join(f"{s}: {r:.1f}x" for s, r in row["ratio"].items())
        print(
            f"{model}: {row['informative']} of {row['groups']} groups informative, "
            f"B = {row['B']:.1f} groups; full batch over one a step, by the share of "
            f"informative picks: {ratios}"
        )
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
