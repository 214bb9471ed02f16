"""What the batches of all tasks have in common: samples of one step, and how they are brought to a device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from math import prod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


class StepBatch:
    """Samples of one step.

    Attributes:
        indices: B, int64, places in the listing (of the sample asked for, also where another one stands in for it).
        errors: one text per sample, empty where all is well.
    """

    __slots__ = ("errors", "indices")

    #: Attributes that go to a device.
    moving: ClassVar[tuple[str, ...]] = ()

    def __init__(self, images: Any, wanted: Any, indices: Tensor, errors: list[str]) -> None:
        """`wanted` is what a network shall say of the `images`."""
        self.indices, self.errors = indices, errors
        self._hold(images, wanted)

    @abstractmethod
    def _hold(self, images: Any, wanted: Any) -> None:
        """Take up the contents, in as few tensors as there can be."""

    @classmethod
    def of(cls, items: Sequence[Any]) -> Self:
        """The batch of some samples: picture, what is wanted of it, index and error of each."""
        images, wanted, indices, errors = zip(*items, strict=True)
        return cls(images, wanted, torch.tensor(indices), list(errors))

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def good(self) -> Tensor:
        """B, bool: False where the file could not be used."""
        return torch.tensor([not error for error in self.errors], dtype=torch.bool)

    def pin_memory(self) -> Self:
        """For the loader, which calls it when asked for pinned memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Self:
        """Pictures and what is wanted of them on `device`; the rest stays where it is."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        batch = copy(self)
        for name in self.moving:
            setattr(batch, name, change(getattr(self, name)))
        return batch


def views(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Pieces of a flat tensor in these shapes, one after the other, without copying."""
    pieces = flat.split([prod(shape) for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
