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


def read_run(folder: Path) -> tuple[list[dict], dict]:
    """The steps of `metrics.jsonl` and the summary of a run; ValueError says what is unreadable."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: not the folder of a finished run ({error})") from error
    return steps, summary


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
    plt, folder = pyplot(), Path(folder)
    steps, summary = read_run(folder)
    evaluated = [step for step in steps if "accuracy" in step]
    rollouts = [step["rollouts"] for step in steps]

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5.6), layout="constrained")
    above.plot(
        [0, *(step["rollouts"] for step in evaluated)],
        [summary["accuracy_before"], *(step["accuracy"] for step in evaluated)],
        color=COLOURS[0], marker="o", markersize=4,
    )  # fmt: skip
    above.set(ylabel="held-out greedy accuracy", ylim=(-0.02, 1.02), xlim=(0, rollouts[-1]))
    above.grid(alpha=0.3)
    before, after = summary["accuracy_before"], summary["accuracy_after"]
    above.set_title(f"{before:.1%} before, {after:.1%} after {rollouts[-1]:,} rollouts", loc="left")

    kinds = [step["kind"] for step in steps]
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
