r"""LaTeX: from text to a tree, by recursive descent.

What it teaches: how to read what a model wrote without running it.  Each rule of the grammar below
is a method.  It reads its own signs, calls the rule that binds tighter for what stands between
them, and leaves `at` behind what it has read.  Mathematics is written for people, so the work is in
what they leave out: 2x is a product, f(x) is not, 2\frac{1}{3} is a sum, \sin 2x takes the x along.

    answer   = based | items                        1A_{16}
    items    = relation {("," | ";" | "and" | "or") relation}
    relation = measured {("=" | "<" | "\le" | "\in" | ...) measured}
    measured = union {unit}                         5 \text{ cm}
    union    = ratio {("\cup" | "\cap" | "\setminus") ratio}
    ratio    = sum {":" sum}
    sum      = product {("+" | "-" | "\pm") product}
    product  = signed {("*" | "\cdot" | "/") signed | power}       2x(x+1)
    signed   = {"+" | "-"} power
    power    = atom ["!"] ["^\circ" | "^" exponent]
    exponent = ["+" | "-"] power                    2^-1
    atom     = number | symbol | bracket | "|" sum "|" | \text{words} | command
    number   = digits | mixed | repeating | based   12.5, 2\frac{1}{3}, 0.\overline{3}, 52_8
    symbol   = letter ["_" index] {"'"} ["(" integer ")"]          x_{max}, f', I(0)
    bracket  = ("(" | "[") items (")" | "]") | "{" items "}" | "\{" [letter "|"] items "\}" | ...
    command  = "\frac" argument argument | "\sqrt" ["[" sum "]"] argument | function | matrix | ...
    function = name ["_" index] ["^" exponent] (bracket | signed {power})
    argument = "{" items "}" | digit | atom

Where it stands: the second half of "what does it say?".  This file has the rules from "answer" to
"exponent"; `atoms.py` has the tighter ones, `commands.py` those of commands, and `units.py` what a
unit is.  The trees are described in `trees.py`, and `comparison.py` compares them.  What the
grammar does not have raises `NotUnderstood`, since a guess could pay for a wrong answer.

Try changing first: `_ASIDE`, a number in brackets behind a number.  Without it "5 (6)" is 30.
"""

import re
from fractions import Fraction

from answers.atoms import FUNCTIONS
from answers.commands import STRUCTURES, SYMBOLS, Commands
from answers.names import is_name
from answers.patterns import pattern
from answers.spelling import MAX_ANSWER
from answers.trees import (
    ONE,
    REALS,
    NotUnderstood,
    Tree,
    is_symbol,
    kind_of,
    letters_of,
    mentions,
    reals_without,
    replaced,
    times,
)
from answers.units import UNIT, UNIT_POWER, multiplied

PLUS_MINUS = ("sym", "±")  # +1 in one reading of the answer, and -1 in the other

