"""GRPO: from the rewards of a group to one step of the optimizer.

What it teaches: policy gradients with verifiable rewards need neither a value network nor a learned
reward.  Sample G responses to one problem and compare each with the group's own mean: what was
better becomes likelier, what was worse becomes less likely.  In the order of their use:

    group_advantages    A_g = (r_g - mean r) / std r           which responses were better
    counted_tokens                                             which tokens count at all
    token_weights       w_t                                    how much each token counts
    token_logprobs      log pi(y_t | x, y_<t)                  what the model says of each token now
    clipped_surrogate   min[rho A, clip(rho) A]                what a token adds: PPO, GSPO, CISPO
    grpo_loss           -sum_t w_t (surrogate - beta k3)       the loss, with a KL penalty
    update_policy       theta <- theta - lr * gradient         all of it, then the optimizer's step

Where it stands: the last two lines of the algorithm box in `train.py`, after the selector has
chosen a problem and the verifier has judged the responses to it.

Try changing first: the clip.  With one update per group the ratio is 1 and the clip never acts, so
take four: `--set update.updates_per_group=4` ends at 98.5, 92.5 and 94.5% on seeds 0 to 2, where
one update ends at 99.0, 98.5 and 98.5%: each group now moves the policy too far.  With four updates
and a tight clip (`update.clip_low=0.002`, `update.clip_high=0.002`) it ends at 98.0, 64.0 and
60.0%: each now moves it too little to learn both skills.  `aggregate` changes half a point at most,
as all responses have similar lengths.  What is clipped is `surrogate`: with four updates, seeds
1000 to 1002 end at 100, 100 and 95.5% with "ppo", 93.0, 96.0 and 100% with "gspo", and 77.5, 99.5
and 94.5% with "cispo".  These clips act on half a percent of the tokens at most, so that three
seeds do not say which is better.

Two policies are called old.  pi_old, in the ratio, is the policy before the group's first update
as this file computes it, so that the ratio begins at exactly 1.  The sampler has the same weights
and computes in another order, in bfloat16 visibly so; `sampler_weights` can correct for that.

Departures from the papers.  From GRPO (DeepSeekMath, arXiv 2402.03300): there is no KL term unless
`kl_coef` > 0; by default the upper clip is the larger one and the loss is a mean over tokens (both
from DAPO, arXiv 2503.14476); groups of equal rewards take no part in that mean (DAPO), except that
a KL term reads them too; the standard deviation is the population's.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from model import KVCache, Transformer
from plumbing import memory, parallel
from plumbing.config import Config, UpdateConfig
from rollout import Group


def group_advantages(rewards: Sequence[float] | Tensor, normalize: str = "std") -> Tensor:
    """Return A_g = (r_g - mean r) / std r of one group, (G,) -> (G,); exactly 0 for equal rewards.

    "std": as above (DeepSeekMath, arXiv 2402.03300, section 4.1.2).  "none": without the division
    (Dr. GRPO, arXiv 2503.20783).  "rloo": r_g minus the mean of the *others* (RLOO, arXiv
    2402.14740), a baseline that r_g has no part in.  It is G / (G - 1) times "none", and AdamW is
    blind to a factor: only `kl_coef` and `grad_clip` tell the two apart.

    REINFORCE++ (arXiv 2501.03262) divides by the standard deviation of a whole batch of prompts, so
    that no single group's spread is blown up.  With one problem per step the batch is the group,
    and this would be "std".
    """
    if normalize not in ("std", "none", "rloo"):
        raise ValueError(f"normalize must be 'std', 'none' or 'rloo', not {normalize!r}")
    rewards = torch.as_tensor(rewards, dtype=torch.float32)  # (G,)
    # Equal rewards are found by comparing them: their mean may differ from them in the last bit,
    # and the standard deviation would blow that difference up to 1.
    if rewards.max() == rewards.min():
        return torch.zeros_like(rewards)
    if normalize == "none":
        return rewards - rewards.mean()
    if normalize == "rloo":
        return (rewards - rewards.mean()) * len(rewards) / (len(rewards) - 1)
    # The squares of very small rewards would be 0, and those of very large ones infinite.  A power
    # of two brings their spread near 1 and changes no digit.
    scale = 2.0 ** -math.frexp(rewards.max() - rewards.min())[1]
    rewards = (rewards.double() * scale).float()
    return (rewards - rewards.mean()) / rewards.std(correction=0)


def counted_tokens(group: Group, mask_truncated: bool) -> Tensor:
    """Return 1.0 on the response tokens that the loss is made of, and 0.0 elsewhere, (G, T_new).

    These are all, or with `mask_truncated` only those of responses that ended by themselves: what
    a response that was cut off would have come to, nobody knows (DAPO's overlong filtering, arXiv
    2503.14476, section 3.4).  Its reward stays in the mean of the group, and so in the advantages
    of the others.  A mean over tokens ("token") is then one over the tokens that are left, as in
    DAPO; the mean over responses ("sequence") and the constant go on counting all G, so that a
    response that was cut off adds 0 to the sum and 1 to what it is divided by.
    """
    return group.mask * group.finished[:, None] if mask_truncated else group.mask


def is_used(group: Group, A: Tensor, update: UpdateConfig) -> bool:
    """Say whether an update uses a group: its rewards differ, or there is a KL penalty.

    One of which no token counts is not used, as momentum alone would move the weights.
    """
    counts = bool(counted_tokens(group, update.mask_truncated).any())
    return counts and (update.kl_coef > 0 or bool(A.any()))


def token_weights(mask: Tensor, aggregate: str, constant_length: int | None = None) -> Tensor:
    """Return how much each response token counts in the loss, a weighted sum, (G, L) -> (G, L).

    "token": all tokens of all responses count alike, so that a long response counts for more (DAPO,
    eq. 8).  "sequence": all responses count alike, so that a token of a long response counts for
    less (GRPO, eq. 3).  "constant": every token counts 1 / (G * constant), whatever the lengths
    (Dr. GRPO); the constant is L where none is given.
    """
    G, L = mask.shape
    if aggregate == "token":
        return mask / mask.sum().clamp(min=1)
    if aggregate == "sequence":
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1) / G
    if aggregate == "constant":
        return mask / (G * (constant_length or L))
    raise ValueError(f"aggregate must be 'token', 'sequence' or 'constant', not {aggregate!r}")


def clipped_surrogate(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    kind: str,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """Return what each token adds to the objective, and where the clip acts, (G, L) both.

    rho_t = pi(y_t) / pi_old(y_t), and clip(rho) = max(1 - low, min(rho, 1 + high)).

    "ppo"    min[rho_t A, clip(rho_t) A]: no gradient from a token whose probability has moved far
             enough in the direction that A asks for (PPO, arXiv 1707.06347, eq. 7).
    "gspo"   the same with one ratio for all tokens of a response, (pi(y) / pi_old(y))^(1/|y|), the
             geometric mean of theirs: a response is clipped as a whole (GSPO, arXiv 2507.18071, eq.
             5; in its form "GSPO-token", where each token has its own gradient).
    "cispo"  sg[clip(rho_t)] A log pi(y_t), where sg[] is a constant for the gradient: every token
             teaches, and the clip bounds how much (CISPO, arXiv 2506.13585, eqs. 4 and 5).

    At ratio 1, and so with one update per group, all three have the gradient of A log pi(y_t); PPO
    and CISPO agree wherever neither is clipped.  The clips are on scales of their own.  A mean over
    many tokens moves little: GSPO's paper has low = 3e-4 and high = 4e-4.  CISPO's has no lower
    bound (low = 1 here) and tunes the upper one.
    """
    real = mask.bool()  # (G, L)
    # After the end of a response there may be anything, even -inf, and 0 * inf is NaN.
    log_ratio = torch.where(real, logp - old_logp, 0.0)  # (G, L)
    if kind == "gspo":
        n = mask.sum(dim=1, keepdim=True).clamp(min=1)  # (G, 1)
        mean = log_ratio.detach().sum(dim=1, keepdim=True) / n  # (G, 1)
        log_ratio = mean + (log_ratio - log_ratio.detach())  # (G, L), the mean with its gradients
    ratio = log_ratio.exp()  # (G, L)
    A = advantages[:, None]  # (G, 1)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    if kind == "cispo":
        return clipped.detach() * A * torch.where(real, logp, 0.0), clipped != ratio
    if kind in ("ppo", "gspo"):
        return torch.minimum(ratio * A, clipped * A), clipped * A < ratio * A
    raise ValueError(f"surrogate must be 'ppo', 'gspo' or 'cispo', not {kind!r}")


def grpo_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    surrogate: str = "ppo",
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    aggregate: str = "token",
    kl_coef: float = 0.0,
    ref_logp: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return a clipped surrogate with group advantages, as a loss.

        L = -sum_t w_t { min[rho_t A, clip(rho_t) A] - kl_coef * k3_t }

    or with another `surrogate` in place of PPO's.  logp, old_logp, mask and ref_logp are (G, L),
    advantages (G,).  `weights` (G, L) replace those of `aggregate` where the rows are only a part
    of a batch, or where the sampler was another policy (`sampler_weights`).

    The statistics are sums with the same weights: `clip_fraction` of the tokens that are clipped
    (their share, where the weights add up to 1), and `kl` of k3.
    """
    if weights is None:
        weights = token_weights(mask, aggregate)
    gain, is_clipped = clipped_surrogate(
        logp, old_logp, advantages, mask, kind=surrogate, clip_low=clip_low, clip_high=clip_high
    )  # (G, L) both
    stats = {"clip_fraction": float((weights * is_clipped).sum())}
    if kl_coef:
        if ref_logp is None:
            raise ValueError("kl_coef > 0 needs ref_logp")
        # k3 = exp(d) - 1 - d, for samples of pi, estimates KL(pi || pi_ref) and is never negative
        # (Schulman 2020).  Its gradient is that of KL(pi_ref || pi) instead: on samples of pi it
        # is (1 - pi_ref/pi) grad logp, whose mean is -sum pi_ref grad logp; near pi_ref both agree.
        # expm1, since exp(d) - 1 is 0 in float32 for the small d of training.
        d = torch.where(mask.bool(), ref_logp - logp, 0.0)
        k3 = torch.expm1(d) - d  # (G, L)
        gain = gain - kl_coef * k3
        stats["kl"] = float((weights * k3.detach()).sum())
    return -(weights * gain).sum(), stats


