"""reward.py: what is paid, by hand; what a user's file may do, and how its errors end."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import ROOT, train_small, write_carries
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_parallel import two_processes

import report
from data import Problem
from plumbing.command import UserError
from plumbing.config import Config, all_keys, build, read_config, selectors
from plumbing.record import read_steps
from policy import Policy
from reward import OVERLONG_SHARE, Response, Reward, overlong, well_formed
from rollout import Group

SUM = Problem("1+1=", "2", fields={"unit": "apples"})


def group(lengths, finished, limit=40):
    """A group of which only the lengths and the ends matter."""
    n = len(lengths)
    return Group(
        torch.zeros(n, 2 + limit, dtype=torch.long), 2, torch.tensor(lengths),
        torch.zeros(n, limit), torch.tensor(finished),
    )  # fmt: skip


def said(length, limit=40, text="#2", finished=True, solved=1.0):
    return Response(text, solved, length, finished, limit)


def paid(named, text="#2", problem=SUM, solved=1.0):
    """The reward of one response of 40 tokens at most, which ended by itself after three."""
    return Reward(named, 40)(problem, [text], [solved], group([3], [True]))[0]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a user's file into the current folder; return the name that a reward has there."""
    monkeypatch.chdir(tmp_path)

    def write(source, name="score"):
        (tmp_path / "mine.py").write_bytes(source if isinstance(source, bytes) else source.encode())
        return f"mine.py:{name}"

    return write


# ---- the ready ones


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [
        (1, 40, 0), (32, 40, 0), (33, 40, -1 / 8), (36, 40, -1 / 2), (40, 40, -1),
        # DAPO's own numbers: no punishment up to 16,384 tokens, and 4,096 in which it grows
        (16_384, 20_480, 0), (17_408, 20_480, -1 / 4), (18_432, 20_480, -1 / 2),
        (20_480, 20_480, -1),
    ],
)  # fmt: skip
def test_the_soft_punishment_of_length_by_hand(length, limit, expected):
    assert overlong(said(length, limit), SUM) == pytest.approx(expected, abs=1e-12)


@given(limit=st.integers(1, 100_000), data=st.data())
def test_the_punishment_never_shrinks_with_length_and_ends_at_minus_one(limit, data):
    shorter, longer = sorted(data.draw(st.lists(st.integers(1, limit), min_size=2, max_size=2)))
    costs = [overlong(said(length, limit), SUM) for length in (shorter, longer, limit)]
    assert 0 >= costs[0] >= costs[1] >= costs[2] == -1
    cache = max(1, round(OVERLONG_SHARE * limit))
    assert (costs[0] == 0) == (shorter <= limit - cache)  # 0 and not -1e-16, which would be unequal


@pytest.mark.parametrize(
    ("text", "finished", "expected"),
    [
        ("8+5=13#13", True, 1), ("8+5=13#13", False, 0), ("8+5=13", True, 0), ("", True, 0),
        (r"so \boxed{7}", True, 1), ("The answer is 7.", True, 1), ("<think>\\boxed{7}", True, 0),
    ],
)  # fmt: skip
def test_the_format_is_an_answer_that_can_be_found_and_an_end(text, finished, expected):
    """Whether it is right does not matter: the gold is 2."""
    assert well_formed(said(3, text=text, finished=finished), SUM) == expected


def test_several_rewards_add_up_with_their_weights():
    """1 * verdict + 0.5 * format + 2 * punishment, for four responses."""
    reward = Reward({"verifier": 1.0, "format": 0.5, "overlong": 2.0}, limit=40)
    texts, solved = ["1+1=2#2", "1+1=3#3", "no answer", "1+1=2#2"], [1.0, 0.0, 0.0, 1.0]
    found = reward(SUM, texts, solved, group([32, 36, 33, 40], [True, True, True, False]))
    assert found == pytest.approx([1 + 0.5, 0.5 - 1, -0.25, 1 - 2])


