r"""Boxes: what \boxed{} holds, and what stands beside it.

What it teaches: a box says "this is the answer", unless the text beside it says otherwise.  The
answer in "x \neq \boxed{43}" is denied, in "2\boxed{43}" the box is a factor, and in
"44 or \boxed{43}" there are two candidates.  Boxes that are joined are one list.

Where it stands: `extraction.py` asks `committed_box` for the answer of a response; `data.py` asks
`boxed` for the gold answer of a worked solution.

Try changing first: let `_is_taken_away` return False.  Then 17 of the 22 responses in the table
`BESIDE_BOXES` of `tests/test_finished.py` are paid, among them "2\boxed{43}" for the answer 43.
"""

import re

from answers.doubt import WITHDRAWN
from answers.patterns import pattern
from answers.spelling import MAX_ANSWER

MAX_BOXES = 50  # boxes that are joined to one list
MAX_NESTED = 5  # boxes that are looked through for one that holds the last
BEFORE = 60  # characters before a box that can take it away


def committed_box(response: str) -> str | None:
    """Return what `boxed` returns, but "" if what stands beside the box takes it away."""
    answer = boxed(response)
    return "" if answer and _is_taken_away(response) else answer


# ---- What a box holds ----

_BOX = pattern(r"\boxed{7}", r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,9}(\{|[^\s{}$\\]{1,100})")
_BRACES = pattern(r"\}", r"\\.|[{}]", re.DOTALL)  # an escaped brace opens and closes nothing
_GAP = pattern(r"$ \text{and} $", r"[\s$()\[\]{}*.&\\]|\\(?:text|mbox|left|right)(?![a-z])")
_PARTED = pattern(r"\quad", r"\\q?quad(?![a-z])|\\\\")
_JOINER = pattern(
    ", y=",
    r"(?:,|;|and|or|maybe|perhaps|possibly|alternatively|else|vs|versus|to|/|\||<)+(?:[A-Za-z0-9_']{1,9}&?=)?|[A-Za-z0-9_']{1,9}=",
)
_NAME_BEFORE = pattern(
    "$x_1 = ", r"(\\?[A-Za-z]+(?:_\{?\w{1,3}\}?)?'?)\s{0,4}&?=[\s$({\[\\]{0,9}\Z"
)


def boxed(response: str) -> str | None:
    r"""Return what the last \boxed{} or \fbox{} holds; "" if it is empty or never closed.

    Boxes that are joined to it by "and", "or", a comma or \quad, or of which each stands behind its
    own "x =", belong to it as the items of one list.
    """
    last = _last_answer(response)
    if last is None or last[1] < 0:
        return None if last is None else ""
    start, inside = last[0], (last[2], last[1])
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


def _last_answer(response: str) -> tuple[int, int, str] | None:
    """Return where the last box starts and ends and what it holds; None without a box.

    Of boxes in each other the outermost counts.  It ends at -1 if it is empty or never closes.
    """
    start = _last_box(response, 0, len(response))
    if start < 0:
        return None
    inside = _box_content(response, start)
    if inside is None or not inside[0]:
        return start, -1, ""
    content, end = inside
    before = start
    for _ in range(MAX_NESTED):
        before = _last_box(response, max(0, before - MAX_ANSWER), before)
        outer = _box_content(response, before) if before >= 0 else None
        if outer is None:
            break
        if outer[1] > end:
            is_same = outer[0].strip(" $") == response[start:end]
            content = content if is_same else outer[0]
            start, end = before, outer[1]
    return start, end, content


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


# ---- What stands beside a box ----

_SPACE = r"[ \t$({\\\[*]{0,9}"  # also dollars, brackets and emphasis
_TAKEN_BEFORE = (
    pattern(
        "is not ",
        rf"(?:\b(?:not|never|isn't|nor)(?: be| equal to)?|\bwrong answer is):?{_SPACE}\Z",
        re.I,
    ),
    pattern(r"x \neq ", rf"(?:\\(?:neq?|not|lnot)(?![a-z])\s?=?|≠|!=){_SPACE}\Z"),
    pattern("2", r"\d\Z"),
    pattern("$-", r"(?<!-)-\$?\Z"),  # but no dash or bullet before a space
    pattern("$44 - ", r"(?:\A|[\n$=(])\s?\d[\d. +*/-]{0,40}-\s\Z"),
    pattern("3 + ", r"[\w)}$][ ]?(?:[+^×·/]|(?<!\*)\*(?!\*))[ ]?\$?\Z"),
    pattern(r"3\cdot ", r"\\(?:times|cdot|div|pm|mp)(?![a-z])\s?\Z"),
    pattern("44 or ", rf"\d[$)\\ ]{{0,4}},?\s(?:or|vs\.?|versus)\s{_SPACE}\Z", re.I),
    pattern("(44, ", r"[(\[{]\s?-?[\d.]{1,40}\s?,\s?\Z"),
    pattern(
        r"\sqrt{",
        r"\\(?:[dtc]?frac|sqrt(?:\[[^\[\]]{0,9}\])?|ln|log|sin|cos|tan|[bx]?cancel|sout|phantom)"
        r"\s?\{?\s?\Z",
    ),
    pattern(r"\frac{1}{", r"\\[dtc]?frac\s?\{[^{}]{0,40}\}\s?\{\s?\Z"),
)
_TAKEN_AFTER = pattern(
    "+1",  # or "^2", "or 44", or what withdraws it
    r"[ \t$)}\\]{0,6}(?:\+[ ]?[\d\\(a-z]|-[ ]?[\d\\(]|(?<!\*)\*(?!\*)[ ]?\d"
    r"|/[ ]?(?:[\d({]|\\(?!text|mathrm))|\^(?!\{?\s?\\circ)"
    r"|\\?(?:times|cdot|div|pm|sqrt|frac|pi)(?![a-z])|(?:\bor|\bvs\.?)[ $(\\]{1,6}-?\d"
    r"|,[ ]?-?[\d.]{1,40}[ ]?(?:\\\}|[)\]]))"
    rf"|{WITHDRAWN.pattern}",
    re.IGNORECASE,
)


def _is_taken_away(response: str) -> bool:
    """Say whether a negation, a sign, a factor or another candidate stands beside the last box."""
    start, end, _ = _last_answer(response)
    before = response[max(0, start - BEFORE) : start]
    return bool(_TAKEN_AFTER.match(response, end)) or any(
        taken.search(before) for taken in _TAKEN_BEFORE
    )
