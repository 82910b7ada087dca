"""What a run remembers and what it writes: its state for a checkpoint, its record for people.

What it teaches: how much of a training run is not its weights.  `State` is everything that the next
step depends on: model, optimizer, selector, every random stream, every count.  `Log` is what a
reader wants of it: one line of JSON a step, a progress bar, the costs.

Where it stands: around the loop in `train.py`; `checkpoint.py` puts `State` on the disk,
`curve.py` and `bound.py` read what `Log` wrote.

Try changing first: an entry of `Log.write`: which quantity would you like to see over time?
"""

import json
import os
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import checkpoint
import parallel
from config import Config, selectors
from data import Problem
from model import CheckpointError
from policy import Policy
from rollout import Group

BAD_UPDATES = 5  # not finite, one after the other: then training stops


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line and says what remains."""


class State:
    """All that changes while training, and so all that a checkpoint has to hold."""

    def __init__(self, cfg: Config, policy: Policy, n_problems: int, fixed: dict, log: "Log"):
        self.model, self.log = policy.model, log
        self.fixed = fixed  # what must be the same for the run to go on
        self.step = 0
        adamw = OffloadedAdamW if cfg.update.offload else torch.optim.AdamW
        self.optimizer = adamw(
            self.model.parameters(), lr=cfg.update.lr, betas=(cfg.update.beta1, cfg.update.beta2),
            weight_decay=cfg.update.weight_decay,
            fused=True,  # one pass over the weights instead of a dozen, and no room for copies
        )  # fmt: skip
        self.selector = selectors.SELECTORS[cfg.selector.name](
            n_problems, cfg.selector.ema, cfg.selector.bonus, cfg.selector.entropy,
            seed=stream_seed(cfg.seed, "selector"),
        )  # fmt: skip
        self.candidate_stream = np.random.default_rng(stream_seed(cfg.seed, "candidates"))
        self.rollout_stream = torch.Generator(policy.device)
        self.rollout_stream.manual_seed(stream_seed(cfg.seed, "rollouts"))

    def weights(self) -> dict[str, Tensor]:
        """The whole model, in CPU memory; every process has to ask for it."""
        return {name: parallel.whole(w).cpu() for name, w in self.model.state_dict().items()}

    def save(self) -> None:
        """Write a checkpoint into the run's folder."""
        tensors = {f"model.{name}": w for name, w in self.weights().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = parallel.whole(value).cpu()
        tensors["rollout_stream"] = self.rollout_stream.get_state()
        values = {
            "step": self.step, "fixed": self.fixed, "selector": self.selector.state_dict(),
            "candidate_stream": self.candidate_stream.bit_generator.state,
            "log": self.log.state_dict(),
        }  # fmt: skip
        if parallel.rank() == 0:
            checkpoint.save(self.log.out, tensors, values)

    def restore(self, which: str) -> None:
        """Go on from a checkpoint of the run; `CheckpointError` where it is not of this run."""
        tensors, values = checkpoint.load(self.log.out, which)
        for name, value in self.fixed.items():
            if values["fixed"].get(name) != value:
                raise CheckpointError(f"{self.log.out}: {name} changed since the run began")
        for name, parameter in self.model.named_parameters():
            weight = tensors[f"model.{name}"]
            with torch.no_grad():
                parameter.copy_(parallel.like(weight, parameter))
            prefix = f"optimizer.{name}."
            slots = {n.removeprefix(prefix): w for n, w in tensors.items() if n.startswith(prefix)}
            waits = isinstance(self.optimizer, OffloadedAdamW)
            if slots:  # the count of steps is a number even where the weight is a shard
                count = {"step": slots.pop("step").to(parameter.device)}
                moments = {n: m if waits else parallel.like(m, parameter) for n, m in slots.items()}
                self.optimizer.state[parameter] = count | moments
        self.rollout_stream.set_state(tensors["rollout_stream"])
        self.selector.load_state_dict(values["selector"])
        self.candidate_stream.bit_generator.state = values["candidate_stream"]
        self.step = values["step"]
        self.log.load_state_dict(values["log"])


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW whose moments wait in CPU memory and visit the device one weight at a time."""

    def step(self):
        (group,) = self.param_groups
        every = group["params"]
        for parameter in every:
            group["params"] = [parameter]
            self._move_moments(parameter, parameter.device)
            super().step()
            self._move_moments(parameter, "cpu")
        group["params"] = every

    def _move_moments(self, parameter, device) -> None:
        moments = self.state[parameter]
        moments.update({n: m.to(device) for n, m in moments.items() if n != "step"})


def stream_seed(seed: int, name: str) -> int:
    """The seed of a named random stream: streams never disturb each other."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])


# --------------------------------------------------------------------------- for people


class Log:
    """Counts what a run costs, times its parts, writes `metrics.jsonl`, moves the progress bar."""

    COUNTS = (
        "rollouts", "tokens", "updates", "informative", "evaluated_at", "group_size", "bad_updates",
        "before", "last", "good_enough", "seconds", "written",
    )  # fmt: skip

    def __init__(self, out: Path, n_steps: int, pool: list[Problem], stop_accuracy: float):
        self.out, self.n_steps, self.pool = out, n_steps, pool
        self.stop_accuracy = stop_accuracy
        self.good_enough = 0  # evaluations in a row that reached it
        self.before: dict = {}  # the evaluation before the first step, and the last one
        self.last: dict = {}
        self.rollouts = self.tokens = self.updates = self.informative = self.evaluated_at = 0
        self.group_size = self.bad_updates = 0  # the latter: one after the other
        self.seconds = {"rollout": 0.0, "update": 0.0, "evaluate": 0.0, "total": 0.0}
        self.written = dict(self.seconds)  # what earlier lines have told of
        self.since = time.perf_counter()  # when "total" was last brought up to date
        self.writes = parallel.rank() == 0  # other processes count, and write nothing
        self.file = (out / "metrics.jsonl").open("ab") if self.writes else TemporaryFile()  # noqa: SIM115
        self.bar = tqdm(disable=True)  # until the first step

    def show(self, step: int) -> None:
        self.bar = tqdm(
            total=self.n_steps, initial=step, desc="training", mininterval=0.2, dynamic_ncols=True,
            disable=not self.writes,
        )  # fmt: skip

    def state_dict(self) -> dict:
        """The counts, and how long the record is: later lines are cut off when going on."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.count_total()
        return {"bytes": self.file.tell(), **{name: getattr(self, name) for name in self.COUNTS}}

    def load_state_dict(self, state: dict) -> None:
        """Count on from a checkpoint, and cut back the record to it: no step stands there twice."""
        if self.writes and self.file.tell() < state["bytes"]:
            raise CheckpointError(f"{self.out / 'metrics.jsonl'}: shorter than at the checkpoint")
        self.file.truncate(state["bytes"])
        for name in self.COUNTS:
            setattr(self, name, state.get(name, getattr(self, name)))  # a count newer than the run

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()
        self.file.close()

    @contextmanager
    def clock(self, part: str):
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start

    def count(self, groups: list[Group], informative: list[int]) -> None:
        self.group_size = len(groups[0].lengths)
        self.rollouts += len(groups) * self.group_size
        self.tokens += sum(int(g.lengths.sum()) for g in groups)
        self.informative += len(informative)

    def count_update(self, stats: dict, updates: int) -> None:
        skipped = "skipped" in stats
        self.updates += 0 if skipped else updates
        self.bad_updates = self.bad_updates + 1 if skipped else 0

    def count_total(self) -> None:
        now = time.perf_counter()
        self.seconds["total"] += now - self.since
        self.since = now

    def evaluation_due(self, every: int) -> bool:
        """True once for each multiple of `every` rollouts that is passed."""
        due = self.rollouts // every > self.evaluated_at // every
        if due:
            self.evaluated_at = self.rollouts
        return due

    def write(self, step, offer, chosen, picks, rewards, groups, stats, result) -> None:
        """One line: what was on offer, what was chosen, what came of it, what it cost."""
        self.count_total()
        seconds = {part: self.seconds[part] - self.written[part] for part in self.seconds}
        self.written = dict(self.seconds)
        one = len(rewards) == 1 and not isinstance(chosen, list)
        entry = {
            "step": step, **offer, "chosen": chosen, "kind": [self.pool[i].kind for i in picks],
            "rewards": rewards[0] if one else rewards, "rollouts": self.rollouts,
            "tokens": self.tokens, "updates": self.updates, "informative_groups": self.informative,
            "entropy": float(np.mean([g.entropy() for g in groups])), **stats, **result,
            "seconds": seconds,
        }  # fmt: skip
        self.file.write((json.dumps(entry) + "\n").encode())
        self.file.flush()
        if result:
            self.last = result
            self.good_enough = (
                self.good_enough + 1 if result["accuracy"] >= self.stop_accuracy else 0
            )
        problem, right = self.pool[picks[0]].text, sum(rewards[0])
        self.bar.set_postfix_str(
            f"accuracy {self.last['accuracy']:.1%}, {self.rollouts} rollouts, "
            f"{problem[:24]!r} {right:.0f}/{len(rewards[0])}",
            refresh=False,
        )
        self.bar.update()

    def skipped_update(self, step, picks, texts, rewards, stats) -> None:
        """Keep the groups whose loss or gradient was not finite; the fifth in a row is the last."""
        groups = [
            {"step": step, "problem": self.pool[i].text, "responses": t, "rewards": r, **stats}
            for i, t, r in zip(picks, texts, rewards, strict=True)
        ]
        file = self.out / "nonfinite.jsonl"
        if self.writes:
            with file.open("a", encoding="utf-8") as opened:
                opened.writelines(json.dumps(group) + "\n" for group in groups)
        if self.bad_updates >= BAD_UPDATES:
            raise TrainingError(
                f"{BAD_UPDATES} updates in a row were not finite and were skipped; look at the "
                f"groups in {file} or lower update.lr; the last checkpoint is whole"
            )

    def learned(self) -> bool:
        """Whether the run may end before its limits, by `stop_accuracy`."""
        return self.stop_accuracy > 0 and self.good_enough >= 2

    def summary(self, steps: int) -> dict:
        """What `summary.json` holds."""
        self.count_total()
        return {
            "accuracy_before": self.before["accuracy"],
            "accuracy_after": self.last["accuracy"],
            "accuracy_by_kind_before": self.before["accuracy_by_kind"],
            "accuracy_by_kind_after": self.last["accuracy_by_kind"],
            "steps": steps,
            "updates": self.updates,
            "rollouts": self.rollouts,
            "tokens": self.tokens,
            "informative_groups": self.informative,
            "group_size": self.group_size,
            "seconds": self.seconds,
        }
