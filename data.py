"""Problems: the built-in tasks, problems from a file, and the prompts that they become.

What it teaches: what a *latent* ability looks like.  The base model learned from annotators who
write column arithmetic but forget most carries.  So it knows how to carry and seldom does.
Reinforcement cannot teach what is never sampled; it makes the rare right way the usual one.

    478+365=  ->  8+5=13,7+6+1=14,4+3+1=8#843      columns from the right, then the answer
    523-178=  ->  3-8=5,2-7-1=4,5-1-1=3#345        the ten borrowed for 3-8 is the next column's -1

An annotator who forgets a carry or a borrow leaves out the +1 or the -1.  In the harder task,
"tables", the annotators are unsure of the times tables of six to nine: there are 28 such products,
and the model must get each of them right on its own.

    478*6=  ->  8*6=42,7*6+4=46,4*6+4=28#2862      8*6 is 48: one line too low in the table

Where it stands: this is the distribution of the prompt x in every formula.  A pool holds what real
pools hold, mostly problems that teach nothing: the model always solves some of them ("plain"),
never solves others ("product"), and can learn only from the few in between ("carry").

Try changing first: the share of "carry" in the pool of "arithmetic" (see `TASKS`), from 0.1 to
0.02.  Then only 2 of the 80 problems can teach, and `python train.py --config small.json` still
ends at 99.0% on each of the seeds 0 to 2.  With `--set selector.name=random_one --out runs/random`
it ends at 20.0, 60.0 and 20.0%, since only 2, 4 and 5 of the 185 groups are informative, instead of
53, 68 and 66: the rarer the problems that can teach, the more it matters which one is chosen.

To add a task, write one more entry in `TASKS`, whose texts need no characters but `ALPHABET`.  Then
`python warmup.py --task NAME --out base-NAME` makes the model that the task starts from, and prints
the command that trains it.  (a+b) mod 7 of numbers below 30, for example, takes some 20 lines and a
configuration that holds out 40 problems: after a warm-up of 400 steps, training took it from 20 to
100%; of numbers below 64, only from 12 to 17.5%.  From `base/`, which has never seen it, it stayed
at 0%.
"""

import argparse
import inspect
import json
import sys
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.random import Generator, default_rng

from answers.golds import gold_answer
from plumbing import chat, hub
from plumbing.command import Parser, UserError, command, whole_number
from plumbing.json_files import read_text
from plumbing.tokenizer import encode, load_tokenizer  # noqa: F401 (to be imported from here too)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORGET = 0.6  # how often the annotators of the base model's training data forget a carry
MISTAKE = 0.7  # how often those of base-tables' training data slip in a times table
ALPHABET = "0123456789+-*=,#"  # all characters that a base model made by `warmup.py` knows
MOST_DRAWS = 100_000  # after so many draws in a row without a new problem there are no more
HELDOUT_SUMS = 3  # one in so many of the plain sums is held out
MOST_CHARACTERS, MOST_BYTES = 1_000_000, 10**9  # of a line in a file of problems, and of all


