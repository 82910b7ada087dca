"""Peak memory of one update: log-probabilities a few positions at a time, or all logits at once.

python experiments/bench_memory.py [--vocab 150000] [--out FILE]

Each cell is a process of its own: what the resident memory grows to during one `update_policy` of a
small model with a real vocabulary.  "naive" replaces `token_logprobs` by the three lines that most
code has, on the same tensors.  The last column is what `memory.py` predicts for the first way.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))

import memory
import train
from config import Config, build
from model import Transformer
from rollout import Group

SHAPE = {
    "model_type": "qwen2", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
PROMPT = 16
SIZES = [(4, 256), (8, 256), (8, 512)]  # (G, response tokens)


def naive_logprobs(model, tokens, prompt_len, temperature):
    """log pi of the response tokens by way of the whole (G, T, V) tensor."""
    logits = model(tokens[:, :-1])[:, prompt_len - 1 :] / temperature  # (G, L, V)
    return logits.log_softmax(-1).gather(2, tokens[:, prompt_len:, None])[..., 0]  # (G, L)


def grown(way: str, vocab: int, G: int, L: int) -> dict:
    """Bytes by which one update raises the resident memory, and the prediction."""
    torch.set_num_threads(1)
    model = Transformer({**SHAPE, "vocab_size": vocab})
    cfg = build(Config, {"eval_batch": 1, "rollout": {"group_size": G, "max_new_tokens": L}})
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    tokens = torch.randint(0, vocab, (G, PROMPT + L))
    group = Group(tokens, PROMPT, torch.full((G,), L), torch.zeros(G, L), torch.ones(G).bool())
    if way == "naive":
        train.token_logprobs = naive_logprobs
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    advantages = torch.tensor([1.0, -1.0]).repeat(G // 2)
    train.update_policy(model, None, optimizer, [group], [advantages], cfg.update, cfg.rollout)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    n = sum(p.numel() for p in model.parameters())
    predicted = memory.predict(model.config, n, cfg, PROMPT)
    return {"grown": peak - before, "predicted": sum(predicted.values()) - predicted["weights"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocab", type=int, default=150_000, help="V [150000]")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(json.dumps(grown(args.cell[0], args.vocab, *map(int, args.cell[1:]))))
        return
    rows = []
    for G, L in tqdm(SIZES, desc="sizes"):
        row = {"G": G, "L": L, "logits": 4 * G * L * args.vocab}
        for way in ("chunks", "naive"):
            command = [sys.executable, __file__, "--vocab", str(args.vocab)]
            done = subprocess.run(
                [*command, "--cell", way, str(G), str(L)], check=True, capture_output=True
            )
            row[way] = json.loads(done.stdout)
        rows.append(row)
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
    main()
