"""The policy as the task sees it: problems in, responses, rewards and accuracies out.

What it teaches: what surrounds a language model before it can be reinforced.  A tokenizer and a
template make prompts of problems, stop tokens end responses, a verifier turns texts into rewards.

Where it stands: pi_theta together with x and r(x, y), between `model.py`, `rollout.py`, `data.py`
and `verifier.py` on one side and the loops of `train.py` on the other.

Try changing first: `rewards`.  Subtract a little for every token, and watch the responses shorten.
"""

import shutil
from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import parallel
from config import Config, ConfigError
from data import DataError, Problem, load_tokenizer, prompt_ids, with_problem
from model import Transformer, find_folder, load, read_json
from rollout import Group, check_stop_ids, generate, generate_batch
from verifier import extract_answer, verify


class Policy:
    """The model with its tokenizer: problems in, rollouts, rewards and accuracies out."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.folder = find_folder(cfg.model)
        self.device = pick_device(cfg.device)
        self.model = self.load()
        self.tokenizer = load_tokenizer(self.folder)
        stop_ids = cfg.rollout.stop_ids or checkpoint_stop_ids(self.folder, self.tokenizer)
        try:
            check_stop_ids(stop_ids, self.model.config.vocab_size)
        except ValueError as error:
            raise ConfigError(f"rollout.stop_ids: {error}") from error
        self.limits = {"max_new_tokens": cfg.rollout.max_new_tokens, "stop_ids": stop_ids}

    def load(self) -> Transformer:
        """The starting checkpoint, on the device and in the precision of the configuration."""
        cfg = self.cfg
        sharded = cfg.shard and parallel.world() > 1
        model = load(self.folder, "cpu" if sharded else self.device)
        model.recompute = cfg.update.recompute
        if cfg.precision == "bfloat16":
            model.low_precision = torch.bfloat16
        if sharded:
            parallel.shard(model, self.device)
        return model

    def prompt(self, problem: Problem) -> list[int]:
        """The prompt's tokens; `DataError` where there are none or the model does not know one."""
        data = self.cfg.data
        ids = prompt_ids(self.tokenizer, data.template, problem, data.system, data.prefill)
        if not ids or max(ids) >= self.model.config.vocab_size:
            raise DataError(
                f"{problem.text!r}: its tokens {ids} are not all in the model's vocabulary"
            )
        return ids

    def rollout(self, problem: Problem, n: int, generator: torch.Generator) -> Group:
        """n responses to one problem, of which each process samples its share."""
        r = self.cfg.rollout
        with parallel.unsharded(self.model):
            part = generate(
                self.model, self.prompt(problem), n, generator=generator, part=parallel.share(n),
                temperature=r.temperature, top_k=r.top_k, top_p=r.top_p, **self.limits,
            )  # fmt: skip
        return parallel.whole_group(part)

    def texts(self, problems: Iterable[Problem], group: Group) -> list[str]:
        """The response to each problem as the verifier reads it: its first words in front."""
        texts = (self.tokenizer.decode(r, skip_special_tokens=True) for r in group.responses())
        return [
            with_problem(self.cfg.data.prefill, p) + t
            for p, t in zip(problems, texts, strict=False)
        ]

    def rewards(self, problem: Problem, group: Group) -> list[float]:
        """1.0 where the verifier accepts the response, else 0.0; (G,)."""
        return [float(verify(text, problem.answer)) for text in self.texts(repeat(problem), group)]

    def entropy(self, problem: Problem, group: Group, whose: str) -> float | None:
        """Of the policy, in nats a token, or of its answers, in nats a response."""
        if whose == "policy":
            return group.entropy()
        if whose == "none":
            return None
        answers = [str(extract_answer(text)) for text in self.texts(repeat(problem), group)]
        share = np.unique(answers, return_counts=True)[1] / len(answers)
        return float(-(share * np.log(share)).sum())

    def greedy(self, problems: list[Problem], batch: int):
        """(problem, its likeliest response) of each, so many problems at a time."""
        unused = torch.Generator(self.device)  # greedy draws nothing
        for first in range(0, len(problems), batch):
            some = problems[first : first + batch]
            group = generate_batch(
                self.model, [self.prompt(p) for p in some], temperature=0.0, generator=unused,
                **self.limits,
            )  # fmt: skip
            yield from zip(some, self.texts(some, group), strict=True)

    def evaluate(self, problems: list[Problem], clock) -> dict:
        """Greedy accuracy, overall and by kind; these rollouts are not training's cost."""
        mine = problems[parallel.rank() :: parallel.world()]
        with clock("evaluate"), parallel.unsharded(self.model):
            judged = [
                (p.kind, verify(t, p.answer)) for p, t in self.greedy(mine, self.cfg.eval_batch)
            ]
            of_all = parallel.gather(judged)
        right: dict[str, list[bool]] = {}
        for kind, ok in chain(*of_all):
            right.setdefault(kind, []).append(ok)
        by_kind = {kind: float(np.mean(oks)) for kind, oks in sorted(right.items())}
        return {
            "accuracy": float(np.mean([ok for oks in right.values() for ok in oks])),
            "accuracy_by_kind": by_kind,
        }

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """The trained weights beside the files of the checkpoint that say how to use them."""
        self.model.save(folder, weights)
        self.tokenizer.save_pretrained(folder)
        if (self.folder / "generation_config.json").exists():
            shutil.copy(self.folder / "generation_config.json", folder)


def checkpoint_stop_ids(folder: Path, tokenizer) -> list[int]:
    """What ends a response, by the generation config, else the config, else the tokenizer."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).exists():
            ids = read_json(folder / name).get("eos_token_id")
            ids = [ids] if isinstance(ids, int) else ids
            if isinstance(ids, list) and ids and all(isinstance(i, int) for i in ids):
                return ids
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{folder}: names no stop token; set rollout.stop_ids")
    return [tokenizer.eos_token_id]


def pick_device(name: str) -> torch.device:
    """The device of that name, or the best one; `ConfigError` where this machine has it not."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and parallel.world() > 1:
        name = f"cuda:{parallel.local_rank()}"  # a GPU each
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        torch.Generator(device)  # some devices hold tensors and cannot draw
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"device: {name!r} is not to be had here ({reason})") from error
    return device
