"""Is a checkpoint read right?  Tokens, logits and greedy responses beside those of transformers.

python experiments/parity.py FOLDER --prompts 20
"""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.append(str(Path(__file__).resolve().parent.parent))

from data import Problem, load_tokenizer, prompt_ids
from model import load
from policy import checkpoint_stop_ids
from rollout import generate

WORDS = (
    "the sum of a prime number and its square root, {a}+{b}= what is {a} times {b}? Ünïcödé 数学"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--new", type=int, default=32, help="tokens to generate [32]")
    args = parser.parse_args()
    theirs = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32)
    ours, tokenizer = load(args.folder), load_tokenizer(args.folder)
    reference = AutoTokenizer.from_pretrained(args.folder)
    stops = checkpoint_stop_ids(args.folder, tokenizer)
    worst, same_tokens, same_greedy = 0.0, 0, 0
    for i in tqdm(range(args.prompts), desc="prompts"):
        text = WORDS.format(a=17 * i + 3, b=29 * i + 5)[: 12 + 5 * i]
        template = "chat" if reference.chat_template and i % 2 else "{problem}"
        ids = prompt_ids(tokenizer, template, Problem(text, ""))
        if template == "chat":
            turn = [{"role": "user", "content": text}]
            expected = reference.apply_chat_template(turn, add_generation_prompt=True)
            expected = expected["input_ids"] if hasattr(expected, "keys") else expected
        else:
            expected = reference(text)["input_ids"]
        same_tokens += ids == list(expected)
        tokens = torch.tensor([ids])
        with torch.no_grad():
            difference = (ours(tokens) - theirs(tokens).logits).abs().max()
            said = theirs.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=args.new,
                do_sample=False, eos_token_id=stops, pad_token_id=stops[0],
                repetition_penalty=1.0,
            )[0, len(ids) :]  # fmt: skip
        worst = max(worst, float(difference))
        group = generate(
            ours, ids, 1, max_new_tokens=args.new, temperature=0.0, stop_ids=stops,
            generator=torch.Generator(),
        )  # fmt: skip
        mine = group.responses()[0]
        same_greedy += mine == said.tolist()[: len(mine)] and len(mine) <= len(said)
    n = args.prompts
    print(f"tokenised alike {same_tokens} of {n}; largest difference of logits {worst:.2g}")
    print(f"greedy responses alike {same_greedy} of {n}")
    return 0 if same_tokens == same_greedy == n and worst <= 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
