r"""Values: what a formula is worth, at a point, and whether two formulas are worth the same.

What it teaches: equality without symbolic algebra.  Constants are compared by their values, exactly
where `algebra.py` has them exactly.  Formulas with letters are compared at a few random points: a
nonzero polynomial of degree d vanishes at a random point of a set S with probability at most d/|S|
(Schwartz 1980, Zippel 1979), so two different formulas hardly ever agree at all of them.

Where it stands: under `comparison.py`, which takes lists, intervals, equations and units apart
until formulas are left.

Departures from the theorem: the points are fixed by the two answers, so that a verdict can be
repeated, and the same letters have the same values on both sides.  Letters stand for positive
numbers, so that sqrt(x^2) is x; only beside |...| they are negative as well.

Try changing first: the number of points, by cutting `SCALES` and `PRIMES`, with `LEAST_POINTS` no
larger.  With one point 11 pairs of different answers in `tests/test_verifier.py` become equal, such
as x = 5 and x = -5: at a single point every equation is a multiple of every other.  With two points
|x-3| and 3-x are still equal, and with three none are.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

from answers.algebra import (
    EVALUATE,
    Undefined,
    Value,
    as_complex,
    as_real,
    significant_digits,
)
from answers.trees import (
    CONSTANTS,
    INFINITY,
    MINUS_INFINITY,
    ONE,
    STRUCTURES,
    UNKNOWN_FUNCTIONS,
    Tree,
    bits,
    functions_of,
    kind_of,
    letters_of,
    times,
    walk,
)

MAX_WORK = 40_000  # nodes compared or evaluated for one verdict, and words of big numbers

# Formulas with letters must agree at these points, near and far, wherever both have a value.
SCALES = (1, Fraction(1, 9), 8, 1, 40, 3, Fraction(1, 60), 2)
PRIMES = (37, 41, 43, 47, 53, 59, 61, 67)
LEAST_POINTS = 4  # at which they must have one
COUNTERS = frozenset("ijklmnpqrdNM")  # letters that stand for whole numbers beside floor or n!

Point = Callable[[str], Fraction]  # the value of each letter


class Exhausted(Exception):
    """The comparison took more than MAX_WORK."""


class Values:
    """Evaluates formulas and compares their values, within one budget.

    `why` says in words which rule decided last.  `salt` makes the random points depend on the two
    answers, so that nobody can make an answer for points that are known beforehand.
    """

    def __init__(self, salt: str = "") -> None:
        self.salt = salt
        self.work = 0
        self.why = ""

    # -- comparing

    def same_value(self, a: Tree, b: Tree) -> bool:
        """Compare two formulas: by their values, or at random points if there are letters."""
        infinite = _infinite(a), _infinite(b)
        if any(infinite):
            self.why = "only infinity equals infinity"
            return infinite[0] == infinite[1]
        if not (letters_of(a) or letters_of(b)):
            return self.same_constant(a, b)
        # 3.141592654 r^2 nearly agrees with \pi r^2, so long numbers must agree exactly
        roundings = _long_literals(a) != _long_literals(b)
        agreed = 0
        for x, y in self.pairs(a, b):
            exact = isinstance(x, Fraction) and isinstance(y, Fraction)
            if not _close(x, y) or (roundings and not exact):
                self.why = "formulas that differ at a random point"
                return False
            agreed += 1
        self.why = f"formulas, compared at {agreed} random points"
        return agreed >= LEAST_POINTS

    def same_constant(self, a: Tree, b: Tree) -> bool:
        """Compare two formulas without letters."""
        try:
            x, y = self.value(a), self.value(b)
        except (ArithmeticError, ValueError):
            self.why = "no value could be computed"
            return False
        if isinstance(x, Fraction) and isinstance(y, Fraction):
            self.why = "exact rational values"
            return x == y
        self.why = "values in floating point"
        if any(isinstance(v, Fraction) and significant_digits(v) > 6 for v in (x, y)):
            return False  # at best one is a rounding of the other
        return _close(x, y, 1e-12)

    def proportional(self, a: tuple, b: tuple) -> bool:
        """Say whether one equation or inequality is the other times a constant (of its sign)."""
        self.why = "two equations or inequalities, and neither is a multiple of the other"
        if len(a) != 5 or len(b) != 5 or a[1] != b[1]:
            return False
        if any(map(kind_of, (*a[3:], *b[3:]))):
            return False  # a side that is a list or has a unit has no value
        f, g = _left_minus_right(a), _left_minus_right(b)
        if not letters_of(f):
            return False
        if _long_literals(f) != _long_literals(g) and (_inexact(f) or _inexact(g)):
            return False  # at best one is a rounding of the other
        ratios = [x / y for x, y in self.pairs(f, g) if y != 0 and x != 0]
        steady = len(ratios) >= LEAST_POINTS and all(_close(r, ratios[0]) for r in ratios)
        self.why = f"one side minus the other, compared at {len(ratios)} random points"
        return steady and (a[1][0] in ("=", "!=") or as_complex(ratios[0]).real > 0)

    def rounds(self, rounded: Tree, exact: Tree) -> bool:
        """Say whether a decimal is a value rounded to its places: 7.14 is the root of 51."""
        try:
            x, y = self.value(rounded), as_real(self.value(exact))
        except (ArithmeticError, ValueError):
            return False
        if not isinstance(x, Fraction):
            return False
        places = next((k for k in range(12) if 10**k % x.denominator == 0), None)
        return places is not None and abs(float(x) - y) <= 0.5000001 * 10.0**-places

    # -- evaluating

    def pairs(self, a: Tree, b: Tree) -> Iterator[tuple[Value, Value]]:
        """Yield the values of two formulas at each point where both have one."""
        functions = functions_of(a) | functions_of(b)
        whole = bool(functions & {"floor", "ceil", "factorial", "binom"})
        points = list(zip(SCALES, PRIMES, strict=True)) * (2 if whole else 1)  # n! needs n >= 0
        for k, (scale, prime) in enumerate(points):

            def point(name: str, k: int = k, scale: Value = scale, prime: int = prime) -> Fraction:
                draw = _draw(f"{name} {k} {self.salt}")
                if whole and name in COUNTERS:
                    return Fraction(draw % (9 if k % 2 else 60) + 1)
                value = Fraction(draw % 89 + 11, prime) * scale
                return -value if "abs" in functions and draw & 1024 else value

            try:
                yield self.value(a, point), self.value(b, point)
            except (ArithmeticError, ValueError):
                continue

    def value(self, node: Tree, point: Point | None = None) -> Value:
        """Return the value of a tree; `point` gives the values of its letters.

        ArithmeticError or ValueError where there is none, `Exhausted` where it costs too much.
        """
        self.work += 1
        if isinstance(node, Fraction):
            self.work += bits(node) // 64
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
        if name not in EVALUATE or kind in STRUCTURES:
            raise Undefined(name)
        arguments = [self.value(child, point) for child in children]
        result = EVALUATE[name](*arguments)
        if isinstance(result, Fraction):
            self.work += bits(result) // 64
        elif result != result or abs(result) == math.inf:
            raise Undefined("not a number")
        elif point is None and any(_beyond_floating_point(x) for x in arguments):
            raise Undefined("more digits than floating point compares")
        return result


# ---- Random numbers, closeness and infinity ----


def _draw(text: str) -> int:
    """Draw a random number that depends on nothing but the text."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big"
    )


