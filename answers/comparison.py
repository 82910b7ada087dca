r"""Comparison: are two trees the same answer?

What it teaches: what "the same answer" means depends on the kind of answer, and there is one rule
for each kind of tree.

  * Numbers and formulas are compared by their values (`values.py`).
  * Two equations are equal if one is a constant multiple of the other.  An equation equals a value
    if it only names it: x = 5 is 5, and 2x = 10 is not 10.
  * Tuples, intervals and matrices are compared in order; lists, sets and unions in any order.
  * A unit may be missing on one side, and must not contradict the other's.

Where it stands: the last of the verifier's three questions.  `verifier.py` asks `Comparison.same`
for each way to read the two answers, within one budget of `MAX_WORK`.

Try changing first: `brackets` in `same_order`.  If it is always True, four pairs of different
answers in `tests/test_verifier.py` become equal: (1,2) and [1,2], and also x < 3 and x \le 3, which
are compared as the intervals that they describe.
"""

from fractions import Fraction

from answers.trees import (
    ONE,
    Tree,
    is_symbol,
    kind_of,
    letters_of,
    solutions_of,
    times,
    unknown_of,
)
from answers.units import contradict, exponents
from answers.values import MAX_WORK, Exhausted, Values

MAX_SPELLINGS = 7  # of one value in a list, as in "1/2 or 0.5"
_LDOTS = ("sym", "\\ldots")


class Comparison(Values):
    """Compares trees of any kind; each method is the rule for some kinds."""

    def same(self, a: Tree, b: Tree) -> bool:
        """Say whether two trees are the same answer; `Exhausted` if that takes too much work."""
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
            self.why = "numbers in another base are compared by their digits and base"
            return False
        return self.same_value(a, b)

    # -- units

    def same_measure(self, a: Tree, b: Tree) -> bool:
        """Compare numbers with units: 28% is 28, and it is 0.28 as well."""
        (a, a_unit), (b, b_unit) = _measure(a), _measure(b)
        if contradict(a_unit, b_unit):
            self.why = f"different units: {a_unit} and {b_unit}"
            return False
        if self.same(a, b):
            return True
        a_is_percent, b_is_percent = "%" in exponents(a_unit), "%" in exponents(b_unit)
        if a_is_percent == b_is_percent:
            return False
        hundredth = Fraction(1, 100)
        return self.same(*((times(hundredth, a), b) if a_is_percent else (a, times(hundredth, b))))

    # -- lists and sets

    def same_collection(self, a: Tree, b: Tree) -> bool:
        """Compare lists and sets in any order; a bare list also equals the tuple in its order."""
        if not _is_collection(a):
            a, b = b, a
        if _is_collection(b) and _LDOTS in a and _LDOTS in b:
            return self.each(a[1:], b[1:])  # 1, 2, ..., 10
        if _is_collection(b) and len(a) == len(b):
            matched = self.match(a[1:], b[1:])
            self.why = f"{len(a) - 1} items, compared in any order"
            return matched
        if a[0] == "list" and kind_of(b) == "group" and b[1] == "()":
            self.why = "a tuple and its entries, compared in order"
            entries = _entries(a)
            return entries is not None and self.each(entries, b[2:])
        # "1/2 or 0.5" is one value written twice, and {5} is 5
        small, large = sorted((a, b), key=lambda n: len(n) if _is_collection(n) else 0)
        single = small[1] if _is_collection(small) and len(small) == 2 else small
        if 1 <= len(large) - 1 <= MAX_SPELLINGS and not _is_collection(single):
            return all(self.same(single, item) for item in large[1:])
        self.why = "one has more items than the other"
        return False

    def match(self, left: tuple, right: tuple) -> bool:
        """Say whether each item on the left is the same as one of its own on the right."""
        rest = list(right)
        for item in left:
            partner = next((i for i, other in enumerate(rest) if self.same(item, other)), None)
            if partner is None:
                return False
            rest.pop(partner)
        return True

    def each(self, left: tuple, right: tuple) -> bool:
        """Say whether two sequences are the same item by item."""
        return len(left) == len(right) and all(map(self.same, left, right))

    # -- tuples, intervals, ratios and matrices

    def same_order(self, a: Tree, b: Tree) -> bool:
        """Compare what has an order: tuples, points, intervals, ratios and matrices."""
        if kind_of(a) == kind_of(b) == "group" and a[1] == b[1] == ":":
            left = tuple(times(term, b[2]) for term in a[2:])
            equal = self.each(left, tuple(times(term, a[2]) for term in b[2:]))
            self.why = "ratios, compared term by term"
            return equal
        if kind_of(a) == kind_of(b) == "group":
            is_no_interval = len(a) > 4 and {a[1], b[1]} == {"()", "[]"}
            brackets = a[1] == b[1] or is_no_interval
            equal = brackets and self.each(a[2:], b[2:])
            self.why = "compared item by item, and by the brackets"
            return equal
        for one, other in ((a, b), (b, a)):
            if kind_of(one) == "group" and one[1] == ":" and len(one) == 4 and not kind_of(other):
                return self.same(times(one[2], ("^", one[3], -ONE)), other)
        rows_a, rows_b = _rows(a), _rows(b)
        if rows_a is None or rows_b is None:
            self.why = "one is a tuple, an interval or a matrix, and the other is not"
            return False
        if kind_of(a) != kind_of(b):
            rows_a, rows_b = _laid_down(rows_a), _laid_down(rows_b)
        equal = len(rows_a) == len(rows_b) and all(map(self.each, rows_a, rows_b))
        self.why = "compared entry by entry"
        return equal

    # -- equations and inequalities

    def same_relation(self, a: Tree, b: Tree) -> bool:
        """Compare relations with each other, or one with the value or interval that it names."""
        if kind_of(a) != "rel":
            a, b = b, a
        if kind_of(b) == "rel":
            return self.same_relations(a, b)
        solutions = solutions_of(a)
        if solutions is not None:
            return self.same(solutions, b)
        return self.names_value(a, b)

    def same_relations(self, a: tuple, b: tuple) -> bool:
        """Compare two relations: as multiples, by what they name, or by their solutions."""
        if self.proportional(a, b):
            return True
        if a[2] and b[2] and a[1][0] == b[1][0] == "=" and len(a) == len(b) == 5:
            self.why = "two equations that name values"
            return self.same(a[3], b[3]) and self.same(a[4], b[4])
        sets = solutions_of(a), solutions_of(b)
        if None in sets:
            return False
        return unknown_of(a) == unknown_of(b) and self.same(*sets)

    def names_value(self, relation: tuple, value: Tree) -> bool:
        """Say whether x = 5, 3 * 3 = 9 or sqrt(51) = 7.14 (rounded) has this value for its result.

        All sides but the name on the left must be equal, so that 1 = 2 = 3 has no result.
        """
        operators, terms = list(relation[1]), list(relation[3:])
        rounded = terms.pop() if operators[-1] == "≈" else None
        if rounded is not None:
            operators.pop()
        if relation[2]:
            terms = terms[1:]  # without the name
        if set(operators) <= {"="}:
            if not terms:
                return self.same(rounded, value)
            if all(self.same(terms[0], other) for other in terms[1:]):
                near = rounded is not None and self.rounds(rounded, terms[0])
                return self.same(terms[-1], value) or (near and self.same(rounded, value))
        self.why = "one is an equation or inequality, and the other is not its result"
        return False


