"""parallel.py: two processes make the update that one makes, replicated and in shards."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, write_carries
from safetensors.torch import load_file

import train
from plumbing import parallel
from rollout import generate

SETS = [
    "steps=10", "eval_every=1000", "checkpoint_every=5", "data.heldout_size=7", "data.pool_size=0",
    "rollout.group_size=8", "update.lr=0.0003", "update.micro_batch=2", "update.kl_coef=0.01",
    "update.decay=false",  # which knows how long the run will be
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same ten steps by one process, and in two parts of five by other numbers of processes.

    Starting a process takes longer than ten steps: so each of the two makes all its runs in turn.
    """
    folder = tmp_path_factory.mktemp("runs")
    pool = write_carries(folder / "carries.jsonl")  # ten steps are at least five updates

    def words(name, *sets, resume=False):
        overrides = [w for s in (*SETS, f"data.pool={pool}", *sets) for w in ("--set", s)]
        command = ["--config", "small.json", "--out", str(folder / name), *overrides]
        return command + ["--resume"] * resume

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(train.report, "draw", lambda out: "not drawn")
        assert train.main(words("one")) == 0
        assert train.main(words("one, then shards", "steps=5")) == 0
        assert train.main(words("adapters by one", "lora.rank=4")) == 0
        assert train.main(words("reported by one", "report=true", "steps=3")) == 0
    shutil.copytree(folder / "one", folder / "damaged")
    (folder / "damaged" / "checkpoint" / "state.json").write_text("{}")
    said = two_processes([
        words("shards, then copies", "steps=5", "shard=true"),
        words("shards, then copies", resume=True),
        words("one, then shards", "shard=true", resume=True),
        words("adapters by two", "lora.rank=4", "steps=5"),
        words("adapters by two", "lora.rank=4", resume=True),
        words("reported by two", "report=true", "steps=3", "shard=true"),
        words("uneven", "rollout.group_size=7"),
        words("one"),  # which only the first process sees to be there already
        words("damaged", resume=True),
    ])  # fmt: skip
    return folder, said


def two_processes(commands):
    """The exit codes, output and errors of each of two processes: what torchrun does, sooner."""
    code = (
        "import sys, train\n"
        "train.parallel.end = lambda: None  # they stay together for all runs\n"
        f"print([train.main(command) for command in {commands!r}], file=sys.stderr)"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, text=True,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        return [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()


def test_every_run_ends_as_it_should_and_only_the_first_process_speaks(runs):
    (said, errors), (other_said, other_errors) = runs[1]
    # torch 2.9 itself says on every process's output how many others it met
    other_said = re.sub(r"^\[Gloo\] .*\n", "", other_said, flags=re.MULTILINE)
    codes = "[0, 0, 0, 0, 0, 0, 2, 2, 2]"
    assert codes in errors and codes in other_errors, errors + other_errors
    assert said.count("held-out accuracy") == 6 and not other_said
    assert "Traceback" not in errors + other_errors
    for text in (errors, other_errors):
        assert "7 responses cannot be shared out evenly over 2 processes" in text
        assert "already holds a run" in text and "state.json: not as SHA256SUMS says" in text
    assert not (runs[0] / "uneven").exists()


def assert_same_run(one, other):
    """Weights within 1e-5 after at least five updates, and the same record of what happened."""
    weights, others = (load_file(out / "model" / "model.safetensors") for out in (one, other))
    assert weights.keys() == others.keys()
    for name in weights:
        torch.testing.assert_close(weights[name], others[name], atol=1e-5, rtol=0)
    records = []
    for out in (one, other):
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        records.append([(e["step"], e["chosen"], e["rewards"], e["tokens"]) for e in lines])
        assert len(lines) == 10 and lines[-1]["updates"] >= 5
    assert records[0] == records[1]


@pytest.mark.parametrize("name", ["shards, then copies", "one, then shards"])
def test_two_processes_make_the_run_of_one(runs, name):
    """Also where the second five steps resume from the checkpoint of another kind of run."""
    assert_same_run(runs[0] / "one", runs[0] / name)


def test_two_processes_learn_the_adapters_of_one(runs):
    one, two = (runs[0] / f"adapters by {n}" for n in ("one", "two"))
    assert_same_run(one, two)
    base, learned = (load_file(f / "model.safetensors") for f in (ROOT / "base", two / "model"))
    moved = [(learned[name] - base[name]).abs().max() for name in base]
    assert max(moved) > 1e-4  # ten times what may separate the two
    saved = load_file(two / "adapter" / "adapter_model.safetensors")
    assert len(saved) == 3 * 7 * 2  # layers, projections, A and B


def test_the_page_of_several_processes_has_the_tokens_of_one(runs):
    """Each process finds out how far its own rows were moved; no response is there twice."""

    def tokens(name):
        lines = (runs[0] / name / "responses.jsonl").read_text().splitlines()
        said = [json.loads(line) for line in lines]
        numbers = [v for each in said for v in each["logprobs"] + each.get("log_ratios", [])]
        return [(each["step"], each["pieces"]) for each in said], torch.tensor(numbers)

    (one, moved), (two, moved_too) = (tokens(f"reported by {n}") for n in ("one", "two"))
    assert (runs[0] / "reported by two" / "report.html").exists()
    assert two == one and len(one) == 24 and (moved > 0).any()
    torch.testing.assert_close(moved_too, moved, atol=3e-4, rtol=0)


def test_alone_everything_gives_back_what_it_was_given(tiny):
    group = generate(
        tiny, [3, 7], 4, max_new_tokens=6, stop_ids=[2], generator=torch.Generator().manual_seed(0)
    )
    assert parallel.whole_group(group) is group
    assert parallel.share(6) == slice(0, 6)
    assert parallel.gather("x") == ["x"]
    with parallel.unsharded(tiny):
        pass
    weight = next(tiny.parameters())
    assert parallel.whole(weight) is weight


def test_joined_parts_are_the_group(tiny):
    """Also where the longest response of one part is shorter than that of the other."""

    def part(rows):
        return generate(
            tiny, [3, 7], 8, max_new_tokens=30, stop_ids=[2, 5, 9], part=rows,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip

    whole, parts = part(slice(None)), [part(slice(0, 4)), part(slice(4, 8))]
    assert parts[0].tokens.shape[1] != parts[1].tokens.shape[1]
    joined = parallel.join(parts)
    assert joined.tokens.tolist() == whole.tokens.tolist()
    assert joined.lengths.tolist() == whole.lengths.tolist()
    torch.testing.assert_close(joined.logprobs, whole.logprobs, atol=1e-5, rtol=0)
    assert joined.finished.tolist() == whole.finished.tolist()
