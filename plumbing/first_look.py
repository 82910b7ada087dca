"""A first look: what the policy makes of a few problems, before a run on them is paid for.

What it teaches: most runs that learn nothing could have been known before their first step.  Of
problems that are never solved, or always, no group is informative; and a response that is cut off,
or says its answer in a form that the verifier does not know, is wrong whatever it knows.

Where it stands: `train.py` takes it before the first evaluation, where the problems are the user's
own.  Its random streams are its own too, and its responses are neither counted nor learned from:
the run is the same with it and without.
"""

import time
from collections.abc import Callable

import numpy as np
from torch import Generator

from data import TASKS, Problem
from plumbing import parallel
from plumbing.config import stream_seed
from plumbing.device import generator
from plumbing.record import Attempt
from plumbing.run import Run

PROBLEMS, MOST_SECONDS = 8, 60  # no further problem is tried after so long
MANY = 0.5  # a share from which on something is said to be wrong

Attempts = Callable[[list[Problem], int, Generator], list[Attempt]]


def first_look(run: Run, pool: list[Problem], attempts: Attempts) -> None:
    """Try a few problems of a file, as in a step, and print what is seen, in one line or two."""
    if run.cfg.data.pool in TASKS:
        return
    seed = stream_seed(run.cfg.seed, "first look")
    stream = generator(run.model.device)
    stream.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(pool))[:PROBLEMS]
    began, seen = time.monotonic(), []
    for i in order:
        seen += attempts([pool[i]], run.cfg.rollout.group_size, stream)
        late = time.monotonic() - began > MOST_SECONDS or run.stop.asked
        if any(parallel.gather(bool(late))):
            break
    if parallel.rank() == 0:
        print("\n".join(what_is_seen(seen, run.cfg.reward)), flush=True)


def what_is_seen(seen: list[Attempt], reward: str | dict = "verifier") -> list[str]:
    """Return a line on these attempts, and where something is wrong another on what helps.

    `reward` is that of the configuration: where none in it reads answers, there need be none.
    """
    solved = np.mean([each.solved for each in seen])
    cut_off = 1 - np.mean([each.group.finished.tolist() for each in seen])
    mute = np.mean([[answer is None for answer in each.answers] for each in seen])
    read = not {"verifier", "format"}.isdisjoint([reward] if isinstance(reward, str) else reward)
    informative = sum(max(each.rewards) > min(each.rewards) for each in seen)
    line = (
        f"first look: of {sum(len(each.texts) for each in seen)} responses to {len(seen)} problems "
        f"{solved:.0%} are right, {cut_off:.0%} cut off"
        + f", {mute:.0%} without an answer that the verifier finds" * read
        + f"; {informative} of {len(seen)} groups are informative"
    )
    helps = []
    if cut_off >= MANY:
        helps.append("a larger rollout.max_new_tokens, or an end by rollout.stop or .stop_ids")
    if read and mute >= MANY:
        helps.append(
            "how to answer, said in data.system or by the examples of a few-shot data.template, or "
            "an answer begun by data.prefill"
        )
    if not informative and not helps:
        easier = "harder problems" if solved > MANY else "easier problems, or a stronger checkpoint"
        helps.append(f"{easier}: where all responses to a problem are alike, none can be learned")
    return [line, f"what usually helps: {'; '.join(helps)}"] if helps else [line]
