"""The configuration: every key of a run, its meaning, its default and its limits, in one place.

What it teaches: which knobs the algorithm has.  There is one frozen dataclass per concern, and it
is validated when it is built: an unknown key, a wrong type or a value out of range is a `UserError`
that names the key.

Where it stands: before everything else.  `python train.py --help` prints all of it.

Try changing first: `python train.py --config small.json --out runs/1 --set
selector.name=random_one`.
"""

import datetime
import difflib
import json
import sys
import zlib
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from data import TASKS
from plumbing.chat import GIVEN
from plumbing.command import UserError
from plumbing.json_files import read_json, read_text
from plumbing.selectors import load as load_selectors

T = TypeVar("T")
Advantage = Literal["std", "none", "rloo"]  # of `grpo.group_advantages`

# `import select` means the standard library's module: ours is read from here, by everyone.
selectors = load_selectors()


LARGEST = {int: 10**12, float: 1e30}  # of a number without a limit of its own
LARGEST_REWARD = 1e9  # of what is paid, and of a weight; beyond it float32 has few digits left
MOST_CHARACTERS = 100_000  # of a text, such as a template


def stream_seed(seed: int, name: str) -> int:
    """Return the seed of a named random stream, so that no stream ever disturbs another."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])


def key(
    default: object,
    explanation: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    resumable: bool = False,
    kept: bool = False,
) -> object:
    """Return a field with its explanation for --help and the limits of its value.

    `resumable` keys may have another value when a run is resumed.  A key that is `kept` is filled
    in when a run begins; empty on --resume, it means what the run began with.
    """
    limits = {"least": least, "most": most, "above": above}
    explanation += "; may change on --resume" if resumable else ""
    metadata = {"explanation": explanation, "resumable": resumable, "kept": kept, **limits}
    if isinstance(default, type):  # a section, or an object that is empty
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    pool: str = key("arithmetic", "problems to train on: 'arithmetic', 'tables', or a JSONL file")
    heldout: str = key("arithmetic", "problems to evaluate on: 'arithmetic', 'tables', or a file")
    pool_size: int = key(80, "problems in the pool; 0 for all of a file", least=0)
    pool_choice: Literal["first", "random"] = key(
        "first", "which problems of a file to take: the first, or drawn by the seed"
    )
    heldout_size: int = key(200, "held-out problems; of a file the first that many", least=0)
    max_prompt_tokens: int = key(
        0, "problems with longer prompts are left out of the pool; 0: no limit", least=0
    )
    template: str = key(
        "{problem}", "prompt around {problem}, or @FILE; 'chat' is the checkpoint's own template"
    )
    system: str = key("", "system line of the chat template, or @FILE for that of a file; or none")
    template_args: dict = key(
        dict, 'further names for the chat template, such as {"enable_thinking": false}'
    )
    prefill: str = key("", "what every response begins with, not sampled; may hold {problem}")
    date: str = key(
        "", "YYYY-MM-DD, today for a chat template; if empty, the day on which the run begins",
        kept=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        if self.template != "chat" and "{problem}" not in self.template:
            raise UserError("template: must hold {problem}, or be 'chat'")
        if self.system and self.template != "chat":
            raise UserError("system: only the template 'chat' has a system line")
        if self.template_args and self.template != "chat":
            raise UserError("template_args: only the template 'chat' has arguments")
        for name in self.template_args:
            if name in GIVEN or not name.isidentifier():
                raise UserError(f"template_args.{name}: is no name that a template can be given")
        if self.date and self.template != "chat":
            raise UserError("date: only the template 'chat' can print the date")
        if self.date and not is_day(self.date):
            raise UserError(f"date: must be a day as YYYY-MM-DD, not {self.date!r}")
        for name in ("pool", "heldout"):
            source, size = getattr(self, name), getattr(self, f"{name}_size")
            most = getattr(TASKS[source], f"{name}_most") if source in TASKS else size
            if source in TASKS and not 1 <= size <= most:
                raise UserError(f"{name}_size: '{source}' makes 1 to {most} problems, not {size}")


@dataclass(frozen=True)
class SelectorConfig:
    name: Literal[tuple(selectors.SELECTORS)] = key(
        "informative", "which arm picks the problem to roll out"
    )
    candidates: int = key(16, "M, problems to choose from at each step", least=1)
    ema: float = key(
        0.3, "weight of the newest group in the selector's running statistics", above=0, most=1
    )
    bonus: float = key(0.05, "c, weight of the exploration bonus", least=0)
    entropy: Literal["policy", "answers", "none"] = key(
        "none", "whose entropy scales the bonus: that of sampled tokens, of answers, or none"
    )
    tour: bool = key(
        False, "candidates never tried before go first; only in arms that have the bonus"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RolloutConfig:
    group_size: int = key(
        8, "G, responses to the chosen problem; one alone has no advantage", least=2, most=2**16
    )
    max_new_tokens: int = key(40, "tokens at which a response is cut off", least=1, most=2**20)
    temperature: float = key(
        1.0, "temperature of sampling, and of the log-probabilities in the loss",
        least=1e-6, most=1e6,
    )  # fmt: skip
    top_k: int = key(0, "sample among the k likeliest tokens only; 0 for all", least=0)
    top_p: float = key(
        1.0, "sample among the likeliest tokens that hold this much probability", above=0, most=1
    )
    at_once: int = key(
        128, "responses sampled at once where several problems are chosen; fewer take less memory",
        least=1, resumable=True,
    )  # fmt: skip
    graph: Literal["auto", "on", "off"] = key(
        "auto", "start each step of decoding as one operation, a CUDA graph; auto: on CUDA",
        resumable=True,
    )  # fmt: skip
    stop_ids: tuple[int, ...] = key(
        (), "token ids that end a response; if empty, those of the checkpoint"
    )
    stop: tuple[str, ...] = key(
        (), "texts that end a response too, which is read up to the first of them"
    )

    def __post_init__(self) -> None:
        check(self)
        if not all(self.stop):
            raise UserError("stop: an empty text ends no response; leave it out")


@dataclass(frozen=True)
class UpdateConfig:
    lr: float = key(1e-4, "AdamW's learning rate", above=0)
    decay: bool = key(True, "let the rate fall linearly, to 0 after the last step")
    beta1: float = key(0.9, "AdamW's decay of the mean", least=0, most=0.9999)
    beta2: float = key(0.95, "AdamW's decay of the square", least=0, most=0.999999)
    weight_decay: float = key(0.0, "AdamW's weight decay", least=0)
    grad_clip: float = key(1.0, "largest norm of the gradient", above=0)
    updates_per_group: int = key(
        1, "optimizer steps on the same rollouts; with one the clip never acts", least=1
    )
    micro_batch: int = key(
        0, "rows per backward pass, 0 for a whole group; fewer take less memory", least=0
    )
    recompute: bool = key(
        False, "compute each layer again on the way back: less memory, up to a third more work",
        resumable=True,
    )  # fmt: skip
    offload: bool = key(
        False, "keep AdamW's two moments in CPU memory: 8 bytes per weight less on the GPU",
        resumable=True,
    )  # fmt: skip
    surrogate: Literal["ppo", "gspo", "cispo"] = key(
        "ppo", "clip each token's ratio, one ratio per response, or a constant weight of log pi"
    )
    clip_low: float = key(0.2, "the ratio is clipped at 1 - clip_low", least=0, most=1)
    clip_high: float = key(0.28, "and at 1 + clip_high (DAPO sets it higher)", least=0)
    aggregate: Literal["token", "sequence", "constant"] = key(
        "token", "mean over tokens (DAPO), over responses (GRPO), or by a constant (Dr. GRPO)"
    )
    advantage: Advantage = key(
        "std", "reward minus its group's mean, divided by the standard deviation or not, "
        "or minus the mean of the others"
    )  # fmt: skip
    sampler_cap: float = key(
        0.0, "weigh each token by pi_old over the sampler's probability, capped at this; 0: do not",
        least=0,
    )  # fmt: skip
    kl_coef: float = key(0.0, "weight of the KL penalty to the starting model", least=0)
    mask_truncated: bool = key(
        False, "leave responses that were cut off out of the loss (DAPO); their rewards stay in "
        "the group's mean"
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)


Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class LoraConfig:
    rank: int = key(
        0, "r of the adapters that are trained in place of the weights (lora.py); 0: none", least=0
    )
    alpha: float = key(32.0, "what an adapter adds is multiplied by alpha / rank", above=0)
    targets: tuple[Projection, ...] = key(
        get_args(Projection), "the projections of each layer that have an adapter"
    )

    def __post_init__(self) -> None:
        check(self)
        if not self.targets:
            raise UserError("targets: names no projection; rank=0 is a run without adapters")


@dataclass(frozen=True)
class Config:
    model: str = key("base", "a Hugging Face folder (or hub id) of a Qwen2, Qwen3 or Llama model")
    seed: int = key(0, "the seed of every random stream", least=0, most=2**63 - 1)
    reward: str | dict = key(
        "verifier", "what is paid: 'verifier', 'format', 'overlong' (a penalty from 0 to -1), a "
        "function of yours as FILE.py:NAME, or an object of these with their weights"
    )  # fmt: skip
    steps: int = key(185, "steps at most", least=1, resumable=True)
    max_rollouts: int = key(
        1480, "stop before the step that would exceed this; 0: no limit", least=0, resumable=True
    )
    stop_accuracy: float = key(
        0.0, "end early after two evaluations in a row that reach this; 0: never",
        least=0, most=1, resumable=True,
    )  # fmt: skip
    eval_every: int = key(80, "rollouts between evaluations", least=1, resumable=True)
    eval_batch: int = key(
        256, "problems answered at once in an evaluation; fewer take less memory",
        least=1, resumable=True,
    )  # fmt: skip
    responses: bool = key(
        True, "write every response of training to responses.jsonl", resumable=True
    )
    log: Literal["none", "tensorboard"] = key(
        "none", "curves that can be watched, as event files in the run's folder", resumable=True
    )
    report: bool = key(
        False, "record each token of the responses, and write report.html now and then, as "
        "--report does", resumable=True,
    )  # fmt: skip
    checkpoint_every: int = key(20, "steps between checkpoints", least=1, resumable=True)
    device: str = key("cpu", "'cpu', 'cuda', 'cuda:1' or 'auto'")
    precision: Literal["float32", "bfloat16"] = key(
        "float32", "arithmetic within the model; the weights that are trained stay in float32"
    )
    compile: Literal["auto", "on", "off"] = key(
        "auto", "torch.compile for the layers, in updates and in graphs; auto: on CUDA, long runs",
        resumable=True,
    )  # fmt: skip
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
    lora: LoraConfig = key(LoraConfig, "low-rank adapters")

    def __post_init__(self) -> None:
        if self.precision == "float16":
            raise UserError(
                "precision: float16 is not there, as its small gradients would need loss scaling; "
                "use bfloat16, or on a GPU without it, such as a T4, float32"
            )
        check(self)
        if isinstance(self.reward, dict):
            object.__setattr__(self, "reward", reward_weights(self.reward))  # the way past `frozen`
        if self.shard and self.update.offload:
            raise UserError("update.offload: AdamW's state is already split by shard; choose one")
        if self.shard and self.lora.rank:
            raise UserError("shard: splits what is learned, and adapters are small; leave it out")


# --------------------------------------------------------------------------- validation


def check(config: object) -> None:
    """Raise a `UserError` that names the first field of a wrong type or out of its limits.

    A whole number where a decimal one is meant becomes one, as AdamW refuses a whole
    number as beta1.
    """
    hints = get_type_hints(type(config))
    for f in fields(config):
        value, hint = getattr(config, f.name), hints[f.name]
        if not _has_type(value, hint):
            raise UserError(f"{f.name}: must be {_type_name(hint)}, not {value!r}")
        least, most, above = (f.metadata[limit] for limit in ("least", "most", "above"))
        most = LARGEST.get(hint) if most is None else most
        size = len(value if hint is str else _as_json(f.name, value))
        if size > MOST_CHARACTERS:
            raise UserError(f"{f.name}: has {size:,} characters; {MOST_CHARACTERS:,} are allowed")
        if least is not None and value < least:
            raise UserError(f"{f.name}: must be at least {least}, not {value}")
        if most is not None and value > most:
            raise UserError(f"{f.name}: must be at most {most}, not {value}")
        if above is not None and value <= above:
            raise UserError(f"{f.name}: must be above {above}, not {value}")
        if hint is float:
            object.__setattr__(config, f.name, float(value))  # the way past `frozen`


def reward_weights(named: dict[str, object]) -> dict[str, float]:
    """Return the weights of several rewards as decimal numbers; `UserError` where one is none."""
    if not named:
        raise UserError('reward: must name at least one reward, as in {"verifier": 1}')
    for name, weight in named.items():
        if not _has_type(weight, float) or abs(weight) > LARGEST_REWARD:
            raise UserError(
                f"reward: the weight of {name!r} must be a number from -1e9 to 1e9, not {weight!r}"
            )
    return {name: float(weight) for name, weight in named.items()}


def _as_json(name: str, value: object) -> str:
    try:
        return "" if is_dataclass(value) else json.dumps(value, allow_nan=False, sort_keys=True)
    except ValueError as error:
        raise UserError(f"{name}: must hold finite numbers") from error


def _has_type(value: object, hint: object) -> bool:
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        kind = get_args(hint)[0]
        return isinstance(value, tuple) and all(_has_type(item, kind) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    return isinstance(value, hint)


def _type_name(hint: object) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        each = get_args(hint)[0]
        known = {int: "whole numbers", str: "texts"}
        return "a list of " + (known[each] if each in known else _type_name(each))
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    names[str | dict] = "a text, or an object of names and their weights"
    return names.get(hint, "an object of keys")


def build(cls: type[T], values: dict, path: str = "") -> T:
    """Return a dataclass with those within it, from nested dicts; errors name the dotted path."""
    hints = get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            raise UserError(_unknown(path + name))
        if is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise UserError(f"{path}{name}: must be an object of keys, not {value!r}")
            value = build(hints[name], value, f"{path}{name}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**arguments)
    except UserError as error:
        raise UserError(f"{path}{error}") from None


def _unknown(path: str) -> str:
    known = [name for name, _, _ in all_keys()]
    same_leaf = [name for name in known if name.split(".")[-1] == path.split(".")[-1]]
    close = same_leaf or difflib.get_close_matches(path, known, n=1)
    return f"{path}: no such key" + (f"; did you mean {close[0]}?" if close else " (see --help)")


# --------------------------------------------------------------------------- reading


def read_config(path: str | Path, overrides: list[str]) -> Config:
    """Return the configuration in a JSON file, with `key.path=value` overrides laid over it."""
    # a number that is not finite is refused below, by the name of its key
    any_number = {"parse_float": float, "parse_constant": float}
    values = read_json(path, object_pairs_hook=_no_repeats, **any_number)
    for override in overrides:
        _lay_over(values, override)
    if isinstance(values.get("data"), dict):
        for name in values["data"].keys() & {"system", "template"}:
            values["data"][name] = text_or_file(values["data"][name], f"data.{name}")
    try:
        return build(Config, values)
    except UserError as error:
        key = str(error).partition(":")[0]
        overridden = any(override.partition("=")[0] == key for override in overrides)
        raise UserError(f"{'--set' if overridden else path}: {error}") from None


def text_or_file(value: object, where: str) -> object:
    """Return the text in FILE, without the line breaks at its end, for "@FILE"; else the value."""
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    try:
        text = read_text(value[1:], 4 * MOST_CHARACTERS, encoding="utf-8-sig")
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    text = text.replace("\r\n", "\n").rstrip("\r\n")  # as an editor on Windows ends its lines
    if not text:
        raise UserError(f"{where}: {value[1:]}: holds no text")
    return text


def _no_repeats(pairs: list[tuple[str, object]]) -> dict:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def warn_of_backslash(where: str, text: str, instead: str) -> None:
    """Say on the terminal where a shell has left a backslash and an n or t as they are."""
    if "\\n" in text or "\\t" in text:
        letter = "n" if "\\n" in text else "t"
        print(
            f"warning: {where}: holds a backslash and the letter {letter}, and no "
            f"{'line break' if letter == 'n' else 'tab'}; this gives one: {instead}",
            file=sys.stderr,
        )


def read_value(text: str) -> object:
    """Return what a text says as JSON, or else the text: names and paths need no quotes."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _lay_over(values: dict, override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set {override}: must have the form key=value")
    value = read_value(text)
    if value is text and path in ("data.template", "data.system", "data.prefill"):
        warn_of_backslash(f"--set {path}", text, f"--set '{path}=\"{text}\"'")
    *sections, name = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override}: {section} is no object of keys")
    values[name] = value


