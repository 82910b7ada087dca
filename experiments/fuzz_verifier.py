"""Throw mutated answers, formulas of random pieces and random bytes at the verifier for a while.

    python experiments/fuzz_verifier.py --minutes 10

Every pair goes through `verify` and `decide`; an exception ends the run with the pair that caused
it.  Printed at the end: calls, the slowest of them, and memory at the start and the end.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "tests")]

import test_verifier as tests  # noqa: E402

from verifier import decide, verify  # noqa: E402

PIECES = (
    r"\frac{ \sqrt{ } { ( ) [ ] \{ \} ^ _ ! | , ; : = < > + - * / \pm \cdot \times \infty \pi e i"
    r" x n 0 1 2 7 12 999 0.5 1e9 % \% \text{ cm and or \le \in \cup \begin{pmatrix} \end{pmatrix}"
    r" & \\ \sin \log_ \binom \lfloor \rfloor \boxed{ #### \overline{ ^\circ $ \left( \right) ** !!"
).split()


def pairs(rng: random.Random):
    """Endless (answer, gold)."""
    golds = [p.values[1] for table in (tests.SAME, tests.DIFFERENT) for p in tests.cases(table)]
    hostile = list(tests.HOSTILE_ANSWERS.values())
    while True:
        gold = rng.choice(golds)
        kind = rng.random()
        if kind < 0.5:
            answer = tests.mutate(rng.choice(golds), rng)
        elif kind < 0.85:
            answer = "".join(rng.choices(PIECES, k=rng.randint(1, 60)))
        elif kind < 0.95:
            answer = rng.randbytes(rng.randint(0, 200)).decode("utf-8", errors="replace")
        else:
            answer = tests.mutate(rng.choice(hostile), rng)
        yield (answer, gold) if rng.random() < 0.7 else (gold, answer)


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, calls, slowest, worst = random.Random(args.seed), 0, 0.0, ()
    start, memory = time.monotonic(), None
    bar = tqdm(total=round(args.minutes * 60), unit="s", mininterval=1)
    for answer, gold in pairs(rng):
        for call in ((decide, answer, gold), (verify, f"so \\boxed{{{answer}}}", gold)):
            before = time.perf_counter()
            call[0](*call[1:])
            seconds = time.perf_counter() - before
            if seconds > slowest:
                slowest, worst = seconds, (answer, gold)
            calls += 1
        elapsed = time.monotonic() - start
        if memory is None and elapsed > args.minutes * 6:  # a tenth in: caches are full
            memory = megabytes()
        if calls % 2000 == 0:
            bar.update(int(elapsed) - bar.n)
            if elapsed > args.minutes * 60:
                break
    bar.close()
    print(f"{calls:,} calls, none raised; slowest {slowest * 1000:.0f} ms: {worst!r:.200}")
    print(f"peak memory {memory:.0f} MB after a tenth of the time, {megabytes():.0f} MB at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
