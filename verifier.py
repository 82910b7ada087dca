r"""The verifier: is the answer in this response equal to the gold answer?

What it teaches: a verifiable reward is three questions asked in a row.  *Which* part of the
response is the answer (`extract_answer`)?  *What* does it say once typography is gone (`normalise`,
then `Parser`, which turns LaTeX into a tree)?  And is that *equal* to the gold (`Comparison`)?  A
wrong yes teaches the model to cheat, a wrong no throws a rollout away.

Where it stands: r(x, y) in every formula.  `train.py` calls `verify` once a rollout.  To watch it
decide:  python verifier.py "so \boxed{\tfrac{2}{4}}" "0.5"

How equality is decided, without symbolic algebra and without ever running what a model wrote:

  * Whatever is rational is computed exactly, as a `Fraction`.
  * Everything else is evaluated, in complex floating point.  Two formulas with letters in them are
    equal if they agree at a few fixed random points: a nonzero polynomial of degree d vanishes at a
    random point of a set S with probability at most d/|S| (Schwartz 1980, Zippel 1979).  Letters
    stand for positive numbers, so sqrt(x^2) is x.
  * Two equations are equal if one is a constant multiple of the other, at those same points.
  * But "18+25" is not the answer 43, though equal: a policy that is paid for it learns to repeat
    the question.  Where the gold is a plain number, sums and products of numbers are refused (the
    grader of PRM800K, arXiv 2305.20050, has such a rule).
  * Tuples, intervals and matrices are compared in order, lists, sets and unions in any order.

What is not understood is compared as text and otherwise refused.  Every loop has a limit, so that
any string of a megabyte is judged in a fraction of a second, in any thread.

Try changing first: `TRUST`.  Without its last row `small.json` never sees a reward; with one more
row, that takes any last number for the answer, what could a policy learn to write?
"""

import argparse
import cmath
import hashlib
import math
import re
import sys
import unicodedata
from fractions import Fraction
from functools import lru_cache

MAX_ANSWER = 2_000  # characters; a longer answer is compared as text
MAX_DEPTH = 30  # of nested brackets, powers and functions
MAX_BITS = 32_000  # of an exact number: 2004! has 19,000
MAX_WORK = 40_000  # nodes compared or evaluated for one verdict, and words of big numbers
MAX_BOXES = 50  # joined into one list


# ---- 1. Extraction: which part of the response is the answer ----


def extract_answer(response: str) -> str | None:
    """The answer a response commits to, as written there; None where it commits to none.

    The first form of `TRUST` that occurs decides alone: an empty or unclosed box, or an echo of the
    instruction ("your answer"), is no answer whatever else the text says.
    """
    for _, find in TRUST:
        answer = find(response)
        if answer is not None:
            return None if _ECHO.fullmatch(answer) else answer
    return None


_ECHO = re.compile(
    r"(?:\\text|\\l?dots|[\s{}<>\[\]()._*?$…-]|(?:insert|put|the|your|final|answer|here)(?![a-z]))*",
    re.IGNORECASE,
)


def _boxed(response: str) -> str | None:
    r"""Inside the last \boxed{} or \fbox{}; boxes joined by "and", "or" or a comma are a list."""
    found: list[str] = []
    end = len(response)
    while len(found) < MAX_BOXES:
        reach = max(0, end - MAX_ANSWER) if found else 0
        start = max(response.rfind(box, reach, end) for box in ("\\boxed", "\\fbox"))
        if start < 0:
            break
        inside = _box_content(response, start)
        if not found and inside is None:
            return ""  # never closed
        joined = inside and (not found or _JOINER.fullmatch(response[inside[1] : end][:60]))
        if not joined:
            break
        if not found and not inside[0]:
            return ""
        found.append(inside[0])
        end = start
    return ", ".join(reversed(found)) if found else None


_JOINER = re.compile(
    r"(?:[\s$\\()\[\]{}*.]|text)*(?:(?:,|;|and|or)(?:[\s$\\()\[\]{}*]|text)*){1,3}"
)


def _box_content(response: str, start: int) -> tuple[str, int] | None:
    """What a box that starts here holds, and where it ends; None if it is never closed."""
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


