"""Peak memory of one update: log-probabilities a few positions at a time, or all logits at once.

    python tools/bench_memory.py [--vocab 150000] [--out FILE]

It measures by how much the resident memory grows during one `update_policy` of a small model with a
real vocabulary, each size in a process of its own.  "Chunks" is what `grpo.token_logprobs` does.
"Naive" replaces that function by the two lines that most code has, on the same tensors.

How to read it: one row per size, in GB.  "G*L*V float32" is the size of all logits of the
responses, "ratio" is naive over chunks, "predicted" is what `plumbing/memory.py` says of chunks.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import project  # noqa: F401 (puts the project on the path)
import torch
from tqdm import tqdm

import grpo
from model import Transformer
from plumbing import memory
from plumbing.command import Parser, command, file_to_write, whole_number
from plumbing.config import Config, RolloutConfig
from rollout import Group

SHAPE = {
    "model_type": "qwen2", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
PROMPT = 16  # tokens
SIZES = [(4, 256), (8, 256), (8, 512)]  # (G, response tokens)


def naive_logprobs(model, tokens, prompt_len, temperature):
    """Return log pi of the response tokens by way of the whole (G, T, V) tensor."""
    logits = model(tokens[:, :-1])[:, prompt_len - 1 :] / temperature  # (G, L, V)
    return logits.log_softmax(-1).gather(2, tokens[:, prompt_len:, None])[..., 0]  # (G, L)


def grown(way: str, vocab: int, G: int, L: int) -> dict:
    """Return the bytes by which one update raises the resident memory, and the prediction."""
    torch.set_num_threads(1)
    model = Transformer({**SHAPE, "vocab_size": vocab})
    cfg = Config(eval_batch=1, rollout=RolloutConfig(group_size=G, max_new_tokens=L))
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    tokens = torch.randint(0, vocab, (G, PROMPT + L))
    group = Group(tokens, PROMPT, torch.full((G,), L), torch.zeros(G, L), torch.ones(G).bool())
    advantages = torch.tensor([1.0, -1.0]).repeat(G // 2)
    if way == "naive":
        grpo.token_logprobs = naive_logprobs
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    grpo.update_policy(model, optimizer, [group], [advantages], cfg)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    n = sum(p.numel() for p in model.parameters())
    predicted = memory.predict(model.config, n, cfg, PROMPT)
    return {"grown": peak - before, "predicted": sum(predicted.values()) - predicted["weights"]}


def in_own_process(way: str, vocab: int, G: int, L: int) -> dict:
    """Return what `grown` returns in a process that has done nothing else."""
    words = [sys.executable, __file__, "--vocab", str(vocab), "--cell", way, str(G), str(L)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure both ways at every size."""
    parser = Parser(prog="bench_memory.py", description=__doc__.split("\n")[0])
    parser.add_argument("--vocab", type=whole_number(2), default=150_000, help="V [150000]")
    parser.add_argument("--out", type=file_to_write, metavar="FILE",
                        help="write the numbers to this JSON file")  # fmt: skip
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)  # one size, in its own process
    args = parser.parse_args(argv)
    if args.cell:
        way, G, L = args.cell
        print(json.dumps(grown(way, args.vocab, int(G), int(L))))
        return
    rows = []
    for G, L in tqdm(SIZES, desc="sizes"):
        ways = {way: in_own_process(way, args.vocab, G, L) for way in ("chunks", "naive")}
        rows.append({"G": G, "L": L, "logits": 4 * G * L * args.vocab, **ways})
    print(f"V = {args.vocab:,}; GB by which one update raises the memory of the process")
    print("   G     L  G*L*V float32   chunks   naive   ratio   predicted")
    for r in rows:
        chunks, naive = r["chunks"]["grown"], r["naive"]["grown"]
        print(
            f"{r['G']:4} {r['L']:5} {r['logits'] / 1e9:14.2f} {chunks / 1e9:8.2f} "
            f"{naive / 1e9:7.2f} {naive / chunks:7.1f} {r['chunks']['predicted'] / 1e9:11.2f}"
        )
    if args.out:
        args.out.write_text(json.dumps({"vocab": args.vocab, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