def differences(
    values: dict, others: dict, cls: type = Config, path: str = ""
) -> list[tuple[str, object, object]]:
    """Return (dotted path, value, other value) of keys that differ and must not on --resume."""
    found = []
    for f in fields(cls):
        value, other = values[f.name], others.get(f.name, default_of(f))  # a key newer than the run
        if is_dataclass(hint := get_type_hints(cls)[f.name]):
            section = other if isinstance(other, dict) else {}
            found += differences(value, section, hint, f"{path}{f.name}.")
        elif f.metadata["resumable"] or (f.metadata["kept"] and not value):
            continue
        elif _sorted(value) != _sorted(other) and not _same_number(value, other):
            found.append((path + f.name, value, other))
    return found


def default_of(f: Field) -> object:
    """Return the default of a key; a section has {}, and is filled in from its own keys."""
    return {} if f.default is MISSING else f.default


def _sorted(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _same_number(value: object, other: object) -> bool:
    """Say whether both are numbers and equal, as 1 and 1.0 are."""
    return type(value) in (int, float) and type(other) in (int, float) and value == other


def with_date(cfg: Config, began: object = "") -> Config:
    """Return the configuration with its day filled in where a chat template may print one.

    It is the day on which the run `began`, as a file recorded it, or else today.
    """
    if cfg.data.template != "chat" or cfg.data.date:
        return cfg
    recorded = isinstance(began, str) and is_day(began)
    day = began if recorded else datetime.date.today().isoformat()
    return replace(cfg, data=replace(cfg.data, date=day))


def is_day(text: str) -> bool:
    """Say whether a text is a day of the calendar, written as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def all_keys(cls: type = Config, path: str = "") -> list[tuple[str, object, str]]:
    """Return every key as (dotted path, default, explanation), in the order of the classes."""
    found = []
    for f in fields(cls):
        hint = get_type_hints(cls)[f.name]
        if is_dataclass(hint):
            found += all_keys(hint, f"{path}{f.name}.")
        else:
            explanation = f.metadata["explanation"]
            if get_origin(hint) is Literal:
                explanation += f" ({', '.join(get_args(hint))})"
            found.append((path + f.name, default_of(f), explanation))
    return found
