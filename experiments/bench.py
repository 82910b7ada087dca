"""Speed beside plain transformers: sampling, the update, a whole training step, in one process.

python experiments/bench.py                        # the tiny model, a few minutes on one thread
python experiments/bench.py --models 135m --groups 8 --new 32 --repeats 3
python experiments/bench.py --job                # the default job's own steps, prompts of 8 tokens
python experiments/bench.py --growth             # our sampling alone: longer responses, more rows
python experiments/bench.py --device cuda --precision bfloat16 --models 135m 1.5b

Ours and theirs take turns in every repeat, on the same weights and prompts; a row gives medians,
and the ratio with the lowest and highest of the repeats.  A step is one more token for all rows,
after the first one, which takes reading the prompt and laying out the weights.  "floor" is the
larger of two times: reading the weights once and the cache of every row (measured bandwidth), and
the arithmetic (measured rate of a large matrix product).  A prompt that is read once for all rows,
or weights that stay in the processor's own cache, could go below it.
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).resolve().parent.parent))

from compare import ROOT, at_least, file_to_write, stop

from config import ConfigError, RolloutConfig, UpdateConfig, read_config
from data import arithmetic_problems, load_tokenizer, prompt_ids
from model import Transformer, load
from policy import pick_device
from rollout import Group, generate
from train import update_policy

SHAPES = {  # SmolLM2-135M and Qwen2.5-Math-1.5B, with random weights
    "135m": {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"],
    },
    "1.5b": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536,
        "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "tie_word_embeddings": True,
        "architectures": ["Qwen2ForCausalLM"],
    },
}  # fmt: skip


def both(name: str, device: str, dtype: torch.dtype):
    """Our model and transformers', from the same files."""
    folder = ROOT / "base"
    if name != "tiny":
        torch.manual_seed(0)
        model = Transformer(SHAPES[name])
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        folder = Path(tempfile.mkdtemp())
        model.save(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
    return load(folder, device, dtype), theirs.eval()


def timed(function, device: str) -> float:
    """Seconds that a call takes, the device's work included."""
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(ways: dict, repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of every way in every repeat; the ways take turns, after one round that warms up."""
    seconds = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, function in ways.items():
            took = timed(function, device)
            if repeat:
                seconds[name].append(took)
    return seconds


def hardware(device: str, dtype: torch.dtype) -> dict:
    """Measured bytes a second of reading, and operations a second of a matrix product."""
    big = torch.ones(2**26, device=device)  # 256 MB
    square = torch.ones(2048, 2048, device=device, dtype=dtype)
    reading = min(timed(big.sum, device) for _ in range(10))
    product = min(timed(lambda: square @ square, device) for _ in range(10))
    name = torch.cuda.get_device_name() if device != "cpu" else platform.processor() or "CPU"
    return {"name": name, "bandwidth": 4 * 2**26 / reading, "flops": 2 * 2048**3 / product}


def floor(model, rows: int, length: int, machine: dict) -> float:
    """Seconds that one decoding step takes at the least, at this length of prompt and response."""
    c, n = model.config, sum(p.numel() for p in model.parameters())
    size = torch.finfo(model.dtype).bits // 8
    cache = 2 * c.n_layers * rows * length * c.n_kv_heads * c.head_dim
    return max(size * (n + cache) / machine["bandwidth"], 2 * n * rows / machine["flops"])


def plain_update(model, optimizer, tokens, prompt_len, advantages):
    """What most code does: all rows whole, all logits at once, transformers' forward pass."""
    logits = model(tokens[:, :-1]).logits[:, prompt_len - 1 :].float()  # (G, L, V)
    logp = logits.log_softmax(-1).gather(2, tokens[:, prompt_len:, None])[..., 0]  # (G, L)
    ratio = (logp - logp.detach()).exp()
    clipped = ratio.clamp(0.8, 1.28)
    loss = -torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None]).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def cell(ours, theirs, G: int, P: int, new: int, args, machine: dict) -> dict:
    """Sampling, update and step of one size."""
    prompt = [4 + i % 10 for i in range(P)]
    rows = torch.tensor([prompt] * G, device=args.device)
    stream = torch.Generator(args.device).manual_seed(0)
    advantages = torch.linspace(-1, 1, G, device=args.device)
    rollout = RolloutConfig(group_size=G, max_new_tokens=new)
    trained, their_trained = copy.deepcopy(ours), copy.deepcopy(theirs)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-7, fused=True)
    their_optimizer = torch.optim.AdamW(their_trained.parameters(), lr=1e-7)

    def sample(new=new) -> Group:
        return generate(ours, prompt, G, max_new_tokens=new, stop_ids=[], generator=stream)

    def their_sample(**cache):
        return theirs.generate(
            rows, attention_mask=torch.ones_like(rows), max_new_tokens=new, min_new_tokens=new,
            do_sample=True, temperature=1.0, top_k=0, pad_token_id=0, **cache,
        )  # fmt: skip

    group = sample()

    def update(group=group):
        update_policy(trained, None, optimizer, [group], [advantages], UpdateConfig(), rollout)

    def their_update(tokens=group.tokens):
        plain_update(their_trained, their_optimizer, tokens, P, advantages)

    seconds = in_turns(
        {"ours": sample, "first": lambda: sample(1), "dynamic": their_sample,
         "static": lambda: their_sample(cache_implementation="static")},
        args.repeats, args.device,
    )  # fmt: skip
    row = {"G": G, "prompt": P, "new": new, "first": seconds.pop("first"), "sampling": seconds}
    row["floor"] = new * floor(ours, G, P + new // 2, machine)
    row["update"] = in_turns({"ours": update, "plain": their_update}, args.repeats, args.device)
    row["step"] = in_turns(
        {"ours": lambda: update(sample()), "plain": lambda: their_update(their_sample())},
        args.repeats, args.device,
    )  # fmt: skip
    return row


def job(args) -> dict:
    """Steps of `small.json`, sampling until the stop token and an update, on the same prompts.

    The responses are sampled, so that the two do not learn from the same ones, but from as many;
    transformers' cache is the dynamic one, the faster for so few tokens.
    """
    ours, theirs = both("tiny", args.device, torch.float32)
    cfg = read_config(ROOT / "small.json", [])
    tokenizer = load_tokenizer(ROOT / "base")
    pool = arithmetic_problems(cfg.data.pool_size, np.random.default_rng(0))
    prompts = [prompt_ids(tokenizer, cfg.data.template, problem) for problem in pool]
    G, eos = cfg.rollout.group_size, tokenizer.eos_token_id
    stream = torch.Generator(args.device).manual_seed(0)
    advantages = torch.linspace(-1, 1, G, device=args.device)
    optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-7, fused=True)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-7)

    def sample(prompt) -> Group:
        return generate(
            ours, prompt, G, max_new_tokens=cfg.rollout.max_new_tokens, stop_ids=[eos],
            generator=stream,
        )  # fmt: skip

    def their_sample(prompt):
        rows = torch.tensor([prompt] * G, device=args.device)
        return theirs.generate(
            rows, attention_mask=torch.ones_like(rows), max_new_tokens=cfg.rollout.max_new_tokens,
            do_sample=True, temperature=1.0, top_k=0, pad_token_id=0, eos_token_id=eos,
        )  # fmt: skip

    def step(prompt):
        update_policy(
            ours, None, optimizer, [sample(prompt)], [advantages], cfg.update, cfg.rollout
        )

    def their_step(prompt):
        tokens = their_sample(prompt)
        plain_update(theirs, their_optimizer, tokens, len(prompt), advantages)

    def over_the_pool(function):
        return lambda: [function(prompt) for prompt in prompts]

    found = {}
    for name, mine, plain in (("sampling", sample, their_sample), ("step", step, their_step)):
        ways = {"ours": over_the_pool(mine), "plain": over_the_pool(plain)}
        found[name] = in_turns(ways, args.repeats, args.device)
        each = {way: 1e3 * statistics.median(s) / len(prompts) for way, s in found[name].items()}
        print(
            f"default job, {name}: ours {each['ours']:.1f} ms, plain {each['plain']:.1f} ms: "
            f"{ratio(found[name]['plain'], found[name]['ours'])}"
        )
    return found


