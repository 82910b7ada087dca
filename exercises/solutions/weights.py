"""A solution of exercise 3."""

from torch import Tensor


def token_weights(mask: Tensor, aggregate: str, constant_length: int | None = None) -> Tensor:
    G, L = mask.shape
    if aggregate == "token":
        return mask / mask.sum().clamp(min=1)
    if aggregate == "sequence":
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1) / G  # (G, L) / (G, 1)
    return mask / (G * (constant_length or L))


PUSHED_HARDER_PER_TOKEN = {"token": "alike", "sequence": "short", "constant": "alike"}
PUSHED_HARDER_IN_ALL = {"token": "long", "sequence": "alike", "constant": "long"}
GRPO_IS_LENIENT_WITH = "long"
