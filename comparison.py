r"""Comparison: are two trees the same answer?

What it teaches: equality without symbolic algebra.  Constants are compared by their values, exactly
where `algebra.py` has them exactly.  For the rest there is a rule for each kind of tree:

  * Two formulas with letters in them are equal if they agree at a few fixed random points: a
    nonzero polynomial of degree d vanishes at a random point of a set S with probability at most
    d/|S| (Schwartz 1980, Zippel 1979).  Letters stand for positive numbers, so sqrt(x^2) is x.
  * Two equations are equal if one is a constant multiple of the other, at those same points.
  * Tuples, intervals and matrices are compared in order, lists, sets and unions in any order.

Where it stands: the last of the verifier's three questions.  `verifier.py` asks `Comparison.same`
for each way to read the two answers, within one budget of `MAX_WORK`.

Try changing first: the number of points.  With one (the first of `SCALES` and of `PRIMES`, and 1
for `LEAST_POINTS`), which different answers of `tests/test_verifier.py` become equal?
"""

import hashlib
import math
import re
from fractions import Fraction

from algebra import (
    CONSTANTS,
    EVALUATE,
    INFINITY,
    MINUS_INFINITY,
    ONE,
    STRUCTURES,
    UNKNOWN_FUNCTIONS,
    Undefined,
    as_complex,
    as_real,
    bits,
    functions_of,
    kind_of,
    letters_of,
    solutions_of,
    times,
    unknown_of,
    walk,
)
from spelling import UNITS

MAX_WORK = 40_000  # nodes compared or evaluated for one verdict, and words of big numbers

# Formulas with letters must agree at these points, near and far, wherever both have a value.
SCALES = (1, Fraction(1, 9), 8, 1, 40, 3, Fraction(1, 60), 2)
PRIMES = (37, 41, 43, 47, 53, 59, 61, 67)
LEAST_POINTS = 4  # at which they must have one
COUNTERS = frozenset("ijklmnpqrdNM")  # letters that stand for whole numbers beside floor or n!
_LDOTS = ("sym", "\\ldots")


class Exhausted(Exception):
    """The comparison took more than MAX_WORK."""


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
        kinds = {kind_of(a), kind_of(b)}
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
            a, b = (times(hundredth, a), b) if "%" in known[0] else (a, times(hundredth, b))
            return self.same(a, b)
        return False

    def same_collection(self, a, b) -> bool:
        """Lists and sets in any order; a bare list also equals the tuple in the same order."""
        if kind_of(a) not in ("list", "set"):
            a, b = b, a
        if kind_of(b) in ("list", "set") and _LDOTS in a and _LDOTS in b:
            return self.each(a[1:], b[1:])  # 1, 2, ..., 10
        if kind_of(b) in ("list", "set") and len(a) == len(b):
            matched = self.match(a[1:], b[1:])
            self.why = f"{len(a) - 1} items, in any order"
            return matched
        if a[0] == "list" and kind_of(b) == "group" and b[1] == "()":
            self.why = "a tuple, and its entries in order"
            entries = _entries(a)
            return entries is not None and self.each(entries, b[2:])
        # "1/2 or 0.5" is one value written twice, and {5} is 5
        small, large = sorted((a, b), key=lambda n: len(n) if kind_of(n) in ("list", "set") else 0)
        single = small[1] if kind_of(small) in ("list", "set") and len(small) == 2 else small
        if 1 < len(large) < 9 and kind_of(single) not in ("list", "set"):
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
        if kind_of(a) == kind_of(b) == "group" and a[1] == b[1] == ":":
            left = tuple(times(term, b[2]) for term in a[2:])
            equal = self.each(left, tuple(times(term, a[2]) for term in b[2:]))
            self.why = "proportions"
            return equal
        if kind_of(a) == kind_of(b) == "group":
            brackets = a[1] == b[1] or (len(a) > 4 and {a[1], b[1]} == {"()", "[]"})  # no interval
            equal = brackets and self.each(a[2:], b[2:])
            self.why = "item by item, brackets counted"
            return equal
        for one, other in ((a, b), (b, a)):
            if kind_of(one) == "group" and one[1] == ":" and len(one) == 4 and not kind_of(other):
                return self.same(times(one[2], ("^", one[3], -ONE)), other)
        rows_a, rows_b = _rows(a), _rows(b)
        if rows_a is None or rows_b is None:
            self.why = "one is a tuple, an interval or a matrix, the other is not"
            return False
        if kind_of(a) != kind_of(b):  # a column is also the tuple of its entries
            rows_a, rows_b = (_laid_down(rows) for rows in (rows_a, rows_b))
        equal = len(rows_a) == len(rows_b) and all(map(self.each, rows_a, rows_b))
        self.why = "entry by entry"
        return equal

    def same_relation(self, a, b) -> bool:
        """Equations and inequalities with each other, or with the value or interval they name."""
        if kind_of(a) == kind_of(b) == "rel":
            if self.proportional(a, b):
                return True
            if a[2] and b[2] and a[1][0] == b[1][0] == "=" and len(a) == len(b) == 5:
                self.why = "two equations that name values"
                return self.same(a[3], b[3]) and self.same(a[4], b[4])
            sets = solutions_of(a), solutions_of(b)
            if None in sets:
                return False
            return unknown_of(a) == unknown_of(b) and self.same(*sets)
        if kind_of(a) != "rel":
            a, b = b, a
        solutions = solutions_of(a)
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
            x, y = self.value(rounded, None), as_real(self.value(exact, None))
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
        if f is None or g is None or a_op != b_op or not letters_of(f):
            return False
        if _long_literals(f) != _long_literals(g) and (_inexact(f) or _inexact(g)):
            return False  # a rounding of the other, at best
        ratios = [x / y for x, y in self.values(f, g) if y != 0 and x != 0]
        steady = len(ratios) >= LEAST_POINTS and all(_close(r, ratios[0]) for r in ratios)
        self.why = f"one side minus the other, compared at {len(ratios)} points"
        return steady and (a_op in ("=", "!=") or as_complex(ratios[0]).real > 0)

    def same_value(self, a, b) -> bool:
        infinite = _infinite(a), _infinite(b)
        if any(infinite):
            self.why = "infinity"
            return infinite[0] == infinite[1]
        letters = letters_of(a) | letters_of(b)
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
        functions = functions_of(a) | functions_of(b)
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
        elif point is None and any(isinstance(x, Fraction) and _digits(x) > 11 for x in arguments):
            raise Undefined("more digits than floating point compares")
        return result