LENGTHS, ROWS = (128, 256, 512, 1024, 2048), (1, 2, 4, 8, 16, 32, 64)


def growth(ours, name: str, args) -> dict:
    """Seconds of sampling at 4 rows for longer and longer responses, at 32 tokens for more rows."""

    def seconds(G: int, new: int) -> float:
        stream = torch.Generator(args.device).manual_seed(0)
        prompt = [4 + i % 10 for i in range(64)]
        return min(
            timed(
                lambda: generate(
                    ours, prompt, G, max_new_tokens=new, stop_ids=[], generator=stream
                ),
                args.device,
            )
            for _ in range(3)
        )

    return {
        "length": {new: seconds(4, new) for new in tqdm(LENGTHS, desc=f"{name}, longer")},
        "rows": {G: seconds(G, 32) for G in tqdm(ROWS, desc=f"{name}, more rows")},
    }


def show_growth(name: str, found: dict) -> None:
    each = ", ".join(f"{new}: {1e3 * s / new:.2f}" for new, s in found["length"].items())
    print(f"{name:5} 4 rows, ms a step at so many response tokens: {each}")
    each = ", ".join(f"{G}: {1e3 * s / 32:.2f}" for G, s in found["rows"].items())
    print(f"{name:5} 32 tokens, ms a step at so many rows: {each}")


