"""The processes of a run, as seen by one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from phonecv.verbs import Together


@dataclass(frozen=True, slots=True)
class World(Together):
    """This process among the others; the default is the only one.

    Attributes:
        local_size: processes on this machine.
        device: where this process computes.
        control: group for small messages that must not touch the accelerator; None when alone.
    """

    local_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    control: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the person."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on every one; the argument is left as it was."""
        if self.size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total

    def gather(self, value: Any) -> list[Any]:
        """Everyone's value, in the order of ranks, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier(group=self.control)


def share_buffers(modules: Iterable[nn.Module], world: World, how: str) -> None:
    """Make BatchNorm statistics equal on all processes, before they are evaluated or saved.

    "none" takes those of the first process, "average" their mean; "sync" finds them equal already.
    """
    if world.size == 1:
        return
    buffers = [buffer for module in modules for buffer in module.buffers()]
    for dtype in sorted({buffer.dtype for buffer in buffers}, key=str):
        group = [buffer for buffer in buffers if buffer.dtype == dtype]
        # One message for all of them: on a busy machine each costs a change of process.
        flat = torch.cat([buffer.reshape(-1) for buffer in group])
        if how == "average" and dtype.is_floating_point:
            dist.all_reduce(flat)
            flat /= world.size
        else:
            dist.broadcast(flat, src=0)
        for buffer, part in zip(group, flat.split([buffer.numel() for buffer in group]), strict=True):
            buffer.copy_(part.view_as(buffer))


class Agreement:
    """Lets all processes act on the same step when one of them asks to save or to stop.

    A tiny message of the step before is read while the next one travels, through a group that stays on the CPU: no
    process waits for another beyond what the gradients already cost.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.flags = torch.zeros(2, dtype=torch.int32)
        self.work: Any = None

    def settle(self, *, stop: bool, save: bool) -> tuple[bool, bool]:
        """Ask for something; returns what was agreed (stop, save): at once when alone, else one call later."""
        if self.world.size == 1:
            return stop, save
        self.close()
        agreed = self.flags.tolist()
        self.flags = torch.tensor([stop, save], dtype=torch.int32)
        self.work = dist.all_reduce(self.flags, dist.ReduceOp.MAX, group=self.world.control, async_op=True)
        return bool(agreed[0]), bool(agreed[1])

    def close(self) -> None:
        """Wait for the message under way, if any."""
        if self.work is not None:
            self.work.wait()
            self.work = None
