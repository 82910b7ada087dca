"""What did RLVR teach a checkpoint that could not answer sums: the arithmetic, or how to answer?

    python experiments/format_or_arithmetic.py BASE [TRAINED ...] [--n 40] [--out FILE]

It takes the folders of the base model and of models that were trained from it with
`configs/smollm2-135m.json`, and measures their greedy accuracy on held-out sums, by the size of the
numbers.  The sums are asked in three ways:

    asked      as the configuration asks
    bare       after four solved examples that read "The answer is 43."
    restated   after the same four examples, which now read "The answer is 18+25 = 43."

How to read it: one row per model and way.  What examples alone bring was in the base model before
training, so that this part of the gain is format.  What the trained model has beyond the better of
the base model's two rows with examples is arithmetic.  Numbers of 21 to 49 are in no pool.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from project import ROOT
from tqdm import tqdm

from data import HELDOUT_SUMS, Problem, is_heldout, n_carries
from plumbing.command import Parser, command, file_to_write, whole_number
from plumbing.config import read_config
from policy import Policy
from rollout import generate_batch
from verifier import verify

EXAMPLES = [(12, 31), (7, 8), (25, 17), (40, 6)]
WAYS = ("asked", "bare", "restated")
SIZES = {
    "one digit": lambda a, b: max(a, b) < 10,
    "to 20, no carry": lambda a, b: 10 <= max(a, b) <= 20 and not n_carries(a, "+", b),
    "to 20, a carry": lambda a, b: 10 <= max(a, b) <= 20 and n_carries(a, "+", b),
    "21 to 49": lambda a, b: min(a, b) > 20,
}


def sums(fits: Callable[[int, int], bool], n: int) -> list[Problem]:
    """Return n held-out sums of the size, or all that there are."""
    pairs = [(a, b) for a in range(1, 50) for b in range(1, 50)]
    pairs = [(a, b) for a, b in pairs if fits(a, b) and is_heldout(a, "+", b, HELDOUT_SUMS)]
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))[:n]]
    return [Problem(f"{a}+{b}=", str(a + b)) for a, b in pairs]


def prompt(policy: Policy, problem: Problem, way: str) -> list[int]:
    """Return the prompt's tokens, with solved examples in front of the question where asked for."""
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
    """Return the share of greedy responses that the verifier accepts."""
    group = generate_batch(
        policy.model, [prompt(policy, p, way) for p in problems], temperature=0.0,
        generator=torch.Generator(), **policy.limits,
    )  # fmt: skip
    texts = policy.texts(problems, group)
    return float(np.mean([verify(t, p.answer) for t, p in zip(texts, problems, strict=True)]))


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the accuracy of every model, asked in every way."""
    parser = Parser(prog="format_or_arithmetic.py", description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="folders: the base model, then trained ones")
    parser.add_argument("--n", type=whole_number(1), default=40, help="sums of each size [40]")
    parser.add_argument("--out", type=file_to_write, metavar="FILE",
                        help="write the numbers to this JSON file")  # fmt: skip
    args = parser.parse_args(argv)
    problems = {size: sums(fits, args.n) for size, fits in SIZES.items()}
    torch.set_num_threads(1)
    rows = []
    print(f"{'':28}{'':10}" + "".join(f"{size:>22}" for size in SIZES))
    for folder in args.models:
        policy = Policy(read_config(ROOT / "configs/smollm2-135m.json", [f"model={folder}"]))
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
    sys.exit(main())
