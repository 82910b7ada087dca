"""Where the stubs are, and how a filled one is read, by the graders and by the commands here."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # the project's own modules, for the stubs and commands here
STUBS = {  # the number of each exercise, and the one file in its folder that is filled in
    int(path.parent.name): path
    for path in sorted(HERE.glob("[1-9]/*.py"))
    if not path.name.startswith("test_")
}


def answer_of(number: int, folder: Path | None) -> Path:
    """Return the file that is read for an exercise: the stub, or its namesake in a folder."""
    return folder / STUBS[number].name if folder else STUBS[number]


def read_answer(path: Path) -> ModuleType:
    """Return a filled stub as a module."""
    spec = spec_from_file_location(f"answer_{path.stem}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
