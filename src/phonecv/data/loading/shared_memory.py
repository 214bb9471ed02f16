"""Memory shared between a loader's workers and the main process, used again batch after batch.

torch's own way makes a new shared file for every batch: its pages have to be made, cleared, mapped and thrown away,
which took 0.2 ms a picture of 224 px, a tenth of the whole input pipeline. Here each worker has a few slots. It fills a
free one and sends its number; whoever has finished with the pixels frees it. A worker without a free slot sends its
batch torch's way, so nobody ever waits.
"""

from __future__ import annotations

import itertools
import math
import weakref
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from phonecv.data.loading.workers import shared_storage

#: Bytes before the pixels of a slot: the first says whether it is taken, the others keep the pixels aligned.
_HEAD = 64

_NUMBERS = itertools.count()
_POOLS: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()


class Place(NamedTuple):
    """Where a worker has put its pixels, as it tells the main process."""

    pool: int
    worker: int
    slot: int
    shape: tuple[int, ...]


class Ticket:
    """Keeps a slot taken for as long as it lives itself."""

    __slots__ = ("_head",)

    def __init__(self, head: Tensor) -> None:
        self._head = head

    def __del__(self) -> None:
        self._head[0] = 0


class Slots:
    """Slots of all workers of one loader, made in the main process: so many for `each`, of `size` bytes (a batch).

    Without room for all of them there is no slot.
    """

    def __init__(self, workers: int, each: int, size: int) -> None:
        self._number = next(_NUMBERS)
        length = -(-size // _HEAD) * _HEAD + _HEAD
        # Pages appear when they are written to, so slots that are never used cost nothing.
        storage = shared_storage(workers * each * length)
        memory = torch.empty(0, dtype=torch.uint8)
        self._memory = (
            memory.view(workers, 0, length) if storage is None else memory.set_(storage).view(workers, each, -1)
        )
        _POOLS[self._number] = self

    def fill(self, images: list[Tensor]) -> Place | None:
        """In a worker: stack pictures in a free slot; None if there is none that holds them."""
        info = get_worker_info()
        shape = (len(images), *images[0].shape)
        size = math.prod(shape)
        if info is None or size > self._memory.shape[-1] - _HEAD:
            return None
        for number, slot in enumerate(self._memory[info.id]):
            if not slot[0]:
                slot[0] = 1
                torch.stack(images, out=slot[_HEAD : _HEAD + size].view(shape))
                return Place(self._number, info.id, number, shape)
        return None


def find(place: Place) -> tuple[Tensor, Ticket]:
    """In the main process: the pixels, to be used only while the ticket lives."""
    slot = _POOLS[place.pool]._memory[place.worker, place.slot]
    return slot[_HEAD : _HEAD + math.prod(place.shape)].view(place.shape), Ticket(slot)
