"""Tokenizers: the files in a checkpoint that turn texts into tokens, read with care, written back.

What it teaches: that a prompt depends on more than its text.  The files say which tokens stand for
the text, and which token is put before it; a library that reads them otherwise makes other prompts
of the same problems.  So what is written here is read alike by transformers 4.57 and 5.

The files come from people whom nobody here knows.  One may be a pipe that never ends, hold anything
in place of JSON, or make the Rust library behind it panic.  Each of these is one line that names
the file.

Where it stands: below `data.make_prompts`, which makes prompts, and `policy.Policy`, which saves a
trained model with the tokenizer that it was trained with.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plumbing import disk
from plumbing.command import UserError
from plumbing.json_files import read_json, read_text, regular

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONFIG, GENERATION = "tokenizer_config.json", "generation_config.json"
MOST_BYTES = {  # of each file that a tokenizer may consist of; the largest in use have 35 million
    "tokenizer.json": 200_000_000, CONFIG: 20_000_000, "special_tokens_map.json": 1_000_000,
    "added_tokens.json": 20_000_000, "vocab.json": 50_000_000, "merges.txt": 50_000_000,
    "vocab.txt": 50_000_000, "tokenizer.model": 50_000_000, "chat_template.json": 1_000_000,
    "chat_template.jinja": 1_000_000,
}  # fmt: skip
# only their kind and size are looked at: there may be such a file that nothing reads
LEFT_TO_LIBRARY = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "chat_template.json")
MOST_BYTES_OF_TEMPLATE = 1_000_000  # of each template in the folder of further ones
FURTHER_TEMPLATES = "additional_chat_templates/*.jinja"
LONGEST_LETTER = 12  # tokens; more that make no letter together are no letter


# --------------------------------------------------------------------------- reading


def load_tokenizer(folder: str | Path) -> "PreTrainedTokenizerBase":
    """Load the checkpoint's own tokenizer; code in the folder is never run.

    Raises `UserError` where a file is malformed, too large, or not a file.
    """
    folder = Path(folder)
    config = _check_files(folder)
    if "auto_map" in config:
        raise UserError(f"{folder / CONFIG}: 'auto_map' names code, which is never run")
    # transformers takes seconds to import, and is not needed to make problems
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # tokenizer.json is complete; AutoTokenizer would add the tokens of the model's family to it
    has_json = (folder / "tokenizer.json").exists()
    loader = PreTrainedTokenizerFast if has_json else AutoTokenizer
    remedy = "; download it again, tokenizer.json and tokenizer_config.json above all"
    with library_errors(f"{folder}: its tokenizer cannot be loaded", remedy):
        tokenizer = loader.from_pretrained(str(folder), trust_remote_code=False)
        # some mistakes in the files show only when it is used
        tokenizer.decode([*tokenizer.encode(""), 0], skip_special_tokens=True)
    return tokenizer


def _check_files(folder: Path) -> dict[str, Any]:
    """Refuse files of a tokenizer that must not be read; return what tokenizer_config.json says."""
    found = {name: folder / name for name in MOST_BYTES}
    found |= {str(path.relative_to(folder)): path for path in folder.glob(FURTHER_TEMPLATES)}
    config: dict[str, Any] = {}
    for name, path in found.items():
        most = MOST_BYTES.get(name, MOST_BYTES_OF_TEMPLATE)
        if not os.path.lexists(path):
            continue
        if name in LEFT_TO_LIBRARY:
            regular(path, most)
        elif not name.endswith(".json"):
            read_text(path, most)
        else:
            value = read_json(path, most)
            config = value if name == CONFIG else config
    return config


@contextlib.contextmanager
def library_errors(what: str, remedy: str = "") -> Iterator[None]:
    """Turn every error of the library into a `UserError`: `what`, the reason, and the `remedy`.

    Where the library's Rust part panics it raises an error that is no `Exception`.  Ctrl-C raises
    such an error too, and passes.
    """
    try:
        with _reports_held_back():
            yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, ImportError) and error.__context__:
            error = error.__context__  # after any error, 4.57 asks for a library to explain it
        reason = " ".join(str(error).strip().split("\n")[0].split())[:300]
        if isinstance(error, (KeyError, AttributeError, TypeError)):  # a bare name, or less
            reason = f"{type(error).__name__}: {reason}"
        raise UserError(f"{what} ({reason}){remedy}") from error


@contextlib.contextmanager
def _reports_held_back() -> Iterator[None]:
    """Hold back what is written to standard error meanwhile, and show it where nothing failed.

    Rust prints a report of its own when it panics, in many lines and past Python's `sys.stderr`.
    """
    with contextlib.ExitStack() as stack:
        held = None
        with contextlib.suppress(OSError):  # no standard error, or no folder for the file
            shown = os.dup(2)
            stack.callback(os.close, shown)
            held = stack.enter_context(tempfile.TemporaryFile())
        try:
            if held:
                os.dup2(held.fileno(), 2)
            yield
        finally:
            if held:
                with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
                    sys.stderr.flush()
                os.dup2(shown, 2)
        if held:
            with contextlib.suppress(OSError):
                held.seek(0)
                os.write(2, held.read())


# --------------------------------------------------------------------------- encoding


def encode(tokenizer: "PreTrainedTokenizerBase", text: str, plain: bool) -> list[int]:
    """Return the tokens of a prompt, whose end is open; `UserError` where it has none.

    A `plain` text begins with what the tokenizer puts before texts, unless the text has its BOS
    already; what it puts behind texts is left out, since a prompt that ends in EOS asks for
    nothing.  Any other text, such as that of a chat template, is taken as it stands.
    """
    bos = tokenizer.bos_token
    try:
        with library_errors("its library fails"):
            tokens = tokenizer.encode(text, add_special_tokens=False)
            if not plain or (bos and text.lstrip().startswith(bos)):
                return tokens
            whole = tokenizer.encode(text)
    except UserError as error:
        shown = text if len(text) <= 100 else f"{text[:60]} ... {text[-30:]}"
        why = _not_in_alphabet(tokenizer, text) or error
        raise UserError(f"the tokenizer cannot encode {shown!r}: {why}") from error
    starts = (n for n in range(len(whole)) if whole[n : n + len(tokens)] == tokens)
    before = whole[: next(starts, 0)]
    return tokens if tokens[: len(before)] == before else before + tokens


def _not_in_alphabet(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Say which characters of a text a tokenizer of single characters lacks, if it is one."""
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    alphabet = "".join(token for token, _ in by_id if len(token) == 1)
    characters = dict.fromkeys(text.removeprefix(tokenizer.bos_token or ""))
    unknown = "".join(c for c in characters if c not in alphabet)[:100]
    if not unknown or len(by_id) > 200:
        return ""
    return f"it knows {alphabet} and not {unknown!r}"


