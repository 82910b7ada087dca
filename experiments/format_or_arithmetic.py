"""What did RLVR teach a checkpoint that could not answer sums: the arithmetic, or how to answer?

python experiments/format_or_arithmetic.py BASE [TRAINED ...] [--n 40] [--out FILE]

Greedy accuracy on held-out sums, by the size of the numbers, asked in three ways:

    asked      as `configs/smollm2-135m.json` asks
    bare       after four solved examples, "The answer is: 43."
    restated   after the same four, "The answer is: 18+25 = 43."

What examples alone bring was in the model before training: that part of the gain is format.  What
the trained model has beyond the better of them is arithmetic.  Numbers of 21 to 49 are in no pool.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))

from config import ConfigError, read_config
from data import HELDOUT_SUMS, DataError, Problem, is_heldout, n_carries
from model import CheckpointError
from policy import Policy
from rollout import generate_batch
from verifier import verify

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = [(12, 31), (7, 8), (25, 17), (40, 6)]
WAYS = ("asked", "bare", "restated")
SIZES = {
    "one digit": lambda a, b: max(a, b) < 10,
    "to 20, no carry": lambda a, b: 10 <= max(a, b) <= 20 and not n_carries(a, "+", b),
    "to 20, a carry": lambda a, b: 10 <= max(a, b) <= 20 and n_carries(a, "+", b),
    "21 to 49": lambda a, b: min(a, b) > 20,
}


def sums(fits, n: int) -> list[Problem]:
    """n held-out sums of the size, or all there are."""
    pairs = [(a, b) for a in range(1, 50) for b in range(1, 50)]
    pairs = [
        pair for pair in pairs if fits(*pair) and is_heldout(pair[0], "+", pair[1], HELDOUT_SUMS)
    ]
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))[:n]]
    return [Problem(f"{a}+{b}=", str(a + b)) for a, b in pairs]


def prompt(policy: Policy, problem: Problem, way: str) -> list[int]:
    """The prompt of the configuration, with solved examples in front of the question."""
    if way == "asked":
        return policy.prompt(problem)
    data, turns = policy.cfg.data, [{"role": "system", "content": policy.cfg.data.system}]
    for a, b in EXAMPLES:
        answer = f"{a}+{b} = {a + b}" if way == "restated" else f"{a + b}"
        turns.append({"role": "user", "content": f"{a}+{b}="})
        turns.append({"role": "assistant", "content": f"{data.prefill} {answer}."})
    turns.append({"role": "user", "content": problem.text})
    text = policy.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return policy.tokenizer.encode(text + data.prefill, add_special_tokens=False)


def accuracy(policy: Policy, problems: list[Problem], way: str) -> float:
    """Share of greedy responses that the verifier accepts."""
    group = generate_batch(
        policy.model, [prompt(policy, p, way) for p in problems], temperature=0.0,
        generator=torch.Generator(), **policy.limits,
    )  # fmt: skip
    right = [
        verify(t, p.answer) for t, p in zip(policy.texts(problems, group), problems, strict=True)
    ]
    return float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="folders: the base model, then trained ones")
    parser.add_argument("--n", type=int, default=40, help="sums of each size [40]")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    problems = {size: sums(fits, args.n) for size, fits in SIZES.items()}
    torch.set_num_threads(1)
    rows = []
    print(f"{'':28}{'':10}" + "".join(f"{size:>22}" for size in SIZES))
    for folder in args.models:
        config = ROOT / "configs" / "smollm2-135m.json"
        policy = Policy(read_config(config, [f"model={folder}"]))
        for way in WAYS:
            cells = {
                size: accuracy(policy, some, way)
                for size, some in tqdm(problems.items(), desc=way, leave=False)
            }
            rows.append({"model": "/".join(Path(folder).parts[-2:]), "way": way, **cells})
            shown = "".join(f"{cells[size]:22.1%}" for size in SIZES)
            print(f"{rows[-1]['model'][-27:]:28}{way:10}{shown}", flush=True)
    counts = {size: len(some) for size, some in problems.items()}
    print(f"sums of each size: {counts}")
    if args.out:
        args.out.write_text(json.dumps({"sums": counts, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, DataError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
