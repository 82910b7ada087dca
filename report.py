"""What a run did: its summary in words, a picture of what the selector chose, and a page of it all.

What it teaches: the selector's curriculum.  Nobody tells it which kind of problem teaches; the
lower panel of the picture shows how far it finds out, and when.  The page, `report.html`, shows
every step: the scores that led to its choice, and the responses, with what became of each token.

Where it stands: after the last step.  `train.py` calls `show` at the end of a run, and
`python report.py runs/small` does so again and writes the page; several runs can be named.  With
`train.py --report` the page is there while the run trains.

Try changing first: `WINDOW`.  At 3 the lower panel shows bursts of visits, at 40 only the trend.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from grpo import group_advantages
from plumbing import disk, page
from plumbing.command import Parser, UserError, command, file_to_write
from plumbing.figure import COLOURS, label, pyplot, save
from plumbing.json_files import read_json
from plumbing.record import METRICS, read_steps

WINDOW = 15  # groups to either side
KINDS = 12  # areas of the picture at most
PAGE = "report.html"


def show(run: str | Path) -> None:
    """Print in a few lines what a run learned and what it cost, and draw its figure."""
    run = Path(run)
    summary = read_summary(run)
    try:
        print("\n".join(summary_lines(summary)))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{run}: not the folder of a finished run ({error!r})") from error
    print(f"trained model      {run / 'model'}")
    try:
        pyplot()
    except UserError as error:
        print(f"figure             none: {error}, then python report.py {run}")
    else:
        print(f"figure             {draw(run)}")


def summary_lines(s: dict) -> list[str]:
    """Return what a run's summary says, one thing per line."""
    kinds = ", ".join(
        f"{kind or 'other'} {s['accuracy_by_kind_before'][kind]:.1%} -> {after:.1%}"
        for kind, after in s["accuracy_by_kind_after"].items()
    )
    groups, seconds = s["rollouts"] // s["group_size"], s["seconds"]
    lines = [
        f"held-out accuracy  {s['accuracy_before']:.1%} -> {s['accuracy_after']:.1%}  ({kinds})",
        f"rollouts           {s['rollouts']:,} ({s['tokens']:,} tokens) in {s['steps']:,} steps",
        f"informative        {s['informative_groups']:,} of {groups:,} groups",
        f"seconds            {seconds['rollout']:.1f} rollout, {seconds['update']:.1f} update, "
        f"{seconds['evaluate']:.1f} evaluation, {seconds['total']:.1f} in all",
    ]
    for kind, e in s.get("examples", {}).items():
        text = shortened(e["text"])
        graded = f", reward {e['reward']:g}" if e.get("reward", 0) not in (0, 1) else ""
        lines.append(f"{kind:18} {e['problem']!r}: {text!r}, answer {e['answer']!r}{graded}")
    return lines + [f"warning            {warning}" for warning in s.get("warnings", [])]


def shortened(text: str, most: int = 160) -> str:
    """Return a text, or its beginning and its end around dots where it is long."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def read_summary(run: Path) -> dict:
    """Return a finished run's `summary.json`; `UserError` where there is none."""
    try:
        return read_json(run / "summary.json")
    except UserError as error:
        raise UserError(f"{run}: not the folder of a finished run ({error})") from error


def draw(run: Path) -> Path:
    """Draw `curve.png` into a run's folder and return its path; `UserError` without matplotlib."""
    plt, steps, before = pyplot(), read_steps(run), read_summary(run)["accuracy_before"]
    rollouts = [step["rollouts"] for step in steps]
    accuracy = [(0, before)]
    accuracy += [(step["rollouts"], step["accuracy"]) for step in steps if "accuracy" in step]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5.6), layout="constrained")
    above.plot(*zip(*accuracy, strict=True), color=COLOURS[0], marker="o", markersize=4)
    above.set(ylabel="held-out greedy accuracy", ylim=(-0.02, 1.02), xlim=(0, rollouts[-1]))
    above.grid(alpha=0.3)
    after = accuracy[-1][1]
    above.set_title(f"{before:.1%} before, {after:.1%} after {rollouts[-1]:,} rollouts", loc="left")

    kinds, names = few_kinds([step["kind"] for step in steps])
    shown = shares(kinds, names)
    from_zero = np.concatenate([shown[:, :1], shown], axis=1)  # (names, 1 + steps)
    labels = [label(name or "(no kind given)") for name in names]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    below.stackplot([0, *rollouts], from_zero, labels=labels, colors=colours)
    below.set(xlabel="training rollouts", ylim=(0, 1))
    below.set_ylabel(f"kind of problem chosen\n(share of {2 * WINDOW + 1} groups around)")
    below.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
    return save(figure, run / "curve.png", dpi=150)


def few_kinds(kinds: list[list[str]]) -> tuple[list[list[str]], list[str]]:
    """Return the kinds of every step and their names, the rarest together once they are many."""
    names = [name for name, _ in Counter(chain(*kinds)).most_common()]
    if len(names) > KINDS:
        kept = set(names[: KINDS - 1])
        rest = f"{len(names) - len(kept)} other kinds"
        kinds = [[name if name in kept else rest for name in step] for step in kinds]
        names = [*kept, rest]
    return kinds, sorted(names)


def shares(kinds: list[list[str]], names: list[str]) -> np.ndarray:
    """Return the share of each kind among the groups around each step, (names, steps)."""
    counts = np.array([[step.count(name) for step in kinds] for name in names], dtype=float)
    around = np.ones(2 * WINDOW + 1)
    summed = np.array([np.convolve(row, around)[WINDOW : WINDOW + len(row)] for row in counts])
    return summed / summed.sum(axis=0)


def write_page(runs: Sequence[Path], path: Path | None = None) -> Path:
    """Write what some runs did as one page for a browser, and return its path.

    Without a path it is `report.html`, in the folder of the run, or of several in the current one.
    """
    path = path or (runs[0] if len(runs) == 1 else Path()) / PAGE
    told = [page.read_run(run, group_advantages) for run in runs]
    disk.write_text(path, page.render(told, WINDOW))
    return path


def show_page(runs: Sequence[Path], path: Path | None = None) -> None:
    """Write the page and say where it is."""
    print(f"page               {write_page(runs, path)}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Show what one run or several did."""
    parser = Parser(
        prog="report.py",
        description="Print what runs did, draw curve.png in each, and write one page for a "
        "browser, report.html: accuracy, what was picked when, and every group with its "
        "responses.  A run that is still at work has the page alone.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--page", type=file_to_write, metavar="FILE",
                        help="the page to write [RUN/report.html; of several runs "
                        "report.html]")  # fmt: skip
    arguments = parser.parse_args(argv)
    for run in arguments.runs:
        print(f"{run}")
        if (run / METRICS).exists() and not (run / "summary.json").exists():
            print("still at work, or stopped: only the page is written")
        else:
            show(run)
    show_page(arguments.runs, arguments.page)


if __name__ == "__main__":
    sys.exit(main())
