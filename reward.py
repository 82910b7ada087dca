"""The reward: what is paid for a response, and so what the policy will learn to do.

What it teaches: a policy learns what is paid, whatever was meant.  The verifier pays for a right
answer and for nothing else.  Beside it a *format* reward pays for an answer that can be found at
all, and a *soft penalty* warns a response that comes near the limit on its length, before it is cut
off there.  What else is worth something only you can tell: by a function in a file of yours.

    reward="verifier"                           the verdict and nothing else, the default
    reward="my_reward.py:score"                 score(response, problem) -> float, of yours
    reward={"verifier": 1, "overlong": 0.5}     r = 1 * verdict + 0.5 * penalty

Where it stands: the line "r_g" of the algorithm box in `train.py`.  `policy.py` asks a `Reward` for
each group of responses.  A reward may be graded or negative, since an advantage only says by how
much a response is better than its group.  What the selectors learn from and what accuracies count
is the *verdict*: the verifier's where it takes part in the reward, also with a weight of 0; where
it does not, the reward itself, clipped to [0, 1], as a share of a success.

Try changing first: `OVERLONG_SHARE`, the share of a response's tokens in which the penalty grows,
with `small.json --set 'reward={"verifier": 1, "overlong": 1}' --set rollout.max_new_tokens=24`,
where many workings do not fit.  At 1, where every token costs something, it ends at 74.0, 69.5 and
69.0% on seeds 0 to 2, and at the default 0.2 at 74.0, 69.5 and 68.5%.  At 0.05 only a response that
reaches the limit is punished, and it ends at 74.0, 20.0 and 20.0%.

The user's file is ordinary Python and is run, as it is the user who names it.  No file is ever
taken from a checkpoint, from a file of problems, or from the record of another run.
"""

import hashlib
import inspect
import math
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import ExecutionLoader
from importlib.util import decode_source, module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType

from data import Problem
from plumbing.command import UserError
from plumbing.config import LARGEST_REWARD
from plumbing.disk import sha256_of
from plumbing.json_files import read_bytes
from rollout import Group
from verifier import extract_answer

OVERLONG_SHARE = 0.2  # L_cache as a share of L_max; in DAPO 4,096 of 20,480 tokens
MOST_BYTES = 1_000_000  # of a user's file


@dataclass(frozen=True)
class Response:
    """One response as the ready rewards see it; a user's function gets its text only."""

    text: str  # as the verifier reads it, the prefill in front
    solved: float  # the verifier's verdict, 1.0 or 0.0
    length: int  # tokens, the stop token included
    finished: bool  # whether a stop token or text ended it, and not the limit
    limit: int  # L_max, `rollout.max_new_tokens`


def is_right(response: Response, problem: Problem) -> float:
    """Return 1.0 for an answer that the verifier accepts, and 0.0 for any other response."""
    return response.solved


def well_formed(response: Response, problem: Problem) -> float:
    """Return 1.0 for a response that ended by itself and holds an answer, right or wrong, else 0.0.

    An answer is what `verifier.extract_answer` finds where the verifier looks for one.
    """
    return float(response.finished and extract_answer(response.text) is not None)


def overlong(response: Response, problem: Problem) -> float:
    """Return DAPO's soft punishment of length (arXiv 2503.14476, eq. 13), from 0.0 to -1.0.

        0                                     where |y| <= L_max - L_cache
        ((L_max - L_cache) - |y|) / L_cache   up to L_max, where it is -1

    A response that is cut off has L_max tokens.  L_cache is `OVERLONG_SHARE` of L_max, in whole
    tokens.
    """
    cache = max(1, round(OVERLONG_SHARE * response.limit))
    return max(-1.0, min(0.0, (response.limit - cache - response.length) / cache))


READY = {"verifier": is_right, "format": well_formed, "overlong": overlong}


