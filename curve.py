"""The picture of a run: how accuracy rose with rollouts, and what the selector chose meanwhile.

What it teaches: the selector's curriculum.  No one tells it which kind of problem teaches; the
lower panel shows how far it finds out.

Where it stands: after the last step.  `train.py` draws `curve.png` at the end of a run; for any
run's folder, `python curve.py runs/small` draws it again.

Try changing first: `WINDOW`, how many groups each share is counted over.
"""

import json
import sys
from pathlib import Path

import numpy as np

WINDOW = 15  # groups to either side
# Told apart by colour-blind readers.
COLOURS = ("#0072b2", "#e69f00", "#b8b8b8", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def read_run(folder: Path) -> tuple[list[int], list[list[str]], list[tuple[int, float]]]:
    """A run's rollouts after each step, the kinds chosen in it, and (rollouts, accuracy) pairs.

    ValueError says what cannot be read.
    """
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        rollouts = [int(step["rollouts"]) for step in steps]
        kinds = [[str(kind) for kind in step["kind"]] for step in steps]
        evaluated = [step for step in steps if "accuracy" in step]
        accuracy = [(0, float(summary["accuracy_before"]))]
        accuracy += [(step["rollouts"], float(step["accuracy"])) for step in evaluated]
        if not steps:
            raise ValueError("metrics.jsonl is empty")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: not the folder of a finished run ({error!r})") from error
    return rollouts, kinds, accuracy


def shares(kinds: list[list[str]], names: list[str]) -> np.ndarray:
    """Share of each kind among the groups around each step, (steps,) lists -> (names, steps)."""
    counts = np.array([[step.count(name) for step in kinds] for name in names], dtype=float)
    around = np.ones(2 * WINDOW + 1)
    summed = np.array([np.convolve(row, around)[WINDOW : WINDOW + len(row)] for row in counts])
    return summed / summed.sum(axis=0)


def pyplot():
    """matplotlib's, drawing into files; the ImportError of a missing one says what to do."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def draw(folder: str | Path) -> Path:
    """Write `curve.png` into a run's folder and return its path; ImportError without matplotlib."""
    folder = Path(folder)
    rollouts, kinds, accuracy = read_run(folder)
    plt = pyplot()
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5.6), layout="constrained")
    above.plot(*zip(*accuracy, strict=True), color=COLOURS[0], marker="o", markersize=4)
    above.set(ylabel="held-out greedy accuracy", ylim=(-0.02, 1.02), xlim=(0, rollouts[-1]))
    above.grid(alpha=0.3)
    before, after = accuracy[0][1], accuracy[-1][1]
    above.set_title(f"{before:.1%} before, {after:.1%} after {rollouts[-1]:,} rollouts", loc="left")

    names = sorted({name for step in kinds for name in step})
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    labels = [name or "(no kind given)" for name in names]
    shown = shares(kinds, names)
    from_zero = np.concatenate([shown[:, :1], shown], axis=1)  # (names, 1 + steps)
    below.stackplot([0, *rollouts], from_zero, labels=labels, colors=colours)
    below.set(xlabel="training rollouts", ylim=(0, 1))
    below.set_ylabel(f"kind of problem chosen\n(share of {2 * WINDOW + 1} groups around)")
    below.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
    figure.savefig(folder / "curve.png", dpi=150)
    plt.close(figure)
    return folder / "curve.png"


def main(argv=None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python curve.py RUN_FOLDER    draws RUN_FOLDER/curve.png")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        print(draw(arguments[0]))
    except (ImportError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
