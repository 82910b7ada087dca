"""Evaluate a checkpoint on problems: greedy accuracy, avg@k and pass@k, with intervals.

What it teaches: what the numbers in RLVR papers mean.  *Greedy* is the accuracy of the likeliest
response.  *avg@k* is the mean accuracy of k sampled responses, an estimate of pass@1.  *pass@k* is
the chance that at least one of k sampled responses is right.  To count "right in the first k" would
throw samples away; with c right of n, the unbiased estimate is

    pass@k = 1 - C(n-c, k) / C(n, k)         the share of all choices of k that hold a right one
                                             (Chen et al. 2021, arXiv 2107.03374, eq. 1)

A response counts as its verdict, 1 or 0.  Under a reward of one's own (`--reward`) it counts as its
reward clipped to [0, 1], a share of a success: *greedy* and *avg@k* are then mean shares, and
*pass@k* is the mean share of the best of k (`best_of_k`), which of shares 1 and 0 is the above.

The intervals are those of the mean over problems, as if the file were a sample of all such
problems: 95% percentile bootstrap (Efron 1979).

Where it stands: before and after training, on problems that training never saw.

    python evaluate.py --model base --data arithmetic
    python evaluate.py runs/small --k 16 --temperature 1
    python evaluate.py --model Qwen/Qwen2.5-Math-1.5B --data math500 --template chat --device cuda

Try changing first: `--temperature`, with `--model base --data arithmetic --k 16`.  At 0.3, 0.6, 1.0
and 1.4 avg@16 is 31.8, 41.2, 45.2 and 46.9%, and pass@16 85.5, 94.5, 96.0 and 97.5%, while greedy
stays at 20.0%: this model's likeliest answer forgets the carry, and a sampled one often does not.
"""

import plumbing  # noqa: F401, I001 (first: it lets Ctrl-C end the imports below in one line)
import argparse
import json
import math
import os
import shlex
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data import TASKS, Problem
from plumbing.command import Parser, UserError, command, json_object
from plumbing.config import (
    Config, build, read_value, stream_seed, text_or_file, warn_of_backslash, with_date,
)  # fmt: skip
from plumbing.device import generator
from plumbing.disk import sha256_of
from plumbing.evaluation import open_record, read_head, settings_of_run
from plumbing.hub import READY
from plumbing.setup import check_lengths, read_problems
from plumbing.tokenizer import fingerprint
from policy import Policy

LARGEST = 1_000_000  # of --k, --n and --batch
USUAL = {  # of options that a run may say otherwise
    "model": "", "data": "", "n": 0, "template": "{problem}", "system": "", "template_args": {},
    "prefill": "", "date": "", "reward": "verifier", "stop": [], "stop_ids": [],
    "max_new_tokens": 0, "batch": 64, "device": "cpu", "precision": "float32", "threads": 1,
    "seed": 0,
}  # fmt: skip
BENCHMARKS = {name: list(source.files)[-1] for name, source in READY.items()}  # -> its file


def pass_at_k(n: int, right: int, k: int) -> float:
    """Return the unbiased estimate, from n responses, of the chance that one of k is right."""
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"need 0 <= right <= n and 1 <= k <= n, not {right}, {n} and {k}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def best_of_k(shares: Sequence[float], k: int) -> float:
    """Return the unbiased estimate, from shares of a success in [0, 1], of the best of k of them.

    It is the mean of the largest over all choices of k.  The largest is at least v with the chance
    that one of k is, which `pass_at_k` tells, and its mean is the sum of these chances from 0 up.
    """
    n, ordered = len(shares), sorted(shares)
    return sum(
        (v - lower) * pass_at_k(n, n - bisect_left(ordered, v), k)
        for lower, v in pairwise(sorted({0.0, *shares}))
    )


