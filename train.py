"""DoPR: each step one problem is chosen, rolled out and learned from.

What it teaches: GRPO with verifiable rewards is a page of code, and so is what DoPR adds to it.
One step:

    candidates ~ the pool                       M of N problems                  `train`
    i = argmax A_i                              volatility + exploration         `select.py`
    y_1..y_G ~ pi_old( . | x_i)                 the only rollouts of the step    `rollout.py`
    r_g = 1 if y_g's answer equals the gold     the verifiable reward            `verifier.py`
    remember (r_1..r_G) of problem i            m_i, v_i, n_i, H_i               `select.py`
    A_g = (r_g - mean r) / std r                0 if all are equal: skipped      `group_advantages`
    theta <- theta - lr * gradient              of the clipped surrogate         `grpo_loss`

Where it stands: here everything meets.  The full-batch baseline runs through the same loop: there
`choose` returns all M candidates instead of one.

Try changing first: `--set selector.name=random_one`, then `full_batch`, and compare the curves; or
`update.aggregate`, or `clip_high`.

Departures from the papers.  DoPR's own formulas are not known to us: see `select.py`.  From GRPO
(DeepSeekMath, arXiv 2402.03300): no KL term unless `kl_coef` > 0, clip-higher and the token mean by
default (DAPO, arXiv 2503.14476), groups of equal rewards take no part in the mean (DAPO), std is
the population's.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

import checkpoint
import curve
import memory
import parallel
from config import (
    Config,
    ConfigError,
    RolloutConfig,
    UpdateConfig,
    all_keys,
    differences,
    read_config,
)
from data import MOST, DataError, Problem, arithmetic_problems, load_jsonl
from model import CheckpointError, KVCache, Transformer, read_json
from policy import Policy
from record import Log, State, TrainingError, stream_seed
from rollout import Group

# --------------------------------------------------------------------------- GRPO


def group_advantages(rewards, normalize: str = "std") -> Tensor:
    """A_g = (r_g - mean r) / std r over one group, (G,) -> (G,); exactly 0 if all are equal.

    DeepSeekMath (arXiv 2402.03300) section 4.1.2; `normalize` "none" leaves out the division, as
    Dr. GRPO (arXiv 2503.20783) does.  The standard deviation is the population's.
    """
    if normalize not in ("std", "none"):
        raise ValueError(f"normalize must be 'std' or 'none', not {normalize!r}")
    rewards = torch.as_tensor(rewards, dtype=torch.float32)
    if rewards.max() == rewards.min():  # their mean may differ in the last bit
        return torch.zeros_like(rewards)
    centred = rewards - rewards.mean()
    return centred / rewards.std(correction=0) if normalize == "std" else centred


def token_weights(mask: Tensor, aggregate: str, constant_length: int | None = None) -> Tensor:
    """How much each response token counts in the loss, (G, L) -> (G, L); a loss is a weighted sum.

    "token": the mean over all tokens (DAPO eq. 8); "sequence": the mean over responses of the mean
    over their tokens (GRPO eq. 3); "constant": the sum over G times a constant, L where none is
    given (Dr. GRPO).
    """
    G, L = mask.shape
    if aggregate == "token":
        return mask / mask.sum().clamp(min=1)
    if aggregate == "sequence":
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1) / G
    if aggregate == "constant":
        return mask / (G * (constant_length or L))
    raise ValueError(f"aggregate must be 'token', 'sequence' or 'constant', not {aggregate!r}")


def grpo_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    aggregate: str = "token",
    kl_coef: float = 0.0,
    ref_logp: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """PPO's clipped surrogate (arXiv 1707.06347, eq. 7) with group advantages, to be minimised.

        L = -sum_t w_t { min[ratio_t A, clip(ratio_t, 1-low, 1+high) A] - kl_coef * k3_t }

    logp, old_logp, mask and ref_logp are (G, L), advantages (G,).  `weights` (G, L) replaces those
    of `aggregate` where the rows are only a part of a batch.  Returns the loss and the shares of
    clipped tokens and the KL to the reference, weighted like the loss.
    """
    if weights is None:
        weights = token_weights(mask, aggregate)
    real = mask.bool()
    # outside the mask anything may stand, also -inf: out with it before it meets a zero weight
    log_ratio = torch.where(real, logp - old_logp, 0.0)
    ratio = log_ratio.exp()  # pi_theta / pi_old, (G, L)
    A = advantages[:, None]  # (G, 1)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    surrogate = torch.minimum(ratio * A, clipped * A)  # (G, L)
    is_clipped = (clipped * A < ratio * A).float()
    stats = {"clip_fraction": float((weights * is_clipped).sum())}
    if kl_coef:
        if ref_logp is None:
            raise ValueError("kl_coef > 0 needs ref_logp")
        difference = torch.where(real, ref_logp - logp, 0.0)
        k3 = difference.exp() - difference - 1  # unbiased and >= 0 (Schulman 2020, "k3")
        surrogate = surrogate - kl_coef * k3
        stats["kl"] = float((weights * k3.detach()).sum())
    return -(weights * surrogate).sum(), stats


def token_logprobs(
    model: Transformer, tokens: Tensor, prompt_len: int, temperature: float
) -> Tensor:
    """log pi(y_t | x, y_<t) of the response tokens at the sampling temperature, (G, T) -> (G, T-P).

    All rows begin with the same prompt, which is computed once.  In float32, and where logits are
    many for a few positions at a time, computed again on the way back, so that never more than
    `memory.LOGITS_AT_ONCE` of the (G, T, V) exist.
    """
    targets = tokens[:, prompt_len:]  # (G, L), L = T - P

    def logprobs(states: Tensor, targets: Tensor) -> Tensor:
        # not the weight lowered for all chunks: its gradient would be their sum in bfloat16
        with model.autocast(reuse_weights=False):
            logits = model.head(states).float() / temperature  # (G, chunk, V)
        return logits.log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]  # (G, chunk)

    chunk = max(1, memory.LOGITS_AT_ONCE // (len(tokens) * model.config.vocab_size))
    with model.autocast():
        # column t predicts the token at t + 1: the first response token comes from P - 1
        prompt = KVCache()
        first = model(tokens[:1, :prompt_len], prompt, last_only=True, logits=False)  # (1, 1, C)
        prompt.grows = False
        rest = model(tokens[:, prompt_len:-1], prompt, logits=False)  # (G, L-1, C)
        states = torch.cat((first.expand(len(tokens), -1, -1), rest), dim=1)  # (G, L, C)
    if targets.shape[1] <= chunk:
        return logprobs(states, targets)
    pieces = [
        recomputed(logprobs, s, t, use_reentrant=False, preserve_rng_state=False)
        for s, t in zip(states.split(chunk, dim=1), targets.split(chunk, dim=1), strict=True)
    ]
    return torch.cat(pieces, dim=1)


def update_policy(
    model: Transformer,
    reference: Transformer | None,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    advantages: Sequence[Tensor],
    cfg: UpdateConfig,
    rollout: RolloutConfig,
) -> dict[str, float]:
    """`updates_per_group` optimizer steps on informative groups; returns loss and statistics."""
    # weights of all rows together, so that splitting them into micro-batches changes nothing
    masks = [F.pad(g.mask, (0, rollout.max_new_tokens - g.mask.shape[1])) for g in groups]
    weights = token_weights(
        torch.cat(masks), cfg.aggregate, rollout.max_new_tokens
    )  # (sum G, limit)
    size = cfg.micro_batch or rollout.group_size
    for _ in range(cfg.updates_per_group):
        totals: dict[str, float] = {}
        for group, A, weight in zip(
            groups, advantages, weights.split(rollout.group_size), strict=True
        ):
            mine = torch.arange(len(A), device=A.device)[parallel.share(len(A))]
            for rows in mine.split(size):
                score = partial(
                    token_logprobs,
                    tokens=group.tokens[rows],
                    prompt_len=group.prompt_len,
                    temperature=rollout.temperature,
                )
                with torch.no_grad():
                    ref_logp = score(reference) if reference else None
                loss, stats = grpo_loss(
                    score(model), group.logprobs[rows], A[rows], group.mask[rows],
                    clip_low=cfg.clip_low, clip_high=cfg.clip_high, kl_coef=cfg.kl_coef,
                    ref_logp=ref_logp, weights=weight[rows, : group.mask.shape[1]],
                )  # fmt: skip
                loss.backward()
                for name, value in {"loss": loss.item(), **stats}.items():
                    totals[name] = totals.get(name, 0.0) + value
        parallel.sum_gradients(model)
        totals = parallel.sum_over_processes(totals)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.grad_clip)
        norm = parallel.whole(norm).item()
        finite = math.isfinite(norm) and math.isfinite(totals["loss"])
        if finite:  # one NaN would spoil all weights
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # room for the next rollouts
        if not finite:
            return {**totals, "grad_norm": norm, "skipped": True}
    return {**totals, "grad_norm": norm}


# --------------------------------------------------------------------------- the loop


def train(cfg: Config, policy: Policy, pool, heldout, state: State, log: Log, stop) -> int:
    """The algorithm box above, line by line, until the steps or the rollouts are spent.

    Returns the number of the signal that stopped it before, or 0.
    """
    model, selector, clock, G = policy.model, state.selector, log.clock, cfg.rollout.group_size
    reference = policy.load() if cfg.update.kl_coef > 0 else None
    M = min(cfg.selector.candidates, len(pool))

    asked = 0  # a signal that reached any process ends the loop of all
    while state.step < log.n_steps and not log.learned():
        if asked := max(parallel.gather(stop.asked)):
            break
        candidates = state.candidate_stream.choice(len(pool), M, replace=False)  # (M,)
        offer = describe(selector, candidates)
        chosen = selector.choose(candidates)  # one index; all of them for the full batch
        picks = np.atleast_1d(chosen)

        with clock("rollout"):
            groups = [policy.rollout(pool[i], G, state.rollout_stream) for i in picks]
            rewards = [policy.rewards(pool[i], g) for i, g in zip(picks, groups, strict=True)]
        for i, group, r in zip(picks, groups, rewards, strict=True):
            selector.update(i, r, policy.entropy(pool[i], group, cfg.selector.entropy))

        advantages = [group_advantages(r, cfg.update.advantage).to(model.device) for r in rewards]
        # Groups of equal rewards teach nothing, but every rollout is paid for.
        informative = [g for g, A in enumerate(advantages) if A.any()]
        log.count(groups, informative)
        stats = {"loss": 0.0}
        if informative:
            if cfg.update.decay:
                set_rate(state.optimizer, cfg.update.lr * (1 - state.step / log.n_steps))
            with clock("update"):
                stats = update_policy(
                    model, reference, state.optimizer, [groups[g] for g in informative],
                    [advantages[g] for g in informative], cfg.update, cfg.rollout,
                )  # fmt: skip
            log.count_update(stats, cfg.update.updates_per_group)

        state.step += 1
        due = state.step == log.n_steps or log.evaluation_due(cfg.eval_every)
        result = policy.evaluate(heldout, clock) if due else {}
        log.write(state.step, offer, chosen, picks, rewards, groups, stats, result)
        if "skipped" in stats:
            texts = [policy.texts(repeat(pool[i]), g) for i, g in zip(picks, groups, strict=True)]
            log.skipped_update(state.step, picks, texts, rewards, stats)
        if state.step % cfg.checkpoint_every == 0:
            state.save()
    return asked


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of all weights from now on."""
    for weights in optimizer.param_groups:
        weights["lr"] = lr


