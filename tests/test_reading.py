"""docs/reading-a-run.md holds every key that a run writes and no other; its figures can be made."""

import json
import re
import sys

import pytest
from conftest import ROOT

import train
from plumbing import watch

sys.path.append(str(ROOT / "tools"))
import plot_metrics

PAGE = (ROOT / "docs" / "reading-a-run.md").read_text(encoding="utf-8")


def keys_under(heading: str) -> set[str]:
    """The names in the first column of all tables under a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("read") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("report.draw", lambda out: "not drawn: takes longer than the run")
        words = ["--set", "steps=12", "--set", "data.heldout_size=20", "--out", str(out)]
        assert train.main(["--config", "small.json", *words]) == 0
    return out


def test_every_key_of_the_metrics_stands_on_the_page_and_every_one_there_exists(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    written = set().union(*(json.loads(line) for line in lines))
    assert keys_under("metrics.jsonl") == written


def test_every_key_of_the_summary_stands_on_the_page_and_every_one_there_exists(run):
    assert keys_under("summary.json") == set(json.loads((run / "summary.json").read_text()))


def test_every_line_that_is_printed_stands_on_the_page(run, capsys, monkeypatch):
    monkeypatch.setattr("report.draw", lambda out: out)
    train.report.show(run)
    first_words = {line[:18].strip() for line in capsys.readouterr().out.splitlines()}
    on_the_page = keys_under("What is printed") | {"held-out accuracy", "not paid"}
    assert first_words - {"trained model", "figure"} <= on_the_page


def test_the_page_tells_the_limits_of_the_watch():
    said = PAGE.split("## The warnings")[1]
    for number in (watch.CUT_OFF, watch.EQUAL, watch.NEVER, watch.ALWAYS):
        assert re.search(rf"\b{number} ", said), number


def test_metrics_are_drawn(run, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "metrics.png"
    assert not plot_metrics.main([str(run), str(run), "--keys", "loss", "kl", "--out", str(file)])
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_key_that_no_run_has_is_named(run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = [str(run), "--keys", "lost", "--out", str(tmp_path / "metrics.png")]
    assert plot_metrics.main(words) == 2
    assert capsys.readouterr().err.strip().endswith("'lost' is no number in any of these runs")
    assert not (tmp_path / "metrics.png").exists()
