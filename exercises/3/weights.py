"""Exercise 3: token weights.  The page is README.md in this folder."""

from torch import Tensor


def token_weights(mask: Tensor, aggregate: str, constant_length: int | None = None) -> Tensor:
    """Return how much each response token counts in the loss, (G, L) -> (G, L).

    mask is 1.0 on response tokens and 0.0 after the end of each response.
    "token" (DAPO): all tokens of the group count alike; their weights sum to 1.
    "sequence" (GRPO): all responses count alike, and so do the tokens within one; sum 1,
    or less where a response is empty.
    "constant" (Dr. GRPO): every token counts 1 / (G * constant_length), L where that is None.
    A response, or a whole group, of which no token counts has weights 0.
    """
    raise NotImplementedError


# Two responses of a group are right, one short and one long.  "short", "long" or "alike"?
PUSHED_HARDER_PER_TOKEN = {"token": None, "sequence": None, "constant": None}
PUSHED_HARDER_IN_ALL = {"token": None, "sequence": None, "constant": None}
# And of two wrong responses: which one does GRPO ("sequence") punish less per token?
GRPO_IS_LENIENT_WITH = None
