"""The drawing of a step, docs/step.svg: it is what its script makes, and tells the truth."""

import importlib.util
import json
import re
from xml.etree import ElementTree

import pytest
from conftest import ROOT

from grpo import group_advantages

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("draw_step", ROOT / "tools" / "draw_step.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(script):
    return ElementTree.fromstring(script.picture())


def test_the_stored_drawing_is_what_the_script_makes(script):
    assert script.OUT == ROOT / "docs" / "step.svg"
    assert script.OUT.read_text(encoding="utf-8") == script.picture()


def test_a_screen_reader_is_told_what_it_shows(tree):
    assert tree.get("role") == "img"
    named = [tree.find(f".//*[@id='{name}']") for name in tree.get("aria-labelledby").split()]
    assert [each.tag for each in named] == [f"{SVG}title", f"{SVG}desc"]
    assert all(each.text for each in named)


def test_words_stay_within_the_picture(script, tree):
    """A wide font takes 0.62 of its size per character."""
    sizes = {"head": 16, "small": 12.5, "file": 12.5, "code": 12.5}
    for words in tree.iter(f"{SVG}text"):
        size = max((sizes.get(kind, 14) for kind in words.get("class").split()), default=14)
        length = float(words.get("textLength", 0.62 * size * len(words.text)))
        share = {"start": 0, "middle": 0.5, "end": 1}[words.get("text-anchor", "start")]
        start = float(words.get("x")) - share * length
        panels = [(x, x + width) for x, width in (script.CHOOSE, script.ROLL_OUT, script.LEARN)]
        above = float(words.get("y")) < script.BOTTOM
        frames = panels if above else [(0, script.WIDTH)]
        assert any(a < start and start + length < b for a, b in frames), words.text
        assert 0 < float(words.get("y")) < script.HEIGHT


def test_its_numbers_are_those_of_the_notebook(script):
    notebook = json.loads((ROOT / "docs" / "one-step.ipynb").read_text(encoding="utf-8"))
    outputs = [
        output for cell in notebook["cells"] for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    ]  # fmt: skip
    printed = "".join("".join(output["text"]) for output in outputs)
    said = re.findall(r"^(\S+) +answer \d+ +reward ([01])$", printed, re.M)
    assert said == [(response, str(reward)) for response, reward in script.RESPONSES]
    for problem, score in script.SCORES.items():
        row = re.search(rf"^{re.escape(problem)} .* (\S+)$", printed.split("score\n")[1], re.M)
        assert row[1] == f"{score:.2f}"
    assert max(script.SCORES, key=script.SCORES.get) in script.DESCRIPTION.split("takes ")[1][:9]


def test_its_advantages_are_those_of_the_default_job(script):
    assert group_advantages(script.REWARDS, "none").tolist() == script.ADVANTAGES
