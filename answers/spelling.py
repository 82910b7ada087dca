r"""Spelling: from what people write to plain LaTeX.

What it teaches: most answers that a strict comparison would refuse differ in typography alone.
\dfrac{1}{2}, "½", $\frac{1}{2}$ and "The answer is \tfrac{1}{2}." say the same, and it takes no
mathematics to see it, only replacements in a fixed order.  The art is to take away nothing that
carries meaning.  1,234 is a number and (1,234) a pair; \text{ m} is a unit behind 5, and
\text{Evelyn} is a name.

Where it stands: between `extraction.py`, which found the answer, and `latex.py`, which reads what
is left here.  The gold answer passes through as well, so that both are spelled alike.

Try changing first: `_NOT_SAID`, the words before an answer that change what it says.  Without them
"at most about 5" equals 5, and so does "not equal to 5".
"""

import re

from answers.characters import to_latex
from answers.doubt import DOUBTFUL_WORDS
from answers.patterns import pattern, rewrite
from answers.remarks import without_remarks
from answers.units import UNITS

MAX_ANSWER = 2_000  # characters; a longer answer is compared as text


def normalise(text: str, joined: bool = True) -> str:
    """Spell an answer in plain LaTeX: no dollars, sizes, spacing, fonts, or digit grouping.

    With `joined=False` the commas in 1,234 stay, and it is a list of two numbers.
    """
    if not text.isascii():
        text = to_latex(text)
        if len(text) > MAX_ANSWER:  # some characters stand for eighteen
            return text
    for wanted, replacement in _BEFORE_FONTS:
        text = wanted.sub(replacement, text)
    if "mod" in text:
        text = _MODULUS.sub(_AS_MODULUS, text)
    for _ in range(3):  # fonts within fonts
        text = _FONT.sub(_without_font, text)
    text = _COMMAND.sub(lambda command: _COMMANDS.get(command[0], command[0]), text)
    text = without_remarks(_SPACES.sub(" ", text).strip())
    for wanted, replacement in _AFTER_FONTS:
        text = wanted.sub(replacement, text)
    text = _without_phrases(text)
    return join_digits(text) if joined else text


# ---- Numbers in groups of three digits ----

_GROUPED = pattern(
    "1,234,567", r"(?<![\d,.])[1-9]\d{0,2}(?:(?:,\d{3})+(?!,?\d)|(?: \d{3})+(?! ?\d| ?/))"
)


def join_digits(text: str) -> str:
    """Turn 1,234 and 1 234 into 1234, unless brackets make a list of them."""
    return text if len(text) > MAX_ANSWER else _GROUPED.sub(_without_grouping, text)


def _without_grouping(number: re.Match[str]) -> str:
    before = number.string[: number.start()]
    opened = sum(before.count(c) for c in "([") + before.count("\\{")
    closed = sum(before.count(c) for c in ")]") + before.count("\\}")
    return number[0] if opened > closed else re.sub("[, ]", "", number[0])


# ---- What stands before and behind an answer and adds nothing ----

