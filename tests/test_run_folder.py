"""A run's folder: nobody else's is overwritten, none is left that blocks, no link is followed."""

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, train_small, write_carries
from safetensors.torch import load_file, save_file

import report
import train
from plumbing import checkpoint, disk, setup, system

SETS = ["steps=2", "eval_every=1000", "checkpoint_every=1", "data.heldout_size=4"]
SETS += ["rollout.group_size=4", "rollout.max_new_tokens=24", "data.pool_size=0"]


@pytest.fixture(autouse=True, scope="module")
def carries(tmp_path_factory):
    """A pool whose problems can teach, so that AdamW has a state."""
    file = write_carries(tmp_path_factory.mktemp("pool") / "carries.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "SETS", [*SETS, f"data.pool={file}"])
        yield


pytestmark = pytest.mark.usefixtures("in_the_project")


def start(out, *sets, resume=()):
    return train_small(out, [*SETS, *sets], resume)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, carries):
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(report, "draw", lambda out: "not drawn")
        assert start(out) == 0
    return out


@pytest.fixture
def run(tmp_path, finished):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder):
    """Every file of a folder with its bytes, but for the lock."""
    files = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name != "lock"}


def one_line(capsys):
    """The last line of what was said on the terminal, which has to be the error."""
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    return last


# ---- two at once


def meanwhile(monkeypatch, happens):
    """Let something happen after a run has checked its folder, and before it takes it."""
    genuine = setup.say_memory

    def say_memory(*args):
        monkeypatch.setattr(setup, "say_memory", genuine)
        happens()
        return genuine(*args)

    monkeypatch.setattr(setup, "say_memory", say_memory)


def test_a_run_that_ended_in_the_folder_meanwhile_is_not_overwritten(tmp_path, monkeypatch, capsys):
    out, before = tmp_path / "run", {}

    def another_run():
        assert start(out) == 0
        before.update(contents(out))

    meanwhile(monkeypatch, another_run)
    assert start(out, "seed=1") == 2
    assert "already holds a run" in one_line(capsys)
    assert before and contents(out) == before


@pytest.mark.parametrize("name", ["config.json", "notes.txt", "checkpoint/state.json"])
def test_whatever_appeared_in_the_folder_meanwhile_is_left_alone(
    tmp_path, monkeypatch, capsys, name
):
    out = tmp_path / "run"

    def appears():
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("mine")

    meanwhile(monkeypatch, appears)
    assert start(out) == 2
    assert "already holds a run" in one_line(capsys)
    assert contents(out) == {Path(name): b"mine"}


def test_a_run_that_was_begun_anew_meanwhile_is_not_resumed(run, monkeypatch, capsys):
    def begun_anew():
        shutil.rmtree(run)
        assert start(run, "seed=1") == 0

    meanwhile(monkeypatch, begun_anew)
    assert start(run, resume=["--resume"]) == 2
    assert "seed 1, not 0" in one_line(capsys)