_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,9}(\{|[^\s{}$\\]{1,100})")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace opens nothing


def _declared(response: str) -> str | None:
    """What the last "####" or "answer is" declares; a heading such as "#### Step 2" is neither.

    Of "####" the rest of the line, of "answer is", "Answer:" or "Final Answer" of the sentence.
    """
    hashes = _last(_HASHES, response, "####")
    phrase = _last(_PHRASE, response, "answer", "Answer", "ANSWER")
    if hashes and (not phrase or hashes.start() > phrase.start()):
        return _plain(hashes[1])
    if not phrase:
        return None
    rest = response[phrase.end() : phrase.end() + MAX_ANSWER]
    display = re.match(r"\s*(?:\\\[|\$\$)(.*?)(?:\\\]|\$\$)", rest, re.DOTALL)
    return display[1].strip() if display else _plain(_SENTENCE_END.split(rest, maxsplit=1)[0])


def _plain(text: str) -> str:
    """Without the emphasis of markdown and what stands behind a token that ends the text."""
    text = re.split(r"<\|[a-z_]{1,20}\|>|</s>", text, maxsplit=1)[0]
    text = re.sub(r"(?<![\w)])\*\*|\*\*(?![\w(])", "", text)
    return re.sub(r"(?<=[a-z])!+\Z", "", text.lstrip(" \t*_`,}").rstrip(" \t*_`.,"))


_HASHES = re.compile(
    r"(?<!#)####(?!#)(?!\W{0,9}(?:the\s)?(?:final\s)?answer)([^\n]{0,4000})", re.IGNORECASE
)
_PHRASE = re.compile(
    r"(?<!\w)answers?(?:\s(?:to|of|for)(?:\s\w{1,20}){1,5}?\s)?[*_\s]{0,4}(?:\b(?:is|are)\b|[:=])"
    r"[*_:\s]{0,8}"
    r"|(?:(?<=final )|(?<=[#*] )|(?<=\*\*))answer[*_: ]{0,4}\n\s{0,8}",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!approx)(?<!Rs)[.?](?:\s|$|\*)|\n|(?<!\{),?\s(?:because|since|so|as)\b"
)


def _closing_display(response: str) -> str | None:
    """A last line that is nothing but a formula between dollars or LaTeX's delimiters."""
    found = _CLOSING.search(response.rstrip()[-1000:])
    return found[1].strip(" $\n") if found else None


_CLOSING = re.compile(
    r"(?:\A|\n)[ \t]*(?:(?=\$)|\\\[|\\\()((?:\$\$?[^$]+\$\$?|(?:(?!\\[\[\]()]).)+?))"
    r"(?:(?<=\$)|\\\]|\\\))\.?\Z",
    re.DOTALL,
)


def _after_hash(response: str) -> str | None:
    """The format of this project's own arithmetic: "8+5=13,7+6+1=14,4+3+1=8#843"."""
    found = re.search(r"(?<=\d)#(-?\d{1,30})\Z", response.rstrip()[-40:])
    return found[1] if found else None


def _last(pattern: re.Pattern, text: str, *starts: str) -> re.Match | None:
    """The last match of a pattern that starts with one of these, among 50 places to start."""
    at = len(text)
    for _ in range(50):
        at = max(text.rfind(start, 0, at) for start in starts)
        if at < 0:
            return None
        if found := pattern.match(text, at):
            return found
    return None


# Where an answer may stand, most trusted first.  Within a form the last occurrence counts.
TRUST = (
    (r"the last \boxed{} or \fbox{}", _boxed),
    ('what the last "####" or "answer is" declares', _declared),  # GSM8K, and plain prose
    ("a formula that is the whole last line", _closing_display),
    ("the number behind a closing #", _after_hash),
)


# ---- 2. Normalisation: what is written, once typography is gone ----


def normalise(text: str, joined: bool = True) -> str:
    """The answer in plain LaTeX: no dollars, sizes, spacing, fonts, unicode, or digit grouping.

    `joined=False` leaves the commas in 1,234: then it is a list of two numbers.
    """
    if not text.isascii():
        text = _from_unicode(text)
        if len(text) > MAX_ANSWER:  # some characters stand for eighteen
            return text
    for pattern, replacement in _BEFORE:
        text = pattern.sub(replacement, text)
    for _ in range(3):  # fonts within fonts
        text = _FONT.sub(_without_font, text)
    text = _COMMAND.sub(lambda command: _COMMANDS.get(command[0], command[0]), text)
    for pattern, replacement in _AFTER:
        text = pattern.sub(replacement, text)
    text = _REMARK.sub("", text)
    if lead := _LEAD.match(text):
        text = text[lead.end() :].strip()
        text = text.removesuffix("}") if text.count("{") < text.count("}") else text
    return _joined(text) if joined else text


# What may stand before an answer and say no more than that it comes: "The answer is 5".
_LEAD = re.compile(
    r"""(?! [^\d\\]* \b (?: not | never | no | less | greater | more | fewer | least | most | half
          | twice | times | minus | plus | wrong | incorrect | than | between | one | two | three
          | or ) \b )
    (?: \s* (?:
        = | \\approx
      | (?: USD | Rs\.? | EUR | INR ) [ ] (?=\d)
      | (?: option | choice ) [ ] (?= \(?[A-Z]\)? \Z )
      | (?: \\text\{ )? (?: [A-Za-z]+ [ ] ){0,4}?
        (?: answer | ans | total | is | are | equals? (?:[ ]to)? | the[ ]point | approximately
          | approx\.? | about | exactly | therefore | thus | hence | so | either | both )
        (?: [ ]? [:,]? [ ]? \} | [:,] | [ ] | (?= [\\\d$(] ) )
    ) )+ \s*""",
    re.IGNORECASE | re.VERBOSE,
)
# What may stand behind it and change nothing: "5, where n > 0", "5 (because 2 + 3 = 5)".
_REMARK = re.compile(
    r"""(?<= [^\s,;] ) (?:
        (?: [ ,;]{1,3} (?: \\text\{ [ ]? )? | \\text\{ [ ]? )
        (?: for [ ] (?: all | every | each | any | some ) | where ) (?= [ }] ) .*
      | [ ,;]{1,3} (?: not | rather [ ] than | instead [ ] of ) [ ] .*
      | [ ,(;]{1,3} (?: [kmn] [ ]? \\in [ ]? \\[ZN] [ ]? | \\forall .* ) \)?
      | [ ] \( (?: because | since | as ) [ ] .* \)
      | [ ] \( (?: \\text\{ )? (?: units? | dollars? | cents | cm | km | kg | feet | inches
        | miles | hours | minutes | seconds | days | years | degrees | meters ) \}? \)
    ) \Z""",
    re.VERBOSE,
)


def _as_unit(unit: re.Match) -> str:
    r"""9.8 m/s^2 -> 9.8\text{m/s^2}, but behind a formula with letters the letters are factors."""
    before = re.sub(r"\\(?:frac|sqrt|pi|times|cdot|text)(?![a-z])", "", unit.string[: unit.start()])
    if re.search("[A-Za-z]", before):
        return unit[0]
    words = unit[0].strip()
    return rf"\text{{{words if words.isalpha() or ' ' in words else re.sub('[{} ]', '', words)}}}"


_QUOTIENT_UNIT = re.compile(
    r"(?<=[\d}]) ?(?:[kcm]?m|ft|mi|[km]?g|rad|[NJWL]) ?/ ?(?:s|h|hr|min|m?L|[ck]?m|kg|K)"
    r"(?: ?\^ ?\{?[23]\}?)?$"
)
_BEFORE = [
    (re.compile(r"\\(?:left|right)\s*\."), ""),
    (re.compile(r"\\\\\s*\[[^\[\]]{0,20}\]"), r"\\\\"),  # \\[2pt]
    (re.compile(r"(?<=\d)(?:\{,\}|,\s?\\!|\\[,;: ])\s?(?=\d{3}(?!\d))"), ""),  # 10{,}000
    (re.compile(r"\\\$\s?(\d[\d.,]*)"), r"\1\\text{dollars}"),  # \$5 is not 5 cents
    (re.compile(r"(?<![A-Za-z\\])(?:per ?cent|pct)(?![A-Za-z])"), "%"),
    (re.compile(r"(?<!\\)\{\s*\}"), ""),
    (re.compile(r"\.{3}"), r"\\ldots "),
    (re.compile(r"\\mathbb\s*(?:\{\s*)?([A-Z])\s*\}?"), r"\\\1 "),
    (re.compile(r"\\operatorname\*?\s*\{\s*([a-z]+)\s*\}"), r"\\\1 "),
    (re.compile(r"\\(?:[hv]space\*?|(?:text)?color)\s*\{[^{}]*\}"), " "),
    (re.compile(r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"\{([^{}]*)\\choose(?![a-z])([^{}]*)\}"), r"\\binom{\1}{\2}"),
    (
        re.compile(r"\\frac\s*\{\\\w+\{([A-Za-z ]*)\}\}\s*\{\\\w+\{([A-Za-z ]*)\}\}"),
        r"\\text{\1/\2}",
    ),
    (re.compile(r"\\mu\s*\\(?:text|mathrm)\s*\{\s*"), r"\\text{u"),
    (re.compile(r"(?<=\d) [xX] (?=\d)|(?<=\d)[xX](?=10\s*\^)"), r"\\times "),  # 4.5 x 10^33
]
_FONT = re.compile(
    r"\\(text(?:bf|it|rm|sf|tt|normal)?|mbox|hbox|math(?:rm|bf|it|sf|tt|cal|normal)|boldsymbol|bm"
    r"|emph|underline|boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\}){0,4000})\}"
)
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL)
_AFTER = [
    (re.compile(r"[$~\s]+"), " "),
    (re.compile(r"\A[ ,;:*]+|(?<![ .,;:*\\])[ .,;:*\\]+\Z"), ""),
    (re.compile(r"(?:\\text\{)?\ball (?:real numbers|reals)\b ?\}?", re.I), r"\\R "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\b(?:np|numpy|math)\."), ""),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|infty|inf)(?![A-Za-z])", re.I), r"\\infty "),
    (re.compile(r"(\^ ?\{?\\circ ?\}? ?)([CF])$"), r"\1\\text{\2}"),  # 25 °C
    (re.compile(r"(?<=[\d}]) ([msgLJNVWK](?: ?\^ ?\{?[23]\}?)?)$"), _as_unit),  # \frac{37}{4} m
    (_QUOTIENT_UNIT, _as_unit),  # 9.8 m/s^2
    (re.compile(r"(?<=[\d})]) (?:(?:[A-Za-z][a-z]+|a) )*[A-Za-z][a-z]{2,}$"), _as_unit),  # 10 cats
    (re.compile(r"\\text\{[^{}]*\b(?:and|or|not)\b[^{}]*\}", re.I), lambda m: f" {m[0][6:-1]} "),
]
_GROUPED = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:(?:,\d{3})+(?!,?\d)|(?: \d{3})+(?! ?\d| ?/))")


def _joined(text: str) -> str:
    return text if len(text) > MAX_ANSWER else _GROUPED.sub(_without_grouping, text)


def _without_grouping(number: re.Match) -> str:
    """1,234 -> 1234, but within brackets a comma separates."""
    before = number.string[: number.start()]
    opened = sum(before.count(c) for c in "([") + before.count("\\{")
    closed = sum(before.count(c) for c in ")]") + before.count("\\}")
    return number[0] if opened > closed else re.sub("[, ]", "", number[0])


def _without_font(font: re.Match) -> str:
    r"""\text{990} -> 990, but \text{Evelyn} and the unit in 5\text{ m} stay as words."""
    name, inside = font[1], font[2]
    if re.fullmatch(r"\s*(?:and|or)\s*", inside, re.IGNORECASE):
        return f" {inside.strip().lower()} "
    measured = re.search(
        r"(?:[\d)}]|\}\s*(?:\\cdot|/))[ ~\\,;]*\Z",
        font.string[max(0, font.start() - 20) : font.start()],
    )
    words = re.sub(r"\\[,;: ]|\\cdot|~", " ", inside).strip()
    words = re.sub(r"\^\s*\{?\s*(-?\d)\s*\}?", r"^\1", words) if measured else words
    if not re.fullmatch(r"[A-Za-z][A-Za-z .'/-]*(?:\^-?\d[A-Za-z /^0-9-]*)?", words):
        return f" {inside} "
    if name.startswith("math") and not (measured and (len(words) > 1 or words in UNITS)):
        return inside
    is_word = len(words) > 1 or (measured and words in UNITS)
    return (
        rf"\text{{{words}}}" if is_word and name[-4:] != "oxed" and name != "fbox" else f" {words} "
    )


