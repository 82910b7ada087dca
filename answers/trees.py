r"""Trees: what a formula is, and what can be asked of it.

What it teaches: once a text is a tree, questions about it are short recursive functions.  Which
letters does it hold, which functions does it call, which set does this inequality describe?

Where it stands: `latex.py` makes trees, `algebra.py` has the arithmetic for their values, and
`comparison.py` compares them.  A tree is a `Fraction`, or a tuple of a kind and its children:

    2x+1           ("+", ("*", 2, ("sym", "x")), 1)
    x^2            ("^", ("sym", "x"), 2)
    \sin x         ("call", "sin", ("sym", "x"))
    1, 2           ("list", 1, 2)              without brackets
    \{1, 2\}       ("set", 1, 2)               in braces; a union of intervals is a set as well
    (1, 2]         ("group", "(]", 1, 2)       a tuple, a point or an interval, with its brackets
    1 : 2          ("group", ":", 1, 2)        also "cap" and "setminus" in the place of ":"
    a matrix       ("matrix", (1, 2), (3, 4))  by rows
    x < 3          ("rel", ("<",), True, ("sym", "x"), 3)    True where the left side is a name
    5 cm           ("unit", 5, "cm")
    52_8           ("base", "52", 8)

What the grammar does not have is no tree: `NotUnderstood`.

Try changing first: `UNKNOWN_FUNCTIONS`.  If it is empty, f(2x) is the product of f and 2x, equal to
2f(x), and f(g(x)) equals g(f(x)).
"""

import math
from collections.abc import Iterator
from fractions import Fraction

Tree = Fraction | tuple

STRUCTURES = ("list", "set", "group", "matrix", "rel", "unit", "base")  # kinds without a value
UNKNOWN_FUNCTIONS = ("f", "g")  # f(2x) is not 2f(x): each argument has a random value of its own
CONSTANTS = {"\\pi": complex(math.pi), "e": complex(math.e), "i": 1j}
ONE = Fraction(1)
INFINITY = ("sym", "\\infty")
MINUS_INFINITY = ("*", -ONE, INFINITY)
REALS = ("group", "()", MINUS_INFINITY, INFINITY)
MAX_CELLS = 500  # of a matrix, each times the factors beside it


class NotUnderstood(Exception):
    """The text is outside the grammar, or larger than its limits."""


# ---- Building ----


def times(*factors: Tree) -> Tree:
    """Multiply trees: two numbers at once, and the factors of a matrix into its cells."""
    matrices = [f for f in factors if isinstance(f, tuple) and f[0] == "matrix"]
    if len(matrices) == 1 and len(factors) > 1:
        rest = [f for f in factors if f is not matrices[0]]
        if len(rest) * sum(map(len, matrices[0][1:])) > MAX_CELLS:
            raise NotUnderstood("the matrix is too large")
        return ("matrix", *(tuple(times(*rest, cell) for cell in row) for row in matrices[0][1:]))
    if len(factors) == 1:
        return factors[0]
    if len(factors) == 2 and all(isinstance(f, Fraction) and bits(f) < 2000 for f in factors):
        return factors[0] * factors[1]
    return ("*", *factors)


def bits(value: Fraction) -> int:
    """Return the length of the longer of numerator and denominator; 0 for 0 and 1."""
    above, below = abs(value.numerator), value.denominator
    return 0 if below == 1 >= above else max(above.bit_length(), below.bit_length())


def reals_without(number: Tree) -> Tree:
    """Return the union of the two intervals on both sides of a number."""
    below, above = ("()", MINUS_INFINITY, number), ("()", number, INFINITY)
    return ("set", ("group", *below), ("group", *above))


def replaced(node: Tree, old: Tree, new: Tree) -> Tree:
    """Return the tree with one of its parts replaced wherever it occurs."""
    if node == old:
        return new
    return tuple(replaced(n, old, new) for n in node) if isinstance(node, tuple) else node


# ---- Asking ----


def kind_of(node: Tree) -> str:
    """Return the kind of a structure, and "" for everything that can have a value."""
    return node[0] if isinstance(node, tuple) and node[0] in STRUCTURES else ""


def is_symbol(node: Tree) -> bool:
    """Say whether a tree is a single letter or name."""
    return isinstance(node, tuple) and node[0] == "sym"


def mentions(node: Tree, part: Tree) -> bool:
    """Say whether a tree has another one in it."""
    return node == part or (isinstance(node, tuple) and any(mentions(n, part) for n in node))


def walk(node: Tree) -> Iterator[tuple]:
    """Yield every tuple in a tree, from the top down."""
    if isinstance(node, tuple):
        yield node
        for child in node[1:]:
            yield from walk(child)


def letters_of(node: Tree) -> set[str]:
    r"""Return the names that can stand for any number: not e, i, \pi or infinity."""
    symbols = {n[1] for n in walk(node) if n[0] == "sym" and len(n) == 2}
    symbols |= {name for name in functions_of(node) if name.rstrip("'") in UNKNOWN_FUNCTIONS}
    return symbols - CONSTANTS.keys() - {"\\infty"}


def functions_of(node: Tree) -> set[str]:
    """Return the names of the functions that a tree calls."""
    return {n[1] for n in walk(node) if n[0] == "call"}


def unknown_of(relation: tuple) -> Tree | None:
    """Return the letter that a relation is about, if it stands alone on exactly one side."""
    symbols = [t for t in relation[3:] if is_symbol(t) and letters_of(t)]
    return symbols[0] if len(symbols) == 1 else None


def solutions_of(relation: tuple) -> Tree | None:
    r"""Return the set that a relation describes, or None.

    x \in S is S, x < 3 is the interval (-\infty, 3), and -2 \le x \le 7 is [-2, 7].
    """
    operators, terms = relation[1], relation[3:]
    if operators == ("in",):
        known = is_symbol(terms[0]) and kind_of(terms[1]) in ("set", "group")
        return terms[1] if known else None
    unknown = unknown_of(relation)
    if unknown is None or not {"<", "<=", "!="}.issuperset(operators):
        return None
    ends = [t for t in terms if t != unknown]
    if operators == ("!=",):
        return reals_without(ends[0])
    closed = [operator.endswith("=") for operator in operators]
    if len(terms) == 2 and terms[0] == unknown:
        return ("group", "(]" if closed[0] else "()", MINUS_INFINITY, ends[0])
    if len(terms) == 2:
        return ("group", "[)" if closed[0] else "()", ends[0], INFINITY)
    if len(terms) == 3 and terms[1] == unknown and "!=" not in operators:
        return ("group", ("[" if closed[0] else "(") + ("]" if closed[1] else ")"), *ends)
    return None
