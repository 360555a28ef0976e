"""Training by several processes under `torchrun`, one a GPU: who they are, and what they tell each other.

Every process has the same model, plan and optimizer. A step's batches are dealt out among them, their gradients added
up, and so all take the same step. The first process alone validates, writes and prints; what it finds (scores, the
clock, whether to stop) it tells the others, so that all decide alike.

PyTorch's own wrapper averages gradients, where the sum over a step's batches is divided by all its tokens here; and
parameters that a step doesn't use have no gradient, as in one process.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ctcrec.data.batching import BatchPlan
from ctcrec.errors import TrainingError

__all__ = ["World", "join_world"]

_Found = TypeVar("_Found")
_PATIENCE = timedelta(hours=2)  # how long a process waits for the others, in validation for instance


@dataclass(frozen=True, slots=True)
class World:
    """All processes of a training. Each method but `deal` has to be called by all of them, in the same order."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def deal(self, plan: BatchPlan) -> BatchPlan:
        """This process's batches of a plan made for so many: as many as each other's, and each example once."""
        if self.size == 1:
            return plan
        if len(plan) % self.size:
            raise TrainingError(
                f"{len(plan)} training examples can't be dealt out to {self.size} processes; start fewer"
            )
        return BatchPlan(plan.batches[self.rank :: self.size], plan.padding)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over the processes."""
        if self.size == 1:
            return list(numbers)
        totals = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(totals)
        return totals.tolist()

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Adds up the gradients, in place; a parameter without one in any process has none afterwards."""
        if self.size == 1:
            return
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        parts = [torch.zeros_like(item) if item.grad is None else item.grad for item in learned]
        has = torch.tensor([item.grad is not None for item in learned], dtype=torch.float32, device=self.device)
        flat = torch.cat([has, *(part.detach().to(torch.float32).flatten() for part in parts)])
        dist.all_reduce(flat)
        used, *sums = torch.split(flat, [len(learned), *(item.numel() for item in learned)])
        for parameter, part, count in zip(learned, sums, used.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype) if count else None

    def average_buffers(self, model: torch.nn.Module) -> None:
        """Makes batch statistics the mean of the processes'."""
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        flat = torch.cat([buffer.to(torch.float32).flatten() for buffer in buffers])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.size, [buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))

    def copy_from_first(self, model: torch.nn.Module) -> None:
        """Gives all processes the first one's weights."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def numbers_of_first(self, numbers: Sequence[float]) -> list[float]:
        """The first process's numbers."""
        return self.sum(numbers if self.is_first else [0.0] * len(numbers))

    def found_by_first(self, find: Callable[[], _Found]) -> _Found:
        """What `find` returns in the first process, which alone calls it."""
        found: list[Any] = [find() if self.is_first else None]
        if self.size > 1:
            dist.broadcast_object_list(found, 0, device=self.device)
        return found[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def gather(self, value: _Found) -> list[_Found]:
        """Every process's value, by rank."""
        values: list[Any] = [None] * self.size
        if self.size == 1:
            return [value]
        dist.all_gather_object(values, value)
        return values


def join_world() -> World:
    """The processes that `torchrun` started, or this one alone; talks through NCCL on GPUs, else through Gloo.

    They stay joined until the process ends: another training finds them so. (Joining anew would need new addresses,
    and `torchrun` hands out one set.)

    Raises:
        TrainingError: there are more processes than GPUs on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    local = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"torchrun started more processes than there are GPUs here ({torch.cuda.device_count()}); give as many"
                " as --nproc-per-node"
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, torch.device("cuda", local) if on_gpu else torch.device("cpu"))
