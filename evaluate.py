"""Evaluate a checkpoint on a file of problems: greedy accuracy, avg@k and pass@k, with intervals.

What it teaches: what the numbers in RLVR papers mean.  *Greedy* is the accuracy of the likeliest
response; *avg@k* the mean of k sampled ones, an estimate of pass@1; *pass@k* the chance that one of
k is right.  Counting "right in the first k" throws samples away; with c right of n, the unbiased
estimate is

    pass@k = 1 - C(n-c, k) / C(n, k)            the chance that k of the n, drawn blindly, hold none
                                                (Chen et al. 2021, arXiv 2107.03374, eq. 1)

The intervals are of the mean over problems, as if the file were a sample of all such problems: 95%
percentile bootstrap (Efron 1979) over problems.

Where it stands: before and after training, on problems that training never saw.

    python evaluate.py --model base --data arithmetic
    python evaluate.py --model runs/small/model --data arithmetic --k 16 --temperature 1
    python evaluate.py --model Qwen/Qwen2.5-Math-1.5B --data math500 --template chat --device cuda

Try changing first: `--temperature`.  What is good for pass@16 is bad for avg@16: where do they
part?
"""

import argparse
import json
import math
import sys
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import checkpoint
from config import Config, ConfigError, build
from data import MOST, DataError, Problem, arithmetic_problems, load_jsonl
from model import CheckpointError
from policy import Policy
from record import stream_seed
from verifier import verify

BENCHMARKS = {
    "math500": "math500.jsonl", "aime24": "aime24.jsonl", "aime25": "aime25.jsonl",
    "amc23": "amc23.jsonl", "minerva": "minerva.jsonl", "olympiadbench": "olympiadbench.jsonl",
    "gsm8k": "gsm8k_test.jsonl",
}  # fmt: skip


