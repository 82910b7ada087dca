r"""One spelling: from what people write to plain LaTeX.

What it teaches: most answers that a strict comparison would refuse differ in typography alone.
\dfrac{1}{2}, "½", $\frac{1}{2}$ and "The answer is \tfrac{1}{2}." say the same, and it takes no
mathematics to see it, only replacements in a fixed order.  The art is to take away nothing that
carries meaning.  1,234 is a number, (1,234) a pair; \text{ m} is a unit behind 5, \text{Evelyn} is
a name.

Where it stands: between `verifier.py`, which found the answer, and `latex.py`, which parses what is
left here.  The gold answer passes through as well, so both are spelled alike.

Try changing first: `_LEAD`, the words that may stand before an answer.  Without its first three
lines, what is "at most about 5" equal to?
"""

import re
import unicodedata
from functools import lru_cache

MAX_ANSWER = 2_000  # characters; a longer answer is compared as text


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
    return join_digits(text) if joined else text


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


def join_digits(text: str) -> str:
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
