"""The configuration: every key of a run, its meaning, its default and its limits, in one place.

What it teaches: which knobs the algorithm has.  One frozen dataclass a concern, validated when it
is built: an unknown key, a wrong type or a value out of range is a `ConfigError` that names the
key.

Where it stands: before everything; `train.py` reads its keys beside the lines that they govern.

Try changing first: `python train.py --config small.json --set selector.name=random_one`.

The selectors are loaded here too, by path, because `import select` means the standard library's.
"""

import difflib
import json
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from data import MOST


class ConfigError(ValueError):
    """A configuration that cannot be used; the message is one line and names the key."""


def load_selectors():
    """The module in `select.py`, under the name `one_shot_select`: the one place that loads it."""
    path = Path(__file__).with_name("select.py")
    spec = spec_from_file_location("one_shot_select", path)
    module = sys.modules["one_shot_select"] = module_from_spec(spec)  # so that its objects pickle
    spec.loader.exec_module(module)
    return module


selectors = sys.modules.get("one_shot_select") or load_selectors()


def key(default, explanation: str, least=None, most=None, above=None, resumable=False):
    """A field with its explanation for --help and the limits of its value.

    `resumable` keys may have another value when a run is resumed.
    """
    limits = {"least": least, "most": most, "above": above}
    explanation += "; may change on --resume" if resumable else ""
    metadata = {"explanation": explanation, "resumable": resumable, **limits}
    if is_dataclass(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    pool: str = key("arithmetic", "problems to train on: 'arithmetic', 'tables', or a JSONL file")
    heldout: str = key("arithmetic", "problems to evaluate on: 'arithmetic', 'tables', or a file")
    pool_size: int = key(80, "problems in the pool; 0 for all of a file", least=0)
    pool_choice: Literal["first", "random"] = key(
        "first", "which problems of a file pool_size leaves; 'random' by the seed"
    )
    heldout_size: int = key(200, "held-out problems; of a file the first so many", least=0)
    max_prompt_tokens: int = key(
        0, "longer problems are left out of the pool; 0: no limit", least=0
    )
    template: str = key(
        "{problem}", "prompt around {problem}; 'chat' is the checkpoint's own template"
    )
    system: str = key("", "system line of the chat template; none if empty")
    prefill: str = key("", "what every response begins with, not sampled; may hold {problem}")

    def __post_init__(self):
        check(self)
        if self.template != "chat" and "{problem}" not in self.template:
            raise ConfigError("template: must hold {problem}, or be 'chat'")
        if self.system and self.template != "chat":
            raise ConfigError("system: only the template 'chat' has a system line")
        for name in ("pool", "heldout"):
            source, size = getattr(self, name), getattr(self, f"{name}_size")
            most = MOST.get(source, {}).get(name, size)
            if source in MOST and not 1 <= size <= most:
                raise ConfigError(f"{name}_size: '{source}' makes 1 to {most} problems, not {size}")


@dataclass(frozen=True)
class SelectorConfig:
    name: Literal[tuple(selectors.SELECTORS)] = key(
        "informative", "which arm picks the problem to roll out"
    )
    candidates: int = key(16, "M, problems to choose from each step (at most the pool)", least=1)
    ema: float = key(0.3, "weight of the newest group in the running statistics", above=0, most=1)
    bonus: float = key(0.05, "c, weight of the exploration bonus", least=0)
    entropy: Literal["policy", "answers", "none"] = key(
        "none", "whose entropy scales the bonus: the sampled tokens', the answers', nobody's"
    )

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class RolloutConfig:
    group_size: int = key(
        8, "G, responses to the chosen problem; one alone has no advantage", least=2
    )
    max_new_tokens: int = key(40, "tokens at which a response is cut off", least=1)
    temperature: float = key(1.0, "sampling temperature, of the loss too", above=0)
    top_k: int = key(0, "sample among the k likeliest tokens; 0 for all", least=0)
    top_p: float = key(1.0, "sample within this much probability", above=0, most=1)
    stop_ids: tuple[int, ...] = key(
        (), "token ids that end a response; none given: the checkpoint's"
    )

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class UpdateConfig:
    lr: float = key(1e-4, "AdamW's learning rate", above=0)
    decay: bool = key(True, "let the rate fall in a straight line, to 0 after the last step")
    beta1: float = key(0.9, "AdamW's decay of the mean", least=0, most=0.9999)
    beta2: float = key(0.95, "AdamW's decay of the square", least=0, most=0.999999)
    weight_decay: float = key(0.0, "AdamW's weight decay", least=0)
    grad_clip: float = key(1.0, "largest norm of the gradient", above=0)
    updates_per_group: int = key(1, "optimizer steps on the same rollouts", least=1)
    micro_batch: int = key(
        0, "rows a backward pass, 0 for a whole group; saves memory only", least=0
    )
    recompute: bool = key(
        False, "layers computed again on the way back: less memory, a third more work",
        resumable=True,
    )  # fmt: skip
    offload: bool = key(
        False, "AdamW's two moments wait in CPU memory: 8 bytes a weight less on the GPU",
        resumable=True,
    )  # fmt: skip
    clip_low: float = key(0.2, "the ratio is clipped at 1 - this", least=0, most=1)
    clip_high: float = key(0.28, "and at 1 + this (DAPO sets it higher)", least=0)
    aggregate: Literal["token", "sequence", "constant"] = key(
        "token", "mean over tokens (DAPO), over responses (GRPO), or by a constant (Dr. GRPO)"
    )
    advantage: Literal["std", "none"] = key(
        "std", "divide by the group's standard deviation, or not"
    )
    kl_coef: float = key(0.0, "weight of the KL penalty to the starting model", least=0)

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Config:
    model: str = key("base", "a Hugging Face folder (or hub id) of a Qwen2, Qwen3 or Llama model")
    seed: int = key(0, "of every random stream", least=0, most=2**63 - 1)
    steps: int = key(185, "steps at most", least=1, resumable=True)
    max_rollouts: int = key(
        1480, "stop before the step that exceeds this; 0: no limit", least=0, resumable=True
    )
    stop_accuracy: float = key(
        0.0, "end after two evaluations in a row that reach this; 0: never",
        least=0, most=1, resumable=True,
    )  # fmt: skip
    eval_every: int = key(80, "rollouts between evaluations", least=1, resumable=True)
    eval_batch: int = key(
        256, "problems answered at once in an evaluation; fewer take less memory",
        least=1, resumable=True,
    )  # fmt: skip
    checkpoint_every: int = key(20, "steps between checkpoints", least=1, resumable=True)
    device: str = key("cpu", "'cpu', 'cuda', 'cuda:1' or 'auto'")
    precision: Literal["float32", "bfloat16"] = key(
        "float32", "arithmetic within the model; the weights themselves stay float32"
    )
    shard: bool = key(
        False,
        "under torchrun: split weights, gradients and AdamW's state over the processes (FSDP2)",
        resumable=True,
    )  # fmt: skip
    threads: int = key(1, "CPU threads; more than one slows a tiny model", least=1, most=1024)
    data: DataConfig = key(DataConfig, "problems and prompts")
    selector: SelectorConfig = key(SelectorConfig, "which problem to roll out")
    rollout: RolloutConfig = key(RolloutConfig, "sampling of responses")
    update: UpdateConfig = key(UpdateConfig, "the GRPO update")

    def __post_init__(self):
        check(self)
        if self.shard and self.update.offload:
            raise ConfigError("update.offload: AdamW's state is already split by shard; choose one")


# --------------------------------------------------------------------------- validation


def check(config) -> None:
    """Every field has its type and lies within its limits, or a `ConfigError` names it."""
    hints = get_type_hints(type(config))
    for f in fields(config):
        value, hint = getattr(config, f.name), hints[f.name]
        if not _has_type(value, hint):
            raise ConfigError(f"{f.name}: must be {_type_name(hint)}, not {value!r}")
        least, most, above = (f.metadata[limit] for limit in ("least", "most", "above"))
        if least is not None and value < least:
            raise ConfigError(f"{f.name}: must be at least {least}, not {value}")
        if most is not None and value > most:
            raise ConfigError(f"{f.name}: must be at most {most}, not {value}")
        if above is not None and value <= above:
            raise ConfigError(f"{f.name}: must be above {above}, not {value}")


def _has_type(value, hint) -> bool:
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_has_type(item, int) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    return isinstance(value, hint)


def _type_name(hint) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return "a list of whole numbers"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    return names.get(hint, "an object of keys")


def build(cls, values: dict, path: str = ""):
    """A dataclass and those within it, from nested dicts; errors name the dotted path of a key."""
    hints = get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(_unknown(path + name))
        if is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise ConfigError(f"{path}{name}: must be an object of keys, not {value!r}")
            value = build(hints[name], value, f"{path}{name}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{path}{error}") from None


def _unknown(path: str) -> str:
    known = [name for name, _, _ in all_keys()]
    same_leaf = [name for name in known if name.split(".")[-1] == path.split(".")[-1]]
    close = same_leaf or difflib.get_close_matches(path, known, n=1)
    return f"{path}: no such key" + (f"; did you mean {close[0]}?" if close else " (see --help)")


# --------------------------------------------------------------------------- reading


def read_config(path: str | Path, overrides: list[str]) -> Config:
    """The configuration in a JSON file, with `key.path=value` overrides laid over it."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_no_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold one JSON object")
    for override in overrides:
        _lay_over(values, override)
    try:
        return build(Config, values)
    except ConfigError as error:
        key = str(error).partition(":")[0]
        overridden = any(override.partition("=")[0] == key for override in overrides)
        raise ConfigError(f"{'--set' if overridden else path}: {error}") from None


def _no_repeats(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def _lay_over(values: dict, override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: must have the form key=value")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text  # names and paths need no quotes
    *sections, name = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {section} is no object of keys")
    values[name] = value


def differences(values: dict, others: dict, cls=Config, path: str = "") -> list[tuple]:
    """(dotted path, value, other value) of the keys that differ and may not on --resume."""
    found = []
    for f in fields(cls):
        value, other = values[f.name], others.get(f.name, f.default)  # a key newer than the run
        if isinstance(value, dict):
            section = other if isinstance(other, dict) else {}
            cls_of_section = get_type_hints(cls)[f.name]
            found += differences(value, section, cls_of_section, f"{path}{f.name}.")
        elif not f.metadata["resumable"] and json.dumps(value) != json.dumps(other):
            found.append((path + f.name, value, other))
    return found


def all_keys(cls=Config, path: str = "") -> list[tuple[str, object, str]]:
    """Every key as (dotted path, default, explanation), in the order of the dataclasses."""
    found = []
    for f in fields(cls):
        hint = get_type_hints(cls)[f.name]
        if is_dataclass(hint):
            found += all_keys(hint, f"{path}{f.name}.")
        else:
            explanation = f.metadata["explanation"]
            if get_origin(hint) is Literal:
                explanation += f" ({', '.join(get_args(hint))})"
            found.append((path + f.name, f.default, explanation))
    return found
