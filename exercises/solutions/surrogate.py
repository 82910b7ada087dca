"""A solution of exercise 2."""

import torch
from torch import Tensor


def clipped_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    log_ratio = torch.where(mask.bool(), logp - old_logp, 0.0)  # (G, L)
    ratio = log_ratio.exp()  # (G, L)
    A = advantages[:, None]  # (G, 1)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)  # (G, L)
    return -(weights * torch.minimum(ratio * A, clipped * A)).sum()


def direction(ratio: float, advantage: float, clip_low: float, clip_high: float) -> int:
    if advantage > 0:
        return 0 if ratio > 1 + clip_high else 1
    if advantage < 0:
        return 0 if ratio < 1 - clip_low else -1
    return 0