def describe(selector, candidates) -> dict:
    """What the selector thinks of the candidates, before it chooses."""
    return {
        "candidates": candidates.tolist(),
        "scores": selector.scores(candidates).tolist(),
        "volatility": selector.volatility(candidates).tolist(),
        "bonus": selector.exploration(candidates).tolist(),
    }


def load_problems(cfg: Config) -> tuple[list[Problem], list[Problem]]:
    """The pool and the held-out problems; a held-out problem is never in the pool."""

    def read(which: str) -> list[Problem]:
        source, size = getattr(cfg.data, which), getattr(cfg.data, f"{which}_size")
        rng = np.random.default_rng(stream_seed(cfg.seed, which))
        if source in MOST:
            return arithmetic_problems(size, rng, which == "heldout", source)
        problems = load_jsonl(source)
        if which == "pool" and cfg.data.pool_choice == "random":
            problems = [problems[i] for i in rng.permutation(len(problems))]
        return problems[: size or len(problems)]

    pool, heldout = read("pool"), read("heldout")
    kept_apart = {problem.text for problem in heldout}
    rest = [problem for problem in pool if problem.text not in kept_apart]
    if not rest:
        raise DataError(f"{cfg.data.pool}: every problem of the pool is also held out")
    if len(rest) < len(pool):
        print(
            f"{len(pool) - len(rest)} problems of the pool are also held out: left out of the pool"
        )
    return rest, heldout