_BASED = pattern(
    "1A_{16}",  # or "52 base 8"
    r"\(?((?=[A-F]*[0-9])[0-9A-F]+)\)?\s*"
    r"(?:_\s*(?:\{\s*(\d+)\s*\}|(\d+))|(?:\\text\{\s*)?\(?\s*(?:in )?base (\d+)\)?\}?)\s*$",
)
_SEPARATOR = pattern(", and", r"\s*(?:[,;]\s*(?:(?:and|or)\b)?|(?:and|or)\b)")
_RELATION = pattern(r"\le", r"\s*(?:<=|>=|!=|[<>=]|\\(?:le|ge|ne|in|approx)(?![A-Za-z]))")
_RELATIONS = {r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in", r"\approx": "≈"}
_JOIN = pattern(
    r"[1,2] U [3,4]",  # or \cup
    r"\s*(?:\\(cup|cap|setminus)(?![A-Za-z])|(?<=[)\]}\s])(U)(?=\s*[\[(]))",
)
_RATIO = pattern("3:5", r"\s*:(?!=)")
_SIGN = pattern(r"\pm", r"\s*(?:\+-|\+/-|[+-]|\\pm(?![A-Za-z])|\\mp(?![A-Za-z]))")
_TIMES = pattern(r"\cdot", r"\s*(?:\*|\\cdot(?![A-Za-z])|\\times(?![A-Za-z]))")
_DIVIDE = pattern(r"\div", r"\s*(?:/|\\div(?![A-Za-z]))")
_COMMAND_NAME = pattern(r"\frac", r"\\([A-Za-z]+|\{)")
_ASIDE = pattern("5 (6)", r"(?<=\d )\(\d+\)")
_DEGREE = pattern(r"^{\circ}", r"\s*\^\s*\{?\s*\\circ\s*\}?")


def parse(text: str, scientific: bool = True) -> Tree:
    """Return the tree of a normalised text; `NotUnderstood` says where the grammar ends.

    `scientific=False` reads 2e-5 as 2*e - 5.
    """
    return Parser(text, scientific).tree()


class Parser(Commands):
    """Reads one text.  The methods stand in the order of the grammar, loosest binding first."""

    def tree(self) -> Tree:
        """Read the whole text."""
        if len(self.text) > MAX_ANSWER:
            raise NotUnderstood("the text is too long")
        if based := _BASED.match(self.text):
            return ("base", based[1].lstrip("0"), int(based[2] or based[3] or based[4]))
        items = self.items(both_signs=True)
        self.skip()
        if self.at < len(self.text):
            raise NotUnderstood(f"no rule goes on with {self.text[self.at : self.at + 20]!r}")
        return items[0] if len(items) == 1 else ("list", *items)

    def items(self, both_signs: bool = False) -> list[Tree]:
        r"""Read a list; where both signs count, an item with \pm in it stands for two items."""
        found = [self.relation()]
        while self.take(_SEPARATOR):
            found.append(self.relation())
        return _with_both_signs(found) if both_signs and self.signs else found

    def relation(self) -> Tree:
        """Read a chain of equations or inequalities."""
        start = self.at
        terms, operators = [self.measured()], []
        left = self.text[start : self.at]
        while relation := self.take(_RELATION):
            operator = relation[0].strip()
            operators.append(_RELATIONS.get(operator, operator))
            terms.append(self.measured())
        if not operators:
            return terms[0]
        if all(operator[0] == ">" for operator in operators):  # a > b is b < a
            operators = [operator.replace(">", "<") for operator in operators[::-1]]
            terms.reverse()
        return ("rel", tuple(operators), is_name(left), *terms)

    def measured(self) -> Tree:
        """Read a number or formula with its unit."""
        self.degree = False
        node, unit = self.union(), ""
        while True:
            if word := self.take(UNIT):
                behind = self.text[: word.start()].rstrip()[-1:]
                if word[3] and not unit and (letters_of(node) or behind.isalpha()):
                    raise NotUnderstood(f"{word[3]} behind letters may be a product")
                unit += " " + (word[1] or word[2] or word[3] or "").strip(" .")
            elif unit and (power := self.take(UNIT_POWER)):
                unit += re.sub(r"[{}\s]|\\cdot", "", power[0])
            else:
                break
        if unit:
            node, unit = multiplied(node, unit)
        if self.degree and not unit.strip():
            unit = "°"
        return ("unit", node, unit.strip()) if unit.strip() else node

    def union(self) -> Tree:
        r"""Read unions and intersections of sets; \R \setminus \{2\} is a union as well."""
        node = self.ratio()
        while join := self.take(_JOIN):
            other = self.ratio()
            if join[1] == "setminus" and node == REALS and kind_of(other) not in ("set", "group"):
                node = reals_without(other)
            elif join[1] in ("cap", "setminus"):
                node = ("group", join[1], node, other)
            else:
                node = ("set", *_parts(node), *_parts(other))
        return node

    def ratio(self) -> Tree:
        """Read a ratio, of which only the proportion counts."""
        terms = [self.sum()]
        while self.take(_RATIO):
            terms.append(self.sum())
        return terms[0] if len(terms) == 1 else ("group", ":", *terms)

    def sum(self) -> Tree:
        """Read terms with signs between them."""
        terms = [self.product()]
        while sign := self.sign():
            terms.append(times(sign, self.product()))
        return terms[0] if len(terms) == 1 else ("+", *terms)

    def sign(self) -> Tree | None:
        """Read a sign, if there is one, and return its factor: 1, -1 or PLUS_MINUS."""
        sign = self.take(_SIGN)
        if not sign:
            return None
        name = sign[0].strip()
        if name in ("+", "-"):
            return ONE if name == "+" else -ONE
        self.signs += 1
        return ("*", -ONE, PLUS_MINUS) if name == "\\mp" else PLUS_MINUS

    def product(self) -> Tree:
        """Read factors, with or without a sign between them."""
        factors = [self.signed()]
        while True:
            if self.take(_TIMES):
                factors.append(self.signed())
            elif self.take(_DIVIDE):
                factors.append(("^", self.signed(), -ONE))
            elif self.factor_follows(factors[-1]):
                factors.append(self.power())
            elif len(factors) == 2 and kind_of(factors[1]) == "group" and _is_point(factors[0]):
                return factors[1]  # A(1,2) names a point
            else:
                return times(*factors)

    def factor_follows(self, before: Tree) -> bool:
        """Say whether a factor follows without a sign of multiplication, as in 2x(x+1)."""
        spaced = self.sees(" ") or self.text[self.at - 1 : self.at] in (" ", ")", "}")
        self.skip()
        rest = self.text[self.at : self.at + 1]
        if not rest or _SEPARATOR.match(self.text, self.at) or UNIT.match(self.text, self.at):
            return False
        if rest.isdigit():
            return spaced and not isinstance(before, Fraction)
        if isinstance(before, Fraction) and _ASIDE.match(self.text, self.at):
            return False
        if rest == "\\":
            command = _COMMAND_NAME.match(self.text, self.at)
            known = (FUNCTIONS, SYMBOLS, STRUCTURES, "{")
            return bool(command) and any(command[1] in names for names in known)
        if _JOIN.match(self.text, self.at):
            return False
        return rest.isalpha() or rest in "([{" or (rest == "|" and not self.bars)

    def signed(self) -> Tree:
        """Read a power with signs before it: -2^2 is -(2^2)."""
        sign = self.sign()
        return self.power() if sign is None else times(sign, self.nested(self.signed))

    def power(self) -> Tree:
        """Read an atom and the signs behind it: a factorial, a degree, an exponent."""
        node = self.nested(self.atom)
        if self.sees("!") and not self.sees("!="):
            self.at += 1
            node = ("call", "factorial", node)
        if self.take(_DEGREE):
            self.degree = not self.in_argument
            if self.in_argument:
                node = ("*", node, ("sym", "\\pi"), Fraction(1, 180))
        elif self.sees("^"):
            self.at += 1
            node = ("^", node, self.exponent())
        return node

    def exponent(self) -> Tree:
        """Read what is raised, with its sign: 2^-1, 2^{n+1}."""
        sign = self.sign()
        self.skip()
        node = self.nested(self.power)
        return node if sign is None else times(sign, node)


def _with_both_signs(items: list[Tree]) -> list[Tree]:
    r"""Return the items, with 1+x and 1-x in the place of 1 \pm x."""
    result = []
    for item in items:
        signs = (ONE, -ONE) if mentions(item, PLUS_MINUS) else (ONE,)
        result += [replaced(item, PLUS_MINUS, sign) for sign in signs]
    return result


def _parts(node: Tree) -> tuple:
    """Return the sets that a union joins."""
    return node[1:] if isinstance(node, tuple) and node[0] == "set" else (node,)


def _is_point(node: Tree) -> bool:
    return is_symbol(node) and node[1][0].isupper()
