r"""Extraction: where in a response is the answer?

What it teaches: a response is a text in which many numbers stand, and only one of them is the
answer.  The verifier accepts a place only if the response *commits* to it, by a box, by words such
as "the answer is", or by its closing line.  Were any number accepted, a response that lists
numbers would be right now and then, and a policy would learn to write lists.

Where it stands: the first of the three questions that `verifier.py` asks.  `find_answer` goes
through the table `TRUST` at the end of this file and takes the first form that occurs.  A new place
for an answer is one more function and one more row.

Try changing first: `TRUST`.  Without its last row `small.json` ends at 0.0% instead of 99.0%, and
none of its 185 groups is informative: "8+5=13,...#843" no longer holds an answer, so no response is
ever rewarded.  One more row that takes the last number of any other response changes nothing there,
not one reward: that model knows its format, and a looser place does not help it.
"""

import re
from functools import lru_cache

from answers.boxes import committed_box
from answers.doubt import UNSURE, WITHDRAWN
from answers.patterns import pattern
from answers.spelling import MAX_ANSWER

MAX_TAGS = 10_000  # around thoughts; a response with more has no answer
MAX_STARTS = 50  # places where a phrase may begin, counted from the end of the response


# ---- What was only thought ----

_THOUGHTS = "think|thinking|thoughts?|reasoning|reason|scratchpad"
_MORE_THOUGHTS = (
    "longcat_think|reflection|analysis|scratch_pad|rationale|cot|working|chain_of_thought"
)
_THOUGHT_TAG = pattern(
    "</think>",  # or [THINK], <seed:think>, ◁think▷, <|START_THINKING|> or <|begin_of_thought|>
    rf"<\|?\s{{0,3}}(?P<a>/?)\s{{0,3}}(?P<tag>(?:[a-z]{{1,9}}:)?(?:{_THOUGHTS}|{_MORE_THOUGHTS}))"
    rf"(?:\s[^<>|]{{0,40}})?\|?>|\[\s?(?P<b>/?)(?P<square>{_THOUGHTS})\s{{0,9}}\]"
    r"|◁(?P<c>/?)(?P<triangle>think)▷|<\|(?:START|(?P<d>END))_(?P<cohere>THINKING)\|>"
    r"|<\|(?:begin|(?P<e>end))_of_(?P<sky>thought)\|>"
    r"|<\|(?P<channel>channel)\|>\s?(?:(?:analysis|commentary)[^<>]{0,40}|(?P<f>final)\s?)"
    r"<\|message\|>",
    re.IGNORECASE,
)


@lru_cache(maxsize=2)  # a response that holds no answer is asked about twice
def without_thoughts(response: str) -> str | None:
    """Return a response without what it thinks between tags; None if a thought never ends.

    A closing tag alone ends a thought that the prompt has begun.  A thought ends with the tag that
    began it, and thoughts within thoughts are counted.
    """
    said, start, kind, depth = [], 0, None, 0
    for number, tag in enumerate(_THOUGHT_TAG.finditer(response)):
        if number > MAX_TAGS:
            return None
        closes = any(tag.group(*"abcdef"))
        names = tag.group("tag", "square", "triangle", "cohere", "sky", "channel")
        name = [name and name.lower() for name in names]
        if kind is None and closes:
            said, start = [], tag.end()
        elif kind is None:
            said.append(response[start : tag.start()])
            kind, depth = name, 1
        elif name == kind:
            depth = depth - 1 if closes else depth + 1
            if depth == 0 or (closes and tag["channel"]):
                kind, start = None, tag.end()
    return "".join(said) + response[start:] if kind is None else None


# ---- Tags for the answer ----

_TOKEN = pattern(  # such as <end_of_turn>, </s>, <br> or [/INST], though not the <a> of 1<a>0
    "<|im_end|>",
    r"<[|｜]?[^<>\n|｜]{1,40}[|｜]>|<[|｜][^<>\n]{1,40}>|</[a-z]{1,20}>|<[a-z_]{2,20}/?>"
    r"|\[/?[A-Z]{3,10}\]|\[\|[a-z]{2,20}\|\]|\[e~\[",
    re.IGNORECASE,
)
_REST_AFTER_TOKEN = pattern(
    "<|im_end|> user", rf"(?:{_TOKEN.pattern})(?![^\n]{{0,200}}\d).*", re.I | re.S
)

