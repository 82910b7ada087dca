"""Drawing: matplotlib where it is installed, colours that colour-blind readers tell apart.

Where it stands: below `report.py` and the plots of experiments and tools.
"""

import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from plumbing import disk
from plumbing.command import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#b8b8b8", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def pyplot() -> ModuleType:
    """Return matplotlib's pyplot, which draws into files; `UserError` where it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("drawing needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def label(text: str, most: int = 24) -> str:
    """Return any text as a label that matplotlib shows as it stands, and in one line.

    Between two dollars matplotlib reads formulas, and labels that begin with "_" it leaves out.
    """
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    text = "".join(c if c.isprintable() else "?" for c in text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save(figure: "Figure", path: Path, dpi: int) -> Path:
    """Write a figure as PNG into the place of an older one, close it, and return its path."""
    with warnings.catch_warnings(), disk.in_place_of(path) as aside:
        warnings.simplefilter("ignore")  # of letters that its font lacks: they become boxes
        figure.savefig(aside, dpi=dpi, format="png")
    pyplot().close(figure)
    return path
