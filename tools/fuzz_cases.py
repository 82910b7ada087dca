"""What `fuzz_input.py` throws at the commands: valid files and arguments, with something changed.

Where it stands: below `fuzz_input.py`, which runs the cases and judges how they end.  It is no
command of its own, and knows nothing of the project but the names of files and options.
"""

import copy
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

VALUES = [
    None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, 10**30, 10**400, 1e-300, 1e-9, 0.5, 1e300,
    float("nan"), float("inf"), -0.0, "", "x", "1", "chat", "{problem}", "a" * 1000, "../..", ".",
    "/dev/null", "model", "pool.jsonl", "a\x00b", "\ud800", "\udcff", "\x1b[31m", "two\nlines", "$",
    r"$\frac{1}$", r"$\notacommand", "_hidden", "日本", "\u202e", "cuda:99", "cpu:1", "meta",
    [], [1], [[]], ["a"], {}, {"a": {}}, {"__class__": 1},
]  # fmt: skip
DEEP = "deep"  # stands for brackets within brackets, which json.dumps would not write
WORDS = [
    "", "-1", "0", "1", "2", "nan", "inf", "-inf", "1e9", "1e-300", "1e300", "9" * 30, "9" * 5000,
    "x", "a b", "a" * 300, "a" * 5000, "../..", ".", "/dev/null", "nowhere", "model", "pool.jsonl",
    "config.json", "run", "loop", "fifo", "link", "empty", "e.jsonl", "a\x00b", "\udcff", "\ud800",
    "日本", "$x$", "%s", "{problem}", "{", "[]", "--", "--help", "-h", "chat", "arithmetic",
    "tables", "math500", "meta", "cuda:99", "auto", "two\nlines",
]  # fmt: skip
SIZES = {  # keys and options that make a valid case last longer, and the most that is tried
    "steps": 2, "max_rollouts": 8, "updates_per_group": 2, "group_size": 8, "max_new_tokens": 8,
    "pool_size": 8, "heldout_size": 4, "threads": 1, "k": 4, "n": 3, "batch": 64, "batch-size": 4,
    "pool": 50, "heldout": 50, "seeds": 1, "largest": 20,
}  # fmt: skip
BEYOND = 10**9  # a size above this is to be refused, and so it is tried too

Case = tuple[str, list[str]]  # the module of a command, and its arguments


# ------------------------------------------------------------------------------- what is changed


def bounded(name: str, value: object) -> object:
    """Return a size that ends soon, in the place of one that is allowed and would take long."""
    most = SIZES.get(name)
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    return most if most and most < number <= BEYOND else value


def change_json(value: object, rng: random.Random) -> object:
    """Return a JSON value with one to three places changed, removed, added or moved."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        holders = [each for each in walk(value) if each]
        if not holders:
            return copy.deepcopy(rng.choice(VALUES))
        holder = rng.choice(holders)
        at = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        action = rng.random()
        if action < 0.65:
            holder[at] = bounded(str(at), copy.deepcopy(rng.choice([*VALUES, DEEP])))
        elif action < 0.8:
            del holder[at]
        elif isinstance(holder, dict):
            holder[rng.choice(["unheard_of", "", "auto_map", str(at).upper()])] = copy.deepcopy(
                holder[at]
            )
        else:
            holder.append(copy.deepcopy(holder[at]))
    return value


def walk(value: object) -> list:
    """Return every list and dict within a JSON value, itself included."""
    found = [value] if isinstance(value, list | dict) else []
    for each in value.values() if isinstance(value, dict) else found and value:
        found += walk(each)
    return found


def dump(value: object) -> bytes:
    """Return a value as JSON, a deep one in the place of `DEEP`."""
    return json.dumps(value).replace(f'"{DEEP}"', "[" * 50_000).encode()


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes that are cut short, damaged, doubled, or another thing altogether."""
    at = rng.randrange(len(content) + 1)
    before, after = content[:at], content[at:]
    return rng.choice([
        b"", b"\n", b"{", b"[]", b"null", b"NaN", b"[" * 100_000, b"\xff\xfe" + content,
        b"\xef\xbb\xbf" + content, before, after, before + b"\xff" + after,
        before + b"\0" * 9 + after, before + bytes([rng.randrange(256)]) + after[1:],
        content + content, b"1" * 5000, b'{"a": ' + b"1" * 5000 + b"}",
    ])  # fmt: skip


