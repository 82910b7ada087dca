"""Everything that is worth knowing about a GPU, in one command: is it right, and how fast?

    python tools/gpu.py --out gpu.json                  about six minutes on one GPU, no network
    python tools/gpu.py --out gpu.json --parts job --job-seeds 20       the default job, 20 seeds
    python tools/gpu.py --device cpu --tiny             the same at toy sizes, to try the tool

It has these parts, each of which prints its rows as they come and adds them to the file:

    machine      the bytes that are read and the operations of a matrix product, per second
    agreement    do steps in a CUDA graph say the tokens of the same steps one by one?  how far are
                 compiled ones, and those that grow?  does the ratio begin at 1?  is a resumed run
                 bitwise the same?
    decoding     milliseconds per token of all rows, beside both caches of transformers and the
                 floor
    update       seconds, eager and compiled, the share of the matrix rate, the peak of memory
                 beside its prediction, a plain update of transformers
    full_batch   all problems of a full batch together, against one after the other
    group_size   seconds of a rollout of 8 to 128 responses to one problem
    job          small.json: seconds of rollouts, updates and evaluations
    steps        whole training steps with long responses

Ways of decoding: "growing" is `rollout.graph=off`, "static" the steps of a graph one operation at a
time, "graph" `rollout.graph=on`, "compiled" with `compile=on` too.  A graph must say the tokens of
"static" to the last one: the operations are the same.  If it does not, or if anything fails, the
exit code is 1.  Other ways round differently, in bfloat16 visibly so: of these the share of equal
tokens is printed.  "a step" is the time of one more token of all rows without what comes before:
prompt, layout of the weights, capture of the graph.  The floor is the time to read the weights and
the cache once.  Models are random weights in the shapes of `bench.SHAPES`.
"""

import argparse
import contextlib
import gc
import io
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from unittest.mock import patch

import torch
from bench import SHAPES, Ours, Plain, floor, hardware, timed
from project import ROOT
from transformers import AutoConfig, AutoModelForCausalLM

import graphs
import train
from grpo import update_policy
from model import KVCache, Transformer
from plumbing import memory
from plumbing.command import Parser, command, file_to_write, whole_number
from plumbing.config import Config, build
from plumbing.device import pick_device
from plumbing.record import read_steps
from rollout import Group, generate, generate_groups

# shape, bfloat16 or not, whether sampled and greedy ones are compared beside those with stops
AGREEMENT = (
    ("135m", False, True), ("135m", True, False), ("0.6b", True, False), ("1.5b", True, True),
)  # fmt: skip
# shape, rows, prompt tokens, new tokens, whether transformers is timed too
DECODING = (("135m", 64, 64, 128, True), ("1.5b", 16, 256, 256, True), ("0.6b", 8, 128, 128, False))
UPDATES = (("1.5b", 8, 256, 1024, 4), ("135m", 64, 64, 256, 0))  # and rows at once
STEPS = (("1.5b", 8, 128, 1024), ("135m", 8, 128, 3072))
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 300,
        "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
WAYS = {
    "growing": {}, "static": {"graph": True}, "graph": {"graph": True},
    "compiled": {"graph": True, "compiled": True},
}  # fmt: skip


def shape_of(name: str, tiny: bool) -> dict:
    """Return the sizes of a model, or toy sizes of the same kind."""
    small = {**TINY, **({"head_dim": 16} if "head_dim" in SHAPES[name] else {})}
    return {**SHAPES[name], **(small if tiny else {})}


def random_model(name: str, args: argparse.Namespace, low: bool) -> Transformer:
    """Return a model of random weights on the device, in float32 or with bfloat16 products."""
    torch.manual_seed(0)
    with torch.device(args.device):
        model = Transformer(shape_of(name, args.tiny))
    model = model.to(args.device)  # also what was made on the CPU whatever the device
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    model.low_precision = torch.bfloat16 if low else None
    return model


