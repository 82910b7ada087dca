"""Predict, then run: a quiz on what one changed key does to the default job.

    python tools/quiz.py                 all questions, one after the other
    python tools/quiz.py --list          the questions without their answers
    python tools/quiz.py --question 2    one of them
    python tools/quiz.py --seed 3        runs with another seed than the 0 of the page

Each question is a row of docs/what-one-key-changes.md.  After your prediction it runs `train.py`,
which takes ten seconds, or forty for 740 steps, in a folder that is removed, and says why.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import project

from plumbing.command import Parser, UserError, command, whole_number

TRAIN = project.ROOT / "train.py"


class Question(NamedTuple):
    """Keys to change, what that does, how it ended with seed 0 (accuracy in %, groups), and why."""

    keys: str
    what: str
    accuracy: float
    informative: int
    groups: int
    why: str


QUESTIONS = [
    Question("rollout.top_k=1", "all eight answers are the likeliest one", 20.0, 0, 185,
             "Eight equal answers have equal rewards, so that every advantage is 0: nothing was "
             "better than anything else, and nothing is learned."),
    Question("selector.candidates=1", "there is nothing to choose from", 60.0, 17, 185,
             "A random problem is tried, and eight of 80 can teach: enough for one skill of two."),
    Question("selector.name=full_batch", "all 32 candidates are rolled out, in five steps", 20.0,
             11, 160, "The rollouts buy five updates, each the average of some two informative "
             "groups: too few to change any of the likeliest answers."),
    Question("selector.bonus=1", "the selector explores very much", 98.5, 47, 185,
             "The bonus outweighs the history; half as many groups teach, still enough of them."),
    Question("selector.name=random_one update.lr=8e-4",
             "no selector, five times the learning rate", 36.0, 29, 185,
             "Few groups teach, and five times the rate also makes every other update larger: on "
             "groups of equal rewards these are pulls of the KL penalty alone."),
    Question("update.lr=1e-3", "seven times the learning rate", 35.5, 93, 185,
             "There is as much to learn from, but each update goes too far: the accuracy rises "
             "and falls again, and plain sums, which were all right before, are lost too."),
    Question("update.updates_per_group=4", "four updates from the same eight answers", 98.5, 102,
             185, "Four updates from one group go further than one, and here that does no harm. "
             "One seed is one seed: with seed 1 the run ends at 92.5% (exercise 2)."),
    Question("rollout.temperature=0.5", "less variety", 98.5, 109, 185,
             "One answer of eight that differs is enough, and such variety is left."),
    Question("rollout.temperature=1.5", "more variety", 99.0, 112, 185,
             "The policy is sure of most tokens, so that the temperature changes few of them; and "
             "the held-out answers are the likeliest ones, whatever the temperature."),
    Question("rollout.group_size=2 steps=740", "many small groups", 60.0, 162, 740,
             "Two answers seldom differ: at a pass rate of 0.1 in .18 of the groups of two, but in "
             ".57 of those of eight. One skill of two is learned."),
    Question("rollout.group_size=32 steps=46", "few large groups: the tour is not over", 46.0, 3,
             46, "The tour tries each of the 80 problems once, and the rollouts are spent after 46 "
             "of them: all that was learned comes from three groups met on the way."),
    Question("update.kl_coef=0", "nothing holds what is not trained on", 98.0, 72, 185,
             "This seed is lucky. Without the penalty what is no longer trained on is forgotten, "
             "and seven of twenty seeds end at 97% or more."),
    Question("rollout.max_new_tokens=20", "longer answers are cut off (5.0% before)", 19.5, 54, 185,
             "Most workings with carries are longer, and cut off before their result. They are "
             "never paid, however right they began, so that only short ones are learned."),
]  # fmt: skip


def ask(what: str, most: float) -> float:
    """Return the number from 0 to `most` that the reader types, asking until there is one."""
    while True:
        try:
            number = float(input(f"  {what}: ").strip().removesuffix("%"))
        except ValueError:  # also of bytes that are no text
            number = math.nan
        except (EOFError, RuntimeError):  # the second where there is no standard input at all
            print()
            raise UserError("standard input is closed: answer in a terminal, or --list") from None
        if 0 <= number <= most:
            return number
        print(f"  a number from 0 to {most:g}, please")


def outcome(question: Question, seed: int) -> tuple[float, int]:
    """Run the job, with its bar; return its last held-out accuracy in % and informative groups."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(TRAIN), "--config", "small.json", "--out", f"{folder}/run"]
        for key in [*question.keys.split(), f"seed={seed}"]:
            words += ["--set", key]
        # in a session of its own, so that Ctrl-C ends the quiz, and the quiz ends the run
        no = subprocess.DEVNULL
        run = subprocess.run(words, cwd=project.ROOT, stdin=no, stdout=no, start_new_session=True)
        if run.returncode:
            raise UserError(f"train.py ended with exit code {run.returncode}", code=1)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return 100 * summary["accuracy_after"], summary["informative_groups"]


def is_close(said: float, was: float, whole: float) -> bool:
    """Say whether a prediction is worth a point: it is off by a tenth of the whole at most."""
    return abs(said - was) <= whole / 10 + 1e-9


def play(number: int, seed: int) -> int:
    """Ask one question, run it, compare and explain; return the points, 0 to 2."""
    question = QUESTIONS[number - 1]
    print(f"\n{number}. {question.keys}: {question.what}")
    said = ask("held-out accuracy at the end, in %", 100)
    groups = ask(f"informative groups, of {question.groups}", question.groups)
    accuracy, informative = outcome(question, seed)
    points = is_close(said, accuracy, 100), is_close(groups, informative, question.groups)
    print(f"  accuracy: you said {said:g}%, it is {accuracy:.1f}% (+{points[0]:d})")
    print(f"  informative: you said {groups:g}, it is {informative} (+{points[1]:d})")
    print(f"  (our run, seed 0: {question.accuracy}%, {question.informative})\n  {question.why}")
    return sum(points)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: all questions or one, with the score after each."""
    parser = Parser(prog="quiz.py", description="Predict what one key changes; run it; compare.")
    parser.add_argument("--list", action="store_true", help="show the questions and ask nothing")
    parser.add_argument("--question", type=whole_number(1, len(QUESTIONS)), help="ask only this")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="the runs' seed [0]")
    arguments = parser.parse_args(argv)
    if arguments.list:
        for number, question in enumerate(QUESTIONS, 1):
            print(f"{number:2}. {question.keys}: {question.what}")
        return
    print("Unchanged, the job goes from 20.0% to 99.0%, with 101 of 185 groups informative.")
    print("A point each if you are off by 10 percentage points, or a tenth of the groups, at most.")
    points = asked = 0
    try:
        for number in [arguments.question] if arguments.question else range(1, len(QUESTIONS) + 1):
            points, asked = points + play(number, arguments.seed), asked + 1
            print(f"  score: {points} of {2 * asked}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"score: {points} of {2 * asked}") from None


if __name__ == "__main__":
    sys.exit(main())
