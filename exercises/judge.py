"""Let a solved exercise 8 judge a real policy, one rollout after the other.

    python evaluate.py --model base --data arithmetic --k 1 --temperature 1 --out runs/base.jsonl
    python exercises/judge.py runs/base.jsonl

The first command samples one response to each of 200 problems and notes which are right.  The
second hands these verdicts to your `unlocked` in their order, and begins anew after each decision.
"""

import sys
from collections.abc import Sequence
from operator import length_hint
from pathlib import Path

from stubs import answer_of, read_answer  # puts the project on the path

from plumbing import jsonl
from plumbing.command import Parser, UserError, command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print each decision and what it took."""
    parser = Parser(prog="judge.py", description="Judge the responses of evaluate.py --k 1.")
    parser.add_argument("file", type=Path, help="what evaluate.py --k 1 --temperature 1 wrote")
    parser.add_argument("--p0", type=float, default=0.45, help="pass rate of the locked policy")
    parser.add_argument("--p1", type=float, default=0.8, help="pass rate of the unlocked policy")
    parser.add_argument("--delta", type=float, default=0.05, help="allowed error rate [0.05]")
    parser.add_argument("--answers", type=Path, metavar="FOLDER", help="where your file is")
    args = parser.parse_args(argv)
    rows = jsonl.read(args.file, "a line of evaluate.py")
    verdicts = [int(right) for row in rows for right in row.get("right", [])]
    if not verdicts:
        raise UserError(f"{args.file}: holds no sampled responses; evaluate with --k 1")
    telling = read_answer(answer_of(8, args.answers))
    least = telling.fewest(args.p0, args.p1, args.delta)
    print(f"{sum(verdicts)} of {len(verdicts)} right; the bound is {least:.1f} rollouts")
    rewards = iter(verdicts)
    while left := length_hint(rewards):
        try:
            said = telling.unlocked(rewards, args.p0, args.p1, args.delta)
        except StopIteration:
            print("the rest of the responses decides nothing")
            return 0
        taken = left - length_hint(rewards)
        print(f"{'unlocked' if said else 'locked':8}  after {taken} rollouts")
        if not taken:
            raise UserError("your `unlocked` decides without a single rollout", code=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
