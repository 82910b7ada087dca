"""exercises/: solutions are accepted, wrong answers refused with a reason, and the pages hold."""

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from conftest import ROOT, train_small, write_carries
from safetensors.torch import load_file
from wrong_answers import WRONG

from plumbing.config import selectors
from plumbing.record import read_steps

EXERCISES = ROOT / "exercises"
SOLUTIONS = EXERCISES / "solutions"
sys.path.append(str(EXERCISES))  # as pytest does when it runs a grader

import train_with  # noqa: E402
from stubs import STUBS, answer_of, read_answer  # noqa: E402

NUMBERS = sorted(STUBS)


def grader(number):
    """The module of an exercise's checks."""
    (path,) = (EXERCISES / str(number)).glob("test_*.py")
    spec = spec_from_file_location(f"grader_{number}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def complaints(number, answer, base, monkeypatch):
    """What each check of a grader says of an answer, "" where it is content or has to wait.

    The runs of exercise 6 are left out: they take ten seconds each.
    """
    module, said = grader(number), []
    monkeypatch.chdir(ROOT)
    for name, check in vars(module).items():
        if not name.startswith("test_") or "default_job" in name:
            continue
        wanted = inspect.signature(check).parameters
        try:
            check(**{n: {"answer": answer, "base": base}[n] for n in wanted})
        except NotImplementedError:
            said.append("")
        except pytest.fail.Exception as error:
            said.append(error.msg)
        else:
            said.append("")
    return said


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_is_accepted(number, base, monkeypatch):
    answer = read_answer(SOLUTIONS / STUBS[number].name)
    assert set(complaints(number, answer, base, monkeypatch)) == {""}
    assert "NotImplementedError" not in (SOLUTIONS / STUBS[number].name).read_text()


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_is_refused_with_its_reason(what, base, tmp_path, monkeypatch):
    number, right, instead, message = WRONG[what]
    source = (SOLUTIONS / STUBS[number].name).read_text()
    assert right in source
    path = tmp_path / STUBS[number].name
    path.write_text(source.replace(right, instead))
    said = complaints(number, read_answer(path), base, monkeypatch)
    assert any(message in each for each in said), said


@pytest.mark.parametrize(
    "rule",
    [
        "np.sqrt(v) + 0.1 / (1 + n)",
        "v + 0.1 * np.sqrt(np.log(1 + self.t) / (1 + n))",
        "v / (1 + n)",
    ],
)
def test_a_rule_that_only_resembles_exercise_5_is_accepted(rule, base, tmp_path, monkeypatch):
    source = (SOLUTIONS / "selector.py").read_text()
    mine = f"v, n = self.variance[candidates], self.visits[candidates]\n        return {rule}"
    path = tmp_path / "selector.py"
    path.write_text(source.replace("return self.hope[candidates]", mine))
    assert not any(complaints(6, read_answer(path), base, monkeypatch))


@pytest.mark.parametrize("response", grader(7).UNDONE)
def test_what_the_red_team_says_is_paid_by_the_careless_rule(response):
    """Else a rule that refuses it would have proved nothing."""
    careless = read_answer(answer_of(7, SOLUTIONS)).careless  # as it is given in the stub
    assert careless(response, grader(7).SUM)


def test_each_exercise_has_wrong_answers():
    assert {number for number, *_ in WRONG.values()} == set(NUMBERS)


# ---- the default job of exercise 6, by the solution and by chance


def test_epsilon_greedy_beats_random_problems_on_the_default_job(tmp_path, monkeypatch):
    answer = read_answer(answer_of(6, SOLUTIONS))
    said = grader(6).check_the_default_job(answer, answer.EpsilonGreedy, tmp_path, monkeypatch)
    assert re.match(r"EpsilonGreedy: \d+ of 185 groups are informative and accuracy ends at ", said)
    assert "`random_one` has 10 to 21 groups and usually ends at 60% or less" in said


def test_random_problems_do_not(tmp_path, monkeypatch):
    class Chance(selectors.OneShotSelector):
        def scores(self, candidates):
            return np.zeros(len(candidates))

    answer = read_answer(answer_of(6, SOLUTIONS))
    with pytest.raises(pytest.fail.Exception, match="of 185 groups are informative"):
        grader(6).check_the_default_job(answer, Chance, tmp_path, monkeypatch)


# ---- pytest, as a student types it


UNCUT_SUMMARY = ("CI", "BUILD_NUMBER")  # where one is set, pytest prints each failure twice, whole


def pytest_says(*words):
    asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    student = {name: value for name, value in os.environ.items() if name not in UNCUT_SUMMARY}
    ran = subprocess.run(asked, cwd=ROOT, env=student, capture_output=True, text=True)
    return ran.returncode, ran.stdout


def is_open(number):
    """Whether nobody has worked on an exercise: here someone may have, in place."""
    tree = ast.parse(STUBS[number].read_text())
    raised = [n for n in ast.walk(tree) if isinstance(n, ast.Raise)]
    return len(raised) == STUB_COUNTS[number]


STUB_COUNTS = {1: 1, 2: 2, 3: 1, 4: 2, 5: 3, 6: 2, 7: 4, 8: 3}


def test_a_stub_that_is_not_filled_in_is_not_solved_yet_and_no_failure():
    numbers = [number for number in NUMBERS if is_open(number)]
    if not numbers:
        pytest.skip("every exercise has been worked on")
    code, out = pytest_says(*(f"exercises/{number}" for number in numbers))
    assert code == 0, out
    for number in numbers:
        assert f"exercise {number} ({STUBS[number].name}): not solved yet\n" in out


def test_the_message_is_printed_and_the_exercises_are_counted(tmp_path):
    """Advantages with n - 1 are refused in words, and a file that is no Python too."""
    source = (SOLUTIONS / "advantage.py").read_text()
    (tmp_path / "advantage.py").write_text(source.replace("correction=0", "correction=1"))
    (tmp_path / "weights.py").write_text("def token_weights(:\n")
    (tmp_path / "telling.py").write_text((SOLUTIONS / "telling.py").read_text())
    words = [f"exercises/{number}" for number in (1, 2, 3, 8)]
    code, out = pytest_says(*words, "--answers", str(tmp_path))
    assert code == 1
    assert "the paper divides by the one with G" in out
    assert re.search(r"exercise 1 \(advantage.py\): not right yet: 2 of 6 checks say above", out)
    assert "exercise 2 (surrogate.py): not solved yet" in out
    assert "weights.py:1: this is not Python yet" in out
    assert "exercise 8 (telling.py): solved" in out
    assert "Traceback" not in out


def test_a_crash_is_shown_as_the_line_it_comes_from_and_no_grader(tmp_path):
    """Whose source holds the answers; in a function, and where the file is read."""
    source = (SOLUTIONS / "memory.py").read_text()
    (tmp_path / "memory.py").write_text(source.replace("np.mean(rewards)", "rewards.mean()"))
    (tmp_path / "advantage.py").write_text("import nothing_of_this_name\n")
    code, out = pytest_says("exercises/1", "exercises/5", "--answers", str(tmp_path))
    assert code == 1
    assert re.search(r"memory.py:\d+: r, s2 = rewards.mean\(\), np.var\(rewards\)\n +Attr", out)
    assert re.search(r"advantage.py:1: import nothing_of_this_name\n +ModuleNotFoundError", out)
    assert "mistakes" not in out and "right = " not in out and "another exception" not in out
    assert out.count("Attr") > 1 and out.count("rewards.mean()") == 1
    assert re.search(r"memory.py:\d+: the same AttributeError as above\n", out)


def test_an_exercise_is_not_solved_by_a_part_of_its_checks():
    words = ("exercises/5", "--answers", "exercises/solutions")
    assert "exercise 5 (memory.py): solved\n" in pytest_says(*words)[1]
    out = pytest_says(*words, "-k", "not bonus")[1]
    assert "exercise 5 (memory.py): right so far: 3 checks were left out\n" in out
    one = "exercises/5/test_memory.py::test_one_group_of_a_new_problem"
    out = pytest_says(one, *words[1:])[1]
    assert "exercise 5 (memory.py): right so far: 7 checks were left out\n" in out


# ---- in the real trainer


def swap(places, monkeypatch):
    for where, name, what in places:
        put = monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr
        put(where, name, what)


def test_the_solutions_train_as_the_trainer_does(tmp_path, in_the_project, monkeypatch):
    """With a clip that acts, a KL penalty, responses weighed, and advantages divided."""
    sets = (
        f"data.pool={write_carries(tmp_path / 'carries.jsonl')}", "data.pool_size=0",
        "data.heldout_size=2", "steps=6", "selector.name=dopr", "selector.tour=false",
        "update.updates_per_group=2", "update.clip_low=0.001", "update.clip_high=0.001",
        "update.aggregate=sequence", "update.advantage=std", "update.kl_coef=0.1",
    )  # fmt: skip
    assert train_small(tmp_path / "theirs", sets) == 0
    theirs = load_file(tmp_path / "theirs/model/model.safetensors")
    start = load_file(ROOT / "base/model.safetensors")
    assert any((theirs[name] - start[name]).abs().max() > 1e-4 for name in theirs)
    for number in (1, 2, 3, 4, 5):
        with monkeypatch.context() as within:
            mine = read_answer(answer_of(number, SOLUTIONS))
            used = count_calls(mine, within)
            swap(train_with.READY[number](mine), within)
            assert train_small(tmp_path / str(number), sets) == 0
            assert used, number
        yours = load_file(tmp_path / f"{number}/model/model.safetensors")
        for name in theirs:
            assert (yours[name] - theirs[name]).abs().max() < 1e-6, (number, name)


def count_calls(module, monkeypatch):
    """Wrap a solution's functions, so that it is seen whether the trainer asks them."""
    used = []

    def watched(function):
        def call(*args, **how):
            used.append(function.__name__)
            return function(*args, **how)

        return call

    for name, value in list(vars(module).items()):
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            monkeypatch.setattr(module, name, watched(value))
    return used


def test_an_arm_of_ones_own_is_named_by_a_key():
    """In a process of its own: the configuration looks up the names once, when it is imported."""
    words = ["exercises/train_with.py", "6", "--answers", "exercises/solutions"]
    words += ["--config", "small.json", "--set", "selector.name=mine"]
    ran = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "'epsilon_greedy' or 'my_own'" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.parametrize("kind", ["EpsilonGreedy", "MyOwn"])
def test_a_run_with_an_arm_of_ones_own_goes_on_after_resume(
    kind, tmp_path, in_the_project, monkeypatch
):
    answer = read_answer(answer_of(6, SOLUTIONS))
    answer.EPSILON = 0.5
    monkeypatch.setitem(selectors.SELECTORS, "dopr", getattr(answer, kind))
    sets = ("selector.name=dopr", "data.heldout_size=2")
    for out, steps, *resume in (("whole", 6), ("parts", 3), ("parts", 6, "--resume")):
        assert train_small(tmp_path / out, (*sets, f"steps={steps}"), resume) == 0
    chosen = [[step["chosen"] for step in read_steps(tmp_path / out)] for out in ("whole", "parts")]
    assert len(chosen[0]) == 6 and chosen[0] == chosen[1]


@pytest.mark.parametrize("words, message", [
    (["1", "--answers", "nowhere"], "nowhere/advantage.py: there is no such file"),
    (["7"], "invalid choice"),
])  # fmt: skip
def test_bad_words_end_in_one_line(words, message, capsys):
    assert train_with.main(words) == 2
    assert message in capsys.readouterr().err


def test_the_help_says_what_is_handed_on(capsys):
    with pytest.raises(SystemExit):
        train_with.main(["--help"])
    out = capsys.readouterr().out
    assert "all other options are handed on to train.py" in out
    assert all(option in out for option in ("--config", "--set", "--out", "--resume"))


def test_the_judge_reads_what_evaluate_wrote(tmp_path, capsys):
    import judge

    file = tmp_path / "right.jsonl"
    file.write_text(
        '{"model": "base"}\n' + '{"right": [true]}\n' * 20 + '{"right": [false]}\n' * 20
    )
    assert judge.main([str(file), "--answers", str(SOLUTIONS)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("20 of 40 right; the bound is 10.3 rollouts\n")
    # ln(.8/.45) = 0.58 per success: the sixth reaches ln(19) = 2.94, and it begins anew
    assert out.count("unlocked  after 6 rollouts\n") == 3
    # two successes are left over, and a failure takes away ln(.55/.2) = 1.01: the fifth decides
    assert "locked    after 7 rollouts\n" in out
    file.write_text('{"model": "base"}\n')
    assert judge.main([str(file)]) == 2


# ---- the pages and the stubs


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_is_short_and_has_its_five_parts(number):
    text = (EXERCISES / str(number) / "README.md").read_text()
    assert len(text.split()) <= 670
    parts = ("**The question.**", "## Predict first", "## The stub", "<details><summary>",
             "## What to look at afterwards")  # fmt: skip
    found = [text.find(part) for part in parts]
    assert -1 not in found and found == sorted(found)
    assert f"\npytest exercises/{number}\n" in text and STUBS[number].name in text


@pytest.mark.parametrize("number", NUMBERS)
def test_answers_are_folded_so_that_they_are_not_read_before_predicting(number):
    text = (EXERCISES / str(number) / "README.md").read_text()
    fold = "\n<details><summary>Answers, when you have solved it</summary>\n\n"
    after = text.index("## What to look at afterwards")
    assert text.count(fold) == 1 and text.index(fold) > after
    assert "\n\n</details>\n" in text[after:]
    unfolded = re.sub(r"^<details>.*?^</details>", "", text, flags=re.M | re.S)
    assert not re.search(r"\([1-4]\) ", unfolded)


def test_the_page_counts_the_wrong_answers_rightly():
    text = " ".join((EXERCISES / "README.md").read_text().split())
    assert f"grade them, and {len(WRONG)} wrong answers" in text


@pytest.mark.parametrize("number", NUMBERS)
def test_a_stub_takes_fifteen_lines_at_most_and_the_solution_has_its_names(number):
    def functions(path):
        found = {}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                found[node.name] = (
                    [a.arg for a in node.args.args], node.end_lineno - first.lineno + 1
                )  # fmt: skip
        return found

    stub, solution = functions(STUBS[number]), functions(SOLUTIONS / STUBS[number].name)
    for name, (arguments, lines) in solution.items():
        assert lines <= 15, name
        if name in stub:
            assert stub[name][0] == arguments, name
    missing = set(stub) - set(solution)
    assert missing <= {"sample_slowly"}, missing
