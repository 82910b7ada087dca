"""Train with your solved exercise in the place of the trainer's own function.

    python exercises/train_with.py 1 --config small.json --out runs/exercise-1

The number says which exercise, 1 to 6; what comes after it is as for `train.py`.  Nothing of the
trainer is copied: the function that you wrote is put where the trainer's stands, and `train.py`
runs as always.  `--answers FOLDER` takes your file from another folder, as for pytest.  Exercises 7
and 8 need no such command: a reward is named by a key, and a bound takes no part in training.

How to read it: one function per exercise, which says what is put where.
"""

# ruff: noqa: E402, I001 (the names of one's own arms must be known before the trainer is imported)

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from stubs import answer_of, read_answer  # first: it puts the project on the path
import plumbing  # noqa: F401 (then: it lets Ctrl-C end the imports below in one line)
from plumbing.selectors import load as load_selectors

selectors = load_selectors()
OWN_ARMS = {"epsilon_greedy": "EpsilonGreedy", "my_own": "MyOwn"}
if __name__ == "__main__":  # when the configuration is imported, it looks up which arms there are
    selectors.SELECTORS |= dict.fromkeys(OWN_ARMS, selectors.OneShotSelector)

import torch
from torch import Tensor

import grpo
import rollout
import train
from model import Transformer
from plumbing.command import Parser, UserError, command

Places = list[tuple[object, str, object]]  # where, under which name, and what is put there


def advantage(mine: ModuleType) -> Places:
    return [(train, "group_advantages", mine.group_advantages)]


def surrogate(mine: ModuleType) -> Places:
    whole = grpo.grpo_loss

    def grpo_loss(
        logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, **how: object
    ) -> tuple[Tensor, dict[str, float]]:
        """Your surrogate, and the trainer's loss without one: its KL penalty."""
        nothing = torch.zeros_like(advantages)
        penalty, _ = whole(logp, old_logp, nothing, mask, **how)
        _, stats = whole(logp.detach(), old_logp, advantages, mask, **how)  # for the record
        clips = how["clip_low"], how["clip_high"]
        yours = mine.clipped_loss(logp, old_logp, advantages, mask, how["weights"], *clips)
        return yours + penalty, stats

    return [(grpo, "grpo_loss", grpo_loss)]


def weights(mine: ModuleType) -> Places:
    return [(grpo, "token_weights", mine.token_weights)]


def cached(mine: ModuleType) -> Places:
    """Training samples by your loop; evaluations, of many prompts at once, by the trainer's."""
    theirs = rollout._decode

    def decode(
        model: Transformer, prompts: Sequence[Sequence[int]], pick: rollout.Sampler, *rest: object,
        **more: object,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        if len(prompts) > 1:
            return theirs(model, prompts, pick, *rest, **more)
        steps, n = pick.u.shape
        logprobs = []  # (n,) each

        def choose(logits: Tensor) -> Tensor:
            tokens, logprob = pick(logits, torch.arange(n), len(logprobs))  # (n,) each
            logprobs.append(logprob)
            return tokens

        tokens = mine.sample(model, torch.tensor(prompts), n, choose, steps)  # (n, steps)
        return tokens, torch.stack(logprobs, dim=1)

    return [(rollout, "_decode", decode)]


def memory(mine: ModuleType) -> Places:
    """The arm `dopr` with your formulas, without its entropy gate."""

    class Yours(selectors.OneShotSelector):
        def volatility(self, candidates):  # noqa: ANN001, ANN202 (as in the class above it)
            return mine.volatility(self.variance[candidates])

        def exploration(self, candidates):  # noqa: ANN001, ANN202
            visits = self.visits[candidates]  # (M,)
            first = self.tour * (visits == 0)  # candidates never tried go first
            return first + mine.bonus(visits, self.t, self.bonus)

        def update(self, i, rewards, entropy=None):  # noqa: ANN001, ANN202
            before = self.mean[i], self.variance[i]
            super().update(i, rewards, entropy)  # counts the visit
            self.mean[i], self.variance[i] = mine.remember(*before, rewards, self.ema)

    return [(selectors.SELECTORS, "dopr", Yours)]


def selector(mine: ModuleType) -> Places:
    return [(selectors.SELECTORS, name, getattr(mine, kind)) for name, kind in OWN_ARMS.items()]


READY = dict(enumerate((advantage, surrogate, weights, cached, memory, selector), start=1))


def put(where: object, name: str, what: object) -> None:
    """Put a function or class into a module, or into a table of them."""
    if isinstance(where, dict):
        where[name] = what
    else:
        setattr(where, name, what)


HANDED_ON = """all other options are handed on to train.py, above all these:
  --config FILE    the configuration, here small.json (needed)
  --set KEY=VALUE  change one of its keys; may be given again
  --out FOLDER     the run's folder, a new one for each run
  --resume         go on with the run in that folder, with the same words as before

python train.py --help lists all of them, and all keys."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train with one exercise; return what `train.py` returns."""
    parser = Parser(
        prog="train_with.py", allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [--answers FOLDER] NUMBER --config FILE [option of train.py ...]",
        description="Train with your solved exercise in the place of the trainer's function.",
        epilog=HANDED_ON,
    )  # fmt: skip
    parser.add_argument("number", type=int, choices=READY, metavar="NUMBER",
                        help="which exercise, 1 to 6")  # fmt: skip
    parser.add_argument("--answers", type=Path, metavar="FOLDER", help="where your file is")
    arguments, rest = parser.parse_known_args(argv)
    path = answer_of(arguments.number, arguments.answers)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    for place in READY[arguments.number](read_answer(path)):
        put(*place)
    try:
        return train.main(rest)
    except NotImplementedError as error:
        raise UserError(f"{path}: not solved yet; fill it in, and name another --out") from error


if __name__ == "__main__":
    sys.exit(main())