def test_the_default_is_the_verdict_and_nothing_else():
    solved = [1.0, 0.0, 1.0]
    found = Reward("verifier", 40)(SUM, ["#2", "#3", "#2"], solved, group([3, 3, 40], [True] * 3))
    assert found == solved and all(type(r) is float for r in found)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("verifier", [1.0, 0.0, 0.0, 1.0]),
        ({"verifier": 0.0, "format": 1.0}, [1.0, 0.0, 0.0, 1.0]),  # asked, and paid nothing
        ("format", [1.0, 0.25, 0.0, 0.0]),
        ({"overlong": 1.0, "format": 2.0}, [1.0, 0.25, 0.0, 0.0]),
    ],
)
def test_a_verdict_is_the_verifiers_or_the_clipped_reward(named, expected):
    verdicts = Reward(named, 40).successes([1.0, 0.0, 0.0, 1.0], [3.0, 0.25, 0.0, -2.0])
    assert verdicts == expected


# ---- a file of the user's


def test_a_function_of_ones_own_gets_the_text_and_the_problem_with_all_fields(own):
    name = own(
        "def score(response, problem):\n"
        "    assert problem.text == '1+1=' and problem.answer == '2'\n"
        "    return response.count(problem.fields['unit']) / 2\n"
    )
    assert paid(name, "2 apples") == 0.5 and paid({name: -4.0, "verifier": 1.0}, "apples") == -1.0


@pytest.mark.parametrize(
    ("returned", "number"),
    [
        ("1", 1), ("True", 1), ("-0.5", -0.5), ("numpy.float32(0.5)", 0.5), ("numpy.int64(3)", 3),
        ("torch.tensor(0.25)", 0.25), ("1e9", 1e9), ("fractions.Fraction(1, 4)", 0.25),
    ],
)  # fmt: skip
def test_any_number_is_a_reward(own, returned, number):
    name = own(f"import fractions, numpy, torch\ndef score(a, b): return {returned}\n")
    assert paid(name) == number and type(paid(name)) is float


@pytest.mark.parametrize(
    "returned",
    ["None", "'0.5'", "float('nan')", "float('inf')", "10**400", "[1.0]", "1j", "1e10", "b'1'"],
)
def test_what_is_no_number_is_one_line(own, returned):
    name = own(f"\n\ndef score(a, b):\n    return {returned}\n")
    with pytest.raises(
        UserError, match=r"^mine\.py:3: score must return a number from -1e9 to 1e9, not "
    ) as error:
        paid(name)
    assert error.value.code == 2


BAD_FILES = {  # a file, and how the message goes on after its name
    "def score(a, b)\n    return 1\n": ":1: SyntaxError: expected ':'",
    "x = 1\n  y = 2\n": ":2: IndentationError: unexpected indent",
    "score = 3\n": ": holds no function 'score'",
    "def other(a, b): return 1\n": ": holds no function 'score'; define score in it",
    "import nowhere_at_all\n": ":1: ModuleNotFoundError: No module named 'nowhere_at_all'",
    "\nexit()\n": ":2: SystemExit",
    "\nimport sys; sys.exit(3)\n": ":2: SystemExit: 3",
    "def f():\n    return 1 / 0\n\nf()\n": ":2: ZeroDivisionError: division by zero",
    "eval('1 +')\n": ":1: SyntaxError: invalid syntax",
    "class Odd(Exception): pass\nraise Odd('two\\nlines')\n": ":2: Odd: two\nlines",
    "raise BaseException('anything')\n": ":1: BaseException: anything",
    b"x = '\xff'\n": ":1: SyntaxError: (unicode error)",
    b"x = 1\0\n": ":1: ",
}


@pytest.mark.parametrize("source", BAD_FILES, ids=repr)
def test_a_file_that_cannot_be_used_is_one_line(own, source):
    with pytest.raises(UserError) as error:
        Reward(own(source), 40)
    assert str(error.value).startswith(f"mine.py{BAD_FILES[source]}") and error.value.code == 2


BAD_CALLS = {  # what a function does, and how the message goes on after its name
    "return 1 / 0": ":4: ZeroDivisionError: division by zero",
    "return helper([])": ":2: IndexError: list index out of range",
    "return json.loads(a)": ":4: JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "return b.fields['colour']": ":4: KeyError: 'colour'",
    "raise SystemExit": ":4: SystemExit",
    "raise ValueError": ":4: ValueError",
    "return score(a, b)": ":4: RecursionError: maximum recursion depth exceeded",
    "raise MemoryError('no more')": ":4: MemoryError: no more",
    "raise Silent": ":4: Silent: <exception str() failed>",
    "assert b.answer == '3', 'the gold'": ":4: AssertionError: the gold",
}


