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


def shown(found: Tensor) -> str:
    """Return numbers with three digits, as a message shows them."""
    return str([round(x, 3) for x in found.flatten().tolist()])


def explain(found: Tensor, wanted: object, mistakes: dict[str, object], what: str) -> None:
    """Refuse numbers that are not those wanted, with the known mistake that gives just these."""
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    if near(found, wanted):
        return
    for mistake, numbers_then in mistakes.items():
        if near(found, numbers_then):
            refuse(f"{what}: {mistake}\n  yours {shown(found)}\n  right {shown(wanted)}")
    refuse(f"{what}: not the numbers wanted\n  yours {shown(found)}\n  right {shown(wanted)}")