def sampler_weights(old_logp: Tensor, sampled_logp: Tensor, cap: float) -> Tensor:
    """Return min(pi_old(y_t) / mu(y_t), cap), the truncated importance weight, (G, L).

    The tokens were drawn from mu, the policy as the sampler computes it: in bfloat16 it differs
    from pi_old, the same weights as the loss computes them.  The cap keeps the variance bounded
    (IMPALA, arXiv 1802.01561, section 4.1).  A `cap` of 0 leaves the weight out.
    """
    if not cap:
        return torch.ones_like(old_logp)
    return (old_logp - sampled_logp).exp().clamp(max=cap)


def token_logprobs(
    model: Transformer, tokens: Tensor, prompt_len: int, temperature: float
) -> Tensor:
    """Return log pi(y_t | x, y_<t) of the response tokens, in float32, (G, T) -> (G, T-P).

    The temperature is that of sampling, or else the ratio would not begin at 1.  All rows start
    with the same prompt, so the model reads it once for all of them, and gradients flow through
    that one row; on a GPU whole rows may be faster (`memory.reads_rows_whole`).  The (G, T, V)
    logits would be by far the largest tensor of training: where they have more than
    `memory.LOGITS_AT_ONCE` entries they are made for a few positions at a time, and made again on
    the way back instead of being kept.
    """
    targets = tokens[:, prompt_len:]  # (G, L), L = T - P

    def logprobs(states: Tensor, targets: Tensor) -> Tensor:  # (G, chunk, C), (G, chunk)
        # Autocast must not keep one bfloat16 copy of the head's weight for all chunks: their
        # gradients would be added up in that copy, in bfloat16.
        with model.autocast(reuse_weights=False):
            logits = model.head(states).float() / temperature  # (G, chunk, V)
        return logits.log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]  # (G, chunk)

    with model.autocast():
        # The logits at position t are about the token at t + 1.  So the first response token is
        # predicted by the last one of the prompt, and the last response token predicts nothing.
        if memory.reads_rows_whole(model.device.type, len(tokens), prompt_len, targets.shape[1]):
            states = model(tokens[:, :-1], logits=False)[:, prompt_len - 1 :]  # (G, L, C)
        else:
            prompt = KVCache()
            first = model(tokens[:1, :prompt_len], prompt, last_only=True, logits=False)
            prompt.grows = False  # all rows continue the same prompt, and none adds to it
            rest = model(tokens[:, prompt_len:-1], prompt, logits=False)  # (G, L-1, C)
            states = torch.cat((first.expand(len(tokens), -1, -1), rest), dim=1)  # (G, L, C)
    chunk = max(1, memory.LOGITS_AT_ONCE // (len(tokens) * model.config.vocab_size))
    if targets.shape[1] <= chunk:
        return logprobs(states, targets)
    pieces = [
        recomputed(logprobs, s, t, use_reentrant=False, preserve_rng_state=False)
        for s, t in zip(states.split(chunk, dim=1), targets.split(chunk, dim=1), strict=True)
    ]
    return torch.cat(pieces, dim=1)  # (G, L)


def update_policy(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    advantages: Sequence[Tensor],
    cfg: Config,
    reference: Transformer | None = None,
) -> dict[str, float]:
    """Take `updates_per_group` optimizer steps on some groups; return the last one's statistics.

    groups and advantages (G,) belong together.  `reference` is the starting model, asked for where
    `kl_coef` > 0.  A step whose loss or gradient is not finite is left out, as a single NaN would
    spoil all weights: then the statistics have a `skipped` entry and no further step is taken.
    """
    stats: dict[str, float] = {}
    old_logps: list[Tensor] = []  # pi_old of every token, which the first update finds out
    for _ in range(cfg.update.updates_per_group):
        stats = backward(model, groups, advantages, old_logps, cfg, reference)
        parallel.sum_gradients(model)
        stats = parallel.over_processes(stats)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.update.grad_clip)
        stats["grad_norm"] = parallel.whole(norm).item()
        stats["learning_rate"] = optimizer.param_groups[0]["lr"]
        finite = math.isfinite(stats["grad_norm"]) and math.isfinite(stats["loss"])
        if finite:
            optimizer.step()  # theta <- theta - lr * (the gradient, as AdamW scales it)
        optimizer.zero_grad(set_to_none=True)  # frees the gradients' memory for the next rollouts
        if not finite:
            return {**stats, "skipped": True}
    return stats


