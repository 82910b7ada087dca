"""checkpoint.py and the resuming of train.py: killed at any moment, a run goes on bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest
import torch
from conftest import ROOT, train_small, write_carries
from safetensors.torch import load_file

import grpo
import train
from decode import Decoder
from plumbing import checkpoint, disk, system
from plumbing.command import UserError
from plumbing.stop import Stop

SMALL = ["steps=8", "eval_every=16", "checkpoint_every=3", "data.heldout_size=6"]
SMALL += ["rollout.group_size=4", "rollout.max_new_tokens=24"]
SMALL += ["update.lr=0.001", "data.pool_size=0"]


pytestmark = pytest.mark.usefixtures("in_the_project")


@pytest.fixture(autouse=True, scope="module")
def carries(tmp_path_factory):
    """A pool in which every problem can teach."""
    file = write_carries(tmp_path_factory.mktemp("pool") / "carries.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "SMALL", [*SMALL, f"data.pool={file}"])
        yield


def start(out, *sets, resume=()):
    return train_small(out, [*SMALL, *sets], resume)


def result(out):
    """What must be the same: weights, and the record without its times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    said = (out / "responses.jsonl").read_text().splitlines()
    assert len(said) == lines[-1]["rollouts"]
    return load_file(out / "model" / "model.safetensors"), lines + said


def same(one, other):
    weights, lines = zip(one, other, strict=True)
    assert lines[0] == lines[1]
    assert weights[0].keys() == weights[1].keys()
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, carries):
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert start(out) == 0
    return out


# ---- killed

# Where a process can die: the n-th call of one of these is its last.
MOMENTS = {
    "in a rollout": (Decoder, "__call__", 150),
    "in a loss": (grpo, "grpo_loss", 3),
    "in the backward pass": (torch.Tensor, "backward", 3),
    "in an update": (torch.optim.AdamW, "step", 3),
    "before tensors are written": (checkpoint, "save_file", 4),
    "while a file goes to the disk": (system, "force_to_disk", 20),
    "between the renames": (Path, "rename", 8),
    "while an old checkpoint is removed": (disk.shutil, "rmtree", 2),
    "while the record is written": (train.Record, "write", 7),
}


def run_and_die(out, resume, moment, n) -> int:
    """A run in a process of its own that kills itself at the n-th call; returns its wait status."""
    owner, name, _ = MOMENTS[moment]
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            genuine, left = getattr(owner, name), [n]

            def fatal(*args, **kwargs):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return genuine(*args, **kwargs)

            setattr(owner, name, fatal)
            code = start(out, resume=resume)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            code = 99
        os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("seed", range(20))
def test_killed_anywhere_and_resumed_the_run_is_bitwise_the_same(tmp_path, uninterrupted, seed):
    rng = random.Random(seed)
    out, killed = tmp_path / "run", 0
    for life in range(2):  # a resumed run can be killed too
        moment = list(MOMENTS)[(seed + 4 * life) % len(MOMENTS)]
        n = rng.randint(1, MOMENTS[moment][2])
        status = run_and_die(out, ["--resume"] if (out / "config.json").exists() else [], moment, n)
        assert status in (0, signal.SIGKILL), (moment, n, status)
        killed += status == signal.SIGKILL
    if not (out / "config.json").exists():
        shutil.rmtree(out)
        assert start(out) == 0
    else:
        assert start(out, resume=["--resume"]) == 0
    assert same(result(out), result(uninterrupted))
    assert killed, "nothing was killed: the moments have moved"


def test_the_baselines_resume_too(tmp_path):
    """Every selector's memory is in the checkpoint, and the reference policy is loaded again."""
    for sets in (["selector.name=thompson"], ["selector.name=full_batch", "selector.candidates=3"],
                 ["update.kl_coef=0.01"], ["selector.name=fixed_one"]):  # fmt: skip
        whole, parts = tmp_path / f"whole {sets}", tmp_path / f"parts {sets}"
        sets = [*sets, "update.decay=false"]  # it knows how long the run will be
        assert start(whole, *sets, "steps=5") == 0
        assert start(parts, *sets, "steps=2") == 0
        assert start(parts, *sets, "steps=5", resume=["--resume"]) == 0
        weights = [load_file(out / "model" / "model.safetensors") for out in (whole, parts)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]), sets


