"""Every command of the pages runs as it stands there, or its page says what it takes and gives.

The commands of a page run in its order, by a shell, in a copy of the project that is removed
afterwards, and must end with exit code 0.  `SHORTER` makes the long ones short, `NOT_RUN` names
those that nothing makes short enough or that need what a machine may lack; of both the page must
say how long they take, or what they need, and what comes of them.  What stands for a user's own
checkpoint and problems (`path/or/hub-id`, `train.jsonl`, ...) is there under these very names, so
that no command is changed but at its end.

For a new command nothing is needed, if it takes a second.  Else it gets a line in `SHORTER` or
`NOT_RUN`, and its page says how long it takes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, random_model
from test_house import PAGES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from data import draw_problem, write_jsonl

NAMES = {str(page.relative_to(ROOT)): page for page in PAGES}
DEFAULT = "python train.py --config small.json"  # whose run is there before each page
FEW = " --set data.heldout_size=10"
JOB = " --set steps=6" + FEW
CHECKPOINT = " --set steps=2 --set rollout.max_new_tokens=8 --set selector.candidates=4"
GPU = CHECKPOINT + " --set device=cpu --set data.heldout_size=2"

SHORTER = [  # how a command begins (or a pattern), and what is put at its end; the first that fits
    (r"python train.py .*configs/qwen2", GPU + " --set rollout.stop_ids=[256]"),
    (r"python train.py .*configs/qwen3", GPU),
    (r"python train.py .*(path/or/hub-id|configs/smollm2)", CHECKPOINT + " --set device=cpu"),
    (r"python train.py .*--resume$", " --set steps=8" + FEW),
    (r"python train.py .*--resume previous", " --set steps=9" + FEW),
    (r"python train.py .*--out runs/hacked", JOB + " --set steps=16"),  # products among them
    (r"python train.py .*--config|python exercises/train_with.py|torchrun --nproc-per-node 2", JOB),
    (r"python evaluate.py .*(--model [pH]|words)", " --device cpu --n 2 --max_new_tokens 4"),
    (r"python evaluate.py", " --n 40"),
    (r"python warmup.py", " --steps 2"),
    (r"python experiments/format_or_arithmetic.py", " --n 1"),
    (r"python experiments/noise_scale.py --groups", " --groups 48"),
    (r"python experiments/replay.py", " --seeds 1"),
    (r"python tools/bench.py$", " --groups 2 --prompts 4 --new 2 --repeats 1"),
    (r"python tools/fuzz_verifier.py", " --minutes 0.02"),
    (r"python tools/hack_verifier.py --model", " --seeds 1 --steps 2"),
    (r"python tools/hack_verifier.py$", " --steps 8"),
    (r"python tools/hack_verifier.py", " --steps 24 --kinds 'out of reach'"),
    (r"python tools/parity.py", " --prompts 2 --new 4"),
    (r"python tools/quiz.py", " --list"),  # instead of asking and training
    (r"pytest exercises(/6)?( --answers mine)?$", " -k 'not default_job'"),
]  # fmt: skip

INSTALLED = re.compile(  # the suite runs in what this makes, and CI makes it just so
    r"python3 -m venv .venv && . .venv/bin/activate && pip install -r [\w.-]+(?: && )?"
)
NOT_RUN = [  # how a command begins, its page, and words of the page on what it takes and gives
    ("python -m pytest -n 2", "README.md", "some minutes on two cores"),
    ("python experiments/bounds.py --out", "docs/bound.md", "in half a minute on one core"),
    ("python experiments/real.py --device cuda --processes 11", "docs/rare-problems.md",
     "The first took 3.4 minutes"),
    ("python experiments/real.py --model FOLDER --tune --rates 1e-5", "docs/rare-problems.md",
     "three quarters of an hour"),
    ("python experiments/map.py --out map-small.jsonl", "docs/results.md", "3.0, 1.2 and 4 hours"),
    ("python experiments/map.py --task tables --shares 10 --out", "docs/results.md",
     "3.0, 1.2 and 4 hours"),
    ("python experiments/real.py --model FOLDER --out", "docs/results.md", "3.0, 1.2 and 4 hours"),
    ("python experiments/map.py --task small", "docs/saving.md", "the second hours"),
    ("torchrun --nproc-per-node 4", "docs/gpu.md", "The third command needs four GPUs"),
    ("python tools/gpu.py --out gpu.json", "docs/gpu.md", "about six minutes"),
    ("python tools/gpu.py --out job.json", "docs/gpu.md", "the whole default job with 20 seeds"),
    ("python tools/gpu.py --device cpu --tiny", "docs/gpu.md", "as the tests do"),
    ("python tools/bench_memory.py", "docs/memory.md", "the memory of the table's largest row"),
    ("python data.py hub", "docs/own-problems.md", "Each needs the network"),
    ("python tools/bench_verifier.py --peer", "docs/red-team.md", "The second needs Math-Verify"),
    ("python tools/kill_loop.py", "docs/running.md", "a quarter of an hour"),
    ("python tools/inject_faults.py", "docs/running.md", "25 minutes"),
    ("pip install -r requirements.txt -c", "docs/running.md", "To install just these"),
    ("python tools/bench.py --models 135m", "docs/speed.md", "the next four take has not been"),
    ("python tools/bench.py --job", "docs/speed.md", "the next four take has not been"),
    ("python tools/bench.py --growth", "docs/speed.md", "What they print is in the sections"),
    ("python tools/page_time.py", "docs/watching.md", "Chromium 150 on one quiet machine"),
    ("pip install tensorboard", "docs/watching.md", "writes the numbers of `metrics.jsonl`"),
]  # fmt: skip

TAKES = {  # words of a page on how long its shortened commands take in full, or what they need
    "README.md": ["ten seconds on one CPU core", "If the checkpoint never solves a problem"],
    "docs/adapters.md": ["It needs a GPU", "The whole run has not been timed"],
    "docs/checkpoint.md": ["in 11 minutes or less on one core"],
    "docs/default-job.md": ["each run in the seconds of its row"],
    "docs/evaluating.md": ["It takes seconds", "as long as that checkpoint takes to answer"],
    "docs/expected.md": ["in some ten seconds", "and 30 for exercise 6"],
    "docs/gpu.md": ["No whole run has been timed", "by one command each"],
    "docs/hacking.md": ["takes under a minute on two cores"],
    "docs/harder-task.md": ["it has not been timed"],
    "docs/instructor.md": ["the default job, which takes ten seconds", "The second takes longer"],
    "docs/own-problems.md": ["In nine to eleven minutes on one core", "in about four minutes"],
    "docs/reading-a-run.md": ["The run takes ten seconds", "ends at 35.5%, in ten seconds"],
    "docs/red-team.md": ["takes a few seconds", "some four minutes each", "Ten minutes, 2,588,000"],
    "docs/rollouts-and-seconds.md": ["| 32, 185 | 98.5 to 100% | 112 of 185 | 16.6 |"],
    "docs/running.md": ["the default job with another arm, ten seconds", "as a run left alone"],
    "docs/speed.md": ["a few minutes on one thread", "the next four take has not been taken down"],
    "docs/watching.md": ["ten seconds and a little more"],
    "docs/what-one-key-changes.md": ["A run takes ten seconds, one of 740 steps forty"],
    "docs/which-selector.md": ["The replay takes 20 seconds"],
    "docs/why-not-ten.md": ["(about 1 minute)"],
    "docs/your-task.md": ["Training takes some six minutes on one idle core"],
    "exercises/1/README.md": ["It takes ten to twenty seconds of one core"],
    "exercises/2/README.md": ["ten to fifteen seconds, with four updates twice that"],
    "exercises/3/README.md": ["Ten seconds each"],
    "exercises/4/README.md": ["In ten seconds or more"],
    "exercises/5/README.md": ["in ten to twenty seconds"],
    "exercises/6/README.md": ["for half a minute", "A quarter minute each"],
    "exercises/7/README.md": ["ten seconds"],
    "exercises/8/README.md": ["(seconds)"],
    "exercises/README.md": ["it takes ten to twenty seconds"],
}

PRINTED = {  # what is compared of the lines that a page shows beneath its commands
    "README.md": r"(memory|held-out accuracy|rollouts|informative|seconds|paid|trained model) +",
    "docs/evaluating.md": r"[a-z]\S+ +",
    "docs/hacking.md": r"paid for nothing: ",
    "docs/verifier.md": r".+",
    "docs/what-learning-needs.md": r"runs/small: |  groups to the first informative one: ",
}

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
FILE = re.compile(r"Write (?:this|it) to `([\w.]+)`[^\n]*\n\n```python\n(.*?)^```", re.M | re.S)
UNPAID = r"python verifier.py \"(The answer is 311|he has 14)"  # which the verdict's exit code says
RED_TEAM = "python tools/hack_verifier.py --set reward=my_reward.py:score"


# ---- what the pages say


def lines_of(block: str) -> Iterator[str]:
    """The commands of a block, each a text for the shell: continued lines, and what END ends."""
    rest = block.splitlines()
    while rest:
        line = rest.pop(0)
        if end := re.search(r"<<'(\w+)'", line):
            at = rest.index(end[1]) + 1
            line, rest = "\n".join([line, *rest[:at]]), rest[at:]
        while line.endswith("\\"):
            line = line.removesuffix("\\").rstrip() + " " + rest.pop(0).strip()
        if line.strip() and not line.startswith("#"):
            yield line


@cache
def commands(name: str) -> list[str]:
    """The commands of a page, without those that install what the suite runs in."""
    blocks = (block for kind, block in BLOCK.findall(NAMES[name].read_text()) if kind == "bash")
    found = (INSTALLED.sub("", line) for block in blocks for line in lines_of(block))
    return [line for line in found if line]


def is_run(line: str) -> bool:
    return not any(line.startswith(start) for start, *_ in NOT_RUN)


def shortened(line: str) -> str:
    """What is put at the end of a command."""
    return next((end for start, end in SHORTER if re.match(start, line)), "")


def says(name: str, words: str) -> bool:
    return " ".join(words.split()) in " ".join(NAMES[name].read_text().split())


def test_the_commands_of_a_block():
    block = "# a remark\na --b \\\n    --c  # more\n\npython - x <<'END'\nif 1:\n    2\nEND\nd\n"
    assert list(lines_of(block)) == [
        "a --b --c  # more", "python - x <<'END'\nif 1:\n    2\nEND", "d",
    ]  # fmt: skip


def test_every_block_of_commands_says_that_it_is_one():
    """A command in a block of another kind would be run by nobody."""
    for name, page in NAMES.items():
        for kind, block in BLOCK.findall(page.read_text()):
            assert kind == "bash" or not re.search(r"^(python|pytest|\$) ", block, re.M), name


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_its_long_commands_take(name):
    for line in commands(name):
        found = [words for start, page, words in NOT_RUN if line.startswith(start) and page == name]
        assert is_run(line) or found, f"{name}: NOT_RUN has no words of this page on {line}"
        assert not is_run(line) or not shortened(line) or name in TAKES, (
            f"{name}: {line} is shortened; put the page's words on how long it takes into TAKES"
        )
    for words in [*TAKES.get(name, ()), *(words for _, page, words in NOT_RUN if page == name)]:
        assert says(name, words), f"{name} no longer says: {words}"


def test_the_tables_name_nothing_that_is_gone():
    every = [(name, line) for name in NAMES for line in commands(name)]
    for start, page, _ in NOT_RUN:
        assert any(line.startswith(start) and name == page for name, line in every), start
    for start, _ in SHORTER:
        assert any(re.match(start, line) and is_run(line) for _, line in every), start
    for name in TAKES:
        assert any(is_run(line) and shortened(line) for line in commands(name)), name


# ---- what a command finds


def write_checkpoint(folder: Path) -> None:
    """Write a tiny random model that reads any text, by its bytes, and lays out a chat."""
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<end>"]
    ids = {letter: n for n, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    random_model(vocab_size=len(letters), eos_token_id=256).save(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    chat = "{% if enable_thinking is defined %}{% endif %}{{ messages[-1].content }}"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": chat}))


def write_what_is_the_readers_own(folder: Path) -> None:
    """The checkpoints, problems and results that the pages name and the project does not hold."""
    checkpoints = "path/or/hub-id FOLDER BASE TRAINED SMOLLM2 HuggingFaceTB/SmolLM2-135M-Instruct"
    for name in [*checkpoints.split(), "Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-Math-1.5B"]:
        (folder / name).mkdir(parents=True)
        write_checkpoint(folder / name)
    rng = np.random.default_rng(0)
    (folder / "benchmarks").mkdir()
    pools, heldout = "train dsr_sub gsm8k_train".split(), "test math500 gsm8k_test".split()
    for name in [*pools, *heldout]:
        sign = "+" if name in pools else "-"
        problems = [draw_problem("arithmetic", "carry", sign, rng) for _ in range(20)]
        for place in (folder, folder / "FOLDER", folder / "benchmarks"):
            write_jsonl(place / f"{name}.jsonl", problems)
    history = {f"problem {n}": [n / 128] * 6 for n in range(128)}
    (folder / "acc_history_dev.json").write_text(json.dumps(history))
    results = folder / "experiments" / "results"
    runs = (results / "compare-small.jsonl").read_text()  # so that none of them has to be made
    (results / "compare-small-quick.jsonl").write_text(runs)
    changed = '{"set": {"update.updates_per_group": "4"}, '
    (folder / "four.jsonl").write_text(re.sub(r"^\{", changed, runs, flags=re.M))
    shutil.copytree(folder / "exercises" / "solutions", folder / "mine")


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """How a line of a page is run in a folder; its `python` has imported its libraries before."""
    place = tmp_path_factory.mktemp("bin")
    python, warm, address = sys.executable, ROOT / "tests" / "warm.py", place / "socket"
    for name, words in (("python", ""), ("pytest", "-m pytest")):
        script = f'#!/bin/sh\nexec "{python}" -S -E "{warm}" "{address}" {words} "$@"\n'
        (place / name).write_text(script)
        (place / name).chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    environment |= {
        "PATH": f"{place}:{Path(python).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip

    def run(line: str, folder: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    words = [python, str(warm), "serve", str(address)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout.readline() == "ready\n"
        yield run
        waiting.terminate()


@pytest.fixture(scope="module")
def project(shell, tmp_path_factory):
    """A copy of the project with the default run, shortened, and what that run printed."""
    folder = tmp_path_factory.mktemp("project")
    asked = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git repository")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    write_what_is_the_readers_own(folder)
    result = shell(DEFAULT + JOB + " --set checkpoint_every=3", folder)
    assert result.returncode == 0, result.stdout
    yield folder, result.stdout
    shutil.rmtree(folder)


@pytest.fixture
def copy(project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(project[0], folder)
    yield folder
    shutil.rmtree(folder)


def prepare(name: str, folder: Path) -> None:
    """What a reader of the page has written before its commands: a reward, a solved exercise."""
    for file, text in FILE.findall(NAMES[name].read_text()):
        (folder / file).write_text(text)
    if name.startswith("exercises/"):
        for stub in (folder / "exercises").glob("[1-9]/*.py"):
            if not stub.name.startswith("test_"):
                shutil.copy(folder / "exercises" / "solutions" / stub.name, stub)


# ---- the commands


@pytest.mark.parametrize("name", [name for name in NAMES if commands(name)])
def test_the_commands_of_a_page_run(name, shell, project, copy):
    prepare(name, copy)
    said = []
    for at, line in enumerate(commands(name)):
        if line == DEFAULT:
            said.append(project[1])
        elif is_run(line):
            mended = line == RED_TEAM and line in commands(name)[:at]
            if mended:  # as the page says, before it attacks again
                rule = (copy / "my_reward.py").read_text()
                (copy / "my_reward.py").write_text(rule.replace("GIVING = True", "GIVING = False"))
            result = shell(line + shortened(line), copy)
            said.append(result.stdout)
            hole = line == RED_TEAM and not mended  # "It ends with exit code 1"
            expected = bool(hole or re.match(UNPAID, line))
            assert result.returncode == expected, (
                f"{name}: {line}{shortened(line)}\nended with {result.returncode}; mend the page "
                f"or the code, or name it in NOT_RUN in {Path(__file__).name}\n{result.stdout}"
            )
    printed = "".join(said)
    for kind, block in BLOCK.findall(NAMES[name].read_text()):
        for line in block.splitlines() if kind == "text" and name in PRINTED else ():
            if start := re.match(PRINTED[name], line):
                shown = re.search("^" + re.escape(start[0]), printed, re.M)
                assert shown, f"{name}: {line}\n{printed}"


@pytest.mark.parametrize("line", [
    "python -c 'import sys; print(sys.argv, sys.path[0]); sys.exit(3)' a 'b c'",
    "python -c 'import atexit, sys; atexit.register(print, 1); sys.exit(\"a word\")'",
    "echo 'import sys; print(sys.argv)' | python - a; python -c 'print(__name__)'",
    "python a/script.py x; echo $?",
    "python -m a.module x 2>/dev/null | cat",
])  # fmt: skip
def test_the_python_of_these_tests_does_what_python_does(line, shell, tmp_path):
    (tmp_path / "a").mkdir()
    says = "import sys; print(sys.argv, sys.path[0], __name__, __file__)\n1 / 0"
    (tmp_path / "a" / "script.py").write_text(says.replace("__file__", "__file__[-9:]"))
    (tmp_path / "a" / "module.py").write_text(says)
    found = [
        shell(each, tmp_path) for each in (line, line.replace("python ", f"{sys.executable} "))
    ]
    said = [  # without the lines of the traceback, in which ours has more
        sorted(said for said in each.stdout.splitlines() if not said.startswith((" ", "Traceback")))
        for each in found
    ]
    assert said[0] == said[1] and found[0].returncode == found[1].returncode
