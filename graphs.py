"""CUDA graphs and compiled layers: many operations that are started as one.

What it teaches: why a GPU idles while it generates.  A step of decoding is some hundreds of small
operations, and starting one takes longer than computing it: 13 ms per step of a 135M model on one
NVIDIA H200, of which reading weights and cache needs 0.1.  Two things help, and both need every
step to be the same operations on tensors of the same shapes, so that nothing may depend on the
CPU's knowing how far a rollout is.  A *graph* records the operations of a step once, with the
addresses of their tensors, and then starts all of them at once.  A *compiled* layer has fewer of
them: torch.compile makes one operation of those between two matrix products.

Where it stands (skip this file on a first reading): beside `rollout._one_by_one`, whose loop this
is in another form.  On CUDA it is used by default (`rollout.graph`), and for long runs layers are
compiled (`compile`), those of the update too.  Whatever cannot be recorded or compiled is carried
out as it is, one operation at a time.

Try changing first: `WIDEN`, with `--set rollout.graph=on`.  At 4 in place of 128 the default job
ends with the same bits.  On a CPU it samples for 5.2 s and not for 5.6, as fewer columns are read
in vain; on a GPU it would record four or five graphs per rollout in place of one.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from decode import Decoder, Layer
from model import Block, KVCache, Transformer
from plumbing.text_stops import TextStops

WIDEN = 128  # own tokens that the first graph reads; the next reads twice as many, and so on
LOOK = 16  # steps between two looks at which rows have stopped
FEWEST = 8  # a GPU takes as long for one row as for so many
PROMPT = 64  # prompts are filled up to a multiple of so many tokens, so that few shapes occur
SHAPES = 256  # of which so many are compiled
# Products are left to the libraries.  (Asked for a choice, torch 2.9.0 cannot compile `out_dtype`.)
COMPILER = {"backend": "inductor", "options": {"max_autotune_gemm_backends": "ATEN"}}
Step = Callable[[], None]


class Static(Decoder):
    """A decoder whose steps are all alike: its shapes stay, and its t is a tensor.

    It reads `width` own tokens of each row, of which those that are not yet said are hidden.
    """

    def __init__(self, model: Transformer, cache: KVCache, rows: int, max_new_tokens: int) -> None:
        super().__init__(model, cache, rows, max_new_tokens)
        self.t = torch.zeros(1, dtype=torch.long, device=model.device)
        P, more = cache.length, -cache.length % PROMPT
        self.before, self.width = more + P, max_new_tokens
        if self.pads is None:
            self.pads = torch.zeros(1, 1, P + max_new_tokens, device=model.device)
        # hidden columns in front of the prompts, whose number is then one of few
        self.pads = F.pad(self.pads, (more, 0), value=-torch.inf)  # (Kn or 1, 1, before + T_new)
        # (before + T_new,): own tokens count from 0
        self.columns = torch.arange(-self.before, max_new_tokens, device=model.device)
        for layer in self.layers:
            layer.prompt_k = F.pad(layer.prompt_k, (more, 0))  # (KB, D, before)
            layer.prompt_v = F.pad(layer.prompt_v, (0, 0, more, 0))  # (KB, before, D)

    def seen(self) -> tuple[int, Tensor]:
        """Return how many own tokens a row reads, S, and -inf on hidden columns, as `Decoder`."""
        some = slice(self.before + self.width)
        said = self.columns[some] <= self.t  # (before + S,)
        return self.width, torch.where(said, self.pads[..., some], -torch.inf)


def all_alike(
    step: Static, pick: Callable, logits: Tensor, is_stop: Tensor, tokens: Tensor,
    logprobs: Tensor, *, text_stops: TextStops | None = None,
) -> int:  # fmt: skip
    """Fill tokens and logprobs (n, T_new) in steps that are all alike; return how many steps.

    `pick` is the sampler, and logits (n, V) are those after the prompts.  Stops are looked for now
    and then: what a row says after its stop is cut off later.
    """
    n, limit = tokens.shape
    rows = torch.arange(n, device=tokens.device)  # (live,)
    going = torch.ones(n, dtype=torch.bool, device=tokens.device)  # (live,)
    logits = logits.clone()  # (live, V), written in place

    def once() -> None:
        token, logprob = pick(logits, rows, step.t)
        tokens[rows, step.t], logprobs[rows, step.t] = token, logprob
        going.logical_and_(~is_stop[token])
        logits.copy_(step(token))

    def look() -> int:
        """Return how many rows are going, of the t tokens so far."""
        if text_stops:
            going.copy_(text_stops.going(tokens[rows, :t], going))
        return int(going.sum())

    t, width, fewer = 0, WIDEN, n
    while t < limit:
        while width <= t:
            width *= 2
        step.width = min(limit, width)
        again = None  # it gives its memory back before the next is recorded
        again, t = begin(once, tokens.device), t + 1
        n_going = look()
        while t < step.width and fewer_rows(len(rows), n_going) == len(rows):
            for _ in range(min(LOOK, step.width - t)):
                again()
                t += 1
            n_going = look()
        if n_going == 0:
            break
        fewer = fewer_rows(len(rows), n_going)
        if fewer < len(rows):  # those that go on, and others up to a number that occurs often
            keep = (~going).int().argsort(stable=True)[:fewer].sort().values  # (fewer,)
            step.keep(keep)
            rows, going, logits = rows[keep], going[keep], logits[keep]
    return t


def fewer_rows(rows: int, going: int) -> int:
    """Return how many rows to go on with: few large steps, as every number is another shape."""
    if going == 0:
        return 0
    while rows >= 4 * FEWEST and rows >= 4 * going:
        rows //= 4
    return rows


def begin(step: Step, device: torch.device) -> Step:
    """Carry out a step, and return a function that carries it out again, all of it at once.

    The step reads and writes tensors that stay in place.  Where it cannot be recorded, a line on
    the terminal says why, and it is returned as it is.
    """
    if device.type != "cuda" or not recorder(device).works:
        step()
        return step
    # libraries prepare themselves at their first call, which must not be part of a recording
    here, beside = torch.cuda.current_stream(device), recorder(device).stream
    beside.wait_stream(here)
    with torch.cuda.stream(beside):
        step()
    here.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        # records, and computes nothing; the outer context leaves `beside` also where that fails
        with torch.cuda.stream(here), torch.cuda.graph(graph, stream=beside):
            step()
    except RuntimeError as error:
        recorder(device).works = False
        warn("a step cannot be a CUDA graph", error)
        return step
    return graph.replay


@dataclass
class Recorder:
    """How steps are recorded on a device."""

    stream: torch.cuda.Stream  # one for all, as cuBLAS keeps memory for each that it has seen
    works: bool = True  # until one cannot be recorded: then no other is tried


@cache
def recorder(device: torch.device) -> Recorder:
    """Return the device's own, made at its first recording."""
    return Recorder(torch.cuda.Stream(device))