# ---- stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(tmp_path, uninterrupted, capsys, monkeypatch, number):
    out, genuine = tmp_path / "run", train.update_policy

    def interrupted(*args):
        os.kill(os.getpid(), number)
        return genuine(*args)

    monkeypatch.setattr(train, "update_policy", interrupted)
    assert start(out) == 128 + number
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    said = capsys.readouterr()
    assert "finishing the step" in said.err and "add --resume to go on" in said.out
    assert not (out / "summary.json").exists()
    assert start(out, resume=["--resume"]) == 0
    assert same(result(out), result(uninterrupted))


def test_a_second_signal_leaves_at_once(tmp_path, monkeypatch, capsys):
    def twice(*args):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train, "update_policy", twice)
    assert start(tmp_path / "run") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_resuming_a_finished_run_changes_nothing_and_more_steps_go_on(tmp_path, uninterrupted):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    assert start(out, resume=["--resume"]) == 0
    assert same(result(out), result(uninterrupted))
    assert start(out, "steps=10", "eval_every=8", resume=["--resume"]) == 0
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 11))
    assert json.loads((out / "config.json").read_text())["steps"] == 10
    summary = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 10 and summary["rollouts"] == 40


def test_other_values_are_refused_and_both_are_shown(tmp_path, uninterrupted, capsys):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    assert start(out, "update.lr=0.5", "seed=3", resume=["--resume"]) == 2
    error = capsys.readouterr().err
    assert "update.lr 0.001, not 0.5" in error and "seed 0, not 3" in error
    assert same(result(out), result(uninterrupted))


def test_other_problems_or_another_start_are_refused(tmp_path, uninterrupted, capsys, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    genuine = train.setup.fingerprints
    other = {"the problems": "others"}
    monkeypatch.setattr(train.setup, "fingerprints", lambda *args: genuine(*args) | other)
    assert start(out, resume=["--resume"]) == 2
    assert "the problems changed since the run began" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{"])
def test_nothing_to_resume(tmp_path, capsys, content):
    out = tmp_path / "run"
    if content:
        out.mkdir()
        (out / "config.json").write_text(content)
    assert start(out, resume=["--resume"]) == 2
    error = capsys.readouterr().err
    assert ("cannot be read as JSON" if content else "holds no run") in error
    assert error.count("\n") == 1


# ---- damaged


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.SUMS])
def test_a_flipped_byte_anywhere_is_noticed(tmp_path, uninterrupted, name):
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    file = run / "checkpoint" / name
    content = file.read_bytes()
    rng = random.Random(0)
    places = [0, len(content) - 1, *rng.sample(range(len(content)), min(len(content), 60))]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"damaged; --resume previous"):
            checkpoint.load(run)
    file.write_bytes(content)
    checkpoint.load(run)


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.SUMS])
@pytest.mark.parametrize("how", ["cut short", "emptied", "removed", "made longer"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_goes_on(
    tmp_path, uninterrupted, capsys, name, how
):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    file = out / "checkpoint" / name
    content = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes({"cut short": content[:-7], "emptied": b""}.get(how, content + b"\n"))
    record = (out / "metrics.jsonl").read_bytes()
    assert start(out, resume=["--resume"]) == 2
    error = capsys.readouterr().err
    assert name in error and "--resume previous" in error and error.count("\n") == 1
    assert (out / "metrics.jsonl").read_bytes() == record
    assert start(out, resume=["--resume", "previous"]) == 0
    assert same(result(out), result(uninterrupted))


def test_a_record_that_lost_lines_is_noticed(tmp_path, uninterrupted, capsys):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "metrics.jsonl").write_text("")
    assert start(out, resume=["--resume"]) == 2
    assert "metrics.jsonl: shorter than at the checkpoint" in capsys.readouterr().err


def test_a_refused_previous_leaves_everything_as_it_was(tmp_path, uninterrupted, capsys):
    """It once cut the metrics and set the latest checkpoint aside before it looked further."""
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "metrics.jsonl").write_text("")
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    said = (out / "responses.jsonl").read_bytes()
    assert start(out, resume=["--resume", "previous"]) == 2
    assert "metrics.jsonl: shorter" in capsys.readouterr().err
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert (out / "responses.jsonl").read_bytes() == said


def test_lost_responses_are_told_and_the_run_goes_on(tmp_path, uninterrupted, capsys):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "responses.jsonl").unlink()
    assert start(out, "steps=10", resume=["--resume"]) == 0
    assert "responses.jsonl is gone; it begins anew" in capsys.readouterr().err
    said = [json.loads(line) for line in (out / "responses.jsonl").read_text().splitlines()]
    assert {response["step"] for response in said} == {9, 10}


