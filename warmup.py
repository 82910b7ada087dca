"""The base model: supervised training on annotators who forget most carries.

What it teaches: where the ability comes from that RLVR later unlocks.  Every annotator here knows
the column method and forgets each carry with probability 0.6, so the model learns to carry, as a
habit of two fifths.  `python warmup.py` makes `base/` from nothing in a few minutes on one CPU
core, and `--task tables --out base-tables` what the harder task starts from.

Where it stands: before step 0.  It makes pi_0, the policy that `train.py` starts from.

Try changing first: `data.FORGET`.  At 1.0 nobody ever carries and RLVR has nothing to find; at 0.3
the base model is nearly done.  Or `--steps 600 --out shaky`, and watch reinforcement start from a
shaky hand.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from data import (
    FORGET,
    MISTAKE,
    MIX,
    is_heldout,
    random_factors,
    random_operands,
    solution,
    table_solution,
)
from model import Transformer

SPECIAL = ["<pad>", "<bos>", "<eos>"]
PAD, BOS, EOS = range(3)
CHARACTERS = "0123456789+-*=,#"  # with SPECIAL, a vocabulary of 19
BASE_CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": len(SPECIAL) + len(CHARACTERS),
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rope_theta": 1000.0,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}


def build_tokenizer():
    """One token a character, a BOS before every text; any other character is an error."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", BOS)]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def training_batch(
    rng: np.random.Generator, size: int, task: str = "arithmetic"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forgetful solutions of problems that are not held out: tokens and targets, (B, T) each.

    Targets are the tokens one to the left, and -100 (no loss) on the prompt and the padding.
    """
    ids = {character: i for i, character in enumerate(CHARACTERS, start=len(SPECIAL))}
    rows, prompt_lens = [], []
    while len(rows) < size:
        if task == "tables":
            op, (a, b) = "*", random_factors(rng)
        else:
            op = str(rng.choice(["+", "-"]))
            a, b = random_operands(rng, op)
        if is_heldout(a, op, b):
            continue
        prompt = f"{a}{op}{b}="
        working = (
            table_solution(a, b, rng, MISTAKE) if op == "*" else solution(a, op, b, rng, FORGET)
        )
        rows.append([BOS, *(ids[c] for c in prompt + working), EOS])
        prompt_lens.append(1 + len(prompt))
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])  # (B, T)
    columns = torch.arange(longest)
    ends = torch.tensor([len(row) for row in rows])[:, None]
    is_response = (columns >= torch.tensor(prompt_lens)[:, None]) & (columns < ends)  # (B, T)
    targets = tokens.masked_fill(~is_response, -100)
    return tokens[:, :-1], targets[:, 1:]  # (B, T-1) each


def train_base(
    steps: int, batch_size: int, lr: float, seed: int, task: str = "arithmetic"
) -> Transformer:
    """A fresh transformer after `steps` of AdamW; the rate rises, holds, falls from half way."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Transformer(dict(BASE_CONFIG))
    for parameter in model.parameters():
        if parameter.dim() > 1:  # PyTorch's own N(0, 1) embedding would drown a tied head
            torch.nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    progress = tqdm(range(steps), desc="warm-up", mininterval=0.5)
    for step in progress:
        rate = lr * min(1, (step + 1) / 50, 2 * (steps - step) / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        tokens, targets = training_batch(rng, batch_size, task)
        logits = model(tokens)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())  # over (B*T, V) and (B*T,)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="warmup.py", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="base", help="folder of the model [base]")
    parser.add_argument("--task", default="arithmetic", choices=list(MIX),
                        help="what its annotators wrote about [arithmetic]")  # fmt: skip
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps [3000]")
    parser.add_argument("--batch-size", type=int, default=64, help="problems a step [64]")
    parser.add_argument("--lr", type=float, default=3e-3, help="highest learning rate [0.003]")
    parser.add_argument("--seed", type=int, default=0, help="of weights and problems [0]")
    parser.add_argument("--force", action="store_true", help="write over a folder that exists")
    args = parser.parse_args(argv)
    out = Path(args.out)
    if out.exists() and not args.force:
        print(f"error: {out} exists; name another with --out, or give --force", file=sys.stderr)
        return 2
    if min(args.steps, args.batch_size) < 1 or not 0 < args.lr < math.inf or args.seed < 0:
        print("error: need --steps and --batch-size >= 1, --lr > 0, --seed >= 0", file=sys.stderr)
        return 2
    try:
        out.mkdir(parents=True, exist_ok=True)  # before minutes of training
    except OSError as error:
        print(f"error: {out}: cannot be made ({error.strerror}); name another", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # a second thread costs a model of this size more than it brings
    model = train_base(args.steps, args.batch_size, args.lr, args.seed, args.task)
    model.save(out)
    build_tokenizer().save_pretrained(out)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{out}: {parameters:,} parameters")
    config = "small.json" if args.task == "arithmetic" else f"configs/{args.task}.json"
    print(f"next: python train.py --config {config} --set model={out} --out runs/{out.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
