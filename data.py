"""Problems: the built-in column arithmetic, JSONL files, and the prompts they become.

What it teaches: what a *latent* ability looks like.  The base model learned from annotators who
write column arithmetic but forget most carries (`solution(..., forget=0.6)`): it knows how to carry
and seldom does.  RLVR cannot teach what is never sampled; it makes the rare right way the usual
one.

    478+365=  ->  8+5=13,7+6+1=14,4+3+1=8#843      columns from the right, then the answer
    523-178=  ->  3-8=5,2-7-1=4,5-1-1=3#345        the ten borrowed for 3-8 is the next column's -1

A forgotten carry or borrow leaves out the +1 or -1.  In the harder task, "tables", nobody is sure
of the tables of six to nine (`table_solution`): 28 products, each to be set right on its own.

    478*6=  ->  8*6=42,7*6+4=46,4*6+4=28#2862      8*6 is 48: one line too low in the table

Where it stands: the distribution of x in every formula.  A pool holds what real pools hold, mostly
problems that teach nothing: some always solved ("plain"), some never ("product"), few in between
("carry").

Try changing first: `MIX`, the shares of the pool; what does each selector do at 2% "carry"?
"""

import argparse
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORGET = 0.6  # how often the annotators of the base model's training data forget a carry
MISTAKE = 0.7  # how often those of base-tables' training data slip in a times table
MIX = {  # of a pool: solved, learnable, impossible
    "arithmetic": {"plain": 0.5, "carry": 0.1, "product": 0.4},
    "tables": {"easy": 0.45, "shaky": 0.25, "long": 0.3},
}
HELDOUT_MIX = {  # what "held-out accuracy" is measured on
    "arithmetic": {"plain": 0.2, "carry": 0.8},
    "tables": {"easy": 0.2, "shaky": 0.8},
}
MOST = {  # problems that there are enough different ones for
    "arithmetic": {"pool": 10_000, "heldout": 10_000},
    "tables": {"pool": 5000, "heldout": 400},
}
HELDOUT_SUMS = 3  # of the plain sums one in so many is held out


class DataError(ValueError):
    """Problems or prompts that cannot be used; the message is one line and names file and line."""


@dataclass(frozen=True)
class Problem:
    """A question, its gold answer, and the kind that figures group it by ("" where unknown)."""

    text: str
    answer: str
    kind: str = ""


# --------------------------------------------------------------------------- column arithmetic


def solution(a: int, op: str, b: int, rng: np.random.Generator, forget: float = 0.0) -> str:
    """Written working and answer of a+b, or of a-b for a >= b; each carry forgotten at random."""
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


