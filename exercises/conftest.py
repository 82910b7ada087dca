"""How `pytest exercises/N` grades: whose file is read, and one line per exercise at the end."""

import re
import traceback
from collections.abc import Generator, Iterable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
import torch
from grading import refuse
from stubs import STUBS, answer_of, read_answer

NOT_YET = "not solved yet"
CRASHES: list[str] = []  # what was said of each crash so far: the same is not said at length twice


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--answers", type=Path, metavar="FOLDER",
        help="grade the files in this folder, named as the stubs, in place of the stubs",
    )  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # as in training: more slow down a tiny model


@pytest.fixture(scope="module")
def answer(request: pytest.FixtureRequest) -> ModuleType:
    """The file that is graded, as a module."""
    path = answer_of(int(request.path.parent.name), request.config.getoption("--answers"))
    if not path.exists():
        pytest.skip(f"{NOT_YET}: there is no {path}")
    try:
        return read_answer(path)
    except SyntaxError as error:
        refuse(f"{path}:{error.lineno}: this is not Python yet: {error.msg}")
    except Exception as error:
        refuse_crash(error, path)


def refuse_crash(error: Exception, path: Path) -> NoReturn:
    """Say where a crash began, without a traceback: what lies between may hold the answers.

    That is a line of the file that is graded, or else what used the file's result.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [at for at in frames if Path(at.filename).resolve() == path.resolve()]
    crashed = f"{type(error).__name__}: {error}"
    place = f"{path}:{lines[-1].lineno}" if lines else str(path)
    began = lines[-1].line if lines else "what this returned cannot be used"
    message = f"{place}: {began}\n  {crashed}"
    if message in CRASHES:
        message = f"{place}: the same {type(error).__name__} as above"
    CRASHES.append(message)
    raise pytest.fail.Exception(message, pytrace=False) from None  # and not the crash above it


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A stub that still raises NotImplementedError is neither right nor wrong."""
    try:
        return (yield)
    except NotImplementedError:
        pytest.skip(NOT_YET)
    except Exception as error:
        if "answer" in pyfuncitem.funcargs:
            refuse_crash(error, Path(pyfuncitem.funcargs["answer"].__file__))
        raise


def left_out(number: int, ran: list[str], deselected: list[str]) -> int:
    """Count the checks of an exercise that were not asked for, by `-k` or by naming others."""
    (grader,) = STUBS[number].parent.glob("test_*.py")
    defined = set(re.findall(r"^def (test_\w+)", grader.read_text(), re.M))
    named = {re.search(r"::(\w+)", node)[1] for node in ran + deselected if "::" in node}
    return len(deselected) + len(defined - named)


def verdict(reports: Iterable[pytest.TestReport], missing: int) -> str:
    """Say in a few words how an exercise stands, of which so many checks were left out."""
    outcomes = [report.outcome for report in reports]
    failed, open_ = outcomes.count("failed"), outcomes.count("skipped")
    if failed:
        said = f"{failed} of {len(outcomes)} checks say above what is wrong"
        return f"not right yet: {said}{'; mend the first, and ask again' * (failed > 1)}"
    if open_ == len(outcomes):
        return NOT_YET
    if open_:
        return f"{NOT_YET} in parts: {open_} of {len(outcomes)} checks wait"
    return f"right so far: {missing} checks were left out" if missing else "solved"


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print one line per exercise."""
    of: dict[int, list[pytest.TestReport]] = {}
    deselected: dict[int, list[str]] = {}

    def number_of(node: str) -> int:
        found = re.search(r"(?:^|/)(\d)/test_", node)
        return int(found[1]) if found else 0

    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.getreports(outcome):
            if number := number_of(getattr(report, "nodeid", "")):
                of.setdefault(number, []).append(report)
    for item in terminalreporter.getreports("deselected"):
        deselected.setdefault(number_of(item.nodeid), []).append(item.nodeid)
    terminalreporter.section("exercises")
    for number, reports in sorted(of.items()):
        ran = [report.nodeid for report in reports]
        stands = verdict(reports, left_out(number, ran, deselected.get(number, [])))
        graded = answer_of(number, terminalreporter.config.getoption("--answers"))
        stands += f": there is no {graded}" * (not graded.exists())
        terminalreporter.line(f"exercise {number} ({STUBS[number].name}): {stands}")
        for report in reports:
            for _, said in getattr(report, "user_properties", []):
                terminalreporter.line(f"  {said}")
