"""CUDA graphs: many operations that are started as one.

What it teaches: why a GPU idles while it generates.  A step of decoding is some hundreds of small
operations, and starting one takes longer than computing it: 13 ms per step of a 135M model on one
NVIDIA H200, of which the arithmetic needs 0.1.  A graph records the operations of a step once, with
the addresses of their tensors, and then starts all of them at once.  The price: every step has to
be the same operations on tensors of the same shapes at the same place, so nothing may depend on
the CPU's knowing how far a rollout is.  `decode.Decoder` says what that changes.

Where it stands (skip this file on a first reading): beside `rollout._one_by_one`, whose loop this
is in another form, with `--set rollout.graph=true`.  Whatever is not CUDA carries out the same
steps one operation at a time.

Try changing first: `WIDEN`, with `--set rollout.graph=true`.  At 4 in place of 128 the default job
ends with the same bits.  It samples for 4.2 s and not for 4.9 on a CPU, where fewer columns are
read in vain; on a GPU it would record ten graphs per rollout in place of one.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from decode import Decoder

WIDEN = 128  # a graph serves for so many tokens: each reads at most so many columns in vain
LOOK = 16  # steps between two looks at which rows have stopped
Step = Callable[[], None]


def all_alike(
    step: Decoder, pick: Callable, logits: Tensor, is_stop: Tensor, tokens: Tensor,
    logprobs: Tensor,
) -> int:  # fmt: skip
    """Fill tokens and logprobs (n, T_new) in steps that are all alike; return how many steps.

    `pick` is the sampler, and logits (n, V) are those after the prompts.  A step reads as many own
    tokens as will be said until the next graph.  Stops are looked for now and then: what a row says
    after its stop is cut off later.
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

    t = 0
    while t < limit:
        step.width = min(limit, WIDEN * (t // WIDEN + 1))
        again, t = begin(once, tokens.device), t + 1
        n_going = int(going.sum())
        while t < step.width and 2 * n_going > len(rows):
            for _ in range(min(LOOK, step.width - t)):
                again()
                t += 1
            n_going = int(going.sum())
        if n_going == 0:
            break
        if 2 * n_going <= len(rows):
            keep = going.nonzero()[:, 0]
            step.keep(keep)
            rows, going, logits = rows[keep], going[keep], logits[keep]
    return t


def begin(step: Step, device: torch.device) -> Step:
    """Carry out a step, and return a function that carries it out again, all of it at once.

    The step reads and writes tensors that stay in place.  Where it cannot be recorded, a line on
    the terminal says why, and it is returned as it is.
    """
    if device.type != "cuda":
        step()
        return step
    # libraries prepare themselves at their first call, which must not be part of a recording
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):  # records, and computes nothing
            step()
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        print(f"warning: a step cannot be a CUDA graph ({reason}); it is slower", file=sys.stderr)
        return step
    return graph.replay
