"""Models that name whole pictures or clips, ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from phonecv.devices import cpu_batch
from phonecv.opening import Placed, Runner
from phonecv.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor


def in_parts(
    placed: Placed, frames: int = 1, forward: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """A network that gives logits; a CPU takes a few pictures, or clips of so many frames, at a time.

    `forward` stands in the place of the network.
    """
    import torch

    network, place = forward or placed.network, placed.device

    @torch.inference_mode()
    def run(given: Tensor) -> Tensor:
        with placed.computing():
            few = max(1, cpu_batch(*given.shape[-2:]) // frames)
            parts = given.split(few) if place.type == "cpu" else (given,)
            return torch.cat([network(part.to(place)).float().cpu() for part in parts])

    return run


@dataclass(frozen=True, slots=True)
class WholeRunner(Runner["Tensor", "Tensor"]):
    """A model ready to run: float32 batch in main memory -> logits ``B C`` in main memory.

    Attributes:
        preprocessing: how a picture becomes its input.
        batch: the only batch size that `run` takes, or None for any.
        arrays: the same as a call from and to arrays, where that needs no torch.
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    batch: int | None = None
    arrays: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, given: Tensor) -> Tensor:
        """Logits of a batch of any size; a fixed batch size is served in parts, the last one padded."""
        return self.run(given) if self.batch is None else in_batches(self.run, self.batch, given)


def in_batches(run: Callable[..., Tensor], batch: int, *given: Tensor) -> Tensor:
    """What `run` makes of tensors, so many rows of them at a time; the last part is filled up."""
    import torch

    parts = []
    for rows in zip(*(one.split(batch) for one in given), strict=True):
        missing = batch - len(rows[0])
        filled = [torch.cat([one, one[-1:].expand(missing, *one.shape[1:])]) if missing else one for one in rows]
        parts.append(run(*filled)[: len(rows[0])])
    return torch.cat(parts)
