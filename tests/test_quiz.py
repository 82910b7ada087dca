"""tools/quiz.py: its questions are those of the page, and it compares what was said and what was.

No test trains: a script that only writes a summary stands in the place of train.py.
"""

import io
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "tools"))

import quiz

from plumbing.config import read_config

ROW = re.compile(r"\| (`.*?`) \| (.*?) \| ([\d.]+)% \| (\d+) of (\d+) \|")
STUB = """import json, pathlib, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
out.mkdir()
print("must not be seen")
print("a bar", file=sys.stderr)
pathlib.Path("WORDS").write_text(json.dumps(words))
pathlib.Path("READ").write_text(sys.stdin.read())
summary = {"accuracy_after": 0.6, "informative_groups": 17}
(out / "summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A train.py that notes its arguments and its input, and ends at 60% with 17 groups."""
    file = tmp_path / "stub.py"
    text = STUB.replace("WORDS", str(tmp_path / "words")).replace("READ", str(tmp_path / "read"))
    file.write_text(text)
    monkeypatch.setattr(quiz, "TRAIN", file)
    return tmp_path


def answer(monkeypatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


# ---- the questions


def test_the_questions_are_the_rows_of_the_page():
    page = (ROOT / "docs" / "what-one-key-changes.md").read_text()
    rows = [
        (tuple(re.findall("`(.*?)`", keys)), what, float(after), int(informative), int(groups))
        for keys, what, after, informative, groups in ROW.findall(page)
    ]
    assert len(rows) == 13
    assert [(tuple(q.keys.split()), *q[1:5]) for q in quiz.QUESTIONS] == rows


@pytest.mark.parametrize("question", quiz.QUESTIONS, ids=lambda q: q.keys)
def test_the_keys_of_a_question_are_keys_of_the_job(question):
    unchanged = read_config(str(ROOT / "small.json"), [])
    cfg = read_config(str(ROOT / "small.json"), question.keys.split())
    assert cfg != unchanged
    at_once = cfg.selector.candidates if cfg.selector.name == "full_batch" else 1
    steps = min(cfg.steps, cfg.max_rollouts // (cfg.rollout.group_size * at_once))
    assert steps * at_once == question.groups
    assert question.why.endswith(".")


# ---- the comparison


@pytest.mark.parametrize(("said", "was", "whole", "point"), [
    (50, 60, 100, True), (70, 60, 100, True), (49.9, 60, 100, False), (70.1, 60, 100, False),
    (18, 0, 185, True), (19, 0, 185, False), (3, 7, 46, True), (2, 7, 46, False),
    (0, 9.999999999999998, 100, True), (88.5, 98.5, 100, True),
])  # fmt: skip
def test_a_prediction_is_a_point_within_a_tenth_of_the_whole(said, was, whole, point):
    assert quiz.is_close(said, was, whole) is point


def test_it_runs_the_question_compares_and_explains(stub, monkeypatch, capfd):
    answer(monkeypatch, "55%\n40\n")
    assert quiz.main(["--question", "2", "--seed", "7"]) == 0
    said = capfd.readouterr()
    assert "you said 55%, it is 60.0% (+1)" in said.out
    assert "you said 40, it is 17 (+0)" in said.out
    assert quiz.QUESTIONS[1].why in said.out
    assert "score: 1 of 2" in said.out
    assert said.err == "a bar\n"
    assert "must not be seen" not in said.out
    words = json.loads((stub / "words").read_text())
    assert [words[n + 1] for n, word in enumerate(words) if word == "--set"] == [
        "selector.candidates=1", "seed=7"
    ]  # fmt: skip
    assert words[words.index("--config") + 1] == "small.json"
    assert not (stub / "read").read_text()  # the answers are the quiz's, not the run's
    assert words[words.index("--out") + 1] and not list(stub.glob("run"))


def test_all_questions_are_asked_in_turn_and_the_score_is_kept(monkeypatch, capsys):
    asked = []

    def told(question, seed):
        asked.append((question, seed))
        return question.accuracy, question.informative

    monkeypatch.setattr(quiz, "outcome", told)
    answer(monkeypatch, "".join(f"{q.accuracy}\n{q.informative}\n" for q in quiz.QUESTIONS))
    assert quiz.main([]) == 0
    assert asked == [(q, 0) for q in quiz.QUESTIONS]
    assert capsys.readouterr().out.rstrip().endswith("score: 26 of 26")


def test_the_run_gets_every_key_of_a_question_with_two(stub):
    quiz.outcome(quiz.QUESTIONS[4], 0)
    words = json.loads((stub / "words").read_text())
    assert {"selector.name=random_one", "update.lr=8e-4", "seed=0"} <= set(words)


# ---- what a reader may do


@pytest.mark.parametrize("nonsense", ["many", "", "nan", "inf", "-1", "100.1", "1e400", "0x10"])
def test_what_is_no_number_in_range_is_asked_again(nonsense, monkeypatch, capsys):
    answer(monkeypatch, f"{nonsense}\n42\n")
    assert quiz.ask("how many", 100) == 42
    assert capsys.readouterr().out.count("a number from 0 to 100, please") == 1


@pytest.mark.parametrize("ended", ["", "60\n", "60\nmany\n"])
def test_input_that_ends_is_one_line_and_exit_code_2(ended, monkeypatch, capsys):
    answer(monkeypatch, ended)
    assert quiz.main(["--question", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: standard input is closed: answer in a terminal, or --list"
    ]


@pytest.mark.parametrize("close", ["< /dev/null", "<&-", "< <(printf '\\xff\\xfe')"])
def test_a_shell_may_close_the_input_or_send_no_text(close):
    asked = ["bash", "-c", f"{sys.executable} {ROOT}/tools/quiz.py --question 1 {close}"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard input is closed")
    assert done.stderr.count("\n") == 1


def test_the_list_shows_every_question_and_no_answer(capsys):
    assert quiz.main(["--list"]) == 0
    out = capsys.readouterr().out
    for question in quiz.QUESTIONS:
        assert question.keys in out
        assert question.why not in out
    assert not re.search(r"9[89]\.[05]%|of 185", out)


@pytest.mark.parametrize("number", ["0", "13", "one", "-1"])
def test_a_question_that_is_not_there_is_refused(number, capsys):
    assert quiz.main(["--question", number]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_fails_ends_the_quiz_in_one_line(stub, monkeypatch, capsys):
    quiz.TRAIN.write_text("raise SystemExit(3)")
    answer(monkeypatch, "60\n17\n")
    assert quiz.main(["--question", "1"]) == 1
    assert capsys.readouterr().err == "error: train.py ended with exit code 3\n"


def test_ctrl_c_during_a_run_ends_both_in_one_line(tmp_path):
    stub, begun = tmp_path / "stub.py", tmp_path / "begun"
    stub.write_text(f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(600)")
    code = (  # a shell that starts the tests in the background has them ignore Ctrl-C
        "import pathlib, quiz, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"quiz.TRAIN = pathlib.Path({str(stub)!r}); exit(quiz.main([]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT / "tools", text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write("60\n17\n")
    process.stdin.flush()
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()  # returns once the run, which shares stderr, has ended too
    assert process.returncode == 130
    assert err == "interrupted; score: 0 of 0\n"
