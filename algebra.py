"""Algebra: formulas as trees, and the arithmetic that gives them values.

What it teaches: to compute exactly for as long as one can, and to know when one cannot.  Whatever
is rational is a `Fraction`: 0.1 + 0.2 is 3/10, and the root of 9/4 is 3/2.  Everything else is
evaluated in complex floating point.  Where that could not tell two numbers apart, as with a term
lost beside a larger one or a point near a pole, there is no value: `Undefined`.

Where it stands: `latex.py` makes the trees, `comparison.py` compares them.  Both ask the same
questions of a tree: which letters, which functions, which set does this inequality describe?

Try changing first: `MAX_BITS`.  A thousand times larger, what does 9^{9^{7}} cost the verifier, and
what does it cost the model that writes it?
"""

import cmath
import math
from fractions import Fraction

MAX_BITS = 32_000  # of an exact number: 2004! has 19,000


class NotUnderstood(Exception):
    """The text is outside the grammar, or larger than its limits."""


class Undefined(ArithmeticError):
    """No value here: a pole, infinity, or a number beyond the limits."""


# ---- Trees: what a formula is ----
#
# A tree is a Fraction or a tuple (kind, child, ...):
#   ("sym", name)  ("+", a, b, ...)  ("*", a, b, ...)  ("^", a, b)  ("call", function, a, ...)
#   ("list", ...) without brackets  ("set", ...) in braces or a union  ("group", "(]", a, b, ...)
#   ("matrix", row, row, ...)  ("rel", operators, named, a, b, ...)  ("unit", a, words)
#   ("base", digits, n)

STRUCTURES = ("list", "set", "group", "matrix", "rel", "unit", "base")
UNKNOWN_FUNCTIONS = ("f", "g")  # f(2x) is not 2f(x): a random value for each argument
CONSTANTS = {"\\pi": complex(math.pi), "e": complex(math.e), "i": 1j}
ONE = Fraction(1)
INFINITY = ("sym", "\\infty")
MINUS_INFINITY = ("*", -ONE, INFINITY)


def times(*factors):
    """Their product; numbers are folded at once, and a matrix takes the others in."""
    matrices = [f for f in factors if isinstance(f, tuple) and f[0] == "matrix"]
    if len(matrices) == 1 and len(factors) > 1:
        rest = [f for f in factors if f is not matrices[0]]
        if len(rest) * sum(map(len, matrices[0][1:])) > 500:
            raise NotUnderstood("too large a matrix")
        return ("matrix", *(tuple(times(*rest, cell) for cell in row) for row in matrices[0][1:]))
    if len(factors) == 1:
        return factors[0]
    if len(factors) == 2 and all(isinstance(f, Fraction) and bits(f) < 2000 for f in factors):
        return factors[0] * factors[1]
    return ("*", *factors)


def kind_of(node) -> str:
    return node[0] if isinstance(node, tuple) and node[0] in STRUCTURES else ""


def walk(node):
    if isinstance(node, tuple):
        yield node
        for child in node[1:]:
            yield from walk(child)


def letters_of(node) -> set:
    symbols = {n[1] for n in walk(node) if n[0] == "sym" and len(n) == 2}
    symbols |= {name for name in functions_of(node) if name.rstrip("'") in UNKNOWN_FUNCTIONS}
    return symbols - CONSTANTS.keys() - {"\\infty"}


def functions_of(node) -> set:
    return {n[1] for n in walk(node) if n[0] == "call"}


def unknown_of(relation):
    """The letter that a relation is about, if it stands alone on one side."""
    symbols = [t for t in relation[3:] if isinstance(t, tuple) and t[0] == "sym" and letters_of(t)]
    return symbols[0] if len(symbols) == 1 else None


def solutions_of(relation):
    r"""The set a relation describes: x \in S, x < 3 and -2 \le x \le 7 as intervals; or None."""
    operators, terms = relation[1], relation[3:]
    if operators == ("in",):
        named = isinstance(terms[0], tuple) and terms[0][0] == "sym"
        return terms[1] if named and kind_of(terms[1]) in ("set", "group") else None
    unknown = unknown_of(relation)
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


# ---- Arithmetic: the numbers that the nodes of a tree stand for ----