def their_model(name: str, args: argparse.Namespace) -> torch.nn.Module:
    """Return a model of transformers in the same shape, with random weights in bfloat16."""
    shape = shape_of(name, args.tiny)
    config = AutoConfig.for_model(**{k: v for k, v in shape.items() if k != "architectures"})
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(config)
    return model.to(args.device, torch.bfloat16).eval()


def sizes(args: argparse.Namespace, *numbers: int) -> list[int]:
    """Return numbers of rows and tokens, or a sixteenth of each."""
    return [max(2, n // 16) if args.tiny else n for n in numbers]


def step_by_step(step: Callable, device: torch.device) -> Callable:
    """Stand in for `graphs.begin`: the same steps, one operation at a time."""
    step()
    return step


def sample(model: Transformer, G: int, P: int, new: int, way: str, **how) -> Group:
    """Sample a group in one of the ways; the stop tokens end a row, if `how` names any."""
    how = {"stop_ids": [], "temperature": 1.0, **how, **WAYS[way]}
    begin = step_by_step if way == "static" else graphs.begin
    with patch.object(graphs, "begin", begin):
        return generate(
            model, [4 + i % 100 for i in range(P)], G, max_new_tokens=new,
            generator=torch.Generator(model.device).manual_seed(0), **how,
        )  # fmt: skip


# --------------------------------------------------------------------------- is it right?


def agreement(args: argparse.Namespace) -> Iterator[dict]:
    """Compare the ways of decoding, the ratio with 1, a resumed run with a whole one."""
    for name, low, all_three in AGREEMENT:
        model = random_model(name, args, low)
        G, P, new = sizes(args, 32, 32, 136)  # two graphs, and with stops a third of fewer rows
        stops = list(range(0, model.config.vocab_size, 40))
        for how in ({"stop_ids": stops}, {}, {"temperature": 0.0})[: 3 if all_three else 1]:
            static = sample(model, G, P, new, "static", **how)
            row = {"model": name, "bfloat16": low}
            row["how"] = "greedy" if "temperature" in how else "with stops" if how else "sampled"
            for way in ("graph", "compiled", *(("growing",) if "stop_ids" in how else ())):
                row |= differences(way, sample(model, G, P, new, way, **how), static)
            yield row
        yield {"model": name, "bfloat16": low, **ratio(model, static)}
        if not low:
            yield {"model": name, "bfloat16": low, **together_and_alone(model, args)}
        del model, static
        clear(args)
    yield {"resumed run bitwise the same": resumes(args)}


def differences(way: str, group: Group, static: Group) -> dict:
    """Return how a group differs from that of static steps; log-probs where tokens are equal."""
    L = min(group.logprobs.shape[1], static.logprobs.shape[1])
    P = static.prompt_len
    same = group.tokens[:, P : P + L] == static.tokens[:, P : P + L]  # (G, L)
    so_far = same.long().cumprod(dim=1)  # (G, L): 1 up to the first difference
    gap = (group.logprobs[:, :L] - static.logprobs[:, :L]).abs() * so_far
    equal = group.tokens.shape == static.tokens.shape and bool(same.all())
    first = {"graph: tokens the same": equal} if way == "graph" else {}
    return {
        **first, f"{way}: share of tokens": float(so_far.float().mean()),
        f"{way}: log-probs differ by": float(gap.max()),
    }  # fmt: skip


def together_and_alone(model: Transformer, args: argparse.Namespace) -> dict:
    """Return the share of tokens of a full batch that are those of one problem after the other."""
    M, G, new = sizes(args, 16, 16, 64)
    ways = [full_batch_of(model, M, G, new, at_once, args) for at_once in (M * G, 1)]
    pairs = list(zip(*ways, strict=True))
    same = [bool(torch.equal(one.tokens, other.tokens)) for one, other in pairs]
    return {"full batch": f"{M} x {G}", "groups the same": statistics.mean(same)}


def full_batch_of(
    model: Transformer, M: int, G: int, new: int, at_once: int, args: argparse.Namespace
) -> list[Group]:
    """Sample the groups of M problems whose prompts have 1 to 64 tokens, or a few."""
    prompts = [[4 + i % 100] * (1 + 4 * i % (8 if args.tiny else 64)) for i in range(M)]
    return generate_groups(
        model, prompts, G, max_new_tokens=new, stop_ids=[], at_once=at_once, graph=True,
        generator=torch.Generator(model.device).manual_seed(0),
    )  # fmt: skip


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
                run(args, out, [*SHORT, f"steps={n}", "update.decay=false"], resume=part > 0)
            weights.append((out / "model" / "model.safetensors").read_bytes())
    return weights[0] == weights[1]


SHORT = ["eval_every=100000", "data.heldout_size=20"]


def run(args: argparse.Namespace, out: Path, sets: list[str], resume: bool = False) -> None:
    """Train `small.json` on the device, without its words on the terminal."""
    words = ["--config", str(ROOT / "small.json"), "--out", str(out)]
    words += [word for key in (f"device={args.device}", *sets) for word in ("--set", key)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = train.main(words + ["--resume"] * resume)
    if status:
        raise RuntimeError(said.getvalue()[-500:])


# --------------------------------------------------------------------------- how fast is it?


def decoding(args: argparse.Namespace, machine: dict) -> Iterator[dict]:
    """Time one more token of all rows: ours in each way, both caches of transformers, the floor."""
    for name, *wanted, _ in DECODING:
        G, P, new = sizes(args, *wanted)
        model = random_model(name, args, True)
        row = {"model": name, "G": G, "prompt": P, "new": new}
        row["floor, ms"] = 1e3 * floor(model, G, P + new // 2, machine)
        row["layout of weights, ms"] = 1e3 * layout(model, G, P, new, args)
        # the likeliest first token, which all rows share; as a stop it ends them at once
        likeliest = int(sample(model, G, P, 1, "growing", temperature=0.0).tokens[0, -1])
        for way in ("growing", "graph", "compiled"):
            whole = partial(sample, model, G, P, new, way)
            # what a rollout costs before its second step
            first = partial(sample, model, G, P, new, way, temperature=0.0, stop_ids=[likeliest])
            row[f"{way}, first call, s"] = timed(whole, args.device)
            seconds = usual(whole, args)
            row[f"{way}, ms a token"] = 1e3 * seconds / new
            row[f"{way}, tokens a second"] = G * new / seconds
            row[f"{way}, a step, ms"] = 1e3 * (seconds - usual(first, args)) / (new - 1)
        row["share of the floor"] = row["floor, ms"] / row["compiled, a step, ms"]
        yield row
        del model, whole, first
        clear(args)
    for name, *wanted, beside in DECODING:  # last: if these fail, ours have been measured
        if beside:
            G, P, new = sizes(args, *wanted)
            row = {"model": name, "G": G, "prompt": P, "new": new}
            cfg = build(Config, {"rollout": {"group_size": G, "max_new_tokens": new}})
            theirs = their_model(name, args)
            plain, prompt = Plain(theirs, theirs, cfg, eos=None), [4 + i % 100 for i in range(P)]
            for cache, how in (("dynamic", {}), ("static", {"cache_implementation": "static"})):
                ask = partial(plain.sample, prompt, **how)
                row[f"transformers {cache}, first call, s"] = timed(ask, args.device)
                row[f"transformers {cache}, ms a token"] = 1e3 * usual(ask, args) / new
            yield row
            del theirs, plain, ask
            clear(args)


def layout(model: Transformer, G: int, P: int, new: int, args: argparse.Namespace) -> float:
    """Return the seconds in which a rollout lays out the weights, anew each time."""
    with torch.no_grad(), model.autocast():
        cache = KVCache()
        model(torch.zeros(1, P, dtype=torch.long, device=args.device), cache, last_only=True)
        return usual(partial(graphs.Static, model, cache, G, new), args)


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
        group = sample(model, G, P, new, "graph")
        n = sum(p.numel() for p in model.parameters())
        work = 6 * n * G * (P + new)  # of whole rows, forward and backward
        row = {"model": name, "G": G, "prompt": P, "new": new, "rows at once": at_once or G}
        for way in ("eager", "compiled"):
            if args.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            model.compiled = graphs.compiled_block(model) if way == "compiled" else None
            learn = partial(ours.update, group)
            learn()
            row[f"{way}, first call, s"] = time.perf_counter() - start
            seconds = usual(learn, args)
            row[f"{way}, s"] = seconds
            still = torch.optim.SGD(model.parameters(), lr=0.0)
            stats = update_policy(model, still, [group], [ours.advantages], cfg)
            row[f"{way}, gradient norm"] = stats["grad_norm"]
            row[f"{way}, share of the matrix rate"] = work / seconds / machine["flops"]
            peak = torch.cuda.max_memory_allocated() if args.device != "cpu" else None
            row[f"{way}, peak, GB"] = peak and peak / 1e9
        row["predicted, GB"] = sum(memory.predict(model.config, n, cfg, P).values()) / 1e9
        yield row
        if not at_once:  # all logits of all rows at once must fit
            theirs = their_model(name, args)
            plain = Plain(theirs, theirs, cfg, eos=None)
            learn = partial(plain.update, group.tokens, P)
            learn()
            yield {"model": name, "transformers, s": usual(learn, args)}
            del theirs, plain
        del model, ours, group, learn
        clear(args)


def steps(args: argparse.Namespace) -> Iterator[dict]:
    """Time whole training steps with long responses: the rollout, then the update."""
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
        for way in ("graph", "compiled"):
            whole = partial(sample, model, G, P, new, way)
            if way == "compiled":
                row["compiled, first call, s"] = timed(whole, args.device)
            kept: list[Group] = []
            seconds = timed(lambda whole=whole, kept=kept: kept.append(whole()), args.device)
            row[f"{way}, s"], row[f"{way}, tokens a second"] = seconds, G * new / seconds
        (group,) = kept
        for way in ("eager", "compiled"):
            model.compiled = graphs.compiled_block(model) if way == "compiled" else None
            learn = partial(ours.update, group)
            learn()
            row[f"update {way}, s"] = timed(learn, args.device)
        yield row
        del model, ours, group, whole, learn
        clear(args)


def full_batch(args: argparse.Namespace) -> Iterator[dict]:
    """Time a full batch: its problems in batches of 128 rows, and one after the other."""
    for name in ("135m", "1.5b"):
        M, G, new = sizes(args, 16, 8, 128)
        model = random_model(name, args, True)
        row = {"model": name, "problems": M, "G": G, "new": new}
        for way, at_once in (("together", 128), ("one after the other", 1)):
            ask = partial(full_batch_of, model, M, G, new, at_once, args)
            row[f"{way}, s"] = timed(ask, args.device)
        yield row
        del model, ask
        clear(args)


def group_size(args: argparse.Namespace) -> Iterator[dict]:
    """Time rollouts of more and more responses to one problem: rollouts are not seconds."""
    P, new = sizes(args, 128, 128)
    model = random_model("1.5b", args, True)
    for G in (8, 16, 32, 64, 128):
        row = {"model": "1.5b", "G": G, "prompt": P, "new": new}
        row["s"] = usual(partial(sample, model, G, P, new, "graph"), args, warm=True)
        yield {**row, "ms a response": 1e3 * row["s"] / G}
    clear(args)


def job(args: argparse.Namespace) -> Iterator[dict]:
    """Time some steps of the default job in two ways, or the whole of it for some seeds."""
    n = 6 if args.tiny else 20
    short = [*SHORT, f"steps={n}", "responses=false"]
    jobs = [{"graph": graph, "sets": [*short, f"rollout.graph={graph}"]} for graph in ("off", "on")]
    whole = short if args.tiny else []
    jobs += [{"seed": seed, "sets": [*whole, f"seed={seed}"]} for seed in range(args.job_seeds)]
    for each in jobs:
        with tempfile.TemporaryDirectory() as folder:
            out, sets = Path(folder) / "run", each.pop("sets")
            run(args, out, sets)
            found = json.loads((out / "summary.json").read_text())
            each |= {"steps": len(read_steps(out)), "accuracy_after": found["accuracy_after"]}
            yield {**each, **found["seconds"]}


# --------------------------------------------------------------------------- the command


def usual(function: Callable, args: argparse.Namespace, warm: bool = False) -> float:
    """Return the median seconds of two calls, after one that nobody counts where it is `warm`."""
    if warm:
        function()
    return statistics.median(timed(function, args.device) for _ in range(1 if args.tiny else 2))


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


PARTS = ("agreement", "decoding", "update", "full_batch", "group_size", "job", "steps")


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments; `UserError` where the machine lacks the device."""
    parser = Parser(prog="gpu.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--device", default="cuda", help="[cuda]")
    add("--tiny", action="store_true", help="toy sizes, to try the tool")
    add("--parts", nargs="+", default=PARTS, choices=PARTS, help="[all]")
    add("--minutes", type=float, default=5.5, help="no row is begun after so many [5.5]")
    add("--job-seeds", type=whole_number(0), default=0, metavar="N",
        help="the whole default job too, with N seeds, however long that takes [0]")  # fmt: skip
    add("--out", type=file_to_write, metavar="FILE", help="write the numbers to this JSON file")
    args = parser.parse_args(argv)
    pick_device(args.device)
    return args


def parts(args: argparse.Namespace, machine: dict) -> dict[str, Iterator[dict]]:
    """Return the rows of each part; nothing is measured before a row is asked for."""
    made = {
        "agreement": agreement(args), "decoding": decoding(args, machine),
        "update": update(args, machine), "steps": steps(args), "full_batch": full_batch(args),
        "group_size": group_size(args), "job": job(args),
    }  # fmt: skip
    return {part: made[part] for part in args.parts}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the parts; the exit code is 1 where something did not agree."""
    args, start = read_arguments(argv), time.monotonic()
    torch.set_num_threads(1)
    if args.tiny:  # so that the tests need no compiler, and little time
        graphs.COMPILER = {"backend": "eager"}
    machine = hardware(args.device, torch.bfloat16 if args.device != "cpu" else torch.float32)
    found = {"machine": {**machine, "torch": torch.__version__}}
    print(f"machine: {said(found['machine'])}", flush=True)
    for part, rows in parts(args, machine).items():
        found[part] = []
        while True:
            minutes = (time.monotonic() - start) / 60
            if minutes > args.minutes and not (part == "job" and args.job_seeds):
                print(f"{part}: no further row after {minutes:.1f} minutes (--minutes)", flush=True)
                break
            try:
                row = next(rows, None)
            except Exception as error:  # what the other parts find is worth knowing all the same
                traceback.print_exc()
                row = {"failed": f"{type(error).__name__}: {error}"}
            if row is None:
                break
            found[part].append(row)
            print(f"{part}: {said(row)}", flush=True)
            if args.out:
                args.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes in all")
    return 0 if all(map(as_it_should_be, chain(*(found[part] for part in args.parts)))) else 1


def as_it_should_be(row: dict) -> bool:
    """Say whether what was tried went well, and what must be the same is no different."""
    same = row.get("graph: tokens the same", True) and row.get("resumed run bitwise the same", True)
    return same and row.get("clip_fraction", 0) == 0 and "failed" not in row


if __name__ == "__main__":
    sys.exit(main())