@dataclass(frozen=True)
class Problem:
    """A question, its gold answer, and the kind that figures group it by ("" where unknown).

    `fields` are all others of its line in a file, for a reward of one's own.  They are no part of
    the prompt, and so not of what makes two problems equal.
    """

    text: str
    answer: str
    kind: str = ""
    source: str = field(default="", compare=False, repr=False)  # its task, or its file and line
    fields: dict = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Task:
    """All that is said about one built-in task.  Its problems read `a operator b =`.

    Every field is required, and a share that is not positive or belongs to no known kind is a
    `UserError`: a task that is half made cannot be built, so it never passes for another one.
    """

    config: str  # the file that trains a model on it; small.json serves any with 200 held out
    pool: dict[str, float]  # the mix trained on: how large the share of each kind is
    heldout: dict[str, float]  # the mix that "held-out accuracy" is measured on
    pool_most: int  # how many different problems may be asked for
    heldout_most: int
    operators: dict[str, str]  # of every kind of problem; several operators take turns
    kind: Callable[[int, str, int], str]  # (a, operator, b) -> the kind of this problem
    draw: Callable[[Generator, str, str], tuple[int, int]]  # (rng, kind, operator) -> (a, b)
    answer: Callable[[int, str, int], int]  # (a, operator, b) -> the gold answer
    taught: str  # the operators of the problems that annotators solve; draw's kind is "" there
    working: Callable[[int, str, int, Generator], str]  # what an annotator writes, right or wrong

    def __post_init__(self) -> None:
        for kind, share in [*self.pool.items(), *self.heldout.items()]:
            if kind not in self.operators:
                known = ", ".join(self.operators)
                raise UserError(f"data.TASKS: a mix has the kind {kind!r}; `operators` has {known}")
            if not 0 < share < float("inf"):
                raise UserError(f"data.TASKS: the share of {kind!r} is {share}; give more than 0")
        if min(len(self.pool), len(self.heldout), self.pool_most, self.heldout_most) < 1:
            raise UserError("data.TASKS: a mix has no kind in it, or allows no problem")
        signs = [*self.operators.values(), self.taught]
        if not all(signs) or not set("".join(signs)) <= set(ALPHABET):
            raise UserError(f"data.TASKS: operators {signs} must be some of {ALPHABET}")


def task_problems(task: str, n: int, rng: Generator, heldout: bool = False) -> list[Problem]:
    """Return n different problems of a task, mixed as its entry says, in random order.

    `UserError` is raised where a kind has too few problems.
    """
    mix = TASKS[task].heldout if heldout else TASKS[task].pool
    counts = {kind: round(share * n / sum(mix.values())) for kind, share in mix.items()}
    counts[max(mix, key=mix.get)] += n - sum(counts.values())  # what rounding left
    if min(counts.values()) < 0:
        raise UserError(f"task {task!r}: {n} problems are too few for its {len(mix)} kinds")
    problems: dict[str, Problem] = {}  # by text, so that none appears twice
    for kind, count in counts.items():
        operators = TASKS[task].operators[kind]
        wanted = len(problems) + count
        while len(problems) < wanted:
            # taking turns, since eight carries of one sign would never teach the other
            op = operators[len(problems) % len(operators)]
            problem = draw_problem(task, kind, op, rng, heldout, known=problems)
            problems[problem.text] = problem
    in_order = list(problems.values())
    return [in_order[i] for i in rng.permutation(n)]


def draw_problem(
    task: str, kind: str, op: str, rng: Generator, heldout: bool = False, *,
    known: Collection[str] = (),
) -> Problem:  # fmt: skip
    """Draw until a problem is of the kind, on the asked side of the split, and not known yet."""
    entry = TASKS[task]
    for _ in range(MOST_DRAWS):
        a, b = entry.draw(rng, kind, op)
        if entry.kind(a, op, b) == kind and is_heldout(a, op, b) == heldout:
            text = f"{a}{op}{b}="
            if text not in known:
                return Problem(text, str(entry.answer(a, op, b)), kind, f"task '{task}'")
    raise UserError(
        f"task '{task}': {MOST_DRAWS:,} draws in a row brought no new problem of the kind {kind!r}"
        f"{' that is held out' * heldout}; ask for fewer, or correct its entry in data.TASKS"
    )


def is_heldout(a: int, op: str, b: int, one_in: int = 10) -> bool:
    """Return whether a problem belongs to the fixed share that is never trained on.

    a+b and b+a fall on the same side of the split.
    """
    first, second = (a, b) if op == "-" else sorted((a, b))
    return zlib.crc32(f"{first}{op}{second}".encode()) % one_in == 0


# --------------------------------------------------------------------------- column arithmetic


