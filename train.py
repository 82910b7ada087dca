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
import json
import shutil
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
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

import curve
from config import (
    Config,
    ConfigError,
    RolloutConfig,
    UpdateConfig,
    all_keys,
    read_config,
    selectors,
)
from data import DataError, Problem, arithmetic_problems, load_jsonl, load_tokenizer, prompt_ids
from model import CheckpointError, Transformer, find_folder, load, read_json
from rollout import Group, check_stop_ids, generate, generate_batch
from verifier import extract_answer, verify

LOGITS_AT_ONCE = 2**24  # entries of the (G, chunk, V) tensor in the loss: 64 MB in float32
EVALUATION_ROWS = 256

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
        checkpoint(logprobs, s, t, use_reentrant=False, preserve_rng_state=False)
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
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.grad_clip)
        optimizer.step()
    return {**totals, "grad_norm": norm.item()}


# --------------------------------------------------------------------------- the loop


def train(cfg: Config, policy: "Policy", pool, heldout, selector, log: "Log") -> None:
    """The algorithm box above, line by line, until the steps or the rollouts are spent."""
    model, clock, G = policy.model, log.clock, cfg.rollout.group_size
    reference = load(policy.folder, model.device) if cfg.update.kl_coef > 0 else None
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cfg.update.lr, betas=(cfg.update.beta1, cfg.update.beta2),
        weight_decay=cfg.update.weight_decay,
    )  # fmt: skip
    candidate_stream = np.random.default_rng(stream_seed(cfg.seed, "candidates"))
    rollout_stream = torch.Generator(model.device).manual_seed(stream_seed(cfg.seed, "rollouts"))
    M = min(cfg.selector.candidates, len(pool))

    for step in range(1, log.n_steps + 1):
        candidates = candidate_stream.choice(len(pool), M, replace=False)  # (M,)
        before = describe(selector, candidates)
        chosen = selector.choose(candidates)  # one index; all of them for the full batch
        picks = np.atleast_1d(chosen)

        with clock("rollout"):
            groups = [policy.rollout(pool[i], G, rollout_stream) for i in picks]
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
                    model, reference, optimizer, [groups[g] for g in informative],
                    [advantages[g] for g in informative], cfg.update, cfg.rollout,
                )  # fmt: skip
            log.updates += cfg.update.updates_per_group

        due = step == log.n_steps or log.evaluation_due(cfg.eval_every)
        result = policy.evaluate(heldout, clock) if due else {}
        log.write(step, before, chosen, picks, rewards, groups, stats, result)


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


class Policy:
    """The model with its tokenizer: problems in, rollouts, rewards and accuracies out."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.folder = find_folder(cfg.model)
        self.model = load(self.folder, pick_device(cfg.device))
        self.tokenizer = load_tokenizer(self.folder)
        stop_ids = cfg.rollout.stop_ids or checkpoint_stop_ids(self.folder, self.tokenizer)
        try:
            check_stop_ids(stop_ids, self.model.config.vocab_size)
        except ValueError as error:
            raise ConfigError(f"rollout.stop_ids: {error}") from error
        self.limits = {"max_new_tokens": cfg.rollout.max_new_tokens, "stop_ids": stop_ids}

    def prompt(self, problem: Problem) -> list[int]:
        """The prompt's tokens; `DataError` where there are none or the model does not know one."""
        ids = prompt_ids(self.tokenizer, self.cfg.data.template, problem)
        if not ids or max(ids) >= self.model.config.vocab_size:
            raise DataError(
                f"{problem.text!r}: its tokens {ids} are not all in the model's vocabulary"
            )
        return ids

    def rollout(self, problem: Problem, n: int, generator: torch.Generator) -> Group:
        """n responses to one problem."""
        r = self.cfg.rollout
        return generate(
            self.model, self.prompt(problem), n, generator=generator,
            temperature=r.temperature, top_k=r.top_k, top_p=r.top_p, **self.limits,
        )  # fmt: skip

    def texts(self, group: Group) -> list[str]:
        return [self.tokenizer.decode(r, skip_special_tokens=True) for r in group.responses()]

    def rewards(self, problem: Problem, group: Group) -> list[float]:
        """1.0 where the verifier accepts the response, else 0.0; (G,)."""
        return [float(verify(text, problem.answer)) for text in self.texts(group)]

    def entropy(self, group: Group, whose: str) -> float | None:
        """Of the policy, in nats a token, or of its answers, in nats a response."""
        if whose == "policy":
            return group.entropy()
        if whose == "none":
            return None
        answers = [str(extract_answer(text)) for text in self.texts(group)]
        share = np.unique(answers, return_counts=True)[1] / len(answers)
        return float(-(share * np.log(share)).sum())

    def evaluate(self, problems: list[Problem], clock) -> dict:
        """Greedy accuracy, overall and by kind; these rollouts are not training's cost."""
        right: dict[str, list[bool]] = {}
        unused = torch.Generator(self.model.device)  # greedy draws nothing
        with clock("evaluate"):
            for first in range(0, len(problems), EVALUATION_ROWS):
                batch = problems[first : first + EVALUATION_ROWS]
                group = generate_batch(
                    self.model, [self.prompt(p) for p in batch], temperature=0.0, generator=unused,
                    **self.limits,
                )  # fmt: skip
                for problem, text in zip(batch, self.texts(group), strict=True):
                    right.setdefault(problem.kind, []).append(verify(text, problem.answer))
        by_kind = {kind: float(np.mean(oks)) for kind, oks in sorted(right.items())}
        return {
            "accuracy": float(np.mean([ok for oks in right.values() for ok in oks])),
            "accuracy_by_kind": by_kind,
        }

    def save(self, folder: Path) -> None:
        """The trained weights beside the files of the checkpoint that say how to use them."""
        self.model.save(folder)
        self.tokenizer.save_pretrained(folder)
        if (self.folder / "generation_config.json").exists():
            shutil.copy(self.folder / "generation_config.json", folder)


