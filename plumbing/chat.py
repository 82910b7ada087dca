"""Chat templates: the program in a checkpoint that lays out a conversation, run with care.

A chat template is a Jinja program that came with a checkpoint, so it is code of people whom nobody
here knows.  It runs in Jinja's sandbox, with the names that transformers gives it.  The sandbox
keeps it from files and from Python's insides, but not from loops without end, `10**10**8`, or ten
gigabytes of text.  So before a template is used it lays out one chat in a process of its own, with
limits on time, memory and text, and whatever goes wrong is one line with the template's own words.

Where it stands: below `data.prompt_ids`, for `data.template` "chat".

Try changing first: `MOST_SECONDS`.  A template takes less than a millisecond; the process around it
takes a few tenths of a second, once per template.
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

from plumbing.command import UserError

if TYPE_CHECKING:
    from jinja2.parser import Parser
    from transformers import PreTrainedTokenizerBase

MOST_SECONDS = 10  # that a template may take for one chat
MOST_MEMORY = 2**30  # bytes of address space, where the system can limit it
MOST_CHARACTERS = 4_000_000  # of one chat as it is laid out
OLDEST_JINJA = (3, 1, 6)  # older ones have holes in their sandbox

Turns = list[dict[str, str]]


def lay_out(tokenizer: "PreTrainedTokenizerBase", turns: Turns, date: str = "") -> str:
    """Return the chat as a text that ends where the model's turn begins.

    `turns` are dicts of "role" and "content".  A template that asks for today gets `date`, as
    YYYY-MM-DD, or where it is empty the clock's.  The text is that of transformers'
    `apply_chat_template(..., tokenize=False, add_generation_prompt=True)`.  `UserError` says what
    is wrong with the template.
    """
    place = f"{tokenizer.name_or_path}: its chat template".removeprefix(": ")
    template = _template_of(tokenizer.chat_template, place)
    chat = {"turns": turns, "special": _special_tokens(tokenizer), "date": date}
    try:
        if template not in _tried:
            _try_out(template, chat)
        text = run(template, **chat)
    except Exception as error:  # a template may raise whatever Python can
        remedy = "or give data.template a text with {problem} in it"
        raise UserError(f"{place} {said(error)}; mend it, {remedy}") from error
    _tried.add(template)
    return text


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


def run(template: str, turns: Turns, special: dict[str, Any], date: str) -> str:
    """Return what a template makes of the turns; raises whatever the template raises."""
    day = datetime.strptime(date, "%Y-%m-%d") if date else datetime.now()
    pieces, size = [], 0
    for piece in _compiled(template).generate(
        special, messages=turns, tools=None, documents=None, add_generation_prompt=True,
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
    """{% generation %}, which marks the assistant's words; here they are part of the text."""

    tags = frozenset({"generation"})

    def parse(self, parser: "Parser") -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Namespace(jinja2.utils.Namespace):
    """Jinja's `namespace`, which must not take names that mean something to Python itself."""

    def __init__(*args: object, **values: object) -> None:
        self, *given = args  # so that a template's `namespace(self=1)` is no error
        jinja2.utils.Namespace.__init__(self)
        for name, value in dict(*given, **values).items():
            self[name] = value

    def __setitem__(self, name: str, value: object) -> None:
        if str(name).startswith("_"):
            raise jinja2.sandbox.SecurityError(f"a namespace must not have a name like {name!r}")
        super().__setitem__(name, value)


class Dict:
    """The name `dict` in a template, which must not reach Python's own class."""

    fromkeys = staticmethod(dict.fromkeys)

    def __call__(self, *args: object, **values: object) -> dict:
        return dict(*args, **values)


def _refuse(message: object) -> None:
    """Stand behind `raise_exception`, by which a template says what it does not take."""
    raise jinja2.TemplateError(str(message))


def _to_json(
    value: object, ensure_ascii: bool = False, indent: int | None = None,
    separators: tuple[str, str] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    """Stand behind the filter `tojson`: Jinja's own would write < and & as HTML does."""
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
    environment.globals |= {"raise_exception": _refuse, "dict": Dict(), "namespace": Namespace}
    return environment.from_string(template)


def said(error: BaseException) -> str:
    """Return what an error says, in one line without control characters."""
    words = "".join(c if c.isprintable() else " " for c in str(error))
    words = " ".join(words.split())[:300]
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno} is not valid Jinja ({words})"
    if isinstance(error, jinja2.UndefinedError):
        return f"uses a name that is not there ({words})"
    if isinstance(error, jinja2.sandbox.SecurityError):
        return f"does what the sandbox forbids ({words})"
    if isinstance(error, MemoryError):
        return "takes too much memory"
    if isinstance(error, UserError):
        return words
    if isinstance(error, jinja2.TemplateError):
        return f"says: {words}" if words else "refuses this chat"
    return f"fails with {type(error).__name__}" + (f" ({words})" if words else "")


# --------------------------------------------------------------------------- trying a template


WITHIN = "within the limits"
_tried: set[str] = set()  # the templates that have laid out a chat so


def _try_out(template: str, chat: dict[str, Any]) -> None:
    """Let another process lay out one chat; `UserError` says which limit the template broke.

    Any other mistake of the template is left to the one who asked: it costs neither time nor
    memory to make it again.
    """
    # a fresh interpreter and no fork: torch's threads would not survive one, and macOS and Windows
    # have none that is safe; it imports no more than Jinja, and so begins in tenths of a second
    code = f"import sys; sys.path[:] = {sys.path!r}; from plumbing import chat; chat.trial()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps([MOST_MEMORY, template, chat]),
            capture_output=True, encoding="utf-8", errors="replace", timeout=MOST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"takes more than {MOST_SECONDS} seconds for a chat") from None
    if done.stdout == WITHIN:
        return
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode <= 0 or "MemoryError" in last:  # below 0: ended by the system
        raise UserError(f"takes more than {MOST_MEMORY / 2**30:g} GiB of memory for a chat")
    raise UserError(f"cannot be tried in another process ({last})")


def trial() -> None:
    """Lay out one chat in this process, which is there for nothing else, and say how it went."""
    memory, template, chat = json.loads(sys.stdin.read())
    try:
        import resource  # Windows has no such limits

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    except (ImportError, ValueError, OSError):
        pass
    try:
        run(template, **chat)
    except MemoryError:
        return
    except Exception:  # whatever else it is, the one who asked will meet it too
        pass
    print(WITHIN, end="")
