r"""Remarks: what stands around an answer and adds nothing, and what takes the answer away.

What it teaches: people and models seldom stop at the answer.  "72, which is the total" and
"7 (seven)" still say 72 and 7.  But "72, or maybe 74" commits to nothing, and were it paid for 72,
a policy would learn to hedge.  So a remark is taken away only if it cannot hold a second answer: it
has no digits and no words such as "or" and "maybe", or it says the same value again.

A remark that says a value becomes a side of an equation: "0.75 (or 3/4)" is 3/4 = 0.75, and
"311*641, which equals 199351" is 311*641 = 199351.  Such a chain is right only if all its sides are
equal, and only its last side is paid.

Where it stands: `spelling.py` asks `without_remarks` in the course of its replacements, when fonts
are gone and units are not yet marked.

Try changing first: `DOUBT`, the words that take an answer away.  Without them "72 (maybe)" and
"7, but I am not sure" are paid.
"""

import re

from answers.doubt import DOUBT, DOUBTFUL_WORDS
from answers.patterns import pattern

MAX_REMARKS = 3  # behind one answer

_CHANGES_VALUE = pattern(
    "plus three",
    r"\b(?:than|minus|plus|times|mod|base|except|half|twice|double|dozen|hundred"
    r"|thousand|[mbtr]+illion|per ?cent|added|point|degrees?)\b",
    re.IGNORECASE,
)
_CAN_HAVE_REMARKS = pattern("5 (a)", r"""(?<![\\A-Za-z])[A-Za-z]{2}|["'`]|\s\(|[^\x00-\x7f]""")

# ---- Spelled numbers ----

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_UNITS += " fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: n for n, word in enumerate(_UNITS.split())}
_VALUES |= {word: 10 * n for n, word in enumerate(_TENS.split(), 2)}


def spelled(words: str) -> int | None:
    """Return the number that some words begin with, up to 999; None if it is none of those."""
    total, found = 0, False
    for word in re.findall("[a-z]+", words.lower()):
        if word in _VALUES:
            total += _VALUES[word]
        elif word == "hundred" and found:
            total *= 100
        elif not (word == "and" and found):
            break
        found = True
    return total if found else None


# ---- Patterns ----

_EDGE = "[\"'`\u2600-\u27bf\u2b50\ufe0f\u200d\U0001f000-\U0001faff\u25a0\u25a1\u220e]"  # and emoji
_OPENED = pattern('"5', rf"\A[\s*]*(?:{_EDGE}\s?)+")
_CLOSED = pattern('5."', rf"(?:[\s*.]{{0,9}}(?!(?<=[A-Za-z'])['`]){_EDGE}){{1,20}}[\s*.]*\Z")

_NUMBER_START = r"[\s($+-]*(?:\\frac\s*\{?\s*-?\d|\.?\d)"
_MORE_WORDS = r"(?:\s?[A-Za-z]{2}[A-Za-z .]*)?"
_ANSWER = pattern(
    "x = 72 cats",
    rf"(?:[^,;]{{0,200}}(?:[=:]|\\approx))?{_NUMBER_START}"
    rf"(?:[\d.,/ ^{{}}$%]|\\(?:frac|circ|times|cdot|%)|\\text\{{[^{{}}]*\}})*{_MORE_WORDS}",
)
_VALUE = pattern(
    "-3/4 cats",
    rf"{_NUMBER_START}(?:[\d.,/ ^{{}}()%$*+-]|\\text\{{[^{{}}]*\}}|\\[a-z]+)*{_MORE_WORDS}",
)
_WORDS = pattern(
    "that's the total",
    r"(?=.*[A-Za-z]{3})(?:\\text(?=\{)|\b[A-Za-z]{2,}\b|'[a-z]{1,2}\b|\b[aI]\b|[ ,;:.'!?{}-])*",
)

_ASIDE = pattern(
    "7 (seven) cats",
    r"\s\(\s*([^()]{0,80}(?:\([^()]{0,40}\)[^()]{0,40}){0,3})\)((?: [A-Za-z]{2,20}){0,4})\Z",
)
_AGAIN = pattern(
    "or 3/4",
    r"(?:(?:or|i\.e\.,?|that is,?|which is|approximately|approx\.?|about|exactly|equals?|equal to|="
    r"|\\approx)\s*){0,3}",
    re.IGNORECASE,
)
_ROUNDED = pattern(
    "rounded to 2 decimal places", r"(?:rounded|correct|accurate|to)\b[A-Za-z ]*\d{0,3}[A-Za-z .]*"
)
_DENIAL = pattern("not 8", r"(?:not|rather than|instead of) -?\d+")
_FORMULA_WORD = pattern("six times seven", r"\b(?:times|plus|minus|divided|than|of|over|by)\b")
_BECAUSE = pattern("because 2 + 3 = 5", r"(?:because|since|as|for|where|from|which|that)\b")

