"""Speed and agreement of the verifier, side by side with Math-Verify.

    python experiments/bench_verifier.py                           ours alone
    python experiments/bench_verifier.py --peer VENV/bin/python    and Math-Verify's, by turns
    python experiments/bench_verifier.py --cases labelled.jsonl    on cases of your own

Math-Verify wants a virtual environment of its own: `python -m venv VENV && VENV/bin/pip install
"math-verify[antlr4_13_2]"`.  The cases are those of `tests/test_verifier.py`, each in a box, or a
JSONL file of {"response": ..., "gold": ..., "expected": true or false}.  Both checkers run in a
process of their own, one after the other, `--rounds` times; each case is timed inside the process,
without start-up.  Last, ours alone meets the hostile inputs of the tests: the slowest call counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def checker(name: str):
    """verify(response, gold) of the project or of Math-Verify; imported only in the worker."""
    if name == "ours":
        sys.path.append(str(ROOT))
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
    """Time every case that comes in, and answer with one JSON line."""
    verify = checker(name)
    verify("\\boxed{1}", "2")
    results = []
    for line in sys.stdin:
        case = json.loads(line)
        start = time.perf_counter()
        verdict = verify(case["response"], case["gold"])
        results.append((time.perf_counter() - start, verdict))
    print(json.dumps(results))


def measure(python: str, name: str, cases: list[dict]) -> list:
    """(seconds, verdict) of every case."""
    done = subprocess.run(
        [python, __file__, "--worker", name],
        input="\n".join(map(json.dumps, cases)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def own_cases() -> tuple[list[dict], dict[str, str]]:
    """The tables of the tests as labelled responses, and their hostile inputs."""
    sys.path += [str(ROOT), str(ROOT / "tests")]
    import test_verifier as tests

    cases = []
    for table, expected in ((tests.SAME, True), (tests.DIFFERENT, False)):
        for parameters in tests.cases(table):
            answer, gold = parameters.values
            response = f"We find $\\boxed{{{answer}}}$."
            cases.append({"response": response, "gold": gold, "expected": expected})
    return cases, tests.HOSTILE | tests.HOSTILE_ANSWERS


def report(name: str, rounds: list[list], cases: list[dict]) -> dict:
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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="the Python of a virtual environment with math-verify")
    parser.add_argument("--cases", type=Path, help="labelled cases (default: those of the tests)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each checker [5]")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return 0

    cases, hostile = own_cases()
    if args.cases:
        lines = args.cases.read_text(encoding="utf-8").split("\n")
        cases = [json.loads(line) for line in lines if line.strip()]
    rounds: dict[str, list] = {"ours": [], **({"math-verify": []} if args.peer else {})}
    for _ in range(args.rounds):
        for name, results in rounds.items():
            results.append(measure(sys.executable if name == "ours" else args.peer, name, cases))
    figures = [report(name, results, cases) for name, results in rounds.items()]
    if args.peer:
        ratio = figures[0]["cases_per_second"] / figures[1]["cases_per_second"]
        print(f"ratio        {ratio:.0f}x")

    attacks = [
        {"response": response, "gold": gold, "expected": False}
        for text in hostile.values()
        for response in (text, f"\\boxed{{{text}}}")
        for gold in ("7", "x+1", text[:3000] + "+0")
    ]
    seconds = sorted((s for s, _ in measure(sys.executable, "ours", attacks)), reverse=True)
    print(f"hostile      {len(attacks)} calls, slowest {seconds[0] * 1000:.0f} ms")
    if args.json:
        hostile_figures = {"calls": len(attacks), "slowest_seconds": seconds[0]}
        args.json.write_text(
            json.dumps({"side by side": figures, "hostile": hostile_figures}, indent=2)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
