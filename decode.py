"""Decoding: one more token for every row, with as little reading of memory as possible.

What it teaches: why generation is slow, and what every inference engine does about it.  A step
multiplies each weight by a few rows only: its time goes into reading weights and keys from memory
and, in a small model, into starting operations.  So three things are done once per rollout:

    one matrix    is made of the projections that read the same input: q, k, v; gate and up
    its layout    becomes the one that the processor reads fastest (oneDNN's blocks, on CPUs)
    one prompt    has its keys and values stored once, and each step reads them once for all rows
                  that continue it (Hydragen, arXiv 2402.05099); a row stores only its own

Where it stands (skip this file on a first reading): within `rollout.py`, after the prompt.  It
computes `Transformer.forward` for one token per row, up to rounding (tests/test_decode.py compares
them); gradients never pass here.

Try changing first: `SMALL`, the size above which a matrix is packed.  On one CPU core, G = 8:
packing all of them (0) makes rollouts of `base/`, whose matrices are small, take 1.6 times as long;
packing none (10**12) makes those of a model of 135M weights take 1.5 times as long.

Letters in shapes: as in `model.py`, and n rows, B prompts with m = n / B rows each, R = H / K query
heads per key/value head, P prompt tokens, S own tokens that a row attends to.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import Block, KeysAndValues, KVCache, Transformer, rotate

SMALL = 2**18  # up to so many weights a matrix stays in the processor's own cache in any layout
LOW_CACHE = ("cuda",)  # kinds of devices that multiply bfloat16 into float32, for `scores`
Matrix = tuple[Tensor, Tensor | None]  # of `frozen`, which `product` reads


@dataclass
class Layer:
    """One block: its weights, fused and frozen, and the keys and values that its rows attend to."""

    heads: int  # K
    eps: float
    qkv: Matrix  # C -> K (R+2) D: per key/value head its R queries, its key, its value
    out: Matrix  # HD -> C
    gate_up: Matrix  # C -> 2M
    down: Matrix  # M -> C
    qk_norm: Tensor | None  # (R+1, D), Qwen3 alone
    prompt_k: Tensor  # (KB, D, P), rotated, and scaled by D^(-1/4)
    prompt_v: Tensor  # (KB, P, D)
    own_k: Tensor  # (Kn, D, max_new_tokens), rotated and scaled too
    own_v: Tensor  # (Kn, max_new_tokens, D)

    def __call__(
        self, x: Tensor, rotation: Tensor, t: int | Tensor, S: int, mask: Tensor | None
    ) -> Tensor:  # fmt: skip
        """Return the block's output for token t of each row, (n, C) -> (n, C)."""
        qkv = product(normalised(x, self.eps), self.qkv)  # (n, K (R+2) D)
        n, K, (KB, D, P) = len(qkv), self.heads, self.prompt_k.shape
        # key/value heads come first, so that the rows that read the same keys stand together
        heads = qkv.view(n, K, -1, D).transpose(0, 1).float()  # (K, n, R+2, D)
        qk = heads[:, :, :-1]  # (K, n, R+1, D)
        if self.qk_norm is not None:  # in the type of the norm's weights, which may be bfloat16
            qk = F.rms_norm(qk.type_as(self.qk_norm), (D,), None, self.eps) * self.qk_norm
        qk = rotate(qk.float(), *rotation).type_as(self.own_k)
        k, v = qk[:, :, -1].reshape(K * n, D, 1), heads[:, :, -1].reshape(K * n, 1, D)
        if isinstance(t, int):
            self.own_k[..., t : t + 1], self.own_v[:, t : t + 1] = k, v
        else:
            self.own_k.index_copy_(2, t, k)
            self.own_v.index_copy_(1, t, v.type_as(k))
        q = qk[:, :, :-1].reshape(K * n, -1, D)  # (Kn, R, D)
        own_k, own_v = self.own_k[..., :S], self.own_v[:, :S]

        of_prompt = scores(q.reshape(KB, -1, D), self.prompt_k).view(K * n, -1, P)  # of (KB, mR, P)
        both = torch.cat((of_prompt, scores(q, own_k)), dim=-1)  # (Kn, R, P + S)
        weights = (both if mask is None else both + mask).softmax(dim=-1).type_as(own_v)
        of_prompt, of_own = weights.split((P, S), dim=-1)
        y = torch.bmm(of_prompt.reshape(KB, -1, P), self.prompt_v).view_as(q)  # from (KB, mR, D)
        y = torch.baddbmm(y, of_own, own_v)  # (Kn, R, D)
        mixed = y.view(K, n, -1).transpose(0, 1).reshape(n, -1)  # (n, HD)
        x = x + product(mixed, self.out)
        gate, up = product(normalised(x, self.eps), self.gate_up).chunk(2, dim=-1)  # (n, M)
        return x + product(F.silu(gate) * up, self.down)


