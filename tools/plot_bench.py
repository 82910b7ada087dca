"""Draw what `bench.py` measured: speed beside transformers, and how the time grows.

    python tools/plot_bench.py tools/results/bench.json tools/results/bench-growth.json bench.png

It takes the numbers of `bench.py --out`, those of `bench.py --growth --out`, and the figure to
write.

How to read the figure: on the left one group of bars per size, with the milliseconds per token of
the whole sampling, on a logarithmic axis; the number above is how many times as long transformers
takes.  In the middle and on the right, our own time per token against length and rows, from zero
on, so that a flat line is a time that does not grow.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import project  # noqa: F401 (puts the project on the path)

from plumbing.command import Parser, UserError, command, file_to_write
from plumbing.figure import pyplot

OURS, THEIRS, FLOOR = "#4269d0", "#efb118", "#9c9c9c"


def read(path: Path, kind: type) -> dict:
    """Return what `bench.py` wrote, with a list of sizes per model, or (--growth) an object."""
    try:
        found = json.loads(path.read_text())
        right = found["models"] and all(isinstance(m, kind) for m in found["models"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not written by bench.py ({error})") from error
    if not right:
        raise UserError(
            f"{path}: give the JSON of bench.py first, that of bench.py --growth second"
        )
    return found


def beside(ax, found: dict) -> None:
    """Draw the milliseconds per token of transformers, of ours, and of the floor."""
    names, ticks = [], []
    for model, rows in found["models"].items():
        for row in rows:
            at = len(names)
            names.append(f"{model}\nG={row['G']}\nprompt {row['prompt']}")
            seconds = {way: statistics.median(all_) for way, all_ in row["sampling"].items()}
            theirs = min(seconds["dynamic"], seconds["static"])
            bars = [(theirs, THEIRS), (seconds["ours"], OURS), (row["floor"], FLOOR)]
            for k, (value, colour) in enumerate(bars):
                ax.bar(at + 0.27 * (k - 1), 1e3 * value / row["new"], 0.25, color=colour)
            higher = 1e3 * max(theirs, seconds["ours"]) / row["new"]
            ax.text(at, 1.1 * higher, f"{theirs / seconds['ours']:.1f}x", ha="center", fontsize=8)
            ticks.append(at)
    ax.set_xticks(ticks, names, fontsize=7)
    ax.set_yscale("log")
    ax.margins(y=0.15)
    ax.set_ylabel("ms per token (all rows)")
    for colour, label in ((THEIRS, "transformers"), (OURS, "ours"), (FLOOR, "floor")):
        ax.bar(0, 0, color=colour, label=label)
    ax.legend(frameon=False, fontsize=8)
    ax.set_title("Sampling, beside transformers", fontsize=10)


def grown(ax, found: dict, what: str, label: str, title: str) -> None:
    """Draw the milliseconds per token against "length" or "rows"."""
    for (model, measured), colour in zip(found["models"].items(), (OURS, THEIRS), strict=False):
        steps = {int(x): 1e3 * s / (int(x) if what == "length" else 32)
                 for x, s in measured[what].items()}  # fmt: skip
        ax.plot(list(steps), list(steps.values()), "o-", color=colour, label=model)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(steps), [str(x) for x in steps])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(label)
    ax.set_ylabel("ms per token (all rows)")
    ax.legend(frameon=False, fontsize=8)
    ax.set_title(title, fontsize=10)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the figure."""
    parser = Parser(prog="plot_bench.py", description=__doc__.split("\n")[0])
    parser.add_argument("bench", type=Path, help="the JSON of bench.py")
    parser.add_argument("growth", type=Path, help="the JSON of bench.py --growth")
    parser.add_argument("out", type=file_to_write, help="the PNG to write")
    args = parser.parse_args(argv)
    plt = pyplot()
    bench, growth = read(args.bench, list), read(args.growth, dict)
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), width_ratios=[2, 1, 1], layout="constrained")
    beside(axes[0], bench)
    grown(axes[1], growth, "length", "response tokens, 4 rows", "Longer responses")
    grown(axes[2], growth, "rows", "rows, 32 response tokens", "More rows")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{bench['machine']['name']}, threads: {bench['threads']}", fontsize=9)
    figure.savefig(args.out, dpi=130)
    print(args.out)


if __name__ == "__main__":
    sys.exit(main())
