"""Throw damaged files and arguments at the commands, and see that each ends well.

    python tools/fuzz_input.py --cases 10000 --seed 0
    python tools/fuzz_input.py --seed 0 --only 1234       one case again, with what it printed

Every case begins with valid files: a configuration, a tiny model, a pool, a finished run with its
checkpoints, the record of an evaluation, the results of experiments.  One thing or a few are
changed, as `fuzz_cases.py` says, and a command runs on it in a process that is watched.  A command
ends well if within the time it returns

    0                  it could make something of that
    1, 2 or 130        after exactly one line that begins with "error", or with "interrupted"

without a traceback or a warning of Python's; and where it returns 2, all files are as before.

How to read it: one row per kind of case.  The files of cases that failed are kept for a look.
"""

import hashlib
import importlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

from fuzz_cases import KINDS, RECORD, TRAIN, make
from project import ROOT
from tqdm import tqdm

from plumbing.command import Parser, command, whole_number
from plumbing.config import all_keys

SECONDS = 20  # that a case may take,
PREPARING = 300  # and the valid files
MEMORY = 8 * 2**30  # bytes of address space that a case may have
COMPLAINT = re.compile(r"Traceback|panicked|Exception ignored|\w+Warning: ")
WEIGHTS = {"key": 3, "arguments": 3, "model": 2}  # how often a kind comes, for each one of others


@dataclass
class Outcome:
    """How a case ended."""

    number: int
    kind: str
    words: list[str]  # the command line
    code: int | None  # what the command returned, if it did
    said: str  # on stderr
    fault: str  # why it did not end well; empty if it did


def kind_of(seed: int, number: int) -> str:
    """Return of which kind a case is."""
    kinds = list(KINDS)
    weights = [WEIGHTS.get(kind, 1) for kind in kinds]
    return random.Random(f"{seed} {number}").choices(kinds, weights)[0]


# ------------------------------------------------------------------------- in a watched process


def prepare(valid: Path) -> None:
    """Make the valid files that every case begins with."""
    import evaluate
    import train
    from model import Transformer

    (valid / "model").mkdir(parents=True)
    settings = json.loads((ROOT / "base" / "config.json").read_text()) | {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    Transformer(settings).save(valid / "model")
    shutil.copy(ROOT / "base" / "tokenizer.json", valid / "model")
    tokens = json.loads((ROOT / "base" / "tokenizer_config.json").read_text())
    tokens["chat_template"] = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    config = json.loads((ROOT / "small.json").read_text())
    config |= {"model": "model", "steps": 2, "max_rollouts": 0, "eval_every": 4}
    config["checkpoint_every"] = 1
    config["data"] |= {"pool": "pool.jsonl", "pool_size": 0, "heldout_size": 2}
    config["data"]["heldout"] = "arithmetic"
    config["rollout"] |= {"group_size": 2, "max_new_tokens": 4}
    for name, values in (
        ("model/tokenizer_config.json", tokens), ("config.json", config),
        ("model/generation_config.json", {"eos_token_id": 2}),
    ):  # fmt: skip
        (valid / name).write_text(json.dumps(values))
    problems = [
        {"problem": f"{n}+{n}=", "answer": str(2 * n), "kind": "ab"[n % 2]} for n in range(1, 9)
    ]
    write_lines(valid / "pool.jsonl", map(json.dumps, problems))
    os.chdir(valid)
    if train.main([*TRAIN[:-1], "run"]) or evaluate.main(RECORD):
        raise RuntimeError("the valid files are refused")
    for task, source in (("compare", "compare-small"), ("few", "few-small")):
        lines = (ROOT / "experiments" / "results" / f"{source}.jsonl").read_text().splitlines()
        write_lines(valid / f"{task}.jsonl", lines[:6])


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write a text file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))


