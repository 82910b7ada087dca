"""Draw what `compare.py` found (accuracy against rollouts, costs, choices), and `few_instances.py`.

python experiments/plots.py experiments/results/compare-small.jsonl [--out docs]
python experiments/plots.py experiments/results/few-small.jsonl [--out docs]

Above, every arm at one learning rate; below, each at its own best (once there are runs on the
tuning seeds).  Curves are of four arms, for the eye's sake; costs are of all that were run.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import (
    ARMS,
    EQUAL_RATE,
    MAIN,
    ROOT,
    TASKS,
    best_rates,
    budget_of,
    cost_to,
    of_table,
    read,
    stop,
)

from curve import pyplot

COLOURS = {
    "dopr": "#0072b2", "dopr, gate by answers": "#8ab5d6", "dopr, no gate": "#003f66",
    "informative": "#009e73", "informative, c = 0.2": "#7fcdb5", "full_batch": "#d55e00",
    "random_one": "#e69f00", "thompson": "#cc79a7", "volatility_only": "#56b4e9",
    "ucb_only": "#b8b8b8", "fixed_one": "#555555",
}  # fmt: skip


def curves(ax, records: list[dict], rates: dict[str, float], task: str) -> None:
    """Mean accuracy of the seeds and the range between the lowest and the highest."""
    for arm, rate in rates.items():
        runs = [[(point[0], point[3]) for point in r["curve"]]
                for r in of_table(records, arm, rate)]  # fmt: skip
        at = np.arange(0, max(run[-1][0] for run in runs) + 1, TASKS[task].every)
        # a run that ended early stays where it was
        rows = np.array([np.interp(at, *zip(*run, strict=True)) for run in runs])
        ax.plot(at, rows.mean(axis=0), color=COLOURS[arm], label=f"{arm} ({rate:g})")
        ax.fill_between(at, rows.min(axis=0), rows.max(axis=0), color=COLOURS[arm], alpha=0.12)
    ax.set(xlabel="training rollouts", ylabel="held-out accuracy, mean and range of the seeds")
    ax.set_ylim(-0.02, 1.02)
    ax.grid(alpha=0.3)


def costs(ax, records: list[dict], rates: dict[str, float], task: str, level: float) -> None:
    """Rollouts to a level of accuracy, a point a seed; hollow at the budget where it never came."""
    arms = [arm for arm in rates if of_table(records, arm, rates[arm])][::-1]
    for at, arm in enumerate(arms):
        for record in of_table(records, arm, rates[arm]):
            cost = cost_to(record, level)
            reached = np.isfinite(cost)
            ax.plot(
                min(cost, budget_of(task, arm)), at, "o", color=COLOURS[arm], alpha=0.8,
                fillstyle="full" if reached else "none",
            )  # fmt: skip
    ax.set_yticks(range(len(arms)), [f"{arm} ({rates[arm]:g})" for arm in arms], fontsize=8)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    round_numbers = [m * 10**e for e in range(2, 6) for m in (1, 2, 5)]
    ticks = [tick for tick in round_numbers if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel(f"rollouts to {level:.0%} (hollow: not within the budget)")
    ax.grid(alpha=0.3, axis="x")


def choices(axes, records: list[dict], arms: list[str], task: str) -> None:
    """Which kind of problem was picked: share of the groups between evaluations, seeds together."""
    every = TASKS[task].every
    kinds = sorted({kind for r in records for bin_ in r["picked"] for kind in bin_})
    for ax, arm in zip(axes, arms, strict=True):
        mine = of_table(records, arm, EQUAL_RATE)
        length = max(len(r["picked"]) for r in mine)
        counts = np.zeros((len(kinds), length))
        for record in mine:
            for at, bin_ in enumerate(record["picked"]):
                for kind, n in bin_.items():
                    counts[kinds.index(kind), at] += n
        share = counts / counts.sum(axis=0).clip(1)
        image = ax.imshow(
            np.where(counts.sum(axis=0) > 0, share, np.nan), aspect="auto", vmin=0, vmax=1,
            cmap="Blues", interpolation="nearest",
            extent=(0, length * every, len(kinds) - 0.5, -0.5),
        )  # fmt: skip
        ax.set_yticks(range(len(kinds)), kinds)
        ax.set_title(arm, loc="left", fontsize=9)
        ax.set_facecolor("lightgrey")
    longest = max(len(r["picked"]) for arm in arms for r in of_table(records, arm, EQUAL_RATE))
    axes[-1].set_xlim(0, longest * every)
    axes[-1].set_xlabel("training rollouts (grey: every run has ended)")
    axes[0].figure.colorbar(image, ax=axes, label="share of the groups")


def few(axes, records: list[dict]) -> None:
    """Accuracy against the size of the pool, and the bound where the pool has one."""
    sizes = sorted({r["N"] for r in records})
    for n in sizes:
        mine = [r for r in records if r["N"] == n]
        axes[0].plot([n] * len(mine), [r["curve"][-1][1] for r in mine], "o", color="#0072b2")
        bounds = [r["bound"] for r in mine if r["bound"] is not None]
        axes[1].plot([n] * len(bounds), bounds, "o", color="#d55e00")
        if len(bounds) < len(mine):
            axes[1].annotate(
                f"{len(mine) - len(bounds)} of {len(mine)}\nnever", (n, 1.0), xytext=(0, -4),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="top", fontsize=7, color="#d55e00",
            )  # fmt: skip
    means = [np.mean([r["curve"][-1][1] for r in records if r["N"] == n]) for n in sizes]
    axes[0].plot(sizes, means, color="#0072b2")
    axes[0].axhline(records[0]["before"], color="grey", linestyle=":", label="before")
    axes[0].set(ylabel="held-out accuracy after", ylim=(-0.02, 1.02))
    axes[0].legend(frameon=False)
    axes[1].set(ylabel="bound: rollouts to name the lacking skill", ylim=(0, None))
    axes[1].set_ylim(0, 1.35 * axes[1].get_ylim()[1])  # room for the notes
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xlim(0.75 * sizes[0], 1.3 * sizes[-1])
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.set_xlabel("learnable problems in the pool")
        ax.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("records", type=Path, help="JSONL of compare.py or of few_instances.py")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the PNGs [docs]")
    args = parser.parse_args()
    try:
        plt = pyplot()
    except ImportError as error:
        stop(str(error))
    records = read(args.records)
    if not records:
        stop(f"{args.records}: no finished runs; run experiments/compare.py first")
    args.out.mkdir(parents=True, exist_ok=True)
    if "N" in records[0]:
        figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
        few(axes, records)
        figure.savefig(args.out / f"{args.records.stem}.png", dpi=120)
        print(args.out / f"{args.records.stem}.png")
        return
    task = records[0]["task"]
    arms = [arm for arm in ARMS if of_table(records, arm, EQUAL_RATE)]
    if not arms:
        stop(f"{args.records}: no runs at {EQUAL_RATE:g} on the seeds of the tables, 0 to 4")
    equal = dict.fromkeys(arms, EQUAL_RATE)
    parts = {f"All at learning rate {EQUAL_RATE:g}": equal}
    best = best_rates(records)
    if best := {arm: rate for arm, rate in best.items() if of_table(records, arm, rate)}:
        parts["Each at its best rate, picked on other seeds"] = best
    figure, axes = plt.subplots(
        len(parts), 2, figsize=(13, 4.5 * len(parts)), layout="constrained", squeeze=False
    )
    for row, (title, rates) in zip(axes, parts.items(), strict=True):
        few_arms = {arm: rate for arm, rate in rates.items() if arm in MAIN}
        curves(row[0], records, few_arms, task)
        costs(row[1], records, rates, task, TASKS[task].level)
        row[0].set_title(title, loc="left")
        row[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(args.out / f"{args.records.stem}.png", dpi=120)
    plt.close(figure)

    shown = [a for a in arms if a in ("random_one", "thompson", "dopr", "informative")] or arms
    figure, axes = plt.subplots(len(shown), 1, figsize=(9, 1.5 * len(shown) + 0.5), sharex=True,
                                layout="constrained", squeeze=False)  # fmt: skip
    choices(axes[:, 0], records, shown, task)
    chosen = args.out / f"choices-{args.records.stem.removeprefix('compare-')}.png"
    figure.savefig(chosen, dpi=120)
    print(args.out / f"{args.records.stem}.png", chosen)


if __name__ == "__main__":
    main()