@pytest.mark.parametrize("body", BAD_CALLS, ids=repr)
def test_an_error_in_a_function_is_one_line_with_file_and_line(own, body):
    name = own(
        f"import json\ndef helper(x): return x[0]\ndef score(a, b):\n    {body}\n"
        "class Silent(Exception):\n    def __str__(self): raise ValueError\n"
    )
    with pytest.raises(UserError) as error:
        paid(name)
    assert str(error.value).startswith(f"mine.py{BAD_CALLS[body]}") and error.value.code == 2


@pytest.mark.parametrize("arguments", ["", "a", "a, b, c", "*, a, b"])
def test_a_function_of_other_arguments_is_named_where_it_is_defined(own, arguments):
    name = own(f"\ndef score({arguments}): return 1\n")
    with pytest.raises(UserError, match=r"^mine\.py:2: TypeError: score\(\) (takes|missing)"):
        paid(name)


def test_ctrl_c_in_a_function_is_passed_on(own):
    with pytest.raises(KeyboardInterrupt):
        Reward(own("raise KeyboardInterrupt\n"), 40)
    with pytest.raises(KeyboardInterrupt):
        paid(own("def score(a, b): raise KeyboardInterrupt\n"))


def test_a_file_is_run_once_and_may_hold_what_modules_hold(own):
    source = """
from __future__ import annotations
import dataclasses
calls = []
@dataclasses.dataclass
class Rule:
    word: str
    worth: float = 1.0
def first(response, problem):
    calls.append(response)
    return Rule("a").worth
def second(response, problem):
    return len(calls)
"""
    reward = Reward({own(source, "first"): 1.0, "mine.py:second": 10.0}, 40)
    assert reward(SUM, ["x", "y"], [0.0, 0.0], group([3, 3], [True, True])) == [11.0, 21.0]
    assert list(reward.files) == ["mine.py"]


def test_a_changed_file_is_read_anew_and_nothing_is_written_beside_it(own, tmp_path):
    """An import would take the compiled file of the same second and size."""
    first, second = (Reward(own(f"def score(a, b): return {n}\n"), 40) for n in (1, 2))
    assert [r(SUM, ["x"], [0.0], group([3], [True])) for r in (first, second)] == [[1.0], [2.0]]
    assert first.fingerprints([SUM]) != second.fingerprints([SUM])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_decorated_function_is_one_too(own):
    name = own("import functools\n@functools.cache\ndef score(a, b): return len(a)\n")
    assert paid(name, "abc") == 3
    with pytest.raises(UserError, match=r"^mine\.py:2: score must return"):
        paid(own("import functools\n@functools.cache\ndef score(a, b): return None\n"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def score(a, b): return 1\nscore.__wrapped__ = score", "ValueError: wrapper loop"),
        ("class S:\n def __getattr__(s, n): return S()\n def __call__(s, a, b): return 1\n"
         "score = S()", "ValueError: wrapper loop"),
        ("class S:\n __wrapped__ = property(lambda s: 1 / 0)\n def __call__(s, a, b): return 1\n"
         "score = S()", "ZeroDivisionError"),
    ],
    ids=["itself", "everything", "failing"],
)  # fmt: skip
def test_an_object_that_wraps_without_end_is_one_line(own, body, said):
    """Asking where a function is defined runs code of the user's as well."""
    with pytest.raises(UserError, match=rf"^mine\.py:\d: {said}"):
        paid(own(body))


@pytest.mark.parametrize("source", ["class S:\n __code__ = 3\n", "class S:\n"])
def test_an_object_that_can_be_called_is_a_reward(own, source):
    assert paid(own(source + " def __call__(s, a, b): return 2\nscore = S()")) == 2


# ---- what a file of the user's imports


