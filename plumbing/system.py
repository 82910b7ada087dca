"""The operating system: the one place that knows what Linux, macOS and Windows do differently.

Three things differ that a run depends on.  How a file is forced to the disk: Windows does it only
for files that are open for writing and never for folders, and macOS forces nothing past the drive's
own cache unless it is asked twice.  How a file is held for one process alone.  And which signals
ask a process to stop.  (What devices can and cannot do is in `device.py`.)

Where it stands: below `disk.py` and `stop.py`.  The code for Windows and macOS has been tried with
stand-ins for their modules (`tests/test_system.py`), and not on such machines.
"""

import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

FOLDERS_OPEN = os.name != "nt"  # whether a folder can be opened, to force its names to the disk
BEYOND = 2**40  # Windows locks bytes and not files: one that no file of ours reaches


def force_to_disk(path: Path) -> None:
    """Return when a file, or a folder's list of names, is on the disk."""
    folder = path.is_dir()
    if folder and not FOLDERS_OPEN:
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        force_descriptor(descriptor)
    finally:
        os.close(descriptor)


def force_descriptor(descriptor: int) -> None:
    """Return when what was written to an open file is on the disk."""
    os.fsync(descriptor)
    past_the_cache = getattr(fcntl, "F_FULLFSYNC", None)  # only on macOS
    if past_the_cache is not None:
        with contextlib.suppress(OSError):  # some file systems do not know it; fsync was all
            fcntl.fcntl(descriptor, past_the_cache)


def hold(file: BinaryIO) -> bool:
    """Hold an open file for this process until it is closed; False if another process holds it.

    Raises OSError where the file system cannot do so.
    """
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt:
            file.seek(BEYOND)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    finally:
        file.seek(0, os.SEEK_END)
    return True


def stop_signals() -> list[int]:
    """Return the numbers of the signals that ask a process to stop, of those there are here."""
    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Ctrl-Break of Windows
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
