"""record.py and watch.py: every response is kept, and what a curve does not show is said."""

import json

import pytest
from conftest import ROOT

import report
import train
from plumbing.watch import ALWAYS, CUT_OFF, EQUAL, NEVER, Watch

RIGHT, WRONG, MIXED = [1.0] * 8, [0.0] * 8, [1.0, 0.0] * 4


def see(watch, solved, problem="1+1=", cut_off=False, step=1):
    return watch.see(step, problem, solved, solved, cut_off)


# ---- responses


def start(out, *sets):
    quick = ["steps=4", "eval_every=1000", "data.heldout_size=5", *sets]
    words = [word for s in quick for word in ("--set", s)]
    return train.main(["--config", "small.json", "--out", str(out), *words])


@pytest.fixture(autouse=True)
def from_the_project_folder(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(report, "draw", lambda out: "not drawn")


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_response_is_written_and_agrees_with_the_metrics(tmp_path, capsys):
    assert start(tmp_path / "run", "rollout.max_new_tokens=18") == 0
    steps = read(tmp_path / "run" / "metrics.jsonl")
    said = read(tmp_path / "run" / "responses.jsonl")
    assert len(said) == steps[-1]["rollouts"] == 32
    assert sum(response["tokens"] for response in said) == steps[-1]["tokens"]
    for step in steps:
        mine = [response for response in said if response["step"] == step["step"]]
        assert [response["reward"] for response in mine] == step["rewards"][0]
        assert [response["solved"] for response in mine] == step["solved"][0]
        assert sum(r["tokens"] for r in mine) / 8 == pytest.approx(step["mean_length"])
        assert sum(r["cut_off"] for r in mine) / 8 == pytest.approx(step["cut_off"])
        for response in mine:
            assert response["solved"] == (response["answer"] == response["gold"])
            assert response["tokens"] == 18 or not response["cut_off"]
    assert 0 < sum(response["cut_off"] for response in said) < 32
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    shown = capsys.readouterr().out
    assert set(summary["examples"]) == {"paid", "not paid"}
    for kind, solved in (("paid", 1.0), ("not paid", 0.0)):
        last = [response for response in said if response["solved"] == solved][-1]
        assert summary["examples"][kind]["text"] == last["text"] and repr(last["text"]) in shown


def test_one_key_switches_the_file_off(tmp_path):
    assert start(tmp_path / "run", "responses=false") == 0
    assert not (tmp_path / "run" / "responses.jsonl").exists()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["examples"]


# ---- warnings


def test_responses_that_are_all_cut_off_are_told_once():
    watch = Watch()
    told = [see(watch, MIXED, cut_off=True, step=n) for n in range(1, CUT_OFF + 3)]
    assert [bool(new) for new in told] == [False] * (CUT_OFF - 1) + [True, False, False]
    assert "raise rollout.max_new_tokens" in told[CUT_OFF - 1][0]
    assert watch.warnings["cut off"].startswith(f"step {CUT_OFF + 2}: all responses of the last 10")
    see(watch, MIXED)
    assert watch.cut_off == 0


def test_fifty_groups_of_equal_rewards_are_told():
    watch = Watch()
    assert not any(see(watch, WRONG, str(n)) for n in range(EQUAL - 1))
    assert "all rewards were equal" in see(watch, RIGHT, "last")[0]
    watch = Watch()
    for n in range(3 * EQUAL):
        assert not see(watch, MIXED if n % 40 == 0 else RIGHT, str(n))


def test_a_problem_that_is_suddenly_always_paid_is_told():
    watch = Watch()
    for _ in range(NEVER // 8):
        assert not see(watch, WRONG)
    told = [see(watch, RIGHT) for _ in range(ALWAYS // 8)]
    assert told[-1] and "never was solved, and now is paid every time" in told[-1][0]


@pytest.mark.parametrize(
    "groups",
    [
        [WRONG] * 9 + [MIXED] + [RIGHT] * 9,  # learned little by little
        [RIGHT] * 9,  # known from the start
        [WRONG] * 2 + [RIGHT] * 9,  # too few tries to call it unsolvable
        [WRONG] * 9 + [RIGHT] + [WRONG] * 9,  # luck
    ],
)
def test_how_learning_looks_is_no_warning(groups):
    watch = Watch()
    assert not any(see(watch, solved) for solved in groups)


def test_a_run_warns_on_its_progress_line_and_in_its_summary(tmp_path, capsys):
    assert start(tmp_path / "run", "steps=9", "rollout.max_new_tokens=2") == 0
    said = capsys.readouterr()
    assert "warning, step 8: all responses of the last 8 groups were cut off" in said.err
    assert "! accuracy" in said.err and "warning            step 9: all responses" in said.out
