"""Rollouts: sample G responses to one prompt, reading the prompt once.

What it teaches: where the cost of RLVR goes, and three ways to pay less.  The prompt is prefilled a
single time for the G rows; each further token costs one step of one token a row (`decode.py`); rows
that have said a stop token leave the batch.

Where it stands: the line "sample y_1..y_G ~ pi_old( . | x)" of the algorithm.  The
log-probabilities recorded here are log pi_old in the ratio of `train.grpo_loss`, so they are those
of the *whole* distribution at the sampling temperature, even where top-k or top-p cut its tail.

Try changing first: `top_k` (1 is greedy: all G responses agree, no group is ever informative), or
drop rows at every finish instead of at every halving and time it.

One departure from the usual loop: the uniform numbers behind all tokens are drawn beforehand, so
that which tokens a row says never depends on when its neighbours finish, nor on how many processes
share the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from decode import Decoder
from model import KVCache, Transformer

ROWS = ("tokens", "lengths", "logprobs", "finished")  # the tensors of a `Group`


@dataclass
class Group:
    """n rollouts: responses in columns prompt_len and on, zeros after the end of each."""

    tokens: Tensor  # (n, T) int64, prompt then response
    prompt_len: int  # P, so that T = P + T_new
    lengths: Tensor  # (n,) response tokens, the stop token counted
    logprobs: Tensor  # (n, T_new) log-probability of each sampled token, 0 after the end
    finished: Tensor  # (n,) True where a stop token ended it, False where the limit did

    @property
    def mask(self) -> Tensor:
        """1.0 on response tokens, the stop token included, (n, T_new)."""
        columns = torch.arange(self.logprobs.shape[1], device=self.lengths.device)
        return (columns < self.lengths[:, None]).float()  # (n, T_new)

    def responses(self) -> list[list[int]]:
        """The token ids of each response, the stop token left off."""
        rows = self.tokens[:, self.prompt_len :].tolist()
        ends = (self.lengths - self.finished.long()).tolist()
        return [row[:end] for row, end in zip(rows, ends, strict=True)]

    def entropy(self) -> float:
        """-mean log p of the sampled tokens, in nats: a free estimate of the entropy."""
        return float(-self.logprobs.sum() / self.lengths.sum().clamp(min=1))

    def to(self, device) -> "Group":
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ROWS}
        return Group(prompt_len=self.prompt_len, **moved)


def join(parts: Sequence[Group]) -> Group:
    """One group of the rows of several that answer the same prompt."""
    longest = max(part.logprobs.shape[1] for part in parts)

    def rows(name: str) -> Tensor:
        pieces = [getattr(part, name) for part in parts]
        if pieces[0].dim() == 2:  # tokens and logprobs: zeros after the end
            pieces = [
                F.pad(piece, (0, longest - part.logprobs.shape[1]))
                for piece, part in zip(pieces, parts, strict=True)
            ]
        return torch.cat(pieces)

    return Group(prompt_len=parts[0].prompt_len, **{name: rows(name) for name in ROWS})


@torch.no_grad()
def generate(
    model: Transformer,
    prompt_ids: Sequence[int],
    n: int,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop_ids: Sequence[int],
    generator: torch.Generator,
    part: slice = slice(None),
) -> Group:
    """Sample n responses to one prompt, prefilling it once.

    `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole distribution.  `part` makes
    only these of the n rows, the same as they are in the whole.  Raises ValueError on an empty
    prompt, n or max_new_tokens below 1, or a stop id outside the vocabulary.
    """
    prompt = _prompt_tensor([prompt_ids], model)  # (1, P)
    pick = _Sampler(n, max_new_tokens, temperature, top_k, top_p, generator, part)
    return _decode(model, KVCache(), prompt, pick, stop_ids)


@torch.no_grad()
def generate_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop_ids: Sequence[int],
    generator: torch.Generator,
) -> Group:
    """Sample one response to each of several prompts of any length (evaluation).

    Prompts are padded on the left, with token 0, to the longest, P; otherwise as `generate`.
    """
    padded = _prompt_tensor(prompts, model)  # (B, P)
    B, P = padded.shape
    start = torch.tensor([P - len(p) for p in prompts], device=model.device)  # (B,)
    pick = _Sampler(B, max_new_tokens, temperature, top_k, top_p, generator)
    return _decode(model, KVCache(start if start.any() else None), padded, pick, stop_ids)


def _decode(model, cache, prompt, pick, stop_ids) -> Group:
    """From one prompt for all rows, or one for each, to finished rows: a token a row and step."""
    n, P, max_new_tokens = pick.rows, prompt.shape[1], pick.max_new_tokens
    check_stop_ids(stop_ids, model.config.vocab_size)
    with model.autocast():
        logits = model(prompt, cache, last_only=True)[:, -1].expand(n, -1)  # (n, V)
    step = Decoder(model, cache, n, max_new_tokens)
    prompt = prompt.expand(n, -1)  # (n, P)
    is_stop = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=prompt.device)
    is_stop[list(stop_ids)] = True
    tokens = prompt.new_zeros(n, max_new_tokens)  # (n, T_new)
    logprobs = torch.zeros(n, max_new_tokens, device=prompt.device)
    rows = torch.arange(n, device=prompt.device)  # (live,) the output's row of each cache row
    going = torch.ones(n, dtype=torch.bool, device=prompt.device)  # (live,) no stop token yet

    with torch.inference_mode():  # the group itself was made before: a loss may use it
        for t in range(max_new_tokens):
            token, logprob = pick(logits, rows, t)  # (live,) each
            tokens[rows, t], logprobs[rows, t] = token, logprob
            going = going & ~is_stop[token]
            n_going = int(going.sum())  # the one value a step that the processor waits for
            if n_going == 0 or t + 1 == max_new_tokens:
                break
            if 2 * n_going <= len(rows):  # dropping rows copies, so do it in few large steps
                keep = going.nonzero()[:, 0]
                step.keep(keep)
                rows, token, going = rows[keep], token[keep], going[keep]
            logits = step(token)  # (live, V)

    if not logprobs.isfinite().all():
        raise FloatingPointError("the model's logits are not finite")
    # a row ends with its first stop token, whatever was sampled until it was dropped
    stopped = is_stop[tokens[:, : t + 1]]  # (n, t+1)
    finished = stopped.any(dim=1)
    lengths = torch.where(finished, stopped.int().argmax(dim=1) + 1, t + 1)  # argmax: the first
    used = int(lengths.max())
    after_end = torch.arange(used, device=prompt.device) >= lengths[:, None]  # (n, T_new)
    tokens = tokens[:, :used].masked_fill(after_end, 0)
    return Group(
        tokens=torch.cat((prompt, tokens), dim=1),  # (n, P + T_new)
        prompt_len=P,
        lengths=lengths,
        logprobs=logprobs[:, :used].masked_fill(after_end, 0.0),
        finished=finished,
    )


class _Sampler:
    """Picks token t of each live row, with its log-probability at the temperature."""

    def __init__(
        self, n, max_new_tokens, temperature, top_k, top_p, generator, part: slice = slice(None)
    ):
        if n < 1 or max_new_tokens < 1:
            raise ValueError(
                f"n and max_new_tokens must be at least 1, not {n} and {max_new_tokens}"
            )
        if temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
            raise ValueError(
                f"need temperature >= 0, top_k >= 0 and 0 < top_p <= 1, "
                f"not {temperature}, {top_k} and {top_p}"
            )
        self.max_new_tokens = max_new_tokens
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.rows = len(range(n)[part])
        if temperature:  # greedy draws nothing
            kind = {"dtype": torch.float64, "device": generator.device}
            u = torch.rand(max_new_tokens, n, generator=generator, **kind)
            self.u = u[:, part]  # (T_new, rows)

    def __call__(self, logits: Tensor, rows: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """(live, V) logits -> tokens (live,) and log-probabilities (live,)."""
        scaled = logits.float() / (self.temperature or 1.0)  # bf16 is too coarse for a log-softmax
        logp = scaled.log_softmax(dim=-1)  # (live, V)
        if self.temperature == 0:
            token = logp.argmax(dim=-1)  # (live,)
        else:
            # inverse transform: the first token whose cumulative probability exceeds u
            cdf = self.truncate(logp).exp().cumsum(dim=-1, dtype=torch.float64)  # (live, V)
            u = self.u[t, rows, None] * cdf[:, -1:]  # (live, 1)
            token = torch.searchsorted(cdf, u, right=True)[:, 0]
            token = token.clamp(max=logits.shape[-1] - 1)  # beyond the end where logits are NaN
        return token, logp.gather(1, token[:, None])[:, 0]

    def truncate(self, logp: Tensor) -> Tensor:
        """-inf outside the top k, then outside the nucleus (arXiv 1904.09751); (live, V) both."""
        if 0 < self.top_k < logp.shape[-1]:
            kth = logp.topk(self.top_k, dim=-1).values[:, -1:]  # (live, 1)
            logp = logp.masked_fill(logp < kth, -torch.inf)
        if self.top_p < 1:
            ordered, order = logp.softmax(dim=-1).sort(dim=-1, descending=True)  # (live, V)
            # a token stays while the mass before it is below top_p: the first one always does
            outside = ordered.cumsum(dim=-1) - ordered >= self.top_p
            logp = logp.masked_fill(outside.scatter(1, order, outside), -torch.inf)
        return logp


def check_stop_ids(stop_ids: Sequence[int], vocab_size: int) -> None:
    """ValueError unless every stop id is a token of the vocabulary."""
    for stop in stop_ids:
        if not 0 <= stop < vocab_size:
            raise ValueError(f"stop id {stop} is outside the vocabulary of {vocab_size} tokens")


def _prompt_tensor(prompts: Sequence[Sequence[int]], model: Transformer) -> Tensor:
    longest = max((len(p) for p in prompts), default=0)
    if longest == 0 or min(len(p) for p in prompts) == 0:
        raise ValueError("an empty prompt: there is nothing to continue")
    padded = [[0] * (longest - len(p)) + list(p) for p in prompts]
    return torch.tensor(padded, dtype=torch.long, device=model.device)  # (B, P)