def work(tasks: Connection, root: Path, seed: int) -> None:
    """Carry out the cases whose numbers come, and send back how each ended; None ends it.

    `root` is this process's own folder.  What is printed goes to its file "said", also what a
    library prints without asking Python.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    with (root / "said").open("ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    import torch

    import report

    sys.path += [str(ROOT / folder) for folder in ("tools", "experiments")]
    torch.set_num_threads(1)
    prepare(root / "valid")
    limit_memory()
    draw = report.draw
    tasks.send(None)
    while (number := tasks.recv()) is not None:
        kind = kind_of(seed, number)
        report.draw = draw if kind == "run" else lambda run: "not drawn: it takes longer"
        tasks.send(carry_out(number, kind, seed, root))


def limit_memory() -> None:
    """Let this process ask for no more than `MEMORY`, where the system knows such a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def carry_out(number: int, kind: str, seed: int, root: Path) -> Outcome:
    """Carry out one case in the folder root/case/in/here, where it stays until the next."""
    shutil.rmtree(root / "case", ignore_errors=True)
    folder = root / "case" / "in" / "here"  # so that ../.. is a folder of ours
    folder.mkdir(parents=True)
    os.chdir(folder)
    keys = [path for path, _, _ in all_keys()]
    name, words = make(kind, f"{seed} {number}", root / "valid", folder, keys)
    (root / "words").write_text(json.dumps([name, *words]))  # for a case that never returns
    before = contents(folder)
    os.truncate(root / "said", 0)
    code, raised = None, ""
    try:
        code = importlib.import_module(name).main(words)
    except SystemExit as ended:  # --help
        code = ended.code or 0
    except BaseException:
        raised = traceback.format_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(root)
    said = (root / "said").read_text(encoding="utf-8", errors="replace") + raised
    changed = [] if code != 2 else sorted(before.items() ^ contents(folder).items())
    fault = judge(code, said, [path for path, _ in changed if path.name != "lock"])
    return Outcome(number, kind, [name, *words], code, said, fault)


