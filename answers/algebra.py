"""Algebra: the arithmetic that gives formulas their values.

What it teaches: to compute exactly for as long as one can, and to know when one cannot.  Whatever
is rational is a `Fraction`: 0.1 + 0.2 is 3/10, and the root of 9/4 is 3/2.  Everything else is
computed in complex floating point.  Where that could not tell two numbers apart, as with a term
that is lost beside a larger one, or with a point near a pole, there is no value: `Undefined`.

Where it stands: `values.py` walks a tree (`trees.py`) from its leaves up, and looks up in the table
`EVALUATE`, at the end of this file, what each of its nodes does with the values below it.

Try changing first: `MAX_BITS`.  If it is a thousand times larger, the verifier computes 9^{9^{7}},
a number of 15 million bits.  The model writes nine characters, and the verifier takes two seconds
instead of less than a millisecond: a policy could bring its own training to a stop.
"""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction

from answers.trees import CONSTANTS, ONE, bits

Value = Fraction | complex

MAX_BITS = 32_000  # of an exact number: 2004! has 19,000
MAX_FACTORIAL = 3_000


class Undefined(ArithmeticError):
    """There is no value here: a pole, infinity, or a number beyond the limits."""


# ---- Exact numbers and floating point ----


def as_complex(value: Value) -> complex:
    """Turn a value into a floating-point number; `Undefined` if that would make it zero.

    OverflowError, which is an ArithmeticError like `Undefined`, if it is too large.
    """
    if isinstance(value, complex):
        return value
    number = value.numerator / value.denominator
    if number == 0 and value != 0:
        raise Undefined("too small for floating point")
    return complex(number)


def as_real(value: Value) -> float:
    """Turn a value into a real floating-point number; `Undefined` if it is not real."""
    value = as_complex(value)
    if abs(value.imag) > 1e-9 * abs(value.real):
        raise Undefined("not a real number")
    return value.real


def significant_digits(value: Fraction) -> int:
    """Count the digits of numerator or denominator, the longer of the two, without final zeros.

    Up to six digits count as 0, since nobody rounds to so few and means another number exactly;
    600 stands for any count beyond that.
    """
    parts = (abs(value.numerator), value.denominator)
    if max(parts) < 10**6:
        return 0
    if max(parts).bit_length() > 2000:
        return 600
    return max(len(str(part).rstrip("0")) for part in parts)


# ---- Sums, products and powers ----


def _add(*terms: Value) -> Value:
    """Add; 0 if the terms cancel, `Undefined` if one is too small to count beside another."""
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
        raise Undefined("a term is too small to count beside another")
    total = sum(rest)
    cancelled = abs(total) <= 1e-13 * max(sizes, default=0)
    return Fraction(0) if cancelled else total


def _multiply(*factors: Value) -> Value:
    """Multiply, exactly for as long as the factors are rational; 0 times anything is exactly 0."""
    product: Value = ONE
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
                raise Undefined("too small for floating point")
    return product


def to_power(base: Value, exponent: Value) -> Value:
    """Raise to a power: exactly if the result is rational and not too large.

    A negative number has the real root where its order is odd, as in schools: the third root of -8
    is -2.  Without a value: 0 to a power that is not positive.
    """
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
        if base < 0 and exponent.denominator in (3, 5, 7, 9):
            return -to_power(-base, exponent) * (-1) ** (exponent.numerator + 1)
    base, exponent = as_complex(base), as_complex(exponent)
    if base == 0:
        raise Undefined("0 to a power that is not rational")
    if exponent.imag == 0 and exponent.real == int(exponent.real) and abs(exponent.real) < 1000:
        return base ** int(exponent.real)
    return cmath.exp(exponent * cmath.log(base))


def _exact_root(value: Fraction, n: int) -> Fraction | None:
    """Return the n-th root if it is rational."""
    if n > 64 or (value < 0 and n % 2 == 0) or bits(value) > 2000:
        return None
    roots = []
    for part in (abs(value.numerator), value.denominator):
        root = math.isqrt(part) if n == 2 else round(part ** (1 / n)) if part < 2**1000 else 0
        if root**n != part:
            return None
        roots.append(root)
    return Fraction(roots[0] if value >= 0 else -roots[0], roots[1])


# ---- Functions ----


def _factorial(n: Value) -> Value:
    """Return n!, by the gamma function where n is not whole."""
    if isinstance(n, Fraction) and n.denominator == 1:
        if not 0 <= n <= MAX_FACTORIAL:
            raise Undefined("a factorial beyond the limits")
        return Fraction(math.factorial(n.numerator))
    return complex(math.gamma(as_real(n) + 1))


def _binomial(n: Value, k: Value) -> Value:
    """Return n over k, which is 0 for whole k > n."""
    whole = all(isinstance(v, Fraction) and v.denominator == 1 for v in (n, k))
    if whole and 0 <= n <= MAX_FACTORIAL and 0 <= k <= MAX_FACTORIAL:
        return Fraction(math.comb(n.numerator, k.numerator))
    below = _multiply(_factorial(k), _factorial(_add(n, -k)))
    return _multiply(_factorial(n), to_power(below, -ONE))  # n! / (k! (n-k)!)


def _rounded_by(rounding: Callable[[Value], int]) -> Callable[[Value], Value]:
    """Make floor or ceiling work on every kind of value."""

    def rounded(x: Value) -> Value:
        if isinstance(x, Fraction):
            return Fraction(rounding(x))
        x = as_real(x)
        if abs(x) > 1e6:
            raise Undefined("too large to be rounded")
        # floating point has missed a whole number by less than this
        return Fraction(round(x) if abs(x - round(x)) < 1e-9 else rounding(x))

    return rounded


def _in_floating_point(function: Callable[[complex], complex]) -> Callable[[Value], Value]:
    """Make a function of `cmath` work on every kind of value.

    Near a pole, far out, or a little beside 1, floating point cannot tell values apart.
    """

    def evaluate(x: Value) -> Value:
        x = as_complex(x)
        value = function(x)
        if abs(x) > 1e4 or abs(value) > 1e12 or 1e-16 < abs(abs(value) - 1) < 1e-12:
            raise Undefined("beyond floating point")
        return Fraction(0) if abs(value) < 1e-14 else value

    return evaluate


EVALUATE: dict[str, Callable[..., Value]] = {
    "+": _add,
    "*": _multiply,
    "^": to_power,
    "factorial": _factorial,
    "binom": _binomial,
    "floor": _rounded_by(math.floor),
    "ceil": _rounded_by(math.ceil),
    "abs": lambda x: abs(x) if isinstance(x, Fraction) else complex(abs(x)),
    "log": lambda x: Fraction(0) if x == 1 else cmath.log(as_complex(x)),
    "exp": lambda x: to_power(CONSTANTS["e"], x),
    "cot": _in_floating_point(lambda x: 1 / cmath.tan(x)),
    "sec": _in_floating_point(lambda x: 1 / cmath.cos(x)),
    "csc": _in_floating_point(lambda x: 1 / cmath.sin(x)),
    "arcsin": _in_floating_point(cmath.asin),
    "arccos": _in_floating_point(cmath.acos),
    "arctan": _in_floating_point(cmath.atan),
    **{name: _in_floating_point(getattr(cmath, name)) for name in ("sin", "cos", "tan")},
    **{name: _in_floating_point(getattr(cmath, name)) for name in ("sinh", "cosh", "tanh")},
}