def table_solution(a: int, b: int, rng: np.random.Generator, mistake: float = 0.0) -> str:
    """Written working and answer of a*b for one digit b; each shaky product mistaken at random.

    Shaky is x*b with b of 6 to 9 and x of 3 to 9; its mistake is the line before it in the table.
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
    """Whether the annotators are unsure of the product of these two digits."""
    return x >= 3 and b >= 6


def n_carries(a: int, op: str, b: int) -> int:
    """How many carries or borrows must be remembered (out of the last column they are written)."""
    width = max(len(str(a)), len(str(b)))
    lower = [10**place for place in range(1, width)]
    if op == "+":
        return sum(a % power + b % power >= power for power in lower)
    return sum(a % power < b % power for power in lower)


def is_heldout(a: int, op: str, b: int, one_in: int = 10) -> bool:
    """A fixed share of all problems, never trained on; a+b and b+a fall on the same side."""
    first, second = (a, b) if op == "-" else sorted((a, b))
    return zlib.crc32(f"{first}{op}{second}".encode()) % one_in == 0


def random_operands(rng: np.random.Generator, op: str) -> tuple[int, int]:
    """Two numbers of two or three digits each; the larger first where they are subtracted."""
    a, b = (int(rng.integers(10 ** (d - 1), 10**d)) for d in rng.integers(2, 4, size=2))
    return (max(a, b), min(a, b)) if op == "-" else (a, b)


def random_factors(rng: np.random.Generator) -> tuple[int, int]:
    """A number of two or three digits and one digit."""
    return int(rng.integers(10, 1000)), int(rng.integers(2, 10))


def arithmetic_problem(rng: np.random.Generator, kind: str, op: str, heldout: bool) -> Problem:
    """One problem of a kind of `MIX`, from the held-out tenth or from the rest."""
    while True:
        a, b = random_operands(rng, op)
        right_kind = kind == "product" or (n_carries(a, op, b) > 0) == (kind == "carry")
        if right_kind and is_heldout(a, op, b) == heldout:
            answer = {"+": a + b, "-": a - b, "*": a * b}[op]
            return Problem(f"{a}{op}{b}=", str(answer), kind)


def table_problem(rng: np.random.Generator, kind: str, heldout: bool) -> Problem:
    """One product of a kind of `MIX`, from the held-out tenth or from the rest."""
    while True:
        a, b = random_factors(rng)
        if kind == "long":  # by two digits, which nobody was shown
            b = int(rng.integers(11, 100))
        right_kind = kind == "long" or any(is_shaky(int(x), b) for x in str(a)) == (kind == "shaky")
        if right_kind and is_heldout(a, "*", b) == heldout:
            return Problem(f"{a}*{b}=", str(a * b), kind)


def arithmetic_problems(
    n: int, rng: np.random.Generator, heldout: bool = False, task: str = "arithmetic"
) -> list[Problem]:
    """n different problems of a task in the shares of `MIX` (or `HELDOUT_MIX`), in random order.

    Sums and differences take turns: eight carries of one sign would never teach the other.
    """
    mix = (HELDOUT_MIX if heldout else MIX)[task]
    counts = {kind: round(share * n / sum(mix.values())) for kind, share in mix.items()}
    counts[max(mix, key=mix.get)] += n - sum(counts.values())  # what rounding left
    problems: dict[str, Problem] = {}  # by text: no problem twice
    for kind, count in counts.items():
        ops = "*" if kind == "product" else "+-"
        wanted = len(problems) + count
        while len(problems) < wanted:
            if task == "tables":
                problem = table_problem(rng, kind, heldout)
            else:
                problem = arithmetic_problem(rng, kind, ops[len(problems) % len(ops)], heldout)
            problems[problem.text] = problem
    return [list(problems.values())[i] for i in rng.permutation(n)]


# --------------------------------------------------------------------------- plain sums, to a file


def plain_sums(n: int, rng: np.random.Generator, heldout: bool, largest: int = 20) -> list[Problem]:
    """n different sums "a+b=" of numbers up to `largest`, a third of them held out."""
    operands = [(a, b) for a in range(1, largest + 1) for b in range(1, largest + 1)]
    side = [pair for pair in operands if is_heldout(pair[0], "+", pair[1], HELDOUT_SUMS) == heldout]
    if n > len(side):
        raise DataError(f"there are only {len(side)} such sums, not {n}")
    chosen = [side[i] for i in rng.choice(len(side), n, replace=False)]
    kinds = {1: "one digit", 2: "two digits", 3: "three digits"}
    return [Problem(f"{a}+{b}=", str(a + b), kinds[len(str(max(a, b)))]) for a, b in chosen]


def main(argv=None) -> int:
    """Write sums.jsonl and sums-heldout.jsonl into a folder, for `configs/smollm2-135m.json`."""
    parser = argparse.ArgumentParser(prog="data.py", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where to write the two files")
    parser.add_argument("--pool", type=int, default=128, help="problems to train on [128]")
    parser.add_argument("--heldout", type=int, default=100, help="held-out problems [100]")
    parser.add_argument("--largest", type=int, default=20, help="of the numbers added [20]")
    parser.add_argument("--seed", type=int, default=0, help="of their choice [0]")
    args = parser.parse_args(argv)
    try:
        rng = np.random.default_rng(args.seed)
        files = {
            "sums.jsonl": plain_sums(args.pool, rng, False, args.largest),
            "sums-heldout.jsonl": plain_sums(args.heldout, rng, True, args.largest),
        }
        args.folder.mkdir(parents=True, exist_ok=True)
        for name, problems in files.items():
            lines = (
                json.dumps({"problem": p.text, "answer": p.answer, "kind": p.kind})
                for p in problems
            )
            (args.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"{args.folder / name}: {len(problems)} problems")
    except (DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# --------------------------------------------------------------------------- problems from a file


def load_jsonl(path: str | Path) -> list[Problem]:
    """Problems from lines {"problem": ..., "answer": ..., "kind": ...}; `kind` may be left out.

    "question" is read as "problem", and of a worked answer what stands behind its last "####".
    `DataError` names the file and the line of whatever is malformed, and an empty file.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # other breaks may stand in texts
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        known = ", ".join(MOST)
        raise DataError(
            f"{path}: cannot be read ({why}); a JSONL file, or one of {known}"
        ) from error
    problems = [
        _parse_line(line, f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not problems:
        raise DataError(f"{path}: holds no problems; give one JSON object a line")
    return problems


def _parse_line(line: str, where: str) -> Problem:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object")
    problem, answer = record.get("problem", record.get("question", "")), record.get("answer", "")
    kind = record.get("kind") or ""
    if not isinstance(problem, str) or not problem.strip():
        raise DataError(f"{where}: 'problem' must be a text that is not empty")
    is_number = isinstance(answer, (int, float)) and not isinstance(answer, bool)
    if not (isinstance(answer, str) or is_number) or not str(answer).strip():
        raise DataError(f"{where}: 'answer' must be a text or a number that is not empty")
    if not isinstance(kind, str):
        raise DataError(f"{where}: 'kind' must be a text")
    gold = str(answer).rpartition("####")[2].strip()  # GSM8K's answers end in "#### 42"
    if not gold:
        raise DataError(f"{where}: 'answer' holds nothing behind its last ####")
    return Problem(problem, gold, kind)


# --------------------------------------------------------------------------- prompts and tokens


def load_tokenizer(folder: str | Path):
    """The checkpoint's own tokenizer; code in the folder is never run."""
    # slow to import, and not needed to make problems
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer_config = Path(folder) / "tokenizer_config.json"
    if tokenizer_config.exists() and "auto_map" in tokenizer_config.read_text(encoding="utf-8"):
        raise DataError(f"{tokenizer_config}: 'auto_map' names code, which is never run")
    # tokenizer.json says all; AutoTokenizer would make it the family's own, with more tokens
    has_json = (Path(folder) / "tokenizer.json").exists()
    loader = PreTrainedTokenizerFast if has_json else AutoTokenizer
    try:
        return loader.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception on a broken file
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{folder}: its tokenizer cannot be loaded ({reason})") from error


def with_problem(text: str, problem: Problem) -> str:
    """The text with the problem in place of `{problem}`."""
    return text.replace("{problem}", problem.text)


def prompt_ids(
    tokenizer, template: str, problem: Problem, system: str = "", prefill: str = ""
) -> list[int]:
    """Tokens of the prompt: the problem in place of `{problem}`, or as one turn of a "chat".

    `prefill` are the first words of the answer, put into the model's mouth; the problem can stand
    in them too.

    A tokenizer that begins texts with a BOS token does so once, also where the text already has it.
    """
    if template == "chat":
        if not tokenizer.chat_template:
            raise DataError("template 'chat': this tokenizer has no chat template; use '{problem}'")
        turns = [{"role": "system", "content": system}] if system else []
        turns += [{"role": "user", "content": problem.text}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    else:
        text = with_problem(template, problem)
    text += with_problem(prefill, problem)
    has_bos = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    try:
        return tokenizer.encode(text, add_special_tokens=not has_bos)
    except Exception as error:  # as above: a character that is not in the vocabulary
        raise DataError(f"the tokenizer cannot encode {text!r} ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
