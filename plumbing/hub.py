"""Datasets: rows of a dataset on the Hugging Face hub become the lines that `data.py` reads.

What it teaches: what stands between a benchmark's name and its problems.  Every dataset has a
split, columns, and an opinion of what an answer is: a number, a list, a whole solution.  Here a row
becomes {"problem": ..., "answer": ...}, with the answer reduced as `data.load_jsonl` reduces it;
and a row that no response could ever solve is left out, counted, and its reason said.

Where it stands: behind `python data.py hub`, before any run.  The library `datasets` is asked for
by this command alone, in a version that never runs code of a dataset.

Try changing first: `READY`, by an entry of your own.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from answers.golds import gold_answer
from plumbing import disk
from plumbing.command import Parser, UserError, one_line

OLDEST = 4  # of `datasets`: from this version on it runs no code that comes with a dataset
COLUMNS = "--problem, --answer, --kind, --keep"  # the options that name one
REMEDY = f"pip install -U 'datasets>={OLDEST}'"


@dataclass(frozen=True)
class Source:
    """Where problems come from, and in which columns they stand.

    A column may lie within another: "reward_model.ground_truth", or "prompt.0.content" for the
    content of the first item of a list.
    """

    id: str  # OWNER/NAME on the hub, or a folder in the hub's form
    files: dict[str, str]  # the name of each file to write -> its split
    config: str = ""
    problem: str = "problem"
    answer: str = "answer"
    kind: str = ""
    tail: str = ""  # how to answer, where it stands at the end of every problem: it is left out
    keep: tuple[str, ...] = ()  # further columns


# The benchmarks of the field by name; https://huggingface.co/datasets/ID says who made them, and
# under which licence.
READY = {
    "gsm8k": Source(
        "openai/gsm8k",
        {"gsm8k_train.jsonl": "train", "gsm8k_test.jsonl": "test"},
        config="main",
        problem="question",
    ),
    "math500": Source("HuggingFaceH4/MATH-500", {"math500.jsonl": "test"}, kind="subject"),
    "aime24": Source("HuggingFaceH4/aime_2024", {"aime24.jsonl": "train"}),
    "aime25": Source("math-ai/aime25", {"aime25.jsonl": "test"}),
    "amc23": Source("math-ai/amc23", {"amc23.jsonl": "test"}, problem="question"),
    "minerva": Source("math-ai/minervamath", {"minerva.jsonl": "test"}, problem="question"),
    "olympiadbench": Source(
        "math-ai/olympiadbench",
        {"olympiadbench.jsonl": "test"},
        problem="question",
        answer="final_answer",
    ),
    "dsr_sub": Source(  # the pool of 1-shot RLVR, arXiv 2504.20571
        "ypwang61/One-Shot-RLVR-Datasets",
        {"dsr_sub.jsonl": "dsr_sub"},
        problem="prompt.0.content",
        answer="reward_model.ground_truth",
        tail="Let's think step by step and output the final answer within \\boxed{}.",
    ),
}


# --------------------------------------------------------------------------- a row becomes a line


def record_of(row: dict, source: Source) -> dict:
    """Return what is written of one row; ValueError says why it has to be left out."""
    problem = column(row, source.problem)
    if not isinstance(problem, str | None):
        raise ValueError("a problem that is no text")
    problem = (problem or "").strip().removesuffix(source.tail).strip()
    if not problem:
        raise ValueError("an empty problem")
    answer = answer_text(column(row, source.answer))
    try:
        record = {"problem": problem, "answer": gold_answer(answer)}
    except ValueError as error:
        raise ValueError("a solution in which no final answer is found") from error
    if source.kind:
        kind = column(row, source.kind)
        record["kind"] = "" if kind is None else str(kind)
    return record | {name: column(row, name) for name in source.keep}


def answer_text(value: object) -> str:
    """Return an answer as a text: a number as it is written, several with commas between them."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = ", ".join(item.strip() for item in value)
    if value is None or value == [] or (isinstance(value, str) and not value.strip(" \t\r\n,")):
        raise ValueError("no answer")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (isinstance(value, str) or (is_number and math.isfinite(value))):
        raise ValueError("an answer that is neither a text nor a number")
    return str(value)


def column(row: dict, path: str) -> object:
    """Return what stands in a column, or within one; None where it is not there in this row.

    `UserError` names the columns where there is none of that name.
    """
    if path in row:
        return row[path]
    first, *inner = path.split(".")
    if first not in row:
        raise UserError(f"there is no column {first!r}, but {', '.join(map(str, row))}")
    value = row[first]
    for part in inner:
        if isinstance(value, list):
            value = value[int(part)] if part.isdecimal() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def lines_of(rows: Iterable[dict], source: Source, longest: int) -> tuple[list[str], Counter]:
    """Return the lines of JSON to write, and how many rows were left out for each reason.

    `longest` is how many characters of a line are read.  `UserError` where a column is missing,
    or holds what JSON has no form for.
    """
    lines, left_out = [], Counter()
    for row in rows:
        try:
            line = json.dumps(record_of(row, source))
        except UserError as error:
            raise UserError(f"{source.id}: {error}; see {COLUMNS}") from error
        except TypeError as error:
            raise UserError(f"{source.id}: --keep {' '.join(source.keep)}: {error}") from error
        except ValueError as error:
            left_out[str(error)] += 1
            continue
        if len(line) > longest:
            left_out[f"more than {longest:,} characters"] += 1
        else:
            lines.append(line)
    return lines, left_out


