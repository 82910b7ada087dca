"""Let every system call that changes a run's folder go wrong once, then resume, and compare.

    python tools/inject_faults.py [--out FOLDER]        25 minutes on two cores
    python tools/inject_faults.py --every 20            one call in twenty: some minutes

It makes a short run under the eyes of ptrace(2) and lists its system calls that write, rename,
remove, make or force to the disk anything in the run's folder, whoever makes them: Python, or the
library that writes safetensors.  Then it makes the run once per call and kind of fault:

    killed          the process gets SIGKILL before the call
    half written    a write writes half of its bytes, then the process gets SIGKILL
    EIO             the call fails: the disk is broken
    ENOSPC          the call fails: the disk is full
    EACCES          the call fails: it is not allowed

What is left is resumed as a user would do it: with --resume, and where that says to leave it out,
without.  The run must then have, bit for bit, the weights of the run that was left alone, and the
same record but for its times.

How to read it: one row per kind of call, one column per kind of fault: how many there were, and
what became of them.  It ends with exit code 1 if one was stuck, showed a traceback or ended with
other bits; these are listed.  It needs Linux on x86-64.
"""

import contextlib
import ctypes
import errno
import json
import os
import platform
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from kill_loop import outcome
from project import ROOT
from tqdm import tqdm

from plumbing.command import Parser, UserError, command, whole_number

SETS = ("steps=3", "checkpoint_every=2", "eval_every=1000", "data.heldout_size=4",
        "data.pool_size=10", "rollout.group_size=4", "rollout.max_new_tokens=24")  # fmt: skip
FAULTS = {"killed": 0, "half written": 0, "EIO": errno.EIO, "ENOSPC": errno.ENOSPC,
          "EACCES": errno.EACCES}  # fmt: skip

# x86-64's numbers of the system calls that change files, by what they are given: an open file, or
# the names of files, each after the folder that it is relative to
OF_A_FILE = {1: "write", 18: "write", 20: "write", 74: "force to disk", 75: "force to disk",
             77: "cut"}  # fmt: skip
OF_NAMES = {2: "open", 257: "open", 82: "rename", 264: "rename", 316: "rename", 83: "make folder",
            258: "make folder", 84: "remove", 87: "remove", 263: "remove", 76: "cut"}  # fmt: skip
AT_A_FOLDER = (257, 258, 263, 264, 316)  # their first argument is the folder
OPEN_FLAGS = {2: 1, 257: 2}  # which argument of `open` says how
CHANGES = os.O_CREAT | os.O_WRONLY | os.O_RDWR


# ------------------------------------------------------------------------------- ptrace(2)

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
TRACEME, GETREGS, SETREGS, SYSCALL, SETOPTIONS = 0, 12, 13, 24, 0x4200
OPTIONS = 0x1 | 0x8 | 0x100000  # tell calls from signals; follow threads; die with the tracer


class Registers(ctypes.Structure):
    """What a thread holds: of a system call its number, its arguments and its result."""

    _fields_ = [
        (name, ctypes.c_ulong)
        for name in "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs "
        "eflags rsp ss fs_base gs_base ds es fs gs".split()
    ]


def ptrace(request: int, pid: int, data: object = None) -> None:
    """Make a request about a thread that stands still."""
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"ptrace {request}")


