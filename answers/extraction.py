r"""Extraction: where in a response is the answer?

What it teaches: a response is a text in which many numbers stand, and only one of them is the
answer.  The verifier accepts a place only if the response *commits* to it, by a box, by words such
as "the answer is", or by its closing line.  Were any number accepted, a response that lists
numbers would be right now and then, and a policy would learn to write lists.

Where it stands: the first of the three questions that `verifier.py` asks.  `find_answer` goes
through the table `TRUST` at the end of this file and takes the first form that occurs.  A new place
for an answer is one more function and one more row.

Try changing first: `TRUST`.  Without its last row `small.json` ends at 0.0% instead of 99.5%, and
none of its 185 groups is informative: "8+5=13,...#843" no longer holds an answer, so no response is
ever rewarded.  A sixth row that takes the last number of any other response changes nothing there,
not one reward: that model knows its format, and a looser place does not help it.
"""

import re

from answers.patterns import pattern
from answers.spelling import MAX_ANSWER

MAX_BOXES = 50  # boxes that are joined to one list
MAX_STARTS = 50  # places where a phrase may begin, counted from the end of the response


# ---- What was only thought ----

_THOUGHT_TAG = pattern(
    "</think>",
    r"[<\[](/?)(?:think|thinking|thought|thoughts|reasoning|reason|scratchpad)\s{0,9}[>\]]",
    re.IGNORECASE,
)


def without_thoughts(response: str) -> str | None:
    """Return a response without what it thinks between tags; None if a thought never ends.

    A closing tag alone ends a thought that the prompt has begun.
    """
    said, start, thinking = [], 0, False
    for tag in _THOUGHT_TAG.finditer(response):
        if tag[1]:
            said = said if thinking else []
            thinking, start = False, tag.end()
        elif not thinking:
            said.append(response[start : tag.start()])
            thinking = True
    return None if thinking else "".join(said) + response[start:]


# ---- Tags for the answer ----

_ANSWER_TAG = pattern("<answer>", r"<answer>", re.IGNORECASE)
_TOKEN = pattern(  # such as <end_of_turn>, </s>, <br> or [/INST], though not the <a> of 1<a>0
    "<|im_end|>",
    r"<[|｜][^<>\n]{1,40}[|｜]>|</[a-z]{1,20}>|<[a-z_]{2,20}/?>|\[/?[A-Z]{3,10}\]",
    re.IGNORECASE,
)

_FIRST_TAGS = pattern("<b>5", r"\A\s*(?:<[a-z]{1,10}>\s*)+", re.IGNORECASE)
_LAST_TOKENS = pattern(
    "7<|im_end|>\n", rf"(?:\s{{0,9}}(?!</answer)(?:{_TOKEN.pattern}))+\s*\Z", re.IGNORECASE
)


def tagged(response: str) -> str | None:
    """Return the answer in the last <answer>...</answer>; within it the other forms may stand."""
    end = max(response.rfind(tag) for tag in ("</answer>", "</ANSWER>", "</Answer>"))
    start = max(response.rfind(tag, 0, end) for tag in ("<answer>", "<ANSWER>", "<Answer>"))
    if end < 0 or start < 0:
        return None
    inside = response[start + len("<answer>") : end]
    found = (find(inside) for find in (boxed, declared, closing_display))
    return next((answer for answer in found if answer is not None), _plain(inside.strip()))


# ---- Boxes ----

