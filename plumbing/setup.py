"""Before the first step: read the problems, and refuse whatever could not end well.

Where it stands: in front of the loop of `train.py`.  Nothing has been written yet, so that all bad
input ends in one line and leaves nothing behind.  `evaluate.py` reads its problems here too.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from data import TASKS, Problem, load_jsonl, task_problems
from model import Transformer
from plumbing import disk, memory, parallel
from plumbing.command import UserError
from plumbing.config import Config, differences, stream_seed, with_date
from plumbing.tokenizer import fingerprint
from plumbing.weights import read_json

MOST_TOKENS = 2**18  # of a prompt
FAR_TOO_LONG = 16  # times as many tokens as a model was made for; a longer prompt is a mistake


def read_problems(
    source: str, size: int, seed: int, *, heldout: bool, choice: str = "first"
) -> list[Problem]:
    """Return the problems of a built-in task, drawn by the seed, or those of a JSONL file.

    Of a file the first `size` problems, or with the choice "random" as many drawn by the seed; all
    of them where `size` is 0.
    """
    rng = np.random.default_rng(stream_seed(seed, "heldout" if heldout else "pool"))
    if source in TASKS:
        return task_problems(source, size, rng, heldout)
    problems = load_jsonl(source)
    if choice == "random":
        problems = [problems[i] for i in rng.permutation(len(problems))]
    return problems[: size or len(problems)]


def pool_and_heldout(cfg: Config) -> tuple[list[Problem], list[Problem]]:
    """Return the problems to train on and those to evaluate on; no problem is in both."""
    data, seed = cfg.data, cfg.seed
    pool = read_problems(data.pool, data.pool_size, seed, heldout=False, choice=data.pool_choice)
    heldout = read_problems(data.heldout, data.heldout_size, seed, heldout=True)
    kept_apart = {problem.text for problem in heldout}
    rest = [problem for problem in pool if problem.text not in kept_apart]
    if not rest:
        raise UserError(f"{data.pool}: every problem of the pool is also held out")
    if len(rest) < len(pool):
        print(
            f"{len(pool) - len(rest)} problems of the pool are also held out: left out of the pool"
        )
    return rest, heldout


def fitting_problems(
    cfg: Config, pool: list[Problem], prompts: list[list[int]]
) -> tuple[list[Problem], list[list[int]]]:
    """Return the pool without problems whose prompts are too long, and the prompts of the rest."""
    limit = cfg.data.max_prompt_tokens or max(map(len, prompts))
    rest = [(p, ids) for p, ids in zip(pool, prompts, strict=True) if len(ids) <= limit]
    if not rest:
        raise UserError(
            f"data.max_prompt_tokens: the shortest prompt has {min(map(len, prompts))} tokens, "
            f"not {limit}"
        )
    if len(rest) < len(pool):
        print(f"{len(pool) - len(rest)} problems of the pool have longer prompts: left out")
    problems, prompts = zip(*rest, strict=True)
    return list(problems), list(prompts)


def check_lengths(
    model: Transformer, problems: list[Problem], prompts: list[list[int]], max_new_tokens: int
) -> None:
    """Say where prompt and response may be longer than the model was made for.

    `UserError` for a prompt that is so long that nobody can have meant it.
    """
    made_for = model.config.max_positions
    most = min(MOST_TOKENS, FAR_TOO_LONG * (made_for or MOST_TOKENS))
    for problem, ids in zip(problems, prompts, strict=True):
        if len(ids) > most:
            place = problem.source or repr(problem.text[:100])
            raise UserError(
                f"{place}: its prompt has {len(ids):,} tokens; at most {most:,} are read"
            )
    longest = max(map(len, prompts)) + max_new_tokens
    if made_for and longest > made_for:
        print(
            f"warning: the longest prompt and {max_new_tokens:,} new tokens are {longest:,} "
            f"tokens, and the model was made for {made_for:,} (its max_position_embeddings)",
            file=sys.stderr,
        )


def refuse_overflow(model: Transformer, prompt: list[int], folder: Path) -> None:
    """Raise `UserError` where the starting weights are finite and the logits they give are not."""
    tokens = torch.tensor([prompt], device=model.device)  # (1, P)
    with torch.no_grad(), parallel.unsharded(model), model.autocast():
        logits = model(tokens, last_only=True)
    if not logits.isfinite().all():
        raise UserError(f"{folder}: its weights are so large that its logits are not finite")


def say_memory(cfg: Config, model: Transformer, prompts: list[list[int]]) -> None:
    """Print how much memory the run will take at its peak, and for what."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    n_weights, n_learned = sum(n for n, _ in sizes), sum(n for n, learned in sizes if learned)
    longest = max(map(len, prompts))
    parts = memory.predict(
        model.config, n_weights, cfg, longest, parallel.world(), n_learned=n_learned
    )
    print(f"memory: {memory.describe(parts)}", flush=True)


