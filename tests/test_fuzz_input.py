"""tools/fuzz_input.py: a few hundred of its cases, and that it sees what does not end well."""

import json
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "tools"))

import fuzz_input

CASES = 300


def test_damaged_files_and_arguments_end_in_one_line(tmp_path):
    """The same cases in every run; `python tools/fuzz_input.py --only N` shows one again."""
    found = list(fuzz_input.outcomes(range(CASES), seed=0, processes=2, kept=tmp_path))
    assert sorted(outcome.number for outcome in found) == list(range(CASES))
    failed = [(o.number, o.fault, o.words, o.said[-300:]) for o in found if o.fault]
    assert not failed
    kinds = {kind: [o.code for o in found if o.kind == kind] for kind in fuzz_input.KINDS}
    assert all({1, 2} & set(codes) and len(codes) > 10 for codes in kinds.values())
    assert sum(o.code == 0 for o in found) > 30


@pytest.mark.parametrize(
    ("code", "said", "changed", "fault"),
    [
        (0, "warning: it is said\n", [], ""),
        (2, "\rrunning\nerror: a word\n", [], ""),
        (130, "interrupted; the same command goes on\n", [], ""),
        (2, "", [], "ended with 2 after 0 lines of errors"),
        (0, "error: a word\n", [], "ended with 0 after 1 lines of errors"),
        (2, "error: a\nerror: b\n", [], "ended with 2 after 2 lines of errors"),
        (3, "error: a word\n", [], "ended with 3"),
        (None, "Traceback (most recent call last):\n", [], "Traceback"),
        (0, "x.py:3: UserWarning: beware\n", [], "UserWarning: "),
        (2, "thread '<unnamed>' panicked at x.rs\nerror: a word\n", [], "panicked"),
        (2, "error: a word\n", [ROOT / "run"], "left run behind or changed it"),
    ],
)
def test_what_ends_well_and_what_does_not(code, said, changed, fault):
    assert fuzz_input.judge(code, said, changed) == fault


def test_what_hangs_dies_or_raises_is_seen_and_kept(tmp_path, monkeypatch):
    """Cases of the tool's own, in the place of damaged input; the others go on."""
    monkeypatch.setattr(fuzz_input, "SECONDS", 1)
    monkeypatch.setattr(fuzz_input, "work", badly_ended)
    found = {o.number: o for o in fuzz_input.outcomes(range(5), 0, 1, tmp_path)}
    assert [found[n].fault for n in range(5)] == [
        "", "the process died", "", "no end after 1 s", "",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"1", "3"}
    assert json.loads((tmp_path / "3" / "story.json").read_text())["words"] == ["case", "3"]


def badly_ended(tasks, root, seed):
    """A worker whose case 1 ends the process, and whose case 3 does not end."""
    import os
    import time

    (root / "said").write_text("")
    tasks.send(None)
    while (number := tasks.recv()) is not None:
        (root / "words").write_text(json.dumps(["case", str(number)]))
        if number == 1:
            os._exit(1)
        if number == 3:
            time.sleep(600)
        tasks.send(fuzz_input.Outcome(number, "key", [], 0, "", ""))