# --------------------------------------------------------------------------- the command


class OneLineParser(argparse.ArgumentParser):
    """argparse without the usage text before an error: one line, as for every other error."""

    def error(self, message):
        raise ConfigError(f"{message} (see --help)")


def read_arguments(argv):
    lines = [f"  {path:26} {text} [{default!r}]" for path, default, text in all_keys()]
    parser = OneLineParser(
        prog="train.py", description="Train a policy by one-shot RLVR (DoPR).",
        epilog="keys of the configuration, each with its [default]:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--config", required=True, help="a JSON file of the keys below")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a key by its dotted path; may be given again")  # fmt: skip
    parser.add_argument("--out", help="the run's folder [runs/<name of the config>]")
    parser.add_argument("--resume", nargs="?", const=checkpoint.LATEST, metavar="previous",
                        choices=[checkpoint.LATEST, checkpoint.PREVIOUS],
                        help="go on exactly where the run in the folder was when it last saved; "
                        "'--resume previous' from the checkpoint before")  # fmt: skip
    arguments = parser.parse_args(argv)
    out = Path(arguments.out or Path("runs") / Path(arguments.config).stem)
    return read_config(arguments.config, arguments.set), out, arguments.resume


def run(cfg: Config, out: Path, resume: str | None = None) -> int:
    """One run, configuration to trained model; nothing is written before all input is checked.

    Returns 0, or 128 + the number of the signal that stopped it.
    """
    with parallel.all_or_none():
        if resume:
            check_same_run(cfg, out)
        elif parallel.rank() == 0 and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(
                f"{out}: already holds a run; go on with --resume, or name another with --out"
            )
        torch.set_num_threads(cfg.threads)
        print(f"loading {cfg.model}; the run will be in {out}", flush=True)
        pool, heldout = load_problems(cfg)
        policy = Policy(cfg)
        pool = fitting_problems(cfg, policy, pool, heldout)
        n_steps = plan_steps(cfg, len(pool))
        fixed = fingerprints(policy.folder, pool, heldout)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error
    try:
        with (
            checkpoint.only_process(out) if parallel.rank() == 0 else nullcontext(),
            checkpoint.Stop() as stop,
            Log(out, n_steps, pool, cfg.stop_accuracy) as log,
        ):
            state = State(cfg, policy, len(pool), fixed, log)
            begin(cfg, policy, heldout, state, resume)
            asked = train(cfg, policy, pool, heldout, state, log, stop)
            state.save()
            if asked:
                print(f"stopped after step {state.step}, which is saved; add --resume to go on")
                return 128 + asked
            weights, summary = state.weights(), log.summary(state.step)
            if parallel.rank() == 0:
                checkpoint.replace_folder(out / "model", partial(policy.save, weights=weights))
                checkpoint.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
                print_summary(summary, out)
    except FloatingPointError as error:
        raise TrainingError(
            f"{error}: lower update.lr; the checkpoints in {out} are of earlier steps"
        ) from error
    except OSError as error:
        raise TrainingError(f"{error.filename or out}: {error.strerror or error}") from error
    return 0