def test_a_file_may_import_what_lies_beside_it(tmp_path, in_the_project):
    folder = tmp_path / "rewards"
    folder.mkdir()
    (folder / "beside_it.py").write_text("def worth(text): return len(text)\n")
    (folder / "mine.py").write_text(
        "def score(a, b):\n    from beside_it import worth\n    return worth(a)\n"
    )
    assert paid(f"{folder}/mine.py:score", "abc") == 3
    # and it takes the place of nothing that is there already
    (folder / "verifier.py").write_text("1 / 0\n")
    (folder / "mine.py").write_text("from verifier import verify\ndef score(a, b): return 1\n")
    assert paid(f"{folder}/mine.py:score") == 1


def test_a_syntax_error_in_what_is_imported_names_that_file_too(own, tmp_path):
    name = own("\nimport broken_one\ndef score(a, b): return 1\n")
    (tmp_path / "broken_one.py").write_text("\n\nx = = 1\n")
    with pytest.raises(UserError) as error:
        Reward(name, 40)
    assert str(error.value) == "mine.py:2: SyntaxError: invalid syntax (broken_one.py, line 3)"


def test_what_a_file_defines_can_be_pickled_as_workers_need_it(own):
    name = own(
        "import copy, pickle\nclass Rule: worth = 2\ndef helper(x): return x\n"
        "def score(a, b):\n    rule = pickle.loads(pickle.dumps(Rule()))\n"
        "    return pickle.loads(pickle.dumps(helper))(rule.worth)\n"
    )
    assert paid(name) == 2


# ---- the key


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("reward=my_reward.py:score", "my_reward.py:score"),
        ('reward={"verifier": 1, "overlong": 0.5}', {"verifier": 1.0, "overlong": 0.5}),
        ("reward=verifier", "verifier"),
        ("steps=3", "verifier"),
    ],
)
def test_the_key_is_a_text_or_an_object_of_weights(monkeypatch, setting, value):
    monkeypatch.chdir(ROOT)
    found = read_config("small.json", [setting]).reward
    assert found == value
    assert isinstance(found, str) or all(type(weight) is float for weight in found.values())


def test_help_explains_the_key():
    found = {path: (default, text) for path, default, text in all_keys()}
    default, text = found["reward"]
    assert default == "verifier" and "FILE.py:NAME" in text and "overlong" in text
    assert "DAPO" in found["update.mask_truncated"][1]


BAD_VALUES = [
    (3, "must be a text, or an object of names and their weights, not 3"),
    (True, "must be a text, or an object"), (None, "must be a text, or an object"),
    (["verifier"], "must be a text, or an object"), ({}, "must name at least one reward"),
    ({"verifier": "1"}, "the weight of 'verifier' must be a number"),
    ({"verifier": True}, "the weight of 'verifier' must be a number"),
    ({"verifier": float("nan")}, "must hold finite numbers"),
    ({"verifier": 10**400}, "the weight of 'verifier' must be a number"),
    ({"verifier": 1, "format": {"x": 1}}, "the weight of 'format' must be a number"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "message"), BAD_VALUES)
def test_another_value_of_the_key_is_refused(value, message):
    with pytest.raises(UserError) as error:
        build(Config, {"reward": value})
    assert str(error.value).startswith(f"reward: {message}")