def interval(
    values: Sequence[float], seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """Return the mean of values (N,) and the ends of its 95% bootstrap interval."""
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    return float(values.mean()), *map(float, np.quantile(means, (0.025, 0.975)))


def scores(records: list[dict]) -> dict[str, tuple[float, float, float]]:
    """Return greedy accuracy, avg@k and pass@2, 4, 8 ... k of the records, with intervals."""
    found = {"greedy": interval([r["greedy_right"] for r in records])}
    k = len(records[0]["right"])
    if k:
        found[f"avg@{k}"] = interval([sum(r["right"]) / k for r in records])
        for size in sorted({2**i for i in range(1, k.bit_length())} | {k}):
            if 1 < size <= k:
                found[f"pass@{size}"] = interval([best_of_k(r["right"], size) for r in records])
    return found


def recorded(share: float) -> bool | float:
    """Return a verdict as the record writes it: true, false, or a share of a success."""
    return bool(share) if share in (0, 1) else share


def question(problem: Problem, prompt: list[int]) -> dict:
    """Return what a problem's line begins with; another prompt would have another hash."""
    return {
        "problem": problem.text, "answer": problem.answer, "kind": problem.kind,
        "prompt": sha256_of(prompt)[:16],
    }  # fmt: skip


def evaluate(
    policy: Policy, problems: list[Problem], k: int, seed: int, batch: int
) -> Iterator[dict]:
    """Yield the responses to each problem, in order: a greedy one, k samples, which are right.

    Each problem has a random stream of its own, so that neither an interruption nor the size of the
    batch changes a sample.
    """
    for problem, text, row in policy.greedy(problems, batch):
        stream = generator(policy.device)
        stream.manual_seed(stream_seed(seed, problem.text))
        sampled = policy.attempt(problem, k, stream) if k else None
        yield {
            "greedy": text, "greedy_right": recorded(policy.verdict(problem, text, row)),
            "responses": sampled.texts if sampled else [],
            "right": [recorded(share) for share in sampled.solved] if sampled else [],
        }  # fmt: skip


def problems_named(data: str, benchmarks: str, n: int, seed: int) -> list[Problem]:
    """Return those of a file, of a benchmark's name, or the held-out ones of a built-in task."""
    if data in TASKS:
        n, most = n or 200, TASKS[data].heldout_most
        if n > most:
            raise UserError(f"--n: '{data}' makes 1 to {most} problems, not {n}")
    elif data in BENCHMARKS and not Path(data).exists():
        path = Path(benchmarks) / BENCHMARKS[data]
        if not path.exists():
            remedy = f"'python data.py hub {data}' writes it, or name its folder with --benchmarks"
            raise UserError(f"{path}: no such file; {remedy}")
        data = str(path)
    return read_problems(data, n, seed, heldout=True)


# ------------------------------------------------------------------------------------ the command


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(
        prog="evaluate.py", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("run", nargs="?", help="the folder of a run that has ended: what is not given is as in it")
    add("--model", help="a Hugging Face folder or hub id [RUN/model]")
    add("--data", help="a JSONL file, or one of " + ", ".join([*TASKS, *BENCHMARKS]))
    add("--benchmarks", default="benchmarks", help="the folder of the named files [benchmarks]")
    add("--k", type=int, default=0, help="responses to sample beside the greedy one [0]")
    add("--temperature", type=float, default=0.6, help="temperature of the sampled ones [0.6]")
    add("--top_p", type=float, default=1.0, help="nucleus of the sampled ones [1.0]")
    add("--n", type=int, help="only the first N problems [0: all]")
    add("--template", help="prompt around {problem}, or @FILE, or 'chat' [{problem}]")
    add("--system", help="system line of the chat template, or @FILE")
    add("--template_args", type=json_object,
        help="further names for the chat template: '{\"enable_thinking\": false}'")  # fmt: skip
    add("--prefill", help="what every response begins with; may hold {problem}")
    add("--stop", nargs="*", metavar="TEXT", help="texts that end a response too; none: no text")
    add("--stop_ids", nargs="*", type=int, metavar="ID",
        help="the token ids that end a response; none: those of the checkpoint")  # fmt: skip
    add("--max_new_tokens", type=int, help="a response's limit [40 or, of files, 1024]")
    add("--reward", type=read_value,
        help="what counts, as the key `reward` of a run: FILE.py:NAME, ... [verifier]")  # fmt: skip
    add("--batch", type=int, help="problems to answer greedily at once [64]")
    add("--device", help="'cpu', 'cuda', 'cuda:1', 'mps' or 'auto' [cpu]")
    add("--precision", choices=["float32", "bfloat16"], help="arithmetic of the model [float32]")
    add("--threads", type=int, help="CPU threads [1]")
    add("--seed", type=int, help="seed of the samples and of built-in problems [0]")
    add("--out", type=Path, help="the record, one JSON line per problem [evaluations/...]")
    parser.set_defaults(date=None)  # of a chat template: the run's, or today
    args = parser.parse_args(argv)
    for name in ("template", "system", "prefill", "stop"):
        for text in args.stop or [] if name == "stop" else [getattr(args, name) or ""]:
            warn_of_backslash(f"--{name}", text, f"--{name} $'{text}'")
    for name in ("template", "system"):
        setattr(args, name, text_or_file(getattr(args, name), f"--{name}"))
    return filled_in(args)


def filled_in(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments, of which those that nobody gave are the run's, or else the usual."""
    known = {**USUAL, **(settings_of_run(Path(args.run)) if args.run else {})}
    named = known["reward"] if isinstance(known["reward"], dict) else [known["reward"]]
    if args.reward is None and any(":" in name for name in named):
        one = isinstance(known["reward"], str)
        said = shlex.quote(known["reward"] if one else json.dumps(known["reward"]))
        raise UserError(  # a folder that came from elsewhere must not choose which code runs
            f"{args.run}: its reward is code of a file; if that is to run, add --reward {said}"
        )
    if args.run and not args.model and not os.path.lexists(known["model"]):
        raise UserError(f"{known['model']}: is not there; a run's model is written when it ends")
    if args.data:
        known |= {"n": 0}  # of other problems all
    if args.template and args.template != "chat":
        known |= {"system": "", "template_args": {}}  # of a chat's
    for name, value in known.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if not (args.model and args.data):
        raise UserError(
            "name the folder of a run, or a model with --model and problems with --data"
        )
    return args


def settings_of(args: argparse.Namespace, head: dict) -> tuple[Config, dict]:
    """Return the configuration of the policy, and what makes one evaluation differ from another.

    A chat template that prints the day gets that of `head`, where an evaluation goes on.
    """
    if min(args.k, args.n) < 0 or args.batch < 1 or max(args.k, args.n, args.batch) > LARGEST:
        raise UserError(f"need --k >= 0, --n >= 0 and --batch >= 1, each at most {LARGEST:,}")
    limit = args.max_new_tokens or (40 if args.data in TASKS else 1024)
    chosen = build(Config, {
        "model": args.model, "device": args.device, "threads": args.threads, "seed": args.seed,
        "compile": "off", "precision": args.precision, "reward": args.reward,
        "data": {"template": args.template, "system": args.system, "prefill": args.prefill,
                 "template_args": args.template_args},
        "rollout": {"temperature": args.temperature, "top_p": args.top_p, "max_new_tokens": limit,
                    "stop": args.stop, "stop_ids": args.stop_ids},
    })  # fmt: skip
    cfg = with_date(chosen, head.get("date") or args.date)
    # a record that was begun before there were such options has no word of them
    newer = ("template_args", "stop", "stop_ids", "precision")
    named = {name: getattr(args, name) for name in newer if getattr(args, name) != USUAL[name]}
    if cfg.reward != "verifier":
        named["reward"] = cfg.reward
    return cfg, named | {
        "data": args.data, "k": args.k, "temperature": args.temperature,
        "top_p": args.top_p, "max_new_tokens": limit, "template": args.template,
        "system": args.system, "prefill": args.prefill, "date": cfg.data.date, "seed": args.seed,
    }  # fmt: skip


def default_out(args: argparse.Namespace) -> Path:
    """Return where the record goes if nobody says: its name holds the model and the settings."""
    model = "-".join(args.model.strip("/").split("/")[-2:])  # "small-model" of runs/small/model
    name = f"{model}-{Path(args.data).stem}-k{args.k}-t{args.temperature}.jsonl"
    return Path("evaluations") / name


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate a checkpoint, or go on where an interrupted evaluation ended."""
    args = read_arguments(argv)
    out = args.out or default_out(args)
    cfg, settings = settings_of(args, read_head(out))
    torch.set_num_threads(cfg.threads)
    problems = problems_named(args.data, args.benchmarks, args.n, args.seed)
    policy = Policy(cfg)
    files = fingerprint(policy.folder) | policy.reward.fingerprints(problems)
    settings = {"model": args.model, "files": files, **settings}
    prompts = policy.prompts(problems)  # what cannot be encoded is refused
    check_lengths(policy.model, problems, prompts, settings["max_new_tokens"])
    questions = [question(*pair) for pair in zip(problems, prompts, strict=True)]
    with open_record(out, settings, questions) as record:
        done = len(record.lines)
        answered = evaluate(policy, problems[done:], args.k, args.seed, args.batch)
        bar = tqdm(answered, total=len(problems), initial=done, desc="evaluating")
        for asked, responses in zip(questions[done:], bar, strict=True):
            record.write({**asked, **responses})
            right = sum(r["greedy_right"] for r in record.lines) / len(record.lines)
            bar.set_postfix_str(f"greedy {right:.1%}", refresh=False)
    for name, (mean, low, high) in scores(record.lines).items():
        print(f"{name:10} {mean:6.1%}   95% interval {low:.1%} to {high:.1%}")
    print(f"{len(problems)} problems; the responses are in {out}")


if __name__ == "__main__":
    sys.exit(main())
