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

from config import selectors

POOL, CANDIDATES, STEPS, G, WINDOW = 128, 16, 2000, 8, 5
ARMS = {
    "random_one": {}, "ucb_only": {}, "volatility_only": {}, "thompson": {}, "dopr": {},
    "dopr, c = 0.2": {"bonus": 0.2}, "informative": {}, "informative, c = 0": {"bonus": 0.0},
    "informative, c = 0.2": {"bonus": 0.2}, "informative, ema = 0.1": {"ema": 0.1},
    "informative, ema = 0.6": {"ema": 0.6},
}  # fmt: skip


def read(path: Path) -> list[np.ndarray]:
    """Moving averages of the accuracies of every problem with a window's worth of visits."""
    visits = [np.array(v) for v in json.loads(path.read_text()).values() if len(v) >= WINDOW]
    return [np.convolve(v, np.ones(WINDOW) / WINDOW, mode="valid") for v in visits]


def replay(history: list[np.ndarray], arm: str | None, settings: dict, seed: int) -> float:
    """Share of informative groups among the picks; without an arm those of an oracle."""
    rng = np.random.default_rng(seed)
    pool = [history[i] for i in rng.choice(len(history), POOL, replace=False)]
    selector = (
        selectors.SELECTORS[arm](POOL, entropy="none", seed=seed, **settings) if arm else None
    )
    informative = 0
    for t in range(STEPS):
        candidates = rng.choice(POOL, CANDIDATES, replace=False)
        rates = np.array([pool[i][int(t / STEPS * len(pool[i]))] for i in candidates])
        chance = 1 - rates**G - (1 - rates) ** G
        i = int(selector.choose(candidates) if arm else candidates[chance.argmax()])
        hits = rng.binomial(G, rates[list(candidates).index(i)])
        informative += 0 < hits < G
        if arm:
            selector.update(i, [1.0] * hits + [0.0] * (G - hits))
    return informative / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("history", type=Path, help="acc_history_dev.json")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    history = read(args.history)
    print(
        f"{len(history)} problems; N={POOL}, M={CANDIDATES}, G={G}, T={STEPS}, {args.seeds} seeds"
    )
    rows = {}
    for name, settings in tqdm([*ARMS.items(), ("oracle", {})], desc="arms", leave=False):
        arm = None if name == "oracle" else name.split(",")[0]
        rows[name] = [replay(history, arm, settings, seed) for seed in range(args.seeds)]
        shares = " ".join(f"{share:.3f}" for share in rows[name])
        tqdm.write(f"{name:24} {np.mean(rows[name]):.3f}   {shares}")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
