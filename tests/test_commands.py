"""The one place that decides what a user can mend: outputs, memory, paths, arguments, torchrun."""

import ast
import os
import subprocess
import sys
from argparse import ArgumentTypeError

import numpy as np
import pytest
import torch
from conftest import ROOT

import verifier
from plumbing import command, parallel
from plumbing.command import UserError

SAYS = "print('a line'); "
COMMAND = (
    "import sys; from plumbing.command import Parser, command\n@command\ndef main(argv):\n    {}\n"
)


def ended(body: str, redirection: str = "", **environment) -> subprocess.CompletedProcess:
    """How a command with this body ends under a shell, whose pipes report the command's code."""
    code = COMMAND.format(body) + "sys.exit(main())"
    line = f'set -o pipefail; "$PYTHON" -c "$CODE" {redirection}'
    env = {**os.environ, "PYTHON": sys.executable, "CODE": code, "PYTHONUNBUFFERED": ""}
    env |= environment
    return subprocess.run(["bash", "-c", line], cwd=ROOT, env=env, capture_output=True, text=True)


# ---- arguments


def test_wrong_arguments_are_one_line_without_the_usage(capsys):
    assert command.command(verifier.main)(["a response without a gold"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "gold (see --help)" in said.err
    for file in [*ROOT.glob("*.py"), *ROOT.glob("experiments/*.py"), *ROOT.glob("tools/*.py")]:
        assert "argparse.ArgumentParser(" not in file.read_text(encoding="utf-8"), file


# ---- the output


@pytest.mark.parametrize(
    "body",
    [
        "[print('a line', flush=True) for _ in range(100_000)]",
        "print('a line\\n' * 1_000_000)",
        "print('a line\\n' * 10, flush=True); import time; time.sleep(0.5); print('late')",
        "print('a line', flush=True); import time; time.sleep(0.5); sys.exit(print('late'))",
    ],
)
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word(body):
    """As a program that is ended by SIGPIPE: also where the rest is written as Python ends."""
    result = ended(body, "| head -1")
    assert (result.stdout, result.stderr) == ("a line\n", "") and result.returncode == 128 + 13


@pytest.mark.parametrize(
    "body",
    [
        "print('waits until the end')",
        "print('at once', flush=True)",
        "print('many lines\\n' * 100_000)",
        "Parser(prog='x').parse_args(['--help'])",
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(body):
    result = ended(body, "> /dev/full")
    assert result.returncode == 2
    assert result.stderr == "error: the output: No space left on device\n"


def test_an_output_without_a_buffer_is_one_line_too():
    result = ended("print('a line')", "> /dev/full", PYTHONUNBUFFERED="1")
    assert (
        result.returncode == 2 and result.stderr == "error: the output: No space left on device\n"
    )
    result = ended("[print('a line') for _ in range(9999)]", "| head -1", PYTHONUNBUFFERED="1")
    assert result.returncode == 128 + 13 and result.stderr == ""


def test_errors_that_cannot_be_shown_do_not_change_the_code():
    body = "from plumbing.command import UserError; raise UserError('a word', code=1)"
    for redirection in ("2> /dev/full", "2>&-", ">&- 2>&-"):
        assert ended(body, redirection).returncode == 1
    assert ended("print('into nothing')", ">&-").returncode == 0


def test_a_path_of_other_bytes_than_utf_8_can_be_named():
    """Neither printing nor an error line fails, whatever the terminal's encoding."""
    for encoding in ("utf-8", "ascii"):
        for body in ("print('a\\udcffb')", "open('a\\udcffb')"):
            result = ended(body, PYTHONIOENCODING=encoding)
            assert "a\\udcffb" in result.stdout + result.stderr and "Trace" not in result.stderr


# ---- what the machine says


def raised(*call) -> Exception:
    """What a call raises."""
    with pytest.raises(Exception) as caught:
        call[0](*call[1:])
    return caught.value


MACHINE = [
    (
        (open, "nowhere/file"),
        f"nowhere/file: No such file or directory (looked for from {ROOT})",
        2,
    ),
    ((open, "/nowhere/file"), "/nowhere/file: No such file or directory", 2),
    ((open, b"/nowhere/\xff"), "/nowhere/\udcff: No such file or directory", 2),
    ((open, "a" * 5000), "File name too long", 2),
    ((open, "a\0b"), "a path holds a NUL character", 2),
    ((open, "\ud800"), "not a text that can be written", 2),
    ((torch.empty, 10**15), "not enough memory: ", 1),
    ((np.ones, 10**15), "not enough memory: Unable to allocate", 1),
    ((bytearray, 2**62), "not enough memory: none is left; lower the sizes", 1),
]


@pytest.mark.parametrize(
    ("call", "message", "code"), MACHINE, ids=[str(m)[:40] for _, m, _ in MACHINE]
)
def test_what_the_machine_refuses_is_a_line(call, message, code, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = command.mendable(raised(*call))
    assert message in str(found) and found.code == code


def test_a_full_disk_names_no_file_called_none():
    assert str(command.mendable(OSError(28, "It is full"))) == "the output: It is full"
    assert str(command.mendable(OSError(28, "It is full", "f"))) == "f: It is full"
    assert str(command.mendable(OSError("odd"))) == "odd"


def test_a_full_disk_does_not_hide_what_went_wrong_first():
    result = ended("print('a line'); from plumbing.command import UserError; raise UserError('it')",
                   "> /dev/full")  # fmt: skip
    assert (result.stderr, result.returncode) == ("error: it\n", 2)


@pytest.mark.parametrize("name", ["train.py", "evaluate.py"])
def test_ctrl_c_while_libraries_are_imported_is_one_line(name):
    """What makes it one comes before all that takes long."""
    body = ast.parse((ROOT / name).read_text()).body
    first = next(node for node in body if isinstance(node, (ast.Import, ast.ImportFrom)))
    assert [alias.name for alias in first.names] == ["plumbing"]
    code = "import plumbing; raise KeyboardInterrupt"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stderr == "interrupted\n" and result.returncode not in (0, 1)


def test_a_mistake_of_ours_keeps_its_traceback():
    for error in (ValueError("x"), RuntimeError("x"), KeyError("x"), TypeError("x")):
        assert command.mendable(error) is None
    result = ended("1 / 0")
    assert "Traceback" in result.stderr and result.returncode == 1


def test_an_interruption_is_one_line_that_says_what_to_do(capsys):
    @command.command
    def main(argv):
        raise KeyboardInterrupt

    assert main() == 130 and capsys.readouterr().err == "interrupted\n"

    @command.command
    def main(argv):
        raise KeyboardInterrupt("the same command goes on")

    assert main() == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"


def test_a_message_of_several_lines_colours_and_megabytes_is_one_line():
    assert command.one_line("two\n  lines\r\n\n") == "two lines"
    assert command.one_line("\x1b[31mred\x00\u202e\ud800") == r"\x1b[31mred\x00\u202e\ud800"
    long = command.one_line("a" * 10**6 + "z")
    assert len(long) < 2100 and long.startswith("aaa") and long.endswith("az") and " ... " in long


def test_what_is_missing_says_from_where(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command.looked_for_from("a/b") == f" (looked for from {tmp_path})"
    assert command.looked_for_from("/a/b") == ""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert command.looked_for_from("a") == " (the folder that this was started in is gone)"


# ---- types of arguments


@pytest.mark.parametrize(
    "text", ["-1", "0", "1e9", "", "x", "9" * 30, "9" * 5000, "11", "²", "1.0"]
)
def test_a_whole_number_has_limits(text):
    number = command.whole_number(1, 10)
    assert (number("1"), number("10")) == (1, 10)
    with pytest.raises(ArgumentTypeError, match="is no whole number >= 1 and <= 10"):
        number(text)


def test_a_file_to_write_is_neither_a_link_nor_a_pipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.file_to_write("new") == tmp_path / "new"
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "nowhere").symlink_to("none")
    (tmp_path / "folder").symlink_to(tmp_path)  # a folder may be reached through a link
    os.mkfifo(tmp_path / "fifo")
    assert command.file_to_write("folder/kept") == tmp_path / "folder" / "kept"
    for name in ("link", "nowhere", "fifo", ".", "none/file"):
        with pytest.raises(ArgumentTypeError):
            command.file_to_write(name)
    assert (tmp_path / "kept").read_text() == "kept"


# ---- torchrun's variables

TORCHRUN = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def set_variables(monkeypatch, changes: dict) -> None:
    for name in (*TORCHRUN, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**TORCHRUN, **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": None}, "RANK: is not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: must be a whole number"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE: must be a whole number from 1"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE: must be a whole number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE: must be a whole number"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE: must be a whole number"),
        ({"RANK": "2"}, "RANK: must be a whole number from 0 to 1, not '2'"),
        ({"RANK": "-1"}, "RANK: must be a whole number from 0 to 1"),
        ({"RANK": "first"}, "RANK: must be a whole number from 0 to 1"),
        ({"MASTER_PORT": None}, "MASTER_PORT: is not set"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT: must be a whole number from 1 to 65535"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR: is not set"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR: is not set"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK: must be a whole number"),
    ],
)
def test_half_of_torchruns_variables_are_named_in_one_line(monkeypatch, changes, message):
    set_variables(monkeypatch, changes)
    with pytest.raises(UserError, match="torchrun, or unset WORLD_SIZE") as caught:
        parallel.start()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", [None, "1"])
def test_one_process_needs_no_variables(monkeypatch, value):
    set_variables(monkeypatch, {"WORLD_SIZE": value, "RANK": "x", "MASTER_PORT": None})
    parallel.start()
    assert parallel.world() == 1


def test_the_other_processes_that_cannot_be_met_are_a_line(monkeypatch):
    set_variables(monkeypatch, {"MASTER_ADDR": "256.256.256.256", "RANK": "1"})

    def refuse():
        raise torch.distributed.DistNetworkError("no such host")

    monkeypatch.setattr(parallel.dist, "init_process_group", refuse)
    with pytest.raises(UserError, match=r"cannot be met at 256\.256\.256\.256:29500"):
        parallel.start()