def change_file(path: Path, rng: random.Random) -> None:
    """Change what a file holds, or put something in its place that is no such file."""
    content, action = path.read_bytes(), rng.random()
    if action < 0.5 and path.suffix == ".json":
        path.write_bytes(dump(change_json(json.loads(content), rng)))
    elif action < 0.6 and path.suffix == ".jsonl":
        change_lines(path, content, rng)
    elif action < 0.85:
        path.write_bytes(change_bytes(content, rng))
    else:
        path.unlink()
        replace(path, content, rng)


def change_lines(path: Path, content: bytes, rng: random.Random) -> None:
    """Change one line of a file of JSON lines: its values, its bytes, its place or its end."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    action = rng.random()
    if action < 0.6:
        lines[at] = dump(change_json(json.loads(lines[at]), rng)) + b"\n"
    elif action < 0.7:
        lines[at] = change_bytes(lines[at], rng)
    elif action < 0.8:
        lines.insert(at, rng.choice(lines))
    elif action < 0.9:
        lines[-1] = lines[-1][: rng.randrange(len(lines[-1]))]
    else:
        rng.shuffle(lines)
    path.write_bytes(b"".join(lines))


def replace(path: Path, content: bytes, rng: random.Random) -> None:
    """Put nothing, a folder, a fifo, or a link to this or that in a file's place."""
    action = rng.randrange(7)
    if action == 1:
        path.mkdir()
    elif action == 2:
        os.mkfifo(path)
    elif action == 3:  # a link to what it held: reading goes on
        path.with_name("elsewhere").write_bytes(content)
        path.symlink_to("elsewhere")
    elif action > 3:
        others = [each.name for each in path.parent.iterdir()] or ["nowhere"]
        path.symlink_to([path.name, "nowhere", rng.choice(others)][action - 4])


# -------------------------------------------------------------------------------------- the cases

TRAIN = ["--config", "config.json", "--out", "out"]
EVALUATE = ["--model", "model", "--data", "pool.jsonl", "--n", "2", "--max_new_tokens", "4"]
EVALUATE += ["--out", "e.jsonl"]
RECORD = [
    "--model",
    "model",
    "--data",
    "pool.jsonl",
    "--n",
    "3",
    "--k",
    "2",
    "--max_new_tokens",
    "4",
]
RECORD += ["--out", "e.jsonl"]
ARGUMENTS = {  # a command: valid arguments, and options that may be added
    "train": (TRAIN, "--config --set --out --resume"),
    "evaluate": (EVALUATE, "--model --data --benchmarks --k --temperature --top_p --n --template "
                 "--system --prefill --max_new_tokens --batch --device --threads --seed --out"),
    "report": (["run"], ""),
    "data": (["d", "--pool", "4", "--heldout", "3"], "--pool --heldout --largest --seed"),
    "warmup": (["--out", "w", "--steps", "1", "--batch-size", "2"],
               "--out --task --steps --batch-size --lr --seed"),
    "bound": ([], "--p0 --p1 --delta"),
    "compare": (["--tables", "--out", "compare.jsonl"],
                "--task --arms --rates --seeds --processes --set --quick --out"),
    "few_instances": (["--tables", "--out", "few.jsonl"], "--task --sizes --processes --out"),
    "plots": (["compare.jsonl", "--out", "drawn"], "--out"),
    "replay": (["none.json", "--seeds", "1"], "--seeds --out"),
    "noise_scale": (["--beside", "."], "--task --models --groups --out --beside"),
    "plot_bench": (["bench.json", "bench.json", "bench.png"], ""),
}  # fmt: skip


def a_configuration(folder: Path, keys: list[str], rng: random.Random) -> Case:
    change_file(folder / "config.json", rng)
    return "train", TRAIN


def a_key(folder: Path, keys: list[str], rng: random.Random) -> Case:
    key = rng.choice(keys)
    value = bounded(key.split(".")[-1], rng.choice(VALUES))
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.3:
        text = str(value)
    return "train", [*TRAIN, "--set", f"{key}={text}"]


def a_model(folder: Path, keys: list[str], rng: random.Random) -> Case:
    files = sorted((folder / "model").iterdir())
    for file in rng.sample(files, rng.randint(1, 2)):
        if file.is_file():  # which a change to the other may have taken away
            change_file(file, rng)
    if rng.random() < 0.5:
        return "train", [*TRAIN, "--set", "steps=1"]
    chat = ["--template", "chat"] * (rng.random() < 0.5)
    return "evaluate", [*EVALUATE, *chat]


