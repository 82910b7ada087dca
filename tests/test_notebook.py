"""docs/one-step.ipynb: it runs from top to bottom, and shows what is stored in it."""

import copy
import re

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "docs" / "one-step.ipynb"
LARGEST = 400_000  # bytes, for a code host to show it
NUMBER = re.compile(
    r"[-+]?\d+\.\d+"
)  # what rounding may change; whole numbers are compared as text


@pytest.fixture(scope="module")
def stored():
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(stored):
    """The notebook after a run in docs/, where a reader would open it."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    fresh = copy.deepcopy(stored)
    for cell in code_cells(fresh):
        cell.outputs = []
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(
        fresh, timeout=600, kernel_name="python3", coalesce_streams=True, resources=where
    ).execute()
    return fresh


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell) -> str:
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


def same(said: str, expected: str) -> bool:
    """Whether two texts have the same words and whole numbers, and decimals within 0.01."""
    numbers, others = ([float(n) for n in NUMBER.findall(text)] for text in (said, expected))
    words = NUMBER.split(said) == NUMBER.split(expected)
    return words and all(abs(a - b) <= 0.01 for a, b in zip(numbers, others, strict=True))


def test_decimals_may_round_otherwise_and_words_may_not():
    assert same("loss 0.0167, 8 right", "loss 0.0166, 8 right")
    assert not same("loss 0.0167, 8 right", "loss 0.1167, 8 right")
    assert not same("loss 0.0167, 8 right", "loss 0.0167, 7 right")


def test_it_can_be_read_without_being_run(stored):
    assert NOTEBOOK.stat().st_size <= LARGEST
    shown = [cell for cell in code_cells(stored) if cell.outputs]
    assert len(shown) >= len(code_cells(stored)) - 2  # but for one that sets up or defines only
    assert [cell.execution_count for cell in code_cells(stored)] == [
        n + 1 for n in range(len(code_cells(stored)))
    ]
    text = NOTEBOOK.read_text()
    assert "Traceback" not in text and str(ROOT) not in text


def test_it_runs_and_prints_what_is_stored(stored, executed):
    """All but the last cell: there rounding adds up over 25 updates and may tip a sample."""
    pairs = list(zip(code_cells(stored), code_cells(executed), strict=True))
    for old, new in pairs[:-1]:
        assert same(printed(new), printed(old)), printed(new)
        assert len(new.outputs) == len(old.outputs), old.source
    old, new = pairs[-1]
    assert printed(new).count("\n") == printed(old).count("\n") > 0