def few_rows(group: Group, at_once: int) -> Sequence[Tensor]:
    """Return this process's rows of a group, so many at once, or all where `at_once` is 0.

    Rows of like length are put together, so that little of them is padding.
    """
    G = len(group.tokens)
    mine = torch.arange(G, device=group.tokens.device)[parallel.share(G)]
    return mine[group.lengths[mine].argsort(stable=True)].split(at_once) if at_once else [mine]


@torch.no_grad()
def log_ratios(model: Transformer, group: Group, cfg: Config) -> list[list[float]]:
    """Return log pi(y_t) - log mu(y_t) of each token of the G responses, in nats.

    pi is the model as it is now and mu the policy that sampled, up to rounding pi_old: asked for
    after a step's updates, this is how far they moved each token.  Every process has to ask.
    """
    mine: dict[int, list[float]] = {}
    for rows in few_rows(group, cfg.update.micro_batch):
        L = int(group.lengths[rows].max())
        tokens = group.tokens[rows, : group.prompt_len + L]  # (rows, P + L)
        logp = token_logprobs(model, tokens, group.prompt_len, cfg.rollout.temperature)
        moved = logp - group.logprobs[rows, :L]  # (rows, L)
        for i, row, length in zip(
            rows.tolist(), moved.tolist(), group.lengths[rows].tolist(), strict=True
        ):
            mine[i] = row[:length]
    of_all = {i: row for part in parallel.gather(mine) for i, row in part.items()}
    return [of_all[i] for i in range(len(group.tokens))]


