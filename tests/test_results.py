"""The results of experiments: one writer at a time, nothing twice, no line lost, no worker left."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from test_experiments import few_instances, record, runs  # of experiments/

from plumbing import disk

FEW = {
    "N": 1, "seed": 0, "before": 0.2, "curve": [[7, 0.5]], "informative": 7, "groups": 10,
    "ceiling": 0.7,
}  # fmt: skip


def write(path, *records) -> bytes:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path.read_bytes()


def main_of(command: str, *words) -> int:
    return importlib.import_module(command).main([*map(str, words)])


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The jobs that were carried out; each run is made at once, and no process is started."""
    jobs = []

    def in_processes(function, missing, processes):
        for job in missing:
            jobs.append(job)
            few = {**FEW, "N": job[0], "seed": job[-1]}
            yield record(*job[1:]) if len(job) == 4 else few

    monkeypatch.setattr(runs, "in_processes", in_processes)
    monkeypatch.chdir(tmp_path)
    return jobs


COMPARE = ["compare", "--arms", "dopr", "--rates", "1e-4", "--seeds", "0", "1", "2", "--out"]
SIZES = ["few_instances", "--sizes", "1", "--out"]


@pytest.mark.parametrize("words", [COMPARE, SIZES], ids=["compare", "few_instances"])
def test_a_second_writer_is_refused_and_changes_nothing(tmp_path, capsys, made, words):
    out = tmp_path / "runs.jsonl"
    for content in (b"", write(out, record()) if words is COMPARE else write(out, FEW)):
        out.write_bytes(content)
        with disk.appending(out):
            capsys.readouterr()
            assert main_of(*words, out) == 2
        error = capsys.readouterr().err
        assert "another process is making these runs" in error and error.count("\n") == 1
        assert out.read_bytes() == content and not made


@pytest.mark.parametrize("words", [COMPARE, SIZES], ids=["compare", "few_instances"])
@pytest.mark.parametrize("cut", [0, 1, 2, 60])
def test_a_file_without_its_last_line_break_loses_no_run(tmp_path, capsys, made, words, cut):
    """A whole line gets its line break; of an unfinished one the run is made again."""
    out = tmp_path / "runs.jsonl"
    assert main_of(*words, out) == 0
    content, n = out.read_bytes(), len(made)
    made.clear()
    out.write_bytes(content[:-cut] if cut else content)
    capsys.readouterr()
    assert main_of(*words, out) == 0
    assert out.read_bytes() == content and len(made) == (cut > 1) and n in (3, 5)
    assert ("cut off its last line" in capsys.readouterr().err) == (cut > 1)


def test_to_print_the_tables_changes_no_file(tmp_path, capsys):
    """Another process may be writing it: the line that is not finished is named."""
    out = tmp_path / "runs.jsonl"
    content = write(out, record(), record(seed=1))
    with disk.appending(out):
        assert main_of("compare", "--tables", "--out", out) == 0
    out.write_bytes(content[:-9])
    assert main_of("compare", "--tables", "--out", out) == 2
    assert "runs.jsonl:2: not the record of a run (it is not finished" in capsys.readouterr().err
    assert out.read_bytes() == content[:-9]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record(), record(seed=1), record()], COMPARE),
        ([record(), record(seed=1), {**record(), "seconds": 7}], ["plots"]),
        ([record(), record(seed=1), record()], ["compare", "--tables", "--out"]),
        (
            [FEW, {**FEW, "seed": 1}, {**FEW, "ceiling": 0.8}],
            ["few_instances", "--tables", "--out"],
        ),
        ([FEW, {**FEW, "seed": 1}, FEW], SIZES),
    ],
)
def test_the_same_run_twice_is_refused_with_both_lines(tmp_path, capsys, made, records, words):
    if words == ["plots"]:
        pytest.importorskip("matplotlib")
    content = write(tmp_path / "runs.jsonl", *records)
    assert main_of(*words, tmp_path / "runs.jsonl") == 2
    error = capsys.readouterr().err
    assert "the lines 1 and 3 hold the same run" in error and error.count("\n") == 1
    assert (tmp_path / "runs.jsonl").read_bytes() == content and not made


