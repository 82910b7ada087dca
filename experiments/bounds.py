"""How close can one come to the lower bounds of `bound.py`?  Good procedures, and real runs.

python experiments/bounds.py [--runs 1000] [--out bound.png]      # the table and its figure
python experiments/bounds.py --run runs/small [--delta 0.05]      # a training run beside the bounds

What it teaches: a lower bound is worth as much as somebody comes close to it.  Each row of the
table has a bound; the mean number of rollouts that a good procedure used, with its standard error;
their ratio; and how often the procedure was wrong, which may be as often as delta.  The procedures
are good, not optimal: an optimal one lies between the bound and them.  (For discovery the bound is
exact, so that its ratio is 1 but for chance.)

Where it stands: beside the algorithm.  In the rows named "identification", `pick` and the selector
of the training loop choose the next problem from a pool of which few problems tell anything.

Try changing first: `gap` of `skill_table`, from 0.4 to 0.2, which makes the telling problems
weaker.  For K = 2, 4 and 8 skills the bound grows fourfold, from 13, 27 and 40 rollouts to 56, 111
and 167.  So does what picking needs by information (15, 33, 52 to 58, 133, 214), by variance (15,
32, 53 to 57, 137, 212) and at random (149, 402, 710 to 586, 1624, 2892).  The DoPR selector needs
only two to four times as many (65, 155, 248 to 131, 428, 940): at 0.4 it spends three quarters of
its rollouts on problems that tell nothing, and of these it needs 1.4 to 1.6 times as many.
Then append a problem of pure chance to its rows, 0.5 under every skill.  Picking by variance takes
it for the best one and never ends; picking by information needs what it needed before; the DoPR
selector needs more (102, 202, 300).  Volatility finds what varies, and information lies in what
differs between the skills.

A training run (`--run`) stands beside the bounds for telling its last pass rate from its first.
Its rollouts over that bound are its *optimisation gap*, which is large, since learning is more than
deciding.  The gap is no score: a run that learned little has a large bound, and so a small gap.
"""

import argparse
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import project  # noqa: F401 (it puts the project's folder on the path)
from tqdm import tqdm

from bound import (
    answer,
    discovery_rollouts,
    entropy_bits,
    exact_fixed_sample_size,
    identification_bound,
    recognition_bound,
    transport_bound,
)
from plumbing.command import Parser, UserError, command, whole_number
from plumbing.config import selectors
from plumbing.figure import COLOURS, pyplot, save
from plumbing.record import read_steps

DELTAS = (0.05, 0.01)
DISCOVERIES = (0.3, 0.05, 0.01)  # pass rates
# Pass rates before and after.  Pairs as far apart as 0.1 and 0.9 would show something else: their
# bound is 1.5 rollouts, and whole rollouts that bring 2.2 of the 3 nats needed cannot meet it.
RECOGNITIONS = ((0.36, 0.736), (0.2, 0.6), (0.3, 0.5), (0.05, 0.2))
IDENTIFICATIONS = (1, 2, 3)  # bits that number the skills
PICKERS = ("most information", "highest variance", "DoPR selector", "random")


def skill_table(bits: int, solved: int = 5, impossible: int = 4, gap: float = 0.4) -> np.ndarray:
    """Return the pass rates (N, K) of a pool of N problems under K = 2**bits skills.

    For each bit of the skill's number one problem tells it, passed with probability 1/2 +- gap/2,
    and `solved + impossible` problems are passed alike under every skill: a pool like a real one.
    """
    skills = np.arange(2**bits)
    telling = [0.5 + gap * ((skills >> b & 1) - 0.5) for b in range(bits)]
    easy = [np.full(2**bits, 0.95)] * (solved * bits)
    hard = [np.full(2**bits, 0.02)] * (impossible * bits)
    return np.array(telling + easy + hard)  # (N, K)


# --------------------------------------------------------------------------- good procedures


class Simulated(NamedTuple):
    """What a procedure needed, over many runs."""

    rollouts: float
    se: float  # the standard error of `rollouts`
    error_rate: float
    unfinished: float = 0.0  # the share of runs that were stopped undecided


def simulate_discovery(p: float, delta: float, runs: int, rng: np.random.Generator) -> Simulated:
    """Roll out until the first success; return the number that is enough for 1 - delta of runs."""
    first = rng.geometric(p, size=runs)
    n = float(np.quantile(first, 1 - delta, method="inverted_cdf"))
    density = max(p * (1 - p) ** (n - 1), 1e-300)
    se = math.sqrt(delta * (1 - delta) / runs) / density
    return Simulated(n, se, float((first > n).mean()))