# --------------------------------------------------------------------------- decoding


def pieces(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> list[str]:
    """Return the text that each token adds to those before it; special tokens stand as their names.

    A token of bytes may end within a letter.  It then adds nothing, and the token that completes
    the letter adds it.
    """

    def text(ids: list[int]) -> str:
        return tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )  # fmt: skip

    found, start, shown = [], 0, ""  # `shown` is the text of ids[start:k], all of it added already
    for k in range(len(ids)):
        so_far = text(ids[start : k + 1])
        waits = so_far.endswith("\ufffd") and k + 1 < len(ids) and k - start < LONGEST_LETTER
        found.append("" if waits else so_far[len(shown) :])
        if not waits:
            start, shown = k, text(ids[k : k + 1])
    return found


# --------------------------------------------------------------------------- writing


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write the tokenizer's files, so that transformers 4.57 and 5 both read this tokenizer."""
    with library_errors(f"{folder}: the tokenizer cannot be written"):  # by Rust: no OSError
        tokenizer.save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        return  # a tokenizer in Python keeps its own class, which both versions have
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    # The class of the source would make its own tokenizer of the file: 4.57 puts a BOS before every
    # text for Llama's.  This one, which 5 calls TokenizersBackend and 4.57 does not know by that
    # name, takes tokenizer.json as it is, and so as it was taken in training.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    # what 4.57 takes this class to need, and what no model of ours can be given
    config["model_input_names"] = ["input_ids", "attention_mask"]
    for key in ("backend", "is_local", "local_files_only"):  # notes of version 5 to itself
        config.pop(key, None)
    # 4.57 wants names with the extra tokens and fails on a list, which both know by its older name
    extra = config.pop("extra_special_tokens", None)
    named = config.pop("model_specific_special_tokens", None)
    if isinstance(extra, list):
        config["additional_special_tokens"] = extra
    if isinstance(named, dict) or isinstance(extra, dict):
        config["extra_special_tokens"] = named if isinstance(named, dict) else extra
    (folder / CONFIG).write_text(
        json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def generation_settings(folder: Path) -> dict[str, Any]:
    """Return what a folder's generation_config.json says, without keys that transformers lacks.

    A trained model gets these and not a copy of the file: it may be a link to anything.
    """
    from transformers import GenerationConfig

    known = vars(GenerationConfig())
    path = folder / GENERATION
    values = read_json(path) if os.path.lexists(path) else {}
    return {key: value for key, value in values.items() if key in known}


# --------------------------------------------------------------------------- the same files?


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a model folder that its prompts or its weights depend on.

    The keys are the files' names, so that a file that changed can be named.
    """
    names = ["config.json", GENERATION, "model.safetensors.index.json", *MOST_BYTES]
    paths = [folder / name for name in names]
    paths += [*folder.glob("*.safetensors"), *folder.glob(FURTHER_TEMPLATES)]
    found = filter(Path.is_file, sorted(paths))
    return {path.relative_to(folder).as_posix(): disk.sha256(path) for path in found}
