"""Throw mutated answers, formulas of random pieces and random bytes at the verifier for a while.

    python tools/fuzz_verifier.py --minutes 10

Every pair of an answer and a gold goes through `verify` and `decide`.  An exception ends the run
and is shown with the pair that caused it.  At the end the number of calls is printed, the slowest
of them, and how much memory was in use after a tenth of the time and at the end.
"""

import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from project import ROOT
from tqdm import tqdm

from plumbing.command import Parser, command
from verifier import decide, verify

sys.path.append(str(ROOT / "tests"))

import test_verifier as tests

PIECES = (
    r"\frac{ \sqrt{ } { ( ) [ ] \{ \} ^ _ ! | , ; : = < > + - * / \pm \cdot \times \infty \pi e i"
    r" x n 0 1 2 7 12 999 0.5 1e9 % \% \text{ cm and or \le \in \cup \begin{pmatrix} \end{pmatrix}"
    r" & \\ \sin \log_ \binom \lfloor \rfloor \boxed{ #### \overline{ ^\circ $ \left( \right) ** !!"
).split()
# What may stand around an answer, with the tags and words that take it away.
PIECES += [
    " is ", " which equals ", ", which is ", " (or ", " (seven)", " (rounded)", ", or maybe ",
    "<think>", "</think>", "<answer>", "</answer>", "<|im_end|>", "\\boxed{3} \\quad ", "x = ",
    ": ", "The answer is ", " because ", " cats", " per hour", "\\pmod", "\\det A = ", "311*641",
    " doubled", ", false", " so 44", "2\\boxed{5} or ", " million", "dozens", "\\text{ is} = ",
    "\\abs(5)", "<|channel|>final<|message|>", "The result is ", " is the answer", "negative ",
    "🎉", " and that's it", '"', ". ", "\n",
]  # fmt: skip


def pairs(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield pairs of an answer and a gold without end; now and then they change places."""
    tables = (tests.SAME, tests.UNFINISHED, tests.DIFFERENT)
    golds = [p.values[1] for table in tables for p in tests.cases(table)]
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


def seconds_of(call: Callable[[str, str], object], text: str, gold: str) -> float:
    """Return how long a call takes; an exception names the pair that caused it."""
    start = time.perf_counter()
    try:
        call(text, gold)
    except Exception as error:
        error.add_note(f"in {call.__name__}({text!r}, {gold!r})")
        raise
    return time.perf_counter() - start


def megabytes() -> float:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@command
def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long to go on [10]")
    parser.add_argument("--seed", type=int, default=0, help="of the random pairs [0]")
    args = parser.parse_args(argv)
    rng, calls, slowest, worst = random.Random(args.seed), 0, 0.0, ()
    start, memory = time.monotonic(), None
    bar = tqdm(total=round(args.minutes * 60), unit="s", mininterval=1)
    for answer, gold in pairs(rng):
        said = f"so \\boxed{{{answer}}}" if calls % 4 else f"The answer is {answer}"
        for call, text in ((decide, answer), (verify, said)):
            seconds = seconds_of(call, text, gold)
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


if __name__ == "__main__":
    sys.exit(main())
