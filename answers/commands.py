r"""Commands: what stands behind \frac, \sqrt, \sin, \begin and their like.

What it teaches: each command reads its own arguments, by one short method in a table.  A new
command is one method and one row in `Commands.RULES`.  Functions are special: mathematicians leave
their brackets out, so that \sin 2x takes the x along and \sin x \cos x does not take the cosine.

Where it stands: the right side of "command" in the grammar at the top of `latex.py`.

Try changing first: let `function_follows` return False.  Then \sin x \cos x is the sine of a
product, and 2 \sin x \cos x is refused where the gold is \sin 2x.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, ClassVar

from answers.atoms import FUNCTIONS, SUBSCRIPT, Atoms
from answers.patterns import pattern
from answers.trees import ONE, REALS, NotUnderstood, Tree, times

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma"
    " tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
SYMBOLS = set(_GREEK.split()) | set(
    "infty angle triangle hbar ell partial nabla ldots R N Z Q C square ast odot".split()
)
ACCENTS = set("overline bar vec hat dot ddot tilde widehat overrightarrow".split())
STRUCTURES = set("frac sqrt binom begin emptyset langle lfloor lceil".split()) | ACCENTS

_DERIVATIVE = pattern(
    r"\frac{dx}{dt}",
    r"\s*\{\s*(?:d|\\partial)(?![_])[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
    r"\s*\{\s*(?:d|\\partial)\s*[A-Za-z\\][^{}]*(?:\{[^{}]*\}[^{}]*)*\}",
)
_CORNERS = pattern(r"\angle ABC", r"\s*(?:[A-Z](?:_(?:\w|\{\w+\}))?'?\s*){1,3}")
_CORNER = pattern("A_1", r"[A-Z](?:_\{?\w+\}?)?'?")
_FUNCTION_NAME = pattern(r"\cos", r"\\?([A-Za-z]+)")
_MATRIX = pattern(
    r"\begin{pmatrix}", r"\\begin\s*\{([pbB]?(?:small)?matrix|array)\}(?:\s*\{[clr| ]*\})?"
)


class Commands(Atoms):
    """The rules for what stands behind a command, or behind its plain name such as sqrt."""

    # Looser rules, for what a function or a matrix takes along; `Parser` has them.
    tree: Callable[[], Tree]
    relation: Callable[[], Tree]
    signed: Callable[[], Tree]
    power: Callable[[], Tree]
    exponent: Callable[[], Tree]
    factor_follows: Callable[[Tree], bool]

    def named(self, name: str) -> Tree:
        """Read what belongs to a command of this name."""
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name in self.RULES:
            return self.RULES[name](self, name)
        if name in ACCENTS:
            return self.accented(name)
        if name in SYMBOLS:
            return self.symbol("\\" + name)
        raise NotUnderstood(f"\\{name} cannot be read here")

    def argument(self) -> Tree:
        """Read one argument as TeX does: {...}, or the next digit, letter or command."""
        self.skip()
        if self.sees("{"):
            return self.bracket()
        if self.sees(*"0123456789"):
            self.at += 1
            return Fraction(int(self.text[self.at - 1]))
        return self.atom()

    def fraction(self, name: str) -> Tree:
        """Read numerator and denominator, or a derivative such as dx/dt, which is one symbol."""
        if derivative := self.take(_DERIVATIVE):
            return ("sym", "\\frac" + re.sub(r"\{(\w)\}|\s", r"\1", derivative[0]))
        above = self.argument()
        return times(above, ("^", self.argument(), -ONE))

    def binomial(self, name: str) -> Tree:
        r"""Read \binom{n}{k}."""
        above = self.argument()
        return ("call", "binom", above, self.argument())

    def root(self, name: str) -> Tree:
        r"""Read \sqrt{2}, \sqrt[3]{2}, \sqrt2 or cbrt(2): a power of 1 over the order."""
        order: Tree = Fraction(3 if name == "cbrt" else 2)
        if self.sees("["):
            self.at += 1
            order = self.sum()
            self.expect("]")
        self.skip()
        inside = self.number() if self.sees(*"0123456789.") else self.argument()
        return ("^", inside, ("^", order, -ONE))

    def rounded(self, name: str) -> Tree:
        r"""Read \lfloor x \rfloor or \lceil x \rceil."""
        inside = self.sum()
        self.expect("\\r" + name[1:])
        return ("call", name[1:], inside)

    def empty_set(self, name: str) -> Tree:
        return ("set",)

    def reals(self, name: str) -> Tree:
        return REALS

    def angle(self, name: str) -> Tree:
        r"""Read the corners of an angle: \angle ABC is \angle CBA."""
        corners = self.take(_CORNERS)
        if not corners:
            return self.symbol("\\angle")
        letters = _CORNER.findall(corners[0])
        return ("sym", "angle " + " ".join(min(letters, letters[::-1])))

    def accented(self, name: str) -> Tree:
        r"""Read a letter under an accent, as in \vec{v}: a symbol of its own."""
        self.skip()
        start = self.at
        self.argument()
        return self.symbol(f"{name}({re.sub('[{} ]', '', self.text[start : self.at])})")

    def function(self, name: str) -> Tree:
        r"""Read \sin^2 x, \log_2 8, \ln(3), \cos 2 \pi t: without brackets, up to the next sign."""
        base = power = None
        if index := self.take(SUBSCRIPT):
            base = type(self)(index[index.lastindex]).tree()
        if self.sees("^"):
            self.at += 1
            power = self.exponent()
        if power == -ONE:
            if name not in ("sin", "cos", "tan"):
                raise NotUnderstood(f"the inverse of {name}")
            name, power = "arc" + name, None
        inside = self.function_argument()
        node: Tree = ("call", "log" if name == "ln" else name, inside)
        if name == "lg" or base is not None:
            # log_b x = log x / log b
            node = (
                "*",
                ("call", "log", inside),
                ("^", ("call", "log", base or Fraction(10)), -ONE),
            )
        return node if power is None else ("^", node, power)

    def function_argument(self) -> Tree:
        """Read a bracket, or else factors up to the next sign or function."""
        outside, self.in_argument = self.in_argument, True
        if self.sees("(", "[", "{"):
            inside = self.bracket()
        else:
            factors = [self.signed()]
            while self.factor_follows(factors[-1]) and not self.function_follows():
                factors.append(self.power())
            inside = times(*factors)
        self.in_argument = outside
        return inside

    def function_follows(self) -> bool:
        """Say whether the name of a function comes next, where the argument before it ends."""
        self.skip()
        name = _FUNCTION_NAME.match(self.text, self.at)
        return bool(name) and name[1] in FUNCTIONS

    def matrix(self, name: str) -> Tree:
        r"""Read an environment whose cells are parted by & and its rows by \\."""
        self.at -= len("\\begin")
        opening = self.take(_MATRIX)
        if not opening:
            raise NotUnderstood("an environment that is no matrix")
        rows: list[list[Tree]] = [[]]
        end = f"\\end{{{opening[1]}}}"
        while True:
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

    RULES: ClassVar[dict[str, Callable[[Any, str], Tree]]] = {
        "frac": fraction, "binom": binomial, "sqrt": root, "cbrt": root, "begin": matrix,
        "lfloor": rounded, "lceil": rounded, "emptyset": empty_set, "R": reals, "angle": angle,
    }  # fmt: skip
