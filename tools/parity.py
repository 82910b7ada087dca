"""Is a checkpoint read right?  Tokens, logits and greedy responses beside those of transformers.

    python tools/parity.py FOLDER [--prompts 20] [--new 32]

It takes the folder of a checkpoint, and reads it here and with transformers.  The prompts are plain
and (where the checkpoint has a chat template) chats, by turns.

How to read it: both counts should be all of the prompts, and the logits should differ by rounding
alone.  The exit code is 0 then, and 1 if a count is short or a logit differs by more than 0.001.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import project  # noqa: F401 (it puts the project's folder on the path)
import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from data import Problem, load_tokenizer, prompt_ids
from model import Transformer, load
from plumbing.command import Parser, UserError, command, whole_number
from plumbing.weights import stop_ids
from rollout import generate

WORDS = (
    "the sum of a prime number and its square root, {a}+{b}= what is {a} times {b}? Ünïcödé 数学"
)
SUMS = "{a}+{b}="  # for a model whose tokenizer knows no letters, like the one in base/
TOLERANCE = 1e-3  # of a logit


def text_of(tokenizer) -> str:
    """Return WORDS, or SUMS where the tokenizer cannot encode words."""
    try:
        prompt_ids(tokenizer, "{problem}", Problem(WORDS, ""))
    except UserError:
        return SUMS
    return WORDS


def their_tokens(tokenizer, template: str, text: str) -> list[int]:
    """Return the prompt's tokens by the tokenizer that transformers loads."""
    if template != "chat":
        return list(tokenizer(text)["input_ids"])
    turn = [{"role": "user", "content": text}]
    tokens = tokenizer.apply_chat_template(turn, add_generation_prompt=True)
    return list(tokens["input_ids"] if hasattr(tokens, "keys") else tokens)


def beside(
    ours: Transformer, theirs, ids: list[int], new: int, stops: list[int]
) -> tuple[float, bool]:
    """Return the largest difference of the prompt's logits, and whether greedy responses agree."""
    tokens = torch.tensor([ids])
    with torch.no_grad():
        difference = (ours(tokens) - theirs(tokens).logits).abs().max()
        said = theirs.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False,
            eos_token_id=stops, pad_token_id=stops[0], repetition_penalty=1.0,
        )[0, len(ids) :].tolist()  # fmt: skip
    group = generate(
        ours, ids, 1, max_new_tokens=new, temperature=0.0, stop_ids=stops,
        generator=torch.Generator(),
    )  # fmt: skip
    mine = group.responses()[0]  # without the stop token
    return float(difference), mine == said[: len(mine)] and len(mine) <= len(said)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Compare prompt after prompt, and print how many are alike."""
    parser = Parser(prog="parity.py", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a checkpoint")
    parser.add_argument("--prompts", type=whole_number(1), default=20, help="how many [20]")
    parser.add_argument("--new", type=whole_number(1), default=32, help="tokens to generate [32]")
    args = parser.parse_args(argv)
    ours, tokenizer = load(args.folder), load_tokenizer(args.folder)
    theirs = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32)
    reference = AutoTokenizer.from_pretrained(args.folder)
    stops = stop_ids(args.folder, tokenizer)
    form = text_of(tokenizer)
    worst, same_tokens, same_greedy = 0.0, 0, 0
    for i in tqdm(range(args.prompts), desc="prompts"):
        text = form.format(a=17 * i + 3, b=29 * i + 5)[: 12 + 5 * i]
        template = "chat" if reference.chat_template and i % 2 else "{problem}"
        ids = prompt_ids(tokenizer, template, Problem(text, ""))
        same_tokens += ids == their_tokens(reference, template, text)
        difference, alike = beside(ours, theirs, ids, args.new, stops)
        worst, same_greedy = max(worst, difference), same_greedy + alike
    n = args.prompts
    print(f"tokenised alike {same_tokens} of {n}; largest difference of logits {worst:.2g}")
    print(f"greedy responses alike {same_greedy} of {n}")
    return 0 if same_tokens == same_greedy == n and worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