def test_a_second_process_waits_for_nobody_and_changes_nothing(run, capsys):
    """The lock is held by another process, as in life, and not by this one."""
    hold = "from plumbing import disk; from pathlib import Path; import sys, time\n"
    hold += "with disk.appending(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)\n"
    words = [sys.executable, "-c", hold, str(run / "lock")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        before = contents(run)
        assert start(run, resume=["--resume"]) == 2
        other.kill()
    assert "another process is training in this folder" in one_line(capsys)
    assert contents(run) == before


# ---- nothing is left that blocks the next run


@pytest.mark.parametrize(
    "left", [(), ("lock",), ("lock", "config.json.unfinished"), ("config.json.unfinished",)]
)
def test_what_a_kill_leaves_before_the_run_has_a_name_blocks_nothing(tmp_path, capsys, left):
    out = tmp_path / "run"
    out.mkdir()
    for name in left:
        (out / name).write_text("")
    assert start(out, resume=["--resume"]) == 2
    assert "holds no run to go on with; leave out --resume" in one_line(capsys)
    assert start(out) == 0


@pytest.mark.parametrize("nth", range(1, 5))
def test_an_error_before_the_run_has_a_name_blocks_nothing(tmp_path, monkeypatch, capsys, nth):
    """The n-th of the calls that write config.json fails as on a broken disk."""
    out, left = tmp_path / "run", [nth]

    def failing(genuine):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(5, "Input/output error", str(out))
            return genuine(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(system, "force_to_disk", failing(system.force_to_disk))
        patch.setattr(disk, "open_to_append", failing(disk.open_to_append))
        patch.setattr(Path, "replace", failing(Path.replace))
        assert start(out) in (1, 2)
    assert left[0] <= 0 and "Input/output error" in one_line(capsys)
    named = (out / "config.json").exists()
    assert start(out, resume=["--resume"] if named else []) == 0


@pytest.mark.parametrize("setting", ["update.beta1=0", "update.lr=1", "rollout.temperature=1"])
def test_a_whole_number_will_do_where_any_number_will(tmp_path, setting):
    assert start(tmp_path / "run", setting) == 0


def test_a_record_whose_checkpoints_are_lost_is_not_begun_anew(run, capsys):
    for name in ("checkpoint", "previous"):
        shutil.rmtree(run / name)
    before = contents(run)
    assert start(run, resume=["--resume"]) == 2
    assert "no checkpoint to go on from; name another folder" in one_line(capsys)
    assert contents(run) == before


def test_an_interrupt_before_the_run_has_a_name_does_not_send_to_resume(
    tmp_path, monkeypatch, capsys
):
    def interrupt(cfg, out, resume):
        if out.exists():  # the second time, once the folder is held
            raise KeyboardInterrupt

    monkeypatch.setattr("plumbing.run.check_folder", interrupt)
    assert start(tmp_path / "run") == 130
    assert "no run has begun" in one_line(capsys)


# ---- the power fails


def watched(monkeypatch):
    """A list of what reaches the disk and what is renamed, in order, by the last two names."""
    seen = []
    short = lambda path: "/".join(Path(path).parts[-2:])  # noqa: E731
    force, rename, replace = system.force_to_disk, Path.rename, Path.replace
    monkeypatch.setattr(
        system, "force_to_disk", lambda p: (seen.append(("disk", short(p))), force(p))
    )
    monkeypatch.setattr(
        Path, "rename", lambda p, to: (seen.append((short(p), short(to))), rename(p, to))[1]
    )
    monkeypatch.setattr(
        Path, "replace", lambda p, to: (seen.append((short(p), short(to))), replace(p, to))[1]
    )
    return seen


def test_the_trained_model_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch, capsys):
    out, seen = tmp_path / "run", watched(monkeypatch)
    monkeypatch.setattr(report, "show", lambda out: seen.append(("shown", "")))
    assert start(out) == 0
    named = seen.index(("run/model.unfinished", "run/model"))
    for file in (out / "model").iterdir():
        assert ("disk", f"model.unfinished/{file.name}") in seen[:named]
    assert ("disk", "run/model.unfinished") in seen[:named]
    told = seen.index(("shown", ""))
    assert ("disk", out.parent.name + "/run") in seen[named:told], "the name itself"
    summary = seen.index(("run/summary.json.unfinished", "run/summary.json"))
    assert ("disk", "run/summary.json.unfinished") in seen[:summary] and summary < told


@pytest.mark.parametrize("name", ["config.json.unfinished", "checkpoint.unfinished"])
def test_nothing_takes_its_place_before_it_is_on_the_disk(tmp_path, monkeypatch, name):
    seen = watched(monkeypatch)
    assert start(tmp_path / "run") == 0
    moved = [i for i, (what, _) in enumerate(seen) if what == f"run/{name}"]
    assert moved and all(("disk", f"run/{name}") in seen[:i] for i in moved)
    if name == "checkpoint.unfinished":
        for file in (*checkpoint.FILES, checkpoint.SUMS):
            assert ("disk", f"{name}/{file}") in seen[: moved[0]]


@pytest.mark.parametrize("moment", ["write", "to the old name", "to the new name", "remove"])
def test_the_old_model_is_there_until_the_new_one_is(tmp_path, monkeypatch, moment):
    folder = tmp_path / "model"
    disk.replace_folder(folder, lambda new: (new / "weights").write_text("old"))
    calls = {"to the old name": 1, "to the new name": 2}
    rename, left = Path.rename, [calls.get(moment, 0)]

    def dying(path, to):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt  # as suddenly as a kill
        return rename(path, to)

    def write(new):
        if moment == "write":
            raise KeyboardInterrupt
        (new / "weights").write_text("new")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        if moment == "remove":
            patch.setattr(disk.shutil, "rmtree", lambda *args, **kwargs: 1 / 0)
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            disk.replace_folder(folder, write)
    whole = [p for p in (folder, tmp_path / "model.replaced") if p.exists()]
    assert {(p / "weights").read_text() for p in whole} >= {"new" if moment == "remove" else "old"}
    disk.replace_folder(folder, lambda new: (new / "weights").write_text("again"))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (folder / "weights").read_text() == "again"


# ---- links


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl", "responses.jsonl", "nonfinite.jsonl"])
def test_a_file_elsewhere_is_not_written_through_a_link(run, tmp_path, capsys, name):
    target = tmp_path / "precious"
    target.write_text("precious")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(target)
    before = (run / "checkpoint" / "state.json").read_bytes()
    assert start(run, "steps=3", resume=["--resume"]) == 2
    assert f"{name}: is a link to {target}" in one_line(capsys)
    assert target.read_text() == "precious"
    assert (run / "checkpoint" / "state.json").read_bytes() == before


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl"])
@pytest.mark.parametrize("make", [getattr(os, "mkfifo", None), os.mkdir])
def test_what_is_no_file_is_named_and_nobody_waits_for_it(run, capsys, name, make):
    if make is None:
        pytest.skip("this system has no named pipes")
    (run / name).unlink()
    make(run / name)
    assert start(run, "steps=3", resume=["--resume"]) in (1, 2)
    assert name in one_line(capsys)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "config.json.unfinished"])
