"""The policy: one decoder-only transformer that reads Qwen2, Qwen3 and Llama checkpoints.

What it teaches: how little separates these families.  All are embedding -> N x (RMSNorm, attention,
RMSNorm, SwiGLU) -> RMSNorm -> head; they differ in four switches (`ModelConfig`): biases on
the projections, an RMSNorm on each query and key head, the rotary scaling, and a tied head.

Where it stands: pi_theta in every formula of the project.  `rollout.py` samples from it, by
`decode.py` after the prompt; `train.py` differentiates its log-probabilities; `warmup.py` pretrains
the small one.

Try changing first: `num_key_value_heads` of `warmup.BASE_CONFIG` (how much does the cache shrink,
what does it cost in accuracy?), or delete the rotation of the keys and watch the model lose track
of order.

Modules carry the names that Hugging Face gives their weights, so that `state_dict()` is the
checkpoint format and loading needs no table of renames.

Shapes: B rows, T tokens, C hidden size, H query heads, K key/value heads, D head size, V
vocabulary, S keys in sight (cached and new).
"""

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

FAMILIES = ("qwen2", "qwen3", "llama")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read as it stands; the message is one line and names the file."""


# --------------------------------------------------------------------------- configuration


@dataclass(frozen=True)
class ModelConfig:
    """What the transformer needs to know of a Hugging Face `config.json`."""

    family: str
    vocab_size: int
    hidden_size: int
    mlp_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    norm_eps: float
    rope: dict  # rope_type, rope_theta and, for linear and llama3, their factors
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied: bool

    @classmethod
    def from_hf(cls, hf: dict, source: str = "config.json") -> "ModelConfig":
        """Read a `config.json` of transformers 4 or 5; a `CheckpointError` says what fails."""

        def get(key: str, kind: type, *default):
            value = hf.get(key)
            if value is None and default:
                return default[0]
            wrong_kind = not isinstance(value, (int, float) if kind is float else kind)
            if wrong_kind or (kind is not bool and (isinstance(value, bool) or value <= 0)):
                expected = "true or false" if kind is bool else f"a positive {kind.__name__}"
                raise CheckpointError(f"{source}: '{key}' must be {expected}, not {value!r}")
            return value

        family = hf.get("model_type")
        if family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise CheckpointError(f"{source}: model_type {family!r} is not supported ({known} are)")
        if hf.get("hidden_act", "silu") != "silu":
            raise CheckpointError(f"{source}: hidden_act {hf['hidden_act']!r} is not supported")
        sliding = "sliding_attention" in (hf.get("layer_types") or [])
        if sliding or hf.get("use_sliding_window"):
            raise CheckpointError(f"{source}: sliding-window attention is not supported")

        n_heads = get("num_attention_heads", int)
        hidden_size = get("hidden_size", int)
        attention_bias = get("attention_bias", bool, False)
        config = cls(
            family=family,
            vocab_size=get("vocab_size", int),
            hidden_size=hidden_size,
            mlp_size=get("intermediate_size", int),
            n_layers=get("num_hidden_layers", int),
            n_heads=n_heads,
            n_kv_heads=get("num_key_value_heads", int, n_heads),
            head_dim=get("head_dim", int, 128 if family == "qwen3" else hidden_size // n_heads),
            norm_eps=get("rms_norm_eps", float, 1e-6),
            rope=_read_rope(hf, source),
            qkv_bias=True if family == "qwen2" else attention_bias,
            out_bias=False if family == "qwen2" else attention_bias,
            mlp_bias=get("mlp_bias", bool, False) if family == "llama" else False,
            qk_norm=family == "qwen3",
            tied=get("tie_word_embeddings", bool, False),
        )
        if config.n_heads % config.n_kv_heads or config.head_dim % 2:
            raise CheckpointError(
                f"{source}: {config.n_heads} heads do not divide over {config.n_kv_heads} "
                f"key/value heads, or head size {config.head_dim} is odd"
            )
        return config


def _read_rope(hf: dict, source: str) -> dict:
    # transformers 5 writes one dict, `rope_parameters`; 4 wrote `rope_theta` and `rope_scaling`
    rope = dict(hf.get("rope_parameters") or hf.get("rope_scaling") or {})
    rope.setdefault("rope_theta", hf.get("rope_theta") or 10000.0)
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    needed = {
        "default": [],
        "linear": ["factor"],
        "llama3": ["factor", "low_freq_factor", "high_freq_factor",
                   "original_max_position_embeddings"],
    }  # fmt: skip
    if rope["rope_type"] not in needed:
        raise CheckpointError(f"{source}: rope_type {rope['rope_type']!r} is not supported")
    if hf.get("partial_rotary_factor", rope.get("partial_rotary_factor", 1.0)) != 1.0:
        raise CheckpointError(f"{source}: partial_rotary_factor is not supported")
    for key in ["rope_theta", *needed[rope["rope_type"]]]:
        if not isinstance(rope.get(key), (int, float)) or rope[key] <= 0:
            raise CheckpointError(f"{source}: rope '{key}' must be a positive number")
    return rope


# --------------------------------------------------------------------------- rotary positions


def rope_frequencies(config: ModelConfig) -> Tensor:
    """Angular speed of each pair of head dimensions, (D/2,), float32 (RoFormer, arXiv 2104.09864).

    theta_i = base^(-2i/D).  "linear" slows every pair by `factor`; "llama3" slows only the pairs
    whose wavelength is long beside the original context, with a smooth passage (Llama 3.1).
    """
    D, rope = config.head_dim, config.rope
    pair = torch.arange(0, D, 2, device="cpu", dtype=torch.float32)  # (D/2,)
    frequency = 1.0 / rope["rope_theta"] ** (pair / D)
    if rope["rope_type"] == "linear":
        return frequency / rope["factor"]
    if rope["rope_type"] == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
        keep = ((turns - low) / (high - low)).clamp(0, 1)  # 1: a fast pair, left alone
        return keep * frequency + (1 - keep) * frequency / rope["factor"]
    return frequency


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+D/2}) by its angle; x (B, heads, T, D), cos and sin (..., T, D).

    The sine of the first half comes negated (`Transformer.rotary`): x_i cos - x_{i+D/2} sin.
    """
    first, second = x.chunk(2, dim=-1)  # (B, heads, T, D/2) each
    return (x * cos + torch.cat((second, first), dim=-1) * sin).type_as(x)


