"""Decoding: from one token of every row to the next, with as little reading as it takes.

What it teaches: why generation is slow, and what every inference engine does about it.  A step
multiplies each weight by a handful of rows only, so that its time goes into reading weights and
keys from memory and, in a small model, into starting operations.  Hence, once for each rollout:

    one matrix    of the projections that read the same input: q, k, v; gate and up
    its layout    as the processor reads it fastest (on CPUs packed into blocks by oneDNN)
    one prompt    whose keys and values stand there once, and are read once for all the rows that
                  continue it (Hydragen, arXiv 2402.05099); each row has only its own beside them

Where it stands: within `rollout.py`, after the prompt is read.  It computes `Transformer.forward`
for one token a row, to rounding (tests/test_decode.py compares); gradients never pass here.

Try changing first: `SMALL`, the size from which on weights are packed: when does it pay?

Shapes: n rows, B prompts with m = n / B rows each, C, D, H, K as in `model.py`, R = H / K query
heads to a key/value head, P prompt tokens, S own tokens of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import Block, KVCache, Transformer, rotate

SMALL = 2**18  # weights of a matrix that stays in the processor's own cache whatever its layout


def frozen(weights: Sequence[Tensor], biases: Sequence[Tensor | None], dtype) -> Callable:
    """x -> the products with all of these weights side by side; they must not change meanwhile."""
    weight = torch.cat([w.detach() for w in weights]).to(dtype)  # (out, in)
    bias = None if biases[0] is None else torch.cat([b.detach() for b in biases]).to(dtype)
    packs = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    if packs and dtype == torch.float32 and weight.numel() > SMALL:
        # plain F.linear packs the weight again in every call, which costs more than the product
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        product = torch.ops.mkldnn._linear_pointwise
        return lambda x: product(x, packed, bias, "none", [], "")
    matrix = weight.t().contiguous()  # (in, out)
    if bias is None:
        return lambda x: x.to(dtype) @ matrix
    return lambda x: torch.addmm(bias, x.to(dtype), matrix)


@dataclass
class Layer:
    """One block, its weights fused."""

    block: Block
    qkv: Callable  # (n, C) -> (n, (H+2K) D)
    out: Callable  # (n, HD) -> (n, C)
    gate_up: Callable  # (n, C) -> (n, 2M)
    down: Callable  # (n, M) -> (n, C)
    prompt_k: Tensor  # (K, B, P, D), rotated
    prompt_v: Tensor
    own_k: Tensor  # (K, n, max_new_tokens, D)
    own_v: Tensor


def fuse(block: Block, past: tuple[Tensor, Tensor], rows: int, max_new: int, dtype) -> Layer:
    """The block's weights, and its keys and values of the prompts (B, K, P, D), for `rows` rows."""

    def side_by_side(*projections: nn.Linear) -> Callable:
        return frozen([p.weight for p in projections], [p.bias for p in projections], dtype)

    a, mlp = block.self_attn, block.mlp
    # scores and their softmax are in float32, as the fused kernels of training keep them
    k, v = (t.transpose(0, 1).float().contiguous() for t in past)  # (K, B, P, D)
    K, _, _, D = k.shape
    return Layer(
        block,
        qkv=side_by_side(a.q_proj, a.k_proj, a.v_proj), out=side_by_side(a.o_proj),
        gate_up=side_by_side(mlp.gate_proj, mlp.up_proj), down=side_by_side(mlp.down_proj),
        prompt_k=k, prompt_v=v,
        own_k=k.new_empty(K, rows, max_new, D), own_v=k.new_empty(K, rows, max_new, D),
    )  # fmt: skip