def test_a_checkpoint_of_another_layout_is_refused(tmp_path, uninterrupted, capsys, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    monkeypatch.setattr("plumbing.run.LAYOUT", 0)
    assert start(out, resume=["--resume"]) == 2
    assert "its checkpoint is of another version of this project" in capsys.readouterr().err


# ---- no room


def test_a_full_disk_leaves_the_last_checkpoint_and_resuming_works(tmp_path, uninterrupted):
    """A limit on the size of a file stands for a full disk: writing tensors fails in a process."""
    out = tmp_path / "run"
    script = (
        "import resource, sys, train\n"
        "from plumbing import checkpoint\n"
        "genuine, saved = checkpoint.save, []\n"
        "def save(*arguments):\n"
        "    if len(saved) == 2:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "    saved.append(genuine(*arguments))\n"
        "checkpoint.save = save\n"
        "sys.exit(train.main(sys.argv[1:]))\n"
    )
    arguments = [word for s in SMALL for word in ("--set", s)]
    command = [sys.executable, "-c", script, "--config", "small.json", "--out", str(out)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "cannot be written" in last
    assert "Traceback" not in done.stderr
    tensors, state = checkpoint.load(out)
    assert state["step"] == 3 and "rollout_stream" in tensors
    assert not (out / "checkpoint.unfinished").exists()
    assert start(out, resume=["--resume"]) == 0
    assert same(result(out), result(uninterrupted))


# ---- not finite


def test_a_step_that_is_not_finite_is_skipped_and_kept(tmp_path, monkeypatch):
    out, genuine, calls = tmp_path / "run", grpo.grpo_loss, []

    def sometimes_nan(*args, **kwargs):
        loss, stats = genuine(*args, **kwargs)
        calls.append(1)
        return (loss * float("nan") if len(calls) == 2 else loss), stats

    monkeypatch.setattr(grpo, "grpo_loss", sometimes_nan)
    assert start(out) == 0
    skipped = [json.loads(line) for line in (out / "nonfinite.jsonl").read_text().splitlines()]
    assert len(skipped) == 1 and len(skipped[0]["responses"]) == 4
    weights, lines = result(out)
    lines = [line for line in lines if isinstance(line, dict)]  # the others are the responses
    assert all(w.isfinite().all() for w in weights.values())
    assert [line["step"] for line in lines if "skipped" in line] == [skipped[0]["step"]]
    assert lines[-1]["updates"] == len(calls) - 1


def test_what_was_skipped_after_the_checkpoint_is_not_told_twice(tmp_path, monkeypatch):
    """A kill between a skipped update and the next checkpoint once doubled its lines."""
    out, genuine, calls = tmp_path / "run", grpo.grpo_loss, []

    def nan_then_stop(*args, **kwargs):
        loss, stats = genuine(*args, **kwargs)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt  # as suddenly as a kill
        return (loss * float("nan") if len(calls) == 2 else loss), stats

    monkeypatch.setattr(grpo, "grpo_loss", nan_then_stop)
    assert start(out, "checkpoint_every=100") == 130
    before = (out / "nonfinite.jsonl").read_text()
    assert before.count("\n") == 1
    calls.clear()
    monkeypatch.setattr(
        grpo,
        "grpo_loss",
        lambda *a, **k: nan_then_stop(*a, **k) if len(calls) < 2 else genuine(*a, **k),
    )
    assert start(out, "checkpoint_every=100", resume=["--resume"]) == 0
    assert (out / "nonfinite.jsonl").read_text() == before


def test_five_in_a_row_stop_and_the_checkpoint_is_whole(tmp_path, monkeypatch, capsys):
    out, genuine = tmp_path / "run", grpo.grpo_loss

    def always_nan(*args, **kwargs):
        loss, stats = genuine(*args, **kwargs)
        return loss * float("nan"), stats

    monkeypatch.setattr(grpo, "grpo_loss", always_nan)
    assert start(out, "steps=100", "max_rollouts=0") == 1
    error = capsys.readouterr().err
    assert "error: 5 updates in a row were not finite" in error and "Traceback" not in error
    assert len((out / "nonfinite.jsonl").read_text().splitlines()) == 5
    tensors, _ = checkpoint.load(out)
    assert all(w.isfinite().all() for w in tensors.values() if w.is_floating_point())


def test_a_policy_blown_up_ends_in_one_line(tmp_path, capsys):
    assert start(tmp_path / "run", "steps=40", "max_rollouts=0", "update.lr=1e30") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the model's logits are not finite: lower update.lr")


# ---- the parts


def test_signals_are_left_alone_outside_of_the_main_thread():
    seen = []

    def elsewhere():
        with Stop() as stop:
            seen.append(stop.asked)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [0]
