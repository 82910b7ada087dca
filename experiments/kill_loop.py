"""Kill training at random moments, resume it, and compare the end with a run left alone.

    python experiments/kill_loop.py --kills 100

Each life of a run is a process of its own that gets SIGKILL after a random time, or ends before.
A finished run must have, bit for bit, the weights and (times aside) the record of the run left
alone; then the next run begins, until there were enough kills.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import ROOT, at_least, path_from_here, stop


def command(out: Path, resume: bool) -> list[str]:
    words = [sys.executable, "train.py", "--config", "small.json", "--out", str(out)]
    words += ["--set", "checkpoint_every=5", "--set", "eval_every=400"]
    return words + ["--resume"] * resume


def outcome(out: Path) -> tuple[bytes, list[dict]]:
    """The weights as they lie on the disk, and the record without its times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return (out / "model" / "model.safetensors").read_bytes(), lines


def live(out: Path, rng: random.Random) -> bool | None:
    """One life: True if it finished, False if it was killed, None if killed before it began."""
    resume = (out / "config.json").exists()
    if not resume and out.exists():
        shutil.rmtree(out)  # killed between making the folder and writing into it
    process = subprocess.Popen(
        command(out, resume), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=rng.uniform(2, 9))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    if process.returncode:
        raise SystemExit(f"{out}: ended with {process.returncode}: {errors[-500:]}")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=at_least(1), default=100, help="at least so many [100]")
    parser.add_argument("--out", type=path_from_here, default=ROOT / "runs" / "kill_loop",
                        help="a new folder for the runs [runs/kill_loop]")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    args = parser.parse_args()
    if args.out.exists():
        stop(f"{args.out}: exists; remove it, or name another with --out")
    rng, kills, runs, start = random.Random(args.seed), 0, 0, time.monotonic()
    subprocess.run(command(args.out / "alone", False), cwd=ROOT, check=True, capture_output=True)
    alone = outcome(args.out / "alone")
    with tqdm(total=args.kills, desc="kills", mininterval=1) as bar:
        while kills < args.kills:
            run = args.out / f"run{runs}"
            while not live(run, rng):
                kills += 1
                bar.update()
            same = outcome(run) == alone
            if not same:
                raise SystemExit(f"{run} differs from {args.out / 'alone'} after {kills} kills")
            runs += 1
            shutil.rmtree(run)
    shutil.rmtree(args.out)
    minutes = (time.monotonic() - start) / 60
    print(
        f"{kills} kills over {runs} runs in {minutes:.0f} minutes: every run ended bitwise the same"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
