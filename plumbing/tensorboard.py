"""TensorBoard: the numbers of a run as curves that are there while it runs, `log=tensorboard`.

Where it stands: below `record.py`, which writes the same numbers to `metrics.jsonl`.  The tags are
those of TRL's `GRPOTrainer`, so that its runs and ours are drawn into the same charts; what TRL
does not have is named in the same way.  Without the key nothing of TensorBoard is imported.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plumbing import parallel
from plumbing.command import UserError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ALWAYS = {  # the tag of each field of a line of `metrics.jsonl`
    "train/entropy": "entropy",
    "train/completions/mean_length": "mean_length",
    "train/completions/clipped_ratio": "cut_off",
    "train/num_tokens": "tokens",
    "train/rollouts": "rollouts",
}
AFTER_AN_UPDATE = {
    "train/loss": "loss",
    "train/grad_norm": "grad_norm",
    "train/learning_rate": "learning_rate",
    "train/clip_ratio/region_mean": "clip_fraction",
    "train/kl": "kl",
}


def find_writer() -> "type[SummaryWriter]":
    """Return the class that writes event files; `UserError` where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            f"log: TensorBoard cannot be imported ({error}); pip install tensorboard"
        ) from error
    return SummaryWriter


class Events:
    """The event files in a run's folder, of which each beginning of the run writes one.

    Only the first process writes them, and nobody does where it is not `on`.
    """

    def __init__(self, out: Path, on: bool) -> None:
        self.out, self.writer = out, None
        self.make = find_writer() if on else None  # missing, it is missed before the run begins

    def begin(self, step: int, before: dict) -> None:
        """Begin a file after a step, and take back what earlier files say of later steps.

        At step 0 it begins with the evaluation `before` the first step.
        """
        if self.make and parallel.rank() == 0:
            # readers of the files drop all from this step on that was written earlier
            self.writer = self.make(str(self.out), purge_step=step + 1 if step else 0)
            if step == 0:
                self.add(0, evaluation(before))

    def write(self, line: dict) -> None:
        """Write what a line of `metrics.jsonl` says of its step."""
        if self.writer:
            self.add(line["step"], {**training(line), **evaluation(line)})

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write values by their tags, at once, for those who look on."""
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)
        self.writer.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self.writer:
            self.writer.close()


def training(line: dict) -> dict[str, float]:
    """Return what is to be shown of a step, by tag."""
    spreads = [float(np.std(rewards)) for rewards in line["rewards"]]  # one for each group
    values = {
        "train/reward": float(np.mean(line["rewards"])),
        "train/reward_std": float(np.mean(spreads)),
        "train/frac_reward_zero_std": float(np.mean([len(set(r)) == 1 for r in line["rewards"]])),
        "train/step_time": line["seconds"]["total"],
    }
    # where there was no update, its loss of 0 is no loss
    fields = ALWAYS | (AFTER_AN_UPDATE if "grad_norm" in line else {})
    return values | {tag: line[field] for tag, field in fields.items() if field in line}


def evaluation(line: dict) -> dict[str, float]:
    """Return the accuracies of an evaluation, overall and by kind, by tag; none where none is."""
    if "accuracy" not in line:
        return {}
    of_kinds = {f"eval/accuracy/{k}": v for k, v in line["accuracy_by_kind"].items() if k}
    return {"eval/accuracy": line["accuracy"], **of_kinds}