def solution(a: int, op: str, b: int, rng: Generator, forget: float = 0.0) -> str:
    """Write the working and answer of a+b, or of a-b for a >= b, forgetting carries at random."""
    sign = {"+": 1, "-": -1}[op]
    width = max(len(str(a)), len(str(b)))
    columns, digits, carry = [], [], 0
    for place in range(width):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + sign * (y + carry)
        owed = not 0 <= total < 10  # a ten to hand on, or one borrowed
        if total < 0:
            total += 10
        columns.append(f"{x}{op}{y}{f'{op}1' if carry else ''}={total}")
        last = place == width - 1
        digits.append(str(total if last else total % 10))
        carry = int(owed and rng.random() >= forget)
    answer = int("".join(reversed(digits)))
    return ",".join(columns) + f"#{answer}"


def n_carries(a: int, op: str, b: int) -> int:
    """Count the carries or borrows to remember; the last column's carry is written down at once."""
    width = max(len(str(a)), len(str(b)))
    lower = [10**place for place in range(1, width)]
    if op == "+":
        return sum(a % power + b % power >= power for power in lower)
    return sum(a % power < b % power for power in lower)


def column_kind(a: int, op: str, b: int) -> str:
    """Return "product", or "carry" where a carry must be remembered, or else "plain"."""
    if op == "*":
        return "product"
    return "carry" if n_carries(a, op, b) else "plain"


def random_operands(rng: Generator, op: str) -> tuple[int, int]:
    """Draw two numbers of two or three digits each; a difference has the larger one first."""
    a, b = (int(rng.integers(10 ** (d - 1), 10**d)) for d in rng.integers(2, 4, size=2))
    return (max(a, b), min(a, b)) if op == "-" else (a, b)


# --------------------------------------------------------------------------- times tables


def table_solution(a: int, b: int, rng: Generator, mistake: float = 0.0) -> str:
    """Write the working and answer of a*b for one digit b, slipping at random in shaky products.

    The mistaken product is the one before it in the times table.
    """
    columns, digits, carry = [], [], 0
    for x in map(int, reversed(str(a))):
        slips = is_shaky(x, b) and rng.random() < mistake
        total = (x - slips) * b + carry
        columns.append(f"{x}*{b}{f'+{carry}' if carry else ''}={total}")
        digits.append(str(total % 10))
        carry = total // 10
    answer = int(str(carry) + "".join(reversed(digits)))
    return ",".join(columns) + f"#{answer}"


def is_shaky(x: int, b: int) -> bool:
    """Return whether the annotators are unsure of the product of these two digits."""
    return x >= 3 and b >= 6


def table_kind(a: int, op: str, b: int) -> str:
    """Return "long" where b has two digits, "shaky" where any of its products is, else "easy"."""
    if b > 9:
        return "long"
    return "shaky" if any(is_shaky(int(x), b) for x in str(a)) else "easy"


def random_factors(rng: Generator, kind: str) -> tuple[int, int]:
    """Draw a number of two or three digits, and one of one digit, or of two for the kind "long"."""
    a, b = int(rng.integers(10, 1000)), int(rng.integers(2, 10))
    return a, int(rng.integers(11, 100)) if kind == "long" else b


# --------------------------------------------------------------------------- the tasks


TASKS: dict[str, Task] = {
    "arithmetic": Task(
        config="small.json",
        pool={"plain": 0.5, "carry": 0.1, "product": 0.4},  # solved, learnable, impossible
        heldout={"plain": 0.2, "carry": 0.8},
        pool_most=10_000,
        heldout_most=10_000,
        operators={"plain": "+-", "carry": "+-", "product": "*"},
        kind=column_kind,
        draw=lambda rng, kind, op: random_operands(rng, op),
        answer=lambda a, op, b: {"+": a + b, "-": a - b, "*": a * b}[op],
        taught="+-",
        working=lambda a, op, b, rng: solution(a, op, b, rng, FORGET),
    ),
    "tables": Task(
        config="configs/tables.json",
        pool={"easy": 0.45, "shaky": 0.25, "long": 0.3},  # solved, learnable, impossible
        heldout={"easy": 0.2, "shaky": 0.8},
        pool_most=5000,
        heldout_most=400,
        operators={"easy": "*", "shaky": "*", "long": "*"},
        kind=table_kind,
        draw=lambda rng, kind, op: random_factors(rng, kind),
        answer=lambda a, op, b: a * b,
        taught="*",
        working=lambda a, op, b, rng: table_solution(a, b, rng, MISTAKE),
    ),
}