def pass_at_k(n: int, right: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k responses is right, from n."""
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"need 0 <= right <= n and 1 <= k <= n, not {right}, {n} and {k}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def interval(values, seed: int = 0, resamples: int = 2000) -> tuple[float, float, float]:
    """Mean of values (N,) with the ends of its 95% bootstrap interval."""
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    return float(values.mean()), *map(float, np.quantile(means, (0.025, 0.975)))


def scores(records: list[dict]) -> dict[str, tuple[float, float, float]]:
    """Greedy accuracy, avg@k and pass@1, 2, 4 ... k of the records, each with its interval."""
    found = {"greedy": interval([r["greedy_right"] for r in records])}
    k = len(records[0]["right"])
    if k:
        counts = [sum(r["right"]) for r in records]
        found[f"avg@{k}"] = interval([count / k for count in counts])
        for size in sorted({2**i for i in range(1, k.bit_length())} | {k}):
            if 1 < size <= k:
                found[f"pass@{size}"] = interval([pass_at_k(k, c, size) for c in counts])
    return found


def evaluate(policy: Policy, problems: list[Problem], k: int, seed: int, batch: int):
    """One record a problem, in order: the greedy response, k sampled ones, and which are right.

    The samples of a problem come from a stream of its own, so that going on after an interruption,
    or another size of batch, changes none of them.
    """
    for problem, text in policy.greedy(problems, batch):
        stream = torch.Generator(policy.device)
        stream.manual_seed(stream_seed(seed, problem.text))
        sampled = policy.texts(repeat(problem), policy.rollout(problem, k, stream)) if k else []
        yield {
            "problem": problem.text, "answer": problem.answer, "kind": problem.kind,
            "greedy": text, "greedy_right": verify(text, problem.answer),
            "responses": sampled, "right": [verify(s, problem.answer) for s in sampled],
        }  # fmt: skip


def read_problems(args) -> list[Problem]:
    """A file, a benchmark's name, or the held-out problems of a built-in task."""
    if args.data in MOST:
        n, most = args.n or 200, MOST[args.data]["heldout"]
        if n > most:
            raise ConfigError(f"--n: '{args.data}' makes 1 to {most} problems, not {n}")
        rng = np.random.default_rng(stream_seed(args.seed, "heldout"))
        return arithmetic_problems(n, rng, True, args.data)
    path = Path(args.data)
    if args.data in BENCHMARKS and not path.exists():
        path = Path(args.benchmarks) / BENCHMARKS[args.data]
        if not path.exists():
            raise DataError(f"{path}: no such file; name the folder of it with --benchmarks")
    problems = load_jsonl(path)
    return problems[: args.n or len(problems)]


def digest(folder: Path) -> str:
    """Of a model's weights: one that was trained further is another."""
    return checkpoint.sums(folder, sorted(path.name for path in folder.glob("*.safetensors")))


def read_done(out: Path, settings: dict, problems: list[Problem]) -> list[dict]:
    """The records that an interrupted evaluation with the same settings left behind."""
    if not out.exists():
        return []
    *whole, unfinished = out.read_bytes().split(b"\n")
    try:
        head, *records = [json.loads(line) for line in whole] or [settings]
        answered = [(r["problem"], r["answer"]) for r in records]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{out}: not the record of an evaluation ({error})") from error
    if head != settings:
        raise DataError(f"{out}: is of other settings; name another file with --out")
    known = [(p.text, p.answer) for p in problems]
    if answered != known[: len(records)]:
        raise DataError(f"{out}: is of other problems; name another file with --out")
    if unfinished:  # the process ended while it wrote this line
        with out.open("rb+") as file:
            file.truncate(sum(len(line) + 1 for line in whole))
    return records


def read_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--model", required=True, help="a Hugging Face folder or hub id")
    add("--data", required=True,
        help="a JSONL file, or one of " + ", ".join([*MOST, *BENCHMARKS]))  # fmt: skip
    add("--benchmarks", default="benchmarks", help="the folder of the named files [benchmarks]")
    add("--k", type=int, default=0, help="responses to sample beside the greedy one [0]")
    add("--temperature", type=float, default=0.6, help="of the sampled ones [0.6]")
    add("--top_p", type=float, default=1.0, help="of the sampled ones [1.0]")
    add("--n", type=int, default=0, help="only the first so many problems [0: all]")
    add("--template", default="{problem}", help="prompt around {problem}, or 'chat' [{problem}]")
    add("--system", default="", help="system line of the chat template")
    add("--prefill", default="", help="what every response begins with; may hold {problem}")
    add("--max_new_tokens", type=int, default=0, help="a response's limit [40 or, of files, 1024]")
    add("--batch", type=int, default=64, help="problems answered greedily at once [64]")
    add("--device", default="cpu", help="'cpu', 'cuda', 'cuda:1' or 'auto' [cpu]")
    add("--threads", type=int, default=1, help="CPU threads [1]")
    add("--seed", type=int, default=0, help="of the samples, and of built-in problems [0]")
    add("--out", type=Path, help="the record, a JSON line a problem [evaluations/...jsonl]")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = read_arguments(argv)
    try:
        run(args)
    except (ConfigError, DataError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def run(args) -> None:
    limit = args.max_new_tokens or (40 if args.data in MOST else 1024)
    if min(args.k, args.n) < 0 or args.batch < 1:
        raise ConfigError("need --k >= 0, --n >= 0 and --batch >= 1")
    cfg = build(Config, {
        "model": args.model, "device": args.device, "threads": args.threads, "seed": args.seed,
        "data": {"template": args.template, "system": args.system, "prefill": args.prefill},
        "rollout": {"temperature": args.temperature, "top_p": args.top_p, "max_new_tokens": limit},
    })  # fmt: skip
    torch.set_num_threads(cfg.threads)
    problems = read_problems(args)
    policy = Policy(cfg)
    model = "-".join(args.model.strip("/").split("/")[-2:])  # "small-model" of runs/small/model
    name = f"{model}-{Path(args.data).stem}-k{args.k}-t{args.temperature}.jsonl"
    out = args.out or Path("evaluations") / name
    settings = {
        "model": args.model, "weights": digest(policy.folder), "data": args.data, "k": args.k,
        "temperature": args.temperature, "top_p": args.top_p, "max_new_tokens": limit,
        "template": args.template, "system": args.system, "prefill": args.prefill,
        "seed": args.seed,
    }  # fmt: skip
    records = read_done(out, settings, problems)
    for problem in problems:
        policy.prompt(problem)  # what cannot be encoded ends here
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        if not records and not file.tell():
            file.write(json.dumps(settings) + "\n")
        rest = evaluate(policy, problems[len(records) :], args.k, args.seed, args.batch)
        bar = tqdm(rest, total=len(problems), initial=len(records), desc="evaluating")
        for record in bar:
            file.write(json.dumps(record) + "\n")
            file.flush()
            records.append(record)
            right = sum(r["greedy_right"] for r in records) / len(records)
            bar.set_postfix_str(f"greedy {right:.1%}", refresh=False)
    for name, (mean, low, high) in scores(records).items():
        print(f"{name:10} {mean:6.1%}   95% interval {low:.1%} to {high:.1%}")
    print(f"{len(records)} problems; the responses are in {out}")


if __name__ == "__main__":
    sys.exit(main())