def _measure(node) -> tuple:
    return (node[1], node[2]) if kind_of(node) == "unit" else (node, "")


def _entries(listed):
    """The entries of a tuple that is written without brackets, or as x = 1, y = 2 in any order."""
    if not any(kind_of(item) == "rel" for item in listed[1:]):
        return listed[1:]
    named = {}
    for item in listed[1:]:
        if (
            kind_of(item) != "rel"
            or item[1] != ("=",)
            or not letters_of(item[3])
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
    if kind_of(node) == "matrix":
        return node[1:]
    if kind_of(node) != "group" or node[1] not in ("()", "[]"):
        return None
    if all(kind_of(item) == "group" for item in node[2:]):
        return tuple(item[2:] for item in node[2:])
    return (node[2:],)


def _laid_down(rows: tuple) -> tuple:
    """A column as a row."""
    return (tuple(row[0] for row in rows),) if all(len(row) == 1 for row in rows) else rows


def _long_literals(node) -> set:
    """Numbers of so many digits that they can be roundings."""
    nodes = (child for n in walk(node) for child in n)
    return {n for n in nodes if isinstance(n, Fraction) and _digits(n) > 6}


def _inexact(node) -> bool:
    """Whether floating point takes part in its value."""
    return any(
        n[0] == "call" or (n[0] == "sym" and n[1] in CONSTANTS) or _is_root(n) for n in walk(node)
    )


def _is_root(node) -> bool:
    return node[0] == "^" and not (isinstance(node[2], Fraction) and node[2].denominator == 1)


def _infinite(node) -> int:
    """+1 or -1 for plus or minus infinity, else 0."""
    if node == INFINITY or node == ("*", ONE, INFINITY):
        return 1
    return -1 if node == MINUS_INFINITY else 0


def _difference(relation):
    """(operator, left - right); (operator, None) where a side is no number."""
    (operator,), left, right = relation[1], relation[3], relation[4]
    if kind_of(left) or kind_of(right):
        return operator, None
    return operator, ("+", left, times(-ONE, right))


def _draw(text: str) -> int:
    """A random number that depends on nothing but the text."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big"
    )


def _close(x, y, tolerance: float = 1e-11) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    x, y = as_complex(x), as_complex(y)
    return abs(x - y) <= tolerance * max(abs(x), abs(y))


def _digits(value: Fraction) -> int:
    """Significant digits it takes to write numerator and denominator, the longer of the two."""
    parts = (abs(value.numerator), value.denominator)
    if max(parts) < 10**6:
        return 0
    if max(parts).bit_length() > 2000:
        return 600
    return max(len(str(part).rstrip("0")) for part in parts)