# --------------------------------------------------------------------------- problems from a file


def load_jsonl(path: str | Path) -> list[Problem]:
    """Read problems from lines {"problem": ..., "answer": ..., "kind": ...}; `kind` is optional.

    "question" is read as "problem", and what else stands there is kept in `Problem.fields`.  Of a
    worked answer only what stands behind its last "####", or in its last \\boxed{}, is the gold.
    `UserError` names the file and the line of whatever is malformed or could never be solved; a
    problem that stands there twice with different answers is told on the terminal.
    """
    path = Path(path)
    try:
        # texts may hold other line breaks
        lines = read_text(path, MOST_BYTES, encoding="utf-8-sig").split("\n")
    except UserError as error:
        raise UserError(f"{error}; give a JSONL file, or one of {', '.join(TASKS)}") from error
    numbered = [(i, line) for i, line in enumerate(lines, start=1) if line.strip()]
    problems = [_parse_line(line, f"{path}:{i}") for i, line in numbered]
    if not problems:
        raise UserError(f"{path}: holds no problems; give one JSON object per line")
    seen: dict[str, Problem] = {}
    for problem in problems:
        first = seen.setdefault(problem.text, problem)
        if first.answer != problem.answer:
            print(
                f"warning: {problem.source}: the same problem as in {first.source}, with the "
                f"answer {problem.answer!r} and not {first.answer!r}",
                file=sys.stderr,
            )
    return problems


