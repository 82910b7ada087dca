"""The device: the one place that knows what kinds of processors there are."""

import torch

from plumbing import parallel
from plumbing.command import UserError


def pick_device(name: str) -> torch.device:
    """Return the device of that name, or the best one for "auto"; `UserError` where it is missing.

    Under torchrun each process gets a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and parallel.world() > 1:
        name = f"cuda:{parallel.local_rank()}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        torch.Generator(device)  # some devices hold tensors and cannot draw random numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"device: this machine has no {name!r} ({reason})") from error
    return device
