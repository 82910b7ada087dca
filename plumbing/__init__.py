"""What a run stands on: nothing here is the algorithm, and no file here is needed to follow it."""

import sys
from types import TracebackType


def _in_one_line(kind: type, error: BaseException, traceback: TracebackType | None) -> None:
    """Show an error as Python does, but Ctrl-C as one line: also while libraries are imported."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _in_one_line
