"""Everything that is worth knowing about a GPU, in one command: is it right, and how fast?

    python tools/gpu.py --out gpu.json                  some minutes on one GPU, without a network
    python tools/gpu.py --device cpu --tiny             the same at toy sizes, to try the tool

It has six parts, each of which prints its rows as they come and adds them to the file:

    machine     the bytes that are read and the operations of a matrix product, per second
    agreement   do steps in a CUDA graph say the tokens of steps one by one?  does the ratio begin
                at 1?  is a resumed run bitwise the same?
    decoding    milliseconds per token of all rows, beside both caches of transformers and the floor
    update      seconds, the share of the matrix rate, and the peak of memory beside its prediction
    steps       whole training steps with long responses
    job         small.json: seconds of rollouts, updates and evaluations

How to read it: "graph" is `rollout.graph=true`, "eager" is false.  The floor is the time to read
the weights and the cache once.  In bfloat16 a graph and steps one by one should agree to the last
token: the operations are the same.  Models are random weights in the shapes of `bench.SHAPES`.
"""

import argparse
import contextlib
import gc
import io
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from bench import SHAPES, Ours, Plain, both_models, floor, hardware, timed
from project import ROOT

import train
from grpo import update_policy
from model import Transformer
from plumbing import memory
from plumbing.command import Parser, command, file_to_write
from plumbing.config import Config, build
from plumbing.device import pick_device
from plumbing.record import read_steps
from rollout import Group, generate

# shape, rows, prompt tokens, new tokens
DECODING = (("135m", 64, 64, 128), ("0.6b", 8, 128, 128), ("1.5b", 16, 256, 256))
UPDATES = (("135m", 64, 64, 256, 0), ("1.5b", 8, 256, 1024, 4))  # and rows at once
STEPS = (("135m", 8, 128, 1024), ("135m", 8, 128, 3072), ("1.5b", 8, 128, 1024))
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 300,
        "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


def shape_of(name: str, tiny: bool) -> dict:
    """Return the sizes of a model, or toy sizes of the same kind."""
    small = {**TINY, **({"head_dim": 16} if "head_dim" in SHAPES[name] else {})}
    return {**SHAPES[name], **(small if tiny else {})}


def random_model(name: str, args: argparse.Namespace, low: bool) -> Transformer:
    """Return a model of random weights on the device, in float32 or with bfloat16 products."""
    torch.manual_seed(0)
    with torch.device(args.device):
        model = Transformer(shape_of(name, args.tiny))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    model.low_precision = torch.bfloat16 if low else None
    return model


