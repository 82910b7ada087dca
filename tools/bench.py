"""Speed beside plain transformers: sampling, the update and a whole training step.

    python tools/bench.py                        the tiny model: a few minutes on one thread
    python tools/bench.py --models 135m --groups 8 --new 32 --repeats 3
    python tools/bench.py --job                  steps of the default job, with its own prompts
    python tools/bench.py --growth               our sampling alone: longer responses, more rows
    python tools/bench.py --device cuda --precision bfloat16 --models 135m 1.5b

It measures both in one process, on the same weights and prompts, and lets them take turns in every
repeat.  "Ours" is what a training run does.  "Plain" or "transformers" is what most code does: its
own `generate` with the faster of its two caches, every row read whole, all logits at once.

How to read it: one row per size.  Tokens per second are medians over the repeats.  The number
behind the colon is how many times as long transformers takes, with the lowest and highest repeat in
brackets; "update" and "whole step" are such numbers too.  "A step" is the time of one more token
for all rows, after the first token, which also pays for reading the prompt and laying out the
weights.  Its "floor" is the larger of two times: reading the weights once and the cache of every
row, at the measured bandwidth; and the arithmetic, at the measured rate of a large matrix product.
(Less than the floor is possible where a prompt is read once for all rows, or where the weights stay
in the processor's own cache.)
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from project import ROOT
from tqdm import tqdm
from transformers import AutoModelForCausalLM

from data import load_tokenizer, prompt_ids, task_problems
from grpo import update_policy
from model import Transformer, load
from plumbing.command import Parser, command, file_to_write, whole_number
from plumbing.config import Config, RolloutConfig, read_config
from plumbing.device import pick_device
from rollout import Group, generate

SHAPES = {  # SmolLM2-135M, Qwen3-0.6B and Qwen2.5-Math-1.5B, with random weights
    "135m": {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"],
    },
    "0.6b": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
        "architectures": ["Qwen3ForCausalLM"],
    },
    "1.5b": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536,
        "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "tie_word_embeddings": True,
        "architectures": ["Qwen2ForCausalLM"],
    },
}  # fmt: skip
RATE = 1e-7  # a learning rate that leaves the models nearly as they are
LENGTHS, ROWS = (128, 256, 512, 1024, 2048), (1, 2, 4, 8, 16, 32, 64)  # of --growth


# --------------------------------------------------------------------------- the two sides


class Ours:
    """Our model: it samples a group and learns from it as `train.py` does.

    `trained` is the model that an update changes: the model itself, or a copy of it.
    """

    def __init__(self, model: Transformer, trained: Transformer, cfg: Config, stop_ids: list[int]):
        self.model, self.trained, self.cfg, self.stop_ids = model, trained, cfg, stop_ids
        self.stream = torch.Generator(model.device).manual_seed(0)
        self.optimizer = torch.optim.AdamW(trained.parameters(), lr=RATE, fused=True)
        self.advantages = torch.linspace(-1, 1, cfg.rollout.group_size, device=model.device)

    def sample(self, prompt: list[int], new: int | None = None) -> Group:
        """Sample a group, of `new` tokens at most."""
        return generate(
            self.model, prompt, self.cfg.rollout.group_size, stop_ids=self.stop_ids,
            max_new_tokens=new or self.cfg.rollout.max_new_tokens, generator=self.stream,
        )  # fmt: skip

    def update(self, group: Group) -> None:
        """Take one optimizer step on the group."""
        update_policy(self.trained, self.optimizer, [group], [self.advantages], self.cfg)

    def step(self, prompt: list[int]) -> None:
        """Sample a group and learn from it."""
        self.update(self.sample(prompt))


class Plain:
    """The model of transformers: it samples as many responses and learns from them in one pass."""

    def __init__(self, model, trained, cfg: Config, eos: int | None):
        self.model, self.trained, self.cfg = model, trained, cfg
        new = cfg.rollout.max_new_tokens
        self.end = {"min_new_tokens": new} if eos is None else {"eos_token_id": eos}
        self.optimizer = torch.optim.AdamW(trained.parameters(), lr=RATE)
        self.advantages = torch.linspace(-1, 1, cfg.rollout.group_size, device=model.device)

    def sample(self, prompt: list[int], **cache) -> torch.Tensor:
        """Return prompt and responses, (G, T); `cache` may name another than the dynamic one."""
        rows = torch.tensor([prompt] * self.cfg.rollout.group_size, device=self.model.device)
        return self.model.generate(
            rows, attention_mask=torch.ones_like(rows), do_sample=True, temperature=1.0, top_k=0,
            max_new_tokens=self.cfg.rollout.max_new_tokens, pad_token_id=0, **self.end, **cache,
        )  # fmt: skip

    def update(self, tokens: torch.Tensor, prompt_len: int) -> None:
        """Take one optimizer step on the rows, (G, T), with the same clipped surrogate."""
        A = self.advantages[:, None]  # (G, 1)
        logits = self.trained(tokens[:, :-1]).logits[:, prompt_len - 1 :].float()  # (G, L, V)
        logp = logits.log_softmax(-1).gather(2, tokens[:, prompt_len:, None])[..., 0]  # (G, L)
        ratio = (logp - logp.detach()).exp()
        loss = -torch.minimum(ratio * A, ratio.clamp(0.8, 1.28) * A).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self, prompt: list[int]) -> None:
        """Sample a group and learn from it."""
        self.update(self.sample(prompt), len(prompt))


def both_models(name: str, device: str, dtype: torch.dtype) -> tuple:
    """Return our model and that of transformers, read from the same files."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if name == "tiny":
            folder = ROOT / "base"
        else:
            torch.manual_seed(0)
            model = Transformer(SHAPES[name])
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.02)
            model.save(Path(folder))
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
        return load(folder, device, dtype), theirs.eval()