# --------------------------------------------------------------------------- the library


def rows_of(source: Source, split: str) -> Iterator[dict]:
    """Yield the rows of a split, one after the other; nothing is kept on the disk.

    `UserError` says in one line what the library says in many.
    """
    try:
        import datasets
    except ImportError as error:
        why = f"the library 'datasets', which cannot be imported ({error})"
        raise UserError(f"data.py hub reads with {why}; {REMEDY}") from error
    if int(datasets.__version__.split(".")[0]) < OLDEST:
        raise UserError(
            f"datasets {datasets.__version__} may run code of a dataset; {REMEDY}"
        ) from None
    try:
        yield from datasets.load_dataset(
            source.id, source.config or None, split=split, streaming=True
        )
    except Exception as error:  # each of the libraries below it has errors of its own
        said = one_line(str(error))[:400] or type(error).__name__
        raise UserError(
            f"{source.id}: split {split!r} cannot be read ({said}); see --config and --split, and "
            f"the dataset's page; a folder needs files of one form, such as parquet or JSONL"
        ) from error


# --------------------------------------------------------------------------- the command


def sources_of(argv: list[str]) -> tuple[list[Source], Path, bool]:
    """Return what to read, the folder to write to, and whether a file there may be replaced."""
    parser = Parser(
        prog="data.py hub", allow_abbrev=False,
        description="Write problems from the Hugging Face hub as JSONL files.  By name: "
        + ", ".join(READY),
    )  # fmt: skip
    add = parser.add_argument
    one = "or one OWNER/NAME of the hub, or one folder in its form"
    add("names", nargs="+", metavar="NAME", help=f"some of the above; {one}")
    add("--folder", type=Path, help="where files of the names above are written [benchmarks]")
    add("--out", type=Path, help="the file to write, of an OWNER/NAME or folder")
    add("--config", help="its configuration [none]")
    add("--split", help="its split [train]")
    add("--problem", help="the column of the problem [problem]")
    add("--answer", help="the column of the answer, or of a solution with it [answer]")
    add("--kind", help="the column of the kind that accuracies are grouped by [none]")
    add("--keep", nargs="+", metavar="COLUMN", help="further columns to write, as they are")
    add("--overwrite", action="store_true", help="replace files that are already there")
    args = parser.parse_args(argv)
    of_one = {name: value for name, value in vars(args).items()
              if name in ("out", "config", "split", "problem", "answer", "kind", "keep")
              and value is not None}  # fmt: skip
    if set(args.names) <= READY.keys():
        if of_one:
            raise UserError(
                f"--{next(iter(of_one))}: is known of {args.names[0]}; give it with the id of a "
                f"dataset, such as {READY[args.names[0]].id}"
            )
        found = [READY[name] for name in dict.fromkeys(args.names)]
        return found, args.folder or Path("benchmarks"), args.overwrite
    name = args.names[0]
    if len(args.names) > 1 or not (Path(name).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", name)):
        raise UserError(
            f"{' '.join(args.names)}: must be some of {', '.join(READY)}, or one OWNER/NAME of the "
            "hub, or one folder that is there"
        )
    if args.folder or not args.out:
        raise UserError(f"{name}: name the file to write with --out, and no --folder")
    if {"problem", "answer", "kind"} & set(args.keep or ()):
        raise UserError("--keep: problem, answer and kind are written anyway")
    out, split = of_one.pop("out"), of_one.pop("split", "train")
    columns = {key: tuple(value) if key == "keep" else value for key, value in of_one.items()}
    return [Source(name, {out.name: split}, **columns)], out.parent, args.overwrite


def main(argv: list[str], longest: int) -> None:
    """Read all that was asked for, and only then write; no line is longer than `longest`."""
    sources, folder, overwrite = sources_of(argv)
    asked = [
        (source, folder / name, split) for source in sources for name, split in source.files.items()
    ]
    for _, file, _ in asked:
        disk.refuse_link(file)
        if file.exists() and not (overwrite and file.is_file()):
            raise UserError(f"{file}: is already there; add --overwrite, or name another")
    done = []
    for source, file, split in asked:
        lines, left_out = lines_of(rows_of(source, split), source, longest)
        said = ", ".join(f"{count:,} with {reason}" for reason, count in left_out.items())
        if not lines:
            raise UserError(f"{source.id}: split {split!r} has no problem to write ({said or '-'})")
        local = Path(source.id).is_dir()
        place = source.id if local else f"huggingface.co/datasets/{source.id} (see its licence)"
        told = f"{len(lines):,} problems written, {sum(left_out.values()):,} left out"
        told += f" ({said})" if said else ""
        done.append((file, lines, f"{file}: {told}; split {split!r} of {place}"))
    for file, lines, told in done:
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write_text(file, "".join(line + "\n" for line in lines))
        print(told)