_EQUALS = pattern(
    "311*641, which equals 199351",
    r"(?:(?<=\S)[, ]+|\A)(?:(?:which|that|and (?:this|that|it))\b ?)?"
    r"(?:(?:is|are)(?: (?:just|exactly|equal to|the same as))?|equals?(?: to)?|gives|yields|makes"
    r"|comes to|evaluates to)(?: ?[=:])? ",
    re.IGNORECASE,
)
_UNDONE = pattern(r"2 \cdot", r"(?:[-+*/^=<>:,]|\\(?:times|cdot|div|pm))\s*\Z")
_CHOICE = pattern("(C)", r"\([A-J]\)")
_TRAILING_OFF = pattern(
    "311*641 which equals",
    r"(?<=\S)[, ]+(?:which|that|(?:(?:which|that|and this) )?(?:is|equals?|is equal to|gives)"
    r"|(?:is|as|was) (?:the|my|our) (?:final |correct |right )?(?:answer|result|solution|total))\Z",
)
_EXPLANATION = pattern(
    "72, which is the total",
    r"(?<=\S)(?: ?[,;] ?(?:that is|as|so|thus|hence|where)| ?[,;]? (?:because|since|which))\b"
    r"(?! (?:is |= |well as )?[$(]?-?\d[\d.,/)]*\Z)"  # and not "so is 44"
    r"(.*)\Z",
)
_CLAUSE = pattern(
    "12 minutes and that's it",
    r"(?<=\S)(?: ?[,;] ?([A-Za-z\\].*)| - ((?:the|this|that|which|in|so)\b.*)"
    r"| (and (?:that|this|it|we|I|so|there|he|she|they|you|thus|hence|therefore)\b.*))\Z",
)
_LABEL = pattern("Total cost: 5", r"[^,;=:]*(?:[A-Za-z]{3}|\bof\b)[^,;=:]*")
_AMOUNT = pattern(
    "44 thirds", r"\s*-?[\d./]{1,40}(?:\s[A-Za-z]{1,40}){1,9}\s*"
)  # is no name for 43
_NO_LABEL = pattern(  # words of a relation, commands, and functions that the grammar computes
    "less than",
    rf"\b(?:not|never|no|less|greater|more|fewer|most|than|between|or|{DOUBTFUL_WORDS}"
    r"|(?:a?sinh?|a?cosh?|a?tanh?|arc\w+|log|ln|lg|exp|sqrt|cbrt|abs|sec|csc|cot)(?= ?[\d(\\^_]))\b"
    r"|at least|[<>]|\\(?!(?:times|cdot|div|text)(?![a-z]))|(?<![A-Za-z'])[b-z](?![A-Za-z'])",
    re.IGNORECASE,
)


# ---- What is taken away ----


def without_remarks(text: str) -> str:
    """Take away quotes, emoji, labels and remarks; a value that is said again becomes a side."""
    if not _CAN_HAVE_REMARKS.search(text):
        return text
    text = _CLOSED.sub("", _OPENED.sub("", text))
    for _ in range(MAX_REMARKS):
        shorter = _without_one(text)
        if shorter == text:
            break
        text = shorter
    return _without_label(text)


def _without_one(text: str) -> str:
    """Take away one remark from the end of a text, or return the text as it is."""
    text = _TRAILING_OFF.sub("", text)
    aside = _ASIDE.search(text) if ")" in text else None
    if aside:
        return _without_aside(text[: aside.start()] + aside[2], aside[1].strip()) or text
    for equals in _EQUALS.finditer(text):
        front, back = text[: equals.start()], text[equals.end() :]
        if _VALUE.fullmatch(back) and not DOUBT.search(front):
            return f"{front} {back}" if _CHOICE.fullmatch(front) else f"{front} = {back}"
    explanation = _EXPLANATION.search(text)
    if explanation and not DOUBT.search(explanation[1]):
        return text[: explanation.start()]
    clause = _CLAUSE.search(text)
    if clause and _ANSWER.fullmatch(text, 0, clause.start()) and _is_idle(clause[clause.lastindex]):
        return text[: clause.start()]
    return text


def _without_aside(front: str, inside: str) -> str | None:
    """Return a number without the words in brackets behind it; None if they may not be left out."""
    if _UNDONE.search(front):
        return None  # the bracket is a factor or a term
    if not _ANSWER.fullmatch(front):
        value = None if _FORMULA_WORD.search(front) else spelled(front)
        return f"{value} = {inside}" if value is not None and _VALUE.fullmatch(inside) else None
    again = inside[_AGAIN.match(inside).end() :]
    if _VALUE.fullmatch(again) and not _CHANGES_VALUE.search(again):
        return f"{again} = {front}"
    value = spelled(again)
    if value is not None and not _FORMULA_WORD.search(again):
        return f"{value} = {front}"
    explained = _BECAUSE.match(inside) and not DOUBT.search(inside)
    if explained or _DENIAL.fullmatch(inside):
        return front
    return front if _ROUNDED.fullmatch(inside) or _is_idle(inside) else None


def _is_idle(words: str) -> bool:
    """Say whether words hold no number, no doubt and nothing that changes the value before them."""
    if DOUBT.search(words) or _CHANGES_VALUE.search(words) or not _WORDS.fullmatch(words):
        return False
    return not any(word in _VALUES for word in re.findall("[a-z]+", words.lower()))


def _without_label(text: str) -> str:
    """Return the 5 of "Total cost: 5" and "the sum of 2 and 3 = 5"."""
    at = max(text.rfind("="), text.rfind(": "))
    label = text[: max(at, 0)].removesuffix(":")
    is_ratio = text[at : at + 1] == ":" and label.rstrip()[-1:].isdigit()
    is_amount = text[at : at + 1] == "=" and _AMOUNT.fullmatch(label)
    if is_ratio or is_amount or not _LABEL.fullmatch(label) or _NO_LABEL.search(label):
        return text
    is_whole = label.count("(") == label.count(")")
    return text[at + 1 :].strip() if is_whole and _VALUE.fullmatch(text, at + 1) else text