# --------------------------------------------------------------------------- taking the time


def timed(function: Callable, device: str) -> float:
    """Return the seconds that a call takes, the device's work included."""
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(ways: dict[str, Callable], repeats: int, device: str) -> dict[str, list[float]]:
    """Return the seconds of every way in every repeat; the ways take turns, and warm up first."""
    seconds = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, function in ways.items():
            took = timed(function, device)
            if repeat:
                seconds[name].append(took)
    return seconds


def hardware(device: str, dtype: torch.dtype) -> dict:
    """Measure the bytes that are read per second, and the operations of a matrix product."""
    # on a GPU large enough that starting the operation does not count
    entries, side = (2**26, 2048) if device == "cpu" else (2**30, 8192)
    big = torch.ones(entries, device=device)  # 256 MB or 4 GB
    square = torch.ones(side, side, device=device, dtype=dtype)
    reading = min(timed(big.sum, device) for _ in range(10))
    product = min(timed(lambda: square @ square, device) for _ in range(10))
    name = torch.cuda.get_device_name() if device != "cpu" else platform.processor() or "CPU"
    return {"name": name, "bandwidth": 4 * entries / reading, "flops": 2 * side**3 / product}


def floor(model: Transformer, rows: int, length: int, machine: dict) -> float:
    """Return the seconds that a decoding step takes at least, with `length` tokens in the cache."""
    c, n = model.config, sum(p.numel() for p in model.parameters())
    size = torch.finfo(model.compute_dtype).bits // 8
    cache = 2 * c.n_layers * rows * length * c.n_kv_heads * c.head_dim
    return max(size * (n + cache) / machine["bandwidth"], 2 * n * rows / machine["flops"])


# --------------------------------------------------------------------------- what is measured