_FIRST_TAGS = pattern("<b>5", r"\A\s*(?:<[a-z]{1,10}>\s*)+", re.IGNORECASE)
LAST_TOKENS = pattern(
    # (?>...) is never matched in a second way, of which there would be 2 to the number of tokens
    "7<|im_end|>\n",
    rf"(?:\s{{0,9}}(?!</answer)(?>{_TOKEN.pattern}))++\s*\Z",
    re.IGNORECASE,
)


def tagged(response: str) -> str | None:
    """Return the answer in the last <answer>...</answer>; within it the other forms may stand."""
    end = max(response.rfind(tag) for tag in ("</answer>", "</ANSWER>", "</Answer>"))
    start = max(response.rfind(tag, 0, end) for tag in ("<answer>", "<ANSWER>", "<Answer>"))
    if end < 0 or start < 0:
        return None
    if WITHDRAWN.match(response, end + len("</answer>")):
        return ""
    inside = response[start + len("<answer>") : end]
    found = (find(inside) for find in (committed_box, declared, closing_display))
    return next((answer for answer in found if answer is not None), _plain(inside.strip()))


# ---- Declarations ----

_HASHES = pattern(
    "#### 7",  # but no heading such as "#### Final Answer"
    r"(?<!#)####(?!#)(?!\W{0,9}(?:the\s)?(?:final\s)?answer)([^\n]{0,4000})",
    re.IGNORECASE,
)
_PHRASE = pattern(
    "the answer to 311*641 is",  # also "Answer:", and "Final Answer" on a line of its own
    r"(?<![A-Za-z0-9])(?<!wrong )(?<!incorrect )(?<!false )(?<!\bno )(?<!\bnot )answers?"
    r"(?:\s(?:to|of|for)\s(?:(?:[^\n.]|\.(?=\d)){1,80}?\s(?=(?:is|are)\b)"
    r"|(?:[^\n.]|\.(?=\d)){1,80}?\s?(?=[:=])))?"
    r"[*_\s]{0,4}(?:\b(?:is|are|(?:would|should|must|will)\sbe|equals|comes\s(?:out\s)?to)\b|[:=：])"
    r"(?:</(?:b|strong)>)?[*_:\s]{0,8}"
    r"|(?:(?<=final )|(?<=[#*] )|(?<=\*\*)|(?<![^\n]))answer[*_: ]{0,4}\n\s{0,8}"
    r"|(?<![^\n])answer\s[-–—]\s",
    re.IGNORECASE,
)
_DISPLAY = pattern(r"\[ 42 \]", r"\s*(?:\\\[|\$\$)(.*?)(?:\\\]|\$\$)", re.DOTALL)
_STOP = r"(?<!approx)(?<!Rs)[.?](?:\s|$|\*)|\n"  # though not that of 3.14
_SENTENCE_END = pattern(
    "5 because 2 + 3 = 5",
    rf"{_STOP}|(?<!\{{),?\s(?:because|since|so|(?<!well )as)\b"
    r"(?!\s(?:well\sas|not)\b|\s(?:is\s)?[$*]{0,3}-?\d[\d.,/]{0,40}[$*.!]{0,4}(?:\s*\n|\s*\Z))",
)
_FULL_STOP = pattern("5. So", _STOP)
_GOES_ON = pattern("or $$44$$", r"\s?(?:(?:or|and|times|plus|minus)\b|[-+*/^<>=]|\\[a-z])")
_OR_ELSE = pattern(
    "it is 4, or maybe the ",
    r"\bor,?\s(?:else\s|maybe\s|perhaps\s|possibly\s)?(?:the\s|my\s)?(?:final\s)?\Z",
    re.IGNORECASE,
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
        if WITHDRAWN.match(response, hashes.end()):
            return ""
        return _plain(hashes[1] if is_numbered or UNSURE.search(hashes[1]) else sentence)
    if not phrase:
        return None
    if _OR_ELSE.search(response, max(0, phrase.start() - 40), phrase.start()):
        return ""
    return _sentence(response[phrase.end() : phrase.end() + MAX_ANSWER])


def _sentence(rest: str) -> str:
    """Return what a declaration says, with the end of its sentence if that doubts it."""
    end = _FULL_STOP.search(rest)
    whole = rest[: end.start()] if end else rest
    display = _DISPLAY.match(rest)
    if display:
        goes_on = _GOES_ON.match(rest, display.end())
        tail = _FULL_STOP.split(rest[display.end() :], maxsplit=1)[0] if goes_on else ""
        return f"{display[1].strip()} {tail.strip()}".strip()
    said = _SENTENCE_END.split(rest, maxsplit=1)[0]
    if WITHDRAWN.match(rest, len(whole)):
        return ""
    return _plain(whole if UNSURE.search(whole, len(said)) else said)


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
    """Take away markdown's emphasis, and what follows a special token, if it holds no number."""
    text = _REST_AFTER_TOKEN.sub("", _FIRST_TAGS.sub("", text), count=1)
    text = _BOLD.sub("", text)
    return _EXCLAIMED.sub("", text.lstrip(" \t*_`,}").rstrip(" \t*_`.,"))


# ---- Results and answers that are named afterwards ----

_RESULT = pattern(
    "The final result is 7",  # or "Solution:" at the beginning of a line, before a number
    r"(?:\bthe\s(?:final\s)?(?:result|solution)\s(?:is|equals)\b:?"
    r"|(?<![^\n])[*_#\s]{0,4}(?:final\s)?(?:result|solution|ans)[*_]{0,3}[:.][*_]{0,3})"
    r"\s{0,3}(?=[$*\\-]{0,4}[\d\\a-zA-Z.(])",
    re.IGNORECASE,
)
_NAMED_AFTERWARDS = pattern(
    "So 7 is the final answer.",
    r"(?:\A|\n|[.:!?]\s)\s{0,3}(?:(?:so|thus|hence|therefore),?\s)?"
    r"((?:[^\n.:!?]|\.(?=\d)){1,60}?)\sis\sthe\s(?:final\s|correct\s)?answer[.!*\s]{0,9}\Z",
    re.IGNORECASE,
)


def resulted(response: str) -> str | None:
    """Return what the last "the result is" declares, or the 7 of a closing "7 is the answer"."""
    if afterwards := _NAMED_AFTERWARDS.search(response, max(0, len(response) - 120)):
        return _plain(afterwards[1])
    found = [*_RESULT.finditer(response, max(0, len(response) - MAX_ANSWER))]
    if not found:
        return None
    rest = response[found[-1].end() :]
    end = _FULL_STOP.search(rest)
    goes_on = bool(end) and any(c.isdigit() for c in rest[end.end() :])
    return None if goes_on else _sentence(rest)  # a result on the way is no answer


_BARE = pattern("**7**", r"\s*[*$]{0,4}(-?[\d.,/]{1,40}(?:\\?%)?)[*$]{0,4}\.?\s*")


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
DECLARED = 'what the last "####" or "answer is" declares'
TRUST = (
    ("the last <answer>", tagged, r"\boxed{3} <answer>7</answer>"),
    (r"the last \boxed{} or \fbox{}", committed_box, r"The answer is 3, or rather \boxed{7}."),
    (DECLARED, declared, "The answer is 7.\n$2$"),
    ("a formula that is the whole last line", closing_display, "3#3, and so\n$7$"),
    ('what the last "the result is" declares', resulted, "The result is 7."),
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
    tail = LAST_TOKENS.sub("", said[-200:])
    said = said[:-200] + tail
    if len(said) < min(100, len(response)) and (bare := _BARE.fullmatch(said)):
        return bare[1], "all that follows the thought"
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
