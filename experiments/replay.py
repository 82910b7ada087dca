"""Selectors replayed on the history of a real training run: how many of their picks teach?

    python experiments/replay.py acc_history_dev.json [--seeds 5] [--out FILE]       20 seconds

It takes a JSON file that maps each problem to its accuracies over 8 rollouts, one per visit, in
order, while Qwen2.5-Math-1.5B was trained (1-shot RLVR, arXiv 2504.20571).  At step t of T a
problem succeeds with the five-visit moving average of its accuracies at the same fraction of that
training, and a pick draws the group's rewards from Binomial(8, p).  What is picked does not change
what comes later: this measures prediction alone, and not which selector trains best.

How to read it: one row per arm, with the share of picks whose group was informative, first the mean
and then each seed.  A random pick is the floor.  The oracle, which knows every p, is the ceiling.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import project  # noqa: F401 (puts the project on the path)
from tqdm import tqdm

from plumbing.command import Parser, UserError, command, file_to_write, whole_number
from plumbing.config import selectors

POOL, CANDIDATES, STEPS, G, WINDOW = 128, 16, 2000, 8, 5


class LearnedOrNot(selectors.Informative):
    """No interest in what is left: nearly learned problems count like any others that vary."""

    TRIES = 1000  # one failure in a thousand more tries is as good as certain


class OneTry(selectors.Informative):
    """More interest in what is left: a problem that is learned by half counts by half."""

    TRIES = 1


class FlatPrior(selectors.Informative):
    """All pass rates are as likely, before the first group."""

    PRIOR = 1.0


PLAIN = (
    "random_one", "ucb_only", "volatility_only", "thompson", "mopps", "greso", "xrpo", "dopr",
    "informative",
)  # fmt: skip
ARMS = {
    **{name: (selectors.SELECTORS[name], {}) for name in PLAIN},
    "mopps, ema = 0.9": (selectors.Mopps, {"ema": 0.9}),
    "xrpo, ema = 0.9": (selectors.Xrpo, {"ema": 0.9}),
    "dopr, ema = 0.9": (selectors.OneShotSelector, {"ema": 0.9}),
    "informative, ema = 0.9": (selectors.Informative, {"ema": 0.9}),
    "informative, flat prior": (FlatPrior, {}),
    "informative, 1 try": (OneTry, {}),
    "informative, no tries": (LearnedOrNot, {}),
    "informative, c = 0": (selectors.Informative, {"bonus": 0.0}),
    "informative, c = 0.2": (selectors.Informative, {"bonus": 0.2}),
    "informative, ema = 0.1": (selectors.Informative, {"ema": 0.1}),
    "informative, ema = 0.6": (selectors.Informative, {"ema": 0.6}),
    "oracle": (None, {}),
}


def replay(history: list[np.ndarray], kind: type | None, settings: dict, seed: int) -> float:
    """Return the share of informative groups among a selector's picks; without one, an oracle's."""
    rng = np.random.default_rng(seed)
    pool = [history[i] for i in rng.choice(len(history), POOL, replace=False)]
    selector = kind(POOL, entropy="none", seed=seed, **settings) if kind else None
    informative = 0
    for t in range(STEPS):
        candidates = rng.choice(POOL, CANDIDATES, replace=False)  # (M,)
        rates = np.array([pool[i][int(t / STEPS * len(pool[i]))] for i in candidates])  # p, (M,)
        if selector:
            (i,) = selector.choose(candidates)
        else:
            i = candidates[(1 - rates**G - (1 - rates) ** G).argmax()]
        hits = rng.binomial(G, rates[list(candidates).index(i)])
        informative += 0 < hits < G
        if selector:
            selector.update(i, [1.0] * hits + [0.0] * (G - hits))
    return informative / STEPS


def read_history(path: Path) -> list[np.ndarray]:
    """Return the moving averages of the accuracies of every problem with enough visits."""
    try:
        accuracies = list(json.loads(path.read_text()).values())
        visits = [np.array(v, dtype=float) for v in accuracies if len(v) >= WINDOW]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no object of problems and lists of accuracies ({error})"
        ) from error
    if len(visits) < POOL or not all(((v >= 0) & (v <= 1)).all() for v in visits):
        raise UserError(f"{path}: needs {POOL} problems with {WINDOW} accuracies from 0 to 1 each")
    return [np.convolve(v, np.ones(WINDOW) / WINDOW, mode="valid") for v in visits]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Replay every arm, and print how many of its picks were informative."""
    parser = Parser(prog="replay.py", description=__doc__.split("\n")[0])
    parser.add_argument("history", type=Path, help="acc_history_dev.json")
    parser.add_argument("--seeds", type=whole_number(1), default=5, help="how many [5]")
    parser.add_argument("--out", type=file_to_write, metavar="FILE",
                        help="write the numbers to this JSON file")  # fmt: skip
    args = parser.parse_args(argv)
    history = read_history(args.history)
    print(
        f"{len(history)} problems; N={POOL}, M={CANDIDATES}, G={G}, T={STEPS}, {args.seeds} seeds"
    )
    rows = {}
    for name, (kind, settings) in tqdm(ARMS.items(), desc="arms", leave=False):
        rows[name] = [replay(history, kind, settings, seed) for seed in range(args.seeds)]
        shares = " ".join(f"{share:.3f}" for share in rows[name])
        tqdm.write(f"{name:27} {np.mean(rows[name]):.3f}   {shares}")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
