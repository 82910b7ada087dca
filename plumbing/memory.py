"""Where the memory of a run goes, predicted before its first step, and AdamW with less of it.

What it teaches: why a model that answers questions in 3 GB takes 30 GB to train.  Of n weights in
float32 training has four copies (the weights, their gradients, the two moments of AdamW), which are
16n bytes.  To these come, one after the other and never together:

    sampling     the keys and values of the prompt, stored once, and of G responses, in float32
                 (on CUDA in `precision`), of a full batch for `rollout.at_once` rows at a time; the
                 weights once more, laid out for decoding (`decode.py`)
    the update   what each layer keeps of the prompt and of every response token:
                     norms 4C, attention 5HD, SwiGLU 4M   (`kept_for_backward`)

but not the (G, T, V) logits, which alone would be 15 GB for G = 8, T = 3,072 and V = 150,000:
`grpo.token_logprobs` makes them for a few positions at a time.  Weights that are frozen under
adapters (`lora.py`) are there once while training, in `precision`: 2n bytes in bfloat16.

Where it stands: `train.py` prints the prediction before the first step.  It is an estimate for the
longest prompt with the longest response; allocators and libraries take some more.

Try changing first: what saves memory in `configs/qwen2.5-math-1.5b.json`.  Beside the prediction
(prompts of 256 tokens) stands how long an update took, with 135M weights on one CPU core, G = 8 and
64 + 64 tokens:

    update.micro_batch=8, update.recompute=false     120 GB    6.9 s
    update.micro_batch=8, update.recompute=true       41 GB    7.8 s
    update.micro_batch=1, update.recompute=false      45 GB   14.0 s
    update.micro_batch=1, update.recompute=true       40 GB   17.7 s   now sampling needs the most
    and update.offload=true                           28 GB   (on a GPU only; not timed)
"""

import torch

from model import ModelConfig
from plumbing.config import Config
from plumbing.device import kind

# Entries of the (G, chunk, V) tensors of logits in the loss, of 64 MB each in float32.  A chunk is
# at least one position, so where G * V is larger than this, so are they.
LOGITS_AT_ONCE = 2**24
# A token of a whole row costs a GPU as much less than one that shares its prompt: 24 microseconds
# against 58 (1.5B, G = 8, P = 256, L = 1,024, bfloat16, one NVIDIA H200, torch 2.11).
WHOLE_ROWS_GAIN = 2.4


def reads_rows_whole(device: str, rows: int, prompt: int, new: int) -> bool:
    """Return whether the loss reads each row whole, and not the prompt once for all rows.

    `prompt` and `new` are tokens per row.  A shared prompt means fewer tokens, but its rows need a
    mask, and the attention that is fastest on GPUs takes none.
    """
    return device == "cuda" and rows * (prompt + new) <= WHOLE_ROWS_GAIN * (prompt + rows * new)


