"""The policy: one decoder-only transformer that reads Qwen2, Qwen3 and Llama checkpoints.

What it teaches: how little separates these families.  Each of them is

    embedding -> N x (RMSNorm, attention, RMSNorm, SwiGLU) -> RMSNorm -> head

and they differ in four switches (`ModelConfig`): biases on the projections, an RMSNorm on every
query and key head, the scaling of the rotary positions, and a head tied to the embedding.

Where it stands: it is pi_theta in every formula of the project.  `rollout.py` samples from it, with
`decode.py` for the tokens after the prompt; `grpo.py` differentiates its log-probabilities;
`warmup.py` pretrains the small one.

Try changing first: multiply `angles` in `Transformer.rotary` by 0, so that no token knows its
position, neither here nor in `decode.py`, which rotates by the same table.  `base/` then solves
none of its held-out problems instead of 20%.  But warm up anew without positions
(`python warmup.py --out still`, some minutes), and it is back at 20%, and `small.json` with
`--set model=still` ends at 98.5-100% on seeds 0-4, as with positions: the causal mask alone tells
much about order (arXiv 2305.19466).  Or change `num_key_value_heads` of `warmup.BASE_CONFIG`
from 2 to 1.  That halves the cache, from 1,152 bytes per token to 576; warmed up anew the model
again solves 20%, and training ends at 95.5-96.5%; with 4 heads it ends at 99.5-100%.

The modules carry the names that Hugging Face gives their weights, so that `state_dict()` is the
format of a checkpoint and no table of renames is needed.

Letters in shapes: B rows, T new tokens, S tokens in sight (cached and new), C hidden size, H query
heads, K key/value heads, D head size, M size within the MLP, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from plumbing.settings import read_settings
from plumbing.weights import EMBEDDING, find_folder, read_json, read_tensors, write_folder

KeysAndValues = tuple[Tensor, Tensor]  # of one layer, (B, K, S, D) each


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a network and the switches that separate the families.

    `plumbing.settings.read_settings` reads them from a checkpoint's `config.json`.
    """

    family: str  # "qwen2", "qwen3" or "llama"
    vocab_size: int  # V
    hidden_size: int  # C
    mlp_size: int  # M
    n_layers: int  # N
    n_heads: int  # H, a multiple of K
    n_kv_heads: int  # K
    head_dim: int  # D, even
    max_positions: int | None  # the longest text it was made for, which nothing here enforces
    norm_eps: float
    rope: dict[str, Any]  # rope_type, rope_theta and, for "linear" and "llama3", their factors
    qkv_bias: bool  # Qwen2: always; Qwen3 and Llama: where config.json says so
    out_bias: bool  # of the attention's output
    mlp_bias: bool
    qk_norm: bool  # Qwen3 alone
    tied: bool  # the head is the embedding's matrix; usual for small models


# --------------------------------------------------------------------------- the network


