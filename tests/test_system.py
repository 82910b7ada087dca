"""Other machines, by stand-ins: Windows and macOS, their disks, locks and signals, Apple's GPUs."""

import errno
import os
import signal
import types

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plumbing import device, disk, system
from plumbing.command import UserError
from plumbing.stop import Stop
from rollout import Sampler

# ------------------------------------------------------------------------------- the disk


@pytest.fixture
def windows(monkeypatch):
    """What Windows refuses: to open a folder, to flush what is open for reading, and two locks."""
    held, genuine_open, genuine_sync, modes = set(), os.open, os.fsync, {}

    def open_(path, flags, *more, **beside):
        if beside:  # `shutil.rmtree`, which works in another way there
            return genuine_open(path, flags, *more, **beside)
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        assert not flags & getattr(os, "O_NOFOLLOW", 0), "no such flag there"
        descriptor = genuine_open(path, flags, *more)
        modes[descriptor] = flags & (os.O_WRONLY | os.O_RDWR)
        return descriptor

    def fsync(descriptor):
        if not modes.get(descriptor, True):
            raise OSError(errno.EBADF, "Bad file descriptor")
        genuine_sync(descriptor)

    def locking(descriptor, mode, length):
        assert mode == "LK_NBLCK" and length == 1
        place = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in held:
            raise PermissionError(errno.EACCES, "Permission denied")
        held.add(place)

    msvcrt = types.SimpleNamespace(locking=locking, LK_NBLCK="LK_NBLCK")
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", msvcrt)
    monkeypatch.setattr(system, "FOLDERS_OPEN", False)
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    return held


def test_files_and_folders_are_replaced_on_windows(tmp_path, windows):
    for text in ("one", "two"):
        disk.write_text(tmp_path / "a.json", text)
        disk.replace_folder(tmp_path / "model", lambda new, t=text: (new / "w").write_text(t))
    assert (tmp_path / "a.json").read_text() == (tmp_path / "model" / "w").read_text() == "two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "model"]


def test_a_second_process_is_kept_out_on_windows(tmp_path, windows):
    file = tmp_path / "lock"
    with (
        disk.appending(file) as held,
        pytest.raises(UserError, match="lock: busy"),
        disk.appending(file, "busy"),
    ):
        pass
    assert held.closed and len(windows) == 1


def test_what_is_appended_on_windows_stands_at_the_end(tmp_path, windows):
    file = tmp_path / "results.jsonl"
    file.write_bytes(b"one\n")
    with disk.appending(file) as opened:
        opened.write(b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"


def test_line_ends_are_the_same_everywhere(tmp_path):
    disk.write_text(tmp_path / "a.json", "one\ntwo\n")
    assert (tmp_path / "a.json").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("supported", [True, False])
def test_macos_is_asked_to_empty_the_cache_of_the_drive(tmp_path, monkeypatch, supported):
    asked = []

    def fcntl(descriptor, command):
        asked.append((descriptor, command))
        if not supported:
            raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(system, "fcntl", types.SimpleNamespace(fcntl=fcntl, F_FULLFSYNC=51))
    file = tmp_path / "a"
    file.write_text("a")
    system.force_to_disk(file)
    system.force_to_disk(tmp_path)
    assert [command for _, command in asked] == [51, 51]


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, capsys):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    stand_in = types.SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4)
    monkeypatch.setattr(system, "fcntl", stand_in)
    with disk.appending(tmp_path / "a") as file:
        file.write(b"a")
    assert "cannot keep a second process out (No locks available)" in capsys.readouterr().err
    assert (tmp_path / "a").read_bytes() == b"a"


# ------------------------------------------------------------------------------- signals


def test_signals_that_are_not_there_are_not_asked_for(monkeypatch):
    monkeypatch.delattr(signal, "SIGTERM")
    assert system.stop_signals() == [signal.SIGINT]


def test_ctrl_break_of_windows_stops_a_run_too(monkeypatch):
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.asked == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) == before


# ------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_there_is(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.best() == best


def test_tokens_for_apples_gpus_are_drawn_on_the_cpu():
    assert device.generator(torch.device("mps")).device.type == "cpu"
    assert device.generator(torch.device("cpu")).device.type == "cpu"


class NoFloat64(TorchDispatchMode):
    """Stands for a device without float64: the one named "meta" refuses it."""

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                assert tensor.dtype != torch.float64, f"{function} makes float64"
        return result


@pytest.mark.parametrize("limits", [{"top_k": 0, "top_p": 1.0}, {"top_k": 3, "top_p": 0.9}])
def test_the_sampler_asks_no_float64_of_a_device_without(limits):
    with FakeTensorMode(allow_non_fake_inputs=True), NoFloat64():
        logits, rows = torch.empty(4, 19, device="meta"), torch.arange(4, device="meta")
        pick = Sampler(4, 5, 1.0, generator=torch.Generator("cpu"), **limits)
        token, logprob = pick(logits, rows, 0)
        assert token.device.type == logprob.device.type == "meta"
        assert token.shape == logprob.shape == (4,)
        with pytest.raises(AssertionError, match="float64"):
            logits.double()


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_counts_its_steps_in_float32(fused):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], fused=fused)
    weight.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.state[weight]["step"].dtype == torch.float32