def predict(
    model: ModelConfig, n_weights: int, cfg: Config, longest_prompt: int, processes: int = 1,
    n_learned: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return the bytes on one device at the peak of a run, by part.

    `longest_prompt` is in tokens; `processes` is how many share each group and, with `shard`, the
    weights.  Of the `n_weights` only `n_learned` are trained where there are adapters.
    """
    n_learned = n_weights if n_learned is None else n_learned
    all_weights = 4 * n_learned + _width(cfg) * (n_weights - n_learned)
    shards = processes if cfg.shard else 1
    rows = cfg.rollout.group_size // processes
    offloaded = cfg.update.offload and kind(cfg.device) != "cpu"
    moments = 0.0 if offloaded else 2 * 4 * n_learned / shards
    always = {"weights": all_weights / shards, "AdamW": moments}
    if cfg.update.kl_coef > 0 and n_learned == n_weights:  # under adapters it is there already
        always["reference"] = all_weights / shards
    unsharded = all_weights if shards > 1 else 0  # the whole model, put together for sampling
    sampling = {"sampling": unsharded + _sampling(model, n_weights, cfg, longest_prompt, rows)}
    update = {
        "gradients": 4 * n_learned / shards,
        "activations": _activations(model, n_learned, cfg, longest_prompt, rows),
    }
    return always | max(sampling, update, key=lambda parts: sum(parts.values()))


def _sampling(
    model: ModelConfig, n_weights: int, cfg: Config, longest_prompt: int, rows: int
) -> int:
    """Return the bytes of a rollout of so many rows, or of an evaluation where that takes more."""
    new, together = cfg.rollout.max_new_tokens, 1  # prompts that are continued together
    if cfg.selector.name == "full_batch":
        together = min(cfg.selector.candidates, max(1, cfg.rollout.at_once // rows))
    rows *= together
    width = _width(cfg) if kind(cfg.device) == "cuda" else 4  # of a number in the cache
    per_token = 2 * model.n_layers * model.n_kv_heads * model.head_dim * width
    distribution = 4 * 3 * model.vocab_size  # of one row: logits, scaled logits and log p
    cdf = 8 * 2 * model.vocab_size  # in float64, to draw from; an evaluation draws nothing
    cached = together * longest_prompt + rows * new  # tokens
    if together > 1:  # as soon as half of the rows have left, each has a copy of its prompt
        cached = max(cached, rows // 2 * (longest_prompt + new))
    rollout = cached * per_token + rows * (distribution + cdf)
    evaluated = min(cfg.eval_batch, cfg.data.heldout_size or cfg.eval_batch)
    evaluation = evaluated * ((longest_prompt + new) * per_token + distribution)
    fused = _width(cfg) * n_weights  # what `decode.py` makes of the weights
    return fused + max(rollout, evaluation)


def _activations(
    model: ModelConfig, n_learned: int, cfg: Config, longest_prompt: int, rows: int
) -> int:
    """Return the bytes that one backward pass needs beside weights and gradients."""
    low = cfg.precision == "bfloat16"
    rows = min(cfg.update.micro_batch or rows, rows)
    sampled = rows * cfg.rollout.max_new_tokens
    if reads_rows_whole(kind(cfg.device), rows, longest_prompt, cfg.rollout.max_new_tokens):
        tokens, prompt_keys = rows * longest_prompt + sampled, 0
    else:
        tokens = longest_prompt + sampled  # the prompt is computed once for all rows
        # but its keys and values are copied for every row
        prompt_keys = 2 * rows * longest_prompt * model.n_kv_heads * model.head_dim * _width(cfg)
    one_layer = tokens * kept_for_backward(model, low) + prompt_keys
    layers = model.n_layers * one_layer
    if cfg.update.recompute:  # the input of every layer, and all of the one at work
        layers = model.n_layers * tokens * 4 * model.hidden_size + one_layer
    chunk = max(LOGITS_AT_ONCE, rows * model.vocab_size)
    logits = 4 * 4 * min(chunk, sampled * model.vocab_size)  # four such tensors at a time
    lowered = 2 * n_learned if low else 0  # autocast keeps a copy of these while it is on
    return layers + logits + lowered


def _width(cfg: Config) -> int:
    """Return the bytes of one number within the model."""
    return 2 if cfg.precision == "bfloat16" else 4


def kept_for_backward(model: ModelConfig, low_precision: bool) -> int:
    """Return the bytes that autograd keeps of one token in one layer."""
    C, M, D = model.hidden_size, model.mlp_size, model.head_dim
    H, K = model.n_heads, model.n_kv_heads
    # the input and output of both norms, and of those of queries and keys: always float32
    norms = 2 * 8 * C + (8 * (H + K) * D if model.qk_norm else 0)
    if not low_precision:
        attention = 4 * 5 * H * D  # q, k and v for every head, the result, the result in rows
        return norms + attention + 4 * 4 * M  # gate, silu(gate), up, their product
    inputs = 5 * 2 * C  # of the projections q, k, v, gate and up, each lowered by itself
    attention = 2 * 2 * (H + K) * D
    return norms + inputs + attention + 2 * 4 * M


def describe(parts: dict[str, float]) -> str:
    """Return one line for people: the sum, and each part that is not 0."""
    total = sum(parts.values())
    unit, size = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6)
    named = ", ".join(f"{name} {part / size:.2g}" for name, part in parts.items() if part)
    return f"about {total / size:.2g} {unit} at the peak: {named}"


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW whose two moments stay in CPU memory and visit the device one weight at a time.

    It takes 8 bytes less per weight on a GPU, and computes the same bits.
    """

    def step(self) -> None:
        """Update the weights one after the other, each as AdamW would."""
        (group,) = self.param_groups
        every = group["params"]
        for parameter in every:
            group["params"] = [parameter]  # so that the step below is of this weight alone
            self._move_moments(parameter, parameter.device)
            super().step()
            self._move_moments(parameter, "cpu")
        group["params"] = every

    def _move_moments(self, parameter: torch.Tensor, device: str | torch.device) -> None:
        """Move the moments of one weight, but not its count of steps."""
        moments = self.state[parameter]
        moments.update({n: m.to(device) for n, m in moments.items() if n != "step"})
