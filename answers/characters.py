r"""Characters: every character that is not ASCII, in LaTeX.

What it teaches: Unicode has its own tables, and they spare most of ours.  The standard library
knows that "٤" is a 4, that "²" is a raised 2 and that "Δ" is a Greek capital delta, so that only
some signs of mathematics are left for the table `_SIGNS`.

Where it stands: the first thing that `spelling.py` does with a text that is not ASCII.

Try changing first: `_raised_or_lowered`.  If it returns every character as it is, 2ˣ equals 2x,
since the standard normalisation puts raised letters on the line.
"""

import re
import unicodedata
from functools import lru_cache

from answers.patterns import pattern

_VULGAR = pattern("½", "[¼-¾⅐-⅞]")
_OVERLINED = pattern("3\u0305", "(?:[0-9][\u0305\u0307])+")  # a repeating digit
_SLANTED = pattern("³⁄₄", "([⁰¹²³⁴-⁹]+)[⁄/]([₀-₉]+)")
_RAISED = pattern("x⁻²", "[⁰¹²³⁴-⁹⁺⁻⁽⁾ⁿ]+")
_LOWERED = pattern("x₁", "[₀-₎]+")
_SIGNS = {
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


def to_latex(text: str) -> str:
    r"""Write a text in ASCII: "½" is \frac{1}{2}, "x²" is x^{2}, "π" is \pi.

    Characters that nothing is known of stay as they are.
    """
    text = text.replace("º", "°").replace("˚", "°")
    text = _VULGAR.sub(lambda m: _fraction(*_on_the_line(m[0]).split("⁄")), text)
    text = _OVERLINED.sub(lambda m: rf"\overline{{{re.sub('[^0-9]', '', m[0])}}}", text)
    text = _SLANTED.sub(lambda m: _fraction(_on_the_line(m[1]), _on_the_line(m[2])), text)
    text = _RAISED.sub(lambda m: f"^{{{_on_the_line(m[0])}}}", text)
    text = _LOWERED.sub(lambda m: f"_{{{_on_the_line(m[0])}}}", text)
    text = "".join(c if c.isascii() else _raised_or_lowered(c) for c in text)
    return "".join(c if c.isascii() else _character(c) for c in _on_the_line(text))


def _fraction(above: str, below: str) -> str:
    return rf"\frac{{{above}}}{{{below}}}"


def _on_the_line(text: str) -> str:
    """Replace raised, lowered, wide and other variants of characters by the plain ones."""
    return unicodedata.normalize("NFKC", text)


def _raised_or_lowered(c: str) -> str:
    """Write a raised or lowered letter with its ^ or _."""
    kind = unicodedata.decomposition(c).partition(" ")[0]
    mark = {"<super>": "^", "<sub>": "_"}.get(kind)
    return f"{mark}{{{_on_the_line(c)}}}" if mark else c


@lru_cache(maxsize=4096)
def _character(c: str) -> str:
    """Write one character that is not ASCII: a sign, a digit of any script, a Greek letter."""
    if c in _SIGNS:
        return _SIGNS[c]
    if c.isdecimal():
        return str(unicodedata.decimal(c))
    name = unicodedata.name(c, "")
    if name.startswith("GREEK") and "LETTER " in name:
        letter = name.split("LETTER ")[1].split(" ")[0].lower()
        command = "\\" + (letter.capitalize() if "CAPITAL" in name else letter)
        return f"{command} "
    return "" if unicodedata.category(c) == "Cf" else c  # Cf: invisible, such as a joiner
