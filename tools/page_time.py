"""How large is the page of a run, and how fast does a browser open it?

    python tools/page_time.py RUN ...                     the page of these runs
    python tools/page_time.py --megabytes 10              of a made-up run with so many responses
    python tools/page_time.py --megabytes 10 --tokens     as train.py --report records it

It needs Chromium (`apt-get install chromium`).

How to read it: the time is the browser's own, from the beginning of the navigation to the end of
the script that draws the page, each time in a new process.
"""

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import project  # noqa: F401 (puts the project on the path)

import report
from plumbing import page
from plumbing.command import Parser, UserError, command, whole_number

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
G = 8


def browser() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def dump(file: Path, fragment: str = "", *options: str) -> str:
    """Return the document that a browser makes of a page, once its script has run."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *options]
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [browser(), *words, f"--user-data-dir={profile}", "--dump-dom",
             f"{file.absolute().as_uri()}{fragment}"],
            capture_output=True, text=True, encoding="utf-8", timeout=120,
        )  # fmt: skip
    return done.stdout


def with_script(text: str, script: str) -> str:
    """Return a page that also runs a script of the tester's, at its end."""
    policy = text.replace("script-src '", f"script-src '{page.fingerprint(script)}' '", 1)
    return policy.replace("</body>", f"<script>{script}</script></body>")


def made_up(folder: Path, megabytes: float, tokens: bool) -> Path:
    """Write a run whose responses have so many characters, in words of four letters."""
    rng, n_words = random.Random(0), 500
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=3)) + " " for _ in range(5000)]
    n_groups = max(1, round(megabytes * 1e6 / (4 * n_words * G)))
    steps, lines = [], []
    for n in range(1, n_groups + 1):
        rewards = [float(rng.random() < 0.5) for _ in range(G)]
        candidates = rng.sample(range(1000), 16)
        scores = [rng.random() for _ in candidates]
        steps.append({
            "step": n, "candidates": candidates, "scores": scores, "volatility": scores,
            "bonus": [0.0] * 16, "chosen": candidates[:1], "kind": [f"kind {n % 7}"],
            "rewards": [rewards], "solved": [rewards], "rollouts": n * G, "entropy": 0.3,
        })  # fmt: skip
        for reward in rewards:
            pieces = rng.choices(words, k=n_words)
            line = {"step": n, "problem": f"problem {candidates[0]}", "gold": "1", "answer": None,
                    "text": "".join(pieces), "tokens": n_words, "reward": reward}  # fmt: skip
            if tokens:
                logps = [round(-rng.expovariate(2), 4) for _ in pieces]
                line |= {"pieces": pieces, "logprobs": logps, "log_ratios": logps}
            lines.append(line)
    folder.mkdir()
    for name, some in (("metrics.jsonl", steps), ("responses.jsonl", lines)):
        (folder / name).write_text("".join(json.dumps(each) + "\n" for each in some))
    return folder


@command
def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="page_time.py", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--megabytes", type=float, default=10.0, help="of a made-up run [10]")
    parser.add_argument("--tokens", action="store_true", help="with the numbers of each token")
    parser.add_argument("--times", type=whole_number(1), default=3, help="how often [3]")
    arguments = parser.parse_args(argv)
    if not browser():
        raise UserError(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        runs = arguments.runs or [made_up(run, arguments.megabytes, arguments.tokens)]
        file = report.write_page(runs, Path(folder) / "report.html")
        print(f"page      {file.stat().st_size:,} bytes")
        timed = with_script(file.read_text(encoding="utf-8"), (
            "document.body.textContent = 'opened after ' + Math.round(performance.now()) + ' ms';"
        ))  # fmt: skip
        file.write_text(timed, encoding="utf-8")
        for _ in range(arguments.times):
            found = re.search(r"opened after (\d+) ms", dump(file))
            print(f"opened    after {found[1] if found else '?'} ms")


if __name__ == "__main__":
    sys.exit(main())