WRONG_COMPARISONS = [
    record(arm="nobody"),
    record(arm=["dopr"]),
    record(task=None),
    record(rate=-1),
    record(rate="1e-4"),
    record(rate=10**400),
    record(seed=None),
    record(seed=0.5),
    record(seed=True),
    {**record(), "curve": []},
    {**record(), "curve": [[0, 0, 0]]},
    {**record(), "curve": [[0, 0, 0, float("nan")]]},
    {**record(), "curve": [[0, 0, 0, 1.5]]},
    {**record(), "curve": [[64, 1280, 4, 0.5]]},
    {**record(), "curve": [[0, 0, 0, True]]},
    {**record(), "curve": ["0000"]},
    {**record(), "curve": "abcd"},
    {**record(), "groups": 0},
    {**record(), "informative": 999},
    {**record(), "picked": [{"carry": "x"}]},
    {**record(), "picked": [["a"]]},
    {**record(), "picked": ["ab"]},
    {**record(), "picked": 3},
    {"seed": 0, "curve": [[0, 0, 0, 0.2]]},
    FEW,
    [1],
]
WRONG_FEW = [
    {**FEW, "N": "x"},
    {**FEW, "N": 1.5},
    {**FEW, "N": 0},
    {**FEW, "seed": [0]},
    {**FEW, "curve": [7, 0.5]},
    {**FEW, "curve": ["12"]},
    {**FEW, "curve": [[7, 0.5, 0]]},
    {**FEW, "before": None},
    {**FEW, "before": True},
    {**FEW, "ceiling": None},
    {**FEW, "ceiling": 1.1},
    {**FEW, "informative": -1},
    record(),
]


@pytest.mark.parametrize(
    ("command", "good", "wrong"),
    [("compare", record(seed=7), wrong) for wrong in WRONG_COMPARISONS]
    + [("few_instances", {**FEW, "seed": 7}, wrong) for wrong in WRONG_FEW],
)
def test_a_record_of_something_else_names_its_line(tmp_path, capsys, command, good, wrong):
    file = tmp_path / "runs.jsonl"
    content = write(file, good, wrong)
    assert main_of(command, "--tables", "--out", file) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}:2: not the record of a run") and error.count("\n") == 1
    assert file.read_bytes() == content


def test_a_file_of_the_other_experiment_is_not_written_to(tmp_path, capsys, made):
    for words, content in (
        (SIZES, write(tmp_path / "a.jsonl", record())),
        (COMPARE, write(tmp_path / "a.jsonl", FEW)),
        (["plots"], write(tmp_path / "a.jsonl", record(), FEW)),
    ):
        (tmp_path / "a.jsonl").write_bytes(content)
        assert main_of(*words, tmp_path / "a.jsonl") == 2 and not made
        assert (tmp_path / "a.jsonl").read_bytes() == content
    assert capsys.readouterr().err.count("\n") == 3


def test_results_are_not_written_through_a_link_nor_into_a_pipe(tmp_path, capsys, made):
    (tmp_path / "kept").write_text("")
    (tmp_path / "link").symlink_to("kept")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        assert main_of(*COMPARE, tmp_path / name) == 2 and not made
    assert capsys.readouterr().err.count("\n") == 2


def test_a_grid_whose_first_run_fails_leaves_no_file(tmp_path, monkeypatch):
    def fail(function, missing, processes):
        raise runs.UserError("a run ended early")
        yield

    monkeypatch.setattr(runs, "in_processes", fail)
    monkeypatch.chdir(tmp_path)
    assert main_of(*COMPARE, tmp_path / "runs.jsonl") == 2
    assert list(tmp_path.iterdir()) == []


# ---- what ends a grid

GRID = "import time; from runs import in_processes; list(in_processes(time.sleep, [(300,)] * 2, 2))"


def children(pid: int) -> set[int]:
    """The processes that a process has started, and those that these have started."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile
            continue
        if parent == pid:
            found |= {int(stat.parent.name), *children(int(stat.parent.name))}
    return found


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that waits to be asked for its exit code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("after", [0.0, 2.5])
def test_a_grid_that_is_killed_leaves_no_worker_behind(after):
    """Also where its workers have not yet begun with their jobs."""
    grid = subprocess.Popen([sys.executable, "-c", GRID], cwd=ROOT / "experiments")
    end = time.monotonic() + 60
    while len(started := children(grid.pid)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(after)
    started |= children(grid.pid)
    os.kill(grid.pid, signal.SIGKILL)
    grid.wait()
    while any(map(is_alive, started)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [pid for pid in started if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(started) >= 2 and not left


def test_a_worker_that_is_killed_is_one_line(tmp_path, capsys):
    with pytest.raises(runs.UserError, match="ended from outside") as caught:
        list(runs.in_processes(os._exit, [(9,)], 1))
    assert caught.value.code == 1


def test_the_tables_of_few_problems_are_those_of_the_file(tmp_path, capsys, made):
    out = tmp_path / "few.jsonl"
    write(out, FEW, {**FEW, "seed": 1})
    assert few_instances.main(["--tables", "--out", str(out)]) == 0
    assert "| 1 | 50%, 50% | 50% [50%, 50%] |" in capsys.readouterr().out