class Traced:
    """One run in a process of its own, of which one call at most goes wrong."""

    def __init__(self, out: Path, resume: bool, at: int = 0, fault: str = "") -> None:
        self.out, self.at, self.fault = out, at, fault
        self.calls: list[str] = []  # what changed the folder, in order
        self.failing: dict[int, int] = {}  # thread -> the error that its call is to return
        self.inside: set[int] = set()  # threads within a system call
        self.dying = False  # after a call of which half was done
        self.pid = in_a_process(lambda: train_in(out, resume), out.with_suffix(".log"), traced=True)

    def status(self) -> int:
        """Let it run to its end and return its exit code, or minus the signal that ended it."""
        os.waitpid(self.pid, 0)
        ptrace(SETOPTIONS, self.pid, OPTIONS)
        ptrace(SYSCALL, self.pid)
        while True:
            pid, status = os.waitpid(-1, 0x40000000)  # __WALL: threads too
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if pid == self.pid:
                    return os.waitstatus_to_exitcode(status)
                continue
            number, passed_on = os.WSTOPSIG(status), None
            if number == signal.SIGTRAP | 0x80:
                self.at_call(pid)
            elif number not in (signal.SIGTRAP, signal.SIGSTOP):
                passed_on = number
            with contextlib.suppress(ProcessLookupError):
                ptrace(SYSCALL, pid, passed_on)

    def at_call(self, pid: int) -> None:
        """Look at a thread that enters a system call or leaves it."""
        registers = Registers()
        ptrace(GETREGS, pid, ctypes.byref(registers))
        if pid in self.inside:
            self.inside.remove(pid)
            if pid in self.failing:
                registers.rax = 2**64 - self.failing.pop(pid)
                ptrace(SETREGS, pid, ctypes.byref(registers))
            if self.dying:
                os.kill(self.pid, signal.SIGKILL)
            return
        self.inside.add(pid)
        what = self.change(pid, registers)
        if not what:
            return
        self.calls.append(what)
        if len(self.calls) == self.at:
            self.go_wrong(pid, registers)

    def go_wrong(self, pid: int, registers: Registers) -> None:
        """Let the call that a thread enters go wrong."""
        if self.fault == "killed":
            os.kill(self.pid, signal.SIGKILL)
        elif self.fault == "half written":
            registers.rdx //= 2
            self.dying = True
        else:
            registers.orig_rax = 2**64 - 1  # no such call, so that nothing happens
            self.failing[pid] = FAULTS[self.fault]
        with contextlib.suppress(ProcessLookupError):
            ptrace(SETREGS, pid, ctypes.byref(registers))

    def change(self, pid: int, registers: Registers) -> str:
        """Say what a call changes in the run's folder; "" if it changes nothing there."""
        number = registers.orig_rax
        arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10]
        if number in OF_A_FILE:
            path = link_of(pid, arguments[0])
            return OF_A_FILE[number] if self.is_mine(path) else ""
        if number not in OF_NAMES:
            return ""
        if number in OPEN_FLAGS and not arguments[OPEN_FLAGS[number]] & CHANGES:
            return ""
        folder, name = "", arguments[0]
        if number in AT_A_FOLDER:
            folder, name = link_of(pid, ctypes.c_int(arguments[0]).value), arguments[1]
        path = os.path.join(folder, text_at(pid, name))
        return OF_NAMES[number] if self.is_mine(path) else ""

    def is_mine(self, path: str) -> bool:
        """Whether a path is the run's folder or in it."""
        return path == str(self.out) or path.startswith(f"{self.out}/")


def link_of(pid: int, descriptor: int) -> str:
    """Return the path of an open file of a process; of the folder it is in for AT_FDCWD, -100."""
    try:
        name = "cwd" if descriptor == -100 else f"fd/{descriptor}"
        return os.readlink(f"/proc/{pid}/{name}").removesuffix(" (deleted)")
    except OSError:
        return ""


def text_at(pid: int, address: int) -> str:
    """Return the text in a process's memory that ends in a zero."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return os.fsdecode(memory.read(4096).split(b"\0")[0])


# ------------------------------------------------------------------------------- runs


def in_a_process(run: Callable[[], int], log: Path, traced: bool = False) -> int:
    """Start `run` in a process that says what it says to a file; return the process's number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 1)
        os.dup2(1, 2)
        sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115 (until it ends)
        if traced:
            libc.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
        status = run()
        sys.stdout.flush()
        os._exit(status)
    finally:
        os._exit(70)  # an exception that got as far as here


def train_in(out: Path, resume: bool) -> int:
    """Make the short run in a folder, or go on with it."""
    import train

    words = ["--config", "small.json", "--out", str(out)]
    words += [word for pair in SETS for word in ("--set", pair)]
    return train.main(words + ["--resume"] * resume)


