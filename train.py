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
import os
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed
from tqdm import tqdm

import checkpoint
import curve
from config import (
    Config,
    ConfigError,
    RolloutConfig,
    UpdateConfig,
    all_keys,
    differences,
    read_config,
    selectors,
)
from data import DataError, Problem, arithmetic_problems, load_jsonl
from model import CheckpointError, Transformer, load, read_json
from policy import Policy
from rollout import Group

LOGITS_AT_ONCE = 2**24  # entries of the (G, chunk, V) tensor in the loss: 64 MB in float32
BAD_UPDATES = 5  # not finite, one after the other: then training stops

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

    In float32, and for a few positions at a time whose logits are computed again on the way back,
    so that the (G, T, V) tensor never exists.
    """
    # the state at column t predicts the token at t + 1: the first response token comes from P - 1
    states = model.hidden(tokens[:, :-1])[:, prompt_len - 1 :]  # (G, L, C), L = T - P
    targets = tokens[:, prompt_len:]  # (G, L)

    def logprobs(states: Tensor, targets: Tensor) -> Tensor:
        logits = model.head(states).float() / temperature  # (G, chunk, V)
        return logits.log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]  # (G, chunk)

    chunk = max(1, LOGITS_AT_ONCE // (len(tokens) * model.config.vocab_size))
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
        optimizer.zero_grad(set_to_none=True)
        totals: dict[str, float] = {}
        for group, A, weight in zip(
            groups, advantages, weights.split(rollout.group_size), strict=True
        ):
            for rows in torch.arange(len(A), device=model.device).split(size):
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
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.grad_clip).item()
        if not (math.isfinite(norm) and math.isfinite(totals["loss"])):
            return {**totals, "grad_norm": norm, "skipped": True}  # one NaN would spoil all weights
        optimizer.step()
    return {**totals, "grad_norm": norm}


# --------------------------------------------------------------------------- the loop


def train(cfg: Config, policy: Policy, pool, heldout, state: "State", log: "Log", stop) -> None:
    """The algorithm box above, line by line, until the steps or the rollouts are spent."""
    model, selector, clock, G = policy.model, state.selector, log.clock, cfg.rollout.group_size
    reference = load(policy.folder, model.device) if cfg.update.kl_coef > 0 else None
    M = min(cfg.selector.candidates, len(pool))

    while state.step < log.n_steps and not stop.asked:
        candidates = state.candidate_stream.choice(len(pool), M, replace=False)  # (M,)
        offer = describe(selector, candidates)
        chosen = selector.choose(candidates)  # one index; all of them for the full batch
        picks = np.atleast_1d(chosen)

        with clock("rollout"):
            groups = [policy.rollout(pool[i], G, state.rollout_stream) for i in picks]
            rewards = [policy.rewards(pool[i], g) for i, g in zip(picks, groups, strict=True)]
        for i, group, r in zip(picks, groups, rewards, strict=True):
            selector.update(i, r, policy.entropy(group, cfg.selector.entropy))

        advantages = [group_advantages(r, cfg.update.advantage).to(model.device) for r in rewards]
        # Groups of equal rewards teach nothing, but every rollout is paid for.
        informative = [g for g, A in enumerate(advantages) if A.any()]
        log.count(groups, informative)
        stats = {"loss": 0.0}
        if informative:
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
            log.skipped_update(state.step, picks, [policy.texts(g) for g in groups], rewards, stats)
        if state.step % cfg.checkpoint_every == 0 or stop.asked:
            state.save()


class State:
    """All that changes while training, and so all that a checkpoint has to hold."""

    def __init__(self, cfg: Config, policy: Policy, n_problems: int, fixed: dict, log: "Log"):
        self.model, self.log = policy.model, log
        self.fixed = fixed  # what must be the same for the run to go on
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=cfg.update.lr, betas=(cfg.update.beta1, cfg.update.beta2),
            weight_decay=cfg.update.weight_decay,
        )  # fmt: skip
        self.selector = selectors.SELECTORS[cfg.selector.name](
            n_problems, cfg.selector.ema, cfg.selector.bonus, cfg.selector.entropy,
            seed=stream_seed(cfg.seed, "selector"),
        )  # fmt: skip
        self.candidate_stream = np.random.default_rng(stream_seed(cfg.seed, "candidates"))
        device = self.model.device
        self.rollout_stream = torch.Generator(device).manual_seed(stream_seed(cfg.seed, "rollouts"))

    def save(self) -> None:
        """Write a checkpoint into the run's folder."""
        tensors = {f"model.{name}": w for name, w in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value
        tensors["rollout_stream"] = self.rollout_stream.get_state()
        values = {
            "step": self.step, "fixed": self.fixed, "selector": self.selector.state_dict(),
            "candidate_stream": self.candidate_stream.bit_generator.state,
            "log": self.log.state_dict(),
        }  # fmt: skip
        checkpoint.save(self.log.out, tensors, values)

    def restore(self, which: str) -> None:
        """Go on from a checkpoint of the run; `CheckpointError` where it is not of this run."""
        tensors, values = checkpoint.load(self.log.out, which)
        for name, value in self.fixed.items():
            if values["fixed"].get(name) != value:
                raise CheckpointError(f"{self.log.out}: {name} changed since the run began")
        self.model.load_state_dict(
            {n.removeprefix("model."): w for n, w in tensors.items() if n.startswith("model.")}
        )
        for name, parameter in self.model.named_parameters():
            prefix = f"optimizer.{name}."
            slots = {n.removeprefix(prefix): w for n, w in tensors.items() if n.startswith(prefix)}
            if slots:  # the count of steps stays on the CPU, as AdamW made it
                self.optimizer.state[parameter] = {
                    slot: value if slot == "step" else value.to(parameter.device)
                    for slot, value in slots.items()
                }
        self.rollout_stream.set_state(tensors["rollout_stream"])
        self.selector.load_state_dict(values["selector"])
        self.candidate_stream.bit_generator.state = values["candidate_stream"]
        self.step = values["step"]
        self.log.load_state_dict(values["log"])


def stream_seed(seed: int, name: str) -> int:
    """The seed of a named random stream: streams never disturb each other."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])


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
        if source == "arithmetic":
            rng = np.random.default_rng(stream_seed(cfg.seed, which))
            return arithmetic_problems(size, rng, heldout=which == "heldout")
        problems = load_jsonl(source)
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


# --------------------------------------------------------------------------- the record of a run


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line and says what remains."""


class Log:
    """Counts what a run costs, times its parts, writes `metrics.jsonl`, moves the progress bar."""

    COUNTS = (
        "rollouts", "tokens", "updates", "informative", "evaluated_at", "group_size", "bad_updates",
        "before", "last", "seconds", "written",
    )  # fmt: skip

    def __init__(self, out: Path, n_steps: int, pool: list[Problem]):
        self.out, self.n_steps, self.pool = out, n_steps, pool
        self.before: dict = {}  # the evaluation before the first step, and the last one
        self.last: dict = {}
        self.rollouts = self.tokens = self.updates = self.informative = self.evaluated_at = 0
        self.group_size = self.bad_updates = 0  # the latter: one after the other
        self.seconds = {"rollout": 0.0, "update": 0.0, "evaluate": 0.0, "total": 0.0}
        self.written = dict(self.seconds)  # what earlier lines have told of
        self.since = time.perf_counter()  # when "total" was last brought up to date
        self.file = (out / "metrics.jsonl").open("ab")
        self.bar = tqdm(disable=True)  # until the first step

    def show(self, step: int) -> None:
        self.bar = tqdm(
            total=self.n_steps, initial=step, desc="training", mininterval=0.2, dynamic_ncols=True
        )

    def state_dict(self) -> dict:
        """The counts, and how long the record is: later lines are cut off when going on."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.count_total()
        return {"bytes": self.file.tell(), **{name: getattr(self, name) for name in self.COUNTS}}

    def load_state_dict(self, state: dict) -> None:
        """Count on from a checkpoint, and cut back the record to it: no step stands there twice."""
        if self.file.tell() < state["bytes"]:
            raise CheckpointError(f"{self.out / 'metrics.jsonl'}: shorter than at the checkpoint")
        self.file.truncate(state["bytes"])
        for name in self.COUNTS:
            setattr(self, name, state[name])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()
        self.file.close()

    @contextmanager
    def clock(self, part: str):
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start

    def count(self, groups: list[Group], informative: list[int]) -> None:
        self.group_size = len(groups[0].lengths)
        self.rollouts += len(groups) * self.group_size
        self.tokens += sum(int(g.lengths.sum()) for g in groups)
        self.informative += len(informative)

    def count_update(self, stats: dict, updates: int) -> None:
        skipped = "skipped" in stats
        self.updates += 0 if skipped else updates
        self.bad_updates = self.bad_updates + 1 if skipped else 0

    def count_total(self) -> None:
        now = time.perf_counter()
        self.seconds["total"] += now - self.since
        self.since = now

    def evaluation_due(self, every: int) -> bool:
        """True once for each multiple of `every` rollouts that is passed."""
        due = self.rollouts // every > self.evaluated_at // every
        if due:
            self.evaluated_at = self.rollouts
        return due

    def write(self, step, offer, chosen, picks, rewards, groups, stats, result) -> None:
        """One line: what was on offer, what was chosen, what came of it, what it cost."""
        self.count_total()
        seconds = {part: self.seconds[part] - self.written[part] for part in self.seconds}
        self.written = dict(self.seconds)
        one = len(rewards) == 1 and not isinstance(chosen, list)
        entry = {
            "step": step, **offer, "chosen": chosen, "kind": [self.pool[i].kind for i in picks],
            "rewards": rewards[0] if one else rewards, "rollouts": self.rollouts,
            "tokens": self.tokens, "updates": self.updates, "informative_groups": self.informative,
            "entropy": float(np.mean([g.entropy() for g in groups])), **stats, **result,
            "seconds": seconds,
        }  # fmt: skip
        self.file.write((json.dumps(entry) + "\n").encode())
        self.file.flush()
        self.last = result or self.last
        problem, right = self.pool[picks[0]].text, sum(rewards[0])
        self.bar.set_postfix_str(
            f"accuracy {self.last['accuracy']:.1%}, {self.rollouts} rollouts, "
            f"{problem[:24]!r} {right:.0f}/{len(rewards[0])}",
            refresh=False,
        )
        self.bar.update()

    def skipped_update(self, step, picks, texts, rewards, stats) -> None:
        """Keep the groups whose loss or gradient was not finite; the fifth in a row is the last."""
        groups = [
            {"step": step, "problem": self.pool[i].text, "responses": t, "rewards": r, **stats}
            for i, t, r in zip(picks, texts, rewards, strict=True)
        ]
        file = self.out / "nonfinite.jsonl"
        with file.open("a", encoding="utf-8") as opened:
            opened.writelines(json.dumps(group) + "\n" for group in groups)
        if self.bad_updates >= BAD_UPDATES:
            raise TrainingError(
                f"{BAD_UPDATES} updates in a row were not finite and were skipped; look at the "
                f"groups in {file} or lower update.lr; the last checkpoint is whole"
            )

    def summary(self) -> dict:
        """What `summary.json` holds."""
        self.count_total()
        return {
            "accuracy_before": self.before["accuracy"],
            "accuracy_after": self.last["accuracy"],
            "accuracy_by_kind_before": self.before["accuracy_by_kind"],
            "accuracy_by_kind_after": self.last["accuracy_by_kind"],
            "steps": self.n_steps,
            "updates": self.updates,
            "rollouts": self.rollouts,
            "tokens": self.tokens,
            "informative_groups": self.informative,
            "group_size": self.group_size,
            "seconds": self.seconds,
        }


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
    if resume:
        check_same_run(cfg, out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"{out}: already holds a run; go on with --resume, or name another with --out"
        )
    torch.set_num_threads(cfg.threads)
    print(f"loading {cfg.model}; the run will be in {out}", flush=True)
    pool, heldout = load_problems(cfg)
    policy = Policy(cfg)
    for problem in pool + heldout:
        policy.prompt(problem)  # what cannot be encoded ends here
    n_steps = plan_steps(cfg, len(pool))
    fixed = fingerprints(policy.folder, pool, heldout)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error
    try:
        with (
            checkpoint.only_process(out),
            checkpoint.Stop() as stop,
            Log(out, n_steps, pool) as log,
        ):
            state = State(cfg, policy, len(pool), fixed, log)
            begin(cfg, policy, heldout, state, resume)
            train(cfg, policy, pool, heldout, state, log, stop)
            if stop.asked and state.step < n_steps:
                print(f"stopped after step {state.step}, which is saved; add --resume to go on")
                return 128 + stop.asked
            state.save()
            checkpoint.replace_folder(out / "model", policy.save)
            summary = log.summary()
            checkpoint.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    except FloatingPointError as error:
        raise TrainingError(
            f"{error}: lower update.lr; the checkpoints in {out} are of earlier steps"
        ) from error
    except OSError as error:
        raise TrainingError(f"{error.filename or out}: {error.strerror or error}") from error
    print_summary(summary, out)
    return 0


def begin(cfg: Config, policy: Policy, heldout, state: "State", resume: str | None) -> None:
    """Restore the checkpoint, or write the configuration and evaluate the policy as it came."""
    out, log = state.log.out, state.log
    saved = any((out / name).exists() for name in (checkpoint.LATEST, checkpoint.PREVIOUS))
    if resume and saved:
        state.restore(resume)
    else:  # also where the process was killed before its first checkpoint
        log.file.truncate(0)
    config = json.dumps(asdict(cfg), indent=2) + "\n"
    checkpoint.write_text(out / "config.json", config)
    if not log.before:
        log.before = log.last = policy.evaluate(heldout, log.clock)
        state.save()
    log.show(state.step)


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
    except ImportError:
        print("figure             none: pip install matplotlib, then python curve.py " + str(out))
    print(f"trained model      {out / 'model'}")


def main(argv=None) -> int:
    """The command line; 0, or 2 after one line that says what is wrong with the input."""
    try:
        return run(*read_arguments(argv))
    except (ConfigError, DataError, CheckpointError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2
    except KeyboardInterrupt:
        print("interrupted before the first step", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