def checkpoint_stop_ids(folder: Path, tokenizer) -> list[int]:
    """What ends a response, by the generation config, else the config, else the tokenizer."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).exists():
            ids = read_json(folder / name).get("eos_token_id")
            ids = [ids] if isinstance(ids, int) else ids
            if isinstance(ids, list) and ids and all(isinstance(i, int) for i in ids):
                return ids
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{folder}: names no stop token; set rollout.stop_ids")
    return [tokenizer.eos_token_id]


def pick_device(name: str) -> torch.device:
    """The device of that name, or the best one; `ConfigError` where this machine has it not."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        torch.Generator(device)  # some devices hold tensors and cannot draw
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"device: {name!r} is not to be had here ({reason})") from error
    return device


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


class Log:
    """Counts what a run costs, times its parts, writes `metrics.jsonl`, moves the progress bar."""

    def __init__(self, out: Path, n_steps: int, pool: list[Problem]):
        self.n_steps, self.pool = n_steps, pool
        self.before: dict = {}  # the evaluation before the first step, and the last one
        self.last: dict = {}
        self.rollouts = self.tokens = self.updates = self.informative = self.evaluated_at = 0
        self.seconds = {"rollout": 0.0, "update": 0.0, "evaluate": 0.0}
        self.written = dict(self.seconds)  # what earlier lines have told of
        self.file = (out / "metrics.jsonl").open("x", encoding="utf-8")
        self.bar = tqdm(total=n_steps, desc="training", mininterval=0.2, dynamic_ncols=True)

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

    def evaluation_due(self, every: int) -> bool:
        """True once for each multiple of `every` rollouts that is passed."""
        due = self.rollouts // every > self.evaluated_at // every
        if due:
            self.evaluated_at = self.rollouts
        return due

    def write(self, step, before, chosen, picks, rewards, groups, stats, result) -> None:
        """One line: what was on offer, what was chosen, what came of it, what it cost."""
        seconds = {part: self.seconds[part] - self.written[part] for part in self.seconds}
        self.written = dict(self.seconds)
        one = len(rewards) == 1 and not isinstance(chosen, list)
        entry = {
            "step": step, **before, "chosen": chosen, "kind": [self.pool[i].kind for i in picks],
            "rewards": rewards[0] if one else rewards, "rollouts": self.rollouts,
            "tokens": self.tokens, "updates": self.updates, "informative_groups": self.informative,
            "entropy": float(np.mean([g.entropy() for g in groups])), **stats, **result,
            "seconds": seconds,
        }  # fmt: skip
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        self.last = result or self.last
        problem, right = self.pool[picks[0]].text, sum(rewards[0])
        self.bar.set_postfix_str(
            f"accuracy {self.last['accuracy']:.1%}, {self.rollouts} rollouts, "
            f"{problem[:24]!r} {right:.0f}/{len(rewards[0])}",
            refresh=False,
        )
        self.bar.update()

    def summary(self, total_seconds: float) -> dict:
        """What `summary.json` holds."""
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
            "seconds": {**self.seconds, "total": total_seconds},
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
    arguments = parser.parse_args(argv)
    out = Path(arguments.out or Path("runs") / Path(arguments.config).stem)
    return read_config(arguments.config, arguments.set), out


def run(cfg: Config, out: Path) -> None:
    """One run, configuration to trained model; nothing is written before all input is checked."""
    started = time.perf_counter()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: already holds a run; name another with --out, or delete it")
    torch.set_num_threads(cfg.threads)
    print(f"loading {cfg.model}; the run will be in {out}", flush=True)
    pool, heldout = load_problems(cfg)
    policy = Policy(cfg)
    for problem in pool + heldout:
        policy.prompt(problem)  # what cannot be encoded ends here
    selector = selectors.SELECTORS[cfg.selector.name](
        len(pool), cfg.selector.ema, cfg.selector.bonus, cfg.selector.entropy,
        seed=stream_seed(cfg.seed, "selector"),
    )  # fmt: skip
    n_steps = plan_steps(cfg, len(pool))
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps(asdict(cfg), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error
    log = Log(out, n_steps, pool)
    log.before = log.last = policy.evaluate(heldout, log.clock)
    with log:
        train(cfg, policy, pool, heldout, selector, log)
    policy.save(out / "model")
    summary = log.summary(time.perf_counter() - started)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print_summary(summary, out)


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
        run(*read_arguments(argv))
    except (ConfigError, DataError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