_NOT_SAID = rf"""
    (?! [^\d\\]* \b (?: not | never | no | less | greater | more | fewer | least | most | half
      | twice | times | minus | plus | than | between | one | two | three | or
      | {DOUBTFUL_WORDS.replace(" ", "[ ]")} ) \b )
"""
_LEAD = pattern(
    "The answer is 5",
    _NOT_SAID
    + r"""(?: \s* (?:
        = | \\approx
      | (?: USD | Rs\.? | EUR | INR ) [ ] (?=\d)
      | (?: the[ ] (?: number | integer | value ) | a[ ]total[ ]of ) [ ] (?= [\d$\\-] )
      | (?: option | choice ) [ ] (?= \(?[A-Z]\)? \Z )
      | (?: \\text\{ )? (?: [A-Za-z]+ [ ] ){0,4}?
        (?: answer | ans | total | is | are | equals? (?:[ ]to)? | the[ ]point | approximately
          | approx\.? | about | exactly | simply | indeed | clearly | still | just | therefore
          | thus | hence | so | either | both )
        (?: [ ]? [:,]? [ ]? \} | [:,] | [ ] | (?= [\\\d$(] ) )
    ) )+ \s*""",
    re.IGNORECASE | re.VERBOSE,
)
_REMARK = pattern(
    "5, where n > 0",  # or 5 (because 2 + 3 = 5), 5 (units)
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


def _without_phrases(text: str) -> str:
    """Take away "The answer is" before an answer and remarks such as "for all n" behind it."""
    text = _REMARK.sub("", text)
    if lead := _LEAD.match(text):
        text = text[lead.end() :].strip()
        text = text.removesuffix("}") if text.count("{") < text.count("}") else text
    return text


# ---- Replacements, in order: an example and what becomes of it, the pattern, the replacement ----


def _as_unit(unit: re.Match[str]) -> str:
    r"""Mark a unit: 9.8 m/s^2 is 9.8\text{m/s^2}.  Behind letters, letters are factors instead."""
    before = unit.string[unit.string.rfind("=", 0, unit.start()) + 1 : unit.start()]
    before = re.sub(r"\\text\{[^{}]*\}|\\(?:frac|sqrt|pi|times|cdot|approx)(?![a-z])", "", before)
    if re.search("[A-Za-z]", before):
        return unit[0]
    words = unit[0].strip()
    return rf"\text{{{words if words.isalpha() or ' ' in words else re.sub('[{} ]', '', words)}}}"


_BEFORE_FONTS = [
    rewrite("negative 3", "-3", r"\A\s*(?:negative|minus)\s(?=[\d.\\$])", "-", re.IGNORECASE),
    rewrite("8 o'clock", "8", r"(?<=\d) o['’]clock\b", ""),
    rewrite(r"\left. x \right|", r" x \right|", r"\\(?:left|right)\s*\.", ""),
    rewrite(r"1 \\[2pt] 2", r"1 \\ 2", r"\\\\\s*\[[^\[\]]{0,20}\]", r"\\\\"),
    rewrite("10{,}000", "10000", r"(?<=\d)(?:\{,\}|,\s?\\!|\\[,;: ])\s?(?=\d{3}(?!\d))", ""),
    rewrite(r"\$5", r"5\text{dollars}", r"\\\$\s?(\d(?:[\d.,]*\d)?)", r"\1\\text{dollars}"),
    rewrite("28 percent", "28 %", r"(?<![A-Za-z\\])(?:per ?cent|pct)(?![A-Za-z])", "%"),
    rewrite("{}_4", "_4", r"(?<!\\)\{\s*\}", ""),
    rewrite("1,2,...,9", r"1,2,\ldots ,9", r"\.{3}", r"\\ldots "),
    rewrite(r"\mathbb{R}", r"\R ", r"\\mathbb\s*(?:\{\s*)?([A-Z])\s*\}?", r"\\\1 "),
    rewrite(r"\operatorname{sec}x", r"\sec x", r"\\operatorname\*?\s*\{\s*([a-z]+)\s*\}", r"\\\1 "),
    rewrite(r"\color{blue}{5}", " {5}", r"\\(?:[hv]space\*?|(?:text)?color)\s*\{[^{}]*\}", " "),
    rewrite(
        r"{1\over 2}",
        r"\frac{1}{ 2}",
        r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}",
        r"\\frac{\1}{\2}",
    ),
    rewrite(
        r"{n\choose 2}",
        r"\binom{n}{ 2}",
        r"\{([^{}]*)\\choose(?![a-z])([^{}]*)\}",
        r"\\binom{\1}{\2}",
    ),
    rewrite(
        r"5 \frac{\text{m}}{\text{s}}",
        r"5 \text{m/s}",
        r"\\frac\s*\{\\\w+\{([A-Za-z ]*)\}\}\s*\{\\\w+\{([A-Za-z ]*)\}\}",
        r"\\text{\1/\2}",
    ),
    rewrite(r"5 \mu\mathrm{m}", r"5 \text{um}", r"\\mu\s*\\(?:text|mathrm)\s*\{\s*", r"\\text{u"),
    rewrite(
        "4.5 x 10^33",
        r"4.5\times 10^33",
        r"(?<=\d) [xX] (?=\d)|(?<=\d)[xX](?=10\s*\^)",
        r"\\times ",
    ),
]
_MODULUS, _AS_MODULUS = rewrite(
    r"5 \pmod{7}",
    r"5 \bmod 7",
    r"\s*(\(\s*)?(?:\\[pb]?mod(?![a-z])|\\(?:text|mathrm)\{\s*mod\s*\}"
    r"|(?<=[\s(}])mod(?=[ \\{]))(?:\s|\\ )*"
    r"(?:\{\s*([^{}]*?)\s*\}|(\w+))(?(1)\s*\))",
    r" \\bmod \2\3",
)
_SPACES = pattern("$x$~ = 5", r"[$~\s]+")
_AFTER_FONTS = [
    rewrite(" 5 .", "5", r"\A[ ,;:*]+|(?<![ .,;:*\\])[ .,;:*\\]+\Z", ""),
    rewrite(
        r"\text{All real numbers}",
        r"\R ",
        r"(?:\\text\{)?\ball (?:real numbers|reals)\b ?\}?",
        r"\\R ",
        re.IGNORECASE,
    ),
    rewrite("2**10", "2^10", r"\*\*", "^"),
    rewrite("np.arcsin(1)", "arcsin(1)", r"\b(?:np|numpy|math)\.", ""),
    rewrite(
        "(-inf, 5)",
        r"(-\infty , 5)",
        r"(?<![A-Za-z\\])(?:infinity|infty|inf)(?![A-Za-z])",
        r"\\infty ",
        re.IGNORECASE,
    ),
    rewrite(
        "25 ^\\circ C", r"25 ^\circ \text{C}", r"(\^ ?\{?\\circ ?\}? ?)([CF])$", r"\1\\text{\2}"
    ),
    rewrite("9 m^2", r"9\text{m^2}", r"(?<=[\d}]) ([msgLJNVWK](?: ?\^ ?\{?[23]\}?)?)$", _as_unit),
    rewrite(
        "9.8 m/s^{2}",
        r"9.8\text{m/s^2}",
        r"(?<=[\d}]) ?(?:[kcm]?m|ft|mi|[km]?g|rad|[NJWL]) ?/ ?(?:s|h|hr|min|m?L|[ck]?m|kg|K)"
        r"(?: ?\^ ?\{?[23]\}?)?$",
        _as_unit,
    ),
    rewrite(
        "72 miles/hour",
        "72 miles per hour",
        r"(?:(?<=[\d}])|(?<=[a-z]{3})) ?/ ?(?=[a-z]{3,}$|hr$|lb$)",
        " per ",
    ),
    rewrite(
        "10 big cats",
        r"10\text{big cats}",
        r"(?<=[\d})]) (?:(?:[A-Za-z][a-z]+|a) )*(?:[A-Za-z][a-z]{2,}|(?<=per )[a-z]{2})$",
        _as_unit,
    ),
    rewrite(
        r"1\text{ or }2",
        "1  or  2",
        r"\\text\{[^{}]*\b(?:and|or|not)\b[^{}]*\}",
        lambda words: f" {words[0][6:-1]} ",
        re.IGNORECASE,
    ),
]


