"""The grader of exercise 4: the same tokens, and a count of how many the model had to read."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from grading import numbers, refuse

from model import load

N, STEPS = 8, 24
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def base():
    return load(ROOT / "base")


PROMPT = torch.tensor([[1, 4, 7, 8, 13, 3, 6, 5, 15]])  # (1, P), any tokens will do
P = PROMPT.shape[1]


@contextmanager
def counted(model):
    """Count what the model reads: the rows and tokens of each call."""
    calls, forward = [], model.forward

    def spy(tokens, *args, **kwargs):
        calls.append(tuple(tokens.shape))
        return forward(tokens, *args, **kwargs)

    model.forward = spy
    try:
        yield calls
    finally:
        del model.forward


class Drawn:
    """A `choose` with the same random numbers each time, which keeps the logits that it saw."""

    def __init__(self):
        self.u = torch.rand(STEPS, N, generator=torch.Generator().manual_seed(0))
        self.logits = []

    def __call__(self, logits):
        if logits.shape[0] != N or logits.dim() != 2:
            refuse(
                f"`choose` needs logits of the last position of each row, ({N}, V), not "
                f"{tuple(logits.shape)}"
            )
        if len(self.logits) == STEPS:
            refuse(f"`choose` is called more than {STEPS} times: each call draws one token per row")
        u = self.u[len(self.logits)][:, None]  # (N, 1)
        self.logits.append(logits.clone())
        cdf = logits.softmax(dim=1).cumsum(dim=1)  # (N, V)
        return torch.searchsorted(cdf, u, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def slowly(model, choose):
    """The tokens by the loop without a cache."""
    rows = PROMPT.expand(N, -1)
    with torch.no_grad():
        for _ in range(STEPS):
            rows = torch.cat((rows, choose(model(rows)[:, -1])[:, None]), dim=1)
    return rows[:, P:]


def fast(answer, model, choose):
    with counted(model) as calls:
        found = answer.sample(model, PROMPT, N, choose, STEPS)
    return numbers(found, (N, STEPS), "sample"), calls


def test_the_same_tokens(answer, base):
    with_cache, without = Drawn(), Drawn()
    found, _ = fast(answer, base, with_cache)
    right = slowly(base, without)
    for t, (logits, wanted) in enumerate(zip(with_cache.logits, without.logits, strict=True)):
        gap = float((logits - wanted).abs().max())
        if not gap < 1e-3:
            before = ""
            if t and torch.allclose(logits, without.logits[t - 1], atol=1e-3):
                before = "  They are those of the step before: was the new token read?"
            elif t == 1:
                before = (
                    "  Up to here only the prompt was read.  The first step after it gives the "
                    "model the newest token alone, (n, 1), and the same cache again."
                )
            refuse(
                f"the logits before token {t} differ by {gap:.2g} from those without a cache, "
                f"where rounding comes to 1e-5.{before}"
            )
    if not torch.equal(found, right.double()):
        refuse("the logits are right, and the tokens returned are not those that `choose` drew")


def test_each_token_is_read_once(answer, base):
    _, calls = fast(answer, base, Drawn())
    read, enough = sum(rows * tokens for rows, tokens in calls), P + N * (STEPS - 1)
    if read > enough:
        why = "Give the model the newest token alone, and the cache."
        if calls[0] == (N, P):
            why = f"The prompt is read {N} times, once per row; one row is enough."
        if sum(rows for rows, tokens in calls if tokens == 1 and rows == N) == N * STEPS:
            why = "The last token drawn is read too, and nothing is drawn after it."
        if max(tokens for _, tokens in calls) > P:
            why = "Tokens are read again and again: the longest call reads "
            why += f"{max(tokens for _, tokens in calls)} per row.  A cache remembers them."
        refuse(f"the model reads {read:,} tokens in all, and {enough:,} are enough.  {why}")


def test_the_proof_says_so_where_both_agree(answer, base):
    tokens = torch.cat((PROMPT.expand(2, -1), torch.tensor([[3, 4], [7, 6]])), dim=1)  # (2, P+2)
    with counted(base) as calls:
        found = float(numbers(answer.difference(base, tokens), (), "difference"))
    if not 0 <= found < 1e-3:
        refuse(
            f"difference is {found:.2g} for a model whose cache is right: the two ways differ by "
            "rounding alone, some 1e-5.  Is each token read once, in order, into one cache?"
        )
    if max(n for _, n in calls) < tokens.shape[1] or calls.count((2, 1)) < tokens.shape[1]:
        refuse(
            f"one pass must read all {tokens.shape[1]} tokens, and {tokens.shape[1]} passes one "
            f"token each; the model was called with {calls}"
        )


def test_the_proof_finds_a_cache_that_is_wrong(answer, base):
    """A proof that cannot fail is none: here the cache forgets at the ninth token."""
    tokens = torch.cat((PROMPT, PROMPT), dim=1)
    forward = base.forward

    def forgetful(read, cache=None, *args, **kwargs):
        if cache is not None and cache.length == P:  # forgets all but the newest key
            cache.layers = [tuple(t[:, :, -1:] for t in layer) for layer in cache.layers]
        return forward(read, cache, *args, **kwargs)

    base.forward = forgetful
    try:
        found = float(numbers(answer.difference(base, tokens), (), "difference"))
    finally:
        del base.forward
    if not found > 0.1:
        refuse(
            f"difference is {found:.2g} for a model whose cache forgets the prompt, where logits "
            "differ by more than 1.  Does it look at every position, and at the absolute value?"
        )
