"""Signals: Ctrl-C and SIGTERM become a wish, which the loop grants after its step.

Where it stands: around the loop of `train.py`; `Run.goes_on` asks whether there was one.
"""

import signal
import sys
import threading
from types import FrameType

from plumbing.system import stop_signals


class Stop:
    """Turns a signal into a wish: finish the step and save.  A second one ends at once.

    `asked` is the number of the signal, 0 for none.
    """

    asked = 0

    def __enter__(self) -> "Stop":
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in stop_signals():
                self.before[number] = signal.signal(number, self.ask)
        return self

    def ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number
        print("\nfinishing the step, then saving; again to leave at once", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