def simulate_recognition(
    p0: float, p1: float, delta: float, runs: int, rng: np.random.Generator
) -> Simulated:
    """Tell p1 from p0 by Wald's sequential test of thresholds -+ ln(1/delta), where p1 is true."""
    win, loss = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    threshold = math.log(1 / delta)
    evidence, n = np.zeros(runs), np.zeros(runs, dtype=np.int64)
    active = np.arange(runs)
    while len(active):
        evidence[active] += np.where(rng.random(len(active)) < p1, win, loss)
        n[active] += 1
        active = active[np.abs(evidence[active]) < threshold]
    se = float(n.std() / math.sqrt(runs))
    return Simulated(float(n.mean()), se, float((evidence < 0).mean()))


def pick(
    picker: str, success: np.ndarray, posterior: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the next problem of each run, (R,), by the posterior of the skills, (R, K)."""
    predicted = np.clip(posterior @ success.T, 0, 1)  # (R, N), the chance that it is passed
    if picker == "most information":  # bits about the skill: the best, looking one rollout ahead
        noise = posterior @ entropy_bits(success).T  # (R, N), bits that remain for a known skill
        return (entropy_bits(predicted) - noise).argmax(axis=1)
    if picker == "highest variance":
        return (predicted * (1 - predicted)).argmax(axis=1)
    if picker == "random":
        return rng.integers(len(success), size=len(posterior))
    raise ValueError(f"no such picker: {picker!r}")


def simulate_identification(
    success: np.ndarray,
    delta: float,
    picker: str,
    runs: int,
    rng: np.random.Generator,
    limit: int = 20_000,
) -> Simulated:
    """Name the skill by Bayes' rule with a uniform prior, once one skill's posterior is 1 - delta.

    The pickers differ in the next problem only.  "DoPR selector" knows neither `success` nor the
    posterior: it sees rewards, as in training.  `limit` is where undecided runs are stopped.
    """
    N, K = success.shape
    with np.errstate(divide="ignore"):
        log_pass, log_fail = np.log(success), np.log1p(-success)  # (N, K)
    truth = rng.integers(K, size=runs)
    seeds = rng.integers(2**31, size=runs) if picker == "DoPR selector" else ()
    dopr = [selectors.OneShotSelector(N, seed=int(seed)) for seed in seeds]
    log_posterior = np.zeros((runs, K))
    n = np.zeros(runs, dtype=np.int64)
    active = np.arange(runs)
    while len(active) and n.max() < limit:
        posterior = np.exp(log_posterior[active])  # (R, K)
        posterior /= posterior.sum(axis=1, keepdims=True)
        if dopr:
            x = np.array([dopr[run].choose(range(N))[0] for run in active])
        else:
            x = pick(picker, success, posterior, rng)
        rewards = rng.random(len(active)) < success[x, truth[active]]  # (R,)
        if dopr:
            for run, problem, reward in zip(active, x, rewards, strict=True):
                dopr[run].update(problem, [float(reward)])
        log_posterior[active] += np.where(rewards[:, None], log_pass[x], log_fail[x])
        log_posterior[active] -= log_posterior[active].max(axis=1, keepdims=True)
        n[active] += 1
        weight = np.exp(log_posterior[active])  # (R, K), of which the likeliest skill has 1
        active = active[1 / weight.sum(axis=1) < 1 - delta]
    wrong = log_posterior.argmax(axis=1) != truth
    se = float(n.std() / math.sqrt(runs))
    return Simulated(float(n.mean()), se, float(wrong.mean()), len(active) / runs)


# --------------------------------------------------------------------------- the table


class Row(NamedTuple):
    """A question, its lower bound, and the procedure that is simulated beside it."""

    name: str
    delta: float
    bound: float
    simulate: Callable[[int, np.random.Generator], Simulated]  # takes the number of runs
    times: float = 1.0  # runs for each of `--runs`


def questions() -> Iterator[Row]:
    """Yield the rows of the table.  One more row changes no other: each has its own stream."""
    for p in DISCOVERIES:
        for delta in DELTAS:
            bound, simulate = discovery_rollouts(p, delta), partial(simulate_discovery, p, delta)
            yield Row(f"discovery p={p}", delta, float(bound), simulate, times=10)
    for p0, p1 in RECOGNITIONS:
        for delta in DELTAS:
            bound = float(recognition_bound(p0, p1, delta))
            simulate = partial(simulate_recognition, p0, p1, delta)
            yield Row(f"recognition {p0}->{p1}", delta, bound, simulate, times=10)
    for bits in IDENTIFICATIONS:
        success, delta = skill_table(bits), 0.01
        bound = identification_bound(success, delta)
        for picker in PICKERS:
            simulate = partial(simulate_identification, success, delta, picker)
            times = 0.2 if picker == "DoPR selector" else 1  # slow: one selector for each run
            yield Row(f"identification K={2**bits}, {picker}", delta, bound, simulate, times)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return a random stream of its own for each name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def table(runs: int, seed: int = 0, rows: Sequence[Row] | None = None) -> list[dict]:
    """Simulate every row; return dicts of problem, delta, bound, simulated, se, ratio and so on."""
    found = []
    for row in tqdm(list(questions()) if rows is None else rows, desc="simulating", leave=False):
        result = row.simulate(int(row.times * runs), stream(seed, f"{row.name}, {row.delta}"))
        found.append(
            {"problem": row.name, "delta": row.delta, "bound": row.bound,
             "simulated": result.rollouts, "se": result.se, "ratio": result.rollouts / row.bound,
             "error_rate": result.error_rate, "unfinished": result.unfinished}
        )  # fmt: skip
    return found


def print_table(rows: list[dict]) -> None:
    """Print the table, and how much a better certificate could add to the identification bounds."""
    print(f"{'':38} delta    bound  simulated  +- s.e.  ratio  errors")
    for r in rows:
        stopped = f"  ({r['unfinished']:.0%} stopped undecided)" if r["unfinished"] else ""
        print(
            f"{r['problem']:38} {r['delta']:5.2f} {r['bound']:8.2f}  {r['simulated']:9.2f}"
            f"  {r['se']:7.2f}  {r['ratio']:5.2f}  {r['error_rate']:6.4f}{stopped}"
        )
    for bits in IDENTIFICATIONS:
        sides = [transport_bound(skill_table(bits), J, 0.01) for J in range(2**bits)]
        certified, found = np.mean(sides, axis=0)
        print(
            f"K={2**bits}: the certificate proves {certified:.2f} rollouts; with the best "
            f"allocation found, no certificate can prove more than {found:.2f}"
        )


# --------------------------------------------------------------------------- the figure


def draw(path: Path, runs: int, rows: list[dict]) -> Path:
    """Draw the rollouts needed against p0, p1, delta and K (of `table`'s rows); return the path."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    p0s, p1s = np.linspace(0.05, 0.65, 13), np.linspace(0.45, 0.95, 11)
    deltas = np.geomspace(1e-3, 0.3, 9)
    for axis, values, label, arguments in (
        (axes[0, 0], p0s, "p0, where p1 = 0.736 and delta = 0.05", lambda v: (v, 0.736, 0.05)),
        (axes[0, 1], p1s, "p1, where p0 = 0.36 and delta = 0.05", lambda v: (0.36, v, 0.05)),
        (axes[1, 0], deltas, "delta, for 0.36 -> 0.736", lambda v: (0.36, 0.736, v)),
    ):
        draw_recognition(axis, [arguments(v) for v in values], values, runs)
        axis.set_xlabel(label)
        axis.set_title("Telling p1 from p0", fontsize=10)
    axes[1, 0].set_xscale("log")
    draw_identification(axes[1, 1], rows)
    for axis in axes.flat:
        axis.set(ylabel="rollouts", yscale="log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(frameon=False, fontsize=8)
    axes[1, 1].set(ylim=(10, 5000), yticks=(10, 20, 50, 100, 200, 500, 1000))
    axes[1, 1].minorticks_off()
    save(figure, path, dpi=150)
    return path


def draw_recognition(axis: Any, questions: list[tuple], values: np.ndarray, runs: int) -> None:
    """Draw bound, sequential test and best fixed number for each question (p0, p1, delta)."""
    axis.plot(values, [recognition_bound(*q) for q in questions], "k-", label="lower bound")
    tests = [simulate_recognition(*q, runs, stream(1, f"recognition {q}")) for q in questions]
    axis.plot(values, [test.rollouts for test in tests], "o", color=COLOURS[0],
              label="sequential test, mean")  # fmt: skip
    exact = [exact_fixed_sample_size(*q) for q in questions]
    axis.plot(values, exact, "s", color=COLOURS[1], markersize=4, label="best fixed number")


def draw_identification(axis: Any, rows: list[dict]) -> None:
    """Draw bound and pickers against the number of skills."""
    Ks = [2**bits for bits in IDENTIFICATIONS]
    colours = (COLOURS[3], COLOURS[0], COLOURS[4], COLOURS[2])
    for picker, marker, colour in zip(PICKERS, "ovsD", colours, strict=True):
        mine = [r for r in rows if r["problem"].endswith(f", {picker}")]
        if picker == PICKERS[0]:
            axis.plot(Ks, [r["bound"] for r in mine], "k-", label="lower bound")
        axis.plot(Ks, [r["simulated"] for r in mine], marker, color=colour, label=picker)
    axis.set(xlabel="K latent skills, where delta = 0.01", xscale="log")
    axis.set_xticks(Ks, map(str, Ks), minor=False)
    axis.set_title("Naming one of K skills, by four ways to pick problems", fontsize=10)


# --------------------------------------------------------------------------- a training run


def pass_rates(steps: list[dict]) -> dict[str, tuple[list[bool], list[bool]]]:
    """Return by kind of problem which responses were right: at first visits, and at the end.

    First visits come early, before much is learned.  The end is the last fifth of all groups: what
    the selector chose then, mostly problems not yet learned, so that it understates how good the
    policy became.
    """
    groups = [
        group
        for step in steps
        for group in zip(step["kind"], step["chosen"], step["solved"], strict=True)
    ]
    seen: set[int] = set()
    rates: dict[str, tuple[list[bool], list[bool]]] = {}
    for number, (kind, problem, solved) in enumerate(groups):
        before, after = rates.setdefault(kind, ([], []))
        if problem not in seen:
            before += map(bool, solved)
        elif number >= 0.8 * len(groups):
            after += map(bool, solved)
        seen.add(problem)
    return {kind: rate for kind, rate in rates.items() if all(rate)}


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95% interval of a pass rate from n independent tries (Wilson 1927)."""
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def report(folder: Path, delta: float) -> None:
    """Print what a run's verdicts say it learned, and the bounds for that beside its cost."""
    steps = read_steps(folder)
    spent = steps[-1]["rollouts"]
    print(f"{folder}: {spent:,} rollouts; pass rates with 95% intervals")
    print(f"  {'':12} {'first visits':>24}    last fifth of the groups")
    intervals = {}
    for kind, verdicts in sorted(pass_rates(steps).items()):
        intervals[kind] = [(np.mean(v), *wilson(sum(v), len(v))) for v in verdicts]
        shown = (f"{p:.3f} [{low:.3f}, {high:.3f}]" for p, low, high in intervals[kind])
        print("  {:12} {:>24} -> {}".format(kind or "all", *shown))
    gains = {kind: after[0] - before[0] for kind, (before, after) in intervals.items()}
    kind = max(gains, key=gains.__getitem__, default=None)
    if kind is None or gains[kind] <= 0:
        print("no kind of problem was passed more often at the end: nothing was unlocked")
        return
    (p0, low0, high0), (p1, low1, high1) = intervals[kind]
    print(f"bounds for {kind or 'all'!r}, p0 = {p0:.3f} and p1 = {p1:.3f}, delta = {delta}:")
    answer(p0, p1, delta)
    bounds = [recognition_bound(p0, p1, delta), recognition_bound(low0, high1, delta)]
    bounds += [recognition_bound(high0, low1, delta) if high0 < low1 else math.inf]
    gaps = [spent / b if b else math.inf for b in map(float, bounds)]
    print(
        f"optimisation gap: {spent:,} rollouts / {bounds[0]:.2f} = {gaps[0]:,.0f}x"
        f" (at the ends of both intervals {gaps[2]:,.0f}x to {gaps[1]:,.0f}x)"
    )
    print("The gap is no score: a run that learned little has a large bound, and so a small gap.")


# --------------------------------------------------------------------------- the command


def probability(text: str) -> float:
    """Return the number from 0 to 1 in a text, as an argparse type."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"probabilities lie in [0, 1], not {text}")
    return value


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure, or report on a run."""
    parser = Parser(description="Simulated procedures, or a run, beside the bounds of bound.py.")
    parser.add_argument("--run", type=Path, help="a training run's folder, to set beside bounds")
    parser.add_argument(
        "--delta", type=probability, default=0.05, help="with --run: allowed error rate [0.05]"
    )
    parser.add_argument(
        "--runs", type=whole_number(100), default=1000, help="simulated runs for each row [1000]"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bound.png"), help="the figure [bound.png]"
    )
    args = parser.parse_args(argv)
    if not args.out.parent.is_dir():
        raise UserError(f"--out {args.out}: {args.out.parent}: no such folder")
    if args.run:
        report(args.run, args.delta)
        return
    rows = table(args.runs)
    print_table(rows)
    try:
        print(f"figure: {draw(args.out, args.runs, rows)}")
    except UserError as error:  # without matplotlib the table was worth its while all the same
        print(f"figure: none; {error}")


if __name__ == "__main__":
    sys.exit(main())