def ratio(theirs: list[float], ours: list[float]) -> str:
    """How many times as long theirs takes: of the medians, and the extremes of the repeats."""
    each = [a / b for a, b in zip(theirs, ours, strict=True)]
    middle = statistics.median(theirs) / statistics.median(ours)
    return f"{middle:5.2f} ({min(each):.2f}-{max(each):.2f})"


def show(name: str, row: dict) -> None:
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


def write(out: Path | None, found: dict) -> None:
    if out:
        out.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--models", nargs="+", default=["tiny"], choices=["tiny", *SHAPES])
    add("--groups", nargs="+", type=at_least(2), default=[8, 16, 64], help="G [8 16 64]")
    add("--prompts", nargs="+", type=at_least(1), default=[64, 512], help="prompt tokens [64 512]")
    add("--new", type=at_least(2), default=128, help="response tokens [128]")
    add("--repeats", type=at_least(1), default=5, help="rounds [5]")
    add("--threads", type=at_least(1), default=1, help="CPU threads [1]")
    add("--device", default="cpu")
    add("--precision", default="float32", choices=["float32", "bfloat16"])
    add("--job", action="store_true", help="steps of the default job instead")
    add("--growth", action="store_true", help="how the time of ours grows, nothing of theirs")
    add("--out", type=file_to_write, help="write the numbers to this JSON file")
    args = parser.parse_args()
    try:
        pick_device(args.device)
    except ConfigError as error:
        stop(str(error))
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.precision)
    machine = hardware(args.device, dtype)
    print(
        f"{machine['name']}, threads: {args.threads}, torch {torch.__version__}: "
        f"{machine['bandwidth'] / 1e9:.1f} GB/s, {machine['flops'] / 1e9:.0f} GFLOP/s"
    )
    found = {"machine": machine, "threads": args.threads, "torch": torch.__version__, "models": {}}
    if args.job:
        found["job"] = job(args)
        write(args.out, found)
        return
    for name in args.models:
        ours, theirs = both(name, args.device, dtype)
        if args.growth:
            found["models"][name] = growth(ours, name, args)
            show_growth(name, found["models"][name])
            write(args.out, found)
            continue
        rows = found["models"][name] = []
        sizes = [(G, P) for P in args.prompts for G in args.groups]
        for G, P in tqdm(sizes, desc=name):
            rows.append(cell(ours, theirs, G, P, args.new, args, machine))
            show(name, rows[-1])
            write(args.out, found)


if __name__ == "__main__":
    main()
