"""Exercise 2: the clipped surrogate and its gradient.  The page is README.md in this folder."""

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
    """Return PPO's clipped surrogate as a loss to be minimised, a tensor of one number.

    logp, old_logp, mask and weights are (G, L), advantages (G,).  The loss is a sum, not a mean.
    The interval goes from 1 - clip_low to 1 + clip_high.  mask is a float, 1.0 or 0.0; where it is
    0 the response has ended, and logp and old_logp may hold anything there, even -inf.
    """
    raise NotImplementedError


def direction(ratio: float, advantage: float, clip_low: float, clip_high: float) -> int:
    """Return where a small step of gradient descent on that loss moves the token's probability.

    1: up, -1: down, 0: nowhere, as the gradient is 0.  No autograd: it is your table.
    """
    raise NotImplementedError
