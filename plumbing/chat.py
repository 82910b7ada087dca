"""Chat templates: the program in a checkpoint that lays out a conversation, run with care.

What it teaches: how a conversation becomes one text.  A chat template is a Jinja program in the
checkpoint, which writes the turns one after another, with marks around each, as the model was
trained to read them.  It is also code of people whom nobody here knows.  It runs in Jinja's
sandbox, with the names that transformers gives it.  The sandbox keeps it from files and from
Python's insides, but not from loops without end, `10**10**8`, or ten gigabytes of text.  So it runs
in a process of its own, with limits on time, memory and text, and never in the one that trains.
Whatever goes wrong is one line with the template's own words.

Where it stands: below `data.make_prompts`, for `data.template` "chat".

Try changing first: `AT_ONCE`.  At 1 each chat has a process of its own, and the prompts of 100
problems took 22 seconds instead of 0.2.
"""

import json
import subprocess
import sys
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from plumbing.command import UserError, one_line

if TYPE_CHECKING:
    from jinja2.parser import Parser
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 1000  # chats that are laid out in one process
MOST_SECONDS = 10  # that such a process may take
MOST_MEMORY = 2**30  # bytes of its address space, where the system can limit it
MOST_CHARACTERS = 4_000_000  # of one chat as it is laid out
OLDEST_JINJA = (3, 1, 6)  # older ones have holes in their sandbox

# names that a template has from here; `data.template_args` gives it others
GIVEN = ("messages", "tools", "documents", "add_generation_prompt", "strftime_now")

Turns = list[dict[str, str]]


def lay_out(
    tokenizer: "PreTrainedTokenizerBase", chats: list[Turns], date: str = "",
    arguments: dict[str, Any] | None = None,
) -> list[str]:  # fmt: skip
    """Return each chat as a text that ends where the model's turn begins.

    The turns of a chat are dicts of "role" and "content".  A template that asks for today gets
    `date`, as YYYY-MM-DD, or where it is empty the clock's; `arguments` are further names that it
    may ask for, such as Qwen3's `enable_thinking`.  The texts are those of transformers'
    `apply_chat_template(..., tokenize=False, add_generation_prompt=True, **arguments)`.
    `UserError` says what is wrong with the template.
    """
    place = f"{tokenizer.name_or_path}: its chat template".removeprefix(": ")
    template = _template_of(tokenizer.chat_template, place)
    for name in arguments or ():
        if name not in template:
            raise UserError(f"data.template_args.{name}: {place} never asks for it; leave it out")
    names = {"template": template, "date": date}
    names["others"] = _special_tokens(tokenizer) | (arguments or {})
    texts = []
    try:
        for first in range(0, len(chats), AT_ONCE):
            some = chats[first : first + AT_ONCE]
            texts += _laid_out_elsewhere({"names": names, "chats": some})
    except UserError as error:
        remedy = "mend it, or give data.template a text with {problem} in it"
        raise UserError(f"{place} {error}; {remedy}") from error
    return texts


def _template_of(template: object, place: str) -> str:
    """Return the one template of a tokenizer, which may have several by name."""
    if isinstance(template, dict):
        if "default" not in template:
            names = ", ".join(sorted(map(str, template)))
            raise UserError(f"{place} has no default among {names}; name one of them 'default'")
        template = template["default"]
    if not template:
        raise UserError("template 'chat': this tokenizer has no chat template; use '{problem}'")
    if not isinstance(template, str):
        kind = type(template).__name__
        raise UserError(f"{place} must be a text in tokenizer_config.json, not a {kind}")
    return template


def _special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """Return the special tokens that a template may name, such as `bos_token`, as plain texts."""
    return {
        name: list(map(str, token)) if isinstance(token, (list, tuple)) else str(token)
        for name, token in tokenizer.special_tokens_map.items()
    }


# --------------------------------------------------------------------------- running a template


def run(template: str, turns: Turns, others: dict[str, Any], date: str) -> str:
    """Return what a template makes of the turns; raises whatever the template raises."""
    day = datetime.strptime(date, "%Y-%m-%d") if date else datetime.now()
    pieces, size = [], 0
    for piece in _compiled(template).generate(
        others, messages=turns, tools=None, documents=None, add_generation_prompt=True,
        strftime_now=day.strftime,
    ):  # fmt: skip
        size += len(piece)
        if size > MOST_CHARACTERS:
            raise UserError(f"makes a text of more than {MOST_CHARACTERS:,} characters")
        pieces.append(piece)
    if not size:
        raise UserError("makes an empty text")
    return "".join(pieces)


class Generation(Extension):
    """Take the words within {% generation %}, which marks the assistant's, as part of the text."""

    tags = frozenset({"generation"})

    def parse(self, parser: "Parser") -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _refuse(message: object) -> None:
    """Implement `raise_exception`, by which a template says what it does not take."""
    raise jinja2.TemplateError(str(message))


def _to_json(
    value: object, ensure_ascii: bool = False, indent: int | None = None,
    separators: tuple[str, str] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    """Implement the filter `tojson`: Jinja's own would write < and & as HTML does."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@cache
def _compiled(template: str) -> jinja2.Template:
    """Return a template made ready in the environment that transformers makes for it.

    It is made here and not by `apply_chat_template`, since transformers 5 lets nobody replace the
    `strftime_now` of its own.
    """
    version = tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit())
    if version < OLDEST_JINJA:
        raise UserError("needs the sandbox of jinja2 3.1.6 or newer (pip install -U jinja2)")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)


def said_by(error: Exception) -> str:
    """Return what an error says of the template, in one line."""
    words = one_line(str(error))[:300]
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno} is not valid Jinja ({words})"
    if isinstance(error, jinja2.UndefinedError):
        return f"uses a name that is not there ({words})"
    if isinstance(error, jinja2.sandbox.SecurityError):
        return f"does what the sandbox forbids ({words})"
    if isinstance(error, MemoryError):
        return f"takes more than {MOST_MEMORY / 2**30:g} GiB of memory"
    if isinstance(error, UserError):
        return words
    if isinstance(error, jinja2.TemplateError):
        return f"says: {words}" if words else "refuses this chat"
    return f"fails with {type(error).__name__}" + (f" ({words})" if words else "")


# --------------------------------------------------------------------------- its own process


def _laid_out_elsewhere(asked: dict[str, Any]) -> list[str]:
    """Return what `answer` says in another process; `UserError` says what is wrong there."""
    # a fresh interpreter and no fork: torch's threads would not survive one, and macOS and Windows
    # have none that is safe; it imports no more than Jinja, and so begins in tenths of a second
    code = f"import sys; sys.path[:] = {sys.path!r}; from plumbing import chat; chat.answer()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(asked), timeout=MOST_SECONDS,
            capture_output=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"takes more than {MOST_SECONDS} seconds") from None
    try:
        said = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
        raise UserError(f"cannot be run in a process of its own ({last})") from None
    if said["wrong"]:
        raise UserError(said["wrong"])
    return said["texts"]


def answer() -> None:
    """Lay out the chats that standard input names, and print the texts, or what is wrong."""
    asked = json.loads(sys.stdin.read())
    try:
        import resource  # Windows has no such limits

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    except (ImportError, ValueError, OSError):
        pass
    try:
        texts = [run(turns=turns, **asked["names"]) for turns in asked["chats"]]
        said = json.dumps({"wrong": "", "texts": texts})
    except Exception as error:  # a template may raise whatever Python can
        said = json.dumps({"wrong": said_by(error)})
    print(said, end="")
