r"""LaTeX to a tree: recursive descent over the text that `spelling.py` leaves.

What it teaches: how to read what a model wrote without running it.  Each rule of the grammar is a
method: it reads its own signs, calls the rule that binds tighter for what stands between them, and
leaves `at` behind what it read.  Mathematics is written for people, so the work is in what they
leave out: 2x is a product, f(x) is none, 2\frac{1}{3} is a sum, and \sin 2x takes the x along.

Where it stands: the second half of "what does it say?".  Its trees are described in `algebra.py`,
and `comparison.py` compares them.  What the grammar does not have raises `NotUnderstood`: a guess
could pay for a wrong answer.

Try changing first: `_NO_UNITS`, words behind a number that are no unit.  Without them, what is
"5 squared" equal to?
"""

import re
from fractions import Fraction

from algebra import (
    INFINITY,
    MINUS_INFINITY,
    ONE,
    UNKNOWN_FUNCTIONS,
    NotUnderstood,
    kind_of,
    letters_of,
    solutions_of,
    times,
    to_power,
)
from spelling import MAX_ANSWER, UNITS

MAX_DEPTH = 30  # of nested brackets, powers and functions

SIGN = ("sym", "±")  # +1 in one reading of the answer, -1 in the other
REALS = ("group", "()", MINUS_INFINITY, INFINITY)

_NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan ln log lg exp abs"
FUNCTIONS = {name: name for name in _NAMES.split()}
FUNCTIONS |= {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot"}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma"
    " tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_SYMBOLS = set(_GREEK.split()) | set(
    "infty angle triangle hbar ell partial nabla ldots R N Z Q C square ast odot".split()
)
_ACCENTS = set("overline bar vec hat dot ddot tilde widehat overrightarrow".split())
_STRUCTURES = set("frac sqrt binom begin emptyset langle lfloor lceil".split()) | _ACCENTS

NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)")
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


def parse(text: str, scientific: bool = True):
    """The tree of a normalised text; NotUnderstood says where the grammar ends."""
    return Parser(text, scientific).tree()


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
                if word[3] and not unit and (letters_of(node) or behind.isalpha()):
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
                node = times(node, Fraction(factor))
        if not _NO_UNITS.isdisjoint(re.split(r"[^a-z]+", unit.lower())):
            raise NotUnderstood(f"{unit.strip()} is no unit")
        return node, unit

    def union(self):
        node = self.ratio()
        while join := self.take(_JOIN):
            other = self.ratio()
            if join[1] == "setminus" and node == REALS and kind_of(other) not in ("set", "group"):
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
            terms.append(times(sign, self.product()))
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
            elif len(factors) == 2 and kind_of(factors[1]) == "group" and _is_point(factors[0]):
                return factors[1]  # A(1,2) names a point
            else:
                return times(*factors)

    def signed(self):
        sign = self.sign()
        if sign is None:
            return self.power()
        return times(sign, self.deeper(self.signed))

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
        return node if sign is None else times(sign, node)

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
        literal = self.take(NUMBER)
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
            value *= to_power(Fraction(10), Fraction(int(power[1])))
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
            if any(kind_of(c) != "rel" or letter not in c[3:] for c in conditions):
                raise NotUnderstood("a set whose condition is not about its letter")
            sets = [solutions_of(c) or c for c in conditions]
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
        nested = opening == "\\{" and kind_of(items[0]) == "set"
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
            return times(above, ("^", self.argument(), Fraction(-1)))
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
            inside = times(*factors)
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


def _integer(digits: str) -> int:
    if len(digits) > 4000:  # Python's own limit is 4,300
        raise NotUnderstood("a number of too many digits")
    return int(digits)


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
