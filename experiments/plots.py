"""Draw the runs of `compare.py` (accuracy, costs, choices) or of `few_instances.py`.

    python experiments/plots.py experiments/results/compare-small.jsonl
    python experiments/plots.py experiments/results/few-small.jsonl --out docs

It takes a file of records, draws into `docs/` or another folder, and prints what it has drawn.

How to read the figures.  NAME.png of a comparison has accuracy against rollouts on the left, for
four arms only, so that the curves stay apart, and the rollouts to the task's level on the right,
for every arm that was run.  In the upper row all arms have the same learning rate, in the lower row
each has its own best one (once there are runs on the tuning seeds).  choices-NAME.png shows what
kind of problem each arm picked in the course of training.  The figure of `few_instances.py` has the
accuracy after training, and its ceiling without transfer, against the size of the pool.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import compare
import few_instances
import numpy as np
from project import ROOT
from runs import (
    ACCURACY,
    ARMS,
    EQUAL_RATE,
    MAIN,
    ROLLOUTS,
    TASKS,
    best_rates,
    budget_of,
    cost_to,
    of_table,
    read,
)

from plumbing.command import Parser, UserError, command
from plumbing.figure import label, pyplot, save

COLOURS = {
    "dopr": "#0072b2", "dopr, gate by answers": "#8ab5d6", "dopr, no gate": "#003f66",
    "informative": "#009e73", "full_batch": "#d55e00",
    "random_one": "#e69f00", "thompson": "#cc79a7", "volatility_only": "#56b4e9",
    "ucb_only": "#b8b8b8", "fixed_one": "#555555",
    "mopps": "#882255", "greso": "#ddcc77", "xrpo": "#332288",
}  # fmt: skip
CHOOSERS = ("random_one", "thompson", "dopr", "informative")  # whose choices are drawn


def draw_comparison(plt, records: list[dict], file: Path, folder: Path) -> list[Path]:
    """Draw both figures of a comparison and return their paths; `file` holds the records."""
    arms = [arm for arm in ARMS if of_table(records, arm, EQUAL_RATE)]
    if not arms:
        raise UserError(f"{file}: no runs at {EQUAL_RATE:g} on the seeds of the tables, 0 to 4")
    task = records[0]["task"]
    parts = {f"All at learning rate {EQUAL_RATE:g}": dict.fromkeys(arms, EQUAL_RATE)}
    best = best_rates(records)
    if best := {arm: rate for arm, rate in best.items() if of_table(records, arm, rate)}:
        parts["Each at its best rate, picked on other seeds"] = best
    figure, axes = plt.subplots(
        len(parts), 2, figsize=(13, 4.5 * len(parts)), layout="constrained", squeeze=False
    )
    for row, (title, rates) in zip(axes, parts.items(), strict=True):
        curves(row[0], records, {arm: rate for arm, rate in rates.items() if arm in MAIN}, task)
        costs(row[1], records, rates, task)
        row[0].set_title(title, loc="left")
        row[0].legend(fontsize=8, frameon=False, loc="lower right")
    overview = folder / f"{file.stem}.png"
    save(figure, overview, dpi=120)

    shown = [arm for arm in arms if arm in CHOOSERS] or arms
    figure, axes = plt.subplots(len(shown), 1, figsize=(9, 1.5 * len(shown) + 0.5), sharex=True,
                                layout="constrained", squeeze=False)  # fmt: skip
    choices(axes[:, 0], records, shown, task)
    chosen = folder / f"choices-{file.stem.removeprefix('compare-')}.png"
    return [overview, save(figure, chosen, dpi=120)]


def curves(ax, records: list[dict], rates: dict[str, float], task: str) -> None:
    """Draw the mean accuracy over the seeds, and the range from the lowest to the highest."""
    for arm, rate in rates.items():
        runs = [[(point[ROLLOUTS], point[ACCURACY]) for point in r["curve"]]
                for r in of_table(records, arm, rate)]  # fmt: skip
        at = np.arange(0, max(run[-1][0] for run in runs) + 1, TASKS[task].every)
        # np.interp lets a run that ended early stay where it was
        rows = np.array([np.interp(at, *zip(*run, strict=True)) for run in runs])  # (seeds, at)
        ax.plot(at, rows.mean(axis=0), color=COLOURS[arm], label=f"{arm} ({rate:g})")
        ax.fill_between(at, rows.min(axis=0), rows.max(axis=0), color=COLOURS[arm], alpha=0.12)
    ax.set(xlabel="training rollouts", ylabel="held-out accuracy, mean and range of the seeds")
    ax.set_ylim(-0.02, 1.02)
    ax.grid(alpha=0.3)


def costs(ax, records: list[dict], rates: dict[str, float], task: str) -> None:
    """Draw one point per run at its rollouts to the level; hollow, at the budget, if never."""
    level = TASKS[task].level
    arms = [arm for arm in rates if of_table(records, arm, rates[arm])][::-1]
    for at, arm in enumerate(arms):
        for record in of_table(records, arm, rates[arm]):
            cost = cost_to(record, level)
            ax.plot(
                min(cost, budget_of(task, arm)), at, "o", color=COLOURS[arm], alpha=0.8,
                fillstyle="full" if np.isfinite(cost) else "none",
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
    """Draw the share of each kind of problem among an arm's groups, over all seeds together."""
    every = TASKS[task].every
    kinds = sorted({kind for r in records for picked in r["picked"] for kind in picked})
    for ax, arm in zip(axes, arms, strict=True):
        mine = of_table(records, arm, EQUAL_RATE)
        length = max(len(r["picked"]) for r in mine)
        counts = np.zeros((len(kinds), length))
        for record in mine:
            for at, picked in enumerate(record["picked"]):
                for kind, n in picked.items():
                    counts[kinds.index(kind), at] += n
        share = counts / counts.sum(axis=0).clip(1)
        image = ax.imshow(
            np.where(counts.sum(axis=0) > 0, share, np.nan), aspect="auto", vmin=0, vmax=1,
            cmap="Blues", interpolation="nearest",
            extent=(0, length * every, len(kinds) - 0.5, -0.5),
        )  # fmt: skip
        ax.set_yticks(range(len(kinds)), [label(kind) for kind in kinds])
        ax.set_title(arm, loc="left", fontsize=9)
        ax.set_facecolor("lightgrey")
    longest = max(len(r["picked"]) for arm in arms for r in of_table(records, arm, EQUAL_RATE))
    axes[-1].set_xlim(0, longest * every)
    axes[-1].set_xlabel("training rollouts (grey: every run has ended)")
    axes[0].figure.colorbar(image, ax=axes, label="share of the groups")