def begin(cfg: Config, policy: Policy, heldout, state: State, resume: str | None) -> None:
    """Restore the checkpoint, or write the configuration and evaluate the policy as it came."""
    out, log = state.log.out, state.log
    with parallel.all_or_none(), parallel.first_process_first():
        saved = any((out / name).exists() for name in (checkpoint.LATEST, checkpoint.PREVIOUS))
        if resume and saved:
            state.restore(resume)
        else:  # also where the process was killed before its first checkpoint
            log.file.truncate(0)
    if parallel.rank() == 0:
        config = json.dumps(asdict(cfg), indent=2) + "\n"
        checkpoint.write_text(out / "config.json", config)
    if not log.before:
        log.before = log.last = policy.evaluate(heldout, log.clock)
        state.save()
    log.show(state.step)


def fitting_problems(cfg: Config, policy: Policy, pool: list, heldout: list) -> list[Problem]:
    """The pool without prompts that are too long; what cannot be encoded ends here.

    Says how much memory the longest will take.
    """
    lengths = [len(policy.prompt(problem)) for problem in pool + heldout][: len(pool)]
    limit = cfg.data.max_prompt_tokens or max(lengths)
    rest = [problem for problem, n in zip(pool, lengths, strict=True) if n <= limit]
    if not rest:
        raise ConfigError(f"data.max_prompt_tokens: the shortest prompt has {min(lengths)} tokens")
    if len(rest) < len(pool):
        print(f"{len(pool) - len(rest)} problems of the pool have longer prompts: left out")
    n_weights = sum(parameter.numel() for parameter in policy.model.parameters())
    longest = max(n for n in lengths if n <= limit)  # of the pool
    parts = memory.predict(policy.model.config, n_weights, cfg, longest, parallel.world())
    print(f"memory: {memory.describe(parts)}", flush=True)
    return rest