_BOX = pattern(r"\boxed{7}", r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,9}(\{|[^\s{}$\\]{1,100})")
_BRACES = pattern(r"\}", r"\\.|[{}]", re.DOTALL)  # an escaped brace opens and closes nothing
_GAP = pattern(r"$ \text{and} $", r"[\s$()\[\]{}*.&\\]|\\(?:text|mbox|left|right)(?![a-z])")
_PARTED = pattern(r"\quad", r"\\q?quad(?![a-z])|\\\\")
_JOINER = pattern(", y=", r"(?:,|;|and|or)+(?:[A-Za-z0-9_']{1,9}&?=)?|[A-Za-z0-9_']{1,9}=")
_NAME_BEFORE = pattern(
    "$x_1 = ", r"(\\?[A-Za-z]+(?:_\{?\w{1,3}\}?)?'?)\s{0,4}&?=[\s$({\[\\]{0,9}\Z"
)


def boxed(response: str) -> str | None:
    r"""Return what the last \boxed{} or \fbox{} holds; "" if it is empty or never closed.

    Boxes that are joined to it by "and", "or", a comma or \quad, or of which each stands behind its
    own "x =", belong to it as the items of one list.
    """
    start = _last_box(response, 0, len(response))
    if start < 0:
        return None
    inside = _box_content(response, start)
    if inside is None or not inside[0]:
        return ""
    found = [(start, inside[0])]
    while len(found) < MAX_BOXES:
        before = _last_box(response, max(0, start - MAX_ANSWER), start)
        inside = _box_content(response, before) if before >= 0 else None
        if inside is None or not _are_joined(response[inside[1] : start]):
            break
        found.append((before, inside[0]))
        start = before
    if len(found) == 1:
        return found[0][1]
    return _listed(response, found[::-1])


def _are_joined(between: str) -> bool:
    """Say whether the text between two boxes makes them items of one list."""
    if len(between) > 60:
        return False
    sign = _GAP.sub("", _PARTED.sub(",", between).replace("\\text", ""))
    return bool(_JOINER.fullmatch(sign)) and not (sign.endswith("=") and "." in between)


def _listed(response: str, boxes: list[tuple[int, str]]) -> str:
    """Return the list of several boxes, each with its name if all names are different."""
    names = [_NAME_BEFORE.search(response[max(0, start - 40) : start]) for start, _ in boxes]
    if all(names) and len({name[1] for name in names}) == len(names):
        return ", ".join(f"{n[1]} = {inside}" for n, (_, inside) in zip(names, boxes, strict=True))
    return ", ".join(inside for _, inside in boxes)


def _last_box(response: str, low: int, high: int) -> int:
    """Return where the last box between two places starts, or -1."""
    return max(response.rfind(box, low, high) for box in ("\\boxed", "\\fbox"))


def _box_content(response: str, start: int) -> tuple[str, int] | None:
    """Return what the box that starts here holds and where it ends; None if it never closes."""
    opening = _BOX.match(response, start)
    if not opening:
        return None
    if opening[1] != "{":
        return opening[1], opening.end()  # \boxed 7
    depth = 1
    for brace in _BRACES.finditer(response, opening.end(), opening.end() + MAX_ANSWER):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return response[opening.end() : brace.start()].strip(), brace.end()
    return None


# ---- Declarations ----

_HASHES = pattern(
    "#### 7",  # but no heading such as "#### Final Answer"
    r"(?<!#)####(?!#)(?!\W{0,9}(?:the\s)?(?:final\s)?answer)([^\n]{0,4000})",
    re.IGNORECASE,
)
_PHRASE = pattern(
    "the answer to 311*641 is",  # also "Answer:", and "Final Answer" on a line of its own
    r"(?<!\w)answers?"
    r"(?:\s(?:to|of|for)\s(?:(?:[^\n.]|\.(?=\d)){1,80}?\s(?=(?:is|are)\b)"
    r"|(?:[^\n.]|\.(?=\d)){1,80}?\s?(?=[:=])))?"
    r"[*_\s]{0,4}(?:\b(?:is|are)\b|[:=])[*_:\s]{0,8}"
    r"|(?:(?<=final )|(?<=[#*] )|(?<=\*\*))answer[*_: ]{0,4}\n\s{0,8}",
    re.IGNORECASE,
)
_DISPLAY = pattern(r"\[ 42 \]", r"\s*(?:\\\[|\$\$)(.*?)(?:\\\]|\$\$)", re.DOTALL)
_SENTENCE_END = pattern(
    "5 because 2 + 3 = 5",  # or a stop, though not that of 3.14
    r"(?<!approx)(?<!Rs)[.?](?:\s|$|\*)|\n|(?<!\{),?\s(?:because|since|so|as)\b",
)
_BOLD = pattern("**72**", r"(?<![\w)])\*\*|\*\*(?![\w(])")
_EXCLAIMED = pattern("10 cats!", r"(?<=[a-z])!+\Z")  # behind a digit it is a factorial


def declared(response: str) -> str | None:
    """Return what the last "####" or "answer is" declares.

    Of "####" that is the rest of the line, and of "answer is", "Answer:" or "Final Answer" the rest
    of the sentence.  A heading such as "#### Final Answer" declares nothing.
    """
    hashes = _last(_HASHES, response, "####")
    phrase = _last(_PHRASE, response, "answer", "Answer", "ANSWER")
    if hashes and (not phrase or hashes.start() > phrase.start()):
        sentence, *rest = _SENTENCE_END.split(hashes[1], maxsplit=1)
        is_numbered = any(c.isdigit() for c in "".join(rest))  # as "1." may be, before an answer
        return _plain(hashes[1] if is_numbered else sentence)
    if not phrase:
        return None
    rest = response[phrase.end() : phrase.end() + MAX_ANSWER]
    display = _DISPLAY.match(rest)
    return display[1].strip() if display else _plain(_SENTENCE_END.split(rest, maxsplit=1)[0])


def _last(phrase: re.Pattern[str], text: str, *starts: str) -> re.Match[str] | None:
    """Return the last match of a pattern that begins with one of `starts`."""
    at = len(text)
    for _ in range(MAX_STARTS):
        at = max(text.rfind(start, 0, at) for start in starts)
        if at < 0:
            return None
        if found := phrase.match(text, at):
            return found
    return None


def _plain(text: str) -> str:
    """Take away markdown's emphasis, and what follows a special token that ends the text."""
    text = _TOKEN.split(_FIRST_TAGS.sub("", text), maxsplit=1)[0]
    text = _BOLD.sub("", text)
    return _EXCLAIMED.sub("", text.lstrip(" \t*_`,}").rstrip(" \t*_`.,"))


# ---- The end of the response ----

_CLOSING = pattern(
    "so\n$x = 5$",
    r"(?:\A|\n)[ \t]*(?:(?=\$)|\\\[|\\\()((?:\$\$?[^$]+\$\$?|(?:(?!\\[\[\]()]).)+?))"
    r"(?:(?<=\$)|\\\]|\\\))\.?\Z",
    re.DOTALL,
)
_AFTER_HASH = pattern("8+5=13,7+6+1=14,4+3+1=8#843", r"(?<=\d)#(-?\d{1,30})\Z")


def closing_display(response: str) -> str | None:
    """Return the last line if it is nothing but a formula between dollars or LaTeX's delimiters."""
    found = _CLOSING.search(response.rstrip()[-1000:])
    return found[1].strip(" $\n") if found else None


def after_hash(response: str) -> str | None:
    """Return the number behind a closing "#", which is the format of the built-in arithmetic."""
    found = _AFTER_HASH.search(response.rstrip()[-40:])
    return found[1] if found else None


# ---- Which place counts ----

# The forms in which an answer may stand, the most trusted first: what the form is called, how the
# answer is found, and an example whose answer is 7.  If a form occurs twice, its last place counts.
TRUST = (
    ("the last <answer>", tagged, r"\boxed{3} <answer>7</answer>"),
    (r"the last \boxed{} or \fbox{}", boxed, r"The answer is 3, or rather \boxed{7}."),
    ('what the last "####" or "answer is" declares', declared, "The answer is 7.\n$2$"),
    ("a formula that is the whole last line", closing_display, "3#3, and so\n$7$"),
    ("the number behind a closing #", after_hash, "3+4=7#7"),
)


def find_answer(response: str) -> tuple[str, str] | None:
    """Return the answer and the name of the form in which it stands; None without an answer.

    The first form of `TRUST` that occurs decides alone.  If it is empty, or repeats the instruction
    ("your answer"), there is no answer, whatever else the text says.
    """
    said = without_thoughts(response)
    if said is None:
        return None
    tail = _LAST_TOKENS.sub("", said[-200:])
    said = said[:-200] + tail
    for name, find, _ in TRUST:
        answer = find(said)
        if answer is not None:
            return None if is_echo(answer) else (answer, name)
    return None


_ECHO = pattern(
    r"\text{<insert the final answer here>}",
    r"(?:\\text|\\l?dots|[\s{}<>\[\]()._*?$…-]"
    r"|(?:insert|put|the|your|final|answer|here)(?![a-z]))*",
    re.IGNORECASE,
)


def is_echo(answer: str) -> bool:
    """Say whether an answer is empty, or only repeats an instruction such as "your answer"."""
    return _ECHO.fullmatch(answer) is not None


def repeats_unclosed_gold(response: str, gold: str) -> bool:
    r"""Say whether the last \boxed{} repeats a gold that lacks a closing brace.

    Some published golds do.  A box around them never closes, so `boxed` finds nothing in it.
    """
    if len(gold) >= MAX_ANSWER or gold.count("{") <= gold.count("}"):
        return False
    said = without_thoughts(response) or ""
    box = said.rfind("\\boxed")
    return box >= 0 and said.startswith(f"\\boxed{{{gold}}}", box)
