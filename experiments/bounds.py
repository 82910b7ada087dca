"""How close can one come to the lower bounds of `bound.py`?  Optima, procedures, and real runs.

python experiments/bounds.py [--runs 1000] [--out bound.png]      # the table and its figure
python experiments/bounds.py --run runs/small [--target 0.9]      # a training run beside the bounds

What it teaches: a lower bound is worth as much as the optimum is close to it, and an optimum as
much as a practical procedure is.  Each row of the table has all three, in this order: the bound;
the least mean number of rollouts that any procedure needs, computed by `optima.py`; and the mean
that a practical procedure used in simulation, with its standard error.  Then come the procedure's
errors, each of which may be as large as delta.  For recognition they are those in world 1 and in
world 0.  For identification they are the average error and that under the skill with most errors.

Where it stands: beside the algorithm.  In the rows named "identification", `pick` and the selector
of the training loop choose the next problem from a pool of which few problems tell anything.  The
rows "and chance" add one problem that is passed half of the time under every skill.  Volatility
finds what varies: it takes this one, and never ends.  Information needs what differs.

Try changing first: `gap` of `skill_table`, from 0.4 to 0.2, which makes the telling problems
weaker.  For K = 2, 4 and 8 skills the bound grows fourfold, from 13, 27 and 40 rollouts to 56, 111
and 167.  So does what picking needs by information (15, 33, 52 to 58, 133, 214), by variance (15,
32, 53 to 57, 137, 212) and at random (149, 402, 710 to 586, 1624, 2892).  The DoPR selector needs
only two to four times as many (65, 155, 248 to 131, 428, 940): at 0.4 it spends three quarters of
its rollouts on problems that tell nothing, and of these it needs 1.4 to 1.6 times as many.

A training run (`--run`) stands beside two bounds on learning: the groups up to the first update,
and the groups up to a fixed held-out accuracy (`report`).
"""

import argparse
import math
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import project  # noqa: F401 (it puts the project's folder on the path)
from optima import naming_optimum, sequential_optimum
from tqdm import tqdm

from bound import (
    discovery_rollouts,
    dull_visits,
    entropy_bits,
    exact_fixed_sample_size,
    first_update_groups,
    identification_bound,
    recognition_bound,
)
from plumbing.command import Parser, UserError, command, whole_number
from plumbing.config import read_config, selectors
from plumbing.figure import COLOURS, pyplot, save
from plumbing.record import read_steps
from plumbing.setup import pool_and_heldout

DELTAS = (0.05, 0.01)
DISCOVERIES = (0.3, 0.05, 0.01)  # pass rates
# Pass rates before and after.  Pairs as far apart as 0.1 and 0.9 would show something else: their
# bound is 1.5 rollouts, and whole rollouts that bring 2.2 of the 3 nats needed cannot meet it.
RECOGNITIONS = ((0.36, 0.736), (0.2, 0.6), (0.3, 0.5), (0.05, 0.2))
IDENTIFICATIONS = (1, 2, 3)  # bits that number the skills
PICKERS = ("most information", "highest variance", "DoPR selector", "random")


def skill_table(
    bits: int, solved: int = 5, impossible: int = 4, gap: float = 0.4, chance: int = 0
) -> np.ndarray:
    """Return the pass rates (N, K) of a pool of N problems under K = 2**bits skills.

    For each bit of the skill's number one problem tells it, passed with probability 1/2 +- gap/2,
    and `solved + impossible` problems are passed alike under every skill: a pool like a real one.
    Of `chance` more problems every skill passes half of all tries.
    """
    skills = np.arange(2**bits)
    telling = [0.5 + gap * ((skills >> b & 1) - 0.5) for b in range(bits)]
    easy = [np.full(2**bits, 0.95)] * (solved * bits)
    hard = [np.full(2**bits, 0.02)] * (impossible * bits)
    return np.array(telling + easy + hard + [np.full(2**bits, 0.5)] * chance)  # (N, K)


# --------------------------------------------------------------------------- practical procedures


class Simulated(NamedTuple):
    """What a procedure needed, over many runs."""

    rollouts: float
    se: float  # the standard error of `rollouts`
    errors: tuple[float, ...]  # how often it was wrong; of two kinds, but for discovery
    unfinished: float = 0.0  # the share of runs that were stopped undecided