def write_jsonl(path: Path, problems: list[Problem]) -> None:
    """Write problems as `load_jsonl` reads them, one line per problem."""
    records = [
        {"problem": p.text, "answer": p.answer, "kind": p.kind, **p.fields} for p in problems
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def _parse_line(line: str, where: str) -> Problem:
    """Return the problem of one line; `where` is its file and number, for the errors."""
    if len(line) > MOST_CHARACTERS:
        raise UserError(f"{where}: has {len(line):,} characters; {MOST_CHARACTERS:,} are allowed")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{where}: not a JSON object")
    problem, answer = record.get("problem", record.get("question", "")), record.get("answer", "")
    kind = record.get("kind") or ""
    if not isinstance(problem, str) or not problem.strip():
        raise UserError(f"{where}: 'problem' must be a text that is not empty")
    is_number = isinstance(answer, (int, float)) and not isinstance(answer, bool)
    if not (isinstance(answer, str) or is_number) or not str(answer).strip():
        raise UserError(f"{where}: 'answer' must be a text or a number that is not empty")
    if isinstance(answer, float) and not isfinite(answer):  # NaN, Infinity, 1e400
        raise UserError(f"{where}: 'answer' must be a finite number, not {answer}")
    if not isinstance(kind, str):
        raise UserError(f"{where}: 'kind' must be a text")
    try:
        gold = gold_answer(str(answer))
    except ValueError as error:
        raise UserError(f"{where}: 'answer' {error}") from error
    known = ("problem" if "problem" in record else "question", "answer", "kind")
    further = {name: value for name, value in record.items() if name not in known}
    return Problem(problem, gold, kind, where, further)


# --------------------------------------------------------------------------- prompts and tokens


def with_problem(text: str, problem: Problem) -> str:
    """Return the text with the problem in place of `{problem}`."""
    return text.replace("{problem}", problem.text)


def prompt_ids(
    tokenizer: "PreTrainedTokenizerBase", template: str, problem: Problem,
    system: str = "", prefill: str = "", date: str = "", *,
    template_args: dict[str, object] | None = None,
) -> list[int]:  # fmt: skip
    """Return the tokens of one problem's prompt; see `make_prompts`, which makes many at once."""
    return make_prompts(
        tokenizer, template, [problem], system, prefill, date, template_args=template_args
    )[0]


def make_prompts(
    tokenizer: "PreTrainedTokenizerBase", template: str, problems: list[Problem],
    system: str = "", prefill: str = "", date: str = "", *,
    template_args: dict[str, object] | None = None,
) -> list[list[int]]:  # fmt: skip
    """Return each prompt's tokens: the template with the problem in it, or a "chat" of one turn.

    `prefill` holds the first words of the answer, which are put into the model's mouth; it may hold
    {problem} too.  Where the tokenizer begins texts with a BOS token, a template with {problem}
    gets exactly one, whether it has it already or not.  A chat has the tokens that transformers
    makes of the checkpoint's own template, on the day `date`, or today where it is empty, with
    `template_args` as further arguments, such as {"enable_thinking": False} for Qwen3.
    """
    if template == "chat":
        before = [{"role": "system", "content": system}] if system else []
        chats = [[*before, {"role": "user", "content": problem.text}] for problem in problems]
        texts = chat.lay_out(tokenizer, chats, date, template_args)
    else:
        texts = [with_problem(template, problem) for problem in problems]
    found = []
    for problem, text in zip(problems, texts, strict=True):
        text += with_problem(prefill, problem)
        try:
            found.append(encode(tokenizer, text, plain=template != "chat"))
        except UserError as error:
            raise UserError(f"{problem.source}: {error}".removeprefix(": ")) from error
    return found


# --------------------------------------------------------------------------- the command


def plain_sums(n: int, rng: Generator, heldout: bool, largest: int = 20) -> list[Problem]:
    """Return n different sums "a+b=" of numbers up to `largest`; a third of all is held out."""
    if largest > 999:
        raise UserError(f"the largest number may be 999, not {largest}")
    operands = [(a, b) for a in range(1, largest + 1) for b in range(1, largest + 1)]
    side = [pair for pair in operands if is_heldout(pair[0], "+", pair[1], HELDOUT_SUMS) == heldout]
    if n > len(side):
        raise UserError(f"there are only {len(side)} such sums, not {n}; ask for larger numbers")
    chosen = [side[i] for i in rng.choice(len(side), n, replace=False)]
    kinds = {1: "one digit", 2: "two digits", 3: "three digits"}
    return [Problem(f"{a}+{b}=", str(a + b), kinds[len(str(max(a, b)))]) for a, b in chosen]


@command
def main(argv: list[str] | None = None) -> None:
    """Write sums.jsonl and sums-heldout.jsonl into a folder, for `configs/smollm2-135m.json`.

    `data.py hub NAME` writes problems of the Hugging Face hub in their place: `data.py hub --help`.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["hub"]:
        return hub.main(words[1:], longest=MOST_CHARACTERS)
    parser = Parser(
        prog="data.py", description=inspect.cleandoc(main.__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    count, add = whole_number(1), parser.add_argument
    add("folder", type=Path, help="the folder that the two files are written to")
    add("--pool", type=count, default=128, help="how many problems to train on [128]")
    add("--heldout", type=count, default=100, help="how many held-out problems [100]")
    add("--largest", type=count, default=20, help="the largest number that is added [20]")
    add("--seed", type=whole_number(0), default=0, help="the seed of their choice [0]")
    args = parser.parse_args(words)
    rng = default_rng(args.seed)
    files = {
        args.folder / "sums.jsonl": plain_sums(args.pool, rng, False, args.largest),
        args.folder / "sums-heldout.jsonl": plain_sums(args.heldout, rng, True, args.largest),
    }
    for file, problems in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(file, problems)
        except OSError as error:
            raise UserError(f"{file}: cannot be written ({error.strerror})") from error
        print(f"{file}: {len(problems)} problems")


if __name__ == "__main__":
    sys.exit(main())