def ended(out: Path, resume: bool) -> tuple[int, str]:
    """Make a run to its end; return its exit code and what it said."""
    log = out.with_suffix(".log")
    _, status = os.waitpid(in_a_process(lambda: train_in(out, resume), log), 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")


def case(folder: Path, at: int, fault: str) -> tuple[str, str, str]:
    """Let one call go wrong and resume; return the call, what became of the run, and what it said.

    The runs of a case begin from nothing, and are removed if they ended well.
    """
    out = folder / f"{at}-{fault.replace(' ', '-')}"
    run = Traced(out, False, at, fault)
    status = run.status()
    call = run.calls[at - 1] if len(run.calls) >= at else "none"
    said = out.with_suffix(".log").read_text(errors="replace")
    verdict = "the same bits"
    if "Traceback" in said or status == 70 or (status > 0 and "error: " not in said):
        verdict = "no line"
    else:
        status, again = ended(out, resume=True)
        if status == 2 and "leave out --resume" in again:
            status, again = ended(out, resume=False)
        said += again
        if "Traceback" in again:
            verdict = "no line"
        elif status:
            verdict = "stuck"
        elif outcome(out) != outcome(folder / "alone"):
            verdict = "other bits"
    if verdict == "the same bits":
        shutil.rmtree(out)
        out.with_suffix(".log").unlink()
    return call, verdict, said[-500:]


def prepared() -> None:
    """Load in a worker, once, what every run needs."""
    os.chdir(ROOT)
    import transformers.tokenization_utils_tokenizers  # noqa: F401 (seconds, the first time)

    import train

    tqdm.set_lock(threading.RLock())  # one between processes would be left behind by each fork
    train.report.draw = lambda out: out / "curve.png"  # takes longer than the run


def cases(calls: Sequence[str], every: int) -> Iterator[tuple[int, str]]:
    """Yield which call goes wrong, counted from 1, and how."""
    for at in range(1, len(calls) + 1, every):
        for fault in FAULTS:
            if fault != "half written" or calls[at - 1] == "write":
                yield at, fault


def table(seen: Counter, calls: Sequence[str]) -> str:
    """Return the table in Markdown: one row per kind of call, one column per fault."""
    lines = ["| call | in the run | " + " | ".join(FAULTS) + " |", "|---|" + "---|" * 6]
    for call in dict.fromkeys(calls):
        cells = []
        for fault in FAULTS:
            found = {v: n for (c, f, v), n in seen.items() if (c, f) == (call, fault)}
            cells.append(", ".join(f"{n} {verdict}" for verdict, n in found.items()))
        lines.append(f"| {call} | {calls.count(call)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Let calls go wrong, one at a time, and print what became of the runs."""
    parser = Parser(prog="inject_faults.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--every", type=whole_number(1), default=1, help="take one call in so many [1]")
    add("--processes", type=whole_number(1), default=os.cpu_count(), help="[one per core]")
    add("--out", type=Path, default=ROOT / "runs" / "inject_faults", metavar="FOLDER",
        help="a new folder for the runs [runs/inject_faults]")  # fmt: skip
    args = parser.parse_args(argv)
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise UserError("this tool needs Linux on x86-64")
    folder = args.out.resolve()
    if folder.exists():
        raise UserError(f"{folder}: exists; remove it, or name another with --out")
    folder.mkdir(parents=True)
    seen, bad = Counter(), []
    with ProcessPoolExecutor(args.processes, get_context("spawn"), prepared) as workers:
        calls = workers.submit(calls_of, folder / "alone").result()
        jobs = {
            workers.submit(case, folder, at, fault): (at, fault)
            for at, fault in cases(calls, args.every)
        }
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="faults"):
            (at, fault), (call, verdict, said) = jobs[job], job.result()
            seen[call, fault, verdict] += 1
            if verdict != "the same bits":
                bad.append({"at": at, "call": call, "fault": fault, "end": verdict, "said": said})
    print(table(seen, calls))
    print(f"{sum(seen.values())} faults, {len(bad)} of them ended badly")
    for each in bad:
        print(json.dumps(each))
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


def calls_of(out: Path) -> list[str]:
    """Make the run that is left alone; return its calls that changed its folder."""
    run = Traced(out, False)
    if run.status():
        raise UserError(f"{out}: {out.with_suffix('.log').read_text()[-500:]}", code=1)
    return run.calls


if __name__ == "__main__":
    sys.exit(main())