def sizes(args: argparse.Namespace, *numbers: int) -> list[int]:
    """Return numbers of rows and tokens, or an eighth of each."""
    return [max(2, n // 16) if args.tiny else n for n in numbers]


def sample(model: Transformer, G: int, P: int, new: int, graph: bool, **how) -> Group:
    """Sample a group; the stop tokens end a row now and then, if `how` names any."""
    how = {"stop_ids": [], "temperature": 1.0, **how}
    return generate(
        model, [4 + i % 100 for i in range(P)], G, max_new_tokens=new, graph=graph,
        generator=torch.Generator(model.device).manual_seed(0), **how,
    )  # fmt: skip


# --------------------------------------------------------------------------- the parts


def agreement(args: argparse.Namespace) -> Iterator[dict]:
    """Compare a graph with steps one by one, the ratio with 1, a resumed run with a whole one."""
    for name in SHAPES:
        for low in (False, True):
            model = random_model(name, args, low)
            G, P, new = sizes(args, 32, 32, 160)
            vocabulary = model.config.vocab_size
            for how in ({}, {"temperature": 0.0}, {"stop_ids": list(range(0, vocabulary, 40))}):
                one, other = (sample(model, G, P, new, graph, **how) for graph in (False, True))
                same = one.tokens.shape == other.tokens.shape
                yield {
                    "model": name, "bfloat16": low,
                    "how": "greedy" if "temperature" in how else "with stops" if how else "sampled",
                    "tokens the same": same and bool((one.tokens == other.tokens).all()),
                    "log-probabilities differ by": float(
                        (one.logprobs - other.logprobs).abs().max()
                    ) if same else None,
                }  # fmt: skip
            yield {"model": name, "bfloat16": low, **ratio(model, one)}
    yield {"resumed run bitwise the same": resumes(args)}


def ratio(model: Transformer, group: Group) -> dict:
    """Return how far the sampler's log-probabilities are from the loss's, and the clipped share."""
    G, L = len(group.tokens), group.logprobs.shape[1]
    cfg = build(Config, {"rollout": {"group_size": G, "max_new_tokens": L}})
    A = [torch.linspace(-1, 1, G, device=model.device)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    stats = update_policy(model, optimizer, [group], A, cfg)
    return {name: stats[name] for name in ("sampler_gap", "sampler_gap_max", "clip_fraction")}


def resumes(args: argparse.Namespace) -> bool:
    """Return whether a run that goes on from its checkpoint ends with the bits of a whole one."""
    weights = []
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in (("whole", (6,)), ("parts", (3, 6))):
            out = Path(folder) / name
            for part, n in enumerate(steps):
                run(args, out, [f"steps={n}"], resume=part > 0)
            weights.append((out / "model" / "model.safetensors").read_bytes())
    return weights[0] == weights[1]


def run(args: argparse.Namespace, out: Path, sets: list[str], resume: bool = False) -> None:
    """Train `small.json` on the device, without its words on the terminal."""
    keys = [f"device={args.device}", "eval_every=100000", "data.heldout_size=20", *sets]
    words = ["--config", str(ROOT / "small.json"), "--out", str(out)]
    words += [word for key in keys for word in ("--set", key)] + ["--resume"] * resume
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = train.main(words)
    if status:
        raise RuntimeError(said.getvalue()[-500:])


def decoding(args: argparse.Namespace, machine: dict) -> Iterator[dict]:
    """Time one more token of all rows: ours both ways, both caches of transformers, the floor."""
    for name, *wanted in DECODING:
        G, P, new = sizes(args, *wanted)
        with shapes(args):
            model, theirs = both_models(name, args.device, torch.bfloat16)
        cfg = build(Config, {"rollout": {"group_size": G, "max_new_tokens": new}})
        plain = Plain(theirs, theirs, cfg, eos=None)
        prompt = [4 + i % 100 for i in range(P)]
        ways = {
            "eager": partial(sample, model, G, P, new, False),
            "graph": partial(sample, model, G, P, new, True),
            "dynamic": partial(plain.sample, prompt),
            "static": partial(plain.sample, prompt, cache_implementation="static"),
        }
        first = timed_after_warming(partial(sample, model, G, P, 2, False), args)
        row = {"model": name, "G": G, "prompt": P, "new": new}
        row["floor, ms"] = 1e3 * floor(model, G, P + new // 2, machine)
        for way, function in ways.items():
            row[f"{way}, ms"] = 1e3 * (timed_after_warming(function, args) - first) / (new - 2)
        yield row
        del model, theirs, plain, ways
        clear(args)


@contextlib.contextmanager
def shapes(args: argparse.Namespace) -> Iterator[None]:
    """Let `bench.both_models` make toy sizes where these are asked for."""
    before = dict(SHAPES)
    SHAPES.update({name: shape_of(name, args.tiny) for name in SHAPES})
    yield
    SHAPES.update(before)


def update(args: argparse.Namespace, machine: dict) -> Iterator[dict]:
    """Time updates; say which share of the matrix rate they reach and how much memory they take."""
    for name, *wanted in UPDATES:
        G, P, new, at_once = sizes(args, *wanted)
        at_once = wanted[-1] and at_once
        model = random_model(name, args, True)
        cfg = build(Config, {
            "device": args.device, "precision": "bfloat16", "update": {"micro_batch": at_once},
            "rollout": {"group_size": G, "max_new_tokens": new}, "data": {"heldout_size": 1},
        })  # fmt: skip
        ours = Ours(model, model, cfg, stop_ids=[])
        group = sample(model, G, P, new, False)
        if args.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        seconds = timed_after_warming(partial(ours.update, group), args)
        n = sum(p.numel() for p in model.parameters())
        parts = memory.predict(model.config, n, cfg, P)
        peak = torch.cuda.max_memory_allocated() if args.device != "cpu" else None
        work = 6 * n * G * (P + new)  # of whole rows, forward and backward
        yield {
            "model": name, "G": G, "prompt": P, "new": new, "rows at once": at_once or G,
            "seconds": seconds, "share of the matrix rate": work / seconds / machine["flops"],
            "peak, GB": peak and peak / 1e9, "predicted, GB": sum(parts.values()) / 1e9,
        }  # fmt: skip
        del model, ours, group
        clear(args)


def steps(args: argparse.Namespace) -> Iterator[dict]:
    """Time whole training steps with long responses, in both ways of decoding."""
    for name, *wanted in STEPS:
        G, P, new = sizes(args, *wanted)
        model = random_model(name, args, True)
        cfg = build(Config, {
            "precision": "bfloat16", "update": {"micro_batch": 4, "recompute": True},
            "rollout": {"group_size": G, "max_new_tokens": new},
        })  # fmt: skip
        model.recompute = True
        ours = Ours(model, model, cfg, stop_ids=[])
        row = {"model": name, "G": G, "prompt": P, "new": new}
        for graph in (False, True):
            group = sample(model, G, P, new, graph)
            again = partial(sample, model, G, P, new, graph)
            row["graph" if graph else "eager"] = timed(again, args.device)
        row["update"] = timed(partial(ours.update, group), args.device)
        yield row
        del model, ours, group
        clear(args)


def job(args: argparse.Namespace) -> Iterator[dict]:
    """Time the default job's rollouts, updates and evaluations, in both ways of decoding."""
    n = 6 if args.tiny else 60
    for graph in ("false", "true"):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            run(args, out, [f"steps={n}", f"rollout.graph={graph}", "responses=false"])
            summary = json.loads((out / "summary.json").read_text())
            yield {"graph": graph, "steps": len(read_steps(out)), **summary["seconds"]}


# --------------------------------------------------------------------------- the command


def timed_after_warming(function: Callable, args: argparse.Namespace) -> float:
    """Return the median seconds of a few calls, after one that nobody counts."""
    function()
    return statistics.median(timed(function, args.device) for _ in range(1 if args.tiny else 3))


def clear(args: argparse.Namespace) -> None:
    """Give back the memory of what has been measured."""
    gc.collect()
    if args.device != "cpu":
        torch.cuda.empty_cache()


def said(row: dict) -> str:
    """Return a row for the terminal, numbers with three digits."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the parts; the exit code is 1 where something did not agree."""
    parser = Parser(prog="gpu.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--device", default="cuda", help="[cuda]")
    add("--tiny", action="store_true", help="toy sizes, to try the tool")
    add("--parts", nargs="+", default=["agreement", "decoding", "update", "steps", "job"],
        choices=["agreement", "decoding", "update", "steps", "job"], help="[all]")  # fmt: skip
    add("--out", type=file_to_write, metavar="FILE", help="write the numbers to this JSON file")
    args = parser.parse_args(argv)
    pick_device(args.device)
    torch.set_num_threads(1)
    machine = hardware(args.device, torch.bfloat16 if args.device != "cpu" else torch.float32)
    found = {"machine": {**machine, "torch": torch.__version__}}
    print(f"machine: {said(found['machine'])}", flush=True)
    parts = {
        "agreement": partial(agreement, args), "decoding": partial(decoding, args, machine),
        "update": partial(update, args, machine), "steps": partial(steps, args),
        "job": partial(job, args),
    }  # fmt: skip
    for part in args.parts:
        found[part] = []
        for row in parts[part]():
            found[part].append(row)
            print(f"{part}: {said(row)}", flush=True)
            if args.out:
                args.out.write_text(json.dumps(found, indent=2) + "\n")
    claims = ("tokens the same", "resumed run bitwise the same")
    agreed = [row.get(claim) for row in found.get("agreement", []) for claim in claims]
    return 1 if False in agreed else 0


if __name__ == "__main__":
    sys.exit(main())