def simulate_discovery(p: float, delta: float, runs: int, rng: np.random.Generator) -> Simulated:
    """Roll out until the first success; return the number that is enough for 1 - delta of runs."""
    first = rng.geometric(p, size=runs)
    n = float(np.quantile(first, 1 - delta, method="inverted_cdf"))
    density = max(p * (1 - p) ** (n - 1), 1e-300)
    se = math.sqrt(delta * (1 - delta) / runs) / density
    return Simulated(n, se, (float((first > n).mean()),))


def simulate_recognition(
    p0: float, p1: float, delta: float, runs: int, rng: np.random.Generator
) -> Simulated:
    """Tell p1 from p0 by Wald's sequential test of thresholds -+ ln(1/delta); n is that under p1.

    The errors are how often it says p0 where p1 is true, and how often p1 where p0 is true.
    """
    win, loss = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    threshold = math.log(1 / delta)
    lengths, ends = [], []
    for truth in (p1, p0):
        evidence, n = np.zeros(runs), np.zeros(runs, dtype=np.int64)
        active = np.arange(runs)
        while len(active):
            evidence[active] += np.where(rng.random(len(active)) < truth, win, loss)
            n[active] += 1
            active = active[np.abs(evidence[active]) < threshold]
        lengths.append(n)
        ends.append(evidence)
    errors = float((ends[0] < 0).mean()), float((ends[1] > 0).mean())
    return Simulated(float(lengths[0].mean()), float(lengths[0].std() / math.sqrt(runs)), errors)


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
    worst = max(float(wrong[truth == k].mean()) for k in set(truth.tolist()))
    se = float(n.std() / math.sqrt(runs))
    return Simulated(float(n.mean()), se, (float(wrong.mean()), worst), len(active) / runs)


# --------------------------------------------------------------------------- the table


class Row(NamedTuple):
    """A question, its lower bound and optimum, and the procedure that is simulated beside them."""

    name: str
    delta: float
    bound: float
    optimum: float
    simulate: Callable[[int, np.random.Generator], Simulated]  # takes the number of runs
    times: float = 1.0  # runs for each of `--runs`


def questions() -> Iterator[Row]:
    """Yield the rows of the table.  One more row changes no other: each has its own stream."""
    for p in DISCOVERIES:
        for delta in DELTAS:
            bound, simulate = discovery_rollouts(p, delta), partial(simulate_discovery, p, delta)
            yield Row(f"discovery p={p}", delta, float(bound), float(bound), simulate, times=10)
    for p0, p1 in RECOGNITIONS:
        for delta in DELTAS:
            bound = float(recognition_bound(p0, p1, delta))
            simulate = partial(simulate_recognition, p0, p1, delta)
            optimum = sequential_optimum(p0, p1, delta, horizon=10 * math.ceil(bound))
            yield Row(f"recognition {p0}->{p1}", delta, bound, optimum, simulate, times=10)
    for chance, bits in product((0, 1), IDENTIFICATIONS):
        success, delta = skill_table(bits, chance=chance), 0.01
        bound, optimum = identification_bound(success, delta), naming_optimum(bits, delta)
        for picker in PICKERS:
            endless = chance and picker == "highest variance"
            simulate = partial(simulate_identification, success, delta, picker,
                               limit=2_000 if endless else 20_000)  # fmt: skip
            times = 0.2 if picker == "DoPR selector" or endless else 1  # slow
            name = f"identification K={2**bits}{' and chance' * chance}, {picker}"
            yield Row(name, delta, bound, optimum, simulate, times)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return a random stream of its own for each name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def table(runs: int, seed: int = 0, rows: Sequence[Row] | None = None) -> list[dict]:
    """Simulate every row; return dicts of problem, delta, bound, optimum, practical, se, errors."""
    found = []
    for row in tqdm(list(questions()) if rows is None else rows, desc="simulating", leave=False):
        result = row.simulate(int(row.times * runs), stream(seed, f"{row.name}, {row.delta}"))
        found.append(
            {"problem": row.name, "delta": row.delta, "bound": row.bound, "optimum": row.optimum,
             "practical": result.rollouts, "se": result.se, "errors": result.errors,
             "unfinished": result.unfinished}
        )  # fmt: skip
    return found


