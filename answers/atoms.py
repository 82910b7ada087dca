r"""Atoms: the rules of the grammar that bind tightest, for numbers, letters, brackets and bars.

What it teaches: a sign can mean many things, and what stands around it decides.  A point may end a
number or a sentence, "(1, 2)" may be a pair or an interval, and the second bar of |x| closes what
the first one opened.

Where it stands: the right sides of "atom", "number", "symbol" and "bracket" in the grammar at the
top of `latex.py`.  What begins with a command such as \frac is in `commands.py`.

Try changing first: `NUMBER`.  With \d+\.?\d* for \d+(?:\.\d*)? it matches the same numbers, but
each in as many ways as it has digits.  `finished.py` then tries all of them before it refuses a
number with an x behind it: 500 digits take 0.13 s, 1,000 take 0.5 s and 1,900 take 1.9 s in place
of 4 ms, and a policy that writes a line of them stops its own training.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from answers.algebra import to_power
from answers.patterns import pattern
from answers.reader import Reader
from answers.trees import REALS, UNKNOWN_FUNCTIONS, NotUnderstood, Tree, kind_of, solutions_of
from answers.units import UNIT

MAX_DIGITS = 4_000  # of a number; Python refuses to read more than 4,300

_NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan ln log lg exp abs"
FUNCTIONS = {name: name for name in _NAMES.split()}
FUNCTIONS |= {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot"}

NUMBER = pattern("12.5", r"(?:\d+(?:\.\d*)?|\.\d+)")
_EXPONENT = pattern("4.5e33", r"[eE]([+-]?\d{1,6})(?![\d.])")
_REPEATING = pattern(
    r"0.1\overline{6}", r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?"
)  # the whole part, the digits before the cycle, the cycle
_PROPER = pattern(
    r"2\frac{1}{3}",  # or 2 1/3
    r"\s*\\frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))|\s+(\d+)/(\d+)",
)
_BASES = "zero one two three four five six seven eight nine ten eleven twelve".split()
_BASE = pattern(
    r"52_{\text{eight}}",  # or 52_8
    r"\s*_\s*(?:\{?\s*(?:\\text\{)?\s*\(?(\d{1,3}|" + "|".join(_BASES) + r")\)?\s*\}{0,2}|(\d))",
)
_ASCII_NAME = pattern(
    "sqrt(2)",
    r"(sqrt|cbrt|pi|" + "|".join(sorted(FUNCTIONS, key=len, reverse=True)) + ")(?![A-Za-z])",
)
_LETTER = pattern(r"\alpha", r"\\([A-Za-z]+)|([A-Za-z])")
SUBSCRIPT = pattern(r"x_{max}", r"\s*_\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\\[A-Za-z]+|[A-Za-z0-9]))")
_PRIME = pattern("f'", r"\s*(?:\^\s*\{?\s*(?:\\prime\s*)+\}?|\^\s*\{\s*'+\s*\}|'+)")
_VALUE_AT = pattern("I(0)", r"\(-?\d+\)(?!\s*\^)")
_BUILDER = pattern(r"\{x \in \R | x > 3\}", r"\\\{\s*([A-Za-z])(?:\s*\\in\s*\\R)?\s*(?:\||:)")
_CLOSERS = {"(": ")]", "[": "])", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}


class Atoms(Reader):
    """The rules for what has no parts that another rule could split."""

    # Looser rules, for what stands within an atom; `Commands` and `Parser` have them.
    named: Callable[[str], Tree]
    items: Callable[..., list[Tree]]
    sum: Callable[[], Tree]

    def atom(self) -> Tree:
        """Read a number, a letter, a bracket, |...|, words or a command."""
        self.skip()
        if self.sees("(", "[", "{", "\\{", "\\langle"):
            return self.bracket()
        if self.sees("|"):
            return self.absolute()
        if self.sees(*"0123456789."):
            return self.number()
        if ascii_name := self.take(_ASCII_NAME):
            return self.named(ascii_name[1])
        if self.sees("\\text"):
            words = self.take(UNIT)
            if not words:
                raise NotUnderstood("a text that holds no words")
            return ("sym", re.sub(r"\s+", " ", words[1]).casefold())
        letter = None if self.sees("mod") else self.take(_LETTER)
        if not letter:
            raise NotUnderstood(f"nothing can start with {self.text[self.at : self.at + 10]!r}")
        return self.symbol(letter[2]) if letter[2] else self.named(letter[1])

    def number(self) -> Tree:
        r"""Read an exact literal: 12, 0.5, 4.5e33, 0.1\overline{6}, 52_8, or 2\frac{1}{3}."""
        if repeating := self.take(_REPEATING):
            return _repeating_decimal(*repeating.groups())
        literal = self.take(NUMBER)
        if not literal:
            raise NotUnderstood("a point without digits")
        if base := self.take(_BASE):
            word = base[1] or base[2]
            index = _BASES.index(word) if word in _BASES else int(word)
            return ("base", literal[0].lstrip("0"), index)
        whole, _, decimals = literal[0].partition(".")
        value = Fraction(_integer(whole + decimals or "0"), 10 ** len(decimals))
        if self.scientific and (power := self.take(_EXPONENT)):
            return value * to_power(Fraction(10), Fraction(int(power[1])))
        if literal[0].isdigit() and (part := self.proper_fraction()):
            value += part
        return value

    def proper_fraction(self) -> Fraction | None:
        """Read the fraction of a mixed number, as in 2 1/3; None if there is none below 1."""
        mixed = _PROPER.match(self.text, self.at)
        if not mixed:
            return None
        above = _integer(mixed[1] or mixed[2] or mixed[5])
        below = _integer(mixed[3] or mixed[4] or mixed[6])
        if above >= below:
            return None
        self.at = mixed.end()
        return Fraction(above, below)

    def symbol(self, name: str) -> Tree:
        """Read what belongs to a letter, its index and primes: x, x_{max}, f'."""
        if index := self.take(SUBSCRIPT):
            name += "_" + re.sub(r"\\text|\\(?=[a-z])|[{}\s]", "", index[index.lastindex])
        if prime := self.take(_PRIME):
            name += "'" * (prime[0].count("prime") + prime[0].count("'"))
        if value := self.take(_VALUE_AT):
            name += value[0]  # I(0) is a value of the function I, and no product
        elif name.rstrip("'") in UNKNOWN_FUNCTIONS and self.text.startswith("(", self.at):
            return ("call", name, self.nested(self.bracket))
        return ("sym", name)

    def bracket(self) -> Tree:
        """Read brackets: they group, or they make a tuple, an interval or a set."""
        if builder := self.take(_BUILDER):
            return self.set_by_condition(("sym", builder[1]))
        opening = self.expect(*_CLOSERS)
        in_braces = opening in ("{", "\\{")
        closing = _CLOSERS[opening]
        closings = (closing,) if in_braces or opening == "\\langle" else tuple(closing)
        if opening == "\\{" and self.sees("\\}"):
            self.at += 2
            return ("set",)
        bars, self.bars = self.bars, 0
        items = self.items(both_signs=opening == "\\{")
        self.bars = bars
        close = self.expect(*closings)
        is_set_of_a_set = opening == "\\{" and kind_of(items[0]) == "set"
        if len(items) == 1 and close == closings[0] and not is_set_of_a_set:
            return items[0]
        if in_braces:
            return ("set", *items)
        return ("group", "()" if opening == "\\langle" else opening + close, *items)

    def set_by_condition(self, letter: Tree) -> Tree:
        r"""Read the condition of \{x | x > 3\}, and return the set that it describes."""
        conditions = self.items()
        self.expect("\\}")
        if any(kind_of(c) != "rel" or letter not in c[3:] for c in conditions):
            raise NotUnderstood("a set whose condition is not about its letter")
        sets = [solutions_of(c) or c for c in conditions]
        sets = [each for each in sets if each != REALS] or [REALS]  # "x in R" adds nothing
        return sets[0] if len(sets) == 1 else ("list", *sets)

    def absolute(self) -> Tree:
        """Read |...|, whose first bar is the next character."""
        self.at += 1
        self.bars += 1
        inside = self.sum()
        self.expect("|")
        self.bars -= 1
        return ("call", "abs", inside)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotUnderstood("a number of too many digits")
    return int(digits)


def _repeating_decimal(whole: str, fixed: str, cycle: str) -> Fraction:
    r"""Return the value of 0.1\overline{6}: 1/10 + 6/90."""
    start = Fraction(_integer((whole or "0") + fixed), 10 ** len(fixed))
    return start + Fraction(_integer(cycle), 10 ** len(fixed) * (10 ** len(cycle) - 1))
