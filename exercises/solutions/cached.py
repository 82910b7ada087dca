"""A solution of exercise 4."""

from collections.abc import Callable

import torch
from torch import Tensor

from model import KVCache, Transformer


@torch.no_grad()
def sample(
    model: Transformer, prompt: Tensor, n: int, choose: Callable[[Tensor], Tensor], steps: int
) -> Tensor:
    cache = KVCache()
    logits = model(prompt, cache, last_only=True)[:, -1].expand(n, -1)  # (n, V)
    tokens = [choose(logits)]  # (n,) each
    while len(tokens) < steps:
        logits = model(tokens[-1][:, None], cache)[:, -1]  # (n, V)
        tokens.append(choose(logits))
    return torch.stack(tokens, dim=1)  # (n, steps)


@torch.no_grad()
def difference(model: Transformer, tokens: Tensor) -> float:
    cache = KVCache()
    whole = model(tokens)  # (B, T, V)
    one_by_one = [model(column, cache) for column in tokens.split(1, dim=1)]  # (B, 1, V) each
    return float((whole - torch.cat(one_by_one, dim=1)).abs().max())