def draw_few(plt, records: list[dict], file: Path, folder: Path) -> list[Path]:
    """Draw accuracy and its ceiling without transfer against the size of the pool."""
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    sizes = sorted({r["N"] for r in records})
    for name, colour, marker, value in (
        ("ceiling without transfer", "#d55e00", "_", lambda r: r["ceiling"]),
        ("held-out accuracy after", "#0072b2", "o", lambda r: r["curve"][-1][1]),
    ):
        axis.plot([r["N"] for r in records], list(map(value, records)), marker, color=colour)
        means = [np.mean([value(r) for r in records if r["N"] == n]) for n in sizes]
        axis.plot(sizes, means, color=colour, label=f"{name}, with the mean")
    axis.axhline(records[0]["before"], color="grey", linestyle=":", label="accuracy before")
    axis.set(xlabel="learnable problems in the pool", ylim=(-0.02, 1.05), xscale="log")
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return [save(figure, folder / f"{file.stem}.png", dpi=120)]


def run_of(record: dict) -> tuple:
    """Return which run of either experiment a record is of."""
    return (few_instances if "N" in record else compare).run_of(record)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the figures of one file of records."""
    parser = Parser(prog="plots.py", description=__doc__.split("\n")[0])
    parser.add_argument("records", type=Path, help="the JSONL of compare.py or few_instances.py")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="FOLDER",
                        help="where the figures go [docs]")  # fmt: skip
    args = parser.parse_args(argv)
    plt = pyplot()
    records = list(read(args.records, run_of).values())
    if not records:
        raise UserError(f"{args.records}: no finished runs; run experiments/compare.py first")
    few = {"N" in record for record in records}
    if len(few) > 1:
        raise UserError(f"{args.records}: holds runs of two experiments; keep them apart")
    args.out.mkdir(parents=True, exist_ok=True)
    draw = draw_few if few == {True} else draw_comparison
    print(*draw(plt, records, args.records, args.out))


if __name__ == "__main__":
    sys.exit(main())