def measure(models: tuple, G: int, P: int, args: argparse.Namespace, machine: dict) -> dict:
    """Return the seconds of sampling, update and step: G rows, P prompt tokens, args.new new ones.

    Updates change copies, so that every size meets the same models.
    """
    cfg = Config(rollout=RolloutConfig(group_size=G, max_new_tokens=args.new))
    model, their_model = models
    ours = Ours(model, copy.deepcopy(model), cfg, stop_ids=[])
    plain = Plain(their_model, copy.deepcopy(their_model), cfg, eos=None)
    prompt = [4 + i % 10 for i in range(P)]
    group = ours.sample(prompt)
    take_turns = partial(in_turns, repeats=args.repeats, device=args.device)
    seconds = take_turns({
        "ours": lambda: ours.sample(prompt), "first": lambda: ours.sample(prompt, 1),
        "dynamic": lambda: plain.sample(prompt),
        "static": lambda: plain.sample(prompt, cache_implementation="static"),
    })  # fmt: skip
    return {
        "G": G, "prompt": P, "new": args.new, "first": seconds.pop("first"), "sampling": seconds,
        "floor": args.new * floor(model, G, P + args.new // 2, machine),
        "update": take_turns({
            "ours": lambda: ours.update(group), "plain": lambda: plain.update(group.tokens, P),
        }),
        "step": take_turns({
            "ours": lambda: ours.step(prompt), "plain": lambda: plain.step(prompt),
        }),
    }  # fmt: skip


def job(args: argparse.Namespace) -> dict:
    """Print and return the seconds of the default job's steps, over its own prompts.

    Both sample until the stop token, so that they do not learn from the same responses, but from as
    many.  For so few tokens the dynamic cache of transformers is its faster one.  Neither has the
    job's KL penalty, which plain transformers would need a reference model for.
    """
    model, their_model = both_models("tiny", args.device, torch.float32)
    cfg = read_config(ROOT / "small.json", ["update.kl_coef=0"])
    tokenizer = load_tokenizer(ROOT / "base")
    pool = task_problems("arithmetic", cfg.data.pool_size, np.random.default_rng(0))
    prompts = [prompt_ids(tokenizer, cfg.data.template, problem) for problem in pool]
    ours = Ours(model, model, cfg, [tokenizer.eos_token_id])
    plain = Plain(their_model, their_model, cfg, tokenizer.eos_token_id)

    def over_the_pool(function):
        return lambda: [function(prompt) for prompt in prompts]

    found = {}
    for name, mine, theirs in (
        ("sampling", ours.sample, plain.sample), ("step", ours.step, plain.step)
    ):  # fmt: skip
        ways = {"ours": over_the_pool(mine), "plain": over_the_pool(theirs)}
        found[name] = in_turns(ways, args.repeats, args.device)
        each = {way: 1e3 * statistics.median(s) / len(prompts) for way, s in found[name].items()}
        print(
            f"default job, {name}: ours {each['ours']:.1f} ms, plain {each['plain']:.1f} ms: "
            f"{ratio(found[name]['plain'], found[name]['ours'])}"
        )
    return found


def growth(model: Transformer, name: str, device: str) -> dict:
    """Return the seconds of sampling: 4 rows and more and more tokens, 32 tokens and more rows."""

    def seconds(G: int, new: int) -> float:
        prompt = [4 + i % 10 for i in range(64)]
        sample = partial(
            generate, model, prompt, G, max_new_tokens=new, stop_ids=[],
            generator=torch.Generator(device).manual_seed(0),
        )  # fmt: skip
        return min(timed(sample, device) for _ in range(3))

    return {
        "length": {new: seconds(4, new) for new in tqdm(LENGTHS, desc=f"{name}, longer")},
        "rows": {G: seconds(G, 32) for G in tqdm(ROWS, desc=f"{name}, more rows")},
    }


# --------------------------------------------------------------------------- what is printed


def ratio(theirs: list[float], ours: list[float]) -> str:
    """Return how many times as long theirs takes: of the medians, then the repeats' extremes."""
    each = [a / b for a, b in zip(theirs, ours, strict=True)]
    middle = statistics.median(theirs) / statistics.median(ours)
    return f"{middle:5.2f} ({min(each):.2f}-{max(each):.2f})"


def show(name: str, row: dict) -> None:
    """Print one row of the comparison."""
    ours = statistics.median(row["sampling"]["ours"])
    step = (ours - statistics.median(row["first"])) / (row["new"] - 1)
    faster = min(("dynamic", "static"), key=lambda way: statistics.median(row["sampling"][way]))
    theirs = row["sampling"][faster]
    tqdm.write(
        f"{name:5} G={row['G']:<3} prompt={row['prompt']:<4} new={row['new']:<4} "
        f"ours {row['G'] * row['new'] / ours:8.0f} tokens/s, "
        f"transformers ({faster}) {row['G'] * row['new'] / statistics.median(theirs):7.0f}: "
        f"{ratio(theirs, row['sampling']['ours'])}; a step {1e3 * step:.2f} ms, "
        f"floor {1e3 * row['floor'] / row['new']:.2f}; "
        f"update {ratio(row['update']['plain'], row['update']['ours'])}, "
        f"whole step {ratio(row['step']['plain'], row['step']['ours'])}"
    )


def show_growth(name: str, found: dict) -> None:
    """Print the milliseconds per token, by length and by number of rows."""
    each = ", ".join(f"{new}: {1e3 * s / new:.2f}" for new, s in found["length"].items())
    print(f"{name:5} 4 rows, ms per token at so many response tokens: {each}")
    each = ", ".join(f"{G}: {1e3 * s / 32:.2f}" for G, s in found["rows"].items())
    print(f"{name:5} 32 tokens, ms per token at so many rows: {each}")


# --------------------------------------------------------------------------- the command


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments; `UserError` where the machine lacks the device."""
    parser = Parser(prog="bench.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--models", nargs="+", default=["tiny"], choices=["tiny", *SHAPES])
    add("--groups", nargs="+", type=whole_number(2), default=[8, 16, 64], help="G [8 16 64]")
    add("--prompts", nargs="+", type=whole_number(1), default=[64, 512],
        help="prompt tokens [64 512]")  # fmt: skip
    add("--new", type=whole_number(2), default=128, help="response tokens [128]")
    add("--repeats", type=whole_number(1), default=5, help="how often each is measured [5]")
    add("--threads", type=whole_number(1), default=1, help="CPU threads [1]")
    add("--device", default="cpu", help="[cpu]")
    add("--precision", default="float32", choices=["float32", "bfloat16"])
    add("--job", action="store_true", help="measure steps of the default job instead")
    add("--growth", action="store_true", help="measure how our own sampling grows instead")
    add("--out", type=file_to_write, metavar="FILE", help="write the numbers to this JSON file")
    args = parser.parse_args(argv)
    pick_device(args.device)
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure what was asked for, print it, and write it to a file."""
    args = read_arguments(argv)
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.precision)
    machine = hardware(args.device, dtype)
    print(
        f"{machine['name']}, threads: {args.threads}, torch {torch.__version__}: "
        f"{machine['bandwidth'] / 1e9:.1f} GB/s, {machine['flops'] / 1e9:.0f} GFLOP/s"
    )
    found = {"machine": machine, "threads": args.threads, "torch": torch.__version__, "models": {}}

    def write() -> None:
        if args.out:
            args.out.write_text(json.dumps(found, indent=2) + "\n")

    if args.job:
        found["job"] = job(args)
        write()
        return
    for name in args.models:
        models = both_models(name, args.device, dtype)
        if args.growth:
            found["models"][name] = growth(models[0], name, args.device)
            show_growth(name, found["models"][name])
            write()
            continue
        rows = found["models"][name] = []
        for G, P in tqdm([(G, P) for P in args.prompts for G in args.groups], desc=name):
            rows.append(measure(models, G, P, args, machine))
            show(name, rows[-1])
            write()


if __name__ == "__main__":
    sys.exit(main())
