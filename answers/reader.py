"""The reader: a text, and the place in it that is read next.

What it teaches: a parser by recursive descent needs little more than four operations.  `take` reads
what matches a pattern, `sees` looks whether a sign comes next, `expect` insists on one, and
`nested` lets a rule of the grammar use itself, to a limit.

Where it stands: the base of the parser.  `atoms.py` and `commands.py` add the rules of the grammar
that bind tightest, and `latex.py` adds the others.

Try changing first: `MAX_DEPTH`.  With 5 every pair in `tests/test_verifier.py` is still judged as
before, so deep answers are rare.  The limit is there for texts such as 900 brackets in a row.
"""

import re
from collections.abc import Callable

from answers.trees import NotUnderstood, Tree

MAX_DEPTH = 30  # of nested brackets, powers and functions


class Reader:
    """Reads one text from left to right, and remembers what the rules have to know of each other.

    `scientific=False` reads 2e-5 as 2*e - 5 instead of 0.00002.
    """

    def __init__(self, text: str, scientific: bool = True) -> None:
        self.text = text
        self.scientific = scientific
        self.at = 0  # the place of the next character
        self.depth = 0  # rules within rules at this place
        self.bars = 0  # |...| that are open, so that the next bar closes one
        self.signs = 0  # how often plus and minus stood there at once
        self.degree = False  # a degree sign was read, outside of a function's argument
        self.in_argument = False  # this place is in a function's argument: \sin 30^\circ

    def take(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        """Read what matches a pattern at this place; None, and nothing is read, if nothing does."""
        found = wanted.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def skip(self) -> None:
        """Go to the next character that is no space."""
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    def sees(self, *starts: str) -> bool:
        """Say whether one of these comes next, after spaces."""
        self.skip()
        return self.text.startswith(starts, self.at)

    def expect(self, *signs: str) -> str:
        """Read one of these signs and return it; `NotUnderstood` if none comes next."""
        for sign in signs:
            if self.sees(sign):
                self.at += len(sign)
                return sign
        raise NotUnderstood(f"{' or '.join(signs)} is missing")

    def nested(self, rule: Callable[[], Tree]) -> Tree:
        """Apply a rule within itself, to a limit, so that Python's stack is never exhausted."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotUnderstood("formulas are nested too deeply")
        node = rule()
        self.depth -= 1
        return node