def weights_of(groups: Sequence[Group], cfg: Config) -> Sequence[Tensor]:
    """Return how much each token of several groups counts in their one loss, (G, limit) each."""
    limit, update = cfg.rollout.max_new_tokens, cfg.update
    masks = [counted_tokens(group, update.mask_truncated) for group in groups]  # (G, T_new) each
    # groups have different lengths: padded to the limit, their masks can be put together
    counted = torch.cat([F.pad(mask, (0, limit - mask.shape[1])) for mask in masks])
    weights = token_weights(counted, update.aggregate, limit)  # (len(groups) * G, limit)
    return weights.split(cfg.rollout.group_size)


def backward(
    model: Transformer,
    groups: Sequence[Group],
    advantages: Sequence[Tensor],
    old_logps: list[Tensor],
    cfg: Config,
    reference: Transformer | None = None,
) -> dict[str, float]:
    """Add the gradient of the loss over all groups to the weights' `.grad`; return loss and stats.

    With `micro_batch` this goes a few rows at a time, which saves memory and changes nothing else:
    the weights of all tokens of all groups are fixed first, so that the gradients simply add up.
    `old_logps` holds pi_old of each few rows in turn; it is empty in the first update, which fills
    it with its own log-probabilities, so that the ratio begins at exactly 1.
    """
    update, weights = cfg.update, weights_of(groups, cfg)  # (G, limit) for each group
    n_tokens = sum(group.lengths.sum() for group in groups)
    totals: dict[str, float] = {}
    olds = iter(list(old_logps))
    for group, A, weight in zip(groups, advantages, weights, strict=True):
        for rows in few_rows(group, update.micro_batch):
            L = int(group.lengths[rows].max())
            mask, sampled = group.mask[rows, :L], group.logprobs[rows, :L]  # (rows, L)
            score = partial(
                token_logprobs, tokens=group.tokens[rows, : group.prompt_len + L],
                prompt_len=group.prompt_len, temperature=cfg.rollout.temperature,
            )  # fmt: skip
            with torch.no_grad():
                ref_logp = score(reference) if reference else None  # (rows, L)
            logp = score(model)  # (rows, L)
            old_logp = next(olds, None)
            if old_logp is None:  # the first update
                old_logp = logp.detach()
                old_logps.append(old_logp)
            loss, stats = grpo_loss(
                logp, old_logp, A[rows], mask, surrogate=update.surrogate,
                clip_low=update.clip_low, clip_high=update.clip_high, kl_coef=update.kl_coef,
                ref_logp=ref_logp, weights=weight[rows, :L]
                * sampler_weights(old_logp, sampled, update.sampler_cap),
            )  # fmt: skip
            loss.backward()
            gap = (old_logp - sampled).abs() * mask  # (rows, L)
            stats |= {"loss": loss.item(), "sampler_gap": float(gap.sum() / n_tokens)}
            for name, value in stats.items():
                totals[name] = totals.get(name, 0.0) + value
            totals["sampler_gap_max"] = max(totals.get("sampler_gap_max", 0.0), float(gap.max()))
    return totals