class Decoder:
    """`Transformer.forward` for one more token of n rows that continue the prompts in a cache.

    The cache holds one prompt, for all rows, or a prompt for each.
    """

    def __init__(self, model: Transformer, cache: KVCache, rows: int, max_new_tokens: int):
        self.model, self.config, dtype = model, model.config, model.compute_dtype
        blocks = zip(model.model["layers"], cache.layers, strict=True)
        self.layers = [fuse(block, past, rows, max_new_tokens, dtype) for block, past in blocks]
        self.head = frozen([model.head_weight], [None], dtype)
        self.rotary = model.rotary(cache.length + max_new_tokens)  # (2, positions, D)
        self.length, self.own, self.start = cache.length, 0, cache.start
        self.pads = None  # -inf on columns in front of a prompt
        if self.start is not None:
            columns = torch.arange(cache.length, device=model.device)
            pads = (columns < self.start[:, None]).float()  # (B, P)
            self.pads = pads.masked_fill(pads > 0, -torch.inf)

    def __call__(self, token: Tensor) -> Tensor:
        """Logits of the tokens after these, (n,) -> (n, V)."""
        position = self.length + self.own
        if self.start is None:
            cos, sin = self.rotary[:, position]  # (D,) each
        else:
            cos, sin = self.rotary[:, position - self.start, None]  # (n, 1, D)
        x = F.embedding(token, self.model.model["embed_tokens"].weight)  # (n, C)
        for layer in self.layers:
            h = layer.block.input_layernorm(x)
            x = x + layer.out(self.attend(layer, layer.qkv(h), cos, sin))
            h = layer.block.post_attention_layernorm(x)
            gate, up = layer.gate_up(h).chunk(2, dim=-1)  # (n, M)
            x = x + layer.down(F.silu(gate) * up)
        self.own += 1
        return self.head(self.model.model["norm"](x))

    def attend(self, layer: Layer, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """What the heads mix, (n, (H+2K) D) -> (n, H D)."""
        H, K, D = self.config.n_heads, self.config.n_kv_heads, self.config.head_dim
        n, R, S, t = len(qkv), H // K, self.own + 1, self.own
        qk, v = qkv.view(n, H + 2 * K, D).split((H + K, K), dim=1)
        if self.config.qk_norm:
            a, (q, k) = layer.block.self_attn, qk.split((H, K), dim=1)
            qk = torch.cat((a.q_norm(q), a.k_norm(k)), dim=1)
        q, k = rotate(qk, cos, sin).transpose(0, 1).split((H, K))  # (H, n, D), (K, n, D)
        layer.own_k[:, :, t], layer.own_v[:, :, t] = k, v.transpose(0, 1)

        # heads first, so that the rows that read the same keys stand together
        q = q.view(K, R, n, D).transpose(1, 2).float() * D**-0.5  # (K, n, R, D)
        prompt_k = layer.prompt_k.flatten(0, 1)  # (KB, P, D)
        prompt_v = layer.prompt_v.flatten(0, 1)
        own_k = layer.own_k[:, :, :S].flatten(0, 1)  # (Kn, S, D)
        own_v = layer.own_v[:, :, :S].flatten(0, 1)
        KB, P, _ = prompt_k.shape
        of_prompt = q.reshape(KB, -1, D) @ prompt_k.transpose(1, 2)  # (KB, mR, P)
        if self.pads is not None:
            of_prompt = of_prompt + self.pads.repeat(K, 1)[:, None]  # here m = 1
        of_own = q.reshape(K * n, R, D) @ own_k.transpose(1, 2)  # (Kn, R, S)
        weights = torch.cat((of_prompt.view(K * n, R, P), of_own), dim=-1).softmax(dim=-1)
        of_prompt, of_own = weights.split((P, S), dim=-1)
        y = (of_prompt.reshape(KB, -1, P) @ prompt_v).view(K * n, R, D)
        y = torch.baddbmm(y, of_own, own_v)  # (Kn, R, D)
        return y.view(K, n, R, D).transpose(0, 1).reshape(n, H * D).type_as(v)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, (n,) indices in rising order; the others are forgotten."""
        for layer in self.layers:
            layer.own_k, layer.own_v = layer.own_k[:, rows], layer.own_v[:, rows]
            if layer.prompt_k.shape[1] > 1:
                layer.prompt_k, layer.prompt_v = layer.prompt_k[:, rows], layer.prompt_v[:, rows]
        if self.start is not None:
            self.start, self.pads = self.start[rows], self.pads[rows]