def to_power(base, exponent):
    """base ** exponent: exact for rationals where the result is rational and not too large."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if base == 0 and exponent <= 0:
            raise Undefined("0 to a power that is not positive")
        if exponent.denominator == 1:
            if abs(exponent) * max(bits(base), 1) > MAX_BITS:
                raise Undefined("too large")
            return base**exponent.numerator
        root = _exact_root(base, exponent.denominator)
        if root is not None:
            return to_power(root, Fraction(exponent.numerator))
        if base < 0 and exponent.denominator in (3, 5, 7, 9):  # the real root, as in schools
            return -to_power(-base, exponent) * (-1) ** (exponent.numerator + 1)
    base, exponent = as_complex(base), as_complex(exponent)
    if base == 0:
        raise Undefined("0 to a power that is not rational")
    if exponent.imag == 0 and exponent.real == int(exponent.real) and abs(exponent.real) < 1000:
        return base ** int(exponent.real)
    return cmath.exp(exponent * cmath.log(base))


def _exact_root(value: Fraction, n: int) -> Fraction | None:
    """The rational n-th root, if there is one."""
    if n > 64 or (value < 0 and n % 2 == 0) or bits(value) > 2000:
        return None
    roots = []
    for part in (abs(value.numerator), value.denominator):
        root = math.isqrt(part) if n == 2 else round(part ** (1 / n)) if part < 2**1000 else 0
        if root**n != part:
            return None
        roots.append(root)
    return Fraction(roots[0] if value >= 0 else -roots[0], roots[1])


def bits(value: Fraction) -> int:
    above, below = abs(value.numerator), value.denominator
    return 0 if below == 1 >= above else max(above.bit_length(), below.bit_length())


def as_complex(value) -> complex:
    """A rational as a floating-point number; Undefined where it underflows."""
    if isinstance(value, complex):
        return value
    number = value.numerator / value.denominator  # OverflowError if too large
    if number == 0 and value != 0:
        raise Undefined("too small")
    return complex(number)


def as_real(value) -> float:
    value = as_complex(value)
    if abs(value.imag) > 1e-9 * abs(value.real):
        raise Undefined("not real")
    return value.real


def _add(*terms):
    exact = Fraction(0)
    for term in terms:
        if isinstance(term, Fraction):
            exact += term
            if bits(exact) > MAX_BITS:
                raise Undefined("too large")
    rest = [t for t in terms if not isinstance(t, Fraction)]
    if not rest:
        return exact
    rest += [as_complex(exact)] if exact else []
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
            if bits(product) > 2 * MAX_BITS:
                raise Undefined("too large")
        elif product == 0 or factor == 0:
            product = Fraction(0)
        else:
            product = as_complex(product) * as_complex(factor)
            if product == 0:
                raise Undefined("too small")
    return product


def _factorial(n):
    if isinstance(n, Fraction) and n.denominator == 1:
        if not 0 <= n <= 3000:
            raise Undefined("a factorial beyond the limits")
        return Fraction(math.factorial(n.numerator))
    return complex(math.gamma(as_real(n) + 1))


def _binomial(n, k):
    if all(isinstance(v, Fraction) and v.denominator == 1 and 0 <= v <= 3000 for v in (n, k)):
        return Fraction(math.comb(n.numerator, k.numerator))
    return _multiply(
        _factorial(n), to_power(_multiply(_factorial(k), _factorial(_add(n, -k))), -ONE)
    )


def _whole(rounding):
    def rounded(x):
        if isinstance(x, Fraction):
            return Fraction(rounding(x))
        x = as_real(x)
        if abs(x) > 1e6:
            raise Undefined("too large to be rounded")
        return Fraction(round(x) if abs(x - round(x)) < 1e-9 else rounding(x))

    return rounded


def _from_complex(function):
    """A function of cmath; near its poles, and far out, floating point cannot tell."""

    def evaluate(x):
        x = as_complex(x)
        value = function(x)
        if abs(x) > 1e4 or abs(value) > 1e12 or 1e-16 < abs(abs(value) - 1) < 1e-12:
            raise Undefined("beyond floating point")
        return Fraction(0) if abs(value) < 1e-14 else value

    return evaluate


EVALUATE = {
    "+": _add,
    "*": _multiply,
    "^": to_power,
    "factorial": _factorial,
    "binom": _binomial,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "abs": lambda x: abs(x) if isinstance(x, Fraction) else complex(abs(x)),
    "log": lambda x: Fraction(0) if x == 1 else cmath.log(as_complex(x)),
    "exp": lambda x: to_power(CONSTANTS["e"], x),
    "cot": _from_complex(lambda x: 1 / cmath.tan(x)),
    "sec": _from_complex(lambda x: 1 / cmath.cos(x)),
    "csc": _from_complex(lambda x: 1 / cmath.sin(x)),
    "arcsin": _from_complex(cmath.asin),
    "arccos": _from_complex(cmath.acos),
    "arctan": _from_complex(cmath.atan),
    **{name: _from_complex(getattr(cmath, name)) for name in ("sin", "cos", "tan")},
    **{name: _from_complex(getattr(cmath, name)) for name in ("sinh", "cosh", "tanh")},
}