class Decoder:
    """`Transformer.forward` for one more token of n rows, which continue B prompts, m rows each."""

    def __init__(self, model: Transformer, cache: KVCache, rows: int, max_new_tokens: int) -> None:
        self.config, dtype = model.config, model.compute_dtype
        self.embedding = model.model["embed_tokens"].weight  # (V, C)
        blocks = zip(model.model["layers"], cache.layers, strict=True)
        self.layers = [fuse(block, past, rows, max_new_tokens, dtype) for block, past in blocks]
        # the final norm stays separate: moving it into the head would copy a tied embedding
        self.norm, self.head = model.model["norm"].weight, frozen(model.head_weight, None, dtype)
        # a score is q k' / sqrt(D): its queries and its keys are each divided by D^(1/4)
        self.rotary = model.rotary(cache.length + max_new_tokens) * self.config.head_dim**-0.25
        self.length, self.start, self.t = cache.length, cache.start, 0  # start becomes (n,)
        self.layer = Layer.__call__  # which `graphs.py` may compile
        self.pads = None  # (Kn, 1, P + max_new_tokens): -inf on the columns before a prompt, else 0
        if self.start is not None:
            self.start = self.start.repeat_interleave(rows // len(self.start))  # (n,)
            columns = torch.arange(cache.length + max_new_tokens, device=model.device)
            pads = torch.where(columns < self.start[:, None], -torch.inf, 0.0)  # (n, P + T_new)
            self.pads = pads.repeat(self.config.n_kv_heads, 1)[:, None]

    def seen(self) -> tuple[int, Tensor | None]:
        """Return how many own tokens a row attends to, S, and -inf on hidden ones of P + S."""
        return self.t + 1, None if self.pads is None else self.pads[..., : self.length + self.t + 1]

    def __call__(self, token: Tensor) -> Tensor:
        """Return the logits after one more token of each row, (n,) -> (n, V)."""
        position, (S, mask) = self.length + self.t, self.seen()
        if self.start is None:
            rotation = self.rotary[:, position]  # (2, D)
        else:
            rotation = self.rotary[:, position - self.start, None]  # (2, n, 1, D)
        x = F.embedding(token, self.embedding).type_as(self.norm)  # (n, C)
        for layer in self.layers:
            x = self.layer(layer, x, rotation, self.t, S, mask)
        self.t += 1
        return product(normalised(x, self.config.norm_eps) * self.norm, self.head)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, indices in rising order, and forget the others."""

        def kept(each: Tensor, which: Tensor) -> Tensor:  # (K n, ...) -> (K live, ...)
            return each.unflatten(0, (self.config.n_kv_heads, -1))[:, which].flatten(0, 1)

        for layer in self.layers:
            m = len(layer.own_k) // len(layer.prompt_k)
            layer.own_k, layer.own_v = kept(layer.own_k, rows), kept(layer.own_v, rows)
            if len(layer.prompt_k) > layer.heads:  # several prompts: from here on one for each row
                layer.prompt_k = kept(layer.prompt_k, rows // m)
                layer.prompt_v = kept(layer.prompt_v, rows // m)
        if self.start is not None:
            self.start, self.pads = self.start[rows], kept(self.pads, rows)


def fuse(block: Block, past: KeysAndValues, rows: int, max_new: int, dtype: torch.dtype) -> Layer:
    """Return a block ready to decode `rows` rows; `past` is of the prompts, (B, K, P, D) each."""
    a, mlp = block.self_attn, block.mlp
    k, v = (t.transpose(0, 1).flatten(0, 1).float() for t in past)  # (KB, P, D)
    K, D, R = a.kv_heads, a.head_dim, a.heads // a.kv_heads
    cached = {"dtype": dtype if k.device.type in LOW_CACHE else torch.float32, "device": k.device}

    def together(name: str, groups: int, *projections: nn.Linear) -> Tensor | None:
        """Join weights or biases: of each projection the first group, then of each the second..."""
        parts = [getattr(projection, name) for projection in projections]
        if parts[0] is None:
            return None
        return torch.cat([part.unflatten(0, (groups, -1)) for part in parts], dim=1).flatten(0, 1)

    qkv, gate_up = (K, a.q_proj, a.k_proj, a.v_proj), (1, mlp.gate_proj, mlp.up_proj)
    # the norm's weight g moves into the matrix after it: W (g x) = (W diag(g)) x
    qkv_weight = together("weight", *qkv).mul_(block.input_layernorm.weight)
    gate_up_weight = together("weight", *gate_up).mul_(block.post_attention_layernorm.weight)
    norms = [a.q_norm.weight] * R + [a.k_norm.weight] if hasattr(a, "q_norm") else None
    return Layer(
        K, block.input_layernorm.eps,
        qkv=frozen(qkv_weight, together("bias", *qkv), dtype),
        out=frozen(a.o_proj.weight, a.o_proj.bias, dtype),
        gate_up=frozen(gate_up_weight, together("bias", *gate_up), dtype),
        down=frozen(mlp.down_proj.weight, mlp.down_proj.bias, dtype),
        qk_norm=torch.stack(norms) if norms else None,
        prompt_k=(k * D**-0.25).to(**cached).transpose(1, 2).contiguous(),
        prompt_v=v.to(**cached).contiguous(),
        # zeros, since what a static step hides must be finite
        own_k=torch.zeros(K * rows, D, max_new, **cached),
        own_v=torch.zeros(K * rows, max_new, D, **cached),
    )  # fmt: skip


def frozen(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Matrix:
    """Return W (out, in) and b as `product` reads them; neither may change meanwhile."""
    weight = weight.detach().to(dtype)
    bias = None if bias is None else bias.detach().to(dtype)
    packs = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    on_cpu = weight.device.type == "cpu" and dtype == torch.float32
    if packs and on_cpu and weight.numel() > SMALL:
        # F.linear packs the weight anew in every call, which costs more than the product; this one
        # and that in `product` are what torch.compile uses for weights that stay as they are
        return torch.ops.mkldnn._reorder_linear_weight(weight), bias
    return weight.t().contiguous(), bias  # (in, out)


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """Return x W' + b, (n, in) -> (n, out)."""
    weight, bias = matrix
    if weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    x = x.to(weight.dtype)
    return x @ weight if bias is None else torch.addmm(bias, x, weight)


def scores(q: Tensor, k: Tensor) -> Tensor:
    """Return q k in float32, as in training's kernels, (N, T, D) and (N, D, S) -> (N, T, S)."""
    how = {} if q.dtype == torch.float32 else {"out_dtype": torch.float32}
    return torch.bmm(q, k, **how)


def normalised(x: Tensor, eps: float) -> Tensor:
    """Return x / rms(x); the norm's weight is in the matrix that comes next."""
    return x * (x.square().mean(dim=-1, keepdim=True) + eps).rsqrt()
