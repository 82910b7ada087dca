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
heads per key/value head, P prompt tokens, S tokens that a row has said.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import Block, KeysAndValues, KVCache, Transformer, rotate

SMALL = 2**18  # up to so many weights a matrix stays in the processor's own cache in any layout
Function = Callable[[Tensor], Tensor]


@dataclass
class Layer:
    """One block: its weights, fused and frozen, and the keys and values that its rows attend to."""

    qkv: Function  # (n, C) -> (n, K (R+2) D): per key/value head its R queries, its key, its value
    out: Function  # (n, HD) -> (n, C)
    gate_up: Function  # (n, C) -> (n, 2M)
    down: Function  # (n, M) -> (n, C)
    qk_norm: Function | None  # (K, n, R+1, D) -> the same, Qwen3 alone
    prompt_k: Tensor  # (K, B, D, P), rotated, and scaled by D^(-1/4)
    prompt_v: Tensor  # (K, B, P, D)
    own_k: Tensor  # (K, n, D, max_new_tokens), rotated and scaled too
    own_v: Tensor  # (K, n, max_new_tokens, D)


class Decoder:
    """`Transformer.forward` for one more token of n rows, which continue B prompts, m rows each.

    On a CPU a step reads the t + 1 tokens that its rows have said, and t is a number.  A CUDA graph
    needs every step to be the same operations on tensors of the same shapes.  A `static` decoder
    therefore reads `width` tokens of each row, of which those that are not yet said are hidden, and
    its t is a tensor.  Nothing else is different.
    """

    def __init__(
        self, model: Transformer, cache: KVCache, rows: int, max_new_tokens: int,
        static: bool = False,
    ) -> None:  # fmt: skip
        self.config, dtype = model.config, model.compute_dtype
        self.embedding = model.model["embed_tokens"].weight  # (V, C)
        blocks = zip(model.model["layers"], cache.layers, strict=True)
        self.layers = [fuse(block, past, rows, max_new_tokens, dtype) for block, past in blocks]
        # the final norm stays separate: moving it into the head would copy a tied embedding
        self.norm, self.head = model.model["norm"].weight, frozen(model.head_weight, None, dtype)
        # a score is q k' / sqrt(D): its queries and its keys are each divided by D^(1/4)
        self.rotary = model.rotary(cache.length + max_new_tokens) * self.config.head_dim**-0.25
        self.length, self.start = cache.length, cache.start  # start becomes (n,)
        self.t = torch.zeros(1, dtype=torch.long, device=model.device) if static else 0
        self.width = max_new_tokens if static else 0
        self.unsaid = None  # (width,): -inf on the columns after t, where it is static
        self.pads = None  # (n, P): -inf on the columns before a prompt, 0 on the prompt
        if self.start is not None:
            self.start = self.start.repeat_interleave(rows // len(self.start))  # (n,)
            columns = torch.arange(cache.length, device=model.device)
            pads = (columns < self.start[:, None]).float()  # (n, P)
            self.pads = pads.masked_fill(pads > 0, -torch.inf)

    def __call__(self, token: Tensor) -> Tensor:
        """Return the logits after one more token of each row, (n,) -> (n, V)."""
        position = self.length + self.t
        if self.width:
            columns = torch.arange(self.width, device=token.device)
            self.unsaid = torch.where(columns <= self.t, 0.0, -torch.inf)  # (width,)
        if self.start is None:
            cos, sin = self.rotary[:, position]  # (D,) each, or (1, D)
        else:
            cos, sin = self.rotary[:, position - self.start, None]  # (n, 1, D)
        x = F.embedding(token, self.embedding)  # (n, C)
        for layer in self.layers:
            x = x + layer.out(self.attend(layer, layer.qkv(self.normalised(x)), cos, sin))
            gate, up = layer.gate_up(self.normalised(x)).chunk(2, dim=-1)  # (n, M)
            x = x + layer.down(F.silu(gate) * up)
        self.t += 1
        return self.head(self.normalised(x) * self.norm)

    def normalised(self, x: Tensor) -> Tensor:
        """Return x / rms(x); the norm's weight is in the matrix that comes next."""
        return x * (x.square().mean(dim=-1, keepdim=True) + self.config.norm_eps).rsqrt()

    def attend(self, layer: Layer, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Store the new keys and values; return what the heads mix, (n, K (R+2) D) -> (n, HD)."""
        n, K, D, t = len(qkv), self.config.n_kv_heads, self.config.head_dim, self.t
        R = self.config.n_heads // K
        # key/value heads come first, so that the rows that read the same keys stand together
        heads = qkv.view(n, K, R + 2, D).transpose(0, 1).float()  # (K, n, R+2, D)
        qk = heads[:, :, :-1]
        qk = rotate(layer.qk_norm(qk) if layer.qk_norm else qk, cos, sin)
        k, v = qk[:, :, -1], heads[:, :, -1]  # (K, n, D) each
        if self.width:
            layer.own_k.index_copy_(3, t, k[..., None])
            layer.own_v.index_copy_(2, t, v[:, :, None])
        else:
            layer.own_k[..., t], layer.own_v[:, :, t] = k, v
        q = qk[:, :, :R].reshape(K * n, R, D)

        prompt_k, prompt_v = layer.prompt_k.flatten(0, 1), layer.prompt_v.flatten(0, 1)
        KB, _, P = prompt_k.shape  # (KB, D, P)
        S = self.width or t + 1
        own_k, own_v = layer.own_k[..., :S], layer.own_v[:, :, :S]
        of_prompt = torch.bmm(q.reshape(KB, -1, D), prompt_k).view(K, n, R, P)  # from (KB, mR, P)
        if self.pads is not None:
            of_prompt = of_prompt + self.pads[:, None]
        of_own = torch.bmm(q, own_k.flatten(0, 1))  # (Kn, R, S)
        if self.unsaid is not None:
            of_own = of_own + self.unsaid
        weights = torch.cat((of_prompt.flatten(0, 1), of_own), dim=-1).softmax(dim=-1)
        of_prompt, of_own = weights.split((P, S), dim=-1)
        y = torch.bmm(of_prompt.reshape(KB, -1, P), prompt_v).view(K * n, R, D)
        y = torch.baddbmm(y, of_own, own_v.flatten(0, 1))  # (Kn, R, D)
        return y.view(K, n, R * D).transpose(0, 1).reshape(n, K * R * D)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, indices in rising order, and forget the others.

        Several prompts may then have unequally many rows, so that each row gets a copy of its own.
        """
        for layer in self.layers:
            B = layer.prompt_k.shape[1]
            if B > 1:
                of_row = rows // (layer.own_k.shape[1] // B)  # (live,)
                layer.prompt_k = layer.prompt_k[:, of_row]  # (K, live, D, P)
                layer.prompt_v = layer.prompt_v[:, of_row]  # (K, live, P, D)
            layer.own_k, layer.own_v = layer.own_k[:, rows], layer.own_v[:, rows]
        if self.start is not None:
            self.start, self.pads = self.start[rows], self.pads[rows]


def fuse(block: Block, past: KeysAndValues, rows: int, max_new: int, dtype: torch.dtype) -> Layer:
    """Return a block ready to decode `rows` rows; `past` is of the prompts, (B, K, P, D) each."""
    a, mlp = block.self_attn, block.mlp
    # scores and their softmax are in float32, as in training's fused kernels
    k, v = (t.transpose(0, 1).float() for t in past)  # (K, B, P, D)
    K, _, _, D = k.shape

    def together(name: str, groups: int, *projections: nn.Linear) -> Tensor | None:
        """Join weights or biases: of each projection the first group, then of each the second..."""
        parts = [getattr(projection, name) for projection in projections]
        if parts[0] is None:
            return None
        return torch.cat([part.unflatten(0, (groups, -1)) for part in parts], dim=1).flatten(0, 1)

    def qk_norm(heads: Tensor) -> Tensor:  # (K, n, R+1, D)
        # in the type of the norm's weights, which may be bfloat16
        return torch.cat((a.q_norm(heads[:, :, :-1]), a.k_norm(heads[:, :, -1:])), dim=2).float()

    qkv, gate_up = (K, a.q_proj, a.k_proj, a.v_proj), (1, mlp.gate_proj, mlp.up_proj)
    # the norm's weight g moves into the matrix after it: W (g x) = (W diag(g)) x
    qkv_weight = together("weight", *qkv).mul_(block.input_layernorm.weight)
    gate_up_weight = together("weight", *gate_up).mul_(block.post_attention_layernorm.weight)
    return Layer(
        qkv=frozen(qkv_weight, together("bias", *qkv), dtype),
        out=frozen(a.o_proj.weight, a.o_proj.bias, dtype),
        gate_up=frozen(gate_up_weight, together("bias", *gate_up), dtype),
        down=frozen(mlp.down_proj.weight, mlp.down_proj.bias, dtype),
        qk_norm=qk_norm if hasattr(a, "q_norm") else None,
        prompt_k=(k * D**-0.25).transpose(2, 3).contiguous(), prompt_v=v.contiguous(),
        # zeros, since what a static step hides must be finite
        own_k=k.new_zeros(K, rows, D, max_new), own_v=k.new_zeros(K, rows, max_new, D),
    )  # fmt: skip


def frozen(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Function:
    """Return x -> x W' + b for x (n, in) and W (out, in), neither of which may change meanwhile."""
    weight = weight.detach().to(dtype)
    bias = None if bias is None else bias.detach().to(dtype)
    packs = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    on_cpu = weight.device.type == "cpu" and dtype == torch.float32
    if packs and on_cpu and weight.numel() > SMALL:
        # F.linear packs the weight anew in every call, which costs more than the product; these
        # two are what torch.compile uses for weights that stay as they are
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        product = torch.ops.mkldnn._linear_pointwise
        return lambda x: product(x, packed, bias, "none", [], "")
    matrix = weight.t().contiguous()  # (in, out)
    if bias is None:
        return lambda x: x.to(dtype) @ matrix
    return lambda x: torch.addmm(bias, x.to(dtype), matrix)