def contents(folder: Path) -> dict[Path, str]:
    """Return what everything in a folder is: where a link points, or what is in a file."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path] = str(path.readlink())
        elif path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[path] = ""
    return found


def judge(code: int | None, said: str, changed: list[Path]) -> str:
    """Return why a case did not end well; nothing if it did."""
    errors = [line for line in said.splitlines() if line.startswith(("error", "interrupted"))]
    if complaint := COMPLAINT.search(said):
        return complaint[0]
    if code not in (0, 1, 2, 130):
        return f"ended with {code}"
    if len(errors) != (code != 0):
        return f"ended with {code} after {len(errors)} lines of errors"
    return f"left {changed[0].name} behind or changed it" if changed else ""


# --------------------------------------------------------------------------------- all the cases


class Worker:
    """A process that carries out cases, and is ended when one takes too long."""

    def __init__(self, root: Path, seed: int) -> None:
        root.mkdir()
        self.root, self.seed = root, seed
        self.tasks, theirs = get_context("spawn").Pipe()
        self.process = get_context("spawn").Process(
            target=work, args=(theirs, root, seed), daemon=True
        )
        self.process.start()
        theirs.close()
        self.number, self.since = -1, time.monotonic()  # busy with its valid files

    def limit(self) -> int:
        """Return how many seconds it has for what it does."""
        return SECONDS if self.number >= 0 else PREPARING

    def is_late(self) -> bool:
        """Whether it has taken longer than that."""
        return time.monotonic() > self.since + self.limit()

    def give(self, number: int | None) -> None:
        """Let it carry out a case, or end."""
        self.tasks.send(number)
        self.number, self.since = number, time.monotonic()

    def outcome(self) -> Outcome | None:
        """Return how its case ended; None after its valid files, which must not fail."""
        try:
            if self.tasks.poll():
                return self.tasks.recv()
            fault = f"no end after {self.limit()} s"
        except (EOFError, OSError):
            fault = "the process died"
        self.process.kill()
        self.process.join()
        said = (self.root / "said").read_text(encoding="utf-8", errors="replace")
        if self.number < 0:
            raise RuntimeError(f"the valid files: {fault}: {said}")
        words = json.loads((self.root / "words").read_text())
        return Outcome(self.number, kind_of(self.seed, self.number), words, None, said, fault)


def outcomes(numbers: Sequence[int], seed: int, processes: int, kept: Path) -> Iterator[Outcome]:
    """Yield how each case ended; the files of those that failed go into the folder `kept`."""
    numbers, made = iter(numbers), 0
    with tempfile.TemporaryDirectory() as folder:
        workers: list[Worker] = []
        for _ in range(processes):
            workers.append(Worker(Path(folder) / str(made), seed))
            made += 1
        try:
            while workers:
                ready = wait([worker.tasks for worker in workers], timeout=1)
                for worker in [w for w in workers if w.tasks in ready or w.is_late()]:
                    outcome = worker.outcome()
                    if outcome:
                        keep(outcome, worker.root, kept)
                        yield outcome
                    if not worker.process.is_alive():
                        workers.remove(worker)
                        worker = Worker(Path(folder) / str(made), seed)
                        workers.append(worker)
                        made += 1
                    elif (number := next(numbers, None)) is None:
                        workers.remove(worker)
                        worker.give(None)
                    else:
                        worker.give(number)
        finally:
            for worker in workers:
                worker.process.kill()


def keep(outcome: Outcome, root: Path, kept: Path) -> None:
    """Keep the files of a case that failed, with its command line and what it printed."""
    if not outcome.fault:
        return
    place = kept / str(outcome.number)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for path in (root / "case").rglob("*"):
        to = place / path.relative_to(root / "case")
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            to.symlink_to(path.readlink())
        elif path.is_file():
            shutil.copy(path, to)
        elif path.is_dir():
            to.mkdir(exist_ok=True)
    story = {"words": outcome.words, "fault": outcome.fault, "said": outcome.said}
    (place / "story.json").write_text(json.dumps(story, indent=2) + "\n")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of how the cases ended; return 1 if one did not end well."""
    parser = Parser(prog="fuzz_input.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--cases", type=whole_number(1), default=10_000, help="how many [10000]")
    add("--seed", type=whole_number(0), default=0, help="of the cases [0]")
    add("--only", type=whole_number(0), metavar="NUMBER", help="carry out this case alone")
    add("--processes", type=whole_number(1), default=os.cpu_count(), help="[one per core]")
    add("--keep", type=Path, default=Path("runs") / "fuzz_input", metavar="FOLDER",
        help="for the files of cases that fail [runs/fuzz_input]")  # fmt: skip
    args = parser.parse_args(argv)
    numbers = range(args.cases) if args.only is None else [args.only]
    counts: Counter[tuple[str, str]] = Counter()
    bar = tqdm(total=len(numbers), desc="cases", mininterval=1)
    for outcome in outcomes(numbers, args.seed, min(args.processes, len(numbers)), args.keep):
        end = "failed" if outcome.fault else "ran" if outcome.code == 0 else "refused"
        counts[outcome.kind, end] += 1
        bar.update()
        if outcome.fault or args.only is not None:
            last = outcome.said.strip().splitlines()[-1:]
            bar.write(f"{outcome.number}: {outcome.fault or 'ended well'}: "
                      f"{ascii(outcome.words)[:300]} {ascii(last)[:300]}")  # fmt: skip
    bar.close()
    print(f"{'':14}{'cases':>7}{'ran':>7}{'refused':>9}{'failed':>8}")
    for kind in [*KINDS, "all"]:
        ends = [sum(n for (k, e), n in counts.items() if kind in (k, "all") and e == end)
                for end in ("ran", "refused", "failed")]  # fmt: skip
        print(f"{kind:14}{sum(ends):7}{ends[0]:7}{ends[1]:9}{ends[2]:8}")
    return int(any(end == "failed" for _, end in counts))


if __name__ == "__main__":
    sys.exit(main())
