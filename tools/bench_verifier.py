"""Speed and agreement of the verifier, side by side with Math-Verify.

    python tools/bench_verifier.py                           ours alone
    python tools/bench_verifier.py --peer VENV/bin/python    and Math-Verify's, in turns
    python tools/bench_verifier.py --cases labelled.jsonl    on cases of your own

Math-Verify needs a virtual environment of its own: `python -m venv VENV && VENV/bin/pip install
"math-verify[antlr4_13_2]"`.  The cases are those of `tests/test_verifier.py`, each in a box, or a
JSONL file of {"response": ..., "gold": ..., "expected": true or false}.

Each checker runs in a process of its own, and they take turns for `--rounds` rounds.  The time is
taken around each call, so starting the process does not count.  At the end ours meets the hostile
inputs of the tests, where the slowest call is what counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from project import ROOT

from plumbing.command import Parser, UserError, command, file_to_write

Results = list[tuple[float, bool]]  # seconds and verdict of each case


# ---- One checker in a process of its own ----


def checker(name: str) -> Callable[[str, str], bool]:
    """Import verify(response, gold) of the project or of Math-Verify, which only a worker does."""
    if name == "ours":
        from verifier import verify

        return verify
    from math_verify import parse, verify

    def theirs(response: str, gold: str) -> bool:
        try:
            return bool(verify(parse(f"${gold}$"), parse(response)))
        except Exception:
            return False  # what a trainer that calls it would have to assume

    return theirs


def work(name: str) -> None:
    """Time every case that is written to the standard input, and answer with one line of JSON."""
    verify = checker(name)
    verify("\\boxed{1}", "2")
    results = []
    for line in sys.stdin:
        case = json.loads(line)
        start = time.perf_counter()
        verdict = verify(case["response"], case["gold"])
        results.append((time.perf_counter() - start, verdict))
    print(json.dumps(results))


def measure(python: str, name: str, cases: list[dict]) -> Results:
    """Start a worker and return the seconds and verdict of every case."""
    try:
        done = subprocess.run(
            [python, __file__, "--worker", name],
            input="\n".join(map(json.dumps, cases)), capture_output=True, text=True,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"--peer {python}: cannot be started ({error.strerror})") from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise UserError(f"{python} could not run {name}: {last}", code=1)
    return json.loads(done.stdout.splitlines()[-1])


# ---- The cases ----


def own_cases() -> tuple[list[dict], dict[str, str]]:
    """Return the tables of the tests as labelled responses, and their hostile inputs."""
    sys.path.append(str(ROOT / "tests"))
    import test_verifier as tests

    cases = []
    for table, expected in (
        (tests.SAME, True),
        (tests.UNFINISHED, False),
        (tests.DIFFERENT, False),
    ):
        for parameters in tests.cases(table):
            answer, gold = parameters.values
            response = f"We find $\\boxed{{{answer}}}$."
            cases.append({"response": response, "gold": gold, "expected": expected})
    return cases, tests.HOSTILE | tests.HOSTILE_ANSWERS


def read_cases(file: Path) -> list[dict]:
    """Return the labelled cases of a JSONL file; `UserError` with the line if one is malformed."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    cases = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            case = json.loads(line)
            cases.append({key: case[key] for key in ("response", "gold", "expected")})
        except (ValueError, KeyError, TypeError) as error:
            wanted = 'an object with "response", "gold" and "expected" is needed'
            raise UserError(f"{file}:{number}: {wanted} ({error!r})") from error
    if not cases:
        raise UserError(f"{file}: holds no cases")
    return cases


def attacks_of(hostile: dict[str, str]) -> list[dict]:
    """Return every hostile input, bare and in a box, against three golds."""
    return [
        {"response": response, "gold": gold, "expected": False}
        for text in hostile.values()
        for response in (text, f"\\boxed{{{text}}}")
        for gold in ("7", "x+1", text[:3000] + "+0")
    ]


# ---- The report ----


def report(name: str, rounds: list[Results], cases: list[dict]) -> dict:
    """Print what a checker did, and return the figures."""
    totals = [sum(seconds for seconds, _ in results) for results in rounds]
    rate = len(cases) / statistics.median(totals)
    verdicts = [verdict for _, verdict in rounds[0]]
    false_yes = sum(v and not c["expected"] for v, c in zip(verdicts, cases, strict=True))
    false_no = sum(c["expected"] and not v for v, c in zip(verdicts, cases, strict=True))
    accuracy = 1 - (false_yes + false_no) / len(cases)
    slowest = max(seconds for results in rounds for seconds, _ in results)
    print(
        f"{name:12} {rate:9,.0f} cases/s   {accuracy:6.1%} as labelled   {false_yes} wrong accepted"
        f"   {false_no} right refused   slowest {slowest * 1000:.1f} ms"
    )
    return {
        "checker": name, "cases": len(cases), "cases_per_second": rate, "accuracy": accuracy,
        "wrong_accepted": false_yes, "right_refused": false_no, "slowest_seconds": slowest,
        "totals_seconds": totals,
    }  # fmt: skip


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python of a virtual environment with math-verify")
    parser.add_argument("--cases", type=Path, help="labelled cases (default: those of the tests)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each checker [5]")
    parser.add_argument("--json", type=file_to_write, help="write the figures here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    if args.worker:
        work(args.worker)
        return
    cases, hostile = own_cases()
    if args.cases:
        cases = read_cases(args.cases)
    rounds: dict[str, list[Results]] = {"ours": [], **({"math-verify": []} if args.peer else {})}
    for _ in range(args.rounds):
        for name, results in rounds.items():
            results.append(measure(sys.executable if name == "ours" else args.peer, name, cases))
    figures = [report(name, results, cases) for name, results in rounds.items()]
    if args.peer:
        ratio = figures[0]["cases_per_second"] / figures[1]["cases_per_second"]
        print(f"ratio        {ratio:.0f}x")

    attacks = attacks_of(hostile)
    slowest = max(seconds for seconds, _ in measure(sys.executable, "ours", attacks))
    print(f"hostile      {len(attacks)} calls, slowest {slowest * 1000:.0f} ms")
    if args.json:
        hostile_figures = {"calls": len(attacks), "slowest_seconds": slowest}
        args.json.write_text(
            json.dumps({"side by side": figures, "hostile": hostile_figures}, indent=2)
        )


if __name__ == "__main__":
    sys.exit(main())
