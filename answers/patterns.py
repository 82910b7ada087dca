r"""Patterns: regular expressions that show what they are for.

What it teaches: a table of regular expressions can be read if each has an example beside it.  Here
the example comes first, and it is tried when the module is imported: an example that its pattern
does not match is a `ValueError` before anything else can go wrong.

    RATIO = pattern("3:5", r"\s*:(?!=)")
    rewrite("10{,}000", "10000", r"(?<=\d)\{,\}(?=\d{3})", "")

Where it stands: under every module of this folder that reads text.
"""

import re
from collections.abc import Callable

Replacement = str | Callable[[re.Match[str]], str]


def pattern(example: str, regex: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a regular expression that matches a part of its example."""
    compiled = re.compile(regex, flags)
    found = compiled.search(example)
    if not found or not found[0]:
        raise ValueError(f"the pattern {regex!r} does not match its example {example!r}")
    return compiled


def rewrite(
    before: str, after: str, regex: str, replacement: Replacement, flags: int = 0
) -> tuple[re.Pattern[str], Replacement]:
    """Compile a replacement that turns the example `before` into `after`."""
    compiled = re.compile(regex, flags)
    result = compiled.sub(replacement, before)
    if result != after:
        raise ValueError(f"{regex!r} makes {result!r} of {before!r}, where {after!r} is expected")
    return compiled, replacement
