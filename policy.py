"""The policy as the task sees it: a problem goes in, and responses with their rewards come out.

What it teaches: what surrounds a language model before it can be reinforced.  A tokenizer and a
template turn a problem into a prompt, stop tokens end the responses, and the verifier judges the
texts.  Verdict and reward are two things: the *verdict* says whether a response is right, and the
selector learns from it which problems can still teach; the *reward* is what the advantages are made
of, and may be shaped.  By default the reward is the verdict; `reward.py` holds the others.

Where it stands: the lines "y_1..y_G" and "r_g" of the algorithm box in `train.py`, and pi_theta
together with the prompt x and the reward r(x, y), in the formulas of all files.

Try changing first: `rewards`.  Subtract 0.01 per token, `[s - 0.01 * n for s, n in zip(solved,
group.lengths.tolist(), strict=True)]`, and the default job ends at 99.0, 99.0 and 98.5% on seeds 0
to 2, as without it.  But divide by the standard deviation, as plain GRPO does: with
`--config configs/plain.json` it ends at 60.0, 60.0 and 98.5% instead of 99.5, 99.0 and 96.0%.  The
responses of a group that is all right, or all wrong, now differ in length alone, and the division
turns these small differences into advantages near 1 and -1.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data import Problem, load_tokenizer, make_prompts, with_problem
from graphs import compiled_block
from lora import add_adapters, base_of
from model import Transformer, load
from plumbing import parallel
from plumbing.command import UserError
from plumbing.config import Config, stream_seed
from plumbing.device import generator, graph_and_compiled, pick_device
from plumbing.record import Attempt
from plumbing.text_stops import TextStops, refuse_hidden
from plumbing.tokenizer import GENERATION, generation_settings, save_tokenizer
from plumbing.weights import find_folder, stop_ids
from reward import Reward
from rollout import Group, check_stop_ids, generate_batch, generate_groups
from verifier import extract_answer, verify


def numbers(values: Iterable[float], n: int, what: str) -> list[float]:
    """Return n finite numbers as Python's own; `UserError` where they are others."""
    try:
        found = np.array([float(value) for value in values])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"Policy.{what}: must return {n} numbers ({error})", code=1) from error
    if found.shape != (n,) or not np.isfinite(found).all():
        raise UserError(f"Policy.{what}: must return {n} finite numbers, not {found}", code=1)
    return found.tolist()


def starting_model(cfg: Config, folder: Path, device: torch.device) -> Transformer:
    """Return a folder's checkpoint on the device and in the configured precision.

    It has adapters where `lora.rank` is above 0.
    """
    sharded = cfg.shard and parallel.world() > 1
    model = load(folder, "cpu" if sharded or cfg.lora.rank else device)
    model.recompute = cfg.update.recompute
    model.low_precision = torch.bfloat16 if cfg.precision == "bfloat16" else None
    if sharded:
        parallel.shard(model, device)
    elif cfg.lora.rank:
        add_adapters(model, cfg.lora, stream_seed(cfg.seed, "adapters"))
        model.to(device)
    return model


def accuracies(judged: Iterable[tuple[str, float]]) -> dict:
    """Return the mean verdict over all problems and over those of each kind."""
    of_kind: dict[str, list[float]] = {}
    for kind, solved in judged:
        of_kind.setdefault(kind, []).append(solved)
    return {
        "accuracy": float(np.mean([each for verdicts in of_kind.values() for each in verdicts])),
        "accuracy_by_kind": {k: float(np.mean(some)) for k, some in sorted(of_kind.items())},
    }