def _close(x: Value, y: Value, tolerance: float = 1e-11) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    x, y = as_complex(x), as_complex(y)
    return abs(x - y) <= tolerance * max(abs(x), abs(y))


def _beyond_floating_point(x: Value) -> bool:
    return isinstance(x, Fraction) and significant_digits(x) > 11


def _infinite(node: Tree) -> int:
    """Return +1 or -1 for plus or minus infinity, else 0."""
    if node == INFINITY or node == ("*", ONE, INFINITY):
        return 1
    return -1 if node == MINUS_INFINITY else 0


# ---- Equations, and numbers that may be roundings ----


def _left_minus_right(relation: tuple) -> Tree:
    """Return the formula that is zero where an equation holds."""
    return ("+", relation[3], times(-ONE, relation[4]))


def _long_literals(node: Tree) -> set[Fraction]:
    """Return the numbers of so many digits that they can be roundings."""
    nodes = (child for n in walk(node) for child in n)
    return {n for n in nodes if isinstance(n, Fraction) and significant_digits(n) > 6}


def _inexact(node: Tree) -> bool:
    """Say whether floating point takes part in the value of a tree."""
    return any(
        n[0] == "call" or (n[0] == "sym" and n[1] in CONSTANTS) or _is_root(n) for n in walk(node)
    )


def _is_root(node: tuple) -> bool:
    return node[0] == "^" and not (isinstance(node[2], Fraction) and node[2].denominator == 1)