# ---- Fonts and commands ----

_FONT = pattern(
    r"\mathbf{\frac{1}{2}}",
    r"\\(text(?:bf|it|rm|sf|tt|normal)?|mbox|hbox|math(?:rm|bf|it|sf|tt|cal|normal)|boldsymbol|bm"
    r"|emph|underline|boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\}){0,4000})\}",
)
_BEHIND_A_NUMBER = pattern(r"5\,", r"(?:[\d)}]|\}\s*(?:\\cdot|/))[ ~\\,;]*\Z")
_WORDS = pattern("cm^2", r"[A-Za-z][A-Za-z .'/-]*(?:\^-?\d[A-Za-z /^0-9-]*)?")
_COMMAND = pattern(r"\dfrac", r"\\(?:[A-Za-z]+|.)", re.DOTALL)


def _without_font(font: re.Match[str]) -> str:
    r"""Turn \text{990} into 990, but keep \text{Evelyn} and the unit in 5\text{ m} as words."""
    name, inside = font[1], font[2]
    if re.fullmatch(r"\s*(?:and|or)\s*", inside, re.IGNORECASE):
        return f" {inside.strip().lower()} "
    measured = _BEHIND_A_NUMBER.search(font.string[max(0, font.start() - 20) : font.start()])
    words = re.sub(r"\\[,;: ]|\\cdot|~", " ", inside).strip()
    words = re.sub(r"\^\s*\{?\s*(-?\d)\s*\}?", r"^\1", words) if measured else words
    if not _WORDS.fullmatch(words):
        return f" {inside} "
    is_word = len(words) > 1 or (measured and words in UNITS)
    if name.startswith("math") and not (measured and is_word):
        return inside  # letters in a mathematical font are still letters
    is_box = name in ("boxed", "fbox")
    return rf"\text{{{words}}}" if is_word and not is_box else f" {words} "


_COMMANDS = {
    **dict.fromkeys(
        r"\left \right \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \biggl \biggr \Biggl \Biggr"
        r" \displaystyle \textstyle \limits \nolimits \rm \bf \it \! \$ \/ \middle \mathbf \mathrm"
        r" \blacksquare \square \qed \small \large \Large \LARGE \huge \Huge \boldmath \checkmark"
        r" \therefore".split(),
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
