"""Selectors replayed on the history of a real training run: how many picks teach something?

python experiments/replay.py ../shared/data/acc_history_dev.json [--out FILE]

The file maps a problem to its accuracies over 8 rollouts at each of its visits, in order, while
Qwen2.5-Math-1.5B was trained (1-shot RLVR, arXiv 2504.20571).  At step t of T problem i succeeds
with the five-visit moving average of its accuracies at that fraction of the training; a pick draws
Binomial(8, p).  What is picked does not change what comes: this measures prediction alone.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import at_least, stop

from config import selectors

POOL, CANDIDATES, STEPS, G, WINDOW = 128, 16, 2000, 8, 5


class LearnedOrNot(selectors.Informative):
    """What is nearly learned counts like all that varies: (nearly) infinitely many tries."""

    TRIES = 1000


class OneTry(selectors.Informative):
    """What is learned by half counts by half."""

    TRIES = 1


PLAIN = ("random_one", "ucb_only", "volatility_only", "thompson", "dopr", "informative")
ARMS = {
    **{name: (selectors.SELECTORS[name], {}) for name in PLAIN},
    "informative, 1 try": (OneTry, {}),
    "informative, no tries": (LearnedOrNot, {}),
    "informative, c = 0": (selectors.Informative, {"bonus": 0.0}),
    "informative, c = 0.2": (selectors.Informative, {"bonus": 0.2}),
    "informative, ema = 0.1": (selectors.Informative, {"ema": 0.1}),
    "informative, ema = 0.6": (selectors.Informative, {"ema": 0.6}),
}


def read(path: Path) -> list[np.ndarray]:
    """Moving averages of the accuracies of every problem with a window's worth of visits."""
    try:
        accuracies = list(json.loads(path.read_text()).values())
        visits = [np.array(v, dtype=float) for v in accuracies if len(v) >= WINDOW]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        stop(f"{path}: no object of problems and lists of accuracies ({error})")
    if len(visits) < POOL or not all(((v >= 0) & (v <= 1)).all() for v in visits):
        stop(f"{path}: needs {POOL} problems with {WINDOW} accuracies from 0 to 1 each")
    return [np.convolve(v, np.ones(WINDOW) / WINDOW, mode="valid") for v in visits]


def replay(history: list[np.ndarray], kind: type | None, settings: dict, seed: int) -> float:
    """Share of informative groups among the picks; without a selector those of an oracle."""
    rng = np.random.default_rng(seed)
    pool = [history[i] for i in rng.choice(len(history), POOL, replace=False)]
    selector = kind(POOL, entropy="none", seed=seed, **settings) if kind else None
    informative = 0
    for t in range(STEPS):
        candidates = rng.choice(POOL, CANDIDATES, replace=False)
        rates = np.array([pool[i][int(t / STEPS * len(pool[i]))] for i in candidates])
        chance = 1 - rates**G - (1 - rates) ** G
        i = int(selector.choose(candidates) if kind else candidates[chance.argmax()])
        hits = rng.binomial(G, rates[list(candidates).index(i)])
        informative += 0 < hits < G
        if kind:
            selector.update(i, [1.0] * hits + [0.0] * (G - hits))
    return informative / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("history", type=Path, help="acc_history_dev.json")
    parser.add_argument("--seeds", type=at_least(1), default=5, help="how many [5]")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    history = read(args.history)
    print(
        f"{len(history)} problems; N={POOL}, M={CANDIDATES}, G={G}, T={STEPS}, {args.seeds} seeds"
    )
    rows = {}
    arms = {**ARMS, "oracle": (None, {})}
    for name, (kind, settings) in tqdm(arms.items(), desc="arms", leave=False):
        rows[name] = [replay(history, kind, settings, seed) for seed in range(args.seeds)]
        shares = " ".join(f"{share:.3f}" for share in rows[name])
        tqdm.write(f"{name:27} {np.mean(rows[name]):.3f}   {shares}")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
