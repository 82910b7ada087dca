"""Exercise 1: the group advantage.  The page is README.md in this folder."""

from collections.abc import Sequence

import torch
from torch import Tensor


def group_advantages(rewards: Sequence[float], normalize: str = "std") -> Tensor:
    """Return the advantage of each response of a group, float32, (G,).

    "std": how far each reward is from the group's mean, in standard deviations (GRPO).
    "none": how far it is, not divided (Dr. GRPO).  Equal rewards: exactly 0 in both.
    """
    rewards = torch.as_tensor(rewards, dtype=torch.float32)  # (G,)
    raise NotImplementedError