class Transformer(nn.Module):
    """A causal language model: from tokens to the logits of the token that follows each of them.

    `hf_config` is its `config.json`, which `save` writes again, and `source` its name in messages.
    Raises `UserError` where it describes another network than this one.
    """

    low_precision: torch.dtype | None = None  # the type of matrix products within `autocast`
    recompute = False  # keep no activations of the layers, compute them again for the gradient
    compiled: Callable | None = None  # `Block.forward` by torch.compile, where there is a gradient
    rotary_table: Tensor | None = None

    def __init__(self, hf_config: dict[str, Any], source: str = "config.json") -> None:
        super().__init__()
        config = ModelConfig(**read_settings(hf_config, source))
        self.hf_config, self.config = hf_config, config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(config.vocab_size, config.hidden_size),
                "layers": nn.ModuleList(Block(config) for _ in range(config.n_layers)),
                "norm": RMSNorm(config.hidden_size, config.norm_eps),
            }
        )
        if not config.tied:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.register_buffer("frequencies", rope_frequencies(config), persistent=False)

    def forward(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        last_only: bool = False,
        logits: bool = True,
    ) -> Tensor:
        """Return the logits of the token after each position, (B, T) -> (B, T, V).

        With a cache the tokens continue those already in it, and are added to it if it `grows`.
        `last_only` computes the last position alone, (B, 1, V).  Without `logits` the result is
        what the head reads, (B, T, C): a loss can make the logits of a few positions at a time.
        """
        T = tokens.shape[1]
        before = 0 if cache is None else cache.length
        start = None if cache is None else cache.start
        positions, mask = positions_and_mask(T, before, start, tokens.device)
        cos, sin = self.rotary(before + T)[:, positions]  # (T, D) each, (B, 1, T, D) when padded

        # the sums of the layers are of the norms' type, also where the matrices are in bfloat16
        x = self.model["embed_tokens"](tokens).type_as(self.model["norm"].weight)  # (B, T, C)
        learning = torch.is_grad_enabled()
        step = self.compiled if self.compiled and learning else Block.__call__
        if self.recompute and learning:
            # recomputing keeps only the input of each layer (arXiv 1604.06174)
            step = partial(recomputed, step, use_reentrant=False)
        pasts = cache.layers if before else [None] * self.config.n_layers
        grown = []
        for block, past in zip(self.model["layers"], pasts, strict=True):
            x, keys_and_values = step(block, x, cos, sin, mask, past)  # (B, T, C)
            if cache is not None and cache.grows:
                grown.append(keys_and_values)
        if grown:
            cache.layers = grown

        h = self.model["norm"](x[:, -1:] if last_only else x)  # (B, T or 1, C)
        return self.head(h) if logits else h

    def head(self, h: Tensor) -> Tensor:
        """Return logits from hidden states, (..., C) -> (..., V)."""
        return F.linear(h, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """The matrix (V, C) of the head, which is the embedding's where the two are tied."""
        return self.model["embed_tokens"].weight if self.config.tied else self.lm_head.weight

    def rotary(self, length: int) -> Tensor:
        """Return cosines and signed sines of at least `length` positions, (2, length, D).

        The forward pass and `decode.py` both rotate by this table.  Each pair of dimensions
        (i, i + D/2) has one angle, and the sine of its first half comes negated, as `rotate` wants.
        """
        if self.rotary_table is None or self.rotary_table.shape[1] < length:
            positions = torch.arange(2 * length, device=self.device)  # twice: seldom made anew
            angles = positions[:, None] * self.frequencies  # (2 length, D/2)
            cos, sin = angles.cos(), angles.sin()
            self.rotary_table = torch.stack((torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)))
        return self.rotary_table

    def autocast(self, reuse_weights: bool = True) -> torch.autocast:
        """Return a context in which matrix products are computed in `low_precision`, if it is set.

        The weights and the sums of the layers stay float32: an update of 1e-6 would be lost on a
        weight in bfloat16 ("master weights", arXiv 1710.03740).  With `reuse_weights` the lowered
        copy of a weight serves until the context ends.
        """
        return torch.autocast(
            self.device.type,
            self.low_precision,
            enabled=self.low_precision is not None,
            cache_enabled=reuse_weights,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.frequencies.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.model["embed_tokens"].weight.dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of matrix products within `autocast`."""
        return self.low_precision or self.dtype

    def save(self, folder: str | Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write `config.json` and `model.safetensors`, which transformers loads as they are.

        `weights` are given where this process holds only a shard of them.
        """
        weights = weights or self.state_dict()
        write_folder(Path(folder), self.hf_config, weights[EMBEDDING].dtype, weights)


class Block(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), and then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        """Return the layer's output, (B, T, C) -> (B, T, C), and all its keys and values."""
        mixed, keys_and_values = self.self_attn(self.input_layernorm(x), cos, sin, mask, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), keys_and_values


class Attention(nn.Module):
    """Causal attention, softmax(q k' / sqrt(D)) v (arXiv 1706.03762, eq. 1).

    Each key/value head serves a group of H/K query heads (arXiv 2305.13245).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, D, bias = config.hidden_size, config.head_dim, config.qkv_bias
        H, K = config.n_heads, config.n_kv_heads
        self.heads, self.kv_heads, self.head_dim = H, K, D
        self.q_proj = nn.Linear(C, H * D, bias=bias)
        self.k_proj = nn.Linear(C, K * D, bias=bias)
        self.v_proj = nn.Linear(C, K * D, bias=bias)
        self.o_proj = nn.Linear(H * D, C, bias=config.out_bias)
        if config.qk_norm:  # Qwen3
            self.q_norm = RMSNorm(D, config.norm_eps)
            self.k_norm = RMSNorm(D, config.norm_eps)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        """Return what the heads mix, (B, T, C), and all keys and values, (B, K, S, D) each.

        `past` has those of earlier tokens, (B, K, S - T, D) each; where it has one row only, all
        rows of x continue that row.  `mask` is true where a query may see a key.
        """
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, self.heads, self.head_dim)  # (B, T, H, D)
        k = self.k_proj(x).view(B, T, self.kv_heads, self.head_dim)  # (B, T, K, D)
        v = self.v_proj(x).view(B, T, self.kv_heads, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        # queries and keys are rotated in one operation: in a small model starting one is what costs
        heads = torch.cat((q, k), dim=2).transpose(1, 2)  # (B, H+K, T, D)
        q, k = rotate(heads, cos, sin).split((self.heads, self.kv_heads), dim=1)
        if past is not None:
            pairs = zip(past, (k, v), strict=True)
            k, v = (torch.cat((old.expand(B, -1, -1, -1), new), dim=2) for old, new in pairs)
        keys_and_values = k, v  # (B, K, S, D) each

        shared = self.heads != self.kv_heads
        exact = q.dtype == torch.float32 and not torch.is_autocast_enabled(q.device.type)
        if shared and T > 1 and (mask is not None or (q.is_cuda and exact)):
            # on GPUs no kernel that saves memory takes shared heads with a mask, or in float32
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
            shared = False
        # Without a mask there are two cases: nothing is cached (T = S), and each token sees itself
        # and those before it; or one token comes after the cached ones (T = 1), and sees them all.
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and T > 1, enable_gqa=shared
        )  # (B, H, T, D)
        return self.o_proj(y.transpose(1, 2).flatten(2)), keys_and_values  # (B, T, HD) -> (B, T, C)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (arXiv 2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, M, bias = config.hidden_size, config.mlp_size, config.mlp_bias
        self.gate_proj = nn.Linear(C, M, bias=bias)
        self.up_proj = nn.Linear(C, M, bias=bias)
        self.down_proj = nn.Linear(M, C, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last dimension (arXiv 1910.07467, eq. 4)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised, in the type of the weight."""
        # within autocast queries and keys arrive in low precision, too coarse for their norm
        return F.rms_norm(x.type_as(self.weight), self.weight.shape, self.weight, self.eps)


# --------------------------------------------------------------------------- rotary positions


def rope_frequencies(config: ModelConfig) -> Tensor:
    """Return the angle per position of each pair of head dimensions, (D/2,), in float32.

        theta_i = base^(-2i/D)                                   (RoFormer, arXiv 2104.09864)

    "linear" divides every angle by `factor`.  "llama3" (Llama 3.1) divides only those of pairs that
    turn slowly, fewer than `low_freq_factor` times within the original context, and leaves those
    that turn more than `high_freq_factor` times; in between the two are mixed.
    """
    D, rope = config.head_dim, config.rope
    pair = torch.arange(0, D, 2, device="cpu", dtype=torch.float32)  # (D/2,)
    frequency = 1.0 / rope["rope_theta"] ** (pair / D)
    if rope["rope_type"] == "linear":
        return frequency / rope["factor"]
    if rope["rope_type"] == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
        keep = ((turns - low) / (high - low)).clamp(0, 1)  # 1: a fast pair, left as it is
        return keep * frequency + (1 - keep) * frequency / rope["factor"]
    return frequency


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (x_i, x_{i+D/2}) of a head by its angle a.

        (x_i, x_{i+D/2})  ->  (x_i cos a - x_{i+D/2} sin a,  x_{i+D/2} cos a + x_i sin a)

    x is (B, heads, T, D), cos and sin (..., T, D).  The minus is in `sin`, whose first half comes
    negated from `Transformer.rotary`.
    """
    first, second = x.chunk(2, dim=-1)  # (B, heads, T, D/2) each
    return (x * cos + torch.cat((second, first), dim=-1) * sin).type_as(x)


# --------------------------------------------------------------------------- the cache


class KVCache:
    """The keys and values of the tokens read so far, which the tokens that come next attend to.

    All rows of a forward pass may continue the single row of the pass before, so that a prompt is
    computed once for its whole group; gradients pass through.  Prompts of unequal length are padded
    on the *left*: row b is real from column `start[b]` on, its positions count from there, and no
    real token sees its pads.
    """

    def __init__(self, start: Tensor | None = None) -> None:
        self.layers: list[KeysAndValues] = []
        self.start = start  # (B,), or None where no row is padded
        self.grows = True  # False: later tokens read the cache and are not added to it

    @property
    def length(self) -> int:
        """The number of tokens read so far, pads included."""
        return self.layers[0][0].shape[2] if self.layers else 0


def positions_and_mask(
    T: int, before: int, start: Tensor | None, device: torch.device
) -> tuple[slice | Tensor, Tensor | None]:
    """Return the positions of T tokens after `before` others, and which keys each of them may see.

    Positions are a slice, or (B, 1, T) where rows are padded.  The mask is None where the attention
    needs none, else (T, S), or (B, 1, T, S) where rows are padded.
    """
    positions = slice(before, before + T)
    if start is None and (before == 0 or T == 1):
        return positions, None
    columns = torch.arange(before + T, device=device)  # (S,)
    queries = columns[before:]  # (T,)
    # The attention's own `is_causal` lets query t see keys 0..t, as if nothing were cached; with
    # cached tokens it must see keys 0..before+t, so the mask is written out.
    mask = columns <= queries[:, None]  # (T, S)
    if start is None:
        return positions, mask
    start = start[:, None, None, None]  # (B, 1, 1, 1)
    # Pads see pads: a softmax over no key at all is NaN, and NaN * 0 is NaN in the next layer.
    mask = mask & ((columns >= start) | (queries[:, None] < start))  # (B, 1, T, S)
    return (queries - start[..., 0]).clamp(min=0), mask  # (B, 1, T)


# --------------------------------------------------------------------------- from a folder


def load(
    folder_or_hub_id: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Transformer:
    """Return the model of a Hugging Face folder: `config.json` and `*.safetensors`.

    Every tensor must be there with its shape and no other may be.  Whatever is wrong raises a
    `UserError` of one line that names the file and the tensor or key.
    """
    folder = find_folder(folder_or_hub_id)
    hf_config = read_json(folder / "config.json")
    with torch.device("meta"):  # names and shapes alone: memory is taken only for what files hold
        model = Transformer(hf_config, source=str(folder / "config.json"))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    tensors = read_tensors(folder, shapes, model.config.tied, device, dtype)
    model.load_state_dict(tensors, assign=True)
    return model.to(device)
