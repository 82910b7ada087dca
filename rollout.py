"""Rollouts: sample G responses to one prompt, reading the prompt once.

What it teaches: where the cost of RLVR goes, and three ways to pay less.  The prompt is read once
for all G rows; each further token of all rows, also of several groups, comes from one fast step
(`decode.py`); and whenever half of the rows have ended (in a graph, three quarters), rows leave the
batch.

Where it stands: the line "y_1..y_G ~ pi_old( . | x)" of the box in `train.py`.  The
log-probabilities recorded here are those of the *whole* distribution at the sampling temperature,
even where top-k or top-p cut its tail, and so up to rounding the log pi_old of `grpo.py`.

Try changing first: `--set rollout.top_k=1` with `small.json`.  All G responses then agree: no group
is informative (by default 101 of 185 are), and accuracy stays at 20.0%.  Two tokens to choose from
suffice: `top_k=2` ends at 99.0%.  Or drop rows whenever one has finished (`n_going < len(rows)`):
the tokens are the same, and answering 256 problems takes 10% longer, as each drop copies the
others.

One departure from the usual loop: the random numbers behind all tokens are drawn beforehand.  So
the tokens of a row never depend on when others finish, nor on how many processes share the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decode import Decoder
from graphs import Static, all_alike, compiled_step
from model import KVCache, Transformer
from plumbing.text_stops import TextStops


@dataclass
class Group:
    """n responses, which begin in column prompt_len; after the end of each there are zeros."""

    tokens: Tensor  # (n, T) int64, prompt then response
    prompt_len: int  # P, so that T = P + T_new
    lengths: Tensor  # (n,) response tokens, the stop token or a stop text's last included
    logprobs: Tensor  # (n, T_new) log-probability of each sampled token, 0 after the end
    finished: Tensor  # (n,) True where a stop token or text ended it, False where the limit did

    @property
    def mask(self) -> Tensor:
        """1.0 on response tokens, the stop token included, and 0.0 after the end, (n, T_new)."""
        columns = torch.arange(self.logprobs.shape[1], device=self.lengths.device)
        return (columns < self.lengths[:, None]).float()  # (n, T_new)

    def responses(self, stop_ids: Sequence[int] = ()) -> list[list[int]]:
        """Return the token ids of each response without its stop token.

        A response that a text ended has none: `stop_ids` tell it from the others.
        """
        last = self.tokens.gather(1, self.prompt_len + self.lengths[:, None] - 1)  # (n, 1)
        by_token = torch.isin(last[:, 0], last.new_tensor(stop_ids)) if stop_ids else self.finished
        rows = self.tokens[:, self.prompt_len :].tolist()
        ends = (self.lengths - by_token.long()).tolist()
        return [row[:end] for row, end in zip(rows, ends, strict=True)]

    def row(self, i: int) -> "Group":
        """Return response i as a group of its own."""
        one = slice(i, i + 1)
        rows = self.tokens[one], self.prompt_len, self.lengths[one], self.logprobs[one]  # (1, ...)
        return Group(*rows, self.finished[one])

    def entropy(self) -> float:
        """Return -mean log p of the sampled tokens in nats, an estimate of the policy's entropy."""
        return float(-self.logprobs.sum() / self.lengths.sum().clamp(min=1))


def generate(model: Transformer, prompt_ids: Sequence[int], n: int, **how: object) -> Group:
    """Sample n responses to one prompt, which is read once; `how` is as in `generate_groups`."""
    return generate_groups(model, [prompt_ids], n, **how)[0]