# --------------------------------------------------------------------------- torch.compile


def or_eager(
    function: Callable, compiled: Callable, failure: type[Exception] = Exception
) -> Callable:
    """Return a function that calls `compiled`, and from its first failure on `function`."""
    works = [True]

    def call(*arguments: object) -> object:
        if works[0]:
            try:
                return compiled(*arguments)
            except torch.OutOfMemoryError:
                raise
            except failure as error:
                works[0] = False
                warn("a layer cannot be compiled", error)
        return function(*arguments)

    return call


@cache
def compiled_step() -> Callable:
    """Return `Layer.__call__`, compiled once for all layers: their weights are its arguments."""
    torch._dynamo.config.recompile_limit = SHAPES
    return or_eager(Layer.__call__, torch.compile(Layer.__call__, dynamic=False, **COMPILER))


def compiled_block(model: Transformer) -> Callable | None:
    """Return `Block.forward`, compiled for the update of all blocks; None where that fails.

    Its lengths vary from update to update, which the attention within a graph does not take well:
    that is called as it is.  A first pass there and back shows whether the rest can be compiled.
    """
    torch._dynamo.disallow_in_graph(F.scaled_dot_product_attention)
    warnings.filterwarnings("ignore", "Dynamo does not know how to trace", UserWarning)
    torch._dynamo.config.recompile_limit = SHAPES
    forward = torch.compile(Block.forward, **COMPILER)
    x = torch.zeros(2, 16, model.config.hidden_size, device=model.device, requires_grad=True)
    cos, sin = model.rotary(16)[:, :16]  # (16, D) each
    try:
        with model.autocast():
            y, _ = forward(model.model["layers"][0], x, cos, sin, None, None)  # (2, 16, C)
        torch.autograd.grad(y.sum(), x)
    except Exception as error:
        warn("a layer cannot be compiled", error)
        return None
    # not any exception: `update.recompute` ends a layer by one as soon as it knows enough
    return or_eager(Block.forward, forward, torch._dynamo.exc.TorchDynamoException)


def warn(what: str, error: Exception) -> None:
    """Print one line that says what goes on without being fast, and why."""
    first, *others = str(error).strip().split("\n")
    reason = f"{first} {others[0]}" if first.endswith(":") and others else first
    print(f"warning: {what} ({type(error).__name__}: {reason}); it is slower", file=sys.stderr)