# --------------------------------------------------------------------------- the cache


class KVCache:
    """Keys and values of the tokens read so far, for the tokens that come next.

    Rows of one forward pass may all continue the single row of the one before: a prompt is
    computed once for a whole group, and gradients pass through.  Prompts of unequal length are
    padded on the *left*: row b is real from column `start[b]` on, so that its positions count from
    there and its pads are never seen.
    """

    def __init__(self, start: Tensor | None = None):
        self.layers: list[tuple[Tensor, Tensor]] = []  # (B, K, S, D) each
        self.start = start  # (B,) or None where no row is padded
        self.grows = True  # False: what reads it from now on is not added to it

    @property
    def length(self) -> int:
        """Tokens already read, S."""
        return self.layers[0][0].shape[2] if self.layers else 0


# --------------------------------------------------------------------------- the network


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last dimension (arXiv 1910.07467, eq. 4)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # under autocast queries and keys come in low precision: normalised in the weight's
        return F.rms_norm(x.type_as(self.weight), self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Causal attention; groups of H/K query heads share a key/value head (arXiv 2305.13245)."""

    def __init__(self, config: ModelConfig):
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

    def forward(self, x, cos, sin, mask, past) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The mixture (B, T, C), and all keys and values, `past` and new, (B, K, S, D) each."""
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, self.heads, self.head_dim)  # (B, T, H, D)
        k = self.k_proj(x).view(B, T, self.kv_heads, self.head_dim)  # (B, T, K, D)
        v = self.v_proj(x).view(B, T, self.kv_heads, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        heads = torch.cat((q, k), dim=2).transpose(1, 2)  # (B, H+K, T, D): turned in one go
        q, k = rotate(heads, cos, sin).split((self.heads, self.kv_heads), dim=1)
        if past is not None:  # one row of it may serve all of these
            pairs = zip(past, (k, v), strict=True)
            k, v = (torch.cat((old.expand(B, -1, -1, -1), new), dim=2) for old, new in pairs)
        keys_and_values = k, v
        shared = self.heads != self.kv_heads
        if shared and mask is not None and T > 1:
            # on GPUs no kernel that saves memory takes both a mask and shared heads
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
            shared = False
        # softmax(q k' / sqrt(D)) v.  Without a mask two cases: T = S, causal from the top,
        # and T = 1, one query that may see every key.
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and T > 1, enable_gqa=shared
        )  # (B, H, T, D)
        return self.o_proj(y.transpose(1, 2).flatten(2)), keys_and_values


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (arXiv 2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        C, M, bias = config.hidden_size, config.mlp_size, config.mlp_bias
        self.gate_proj = nn.Linear(C, M, bias=bias)
        self.up_proj = nn.Linear(C, M, bias=bias)
        self.down_proj = nn.Linear(M, C, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x, cos, sin, mask, past) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, keys_and_values = self.self_attn(self.input_layernorm(x), cos, sin, mask, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), keys_and_values


class Transformer(nn.Module):
    """A causal language model; `hf_config` is its `config.json`, kept to be saved again.

    `low_precision` names the type of `autocast`, and `recompute` gives up the layers' activations
    to compute them again on the way back (arXiv 1604.06174); both are off unless set.
    """

    low_precision: torch.dtype | None = None
    recompute = False
    rotary_table: Tensor | None = None

    def __init__(self, hf_config: dict, source: str = "config.json"):
        super().__init__()
        config = ModelConfig.from_hf(hf_config, source)
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

    @property
    def device(self) -> torch.device:
        return self.frequencies.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model["embed_tokens"].weight.dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        """Of the products of matrices."""
        return self.low_precision or self.dtype

    def autocast(self, reuse_weights=True):
        """Within, products of matrices are in `low_precision`; weights and sums of layers are not.

        An update of 1e-6 is lost on a weight in bfloat16: so the weights stay float32 ("master
        weights", arXiv 1710.03740).
        """
        return torch.autocast(
            self.device.type,
            self.low_precision,
            enabled=self.low_precision is not None,
            cache_enabled=reuse_weights,
        )

    def forward(
        self, tokens: Tensor, cache: KVCache | None = None, last_only=False, logits=True
    ) -> Tensor:
        """Logits of the next token, (B, T) -> (B, T, V); with `last_only` just the last, (B, 1, V).

        With a cache the tokens stand after those already in it, and are added to it if it `grows`.
        Without `logits` what the head reads, (B, T, C): for losses that never hold all the logits.
        """
        T = tokens.shape[1]
        before = 0 if cache is None else cache.length
        positions, mask = _positions_and_mask(T, before, cache and cache.start, tokens.device)
        cos, sin = self.rotary(before + T)[:, positions]  # (T, D) each, (B, 1, T, D) when padded
        x = self.model["embed_tokens"](tokens)  # (B, T, C)
        again = self.recompute and torch.is_grad_enabled()
        pasts = cache.layers if before else [None] * self.config.n_layers
        grown = []
        for block, past in zip(self.model["layers"], pasts, strict=True):
            step = partial(recomputed, block, use_reentrant=False) if again else block
            x, keys_and_values = step(x, cos, sin, mask, past)
            if cache is not None and cache.grows:
                grown.append(keys_and_values)
        if grown:
            cache.layers = grown
        h = self.model["norm"](x[:, -1:] if last_only else x)
        return self.head(h) if logits else h

    def rotary(self, length: int) -> Tensor:
        """Cosines and signed sines of at least `length` positions, (2, length, D), made once."""
        if self.rotary_table is None or self.rotary_table.shape[1] < length:
            positions = torch.arange(2 * length, device=self.device)
            angles = positions[:, None] * self.frequencies  # (length, D/2)
            cos, sin = angles.cos(), angles.sin()
            self.rotary_table = torch.stack((torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)))
        return self.rotary_table

    def head(self, h: Tensor) -> Tensor:
        """Logits from hidden states, (..., C) -> (..., V)."""
        return F.linear(h, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """(V, C), of the head or, where they are tied, of the embedding."""
        return self.model["embed_tokens"].weight if self.config.tied else self.lm_head.weight

    def save(self, folder: str | Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write `config.json` and `model.safetensors`, which transformers loads as they are.

        `weights` are given where this process holds only a shard of them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        hf = {key: value for key, value in self.hf_config.items() if key != "torch_dtype"}
        hf["dtype"] = str(self.dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(hf, indent=2) + "\n")
        weights = weights or self.state_dict()
        weights = {name: w.detach().cpu().contiguous() for name, w in weights.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _positions_and_mask(T: int, before: int, start: Tensor | None, device):
    """Positions, a slice or (B, 1, T), and who sees whom: None, (T, S) or (B, 1, T, S)."""
    positions = slice(before, before + T)
    if start is None and (before == 0 or T == 1):
        return positions, None
    columns = torch.arange(before + T, device=device)  # (S,)
    queries = columns[before:]  # (T,)
    # SDPA's is_causal counts from the top left corner, which is wrong for T < S: say it in full
    mask = columns <= queries[:, None]  # (T, S)
    if start is None:
        return positions, mask
    start = start[:, None, None, None]  # (B, 1, 1, 1)
    # a pad may look at pads: a softmax over nothing is NaN, and in the next layer NaN * 0 is NaN
    mask = mask & ((columns >= start) | (queries[:, None] < start))  # (B, 1, T, S)
    return (queries - start[..., 0]).clamp(min=0), mask  # (B, 1, T)


# --------------------------------------------------------------------------- weights from a folder


def load(
    folder_or_hub_id: str | Path, device="cpu", dtype: torch.dtype = torch.float32
) -> Transformer:
    """A checkpoint of the Hugging Face form: `config.json` and `*.safetensors`, in shards or not.

    Every tensor must be there with its shape and no other may be: anything else is a
    `CheckpointError` whose one line names the file and the tensor.  Pickled weights and code in the
    folder are never read.
    """
    folder = find_folder(folder_or_hub_id)
    hf_config = read_json(folder / "config.json")
    if "auto_map" in hf_config:
        raise CheckpointError(
            f"{folder / 'config.json'}: 'auto_map' names code, which is never run"
        )
    with torch.device("meta"):  # shapes first, memory only for what the files hold
        model = Transformer(hf_config, source=str(folder / "config.json"))
    expected = model.state_dict()
    weights: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (safe_open is no dict)
                    if name not in expected:
                        _refuse_unless_redundant(name, model.config, path)
                        continue
                    shape, wanted = file.get_slice(name).get_shape(), list(expected[name].shape)
                    if shape != wanted:
                        raise CheckpointError(f"{path}: {name} has shape {shape}, not {wanted}")
                    weights[name] = file.get_tensor(name).to(device=device, dtype=dtype)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    missing = sorted(expected.keys() - weights.keys())
    if missing:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(f"{folder}: missing tensor {missing[0]}{rest}")
    model.load_state_dict(weights, assign=True)
    return model.to(device)


def _refuse_unless_redundant(name: str, config: ModelConfig, path: Path) -> None:
    # old checkpoints carry the rotary table, and some a copy of the tied head
    if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tied):
        return
    raise CheckpointError(f"{path}: unexpected tensor {name}")


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        if not (folder / "model.safetensors").exists():
            raise CheckpointError(f"{folder}: no model.safetensors (pickled weights are not read)")
        return [folder / "model.safetensors"]
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: no 'weight_map'")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{index}: {name!r} is not the name of a safetensors file beside it"
            )
        if not (folder / name).exists():
            raise CheckpointError(f"{folder / name}: missing, though the index names it")
    return [folder / name for name in names]


def read_json(path: Path) -> dict:
    """A JSON object from a file, or a `CheckpointError` that names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return value


def find_folder(folder_or_hub_id: str | Path) -> Path:
    """The folder itself or, for `owner/name` on the Hugging Face hub, a downloaded copy of it."""
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(folder_or_hub_id)
    if name.count("/") != 1 or name.startswith((".", "/")) or name.endswith("/"):
        raise CheckpointError(f"{name}: no such model folder (nor a hub id of the form owner/name)")
    from huggingface_hub import snapshot_download  # comes with transformers; needed only here
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError, RuntimeError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"{name}: no such folder, and not to be had from the Hugging Face hub ({reason}); "
            "without a network, give the folder of a downloaded copy"
        ) from error
