"""Exercise 4: sampling with a KV cache.  The page is README.md in this folder."""

from collections.abc import Callable

import torch
from torch import Tensor

from model import KVCache, Transformer  # noqa: F401 (the first is for you)


@torch.no_grad()
def sample_slowly(
    model: Transformer, prompt: Tensor, n: int, choose: Callable[[Tensor], Tensor], steps: int
) -> Tensor:
    """Return n responses of `steps` tokens to a prompt (1, P), as int64 (n, steps).

    `choose` draws one token per row, logits (n, V) -> tokens (n,).  It is slow: every step reads
    all tokens of all rows from the beginning.
    """
    rows = prompt.expand(n, -1)  # (n, P)
    for _ in range(steps):
        logits = model(rows)[:, -1]  # (n, V)
        rows = torch.cat((rows, choose(logits)[:, None]), dim=1)  # (n, P + t)
    return rows[:, prompt.shape[1] :]


@torch.no_grad()
def sample(
    model: Transformer, prompt: Tensor, n: int, choose: Callable[[Tensor], Tensor], steps: int
) -> Tensor:
    """Return what `sample_slowly` returns, reading the prompt once and each new token once.

    `model(tokens, cache)` reads tokens after those already in the cache, and adds them to it; n
    rows may continue a cache of one row.
    """
    raise NotImplementedError


@torch.no_grad()
def difference(model: Transformer, tokens: Tensor) -> float:
    """Return the proof: the largest difference between logits with a cache and without one.

    tokens is (B, T).  Compare the logits (B, T, V) of one pass over all of them with those of T
    passes over one token each, with one cache.
    """
    raise NotImplementedError
