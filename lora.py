"""Low-rank adapters: learn a thin correction of each matrix, and not the matrix (LoRA).

What it teaches: how to train a model whose optimizer would not fit.  A projection W (out, in) stays
as it is, and beside it two thin matrices are learned (arXiv 2106.09685, eq. 3):

    y = W x + (alpha / r) B A x              A is (r, in) and random, B is (out, r) and zero

So the first policy is the checkpoint itself.  (Were A zero as well, neither would ever have a
gradient.)  Gradients and AdamW's moments are those of A and B, some hundredths of the weights.  And
as nothing is ever added to W, it may be stored in bfloat16, in which a step of 1e-6 would be lost:
of the 16 bytes per weight that training takes (`plumbing/memory.py`) little more than 2 are left.

Where it stands: between `model.py` and `policy.py`, and only where `lora.rank` is above 0.  The
loss, the sampler and the optimizer do not know of it: a layer with an adapter is called like any
other, and its `weight` is W + (alpha / r) B A, which `decode.py` reads once per rollout, so that
sampling costs what it costs without.  Taken away (`base_of`), the adapters leave the starting
model: the reference of the KL penalty, which thus needs no memory.

Try changing first: `--set lora.rank=4` with `small.json`.  It trains 18,432 numbers in place of
251,904, a checkpoint takes 0.25 MB in place of 3.0, and it ends at 99.0, 99.0 and 98.5% on seeds 0
to 2, where all weights end at 99.0, 98.5 and 98.5%.  With `lora.targets=["q_proj", "v_proj"]`, as
in the paper, it is 4,032 numbers.

Departures from the paper: all seven projections of a layer may have an adapter, and by default do;
there is no dropout; A is drawn as in the code of its authors and in PEFT (Kaiming uniform, a =
sqrt 5), whose names and files these are.
"""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from model import Transformer
from plumbing import disk
from plumbing.command import UserError
from plumbing.config import Config, LoraConfig
from plumbing.weights import write_tensors


class Adapted(nn.Module):
    """A linear layer with an adapter; its parts have the names that PEFT gives them."""

    def __init__(self, base_layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base_layer, self.scale = base_layer, alpha / rank
        self.lora_A = nn.Linear(base_layer.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base_layer.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b + (alpha / r) B A x, (..., in) -> (..., out)."""
        return self.base_layer(x) + self.scale * self.lora_B(self.lora_A(x))

    @property
    def weight(self) -> Tensor:
        """The one matrix that does the same, W + (alpha / r) B A, (out, in), in the type of A."""
        A, B = self.lora_A.weight, self.lora_B.weight
        return self.base_layer.weight.type_as(A) + self.scale * (B @ A)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer, to which an adapter adds nothing, (out,)."""
        return self.base_layer.bias


def add_adapters(model: Transformer, cfg: LoraConfig, seed: int) -> None:
    """Freeze a model that is in CPU memory, and give each projection of `cfg.targets` an adapter.

    The frozen matrices are stored in the type that they are multiplied in, which changes no
    product; biases and norms, which are few, keep theirs.  (Of a checkpoint in float32 the vectors
    that an embedding looks up are rounded too.)  `UserError` where the rank is too large.
    """
    for weight in model.parameters():
        weight.requires_grad_(False)
        if weight.dim() == 2:
            weight.data = weight.data.to(model.compute_dtype)
    random = torch.Generator().manual_seed(seed)
    for part, name, linear in parts(model):
        if name not in cfg.targets:
            continue
        if cfg.rank > min(linear.weight.shape):
            out, into = linear.weight.shape
            raise UserError(
                f"lora.rank: {cfg.rank} is more than {name} can have, a matrix of {out} x {into}; "
                f"take at most {min(out, into)}, or leave it out of lora.targets"
            )
        layer = Adapted(linear, cfg.rank, cfg.alpha)
        nn.init.kaiming_uniform_(layer.lora_A.weight, a=math.sqrt(5), generator=random)
        nn.init.zeros_(layer.lora_B.weight)
        setattr(part, name, layer)


def parts(model: Transformer) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yield each part of an attention or MLP, after what it belongs to and its name there."""
    for block in model.model["layers"]:
        for owner in (block.self_attn, block.mlp):
            yield from [(owner, name, part) for name, part in owner.named_children()]


def base_of(model: Transformer) -> Transformer:
    """Return the model without its adapters: other modules, and the same weights in memory."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    base = copy.deepcopy(model, shared)
    for owner, name, part in parts(base):
        if isinstance(part, Adapted):
            setattr(owner, name, part.base_layer)
    return base


def merged_weights(model: Transformer) -> dict[str, Tensor]:
    """Return the weights of one plain model that computes the same, float32, in CPU memory.

    In bfloat16 most of what was learned would be rounded away: its numbers near w are |w| / 256
    apart.
    """
    layers = {f"{n}.weight": m for n, m in model.named_modules() if isinstance(m, Adapted)}
    plain = base_of(model).state_dict()
    return {
        name: (layers[name].weight if name in layers else weight).detach().float().cpu()
        for name, weight in plain.items()
    }


def save_adapters(model: Transformer, cfg: Config, folder: Path) -> None:
    """Write the adapters alone, as PEFT does: whoever has the starting model can put them on it."""
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": cfg.model,
        "r": cfg.lora.rank, "lora_alpha": cfg.lora.alpha, "lora_dropout": 0.0, "bias": "none",
        "target_modules": list(cfg.lora.targets), "fan_in_fan_out": False, "inference_mode": True,
    }  # fmt: skip
    config = folder / "adapter_config.json"
    disk.write_text(config, json.dumps(settings, indent=2) + "\n")
    # PEFT puts the model into two modules of its own, one within the other
    learned = {f"base_model.model.{n}": p for n, p in model.named_parameters() if p.requires_grad}
    write_tensors(folder / "adapter_model.safetensors", learned, like=config)
