"""Drawing: matplotlib where it is installed, colours that colour-blind readers tell apart."""

from types import ModuleType

from plumbing.command import UserError

COLOURS = ("#0072b2", "#e69f00", "#b8b8b8", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def pyplot() -> ModuleType:
    """matplotlib's pyplot, drawing into files; `UserError` says what to do where it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("drawing needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