def print_table(rows: list[dict]) -> None:
    """Print the table: bound, optimum, practical procedure, and its errors."""
    print(f"{'':46} delta    bound  optimum  practical  +- s.e.  errors")
    for r in rows:
        stopped = f"  ({r['unfinished']:.0%} stopped undecided)" if r["unfinished"] else ""
        errors = " ".join(f"{error:.4f}" for error in r["errors"] if r["unfinished"] < 1)
        print(
            f"{r['problem']:46} {r['delta']:5.2f} {r['bound']:8.2f} {r['optimum']:8.2f}"
            f"  {r['practical']:9.2f}  {r['se']:7.2f}  {errors}{stopped}"
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
    horizons = [10 * math.ceil(recognition_bound(*q)) for q in questions]
    near = [n <= 250 for n in horizons]  # where it takes long, the bound is as close
    optima = [
        sequential_optimum(*q, n) for q, n in zip(questions, horizons, strict=True) if n <= 250
    ]
    axis.plot(values[near], optima, "k--", label="optimum")
    tests = [simulate_recognition(*q, runs, stream(1, f"recognition {q}")) for q in questions]
    axis.plot(values, [test.rollouts for test in tests], "o", color=COLOURS[0],
              label="Wald's test, mean")  # fmt: skip
    exact = [exact_fixed_sample_size(*q) for q in questions]
    axis.plot(values, exact, "s", color=COLOURS[1], markersize=4, label="best fixed number")


def draw_identification(axis: Any, rows: list[dict]) -> None:
    """Draw bound and pickers against the number of skills."""
    Ks = [2**bits for bits in IDENTIFICATIONS]
    colours = (COLOURS[3], COLOURS[0], COLOURS[4], COLOURS[2])
    for picker, marker, colour in zip(PICKERS, "ovsD", colours, strict=True):
        mine = [r for k in Ks for r in rows if r["problem"] == f"identification K={k}, {picker}"]
        if picker == PICKERS[0]:
            axis.plot(Ks, [r["bound"] for r in mine], "k-", label="lower bound")
            axis.plot(Ks, [r["optimum"] for r in mine], "k--", label="optimum")
        axis.plot(Ks, [r["practical"] for r in mine], marker, color=colour, label=picker)
    axis.set(xlabel="K latent skills, where delta = 0.01", xscale="log")
    axis.set_xticks(Ks, map(str, Ks), minor=False)
    axis.set_title("Naming one of K skills, by four ways to pick problems", fontsize=10)


# --------------------------------------------------------------------------- a training run


def report(folder: Path, live: str, target: float) -> None:
    """Print what a run spent up to its first update and to a held-out accuracy, beside bounds.

    The live problems are those of the kind `live`; each operator in them is a skill of its own.
    The bounds are on the mean over pools in random order: one run can be luckier.
    """
    steps = read_steps(folder)
    pool, _ = pool_and_heldout(read_config(folder / "config.json", []))
    skills = Counter(next((c for c in p.text if c in "+-*"), "") for p in pool if p.kind == live)
    if not skills:
        kinds = ", ".join(sorted({repr(p.kind) for p in pool}))
        raise UserError(f"--live {live}: the run's pool has no such problem; it has {kinds}")
    dull = len(pool) - skills.total()
    groups = [(step, len(set(rewards)) > 1) for step in steps for rewards in step["rewards"]]
    informative = [teaches for _, teaches in groups]
    reached = next((s["rollouts"] for s in steps if s.get("accuracy", 0) >= target), None)
    print(f"{folder}: {len(groups):,} groups, {sum(informative):,} of them informative")
    first = informative.index(True) + 1 if any(informative) else None
    least = first_update_groups(len(pool), skills.total(), 1.0)
    print(f"  groups to the first informative one: {first or 'none came'}; "
          f"on average at least {least:.1f}")  # fmt: skip
    if reached is None:
        print(f"  held-out accuracy of {target:.0%}: not reached")
        return
    used = [teaches for step, teaches in groups if step["rollouts"] <= reached]
    met = dull_visits(dull, list(skills.values()))
    print(f"  held-out accuracy of {target:.0%}: after {reached:,} rollouts, {len(used):,} groups, "
          f"{sum(used)} of them informative")  # fmt: skip
    each = ", ".join(map(repr, skills))
    print(f"  so many of them, and a live problem of each skill ({each}), take on average at least "
          f"{met + sum(used):.1f} groups")  # fmt: skip


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
        "--target", type=probability, default=0.9, help="with --run: held-out accuracy [0.9]"
    )
    parser.add_argument(
        "--live", default="carry", help="with --run: the kind of problems that can teach [carry]"
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
        report(args.run, args.live, args.target)
        return
    rows = table(args.runs)
    print_table(rows)
    try:
        print(f"figure: {draw(args.out, args.runs, rows)}")
    except UserError as error:  # without matplotlib the table was worth its while all the same
        print(f"figure: none; {error}")


if __name__ == "__main__":
    sys.exit(main())
