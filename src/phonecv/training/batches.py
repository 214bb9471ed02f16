"""Which samples make which step, where an epoch is not one pass over the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from phonecv.data.loading.loader import EpochBatches, SampleKey, TrainBatches
from phonecv.errors import UserError
from phonecv.text import counted


class StreamBatches(TrainBatches):
    """Batches cut from an endless row of passes, each shuffled by itself.

    An epoch is some passes, or some steps wherever they end: the next epoch goes on from there, so over time every
    sample is seen equally often. As with `TrainBatches` an epoch's batches follow from its number alone, and the
    processes together take the samples that one process with a batch `world` times larger would take.

    Args:
        n: number of samples.
        batch_size: per process.
        seed: of the order.
        rank: number of this process.
        world: number of processes.
        passes: over the samples, per epoch; a last, smaller batch is left out.
        steps: batches per epoch, in the place of `passes`.
        rates: see `TrainBatches`.
        kinds: per sample a number; samples of a batch, over all processes, are of one kind where there are enough.

    Raises:
        UserError: not even one batch.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        passes: int = 1,
        steps: int | None = None,
        rates: np.ndarray | None = None,
        kinds: np.ndarray | None = None,
    ) -> None:
        super().__init__(n, batch_size, seed=seed, rank=rank, world=world, rates=rates, drop_last=False)
        self.whole = batch_size * world
        self.span = passes * n if steps is None else steps * self.whole
        self.steps, self.kinds = self.span // self.whole, kinds
        if not self.steps:
            raise UserError(
                f"{counted(n, 'training pictures')} in {counted(passes, 'passes')} do not fill one"
                f" batch of {self.whole}; use a batch size of at most {self.span} (--batch-size), or more data.passes"
            )

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start_batch: int = 0, stage: int = 0) -> EpochBatches:
        """The batches of one epoch (counted from 0), from `start_batch` on."""
        return _StreamEpoch(self, epoch, start_batch, stage)

    def rows(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample numbers, their passes and copies within these, `steps` rows of one batch over all processes."""
        begin = epoch * self.span
        count = self.steps * self.whole
        first, last = begin // self.n, (begin + count - 1) // self.n
        orders = [self.order(number) for number in range(first, last + 1)]
        part = slice(begin - first * self.n, begin - first * self.n + count)
        samples = np.concatenate(orders)[part]
        copies = np.concatenate([self.copies(order) for order in orders])[part]
        passes = (begin + np.arange(count)) // self.n
        places = self._together(samples)
        return samples[places], passes[places], copies[places]

    def _together(self, samples: np.ndarray) -> np.ndarray:
        """Places in `samples` as rows of one batch each, of one kind where there are enough of it.

        A batch comes when the last of its samples has come; what is left of all kinds fills the last batches.
        """
        places = np.arange(len(samples))
        if self.kinds is None:
            return places.reshape(self.steps, self.whole)
        kinds = self.kinds[samples]
        full, left = [], []
        for kind in np.unique(kinds):
            own = places[kinds == kind]
            used = len(own) // self.whole * self.whole
            full.append(own[:used].reshape(-1, self.whole))
            left.append(own[used:])
        even = np.concatenate(full)
        rest = np.sort(np.concatenate(left))[: (self.steps - len(even)) * self.whole]
        return np.concatenate([even[np.argsort(even[:, -1])], rest.reshape(-1, self.whole)])


class _StreamEpoch(EpochBatches):
    """The batches of one epoch of a `StreamBatches`, for one process."""

    def __iter__(self) -> Iterator[list[SampleKey]]:
        stream = cast("StreamBatches", self._batches)
        parts = (part[self._start :, stream.rank :: stream.world].tolist() for part in stream.rows(self._epoch))
        for batch in zip(*parts, strict=True):
            yield [SampleKey(index, number, self._stage, copy) for index, number, copy in zip(*batch, strict=True)]