@torch.no_grad()
def generate_groups(
    model: Transformer, prompts: Sequence[Sequence[int]], n: int, *, max_new_tokens: int,
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, stop_ids: Sequence[int],
    generator: torch.Generator, part: slice = slice(None), at_once: int = 128, graph: bool = False,
    compiled: bool = False, text_stops: TextStops | None = None,
) -> list[Group]:  # fmt: skip
    """Sample n responses to each of several prompts; each group is the same as if sampled alone.

    `temperature` 0 takes the likeliest token; `top_k` 0 and `top_p` 1 keep the whole distribution.
    `part` samples only these of the n rows, each as it would be in the whole.  Prompts of like
    length go together, up to `at_once` rows or those of one prompt.  `graph` decodes in steps that
    are all alike, as a CUDA graph needs them, with layers `compiled` or not.  `text_stops` end a
    response as well.  Raises ValueError on an empty prompt, n or max_new_tokens below 1, or a stop
    id outside the vocabulary.
    """
    if not prompts:
        return []
    # the numbers are drawn in the order of the prompts, whatever goes together below
    u = [uniforms(n, max_new_tokens, generator)[:, part] for _ in prompts]  # (T_new, m) each
    m = u[0].shape[1]
    B = max(1, at_once // m)
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    groups: dict[int, Group] = {}
    for first in range(0, len(prompts), B):
        some = by_length[first : first + B]
        pick = Sampler(torch.cat([u[i] for i in some], dim=1), temperature, top_k, top_p)
        said = _decode(
            model, [prompts[i] for i in some], pick, stop_ids, graph, compiled,
            text_stops=text_stops,
        )  # fmt: skip
        for i, *rows in zip(some, *(each.split(m) for each in said), strict=True):
            groups[i] = _group(_prompt_tensor([prompts[i]], model), *rows, stop_ids, text_stops)
    return [groups[i] for i in range(len(prompts))]


@torch.no_grad()
def generate_batch(
    model: Transformer, prompts: Sequence[Sequence[int]], *, max_new_tokens: int,
    temperature: float = 1.0, stop_ids: Sequence[int], generator: torch.Generator,
    graph: bool = False, compiled: bool = False, text_stops: TextStops | None = None,
) -> Group:  # fmt: skip
    """Sample one response to each of several prompts, all at once and padded on the left."""
    pick = Sampler(uniforms(len(prompts), max_new_tokens, generator), temperature)
    said = _decode(model, prompts, pick, stop_ids, graph, compiled, text_stops=text_stops)
    return _group(_prompt_tensor(prompts, model), *said, stop_ids, text_stops)


def _decode(
    model: Transformer, prompts: Sequence[Sequence[int]], pick: "Sampler", stop_ids: Sequence[int],
    graph: bool, compiled: bool, *, text_stops: TextStops | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Decode until all rows of the sampler, equally many per prompt, stopped or reached the limit.

    Return tokens (n, T_new), also what a row says after its stop, and their log-probabilities.
    """
    check_stop_ids(stop_ids, model.config.vocab_size)
    prompt, (max_new_tokens, n) = _prompt_tensor(prompts, model), pick.u.shape  # (B, P)
    start = torch.tensor([prompt.shape[1] - len(ids) for ids in prompts], device=model.device)
    cache = KVCache(start if start.any() else None)
    with model.autocast():
        logits = model(prompt, cache, last_only=True)[:, -1]  # (B, V)
    decoder, loop = (Static, all_alike) if graph else (Decoder, _one_by_one)
    step = decoder(model, cache, n, max_new_tokens)
    del cache  # the decoder has laid it out anew
    if graph and compiled:
        step.layer = compiled_step()
    is_stop = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=prompt.device)  # (V,)
    is_stop[list(stop_ids)] = True
    tokens = prompt.new_zeros(n, max_new_tokens)  # (n, T_new)
    logprobs = torch.zeros(n, max_new_tokens, device=prompt.device)  # (n, T_new)

    with torch.inference_mode():  # the tensors above are ordinary ones, so a loss may use them
        logits = logits.repeat_interleave(n // len(prompts), dim=0)  # (n, V)
        T = loop(step, pick, logits, is_stop, tokens, logprobs, text_stops=text_stops)
    if not logprobs.isfinite().all():
        raise FloatingPointError("the model's logits are not finite")
    return tokens[:, :T], logprobs[:, :T]


def _one_by_one(
    step: Decoder, pick: "Sampler", logits: Tensor, is_stop: Tensor, tokens: Tensor,
    logprobs: Tensor, *, text_stops: TextStops | None,
) -> int:  # fmt: skip
    """Fill tokens and logprobs (n, T_new) until every row has stopped; return how many steps."""
    n, max_new_tokens = tokens.shape
    rows = torch.arange(n, device=tokens.device)  # (live,) which of the n rows are in the batch
    going = torch.ones(n, dtype=torch.bool, device=tokens.device)  # (live,) no stop token yet
    for t in range(max_new_tokens):
        token, logprob = pick(logits, rows, t)  # (live,) each
        tokens[rows, t], logprobs[rows, t] = token, logprob
        going = going & ~is_stop[token]
        if text_stops:
            going = text_stops.going(tokens[rows, : t + 1], going)
        n_going = int(going.sum())  # the only value per step that the CPU waits for
        if n_going == 0 or t + 1 == max_new_tokens:
            break
        if 2 * n_going <= len(rows):  # dropping rows copies the others: few large steps
            keep = going.nonzero()[:, 0]
            step.keep(keep)
            rows, token, going = rows[keep], token[keep], going[keep]
        # the same as `model(token[:, None], cache)[:, -1]`, faster
        logits = step(token)  # (live, V)
    return t + 1


def _group(
    prompt: Tensor, tokens: Tensor, logprobs: Tensor, stop_ids: Sequence[int],
    text_stops: TextStops | None,
) -> Group:  # fmt: skip
    """Return a group of one prompt (1, P) or n; what a row said after its stop becomes zeros."""
    stopped = torch.isin(tokens, tokens.new_tensor(stop_ids))  # (n, steps)
    finished = stopped.any(dim=1)  # (n,)
    ends = stopped.int().argmax(dim=1) + 1  # argmax finds the first, (n,)
    lengths = torch.where(finished, ends, tokens.shape[1])
    if text_stops:
        ends = text_stops.ends(tokens, lengths)  # (n,), 0 where there is none
        finished = finished | (ends > 0)
        lengths = torch.where(ends > 0, ends, lengths)
    used = int(lengths.max())
    after_end = torch.arange(used, device=prompt.device) >= lengths[:, None]  # (n, T_new)
    tokens = tokens[:, :used].masked_fill(after_end, 0)
    logprobs = logprobs[:, :used].masked_fill(after_end, 0.0)
    tokens = torch.cat((prompt.expand(len(tokens), -1), tokens), dim=1)  # (n, P + T_new)
    return Group(tokens, prompt.shape[1], lengths, logprobs, finished)


def uniforms(n: int, max_new_tokens: int, generator: torch.Generator) -> Tensor:
    """Draw the random numbers in [0, 1) behind each token of n rows, (T_new, n)."""
    if n < 1 or max_new_tokens < 1:
        raise ValueError(f"n and max_new_tokens must be at least 1, not {n}, {max_new_tokens}")
    kind = {"dtype": torch.float64, "device": generator.device}
    return torch.rand(max_new_tokens, n, generator=generator, **kind)


class Sampler:
    """Picks token t of each row in the batch, with its log-probability at the temperature."""

    def __init__(self, u: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> None:
        if temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
            raise ValueError(
                f"need temperature, top_k >= 0 and 0 < top_p <= 1: {temperature}, {top_k}, {top_p}"
            )
        self.u = u  # (T_new, n), of `uniforms`
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p

    def __call__(self, logits: Tensor, rows: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (live,) and their log-probabilities (live,) from logits (live, V)."""
        scaled = logits.float() / (self.temperature or 1.0)  # bf16 is too coarse for a log-softmax
        logp = scaled.log_softmax(dim=-1)  # (live, V)
        if self.temperature == 0:
            token = logp.argmax(dim=-1)  # (live,)
        else:
            # inverse transform: the first token whose cumulative probability exceeds u
            at = self.u.device  # elsewhere than the logits only where their device has no float64
            cdf = self.truncate(logp).exp().to(at).cumsum(dim=-1, dtype=torch.float64)  # (live, V)
            u = self.u[t, rows.to(at), None] * cdf[:, -1:]  # (live, 1)
            token = torch.searchsorted(cdf, u, right=True)[:, 0].to(logits.device)
            token = token.clamp(max=logits.shape[-1] - 1)  # beyond the end where logits are NaN
        return token, logp.gather(1, token[:, None])[:, 0]

    def truncate(self, logp: Tensor) -> Tensor:
        """Put -inf outside the top k, then outside the nucleus (arXiv 1904.09751), (live, V)."""
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
    """Raise ValueError unless every stop id is a token of the vocabulary."""
    for stop in stop_ids:
        if not 0 <= stop < vocab_size:
            raise ValueError(f"stop id {stop} is outside the vocabulary of {vocab_size} tokens")


def _prompt_tensor(prompts: Sequence[Sequence[int]], model: Transformer) -> Tensor:
    """Return the prompts as one tensor (B, P), padded on the left; ValueError if one is empty."""
    longest = max((len(p) for p in prompts), default=0)
    if longest == 0 or min(len(p) for p in prompts) == 0:
        raise ValueError("an empty prompt: there is nothing to continue")
    padded = [[0] * (longest - len(p)) + list(p) for p in prompts]
    return torch.tensor(padded, dtype=torch.long, device=model.device)  # (B, P)