def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(run, tmp_path, name):
    target = tmp_path / "precious.json"
    if (run / name).exists():
        (run / name).rename(target)
    else:
        target.write_text("precious")
    before = target.read_bytes()
    (run / name).symlink_to(target)
    assert start(run, "steps=3", resume=["--resume"]) == 0
    assert target.read_bytes() == before
    assert not (run / name).is_symlink()


@pytest.mark.parametrize("name", ["model.unfinished", "checkpoint.unfinished", "model", "previous"])
def test_a_link_in_the_place_of_a_folder_is_replaced_and_not_followed(run, tmp_path, name):
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "precious").write_text("precious")
    if (run / name).exists():
        shutil.rmtree(run / name)
    (run / name).symlink_to(target, target_is_directory=True)
    assert start(run, "steps=3", resume=["--resume"]) == 0
    assert contents(target) == {Path("precious"): b"precious"}
    assert not (run / name).is_symlink()


def test_reading_goes_through_links_as_in_a_cache_of_the_hub(tmp_path):
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for file in (ROOT / "base").iterdir():
        (cache / file.name).symlink_to(file)
    real = tmp_path / "large disk"
    real.mkdir()
    (tmp_path / "runs").symlink_to(real, target_is_directory=True)
    assert start(tmp_path / "runs" / "run", f"model={cache}") == 0
    assert not any(p.is_symlink() for p in (real / "run").rglob("*"))
    assert start(tmp_path / "runs" / "run", f"model={cache}", resume=["--resume"]) == 0


# ---- a checkpoint with right sums that no run wrote


def rewrite(run, change):
    """Change the state of a checkpoint and write its sums anew."""
    folder = run / "checkpoint"
    state = json.loads((folder / "state.json").read_text())
    change(state)
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "SHA256SUMS").write_text(checkpoint.sums(folder, checkpoint.FILES))