def a_pool(folder: Path, keys: list[str], rng: random.Random) -> Case:
    change_file(folder / "pool.jsonl", rng)
    return rng.choice([("train", TRAIN), ("evaluate", EVALUATE)])


def a_run(folder: Path, keys: list[str], rng: random.Random) -> Case:
    names = ["metrics.jsonl", "summary.json"]
    change_file(folder / "run" / rng.choice(names), rng)
    return "report", ["run"]


def a_checkpoint(folder: Path, keys: list[str], rng: random.Random) -> Case:
    """A file of a run, or of its checkpoint with sums that are right again."""
    run = folder / "run"
    shutil.rmtree(run / "model")
    (run / "summary.json").unlink()
    which = rng.choice(["checkpoint", "checkpoint", "previous", "."])
    file = rng.choice(sorted(path for path in (run / which).iterdir() if path.is_file()))
    change_file(file, rng)
    if rng.random() < 0.8 and file.name in ("state.json", "tensors.safetensors"):
        import hashlib

        def summed(path: Path) -> str:
            return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"

        files = [file.parent / name for name in ("tensors.safetensors", "state.json")]
        if all(path.is_file() for path in files):
            (file.parent / "SHA256SUMS").write_text("".join(map(summed, files)))
    resume = rng.choice([["--resume"], ["--resume"], ["--resume", "previous"]])
    return "train", ["--config", "config.json", "--out", "run", "--set", "steps=4", *resume]


def a_record(folder: Path, keys: list[str], rng: random.Random) -> Case:
    """A record of an evaluation, or the results of an experiment."""
    command, file, words = rng.choice([
        ("evaluate", "e.jsonl", RECORD), ("evaluate", "e.jsonl", RECORD),
        ("compare", "compare.jsonl", ["--tables", "--out", "compare.jsonl"]),
        ("few_instances", "few.jsonl", ["--tables", "--out", "few.jsonl"]),
    ])  # fmt: skip
    change_file(folder / file, rng)
    return command, words


def some_arguments(folder: Path, keys: list[str], rng: random.Random) -> Case:
    command = rng.choice(list(ARGUMENTS))
    words, options = list(ARGUMENTS[command][0]), ARGUMENTS[command][1].split()
    for _ in range(rng.randint(1, 3)):
        word = rng.choice(WORDS)
        action = rng.random()
        if action < 0.7 and options:
            option = rng.choice(options)
            if word.isdecimal() and len(word) < 10:
                word = str(bounded(option.strip("-"), int(word)))
            words += [option] if option in ("--quick", "--resume") else [option, word]
        elif action < 0.8 and words:
            del words[rng.randrange(len(words))]
        elif words:
            words[rng.randrange(len(words))] = word
    if command in ("compare", "few_instances") and "--tables" not in words:
        words.append("--tables")  # never hours of training
    if command == "noise_scale" and "--beside" not in words:
        words += ["--beside", "."]
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "link").symlink_to("empty")
    (folder / "empty").write_bytes(b"")
    return command, words


KINDS: dict[str, tuple[Callable[[Path, list[str], random.Random], Case], str]] = {
    "configuration": (a_configuration, "config.json model pool.jsonl"),
    "key": (a_key, "config.json model pool.jsonl"),
    "model": (a_model, "config.json model pool.jsonl"),
    "data": (a_pool, "config.json model pool.jsonl"),
    "run": (a_run, "run"),
    "checkpoint": (a_checkpoint, "config.json model pool.jsonl run"),
    "record": (a_record, "model pool.jsonl e.jsonl compare.jsonl few.jsonl"),
    "arguments": (
        some_arguments,
        "config.json model pool.jsonl run e.jsonl compare.jsonl few.jsonl",
    ),
}  # kind: how a case is made, and which of the valid files it begins with


def make(kind: str, seed: str, valid: Path, folder: Path, keys: list[str]) -> Case:
    """Fill an empty folder with a case's files; return the command that is to run within it."""
    change, names = KINDS[kind]
    for name in names.split():
        copied = shutil.copytree if (valid / name).is_dir() else shutil.copy
        copied(valid / name, folder / name)
    return change(folder, keys, random.Random(seed))
