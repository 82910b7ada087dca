"""What all graders share: numbers compared, and messages without a traceback."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor


def refuse(message: str) -> None:
    """Let a check fail with nothing but this message."""
    pytest.fail(message, pytrace=False)


def numbers(value: object, shape: Sequence[int], what: str) -> Tensor:
    """Return what an answer returned as float64, if it is numbers of the shape asked for."""
    if value is None:
        refuse(f"{what} returns None: is there a `return`?")
    try:
        found = torch.as_tensor(np.asarray(value) if isinstance(value, list | tuple) else value)
    except (TypeError, ValueError, RuntimeError):
        refuse(f"{what} must return numbers, not {type(value).__name__}")
    if tuple(found.shape) != tuple(shape):
        refuse(f"{what} must have the shape {tuple(shape)}, not {tuple(found.shape)}")
    return found.detach().double()


def near(found: Tensor, wanted: object, tolerance: float = 1e-4) -> bool:
    """Say whether numbers are those wanted, up to rounding; NaN is never near."""
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    return bool((found - wanted).abs().max() <= tolerance)


def shown(found: Tensor, digits: int = 3) -> str:
    """Return numbers with so many digits, as a message shows them."""
    return str([round(x, digits) for x in found.flatten().tolist()])


def unchanged(given: object, before: object, what: str) -> None:
    """Refuse an answer that wrote into what it was given."""
    if not np.array_equal(np.asarray(given), np.asarray(before), equal_nan=True):
        refuse(f"{what} changes its input; the trainer goes on with it.  Work on a copy.")


def explain(found: Tensor, wanted: object, mistakes: dict[str, object], what: str) -> None:
    """Refuse numbers that are not those wanted, with the known mistake that gives just these."""
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    if near(found, wanted):
        return
    digits = 3 if shown(found) != shown(wanted) else 5
    both = f"\n  yours {shown(found, digits)}\n  right {shown(wanted, digits)}"
    for mistake, numbers_then in mistakes.items():
        if near(found, numbers_then):
            refuse(f"{what}: {mistake}{both}")
    refuse(f"{what}: not the numbers wanted{both}")