@pytest.mark.parametrize(
    "path",
    ["step", "fixed", "selector", "selector.mean", "selector.rng", "candidate_stream", "counts",
     "counts.costs", "counts.costs.rollouts", "counts.costs.seconds", "counts.record.before",
     "counts.record.last.accuracy", "counts.watch.warnings", "files", "files.metrics.jsonl"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["five", ...])
def test_a_state_that_no_run_wrote_is_one_line(run, capsys, path, value):
    check_refused(run, capsys, path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [("step", value) for value in (-5, 0.5, True, math.nan, 3, 10**30)]
    + [("files.metrics.jsonl", value) for value in (0.5, True, -1, 1, math.nan, 10**30)]
    + [("selector.entropies", value) for value in (5, None, [[1, 2]], [1])]
    + [("selector.hits", [value] * 10) for value in (math.nan, math.inf)]
    + [("selector.mean", [0.5]), ("counts.costs.seconds.total", 10**400)]
    + [("counts.costs.rollouts", value) for value in (-1, 0.5, math.inf)],
)
def test_numbers_that_no_run_has_are_one_line(run, capsys, path, value):
    check_refused(run, capsys, path, value)


def check_refused(run, capsys, path, value):
    """With this value in its state a checkpoint is refused, and nothing is changed."""

    def change(state):
        *sections, name = path.replace("metrics.jsonl", "metrics/jsonl").split(".")
        for section in sections:
            state = state[section]
        name = name.replace("/", ".")
        if value is ...:
            del state[name]
        else:
            state[name] = value

    rewrite(run, change)
    before = contents(run)
    assert start(run, "steps=3", resume=["--resume"]) == 2
    assert str(run) in one_line(capsys)
    assert contents(run) == before


@pytest.mark.parametrize("name", ["model.", "exp_avg", "step", "rollout_stream"])
@pytest.mark.parametrize(
    "change", ["flat", "row", "gone", "one number", "another type", "not finite"]
)
def test_tensors_that_no_run_has_are_not_made_to_fit(run, capsys, name, change):
    file = run / "checkpoint" / "tensors.safetensors"
    tensors = load_file(file)
    hit = next(n for n in sorted(tensors) if name in n and (tensors[n].dim() or name == "step"))
    new = {"flat": tensors[hit].reshape(-1)[:1], "row": tensors[hit][None].clone()}
    new |= {"one number": tensors[hit].reshape(-1)[0].clone()}
    new |= {"another type": tensors[hit].double()}
    new |= {"not finite": tensors[hit].float() * math.nan}
    if name == "step" and change == "one number":
        new["one number"] = tensors[hit].expand(2).clone()
    tensors.pop(hit) if change == "gone" else tensors.update({hit: new[change]})
    save_file(tensors, file)
    rewrite(run, lambda state: None)
    before = contents(run)
    assert start(run, "steps=3", resume=["--resume"]) == 2
    assert "holds no checkpoint of this run" in one_line(capsys)
    assert contents(run) == before


def test_the_sums_are_what_sha256sum_prints(run):
    for line in (run / "checkpoint" / "SHA256SUMS").read_text().splitlines():
        number, name = line.split("  ")
        assert number == hashlib.sha256((run / "checkpoint" / name).read_bytes()).hexdigest()
    assert name == checkpoint.FILES[-1]


@pytest.mark.parametrize("change", ["another", "one more"])
def test_a_clock_that_no_run_has_is_one_line(run, capsys, change):
    def rename(state):
        seconds = state["counts"]["costs"]["seconds"]
        seconds["sleep"] = seconds.pop("update") if change == "another" else 0.0

    rewrite(run, rename)
    assert start(run, "steps=3", resume=["--resume"]) == 2
    assert "holds no checkpoint of this run" in one_line(capsys)


def test_a_name_that_is_not_utf8_is_refused_before_the_run(tmp_path, capsys):
    out = tmp_path / os.fsdecode(b"run\xff")
    assert start(out) == 2
    assert "its name is not UTF-8" in one_line(capsys)
    assert not out.exists()


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_says_how_far_it_came(tmp_path, monkeypatch, capsys, number):
    genuine, calls = train.Record.write, []

    def third_step(*args):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        return genuine(*args)

    monkeypatch.setattr(train.Record, "write", third_step)
    out = tmp_path / "run"
    assert start(out, "steps=5") == 128 + number
    assert "left at once, after step 3; add --resume" in one_line(capsys)
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    assert start(out, "steps=5", resume=["--resume"]) == 0
