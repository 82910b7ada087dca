"""Draw what `bench.py` measured: speed beside transformers, and how the time grows.

python experiments/plot_bench.py BENCH.json GROWTH.json bench.png
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import file_to_write, stop

from curve import pyplot

OURS, THEIRS, FLOOR = "#4269d0", "#efb118", "#9c9c9c"


def read(path: Path, kind: type) -> dict:
    """What `bench.py` wrote; of each model a list of sizes or, with --growth, an object."""
    try:
        found = json.loads(path.read_text())
        if found["models"] and all(isinstance(m, kind) for m in found["models"].values()):
            return found
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        stop(f"{path}: not written by bench.py ({error})")
    stop(f"{path}: give the JSON of bench.py first, that of bench.py --growth second")


def beside(ax, found: dict) -> None:
    """Milliseconds a token, the whole sampling over its tokens: transformers, ours, the floor."""
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
    ax.set_ylabel("ms a token (all rows)")
    for colour, label in ((THEIRS, "transformers"), (OURS, "ours"), (FLOOR, "floor")):
        ax.bar(0, 0, color=colour, label=label)
    ax.legend(frameon=False, fontsize=8)
    ax.set_title("Sampling, beside transformers", fontsize=10)


def grown(ax, found: dict, what: str, label: str, title: str) -> None:
    """Milliseconds a step against length or rows, from zero: flat is flat."""
    for (model, measured), colour in zip(found["models"].items(), (OURS, THEIRS), strict=False):
        steps = {int(x): 1e3 * s / (int(x) if what == "length" else 32)
                 for x, s in measured[what].items()}  # fmt: skip
        ax.plot(list(steps), list(steps.values()), "o-", color=colour, label=model)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(steps), [str(x) for x in steps])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(label)
    ax.set_ylabel("ms a token (all rows)")
    ax.legend(frameon=False, fontsize=8)
    ax.set_title(title, fontsize=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bench", type=Path, help="JSON of bench.py")
    parser.add_argument("growth", type=Path, help="JSON of bench.py --growth")
    parser.add_argument("out", type=file_to_write, help="the PNG to write")
    args = parser.parse_args()
    try:
        plt = pyplot()
    except ImportError as error:
        stop(str(error))
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
    main()
