"""The name `select`: ours, which a student reads, and the standard library's, which torch needs.

`subprocess`, and with it torch, imports a module named `select`.  Where the standard one is a
shared library, Python finds our `select.py` first, since the project's folder leads its path; where
the standard one is built into the interpreter, `import select` never finds ours.  So both halves
are settled here, in every interpreter:

    hand_over()   puts the standard module in place when our file is asked for as `select`
    load()        reads our file under another name, `one_shot_select`

Everything else in the project writes `from plumbing.config import selectors`.  It runs while
the standard library is still being imported, and so imports next to nothing at its top.
"""

import sys
from types import ModuleType


def hand_over() -> None:
    """Make `import select` the standard module, wherever that interpreter keeps it."""
    from importlib.machinery import BuiltinImporter, PathFinder
    from importlib.util import module_from_spec

    found = [BuiltinImporter.find_spec("select")]
    found += [PathFinder.find_spec("select", [folder]) for folder in sys.path]
    # built into some interpreters, a shared library of others, and never a .py file
    spec = next(s for s in found if s is not None and not str(s.origin).endswith(".py"))
    sys.modules["select"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["select"])


def load() -> ModuleType:
    """Return our `select.py` as the module `one_shot_select`; it is read once."""
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    if "one_shot_select" not in sys.modules:
        path = Path(__file__).parents[1] / "select.py"
        spec = spec_from_file_location("one_shot_select", path)
        module = sys.modules["one_shot_select"] = module_from_spec(spec)  # so that objects pickle
        spec.loader.exec_module(module)
    return sys.modules["one_shot_select"]
