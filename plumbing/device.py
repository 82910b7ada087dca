"""The device: the one place that knows what kinds of processors there are."""

import torch

from plumbing import parallel
from plumbing.command import UserError
from plumbing.config import Config

# Steps of decoding from which on compiling pays: it takes about a minute (8 seconds for the first
# shape and 2 to 3 for each other one, of perhaps twenty) and saves about 1.75 milliseconds a step
# (1.91 and not 3.65 for 135M weights, 2.65 and not 4.43 for 1.5B; one NVIDIA H200, torch 2.11).
LONG_RUN = 30_000


def pick_device(name: str) -> torch.device:
    """Return the device of that name, or the best one for "auto"; `UserError` where it is missing.

    Under torchrun each process gets a GPU of its own.
    """
    if name == "auto":
        name = best()
    if name.startswith("cuda") and parallel.world() > 1:
        name = f"cuda:{parallel.local_rank()}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # or graphs would be recorded on the first GPU
        generator(device)  # some devices hold tensors and cannot draw random numbers
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0]
        raise UserError(f"device: this machine has no {name!r} ({reason})") from error
    return device


def best() -> str:
    """Return the name of the fastest kind of device that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def kind(name: str) -> str:
    """Return the kind of device that a name of the configuration stands for, such as "cuda"."""
    return (best() if name == "auto" else name).partition(":")[0]


def graph_and_compiled(cfg: Config, device: torch.device) -> dict[str, bool]:
    """Return whether steps of decoding are CUDA graphs (`rollout.graph`), and layers `compiled`."""
    cuda, steps = device.type == "cuda", cfg.steps
    if cfg.max_rollouts:
        steps = min(steps, cfg.max_rollouts // cfg.rollout.group_size)
    long = steps * cfg.rollout.max_new_tokens >= LONG_RUN
    chosen = {"graph": (cfg.rollout.graph, cuda), "compiled": (cfg.compile, cuda and long)}
    return {name: auto if key == "auto" else key == "on" for name, (key, auto) in chosen.items()}


def generator(device: torch.device) -> torch.Generator:
    """Return a generator for what is sampled on a device.

    The sampler computes where its generator is, in float64.  Apple's GPUs (mps) have no float64, so
    that their tokens are drawn on the CPU.
    """
    return torch.Generator("cpu" if device.type == "mps" else device)