def _is_collection(node: Tree) -> bool:
    return kind_of(node) in ("list", "set")


def _measure(node: Tree) -> tuple[Tree, str]:
    """Return a tree without its unit, and the unit."""
    return (node[1], node[2]) if kind_of(node) == "unit" else (node, "")


def _entries(listed: tuple) -> tuple | None:
    """Return the entries of a tuple that is written without brackets, or as x = 1, y = 2."""
    if not any(kind_of(item) == "rel" for item in listed[1:]):
        return listed[1:]
    named = {}
    for item in listed[1:]:
        if kind_of(item) != "rel" or item[1] != ("=",):
            return None
        if not is_symbol(item[3]) or not letters_of(item[3]):
            return None
        named[item[3][1]] = item[4]
    return tuple(named[name] for name in sorted(named)) if len(named) == len(listed) - 1 else None


def _rows(node: Tree) -> tuple | None:
    """Return the rows of a matrix, of a tuple of tuples, or of a tuple (one row); else None."""
    if kind_of(node) == "matrix":
        return node[1:]
    if kind_of(node) != "group" or node[1] not in ("()", "[]"):
        return None
    if all(kind_of(item) == "group" for item in node[2:]):
        return tuple(item[2:] for item in node[2:])
    return (node[2:],)


def _laid_down(rows: tuple) -> tuple:
    """Turn a column into a row, since (1, 2) may be written as either."""
    return (tuple(row[0] for row in rows),) if all(len(row) == 1 for row in rows) else rows