NAMES = ["verfier", "", "my_reward.py", ":score", "my_reward:score", "my_reward.py:", "Verifier"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_says_which_there_are(name):
    for named in (name, {"verifier": 1.0, name: 1.0}):
        with pytest.raises(UserError) as error:
            Reward(named, 40)
        assert str(error.value) == (
            f"reward: {name!r} is no reward; give verifier, format, overlong or FILE.py:NAME"
        )


# ---- in training

QUICK = ["steps=8", "eval_every=1000", "checkpoint_every=4", "data.heldout_size=4"]
QUICK += ["rollout.group_size=4", "rollout.max_new_tokens=24", "data.pool_size=0"]
LOOK = 8 * 4  # responses of the first look at a file of one's own, before the run
# three digits or fewer are worth something, and what is long costs: from about -0.9 to 0.75
GRADED = """
def score(response, problem):
    digits = response.rpartition("#")[2]
    return len(set(digits) & set(problem.answer)) / 4 - len(response) / 40 + problem.fields["more"]
"""


def error_line(capsys):
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ") and "Traceback" not in last
    return last


@pytest.fixture
def job(tmp_path, in_the_project):
    """The keys of a short run, over a pool with a field and with a graded reward."""
    pool, file = write_carries(tmp_path / "pool.jsonl"), tmp_path / "mine.py"
    lines = [json.loads(line) for line in pool.read_text().splitlines()]
    pool.write_text("".join(json.dumps({**line, "more": 0.1}) + "\n" for line in lines))
    file.write_text(GRADED)
    mine = [f"data.pool={pool}", f"data.heldout={pool}".replace("pool.jsonl", "test.jsonl")]
    (tmp_path / "test.jsonl").write_text('{"problem": "7+8=", "answer": "15", "more": 0.5}\n')
    return [*QUICK, *mine, f"reward={file}:score"]


def test_a_graded_reward_is_learned_from_and_its_verdicts_are_shares(tmp_path, job, capsys):
    assert train_small(tmp_path / "run", job) == 0
    steps = read_steps(tmp_path / "run")
    rewards = np.array([step["rewards"] for step in steps])
    solved = np.array([step["solved"] for step in steps])
    assert rewards.min() < 0 and ((solved > 0) & (solved < 1)).any()
    assert (solved == rewards.clip(0, 1)).all()
    assert 0 < steps[-1]["accuracy"] < 1 and steps[-1]["updates"] >= 6
    responses = (tmp_path / "run/responses.jsonl").read_text().splitlines()
    for line in map(json.loads, responses):
        digits = set(line["text"].rpartition("#")[2])
        hand = len(digits & set(line["gold"])) / 4 - len(line["text"]) / 40 + 0.1
        assert line["reward"] == pytest.approx(hand) and "answer" in line
    shown = capsys.readouterr()
    assert "reward " in shown.out and "right" in shown.err
    examples = json.loads((tmp_path / "run/summary.json").read_text())["examples"]
    assert examples["paid"]["reward"] > 0 >= examples["not paid"]["reward"]


@pytest.mark.parametrize("arm", selectors.SELECTORS)
def test_every_selector_reads_shares(tmp_path, job, arm):
    steps = 1 if arm == "full_batch" else 4
    sets = [*job, f"selector.name={arm}", f"steps={steps}"]
    assert train_small(tmp_path / "run", sets) == 0
    for step in read_steps(tmp_path / "run"):
        assert np.isfinite(step["scores"]).all() and math.isfinite(step["loss"])


def test_beside_the_verifier_the_verdicts_stay_its_own(tmp_path, job):
    named = json.dumps({"verifier": 1, job[-1].removeprefix("reward="): 0.5})
    assert train_small(tmp_path / "run", [*job, f"reward={named}"]) == 0
    for line in (tmp_path / "run/responses.jsonl").read_text().splitlines():
        line = json.loads(line)
        assert line["solved"] == float(line["answer"] == line["gold"])
        digits = set(line["text"].rpartition("#")[2])
        half = (len(digits & set(line["gold"])) / 4 - len(line["text"]) / 40 + 0.1) / 2
        assert line["reward"] == pytest.approx(line["solved"] + half)
    assert read_steps(tmp_path / "run")[-1]["accuracy"] in (0, 1)


def test_an_example_that_was_paid_is_one_whose_reward_is_above_0(tmp_path, job):
    """Also where verdict and reward are two things: here the verifier is asked and pays nothing."""
    (tmp_path / "mine.py").write_text("def score(a, b): return -1.5 * (a[-1] in '02468') + 1\n")
    named = json.dumps({"verifier": 0, job[-1].removeprefix("reward="): 1})
    assert train_small(tmp_path / "run", [*job, f"reward={named}"]) == 0
    lines = map(json.loads, (tmp_path / "run/responses.jsonl").read_text().splitlines())
    latest = {line["reward"] > 0: line["reward"] for line in lines}
    examples = json.loads((tmp_path / "run/summary.json").read_text())["examples"]
    found = {name == "paid": example["reward"] for name, example in examples.items()}
    assert found == latest == {True: 1.0, False: -0.5}


def test_equal_rewards_that_are_not_0_or_1_teach_nothing(tmp_path, job):
    (tmp_path / "mine.py").write_text("def score(a, b): return 0.1\n")
    assert train_small(tmp_path / "run", [*job, "update.kl_coef=0"]) == 0
    steps = read_steps(tmp_path / "run")
    assert steps[-1]["updates"] == steps[-1]["informative_groups"] == 0
    assert steps[-1]["accuracy"] == pytest.approx(0.1)


@pytest.mark.parametrize("masked", [False, True])
def test_what_was_cut_off_may_be_left_out_of_the_loss(tmp_path, job, masked):
    """All of it was; the group was informative all the same, and its rollouts were paid for."""
    (tmp_path / "mine.py").write_text("def score(a, b): return sum(map(ord, a)) % 7 / 7\n")
    sets = [*job, "rollout.max_new_tokens=12"]  # up to the carry that is forgotten or not
    sets += [f"update.mask_truncated={str(masked).lower()}"]
    assert train_small(tmp_path / "run", sets) == 0
    *_, last = steps = read_steps(tmp_path / "run")
    assert all(step["cut_off"] == 1 for step in steps)
    assert last["rollouts"] == 32 and last["informative_groups"] > 0
    assert (last["updates"] == 0) == masked
    one, other = (
        load_file(file / "model.safetensors") for file in (ROOT / "base", tmp_path / "run/model")
    )
    assert all(torch.equal(one[name], other[name]) for name in one) == masked


def test_a_run_is_gone_on_with_exactly(tmp_path, job):
    assert train_small(tmp_path / "whole", job) == 0
    assert train_small(tmp_path / "parts", [*job, "steps=4", "update.decay=false"]) == 0
    assert train_small(tmp_path / "other", [*job, "update.decay=false"]) == 0
    assert train_small(tmp_path / "parts", [*job, "update.decay=false"], ["--resume"]) == 0
    one, other = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("parts", "other")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    said = [(tmp_path / name / "responses.jsonl").read_bytes() for name in ("parts", "other")]
    assert said[0] == said[1]


@pytest.mark.parametrize("changed", ["file", "fields", "weight", "name"])
def test_another_reward_is_named_and_refused_on_resume(tmp_path, job, capsys, changed):
    sets = [*job, "steps=4"]
    assert train_small(tmp_path / "run", sets) == 0
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    if changed == "file":
        (tmp_path / "mine.py").write_text(GRADED + "\n")
        message = f"the reward's {tmp_path}/mine.py changed since the run began"
    elif changed == "fields":
        pool = tmp_path / "pool.jsonl"
        pool.write_text(pool.read_text().replace('"more": 0.1', '"more": 0.2', 1))
        message = "the problems' further fields changed since the run began"
    else:
        other = {"weight": {sets[-2].removeprefix("reward="): 2}, "name": "format"}[changed]
        sets += [f"reward={json.dumps(other)}"]
        message = "has other values: reward "
    assert train_small(tmp_path / "run", [*sets, "steps=8"], ["--resume"]) == 2
    assert message in error_line(capsys)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


def test_further_fields_do_not_matter_where_nobody_reads_them(tmp_path, job):
    sets = [*job, "reward=verifier", "steps=4"]
    assert train_small(tmp_path / "run", sets) == 0
    pool = tmp_path / "pool.jsonl"
    pool.write_text(pool.read_text().replace('"more": 0.1', '"more": 0.2'))
    assert train_small(tmp_path / "run", [*sets, "steps=8"], ["--resume"]) == 0


LATER = f"""
calls = -{LOOK}
def score(response, problem):
    global calls
    calls += 1
    return 1 / (calls < 30) * len(response) / 100
"""


def test_an_error_in_the_middle_of_a_run_keeps_its_checkpoint(tmp_path, job, capsys):
    (tmp_path / "mine.py").write_text(LATER)
    assert train_small(tmp_path / "run", job) == 2
    assert error_line(capsys) == (
        f"error: {tmp_path}/mine.py:6: ZeroDivisionError: division by zero"
    )
    state = json.loads((tmp_path / "run/checkpoint/state.json").read_text())
    assert state["step"] == 4 and not (tmp_path / "run/model").exists()
    assert train_small(tmp_path / "run", job, ["--resume"]) == 0  # and takes no other look


@pytest.mark.parametrize("source", ["def score(a, b)\n", "exit()\n", "x = 1\n", None])
def test_a_bad_file_leaves_nothing_behind(tmp_path, job, capsys, source):
    file = tmp_path / "mine.py"
    file.unlink() if source is None else file.write_text(source)
    assert train_small(tmp_path / "run", job) == 2
    assert str(file) in error_line(capsys) and not (tmp_path / "run").exists()


def test_a_hook_of_a_subclass_gets_the_verifiers_verdicts(in_the_project):
    class Mine(Policy):
        def rewards(self, problem, texts, solved, group):
            assert solved == [1.0, 0.0]
            return [5.0, 0.5]

    rows, texts = group([3, 3], [True, True]), ["1+1=2#2", "1+1=3#3"]
    for named, verdicts in (("format", [1.0, 0.5]), ("verifier", [1.0, 0.0])):
        policy = Mine(build(Config, {"reward": named}))
        assert policy.judge(SUM, texts, rows) == (verdicts, [5.0, 0.5])


# ---- two processes

# another number in each process and at each call; and what it was asked is counted
MOOD = """
import os, random
draw = random.Random(os.getpid())
def score(response, problem):
    with open({file!r} + os.environ.get("RANK", ""), "a") as out:
        out.write("x")
    return draw.random()
"""
# only one of the two processes answers this problem in an evaluation
PICKY = """
def score(response, problem):
    return 1 / (problem.text != "7+8=")
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Three runs by two processes, one after the other."""
    folder = tmp_path_factory.mktemp("shared")
    pool = write_carries(folder / "pool.jsonl")
    test = folder / "test.jsonl"
    test.write_text("".join(f'{{"problem": "{a}+8=", "answer": "{a + 8}"}}\n' for a in (7, 3)))
    (folder / "moody.py").write_text(MOOD.format(file=str(folder / "asked")))
    (folder / "picky.py").write_text(PICKY)
    (folder / "later.py").write_text(LATER.replace("30", "19"))

    def words(name, *sets):
        sets = [*QUICK, f"data.pool={pool}", f"data.heldout={test}", "data.heldout_size=0", *sets]
        return ["--config", "small.json", "--out", str(folder / name),
                *(word for each in sets for word in ("--set", each))]  # fmt: skip

    return folder, two_processes([
        words(name, f"reward={folder}/{name}.py:score") for name in ("moody", "picky", "later")
    ])  # fmt: skip


def test_two_processes_agree_on_a_reward_that_is_another_at_each_call(shared):
    folder, ended = shared
    assert all("[0, 2, 2]" in errors for _, errors in ended), ended
    steps = read_steps(folder / "moody")
    assert len(steps) == 8 and steps[-1]["updates"] == 8
    first, second = ((folder / f"asked{rank}").stat().st_size for rank in range(2))
    # a first look, 8 groups of 4, two evaluations, of which each process answers one problem
    assert (first, second) == (LOOK + 8 * 4 + 2, 2)


def test_two_processes_both_end_where_one_fails(shared):
    """Before the first step one evaluates what the other does not; later the first alone asks."""
    folder, ended = shared
    for _, errors in ended:
        assert "picky.py:3: ZeroDivisionError: division by zero" in errors
        assert "later.py:6: ZeroDivisionError: division by zero" in errors
        assert "Traceback" not in errors
    assert (folder / "later/checkpoint").exists()


# ---- the report


def test_an_example_shows_a_reward_that_is_not_0_or_1():
    example = {"problem": "1+1=", "text": "#2", "answer": "2"}
    shown = [
        report.summary_lines({
            "accuracy_before": 0.1, "accuracy_after": 0.3, "accuracy_by_kind_before": {},
            "accuracy_by_kind_after": {}, "rollouts": 8, "group_size": 8, "tokens": 8, "steps": 1,
            "informative_groups": 1, "examples": {"paid": {**example, **more}},
            "seconds": dict.fromkeys(("rollout", "update", "evaluate", "total"), 1),
        })[-1]
        for more in ({"reward": 0.35}, {"reward": -2.0}, {"reward": 1.0}, {})
    ]  # fmt: skip
    line = "paid               '1+1=': '#2', answer '2'"
    assert shown == [f"{line}, reward 0.35", f"{line}, reward -2", line, line]