def plan_steps(cfg: Config, n_problems: int) -> int:
    """Return how many steps the limits on steps and rollouts allow, and say which one counts."""
    full_batch = cfg.selector.name == "full_batch"
    groups = min(cfg.selector.candidates, n_problems) if full_batch else 1
    cost = groups * cfg.rollout.group_size
    if cfg.rollout.group_size % parallel.world():
        raise UserError(
            f"rollout.group_size: {cfg.rollout.group_size} responses cannot be shared out evenly "
            f"over {parallel.world()} processes"
        )
    paid_for = cfg.max_rollouts // cost if cfg.max_rollouts else cfg.steps
    if paid_for == 0:
        raise UserError(
            f"max_rollouts: one step costs {cost} rollouts, more than {cfg.max_rollouts}"
        )
    if paid_for < cfg.steps:
        print(
            f"max_rollouts={cfg.max_rollouts:,} pays for {paid_for:,} of the {cfg.steps:,} steps "
            f"at {cost} rollouts each"
        )
    return min(cfg.steps, paid_for)


def check_folder(cfg: Config, out: Path, resume: str | None) -> None:
    """Refuse a folder that holds something else, or a run that began with other values."""
    disk.refuse_name(out)
    if not resume:
        if parallel.rank() == 0 and out.exists() and not is_free(out):
            raise UserError(
                f"{out}: already holds a run; go on with --resume, or name another with --out"
            )
        return
    if not (out / "config.json").exists():
        raise UserError(f"{out}: holds no run to go on with; leave out --resume")
    changed = differences(asdict(cfg), read_json(out / "config.json"))
    if changed:
        raise UserError(
            f"--resume: the run in {out} has other values: "
            + "; ".join(f"{key} {theirs!r}, not {ours!r}" for key, ours, theirs in changed)
        )


def dated(cfg: Config, out: Path, resume: str | None) -> Config:
    """Return the configuration with the day on which the run began, for templates that print it."""
    data = read_json(out / "config.json").get("data") if resume else None
    return with_date(cfg, data.get("date") if isinstance(data, dict) else "")


def is_free(out: Path) -> bool:
    """Return whether a folder holds only what a process leaves that was killed as it began."""
    return out.is_dir() and all(
        path.name == "lock" or path.name.endswith(disk.UNFINISHED) for path in out.iterdir()
    )


def fingerprints(folder: Path, problems: list[Problem], prompts: list[list[int]]) -> dict:
    """Return what has to be the same for a run to go on, outside of its configuration.

    That is every file of the starting model by its name, and what became of the problems: the same
    files make other prompts where the library that reads them is another.
    """
    return {
        "the problems": disk.sha256_of([[p.text, p.answer, p.kind] for p in problems]),
        "the prompts": disk.sha256_of(prompts),
        **{f"the model's {name}": sum_ for name, sum_ in fingerprint(folder).items()},
    }


def refuse_another_start(out: Path, began: dict, now: dict) -> None:
    """Raise a `UserError` that names what `fingerprints` finds changed since a run began."""
    names = dict.fromkeys([*began, *now])
    changed = [name for name in names if began.get(name) != now.get(name)]
    if changed:
        raise UserError(f"{out}: {', '.join(changed)} changed since the run began")
