"""Several processes, one update: the rows of every group are shared out over the GPUs.

What it teaches: data parallelism for RLVR in one sentence.  Sample your share of the rows, tell
the others what you sampled, differentiate your share of the loss, and add up the gradients.

    torchrun --nproc-per-node 4 train.py --config configs/qwen2.5-math-1.5b.json

Each of W processes samples G/W rows of the group (`share`) and receives the others (`whole_group`).
From there on all processes know the same: rewards, advantages, what the selector remembers.  The
weights of `grpo.token_weights` are those of the whole batch, so the gradients are *added*
(`sum_gradients`) and not averaged, and the update is that of one process up to rounding.

A model that does not fit on one GPU is split too (`shard`): FSDP2 keeps 1/W of each weight, of its
gradient and of AdamW's state on each GPU, and puts a layer together only while it is used.
Sampling needs every weight for every token, so `unsharded` puts them together once per group.

Where it stands: below `policy.py` and `grpo.py`, which read the same with one process: then every
function here returns what it was given.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from plumbing.command import UserError, mendable
from rollout import Group

T = TypeVar("T")

REMEDY = "start several processes with torchrun, or unset WORLD_SIZE to run one"


def start() -> None:
    """Meet the other processes if torchrun started any; of these only the first prints."""
    if dist.is_initialized() or not several_processes():
        return
    if local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(local_rank())
    try:
        dist.init_process_group()  # gloo for tensors in CPU memory, NCCL for those on GPUs
    except (dist.DistError, ValueError) as error:
        place = ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise UserError(f"the other processes cannot be met at {place} ({error})") from error
    if rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)


def several_processes() -> bool:
    """Return whether there are other processes; `UserError` names a variable that is wrong.

    Some clusters set WORLD_SIZE for every job, and nothing else that several processes need.
    """
    if "WORLD_SIZE" not in os.environ or (W := _variable("WORLD_SIZE", 1, 2**20)) == 1:
        return False
    _variable("RANK", 0, W - 1)
    _variable("MASTER_PORT", 1, 65535)
    if not os.environ.get("MASTER_ADDR"):
        raise UserError(f"MASTER_ADDR: is not set; {REMEDY}")
    return True


def _variable(name: str, least: int, most: int) -> int:
    """Return the whole number that an environment variable of torchrun's holds."""
    text = os.environ.get(name)
    if text is None:
        raise UserError(f"{name}: is not set, though WORLD_SIZE is; {REMEDY}")
    if not (text.isdecimal() and len(text) < 8 and least <= int(text) <= most):
        raise UserError(
            f"{name}: must be a whole number from {least} to {most}, not {text!r}; {REMEDY}"
        )
    return int(text)


def end() -> None:
    """Leave the other processes in good order."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """Return W, the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of the W processes this is; process 0 alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Return which process of this machine this is, and so which of its GPUs it uses."""
    return _variable("LOCAL_RANK", 0, 2**20) if "LOCAL_RANK" in os.environ else 0


def gather(value: object) -> list:
    """Return the values of all processes, in the order of their ranks."""
    if world() == 1:
        return [value]
    values = [None] * world()
    dist.all_gather_object(values, value)
    return values


@contextmanager
def all_or_none() -> Iterator[None]:
    """Raise in every process the `UserError` of any, so that none waits for another in vain."""
    found = None
    try:
        yield
    except Exception as error:
        found = mendable(error)
        if not found:  # a mistake of ours, whose traceback is shown here
            gather(UserError("another process failed", code=1))
            raise
    for error in gather(found):
        if error is not None:
            raise error


def from_first(compute: Callable[[], T]) -> T:
    """Return in every process what the first one computes, or raise its `UserError` in all."""
    if world() == 1:
        return compute()
    found = None
    with all_or_none():
        if rank() == 0:
            found = compute()
    return gather(found)[0]


# --------------------------------------------------------------------------- rows of a group

ROWS = ("tokens", "lengths", "logprobs", "finished")  # the tensors of a `Group`


def share(n: int) -> slice:
    """Return this process's rows of n; all processes have equally many."""
    each = n // world()
    return slice(rank() * each, (rank() + 1) * each)


def whole_group(part: Group) -> Group:
    """Return the whole group, of which each process sampled a part."""
    if world() == 1:
        return part
    device = part.tokens.device
    return join([_moved(other, device) for other in gather(_moved(part, "cpu"))])


def _moved(group: Group, device: str | torch.device) -> Group:
    """Return the group with its tensors on another device."""
    return Group(prompt_len=group.prompt_len, **{n: getattr(group, n).to(device) for n in ROWS})


def join(parts: Sequence[Group]) -> Group:
    """Return one group with the rows of several that answer the same prompt."""
    longest = max(part.logprobs.shape[1] for part in parts)

    def padded(part: Group, name: str) -> Tensor:
        rows, missing = getattr(part, name), longest - part.logprobs.shape[1]
        return F.pad(rows, (0, missing)) if rows.dim() == 2 else rows  # with zeros, after the end

    rows = {name: torch.cat([padded(part, name) for part in parts]) for name in ROWS}
    return Group(prompt_len=parts[0].prompt_len, **rows)


def sum_gradients(model: nn.Module) -> None:
    """Add up the gradients that each process has of its own rows (FSDP2 has done so already)."""
    if world() == 1 or isinstance(model, FSDPModule):
        return
    learned = [p for p in model.parameters() if p.requires_grad]
    waiting = [dist.all_reduce(p.grad, async_op=True) for p in learned]
    for work in waiting:
        work.wait()


def over_processes(totals: dict[str, float]) -> dict[str, float]:
    """Return each statistic over all processes: the sum, or of a name in _max the largest."""
    every = gather(totals)
    return {
        name: (max if name.endswith("_max") else sum)(totals[name] for totals in every)
        for name in totals
    }


# --------------------------------------------------------------------------- a model in shards


def shard(model: nn.Module, device: torch.device) -> None:
    """Leave each process 1/W of every weight; a layer is put together when it is needed."""
    mesh = init_device_mesh(device.type, (world(),))
    for block in model.model["layers"]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # a sum, as in `sum_gradients`
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled one


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Have the whole model on every process within, so that none waits for another."""
    sharded = [m for m in model.modules() if isinstance(m, FSDPModule)]
    for module in sharded:
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    yield
    for module in sharded:
        module.set_reshard_after_forward(module is not model, recurse=False)
        module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which each process holds a shard."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a tensor that every process has in whole, placed and split as `other` is."""
    if isinstance(other, DTensor):  # without a source no process waits for another
        return distribute_tensor(
            tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None
        )
    return tensor.to(other.device)
