"""Other machines, by stand-ins: Windows and macOS, their disks, locks and signals, Apple's GPUs."""

import contextlib
import errno
import os
import signal
import types

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plumbing import device, disk, jsonl, system
from plumbing.command import UserError
from plumbing.memory import OffloadedAdamW
from plumbing.run import restore_model
from plumbing.stop import Stop
from rollout import Sampler, uniforms

# ------------------------------------------------------------------------------- the disk


def is_open(path):
    """Whether a file is open in this process."""
    for descriptor in range(256) if os.path.isfile(path) else ():
        with contextlib.suppress(OSError):  # no such descriptor
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return True
    return False


@pytest.fixture
def windows(monkeypatch):
    """What Windows refuses: to open a folder, to flush what is open for reading, two locks, and to
    remove or rename a file that is open.
    """
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

    def refuse_what_is_open(genuine):
        def call(*paths, **beside):
            if not beside and any(map(is_open, paths)):
                raise PermissionError(errno.EACCES, "The process cannot access the file", paths[0])
            return genuine(*paths, **beside)

        return call

    for name in ("unlink", "rename", "replace"):
        monkeypatch.setattr(os, name, refuse_what_is_open(getattr(os, name)))
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


def test_a_text_is_replaced_whole_and_its_line_ends_are_the_same_everywhere(tmp_path):
    for text in ("one and more\n", "one\ntwo\n"):
        disk.write_text(tmp_path / "a.json", text)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json", b"one\ntwo\n")]


def test_what_is_open_stays_where_it_is_on_windows(tmp_path, windows):
    """The stand-in itself: else the tests with it would pass whatever is left open."""
    file = tmp_path / "a"
    with file.open("w"):
        for move in (file.unlink, lambda: file.rename("b"), lambda: file.replace("b")):
            with pytest.raises(PermissionError, match="cannot access the file"):
                move()
    file.unlink()


@pytest.mark.parametrize("error", [None, UserError, KeyboardInterrupt])
@pytest.mark.parametrize("lines", [[], [{"a": 1}]])
def test_results_without_a_line_are_removed_on_windows_too(tmp_path, windows, error, lines):
    file = tmp_path / "results.jsonl"
    ended = pytest.raises(error) if error else contextlib.nullcontext()
    with ended, jsonl.extending(file, "busy") as opened:
        jsonl.add(opened, *lines)
        if error:
            raise error("it could not go on")
    assert file.exists() == bool(lines)


@pytest.mark.parametrize("how", ["as it is", "on windows"])
def test_results_that_another_process_holds_are_not_removed(tmp_path, request, how):
    if how == "on windows":
        request.getfixturevalue("windows")
    file = tmp_path / "results.jsonl"
    with disk.appending(file):
        with pytest.raises(UserError, match="jsonl: busy"), jsonl.extending(file, "busy"):
            pass
        assert file.exists()


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
        pick = Sampler(uniforms(4, 5, torch.Generator("cpu")), 1.0, **limits)
        token, logprob = pick(logits, rows, 0)
        assert token.device.type == logprob.device.type == "meta"
        assert token.shape == logprob.shape == (4,)
        with pytest.raises(AssertionError, match="float64"):
            logits.double()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, OffloadedAdamW])
def test_a_restored_count_of_steps_is_float32_and_with_its_weight(tiny, optimizer):
    """Not float64, which Apple's GPUs lack, nor bfloat16 like the weights, which ends at 256."""
    tiny.bfloat16()
    tensors = {f"model.{name}": weight for name, weight in tiny.state_dict().items()}
    for name, weight in tiny.named_parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"optimizer.{name}.{moment}"] = torch.zeros_like(weight)
        tensors[f"optimizer.{name}.step"] = torch.tensor(257.0)
    tiny.to("meta")
    found = optimizer(tiny.parameters())
    restore_model(tiny, found, tensors)
    for weight in tiny.parameters():
        step = found.state[weight]["step"]
        assert step.dtype == torch.float32 and step.device == weight.device
