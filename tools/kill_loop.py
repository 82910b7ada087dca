"""Kill training at random moments, resume it, and compare the end with a run left alone.

    python tools/kill_loop.py --kills 100 [--out FOLDER]      a quarter of an hour

It trains the default job again and again, each time in processes that get SIGKILL after a random
time and are followed by one that resumes.  A finished run must have, bit for bit, the weights of
the run that was left alone, and the same record but for its times.

How to read it: it prints how many kills over how many runs there were, and ends with exit code 1
at the first run that differs or fails; then the folder of the runs is left to be looked at.
"""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from project import ROOT
from tqdm import tqdm

from plumbing.command import Parser, UserError, command, whole_number
from plumbing.record import read_steps


def training(out: Path, resume: bool) -> list[str]:
    """Return the words of the command that trains in a folder."""
    words = [sys.executable, "train.py", "--config", "small.json", "--out", str(out)]
    words += ["--set", "checkpoint_every=5", "--set", "eval_every=400"]
    return words + ["--resume"] * resume


def outcome(out: Path) -> tuple[bytes, list[dict]]:
    """Return the weights as they are on the disk, and the record without its times."""
    steps = read_steps(out)
    for step in steps:
        del step["seconds"]
    return (out / "model" / "model.safetensors").read_bytes(), steps


def finishes(out: Path, seconds: float | None) -> bool:
    """Start or resume a run, kill it after so many seconds, and return whether it was done."""
    resume = (out / "config.json").exists()
    if not resume and out.exists():
        shutil.rmtree(out)  # it was killed between making the folder and writing into it
    process = subprocess.Popen(
        training(out, resume), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    if process.returncode:
        raise UserError(f"{out}: ended with {process.returncode}: {errors[-500:]}", code=1)
    return True


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Kill and resume runs until there were enough kills."""
    parser = Parser(prog="kill_loop.py", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=whole_number(1), default=100, help="at least so many [100]")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "kill_loop", metavar="FOLDER",
                        help="a new folder for the runs [runs/kill_loop]")  # fmt: skip
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the moments [0]")
    args = parser.parse_args(argv)
    out = args.out.resolve()
    if out.exists():
        raise UserError(f"{out}: exists; remove it, or name another with --out")
    rng, kills, runs, start = random.Random(args.seed), 0, 0, time.monotonic()
    finishes(out / "alone", None)
    alone = outcome(out / "alone")
    with tqdm(total=args.kills, desc="kills", mininterval=1) as bar:
        while kills < args.kills:
            run = out / f"run{runs}"
            while not finishes(run, rng.uniform(2, 9)):
                kills += 1
                bar.update()
            if outcome(run) != alone:
                raise UserError(f"{run}: differs from {out / 'alone'} after {kills} kills", code=1)
            runs += 1
            shutil.rmtree(run)
    shutil.rmtree(out)
    minutes = (time.monotonic() - start) / 60
    print(
        f"{kills} kills over {runs} runs in {minutes:.0f} minutes: every run ended bitwise the same"
    )


if __name__ == "__main__":
    sys.exit(main())