class Reward:
    """The weighted sum of the rewards that `named` names: one, or several with their weights.

    `limit` is L_max, in tokens.  `UserError` for a name that is none, and for a file that is not
    there, cannot be run or lacks the function.
    """

    def __init__(self, named: str | dict[str, float], limit: int) -> None:
        weights = {named: 1.0} if isinstance(named, str) else named
        self.limit = limit
        self.verified = "verifier" in weights  # whether the verdicts are the verifier's
        self.files: dict[str, UserFile] = {}
        self.parts = [(weight, self.part(name)) for name, weight in weights.items()]

    def part(self, name: str) -> Callable[[Response, Problem], float]:
        """Return the ready reward of a name, or the function that it names in a user's file."""
        if name in READY:
            return READY[name]
        path, _, function = name.rpartition(":")
        if not path.endswith(".py") or not function:
            raise UserError(
                f"reward: {name!r} is no reward; give {', '.join(READY)} or FILE.py:NAME"
            )
        if path not in self.files:
            self.files[path] = UserFile(path)
        return self.files[path].reward(function)

    def __call__(
        self, problem: Problem, texts: Sequence[str], solved: Sequence[float], group: Group
    ) -> list[float]:
        """Return r(x, y) of each response, (G,); `solved` are the verifier's verdicts, (G,)."""
        rows = zip(texts, solved, group.lengths.tolist(), group.finished.tolist(), strict=True)
        responses = [Response(*row, limit=self.limit) for row in rows]
        return [sum(weight * pay(y, problem) for weight, pay in self.parts) for y in responses]

    def successes(self, solved: list[float], rewards: list[float]) -> list[float]:
        """Return what counts as a success, (G,): the verifier's verdicts, or clipped rewards."""
        return solved if self.verified else [min(1.0, max(0.0, r)) for r in rewards]

    def fingerprints(self, problems: Sequence[Problem]) -> dict[str, str]:
        """Return sums of what has to be the same for a run to go on: files, and what they read."""
        sums = {f"the reward's {path}": file.sha256 for path, file in self.files.items()}
        if sums:
            sums["the problems' further fields"] = sha256_of([p.fields for p in problems])
        return sums


class AsRead(ExecutionLoader):
    """Imports what was read from a file, and never an older text of it from Python's cache."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source

    def get_filename(self, name: str) -> str:
        return self.path

    def get_source(self, name: str) -> str:
        return decode_source(self.source)

    def get_code(self, name: str) -> CodeType:
        return self.source_to_code(self.source, self.path)


class UserFile:
    """A Python file that the user names; it is read and run once.

    It imports what lies beside it, where nothing that is there already has that name.
    """

    def __init__(self, path: str) -> None:
        source = read_bytes(path, MOST_BYTES)
        self.path, self.sha256 = path, hashlib.sha256(source).hexdigest()
        name = f"reward:{path.replace('.', '_')}"  # behind a dot pickle would look for a part
        self.module = module_from_spec(spec_from_loader(name, loader := AsRead(path, source)))
        sys.modules[name] = self.module  # dataclasses in it look for it there
        if (folder := str(Path(path).resolve().parent)) not in sys.path:
            sys.path.append(folder)
        with naming_the_place(path):
            loader.exec_module(self.module)

    def reward(self, name: str) -> Callable[[Response, Problem], float]:
        """Return the function of a name as a reward, whose errors end in one line."""
        function = vars(self.module).get(name)
        if not callable(function):
            raise UserError(f"{self.path}: holds no function {name!r}; define {name} in it")
        with naming_the_place(self.path):
            code = getattr(inspect.unwrap(function), "__code__", None)
        own = isinstance(code, CodeType) and code.co_filename == self.path
        line = code.co_firstlineno if own else 1

        def pay(response: Response, problem: Problem) -> float:
            with naming_the_place(self.path, line):
                value = function(response.text, problem)
                number = as_number(value)
            if not abs(number) <= LARGEST_REWARD:  # which is so of NaN too
                raise UserError(
                    f"{self.path}:{line}: {name} must return a number from -1e9 to 1e9, not "
                    f"{reprlib.repr(value)}"
                )
            return number

        return pay


def as_number(value: object) -> float:
    """Return a number of Python, numpy or torch as Python's own; NaN for anything else."""
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan


@contextmanager
def naming_the_place(path: str, line: int = 1) -> Iterator[None]:
    """Turn whatever goes wrong in a user's file, also `exit()`, into a `UserError` with its line.

    It is the last line of that file which was at work, or else `line`.  Ctrl-C is passed on.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        at_work = traceback.walk_tb(error.__traceback__)
        lines = [n for frame, n in at_work if frame.f_code.co_filename == path]
        # above the line of the type and the message a SyntaxError has some that are indented
        said = next(each for each in traceback.format_exception_only(error) if each[0] != " ")
        said = said.strip().removeprefix(f"{type(error).__module__}.")
        if isinstance(error, SyntaxError):
            if lines:  # it is in another file, which this one imports
                said = f"{type(error).__name__}: {error}"
            else:
                lines = [error.lineno or line]
        raise UserError(f"{path}:{lines[-1] if lines else line}: {said}") from error