def check_same_run(cfg: Config, out: Path) -> None:
    """`ConfigError` with both values of every key in which a run cannot go on as it began."""
    if not (out / "config.json").exists():
        raise ConfigError(f"{out}: holds no run to go on with; leave out --resume")
    changed = differences(asdict(cfg), read_json(out / "config.json"))
    if changed:
        raise ConfigError(
            f"--resume: the run in {out} has other values: "
            + "; ".join(f"{key} {theirs!r}, not {ours!r}" for key, ours, theirs in changed)
        )


def fingerprints(folder: Path, pool: list[Problem], heldout: list[Problem]) -> dict:
    """What has to be the same for a run to go on, outside of its configuration."""
    problems = json.dumps([[p.text, p.answer, p.kind] for p in pool + heldout])
    weights = sorted((f.name, f.stat().st_size) for f in folder.glob("*.safetensors"))
    return {
        "the problems": hashlib.sha256(problems.encode()).hexdigest(),
        "the starting model": [list(file) for file in weights],
    }


def plan_steps(cfg: Config, n_problems: int) -> int:
    """How many steps the limits on steps and rollouts allow; `ConfigError` if not even one."""
    full_batch = cfg.selector.name == "full_batch"
    groups = min(cfg.selector.candidates, n_problems) if full_batch else 1
    cost = groups * cfg.rollout.group_size
    allowed = min(cfg.steps, cfg.max_rollouts // cost) if cfg.max_rollouts else cfg.steps
    if cfg.rollout.group_size % parallel.world():
        raise ConfigError(
            f"rollout.group_size: {cfg.rollout.group_size} responses cannot be shared out evenly "
            f"over {parallel.world()} processes"
        )
    if allowed == 0:
        raise ConfigError(f"max_rollouts: one step costs {cost} rollouts, not {cfg.max_rollouts}")
    return allowed


def print_summary(summary: dict, out: Path) -> None:
    """Ten lines at most: what was learned, what it cost, where it is."""
    s, seconds = summary, summary["seconds"]
    kinds = ", ".join(
        f"{kind or 'other'} {s['accuracy_by_kind_before'][kind]:.1%} -> {after:.1%}"
        for kind, after in s["accuracy_by_kind_after"].items()
    )
    groups = s["rollouts"] // s["group_size"]
    print(f"held-out accuracy  {s['accuracy_before']:.1%} -> {s['accuracy_after']:.1%}  ({kinds})")
    print(f"rollouts           {s['rollouts']:,} ({s['tokens']:,} tokens) in {s['steps']:,} steps")
    print(f"informative        {s['informative_groups']:,} of {groups:,} groups")
    print(
        f"seconds            {seconds['rollout']:.1f} rollout, {seconds['update']:.1f} loss, "
        f"{seconds['evaluate']:.1f} evaluation, {seconds['total']:.1f} in all"
    )
    try:
        print(f"figure             {curve.draw(out)}")
    except ImportError as error:
        print(f"figure             none: {error}, then python curve.py {out}")
    print(f"trained model      {out / 'model'}")


def main(argv=None) -> int:
    """The command line; 0, or 2 after one line that says what is wrong with the input."""
    try:
        arguments = read_arguments(argv)
        parallel.start()
        return run(*arguments)
    except (ConfigError, DataError, CheckpointError, TrainingError) as error:
        process = f" (process {parallel.rank()})" if parallel.rank() else ""
        print(f"error{process}: {error}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2
    except KeyboardInterrupt:
        print("interrupted before the first step", file=sys.stderr)
        return 130
    finally:
        parallel.end()


if __name__ == "__main__":
    sys.exit(main())
