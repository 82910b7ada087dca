"""Where the memory of a run goes, predicted before the first step.

What it teaches: why a model that answers questions in 3 GB is trained in 30.  Of n weights in
float32 there are four copies (the weights, their gradients, AdamW's two moments): 16n bytes.  To
these come, one after the other and not together:

    sampling     the keys and values of the prompt, once, and of G responses, in float32;
                 the weights once more, laid out for decoding (`decode.py`)
    the update   what each layer keeps of the prompt and of each response token:
                     norms 4C, attention 5HD, SwiGLU 4M   (`kept_for_backward`)

but not the (G, T, V) logits, which alone would be 15 GB for G = 8, T = 3,072 and V = 150,000:
`train.token_logprobs` makes a few positions at a time, `LOGITS_AT_ONCE`.

Where it stands: `train.py` prints the sum in its second line.  It is an estimate for the longest
prompt with the longest response; allocators and libraries take some more.

Try changing first: `update.micro_batch`, `update.recompute`, `update.offload`, `shard`, in this
order.  What does each cost in time?
"""

from config import Config
from model import ModelConfig

LOGITS_AT_ONCE = 2**24  # entries of the (G, chunk, V) tensor in the loss: 64 MB in float32


def kept_for_backward(model: ModelConfig, low_precision: bool) -> int:
    """Bytes that autograd keeps for one token in one layer."""
    C, M, D = model.hidden_size, model.mlp_size, model.head_dim
    H, K = model.n_heads, model.n_kv_heads
    norms = 2 * 8 * C + (8 * (H + K) * D if model.qk_norm else 0)  # in and out, always float32
    if not low_precision:
        attention = 4 * 5 * H * D  # queries, keys and values for every head, result, result in rows
        return norms + attention + 4 * 4 * M  # gate, silu(gate), up, their product
    inputs = 5 * 2 * C  # of the projections q, k, v, gate and up, each lowered by itself
    attention = 2 * 2 * (H + K) * D
    return norms + inputs + attention + 2 * 4 * M


def predict(
    model: ModelConfig, n_weights: int, cfg: Config, longest_prompt: int, processes: int = 1
) -> dict[str, float]:
    """Bytes on one device at the peak, by part."""
    low = cfg.precision == "bfloat16"
    shards = processes if cfg.shard else 1
    all_weights = 4 * n_weights
    rows = cfg.rollout.group_size // processes
    heads = model.n_kv_heads * model.head_dim
    width = 2 if low else 4  # bytes of a key or value
    lowered = n_weights * 2 if low else 0  # autocast keeps a copy of the weights while it is on

    new = cfg.rollout.max_new_tokens
    a_token = 2 * model.n_layers * heads * 4  # of the cache
    distribution = 4 * 3 * model.vocab_size  # logits and log p
    unsharded = all_weights if shards > 1 else 0
    evaluated = min(cfg.eval_batch, cfg.data.heldout_size or cfg.eval_batch)
    sampling = width * n_weights + unsharded + max(
        longest_prompt * a_token
        + rows * (new * a_token + distribution + 8 * 2 * model.vocab_size),  # the sampler's CDF
        evaluated * ((longest_prompt + new) * a_token + distribution),
    )  # fmt: skip

    update_rows = min(cfg.update.micro_batch or rows, rows)
    sampled = update_rows * new
    tokens = longest_prompt + sampled  # the prompt is computed once for all rows
    prompt_keys = 2 * update_rows * longest_prompt * heads * width  # a copy a row
    one_layer = tokens * kept_for_backward(model, low) + prompt_keys
    layers = model.n_layers * one_layer
    if cfg.update.recompute:  # the input of every layer, and all of the one at work
        layers = model.n_layers * tokens * 4 * model.hidden_size + one_layer
    logits = 4 * 4 * min(LOGITS_AT_ONCE, sampled * model.vocab_size)
    update = {"gradients": all_weights / shards, "activations": layers + logits + lowered}

    moments = 0.0 if cfg.update.offload and cfg.device != "cpu" else 2 * all_weights / shards
    always = {"weights": all_weights / shards, "AdamW": moments}
    if cfg.update.kl_coef > 0:
        always["reference"] = all_weights / shards
    return always | max({"sampling": sampling}, update, key=lambda parts: sum(parts.values()))


def describe(parts: dict[str, float]) -> str:
    """One line for people."""
    total = sum(parts.values())
    unit, size = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6)
    named = ", ".join(f"{name} {part / size:.2g}" for name, part in parts.items() if part)
    return f"about {total / size:.2g} {unit} at the peak: {named}"
