"""docs/expected.md: each number of its tables stands on a page that its row, or its part, links."""

import re

import pytest
from conftest import ROOT

PAGE = ROOT / "docs" / "expected.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)")
NUMBER = re.compile(r"(?<![\w.\-])\d[\d,]*(?:\.\d+)?(?:e-\d+)?(?![\w])")


def numbers(text: str) -> set[str]:
    return {number.rstrip(",") for number in NUMBER.findall(text)}


def parts() -> list[tuple[str, str]]:
    """Every row of a table with the text of its part of the page above the table."""
    found = []
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        above, *rest = re.split(r"^(?=\|)", part, maxsplit=1, flags=re.M)
        rows = re.findall(r"^\|.*\|$", "".join(rest), re.M)
        found += [(row, above) for row in rows[2:]]
    return found


@pytest.mark.parametrize(("row", "above"), parts(), ids=lambda text: text[:40])
def test_each_number_of_a_row_stands_on_a_page_that_it_names(row, above):
    named = LINK.findall(row) or LINK.findall(above)
    assert named
    theirs = "".join((PAGE.parent / name).read_text() for name in named)
    missing = numbers(LINK.sub("", row)) - numbers(theirs)
    assert not missing


def test_a_number_that_no_page_has_is_noticed():
    assert numbers("98.5, 1,480 rollouts of 185; lr=1e-3") == {"98.5", "1,480", "185", "1e-3"}
    assert len(parts()) > 25