_COMMANDS = {
    **dict.fromkeys(
        r"\left \right \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \biggl \biggr \Biggl \Biggr"
        r" \displaystyle \textstyle \limits \nolimits \rm \bf \it \! \$ \/ \middle \mathbf \mathrm"
        r" \small \large \Large \LARGE \huge \Huge \boldmath \checkmark \therefore".split(),
        "",
    ),
    **dict.fromkeys(r"\, \; \: \> \quad \qquad \enspace \thinspace \( \) \[ \]".split(), " "),
    **{"\\ ": " ", "\\\n": " ", r"\%": "%", r"\#": " ", r"\&": "&", r"\lor": " or "},
    **{r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom"},
    **{r"\leq": "\\le ", r"\leqslant": "\\le ", r"\leqq": "\\le ", r"\lt": "<", r"\gt": ">"},
    **{r"\geq": "\\ge ", r"\geqslant": "\\ge ", r"\geqq": "\\ge ", r"\neq": "\\ne "},
    **{r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\mid": "|", r"\|": "|", r"\Vert": "|"},
    **{r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\ast": "*"},
    **{r"\varnothing": "\\emptyset ", r"\backslash": "\\setminus ", r"\infin": "\\infty "},
    **{r"\degree": r"^\circ", r"\dots": "\\ldots ", r"\cdots": "\\ldots ", r"\land": " and "},
    **{r"\varepsilon": r"\epsilon", r"\varphi": r"\phi", r"\vartheta": r"\theta"},
    **{r"\simeq": "\\approx ", r"\Reals": "\\R ", r"\colon": ":", r"\bigcup": r"\cup"},
    **{r"\AA": r"\text{angstrom}", r"\equiv": "="},
}


def _from_unicode(text: str) -> str:
    """Symbols, fractions, raised and lowered digits and every script's digits, in LaTeX."""
    text = _VULGAR.sub(lambda m: _vulgar(m[0]), text.replace("º", "°").replace("˚", "°"))
    text = _OVERLINED.sub(lambda m: rf"\overline{{{re.sub('[^0-9]', '', m[0])}}}", text)
    text = _SLANTED.sub(lambda m: rf"\frac{{{_on_the_line(m[1])}}}{{{_on_the_line(m[2])}}}", text)
    for mark, pattern in (("^", _RAISED), ("_", _LOWERED)):
        text = pattern.sub(lambda m, mark=mark: f"{mark}{{{_on_the_line(m[0])}}}", text)
    return _ascii(text)


def _vulgar(character: str) -> str:
    above, below = _on_the_line(character).split("⁄")
    return rf"\frac{{{above}}}{{{below}}}"


def _on_the_line(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _ascii(text: str) -> str:
    raised = "".join(c if c.isascii() else _script(c) for c in text)
    return "".join(c if c.isascii() else _character(c) for c in _on_the_line(raised))


def _script(c: str) -> str:
    """A raised or lowered letter, which normalisation would put on the line."""
    kind = unicodedata.decomposition(c).partition(" ")[0]
    mark = {"<super>": "^", "<sub>": "_"}.get(kind)
    return f"{mark}{{{_on_the_line(c)}}}" if mark else c


@lru_cache(maxsize=4096)
def _character(c: str) -> str:
    if c in _UNICODE:
        return _UNICODE[c]
    if c.isdecimal():
        return str(unicodedata.decimal(c))
    name = unicodedata.name(c, "")
    if name.startswith("GREEK") and "LETTER " in name:
        letter = name.split("LETTER ")[1].split(" ")[0].lower()
        command = "\\" + (letter.capitalize() if "CAPITAL" in name else letter)
        return f"{command} "
    return "" if unicodedata.category(c) == "Cf" else c


_VULGAR = re.compile("[¼-¾⅐-⅞]")
_OVERLINED = re.compile("(?:[0-9][\u0305\u0307])+")
_SLANTED = re.compile("([⁰¹²³⁴-⁹]+)[⁄/]([₀-₉]+)")
_RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻⁽⁾ⁿ]+")
_LOWERED = re.compile("[₀-₎]+")
_UNICODE = {
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("×✕✖", "\\times "),
    **dict.fromkeys("·∙⋅•∗", "\\cdot "),
    **dict.fromkeys("“”‘’£€¥₹", ""),
    **{"¢": " \\text{cents}", "。": ".", "Å": "\\text{angstrom}"},
    **dict.fromkeys("⟨〈", "\\langle "),
    **dict.fromkeys("⟩〉", "\\rangle "),
    **{"÷": "\\div ", "∕": "/", "⁄": "/", "√": "\\sqrt ", "∛": "\\sqrt[3] ", "∞": "\\infty "},
    **{"≤": "\\le ", "≥": "\\ge ", "⩽": "\\le ", "⩾": "\\ge ", "≠": "\\ne ", "≈": "\\approx "},
    **{"∈": "\\in ", "∪": "\\cup ", "∩": "\\cap ", "∅": "\\emptyset ", "∖": "\\setminus "},
    **{"±": "\\pm ", "∓": "\\mp ", "°": "^\\circ ", "∠": "\\angle ", "△": "\\triangle "},
    **{"⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ", "ℏ": "\\hbar "},
    **{"′": "'", "∣": "|", "∶": ":", "ϕ": "\\phi ", "ϵ": "\\epsilon ", "∂": "\\partial "},
}

# Units that may stand on either side or not; two that are known and differ make a different answer.
_SPELLINGS = """
    % percent; ° degree degrees deg; rad radian radians; unit units sq square cu cubic
    m meter meters metre metres; cm centimeter centimeters centimetre centimetres
    mm millimeter millimeters millimetre millimetres; km kilometer kilometers kilometre kilometres
    in inch inches; ft foot feet; yd yard yards; mi mile miles; mph
    g gram grams; kg kilogram kilograms; mg milligram milligrams; lb lbs pound pounds
    oz ounce ounces; L l liter liters litre litres; mL ml milliliter milliliters
    s sec secs second seconds; min mins minute minutes; h hr hrs hour hours; Hz hertz
    day days; week weeks; month months; year years yr yrs
    dollar dollars USD; cent cents; euro euros EUR; C Celsius; F Fahrenheit; K Kelvin kelvin
    N newton newtons; J joule joules; W watt watts; V volt volts; A ampere amperes
"""
UNITS = {
    word: spellings.split()[0]
    for spellings in re.split(r"[;\n]", _SPELLINGS)
    for word in spellings.split()
}


# ---- 3. Parsing: recursive descent over the normalised text ----
#
# A tree is a Fraction or a tuple (kind, child, ...):
#   ("sym", name)  ("+", a, b, ...)  ("*", a, b, ...)  ("^", a, b)  ("call", function, a, ...)
#   ("list", ...) without brackets  ("set", ...) in braces or a union  ("group", "(]", a, b, ...)
#   ("matrix", row, row, ...)  ("rel", operators, named, a, b, ...)  ("unit", a, words)
#   ("base", digits, n)


class NotUnderstood(Exception):
    """The text is outside the grammar, or larger than its limits."""


SIGN = ("sym", "±")  # +1 in one reading of the answer, -1 in the other
INFINITY = ("sym", "\\infty")
_LDOTS = ("sym", "\\ldots")

_NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan ln log lg exp abs"
FUNCTIONS = {name: name for name in _NAMES.split()}
FUNCTIONS |= {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot"}
UNKNOWN_FUNCTIONS = ("f", "g")  # f(2x) is not 2f(x): a random value for each argument
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma"
    " tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_SYMBOLS = set(_GREEK.split()) | set(
    "infty angle triangle hbar ell partial nabla ldots R N Z Q C square ast odot".split()
)
_ACCENTS = set("overline bar vec hat dot ddot tilde widehat overrightarrow".split())
_STRUCTURES = set("frac sqrt binom begin emptyset langle lfloor lceil".split()) | _ACCENTS

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)")
_EXPONENT = re.compile(r"[eE]([+-]?\d{1,6})(?![\d.])")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?")
_PROPER = re.compile(
    r"\s*\\frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))|\s+(\d+)/(\d+)"
)
_BASE = re.compile(
    r"\(?((?=[A-F]*[0-9])[0-9A-F]+)\)?\s*"
    r"(?:_\s*(?:\{\s*(\d+)\s*\}|(\d+))|(?:\\text\{\s*)?\(?\s*(?:in )?base (\d+)\)?\}?)\s*$"
)
_BASES = "zero one two three four five six seven eight nine ten eleven twelve".split()
_BASE_INDEX = re.compile(
    r"\s*_\s*(?:\{?\s*(?:\\text\{)?\s*\(?(\d{1,3}|" + "|".join(_BASES) + r")\)?\s*\}{0,2}|(\d))"
)
_SEPARATOR = re.compile(r"\s*(?:[,;]\s*(?:(?:and|or)\b)?|(?:and|or)\b)")
_RELATION = re.compile(r"\s*(?:<=|>=|!=|[<>=]|\\(?:le|ge|ne|in|approx)(?![A-Za-z]))")
_RELATIONS = {r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in", r"\approx": "≈"}
_JOIN = re.compile(r"\s*(?:\\(cup|cap|setminus)(?![A-Za-z])|(?<=[)\]}\s])(U)(?=\s*[\[(]))")
_PLUS = re.compile(r"\s*(?:\+-|\+/-|[+-]|\\pm(?![A-Za-z])|\\mp(?![A-Za-z]))")
_TIMES = re.compile(r"\s*(?:\*|\\cdot(?![A-Za-z])|\\times(?![A-Za-z]))")
_DIVIDE = re.compile(r"\s*(?:/|\\div(?![A-Za-z]))")
_RATIO = re.compile(r"\s*:(?!=)")
_COMMAND_NAME = re.compile(r"\\([A-Za-z]+|\{)")
_FUNCTION_NAME = re.compile(r"\\?([A-Za-z]+)")
_LETTER = re.compile(r"\\([A-Za-z]+)|([A-Za-z])")
_SUBSCRIPT = re.compile(r"\s*_\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\\[A-Za-z]+|[A-Za-z0-9]))")
_PRIME = re.compile(r"\s*(?:\^\s*\{?\s*(?:\\prime\s*)+\}?|\^\s*\{\s*'+\s*\}|'+)")
_VALUE_AT = re.compile(r"\(-?\d+\)(?!\s*\^)")
_DERIVATIVE = re.compile(
    r"\s*\{\s*(?:d|\\partial)(?![_])[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
    r"\s*\{\s*(?:d|\\partial)\s*[A-Za-z\\][^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
)
_CORNERS = re.compile(r"\s*(?:[A-Z](?:_(?:\w|\{\w+\}))?'?\s*){1,3}")
_ASIDE = re.compile(r"(?<=\d )\(\d+\)")  # 5 (6) is no product
_DEGREE = re.compile(r"\s*\^\s*\{?\s*\\circ\s*\}?")
_ASCII_NAME = re.compile(
    r"(sqrt|cbrt|pi|" + "|".join(sorted(FUNCTIONS, key=len, reverse=True)) + ")(?![A-Za-z])"
)
_UNIT_WORDS = "|".join(sorted((w for w in UNITS if len(w) > 1), key=len, reverse=True))
_UNIT = re.compile(rf"\s*(?:\\text\{{([^{{}}]*)\}}|(%)|({_UNIT_WORDS})(?![A-Za-z(_]))")
_UNIT_POWER = re.compile(r"\s*(?:\^\s*\{?\s*-?\d\s*\}?|/(?=\s*\\text)|\\cdot(?=\s*\\text))")
_MULTIPLIERS = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6}
_MULTIPLIERS |= {"billion": 10**9, "trillion": 10**12}
_NO_UNITS = frozenset(
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh"
    " sevenths eighth eighths ninth ninths tenth tenths hundredths thousandths mille squared cubed"
    " factorial pi is are was at least most less more than not no never incorrect wrong below above"
    " between to times plus minus over by point mod choose divided negative positive maybe perhaps"
    " unless but recurring repeating tens lakh quadrillion zero one two three four five six seven"
    " eight nine ten eleven twelve twenty base except excluding".split()
)
_BUILDER = re.compile(r"\\\{\s*([A-Za-z])(?:\s*\\in\s*\\R)?\s*(?:\||:)")
_CLOSERS = {"(": ")]", "[": "])", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}
_ENVIRONMENT = re.compile(r"\\begin\s*\{([pbB]?(?:small)?matrix|array)\}(?:\s*\{[clr| ]*\})?")
_NAME_PARTS = re.compile(r"_\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|.)|\^\s*\{\s*-1\s*\}|\([^()]*\)\s*$")


class Parser:
    """One text, read from left to right; `tree()` is its tree or raises NotUnderstood.

    The methods stand in the order of the grammar, loosest binding first.  `scientific=False` reads
    2e-5 as 2*e - 5.
    """

    def __init__(self, text: str, scientific: bool = True):
        if len(text) > MAX_ANSWER:
            raise NotUnderstood("too long")
        self.text, self.scientific = text, scientific
        self.at = 0  # the next character
        self.depth = self.bars = 0
        self.signs = 0  # of plus and minus at once
        self.degree = False  # a sign of degrees was read, outside of
        self.trigonometric = False  # the argument of a function

    def tree(self):
        base = _BASE.match(self.text)
        if base:
            return ("base", base[1].lstrip("0"), int(base[2] or base[3] or base[4]))
        items = self.items(both_signs=True)
        self.skip()
        if self.at < len(self.text):
            raise NotUnderstood(f"stops at {self.text[self.at : self.at + 20]!r}")
        return items[0] if len(items) == 1 else ("list", *items)

    # -- reading

    def take(self, pattern: re.Pattern) -> re.Match | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    def sees(self, *starts: str) -> bool:
        self.skip()
        return self.text.startswith(starts, self.at)

    def expect(self, *ends: str) -> str:
        for end in ends:
            if self.sees(end):
                self.at += len(end)
                return end
        raise NotUnderstood(f"{' or '.join(ends)} is missing")

    # -- the grammar

    def items(self, both_signs: bool = False) -> list:
        r"""item (, item)*; in a list or set, an item with \pm in it stands for two."""
        found = [self.relation()]
        while self.take(_SEPARATOR):
            found.append(self.relation())
        if not both_signs or not self.signs:
            return found
        pairs = (((1, -1) if _mentions(item, SIGN) else (1,), item) for item in found)
        return [_signed(item, sign) for signs, item in pairs for sign in signs]

    def relation(self):
        """union (= union)*, each with its unit."""
        start = self.at
        terms, operators = [self.measured()], []
        left = self.text[start : self.at]
        while relation := self.take(_RELATION):
            operator = relation[0].strip()
            operators.append(_RELATIONS.get(operator, operator))
            terms.append(self.measured())
        if not operators:
            return terms[0]
        if all(operator[0] == ">" for operator in operators):  # one way to write a chain
            operators = [operator.replace(">", "<") for operator in operators[::-1]]
            terms.reverse()
        return ("rel", tuple(operators), _is_name(left), *terms)

    def measured(self):
        """A union, and the unit behind it; "million" multiplies, and "54 squared" is refused."""
        self.degree = False
        node, unit = self.union(), ""
        while True:
            if word := self.take(_UNIT):
                behind = self.text[: word.start()].rstrip()[-1:]
                if word[3] and not unit and (_letters(node) or behind.isalpha()):
                    raise NotUnderstood(f"{word[3]} behind letters may be a product")
                unit += " " + (word[1] or word[2] or word[3] or "").strip(" .")
            elif unit and (power := self.take(_UNIT_POWER)):
                unit += re.sub(r"[{}\s]|\\cdot", "", power[0])
            else:
                break
        if unit:
            node, unit = self.multiplied(node, unit)
        if self.degree and not unit.strip():
            unit = "°"
        return ("unit", node, unit.strip()) if unit.strip() else node

    def multiplied(self, node, unit: str):
        """2 million dollars -> 2000000 dollars; "5 squared" and the like are refused."""
        for name, factor in _MULTIPLIERS.items():
            if name in unit.lower():
                unit = re.sub(rf"\b{name}s?\b", "", unit, count=1, flags=re.IGNORECASE)
                node = _times(node, Fraction(factor))
        if not _NO_UNITS.isdisjoint(re.split(r"[^a-z]+", unit.lower())):
            raise NotUnderstood(f"{unit.strip()} is no unit")
        return node, unit

    def union(self):
        node = self.ratio()
        while join := self.take(_JOIN):
            other = self.ratio()
            if join[1] == "setminus" and node == REALS and _kind(other) not in ("set", "group"):
                node = (
                    "set",
                    ("group", "()", MINUS_INFINITY, other),
                    ("group", "()", other, INFINITY),
                )
            elif join[1] in ("cap", "setminus"):
                node = ("group", join[1], node, other)
            else:
                parts = (
                    p[1:] if isinstance(p, tuple) and p[0] == "set" else (p,) for p in (node, other)
                )
                node = ("set", *(item for part in parts for item in part))
        return node

    def ratio(self):
        """Of a : b : c only the proportion counts."""
        terms = [self.sum()]
        while self.take(_RATIO):
            terms.append(self.sum())
        return terms[0] if len(terms) == 1 else ("group", ":", *terms)

    def sum(self):
        terms = [self.product()]
        while sign := self.sign():
            terms.append(_times(sign, self.product()))
        return terms[0] if len(terms) == 1 else ("+", *terms)

    def sign(self):
        """What the next sign multiplies by: 1, -1 or SIGN; None where no sign stands."""
        sign = self.take(_PLUS)
        if not sign:
            return None
        self.signs += sign[0].strip() not in "+-"
        one = {"-": Fraction(-1), "+": Fraction(1), "\\mp": ("*", Fraction(-1), SIGN)}
        return one.get(sign[0].strip(), SIGN)

    def product(self):
        factors = [self.signed()]
        while True:
            if self.take(_TIMES):
                factors.append(self.signed())
            elif self.take(_DIVIDE):
                factors.append(("^", self.signed(), Fraction(-1)))
            elif self.at_factor(factors[-1]):
                factors.append(self.power())
            elif len(factors) == 2 and _kind(factors[1]) == "group" and _is_point(factors[0]):
                return factors[1]  # A(1,2) names a point
            else:
                return _times(*factors)

    def signed(self):
        sign = self.sign()
        if sign is None:
            return self.power()
        return _times(sign, self.deeper(self.signed))

    def deeper(self, rule):
        """A rule within itself, to a limit: Python's own stack is not ours to exhaust."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotUnderstood("too deep")
        node = rule()
        self.depth -= 1
        return node

    def at_factor(self, before) -> bool:
        """Whether a factor follows without a sign of multiplication, as in 2x(x+1)."""
        spaced = self.sees(" ") or self.text[self.at - 1 : self.at] in (" ", ")", "}")
        self.skip()
        rest = self.text[self.at : self.at + 1]
        if not rest or _SEPARATOR.match(self.text, self.at) or _UNIT.match(self.text, self.at):
            return False
        if rest.isdigit():
            return spaced and not isinstance(before, Fraction)
        if isinstance(before, Fraction) and _ASIDE.match(self.text, self.at):
            return False
        if rest == "\\":
            command = _COMMAND_NAME.match(self.text, self.at)
            known = (FUNCTIONS, _SYMBOLS, _STRUCTURES, "{")
            return bool(command) and any(command[1] in names for names in known)
        if _JOIN.match(self.text, self.at):
            return False
        return rest.isalpha() or rest in "([{" or (rest == "|" and not self.bars)

    def power(self):
        """atom ^ power, with the signs that stand behind an atom: factorial and degree."""
        node = self.deeper(self.atom)
        if self.sees("!") and not self.sees("!="):
            self.at += 1
            node = ("call", "factorial", node)
        if self.take(_DEGREE):
            self.degree = not self.trigonometric
            if self.trigonometric:
                node = ("*", node, ("sym", "\\pi"), Fraction(1, 180))
        elif self.sees("^"):
            self.at += 1
            node = ("^", node, self.exponent())
        return node

    def exponent(self):
        sign = self.sign()
        self.skip()
        node = self.deeper(self.power)
        return node if sign is None else _times(sign, node)

    def atom(self):
        self.skip()
        if self.sees("(", "[", "{", "\\{", "\\langle"):
            return self.bracket()
        if self.sees("|"):
            return self.absolute()
        if self.sees(*"0123456789."):
            return self.number()
        ascii_name = self.take(_ASCII_NAME)
        if ascii_name:
            return self.named(ascii_name[1])
        if self.sees("\\text"):
            words = self.take(_UNIT)
            if not words:
                raise NotUnderstood("a text that is not words")
            return ("sym", re.sub(r"\s+", " ", words[1]).casefold())
        letter = None if self.sees("mod") else self.take(_LETTER)
        if not letter:
            raise NotUnderstood(f"nothing can start with {self.text[self.at : self.at + 10]!r}")
        return self.symbol(letter[2]) if letter[2] else self.named(letter[1])

    def number(self):
        r"""An exact literal: 12, 0.5, 4.5e33, 0.1\overline{6}, or the mixed 2\frac{1}{3}."""
        repeating = self.take(_REPEATING)
        if repeating:
            whole, fixed, cycle = repeating[1] or "0", repeating[2], repeating[3]
            start = Fraction(_integer(whole + fixed), 10 ** len(fixed))
            return start + Fraction(_integer(cycle), 10 ** len(fixed) * (10 ** len(cycle) - 1))
        literal = self.take(_NUMBER)
        if not literal:
            raise NotUnderstood("a point without digits")
        if base := self.take(_BASE_INDEX):
            word = base[1] or base[2]
            return (
                "base",
                literal[0].lstrip("0"),
                _BASES.index(word) if word in _BASES else int(word),
            )
        digits = literal[0].partition(".")
        value = Fraction(_integer(digits[0] + digits[2] or "0"), 10 ** len(digits[2]))
        power = self.take(_EXPONENT) if self.scientific else None
        if power:
            value *= _power(Fraction(10), Fraction(int(power[1])))
        mixed = _PROPER.match(self.text, self.at) if literal[0].isdigit() and not power else None
        if mixed:
            above, below = (
                _integer(next(filter(None, mixed.group(*g)))) for g in ((1, 2, 5), (3, 4, 6))
            )
            if above < below:
                self.at = mixed.end()
                value += Fraction(above, below)
        return value

    def bracket(self):
        """Grouping, a tuple, an interval, a set, or a set with its condition."""
        if builder := self.take(_BUILDER):
            conditions = self.items()
            self.expect("\\}")
            letter = ("sym", builder[1])
            if any(_kind(c) != "rel" or letter not in c[3:] for c in conditions):
                raise NotUnderstood("a set whose condition is not about its letter")
            sets = [_solutions(c) or c for c in conditions]
            sets = [each for each in sets if each != REALS] or [REALS]  # "x in R" adds nothing
            return sets[0] if len(sets) == 1 else ("list", *sets)
        opening = self.expect(*_CLOSERS)
        closing = _CLOSERS[opening]
        closings = (closing,) if opening in ("{", "\\{", "\\langle") else tuple(closing)
        if opening == "\\{" and self.sees("\\}"):
            self.at += 2
            return ("set",)
        bars, self.bars = self.bars, 0
        items = self.items(both_signs=opening == "\\{")
        self.bars = bars
        close = self.expect(*closings)
        nested = opening == "\\{" and _kind(items[0]) == "set"
        if len(items) == 1 and close == closings[0] and not nested:
            return items[0]
        if opening in ("{", "\\{"):
            return ("set", *items)
        return ("group", "()" if opening == "\\langle" else opening + close, *items)

    def absolute(self):
        self.at += 1
        self.bars += 1
        inside = self.sum()
        self.expect("|")
        self.bars -= 1
        return ("call", "abs", inside)

    def argument(self):
        r"""One TeX argument: {...}, or the next digit, letter or command."""
        self.skip()
        if self.sees("{"):
            return self.bracket()
        if self.sees(*"0123456789"):
            self.at += 1
            return Fraction(int(self.text[self.at - 1]))
        return self.atom()

    def named(self, name: str):
        """Behind a command such as \\frac, or its plain name such as sqrt."""
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name in ("sqrt", "cbrt"):
            return self.root(3 if name == "cbrt" else 2)
        if name == "frac" and (derivative := self.take(_DERIVATIVE)):
            return ("sym", "\\frac" + re.sub(r"\{(\w)\}|\s", r"\1", derivative[0]))
        if name == "frac":
            above = self.argument()
            return _times(above, ("^", self.argument(), Fraction(-1)))
        if name == "binom":
            above = self.argument()
            return ("call", "binom", above, self.argument())
        if name in ("lfloor", "lceil"):
            inside = self.sum()
            self.expect("\\r" + name[1:])
            return ("call", name[1:], inside)
        if name == "begin":
            return self.matrix()
        if name == "emptyset":
            return ("set",)
        if name in _ACCENTS:
            self.skip()
            start = self.at
            self.argument()
            return self.symbol(f"{name}({re.sub('[{} ]', '', self.text[start : self.at])})")
        if name == "R":
            return REALS
        if name == "angle" and (corners := self.take(_CORNERS)):
            letters = re.findall(r"[A-Z](?:_\{?\w+\}?)?'?", corners[0])
            return ("sym", "angle " + " ".join(min(letters, letters[::-1])))
        if name in _SYMBOLS:
            return self.symbol("\\" + name)
        raise NotUnderstood(f"\\{name} is not in the grammar")

    def symbol(self, name: str):
        """A letter with its index and primes: x, x_{max}, f'."""
        if index := self.take(_SUBSCRIPT):
            name += "_" + re.sub(r"\\text|\\(?=[a-z])|[{}\s]", "", index[index.lastindex])
        if prime := self.take(_PRIME):
            name += "'" * (prime[0].count("prime") + prime[0].count("'"))
        if value := self.take(_VALUE_AT):
            name += value[0]  # I(0) is a value of the function I, no product
        elif name.rstrip("'") in UNKNOWN_FUNCTIONS and self.text.startswith("(", self.at):
            return ("call", name, self.deeper(self.bracket))
        return ("sym", name)

    def root(self, degree: int):
        order = Fraction(degree)
        if self.sees("["):
            self.at += 1
            order = self.sum()
            self.expect("]")
        self.skip()
        inside = self.number() if self.sees(*"0123456789.") else self.argument()
        return ("^", inside, ("^", order, Fraction(-1)))

    def function(self, name: str):
        r"""\sin^2 x, \log_2 8, \ln(3), \cos 2 \pi t: without brackets, up to the next sign."""
        base = power = None
        if index := self.take(_SUBSCRIPT):
            base = Parser(index[index.lastindex]).tree()
        if self.sees("^"):
            self.at += 1
            power = self.exponent()
        if power == Fraction(-1) and name in ("sin", "cos", "tan"):
            name, power = "arc" + name, None
        elif power == Fraction(-1):
            raise NotUnderstood(f"the inverse of {name}")
        outside, self.trigonometric = self.trigonometric, True
        if self.sees("(", "[", "{"):
            inside = self.bracket()
        else:
            factors = [self.signed()]
            while self.at_factor(factors[-1]) and not self.at_function():
                factors.append(self.power())
            inside = _times(*factors)
        self.trigonometric = outside
        node = ("call", "log" if name == "ln" else name, inside)
        if name == "lg" or base is not None:
            node = (
                "*",
                ("call", "log", inside),
                ("^", ("call", "log", base or Fraction(10)), -ONE),
            )
        return node if power is None else ("^", node, power)

    def at_function(self) -> bool:
        self.skip()
        name = _FUNCTION_NAME.match(self.text, self.at)
        return bool(name) and name[1] in FUNCTIONS

    def matrix(self):
        self.at -= len("\\begin")
        opening = self.take(_ENVIRONMENT)
        if not opening:
            raise NotUnderstood("an environment that is no matrix")
        rows, end = [[]], f"\\end{{{opening[1]}}}"
        while True:
            if self.sees("\\hline"):
                self.at += len("\\hline")
            if not self.sees("&", "\\\\", end):
                rows[-1].append(self.relation())
            if self.sees("&"):
                self.at += 1
            elif self.sees("\\\\"):
                self.at += 2
                rows.append([])
            else:
                self.expect(end)
                return ("matrix", *(tuple(row) for row in rows if row))


ONE = Fraction(1)
MINUS_INFINITY = ("*", -ONE, INFINITY)
REALS = ("group", "()", MINUS_INFINITY, INFINITY)


def _integer(digits: str) -> int:
    if len(digits) > 4000:  # Python's own limit is 4,300
        raise NotUnderstood("a number of too many digits")
    return int(digits)


def _times(*factors):
    """Their product; numbers are folded at once, and a matrix takes the others in."""
    matrices = [f for f in factors if isinstance(f, tuple) and f[0] == "matrix"]
    if len(matrices) == 1 and len(factors) > 1:
        rest = [f for f in factors if f is not matrices[0]]
        if len(rest) * sum(map(len, matrices[0][1:])) > 500:
            raise NotUnderstood("too large a matrix")
        return ("matrix", *(tuple(_times(*rest, cell) for cell in row) for row in matrices[0][1:]))
    if len(factors) == 1:
        return factors[0]
    if len(factors) == 2 and all(isinstance(f, Fraction) and _bits(f) < 2000 for f in factors):
        return factors[0] * factors[1]
    return ("*", *factors)


def _mentions(node, part) -> bool:
    return node == part or (isinstance(node, tuple) and any(_mentions(n, part) for n in node))


def _signed(node, sign: int):
    """The tree with SIGN replaced by +1 or -1."""
    if node == SIGN:
        return Fraction(sign)
    return tuple(_signed(n, sign) for n in node) if isinstance(node, tuple) else node


def _is_point(node) -> bool:
    return isinstance(node, tuple) and node[0] == "sym" and node[1][0].isupper()


def _is_name(left: str) -> bool:
    """Whether `left = 5` only says what 5 is: x, f(2), S_4, AB, (x, y), a+b, but not 2x or x+x."""
    bare = _NAME_PARTS.sub("", left.strip()) or left.strip("() ")
    if re.search(r"^-|\d|\^|\\(?:sqrt|in|ln|log|exp)(?![a-z])|\bnot\b", bare):
        return False
    commands = re.findall(r"\\([A-Za-z]+)", bare)
    letters = re.findall("[A-Za-z]", re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", "", bare))
    repeated = len(set(letters)) < len(letters) and re.search("[a-z]", "".join(letters))
    return bool(letters or commands) and not repeated


# ---- 4. Evaluation: the number that a tree stands for, at a point ----


class Undefined(ArithmeticError):
    """No value here: a pole, infinity, or a number beyond the limits."""


class Exhausted(Exception):
    """The comparison took more than MAX_WORK."""


CONSTANTS = {"\\pi": complex(math.pi), "e": complex(math.e), "i": 1j}


def _power(base, exponent):
    """base ** exponent: exact for rationals where the result is rational and not too large."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if base == 0 and exponent <= 0:
            raise Undefined("0 to a power that is not positive")
        if exponent.denominator == 1:
            if abs(exponent) * max(_bits(base), 1) > MAX_BITS:
                raise Undefined("too large")
            return base**exponent.numerator
        root = _exact_root(base, exponent.denominator)
        if root is not None:
            return _power(root, Fraction(exponent.numerator))
        if base < 0 and exponent.denominator in (3, 5, 7, 9):  # the real root, as in schools
            return -_power(-base, exponent) * (-1) ** (exponent.numerator + 1)
    base, exponent = _complex(base), _complex(exponent)
    if base == 0:
        raise Undefined("0 to a power that is not rational")
    if exponent.imag == 0 and exponent.real == int(exponent.real) and abs(exponent.real) < 1000:
        return base ** int(exponent.real)
    return cmath.exp(exponent * cmath.log(base))


def _exact_root(value: Fraction, n: int) -> Fraction | None:
    """The rational n-th root, if there is one."""
    if n > 64 or (value < 0 and n % 2 == 0) or _bits(value) > 2000:
        return None
    roots = []
    for part in (abs(value.numerator), value.denominator):
        root = math.isqrt(part) if n == 2 else round(part ** (1 / n)) if part < 2**1000 else 0
        if root**n != part:
            return None
        roots.append(root)
    return Fraction(roots[0] if value >= 0 else -roots[0], roots[1])


def _bits(value: Fraction) -> int:
    above, below = abs(value.numerator), value.denominator
    return 0 if below == 1 >= above else max(above.bit_length(), below.bit_length())


def _complex(value) -> complex:
    """A rational as a floating-point number; Undefined where it underflows."""
    if isinstance(value, complex):
        return value
    number = value.numerator / value.denominator  # OverflowError if too large
    if number == 0 and value != 0:
        raise Undefined("too small")
    return complex(number)


def _real(value) -> float:
    value = _complex(value)
    if abs(value.imag) > 1e-9 * abs(value.real):
        raise Undefined("not real")
    return value.real


def _add(*terms):
    exact = Fraction(0)
    for term in terms:
        if isinstance(term, Fraction):
            exact += term
            if _bits(exact) > MAX_BITS:
                raise Undefined("too large")
    rest = [t for t in terms if not isinstance(t, Fraction)]
    if not rest:
        return exact
    rest += [_complex(exact)] if exact else []
    sizes = [abs(t) for t in rest if t]
    if sizes and min(sizes) < 1e-9 * max(sizes):
        raise Undefined("a term too small to count beside another")
    total = sum(rest)
    return Fraction(0) if abs(total) <= 1e-13 * max(sizes, default=0) else total  # they cancel


def _multiply(*factors):
    product = ONE
    for factor in factors:
        if isinstance(product, Fraction) and isinstance(factor, Fraction):
            product *= factor
            if _bits(product) > 2 * MAX_BITS:
                raise Undefined("too large")
        elif product == 0 or factor == 0:
            product = Fraction(0)
        else:
            product = _complex(product) * _complex(factor)
            if product == 0:
                raise Undefined("too small")
    return product


def _factorial(n):
    if isinstance(n, Fraction) and n.denominator == 1:
        if not 0 <= n <= 3000:
            raise Undefined("a factorial beyond the limits")
        return Fraction(math.factorial(n.numerator))
    return complex(math.gamma(_real(n) + 1))


def _binomial(n, k):
    if all(isinstance(v, Fraction) and v.denominator == 1 and 0 <= v <= 3000 for v in (n, k)):
        return Fraction(math.comb(n.numerator, k.numerator))
    return _multiply(_factorial(n), _power(_multiply(_factorial(k), _factorial(_add(n, -k))), -ONE))


def _whole(rounding):
    def rounded(x):
        if isinstance(x, Fraction):
            return Fraction(rounding(x))
        x = _real(x)
        if abs(x) > 1e6:
            raise Undefined("too large to be rounded")
        return Fraction(round(x) if abs(x - round(x)) < 1e-9 else rounding(x))

    return rounded


def _from_complex(function):
    """A function of cmath; near its poles, and far out, floating point cannot tell."""

    def evaluate(x):
        x = _complex(x)
        value = function(x)
        if abs(x) > 1e4 or abs(value) > 1e12 or 1e-16 < abs(abs(value) - 1) < 1e-12:
            raise Undefined("beyond floating point")
        return Fraction(0) if abs(value) < 1e-14 else value

    return evaluate


_EVALUATE = {
    "+": _add,
    "*": _multiply,
    "^": _power,
    "factorial": _factorial,
    "binom": _binomial,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "abs": lambda x: abs(x) if isinstance(x, Fraction) else complex(abs(x)),
    "log": lambda x: Fraction(0) if x == 1 else cmath.log(_complex(x)),
    "exp": lambda x: _power(CONSTANTS["e"], x),
    "cot": _from_complex(lambda x: 1 / cmath.tan(x)),
    "sec": _from_complex(lambda x: 1 / cmath.cos(x)),
    "csc": _from_complex(lambda x: 1 / cmath.sin(x)),
    "arcsin": _from_complex(cmath.asin),
    "arccos": _from_complex(cmath.acos),
    "arctan": _from_complex(cmath.atan),
    **{name: _from_complex(getattr(cmath, name)) for name in ("sin", "cos", "tan")},
    **{name: _from_complex(getattr(cmath, name)) for name in ("sinh", "cosh", "tanh")},
}


# ---- 5. Comparison: are two trees the same answer ----

# Formulas with letters must agree at these points, near and far, wherever both have a value.
SCALES = (1, Fraction(1, 9), 8, 1, 40, 3, Fraction(1, 60), 2)
PRIMES = (37, 41, 43, 47, 53, 59, 61, 67)
LEAST_POINTS = 4  # at which they must have one
COUNTERS = frozenset("ijklmnpqrdNM")  # letters that stand for whole numbers beside floor or n!
STRUCTURES = ("list", "set", "group", "matrix", "rel", "unit", "base")


class Comparison:
    """Compares trees; `why` says which rule decided, for a person to read."""

    def __init__(self, salt: str = ""):
        self.salt = salt  # of the random points, so that no answer can be made for them
        self.work = 0
        self.why = ""

    def same(self, a, b) -> bool:
        self.work += 4
        if self.work > MAX_WORK:
            raise Exhausted
        if a == b:
            self.why = "the same expression"
            return True
        kinds = {_kind(a), _kind(b)}
        if "unit" in kinds:
            return self.same_measure(a, b)
        if "rel" in kinds:
            return self.same_relation(a, b)
        if kinds & {"list", "set"}:
            return self.same_collection(a, b)
        if kinds & {"group", "matrix"}:
            return self.same_order(a, b)
        if "base" in kinds:
            self.why = "digits and base"
            return False
        return self.same_value(a, b)

    def same_measure(self, a, b) -> bool:
        """Units may be missing on one side; 28% is 28 or 0.28; units that are known must agree."""
        (a, a_unit), (b, b_unit) = _measure(a), _measure(b)
        known = [_known_units(unit) for unit in (a_unit, b_unit)]
        words = [set(unit.lower().split()) for unit in (a_unit, b_unit)]
        foreign = all(words) and not any(known) and words[0].isdisjoint(words[1])
        if (known[0] and known[1] and known[0] != known[1]) or foreign:
            self.why = f"different units: {a_unit} and {b_unit}"
            return False
        if self.same(a, b):
            return True
        if ("%" in known[0]) != ("%" in known[1]):
            hundredth = Fraction(1, 100)
            a, b = (_times(hundredth, a), b) if "%" in known[0] else (a, _times(hundredth, b))
            return self.same(a, b)
        return False

    def same_collection(self, a, b) -> bool:
        """Lists and sets in any order; a bare list also equals the tuple in the same order."""
        if _kind(a) not in ("list", "set"):
            a, b = b, a
        if _kind(b) in ("list", "set") and _LDOTS in a and _LDOTS in b:
            return self.each(a[1:], b[1:])  # 1, 2, ..., 10
        if _kind(b) in ("list", "set") and len(a) == len(b):
            matched = self.match(a[1:], b[1:])
            self.why = f"{len(a) - 1} items, in any order"
            return matched
        if a[0] == "list" and _kind(b) == "group" and b[1] == "()":
            self.why = "a tuple, and its entries in order"
            entries = _entries(a)
            return entries is not None and self.each(entries, b[2:])
        # "1/2 or 0.5" is one value written twice, and {5} is 5
        small, large = sorted((a, b), key=lambda n: len(n) if _kind(n) in ("list", "set") else 0)
        single = small[1] if _kind(small) in ("list", "set") and len(small) == 2 else small
        if 1 < len(large) < 9 and _kind(single) not in ("list", "set"):
            return all(self.same(single, item) for item in large[1:])
        self.why = "not as many items"
        return False

    def match(self, left: tuple, right: tuple) -> bool:
        """Whether each item on the left is the same as one of its own on the right."""
        rest = list(right)
        for item in left:
            partner = next((i for i, other in enumerate(rest) if self.same(item, other)), None)
            if partner is None:
                return False
            rest.pop(partner)
        return True

    def each(self, left: tuple, right: tuple) -> bool:
        return len(left) == len(right) and all(map(self.same, left, right))

    def same_order(self, a, b) -> bool:
        """Tuples, points, intervals, matrices; a column or row is the tuple of its entries."""
        if _kind(a) == _kind(b) == "group" and a[1] == b[1] == ":":
            left = tuple(_times(term, b[2]) for term in a[2:])
            equal = self.each(left, tuple(_times(term, a[2]) for term in b[2:]))
            self.why = "proportions"
            return equal
        if _kind(a) == _kind(b) == "group":
            brackets = a[1] == b[1] or (len(a) > 4 and {a[1], b[1]} == {"()", "[]"})  # no interval
            equal = brackets and self.each(a[2:], b[2:])
            self.why = "item by item, brackets counted"
            return equal
        for one, other in ((a, b), (b, a)):
            if _kind(one) == "group" and one[1] == ":" and len(one) == 4 and not _kind(other):
                return self.same(_times(one[2], ("^", one[3], -ONE)), other)
        rows_a, rows_b = _rows(a), _rows(b)
        if rows_a is None or rows_b is None:
            self.why = "one is a tuple, an interval or a matrix, the other is not"
            return False
        if _kind(a) != _kind(b):  # a column is also the tuple of its entries
            rows_a, rows_b = (_laid_down(rows) for rows in (rows_a, rows_b))
        equal = len(rows_a) == len(rows_b) and all(map(self.each, rows_a, rows_b))
        self.why = "entry by entry"
        return equal

    def same_relation(self, a, b) -> bool:
        """Equations and inequalities with each other, or with the value or interval they name."""
        if _kind(a) == _kind(b) == "rel":
            if self.proportional(a, b):
                return True
            if a[2] and b[2] and a[1][0] == b[1][0] == "=" and len(a) == len(b) == 5:
                self.why = "two equations that name values"
                return self.same(a[3], b[3]) and self.same(a[4], b[4])
            sets = _solutions(a), _solutions(b)
            if None in sets:
                return False
            return _unknown(a) == _unknown(b) and self.same(*sets)
        if _kind(a) != "rel":
            a, b = b, a
        solutions = _solutions(a)
        if solutions is not None:
            return self.same(solutions, b)
        operators, terms = list(a[1]), list(a[3:])
        rounded = terms.pop() if operators[-1] == "≈" else None
        terms = terms[1:] if a[2] else terms  # what the name on the left stands for
        if set(operators[: len(a) - 4 - (rounded is not None)]) <= {"="}:
            if not terms:
                return self.same(rounded, b)
            if all(self.same(terms[0], other) for other in terms[1:]):
                near = rounded is not None and self.rounds(rounded, terms[0])
                return self.same(terms[-1], b) or (near and self.same(rounded, b))
        self.why = "one is a relation, the other is not"
        return False

    def rounds(self, rounded, exact) -> bool:
        """Whether a decimal is another number rounded to its places: 7.14 is the root of 51."""
        try:
            x, y = self.value(rounded, None), _real(self.value(exact, None))
        except (ArithmeticError, ValueError):
            return False
        if not isinstance(x, Fraction):
            return False
        places = next((k for k in range(12) if 10**k % x.denominator == 0), None)
        return places is not None and abs(float(x) - y) <= 0.5000001 * 10.0**-places

    def proportional(self, a, b) -> bool:
        """One equation or inequality is the other times a constant (of the right sign)."""
        if len(a) != 5 or len(b) != 5:
            return False
        (a_op, f), (b_op, g) = _difference(a), _difference(b)
        if f is None or g is None or a_op != b_op or not _letters(f):
            return False
        if _long_literals(f) != _long_literals(g) and (_inexact(f) or _inexact(g)):
            return False  # a rounding of the other, at best
        ratios = [x / y for x, y in self.values(f, g) if y != 0 and x != 0]
        steady = len(ratios) >= LEAST_POINTS and all(_close(r, ratios[0]) for r in ratios)
        self.why = f"one side minus the other, compared at {len(ratios)} points"
        return steady and (a_op in ("=", "!=") or _complex(ratios[0]).real > 0)

    def same_value(self, a, b) -> bool:
        infinite = _infinite(a), _infinite(b)
        if any(infinite):
            self.why = "infinity"
            return infinite[0] == infinite[1]
        letters = _letters(a) | _letters(b)
        if not letters:
            return self.same_constant(a, b)
        agreed, roundings = 0, _long_literals(a) != _long_literals(b)
        for x, y in self.values(a, b):
            exact = isinstance(x, Fraction) and isinstance(y, Fraction)
            if not _close(x, y) or (roundings and not exact):
                self.why = "formulas that differ at a random point"
                return False
            agreed += 1
        self.why = f"formulas, compared at {agreed} random points"
        return agreed >= LEAST_POINTS

    def same_constant(self, a, b) -> bool:
        try:
            x, y = self.value(a, None), self.value(b, None)
        except (ArithmeticError, ValueError):
            self.why = "no value could be computed"
            return False
        if isinstance(x, Fraction) and isinstance(y, Fraction):
            self.why = "exact rational values"
            return x == y
        self.why = "numerical values"
        if any(isinstance(v, Fraction) and _digits(v) > 6 for v in (x, y)):
            return False  # a rounding of the other, at best
        return _close(x, y, 1e-12)

    def values(self, a, b):
        """Pairs of values at the points where both have one."""
        functions = _functions(a) | _functions(b)
        whole = bool(functions & {"floor", "ceil", "factorial", "binom"})
        points = list(zip(SCALES, PRIMES, strict=True)) * (2 if whole else 1)  # n! needs n >= 0
        for k, (scale, prime) in enumerate(points):

            def point(name, k=k, scale=scale, prime=prime):
                draw = _draw(f"{name} {k} {self.salt}")
                if whole and name in COUNTERS:
                    return Fraction(draw % (9 if k % 2 else 60) + 1)
                value = Fraction(draw % 89 + 11, prime) * scale
                return -value if "abs" in functions and draw & 1024 else value

            try:
                yield self.value(a, point), self.value(b, point)
            except (ArithmeticError, ValueError):
                continue

    def value(self, node, point):
        """The value of a tree where its letters have the values that `point` gives them."""
        self.work += 1
        if isinstance(node, Fraction):
            self.work += _bits(node) // 64
            return node
        kind = node[0]
        if kind == "sym":
            if node[1] in CONSTANTS:
                return CONSTANTS[node[1]]
            if point is None or node == INFINITY:
                raise Undefined(node[1])
            return point(node[1])
        name, children = (node[1], node[2:]) if kind == "call" else (kind, node[1:])
        if self.work > MAX_WORK:
            raise Exhausted
        if kind == "call" and name.rstrip("'") in UNKNOWN_FUNCTIONS and point is not None:
            argument = self.value(children[0], point)
            exact = isinstance(argument, Fraction)
            return point(f"{name}({argument if exact else format(argument, '.6g')})")
        if name not in _EVALUATE or kind in STRUCTURES:
            raise Undefined(name)
        arguments = [self.value(child, point) for child in children]
        result = _EVALUATE[name](*arguments)
        if isinstance(result, Fraction):
            self.work += _bits(result) // 64
        elif result != result or abs(result) == math.inf:
            raise Undefined("not a number")
        elif point is None and any(isinstance(x, Fraction) and _digits(x) > 11 for x in arguments):
            raise Undefined("more digits than floating point compares")
        return result


def _kind(node) -> str:
    return node[0] if isinstance(node, tuple) and node[0] in STRUCTURES else ""


def _measure(node) -> tuple:
    return (node[1], node[2]) if _kind(node) == "unit" else (node, "")


def _entries(listed):
    """The entries of a tuple that is written without brackets, or as x = 1, y = 2 in any order."""
    if not any(_kind(item) == "rel" for item in listed[1:]):
        return listed[1:]
    named = {}
    for item in listed[1:]:
        if (
            _kind(item) != "rel"
            or item[1] != ("=",)
            or not _letters(item[3])
            or item[3][0] != "sym"
        ):
            return None
        named[item[3][1]] = item[4]
    return tuple(named[name] for name in sorted(named)) if len(named) == len(listed) - 1 else None


def _known_units(unit: str) -> dict:
    """The exponents of the units in a text: "square inches" is {in: 2}, "m/s" {m: 1, s: -1}."""
    found: dict[str, int] = {}
    sign, power = 1, 1
    for slash, word, exponent in re.findall(r"(/|\bper\b)|([A-Za-z°%]+)(?:\^(-?\d))?", unit):
        if slash:
            sign = -1
        power = {"sq": 2, "square": 2, "cu": 3, "cubic": 3}.get(word.lower(), power)
        if word in UNITS and UNITS[word] != "unit":
            found[UNITS[word]] = sign * (int(exponent) if exponent else power)
            power = 1
    if len(found) > 1:
        found.pop("°", None)
    return found


def _rows(node):
    """The rows of a matrix, of a tuple (one row) or of a tuple of tuples; None for others."""
    if _kind(node) == "matrix":
        return node[1:]
    if _kind(node) != "group" or node[1] not in ("()", "[]"):
        return None
    if all(_kind(item) == "group" for item in node[2:]):
        return tuple(item[2:] for item in node[2:])
    return (node[2:],)


def _laid_down(rows: tuple) -> tuple:
    """A column as a row."""
    return (tuple(row[0] for row in rows),) if all(len(row) == 1 for row in rows) else rows


def _walk(node):
    if isinstance(node, tuple):
        yield node
        for child in node[1:]:
            yield from _walk(child)


def _long_literals(node) -> set:
    """Numbers of so many digits that they can be roundings."""
    nodes = (child for n in _walk(node) for child in n)
    return {n for n in nodes if isinstance(n, Fraction) and _digits(n) > 6}


def _inexact(node) -> bool:
    """Whether floating point takes part in its value."""
    return any(
        n[0] == "call" or (n[0] == "sym" and n[1] in CONSTANTS) or _is_root(n) for n in _walk(node)
    )


def _is_root(node) -> bool:
    return node[0] == "^" and not (isinstance(node[2], Fraction) and node[2].denominator == 1)


def _letters(node) -> set:
    symbols = {n[1] for n in _walk(node) if n[0] == "sym" and len(n) == 2}
    symbols |= {name for name in _functions(node) if name.rstrip("'") in UNKNOWN_FUNCTIONS}
    return symbols - CONSTANTS.keys() - {"\\infty"}


def _functions(node) -> set:
    return {n[1] for n in _walk(node) if n[0] == "call"}


def _infinite(node) -> int:
    """+1 or -1 for plus or minus infinity, else 0."""
    if node == INFINITY or node == ("*", ONE, INFINITY):
        return 1
    return -1 if node == MINUS_INFINITY else 0


def _unknown(relation):
    """The letter that a relation is about, if it stands alone on one side."""
    symbols = [t for t in relation[3:] if isinstance(t, tuple) and t[0] == "sym" and _letters(t)]
    return symbols[0] if len(symbols) == 1 else None


def _solutions(relation):
    r"""The set a relation describes: x \in S, x < 3 and -2 \le x \le 7 as intervals; or None."""
    operators, terms = relation[1], relation[3:]
    if operators == ("in",):
        named = isinstance(terms[0], tuple) and terms[0][0] == "sym"
        return terms[1] if named and _kind(terms[1]) in ("set", "group") else None
    unknown = _unknown(relation)
    if unknown is None or not {"<", "<=", "!="}.issuperset(operators):
        return None
    ends = [t for t in terms if t != unknown]
    low, high = MINUS_INFINITY, INFINITY
    if operators == ("!=",):
        return ("set", ("group", "()", low, ends[0]), ("group", "()", ends[0], high))
    closed = [operator.endswith("=") for operator in operators]
    if len(terms) == 2 and terms[0] == unknown:
        return ("group", "(]" if closed[0] else "()", low, ends[0])
    if len(terms) == 2:
        return ("group", "[)" if closed[0] else "()", ends[0], high)
    if len(terms) == 3 and terms[1] == unknown and "!=" not in operators:
        return ("group", ("[" if closed[0] else "(") + ("]" if closed[1] else ")"), *ends)
    return None


def _difference(relation):
    """(operator, left - right); (operator, None) where a side is no number."""
    (operator,), left, right = relation[1], relation[3], relation[4]
    if _kind(left) or _kind(right):
        return operator, None
    return operator, ("+", left, _times(-ONE, right))


def _draw(text: str) -> int:
    """A random number that depends on nothing but the text."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big"
    )


def _close(x, y, tolerance: float = 1e-11) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    x, y = _complex(x), _complex(y)
    return abs(x - y) <= tolerance * max(abs(x), abs(y))


def _digits(value: Fraction) -> int:
    """Significant digits it takes to write numerator and denominator, the longer of the two."""
    parts = (abs(value.numerator), value.denominator)
    if max(parts) < 10**6:
        return 0
    if max(parts).bit_length() > 2000:
        return 600
    return max(len(str(part).rstrip("0")) for part in parts)


# ---- 6. The verdict ----


def decide(answer: str, gold: str) -> tuple[bool, str]:
    """Whether an answer equals the gold one, and the rule that decided."""
    if len(answer) > MAX_ANSWER or len(gold) > MAX_ANSWER:
        return answer.strip() == gold.strip() != "", "too long, compared as text"
    ungrouped = normalise(answer, joined=False), normalise(gold, joined=False)
    left, right = map(_joined, ungrouped)
    if not left or not right:
        return False, "an empty answer or gold is never right"
    if left == right:
        return True, "the same text"
    choice = _CHOICE.fullmatch(right)
    if choice and (chosen := _CHOSEN.match(left)) and not _CHOSEN_TOO.search(left, chosen.end()):
        return chosen[1].upper() == choice[1], "choice letters"
    if _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return _folded(left) == _folded(right), "words, ignoring case"
    if _CLOCK.fullmatch(left) and _CLOCK.fullmatch(right):
        return _squeezed(left) == _squeezed(right), "times and dates are compared as text"
    if _LITERAL.fullmatch(right) and _undone(left):
        return False, "a computation that is left undone is no answer where the gold is a number"
    first, work = None, 0
    for one, other in _readings(left, right, *ungrouped):
        try:
            comparison = Comparison(salt="".join(sorted((left, right))))
            comparison.work = work  # one budget for all readings
            verdict = comparison.same(parse(*one), parse(*other)), comparison.why
        except NotUnderstood as error:
            text = f"compared as text, as the grammar ends here: {error}"
            verdict = _squeezed(left) == _squeezed(right), text
        except (Exhausted, RecursionError, ArithmeticError):
            verdict = False, "over the budget, and not the same text"
        if verdict[0]:
            return verdict
        first, work = first or verdict, comparison.work
    return first


_LITERAL = re.compile("-?" + _NUMBER.pattern)
_UNDONE = re.compile(rf"{_LITERAL.pattern}(?:(?:[-+*]|\\times|\\cdot|\\div){_LITERAL.pattern})+")
_CHOICE = re.compile(r"\(?([A-J])\)?")
_CHOSEN = re.compile(r"(?:\\text\{(?:option|choice) )?\(?([A-Ja-j])(?:\)|\.(?!\d)| ?:|\}|$)", re.I)
_CHOSEN_TOO = re.compile(  # a second letter, or what makes of the first no choice
    r"(?<![A-Za-z\\])(?:[A-J](?![A-Za-z])|[a-j][).])"
    r"|\b(?:not|wrong|incorrect|or)\b|(?<=\)) ?[\^+*/=-]"
)
_CLOCK = re.compile(r"\d?\d:\d\d|\d\d?/\d\d?/\d{2,4}|\d{4}-\d\d-\d\d")
_LABEL = re.compile(r"\([A-J]\) (?=[\d\\$-])")
_WORDS = re.compile(
    r"(?=.*[A-Za-z]{3})(?:\\text\{[A-Za-z .'-]*\}|[A-Za-z .'-])*|\d?\d:\d\d.*[AaPp]\.?[Mm].*"
)


def _undone(text: str) -> bool:
    """Whether numbers stand there to be added or multiplied, and no result beside them."""
    sides = re.sub(r"[\s(){}]", "", text).split("=")
    return any(map(_UNDONE.fullmatch, sides)) and not any(map(_LITERAL.fullmatch, sides))


def _folded(text: str) -> str:
    """Words without case, articles, stops and braces."""
    text = re.sub(r"\\text|(?<=[A-Za-z])\.|[{}]", "", text)
    return re.sub(r"\b(?:an?|the) (?=\w)|\s+", "", text.strip().casefold())


def _squeezed(text: str) -> str:
    """Without braces around one character, and spaces but those that part words or numbers."""
    return re.sub(r"(?<![\w.])\s+|\s+(?![\w.])", "", re.sub(r"\{\s*(\w)\s*\}", r"\1", text).strip())


def _readings(left: str, right: str, left_list: str, right_list: str):
    """The pairs to compare: 1,234 may be a list, 2e-5 may be 2*e - 5, "(C) 42" is 42."""
    yield (left, True), (right, True)
    if left_list != left or _E_NOTATION.search(left):
        yield (left_list, False), (right, True)
    if right_list != right or _E_NOTATION.search(right):
        yield (left, True), (right_list, False)
    if left_list != left and right_list != right:
        yield (left_list, False), (right_list, False)
    if _LABEL.match(left) and not _LABEL.match(right) and not _CHOICE.fullmatch(right):
        yield (_LABEL.sub("", left, count=1), True), (right, True)


_E_NOTATION = re.compile(r"\d[eE][+-]?\d")


def parse(text: str, scientific: bool = True):
    """The tree of a normalised text; NotUnderstood says where the grammar ends."""
    return Parser(text, scientific).tree()


def is_equivalent(answer: str, gold: str) -> bool:
    """Whether an answer equals the gold answer; never for an empty one."""
    return decide(answer, gold)[0]


def verify(response: str, gold: str) -> bool:
    """The reward: True where the response commits to an answer that equals the gold one."""
    answer = extract_answer(response)
    if answer is None and len(gold) < MAX_ANSWER and gold.count("{") > gold.count("}"):
        box = response.rfind("\\boxed")  # some published golds lack a brace: it never closes
        return box >= 0 and response.startswith(f"\\boxed{{{gold}}}", box)
    return answer is not None and is_equivalent(answer, gold)


def main(argv: list[str] | None = None) -> int:
    """Show step by step how a response is judged."""
    parser = argparse.ArgumentParser(description="Show how the verifier judges a response.")
    parser.add_argument("response", help="what a model wrote, in quotes")
    parser.add_argument("gold", help="the gold answer, in quotes")
    args = parser.parse_args(argv)
    answer = extract_answer(args.response)
    if answer is None:
        print("extracted  nothing: the response commits to no answer\nverdict    wrong")
        return 1
    where = next(name for name, find in TRUST if find(args.response) is not None)
    right, why = decide(answer, args.gold)
    print(f"extracted  {answer}    ({where})")
    print(f"answer     {normalise(answer)}\ngold       {normalise(args.gold)}")
    print(f"verdict    {'right' if right else 'wrong'}: {why}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