class Policy:
    """The model with its tokenizer, its prompts, its verifier and its reward."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.reward = Reward(cfg.reward, cfg.rollout.max_new_tokens)
        self.folder = find_folder(cfg.model)
        self.device = pick_device(cfg.device)
        self.model = starting_model(cfg, self.folder, self.device)
        self.tokenizer = load_tokenizer(self.folder)
        # they are needed in `save`, and read here so that a bad file is refused before the run
        self.generation = generation_settings(self.folder)
        self.known_prompts: dict[Problem, list[int]] = {}
        stops = list(cfg.rollout.stop_ids) or stop_ids(self.folder, self.tokenizer)
        try:
            check_stop_ids(stops, self.model.config.vocab_size)
        except ValueError as error:
            raise UserError(f"rollout.stop_ids: {error}") from error
        refuse_hidden(cfg.rollout.stop, self.tokenizer)
        self.limits = {
            "max_new_tokens": cfg.rollout.max_new_tokens, "stop_ids": stops,
            "text_stops": TextStops(cfg.rollout.stop, self.tokenizer),
            **graph_and_compiled(cfg, self.device),
        }  # fmt: skip
        if self.limits["compiled"] and not cfg.shard:
            self.model.compiled = compiled_block(self.model)

    def reference(self) -> Transformer:
        """Return the starting model, for the KL penalty; under adapters it is there already."""
        if self.cfg.lora.rank:
            return base_of(self.model)
        return starting_model(self.cfg, self.folder, self.device)

    # ---------------------------------------------------------- training: few problems, many tries

    def attempts(self, problems: list[Problem], n: int, stream: torch.Generator) -> list[Attempt]:
        """Let the policy try each problem n times, and judge what it says."""
        r = self.cfg.rollout
        with parallel.unsharded(self.model):
            parts = generate_groups(  # y_1..y_n ~ pi_old( . | x)
                self.model, self.prompts(problems), n, generator=stream, part=parallel.share(n),
                temperature=r.temperature, top_k=r.top_k, top_p=r.top_p, at_once=r.at_once,
                **self.limits,
            )  # fmt: skip
        groups = [parallel.whole_group(part) for part in parts]  # each process sampled its share
        return [self.judged(*pair) for pair in zip(problems, groups, strict=True)]

    def attempt(self, problem: Problem, n: int, stream: torch.Generator) -> Attempt:
        """Let the policy try one problem n times, and judge what it says."""
        return self.attempts([problem], n, stream)[0]

    def judged(self, problem: Problem, group: Group) -> Attempt:
        """Return a group with its texts, verdicts and rewards."""
        texts = self.texts(repeat(problem), group)
        # one process asks: a reward of one's own may be slow, or another at each call
        solved, rewards = parallel.from_first(lambda: self.judge(problem, texts, group))
        return Attempt(group, texts, list(map(extract_answer, texts)), solved, rewards)

    def judge(
        self, problem: Problem, texts: list[str], group: Group
    ) -> tuple[list[float], list[float]]:
        """Return the verdict and the reward of each response, (G,) each."""
        n = len(texts)
        solved = numbers(self.verdicts(problem, texts), n, "verdicts")
        if not {0, 1}.issuperset(solved):
            raise UserError(f"the verdicts of {problem.text!r} must be 0 or 1: {solved}", code=1)
        rewards = numbers(self.rewards(problem, texts, solved, group), n, "rewards")
        return self.reward.successes(solved, rewards), rewards

    def prompt(self, problem: Problem) -> list[int]:
        """Return the prompt's tokens, which are made once; see `prompts`."""
        return self.prompts([problem])[0]

    def prompts(self, problems: list[Problem]) -> list[list[int]]:
        """Return the tokens of each prompt; `UserError` where the model does not know one of them.

        Those that are not known yet are made together, since a chat template needs a process.
        """
        data, size = self.cfg.data, self.model.config.vocab_size
        new = [problem for problem in dict.fromkeys(problems) if problem not in self.known_prompts]
        how = (data.template, new, data.system, data.prefill, data.date)
        made = make_prompts(self.tokenizer, *how, template_args=data.template_args)
        for problem, ids in zip(new, made, strict=True):
            if not ids or max(ids) >= size:
                why = f"token {max(ids)} is not in its vocabulary of {size}" if ids else "empty"
                place = problem.source or repr(problem.text[:100])
                raise UserError(f"{place}: its prompt cannot be given to the model ({why})")
            self.known_prompts[problem] = ids
        return [self.known_prompts[problem] for problem in problems]

    def texts(self, problems: Iterable[Problem], group: Group) -> list[str]:
        """Return the response to each problem as the verifier reads it, `prefill` in front."""
        said = map(self.limits["text_stops"].read, group.responses(self.limits["stop_ids"]))
        begun = (with_problem(self.cfg.data.prefill, problem) for problem in problems)
        return [before + text for before, text in zip(begun, said, strict=False)]

    def verdicts(self, problem: Problem, texts: list[str]) -> list[float]:
        """Return 1.0 for each response that the verifier accepts, and 0.0 for the others, (G,)."""
        return [float(verify(text, problem.answer)) for text in texts]

    def rewards(
        self, problem: Problem, texts: list[str], solved: list[float], group: Group
    ) -> list[float]:
        """Return the reward r(x, y) of each response, (G,), from the verifier's verdicts or not."""
        return self.reward(problem, texts, solved, group)

    # --------------------------------------------------------- evaluation: many problems, one try

    def evaluate(
        self, problems: list[Problem], clock: Callable[[str], AbstractContextManager]
    ) -> dict:
        """Return the greedy accuracy, overall and by kind; training does not pay for these tokens.

        `clock("evaluate")` is a context that takes the time.
        """
        # prompts of like length together, so that little of a batch is padding
        by_length = sorted(problems, key=lambda problem: len(self.prompt(problem)))
        mine = by_length[parallel.rank() :: parallel.world()]
        with clock("evaluate"), parallel.unsharded(self.model):
            answered = list(self.greedy(mine, self.cfg.eval_batch))
            with parallel.all_or_none():
                judged = [(p.kind, self.verdict(p, text, row)) for p, text, row in answered]
            of_all = parallel.gather(judged)
        return accuracies(chain(*of_all))

    def verdict(self, problem: Problem, text: str, row: Group) -> float:
        """Return the verdict on one response; its reward is asked for only where that decides."""
        if self.reward.verified:
            return self.verdicts(problem, [text])[0]
        return self.judge(problem, [text], row)[0][0]

    def greedy(self, problems: list[Problem], batch: int) -> Iterator[tuple[Problem, str, Group]]:
        """Yield each problem with its likeliest response, as a text and as a group of one.

        `batch` problems are answered at once.
        """
        unused = generator(self.device)  # what is drawn from it is not used
        for first in range(0, len(problems), batch):
            some = problems[first : first + batch]
            group = generate_batch(
                self.model, self.prompts(some), temperature=0.0, generator=unused,
                **self.limits,
            )  # fmt: skip
            for i, (problem, text) in enumerate(zip(some, self.texts(some, group), strict=True)):
                yield problem, text, group.row(i)

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a Hugging Face folder: the trained weights, and the files that say how to use them.

        `weights` are the whole ones, also where this process holds a shard of them.
        """
        self.model.save(folder, weights)
        save_tokenizer(self.tokenizer, folder)
        if self.generation:
            settings = json.dumps(self.generation, indent=2) + "\n"
            (folder / GENERATION).write_text(settings, encoding="utf-8")
