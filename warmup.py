"""The base model: supervised training on annotators who forget most carries.

What it teaches: where the ability comes from that RLVR later unlocks.  Every annotator here knows
the column method and forgets each carry with probability 0.6, so the model learns to carry, as a
habit of two fifths.  `python warmup.py --out my-base` makes such a model in about four minutes on
one CPU core; with `--task tables` it makes what the harder task starts from.

Where it stands: before step 0.  It makes pi_0, the policy that `train.py` starts from.

How long is enough: until the loss is near its floor.  No model can foresee which carries an
annotator will forget, and that alone costs 0.025 nats per token (about 0.8 carries of 0.67 nats
each in the 22 tokens of an answer).  `base/` is at 0.026, and `python train.py --config small.json`
takes it from 20% to between 97.5 and 100% on seeds 0 to 4.

Try changing first: `--steps 600 --out shaky`.  The loss is then 0.08, the model slips in columns
that need no carry, and training from it (`--set model=shaky`) ends at 15.5, 15.0 and 20.5% on seeds
0 to 2: reinforcement does not repair a method that is half learned.  Or set `data.FORGET` to 1.0
and give `--steps 1000 --out never`: the loss is then below 0.01, but training ends at 20.0, 19.0
and 19.0%.  Nobody ever carried, and what is never sampled is never rewarded.
"""

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from data import ALPHABET, MOST_DRAWS, TASKS, is_heldout, task_problems
from model import Transformer
from plumbing import disk
from plumbing.command import Parser, UserError, command, whole_number
from plumbing.config import read_config
from plumbing.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<bos>", "<eos>"]
PAD, BOS, EOS = range(3)
BASE_CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": len(SPECIAL) + len(ALPHABET),  # 19
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


def train_base(
    steps: int, batch_size: int, lr: float, seed: int, task: str = "arithmetic"
) -> Transformer:
    """Train a new transformer for `steps` of AdamW on what the annotators of a task wrote.

    The learning rate rises to `lr` over 50 steps, holds, and falls in a straight line from half
    way on.
    """
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
        tokens, targets = training_batch(rng, batch_size, task)  # (B, T-1) each
        logits = model(tokens)  # (B, T-1, V)
        # the loss is -log pi(next token), averaged over the annotators' tokens
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())  # (B*(T-1), V), (B*(T-1),)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model


def training_batch(
    rng: np.random.Generator, size: int, task: str = "arithmetic"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens and targets, (B, T-1) each, of problems that annotators have solved.

    The targets are the tokens moved one place to the left.  They are -100, which means no loss, on
    the prompt and on the padding: the model learns to answer, not to ask.
    """
    ids = {character: i for i, character in enumerate(ALPHABET, start=len(SPECIAL))}
    rows, prompt_lens = [], []
    for _ in range(size):
        prompt, working = lesson(task, rng)
        rows.append([BOS, *(ids[c] for c in prompt + working), EOS])
        prompt_lens.append(1 + len(prompt))
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])  # (B, T)
    columns = torch.arange(longest)  # (T,)
    ends = torch.tensor([len(row) for row in rows])[:, None]  # (B, 1)
    is_response = (columns >= torch.tensor(prompt_lens)[:, None]) & (columns < ends)  # (B, T)
    targets = tokens.masked_fill(~is_response, -100)  # (B, T)
    return tokens[:, :-1], targets[:, 1:]  # (B, T-1) each


def lesson(task: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return a problem that is not held out, and what an annotator writes behind it."""
    entry = TASKS[task]
    for _ in range(MOST_DRAWS):
        op = str(rng.choice(list(entry.taught)))
        a, b = entry.draw(rng, "", op)
        if is_heldout(a, op, b):
            continue
        text, working = f"{a}{op}{b}=", entry.working(a, op, b, rng)
        if unknown := "".join(sorted(set(text + working) - set(ALPHABET))):
            raise UserError(
                f"task '{task}': {text + working!r} has {unknown!r} in it, but the alphabet of a "
                f"base model is {ALPHABET} (data.ALPHABET)"
            )
        return text, working
    raise UserError(f"task '{task}': all problems that annotators would solve are held out")


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """Build a tokenizer of one token per character, with a BOS token before every text.

    It has no token for an unknown character: to encode one is an error.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", BOS)]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def next_command(task: str, out: Path) -> str:
    """Return the command that trains the new model on its task, whose problems must suffice."""
    config = TASKS[task].config
    data = read_config(Path(__file__).parent / config, []).data
    for n, heldout in ((data.pool_size, False), (data.heldout_size, True)):
        task_problems(task, n, np.random.default_rng(0), heldout)
    keys = {"data.pool": task, "data.heldout": task}
    if (data.pool, data.heldout) == (task, task):  # the configuration is the task's own
        keys = {}
    sets = [f"--set {key}={value}" for key, value in [*keys.items(), ("model", out)]]
    return f"python train.py --config {config} {' '.join(sets)} --out runs/{out.name}"


def check_place(out: Path, force: bool) -> None:
    """Raise `UserError` where the new model cannot be put; nothing is left behind."""
    disk.refuse_name(out)
    if os.path.lexists(out) and not force:
        raise UserError(f"{out} exists; name another folder with --out, or give --force")
    if os.path.lexists(out) and not (out / "config.json").is_file():
        raise UserError(f"{out}: is no folder of a model, so --force does not replace it")
    aside = out.with_name(out.name + disk.UNFINISHED)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        disk.remove(aside)
        aside.mkdir()
        aside.rmdir()
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); name another") from error


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="warmup.py", description=__doc__.split("\n")[0])
    count, add = whole_number(1), parser.add_argument
    add("--out", type=Path, default=Path("base"), help="the folder of the new model [base]")
    add("--task", default="arithmetic", choices=list(TASKS),
        help="what its annotators wrote about [arithmetic]")  # fmt: skip
    add("--steps", type=count, default=3000, help="optimizer steps [3000]")
    add("--batch-size", type=count, default=64, help="problems per step [64]")
    add("--lr", type=float, default=3e-3, help="the highest learning rate [0.003]")
    add("--seed", type=whole_number(0), default=0, help="the seed of weights and problems [0]")
    add("--force", action="store_true", help="replace a model that is there")
    args = parser.parse_args(argv)
    if not 0 < args.lr < math.inf:
        raise UserError(f"--lr: must be above 0 and finite, not {args.lr}")
    # what is wrong with a new task or the folder ends the command here, before minutes of training
    training_batch(np.random.default_rng(args.seed), 256, args.task)
    following = next_command(args.task, args.out)
    out, tokenizer = Path(os.path.abspath(args.out)), build_tokenizer()
    check_place(out, args.force)
    torch.set_num_threads(1)  # a second thread costs a model of this size more than it brings
    model = train_base(args.steps, args.batch_size, args.lr, args.seed, args.task)

    def write(folder: Path) -> None:
        model.save(folder)
        save_tokenizer(tokenizer, folder)

    disk.replace_folder(out, write)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{args.out}: {parameters:,} parameters")
    print(f"next: {following}")


if __name__ == "__main__":
    sys.exit(main())
