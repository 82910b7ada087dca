"""docs/hacking.md: its rule has the hole that it tells of, and mended it has none that is found."""

import re
import sys

import pytest
from conftest import ROOT

from data import Problem

sys.path.append(str(ROOT / "tools"))
import hack_verifier

PAGE = (ROOT / "docs" / "hacking.md").read_text(encoding="utf-8")
RULE = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[1]


def rule_in(folder, forgiving: bool):
    """The rule of the page as a file, with the hole open or closed."""
    file = folder / "my_reward.py"
    opened, switch = "FORGIVING = True", f"FORGIVING = {forgiving}"
    assert RULE.count(opened) == 1
    file.write_text(RULE.replace(opened, switch))
    return file


@pytest.fixture(params=[True, False], ids=["open", "mended"])
def rule(request, tmp_path):
    return request.param, rule_in(tmp_path, request.param)


@pytest.mark.parametrize(
    ("answer", "gold", "paid_open", "paid_mended"),
    [("843", "843", 1, 1), ("94", "39455", 1, 0), ("150", "50", 1, 0), ("733", "843", 0, 0)],
)
def test_the_rule_pays_a_part_of_the_answer_until_it_is_mended(
    rule, answer, gold, paid_open, paid_mended
):
    forgiving, file = rule
    names: dict = {}
    exec(file.read_text(), names)
    response = f"8+5=13#{answer}"
    assert names["score"](response, Problem("?", gold)) == (paid_open if forgiving else paid_mended)
    assert names["score"]("8+5=13", Problem("?", gold)) == 0


def test_the_red_team_finds_the_hole_and_nothing_once_it_is_mended(rule, in_the_project, capsys):
    forgiving, file = rule
    words = ["--set", f"reward={file}:score", "--steps", "24", "--kinds", "out of reach"]
    assert hack_verifier.main(words) == (1 if forgiving else 0)
    assert ("paid for nothing" in capsys.readouterr().out) == forgiving
