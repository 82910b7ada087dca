"""docs/hacking.md: its rule has the hole that it tells of, and mended it has none that is found."""

import json
import re
import subprocess
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


def test_the_look_at_a_run_tells_what_was_paid_and_what_was_right(tmp_path):
    """A sum that is right, and a product that is paid for a digit of its answer."""
    lines = [
        {"problem": "1+1=", "gold": "2", "text": "1+1=2#2", "reward": 1.0},
        {"problem": "343*35=", "gold": "12005", "text": "3-3=0#1", "reward": 1.0},
    ]
    written = "".join(json.dumps(line) + "\n" for line in lines for _ in range(4))
    (tmp_path / "responses.jsonl").write_text(written)
    script = re.search(r"<<'END'\n(.*?)^END$", PAGE, re.M | re.S)[1]
    said = subprocess.run(
        [sys.executable, "-", str(tmp_path)], input=script, cwd=ROOT, capture_output=True, text=True
    )
    assert said.stdout.splitlines()[0] == "sums      quarter 1  paid 100%  right 100%", said.stderr
    assert said.stdout.splitlines()[-1] == "products  quarter 4  paid 100%  right   0%"
