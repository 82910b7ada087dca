"""Draw keys of metrics.jsonl over the rollouts, for one run or for several beside each other.

    python tools/plot_metrics.py runs/small --out small.png
    python tools/plot_metrics.py runs/small runs/fast --keys entropy kl grad_norm --out both.png

How to read the figure: one panel per key and one colour per run; each dot is a step, and the line a
mean of the fifteen steps around it.  What every number means is in docs/reading-a-run.md.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import project  # noqa: F401 (puts the project on the path)

from plumbing.command import Parser, UserError, command, file_to_write
from plumbing.figure import COLOURS, label, pyplot, save
from plumbing.record import is_finite_number, read_steps

WINDOW = 7  # steps to either side
KEYS = ["loss", "entropy", "kl", "grad_norm", "mean_length", "accuracy"]


def series(steps: list[dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rollouts and values of the steps that have a key as a number, (n,) each."""
    points = [(s["rollouts"], s[key]) for s in steps if is_finite_number(s.get(key))]
    return tuple(np.array(points, dtype=float).reshape(-1, 2).T)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the mean of the values around each, fewer of them at the ends, (n,)."""
    around = [values[max(0, i - WINDOW) : i + WINDOW + 1] for i in range(len(values))]
    return np.array([each.mean() for each in around])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the figure."""
    parser = Parser(prog="plot_metrics.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--keys", nargs="+", default=KEYS, help=f"[{' '.join(KEYS)}]")
    parser.add_argument("--out", type=file_to_write, required=True, help="the PNG to write")
    args = parser.parse_args(argv)
    plt, steps = pyplot(), {run: read_steps(run) for run in args.runs}
    columns = min(3, len(args.keys))
    rows = -(-len(args.keys) // columns)
    size = (2.8 * columns, 2.0 * rows + 0.3)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for key, axes in zip(args.keys, panels.flat, strict=False):
        drawn = [series(steps[run], key) for run in args.runs]
        if not any(len(values) for _, values in drawn):
            raise UserError(f"--keys: {key!r} is no number in any of these runs")
        for n, (rollouts, values) in enumerate(drawn):
            colour, few = COLOURS[n % len(COLOURS)], key == "accuracy"
            axes.plot(rollouts, values, ".", color=colour, markersize=4 if few else 2, alpha=0.5)
            axes.plot(rollouts, values if few else smoothed(values), color=colour, linewidth=1.5)
        axes.set_title(key, loc="left", fontsize=10)
        axes.set_xlabel("rollouts", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(args.keys) :]:
        axes.set_visible(False)
    if len(args.runs) > 1:
        lines = [plt.Line2D([], [], color=COLOURS[n % len(COLOURS)]) for n in range(len(args.runs))]
        names = [label(str(run)) for run in args.runs]
        figure.legend(lines, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    print(save(figure, args.out, dpi=85))


if __name__ == "__main__":
    sys.exit(main())
