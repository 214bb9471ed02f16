"""From a listing to batches, reproducibly.

Everything random about a sample comes from (seed, epoch, index, repeat) alone, and the order of an epoch from
(seed, epoch): the same batches arrive with any number of worker processes, in any process of several, and after a
restart in the middle of an epoch.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from phonecv.data.folders.listing import Listing
from phonecv.data.loading.batches import StepBatch
from phonecv.data.loading.shared_memory import Place, Slots, Ticket, find
from phonecv.data.loading.workers import open_loader
from phonecv.data.pictures.normalising import Erasure, Normalise
from phonecv.data.pictures.opening import ImageError, open_image
from phonecv.data.pictures.reading import Pixels, Reader, Transform
from phonecv.errors import UserError
from phonecv.text import counted

Sample = TypeVar("Sample")

#: Other samples tried in place of one that can't be read; after that it is a black picture.
MAX_SUBSTITUTES = 16


class SampleKey(NamedTuple):
    """Which sample, and all that decides how it is transformed.

    Attributes:
        index: place in the listing.
        epoch: decides the random numbers, together with `index` and `repeat`.
        stage: which of the data set's transforms to use (curricula).
        repeat: which of the copies of one picture within an epoch (repeated augmentation).
    """

    index: int
    epoch: int = 0
    stage: int = 0
    repeat: int = 0


class Item(NamedTuple):
    """One sample.

    Attributes:
        image: 3 H W, or of a clip 3 T H W; bytes still to be normalised and erased, or floats to be used as they are.
        label: the class, or for every class 1 or 0.
        index: place in the listing.
        error: empty, or why the file could not be used.
        erasures: see `phonecv.data.pictures.normalising`.
    """

    image: Tensor
    label: int | list[int]
    index: int
    error: str
    erasures: tuple[Erasure, ...] = ()


class Normalising(NamedTuple):
    """What a batch of bytes still needs."""

    normalise: Normalise
    erasures: tuple[tuple[Erasure, ...], ...] = ()


class Batch(StepBatch):
    """Samples of one step.

    Pictures may come as bytes together with how to normalise them; that happens when `images` is first asked for, on
    the device the batch was brought to.

    Attributes:
        labels: B, int64; or B classes, 1 or 0, where pictures have several or none.
    """

    __slots__ = ("_normalising", "_pixels", "_ticket", "labels")
    moving = ("_pixels", "labels")

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        errors: list[str],
        *,
        normalising: Normalising | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        super().__init__(images, labels, indices, errors)
        self._normalising, self._ticket = normalising, ticket

    def _hold(self, images: Tensor, wanted: Tensor) -> None:
        self._pixels, self.labels = images, wanted

    @property
    def images(self) -> Tensor:
        """B 3 H W, normalised."""
        if self._normalising is not None:
            self.images = self._normalising.normalise(self._pixels, self._normalising.erasures)
        return self._pixels

    @images.setter
    def images(self, images: Tensor) -> None:
        self._pixels, self._normalising, self._ticket = images, None, None

    def pin_memory(self) -> Batch:
        """See `StepBatch`; what it was copied from is free again."""
        batch = super().pin_memory()
        batch._ticket = None
        return batch


class _Parcel:
    """What becomes a `Batch` in the main process.

    Every tensor would travel as a file descriptor of its own, which takes longer than plain numbers; the pictures stay
    in a slot of shared memory where there is one.
    """

    def __init__(self, pixels: Tensor | Place, *rest: Any) -> None:
        self._contents = (pixels, *rest)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, self._contents


def _unpack(
    pixels: Tensor | Place,
    channels_last: bool,
    labels: list[int | list[int]],
    indices: list[int],
    errors: list[str],
    normalising: Normalising | None,
) -> Batch:
    ticket = None
    if isinstance(pixels, Place):
        pixels, ticket = find(pixels)
    if channels_last:
        pixels = pixels.movedim(-1, 1)
    return Batch(pixels, torch.tensor(labels), torch.tensor(indices), errors, normalising=normalising, ticket=ticket)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Python's, NumPy's and torch's CPU generators seeded by `numbers` inside, and as they were before outside.

    A loader's worker process has nobody who would miss the state before, so there it is not restored.
    """
    states = None
    if get_worker_info() is None:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    words = np.random.SeedSequence(numbers).generate_state(6)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])  # noqa: NPY002  (timm's transforms draw from the global generator)
    # Not torch.manual_seed, which would seed the GPUs of the training process as well.
    torch.default_generator.manual_seed(int(words[4]) << 31 | int(words[5]) >> 1)
    try:
        yield
    finally:
        if states is not None:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            torch.set_rng_state(states[2])


class PictureDataset(Dataset[Sample]):
    """Samples by key; in the place of one that can't be read stands another, or a blank one.

    Args:
        seed: of the random numbers of all samples.
        substitute: put another sample, chosen by the key, in the place of one that can't be read (training); False
            gives a blank one instead, which its error tells to leave out (evaluation).
    """

    def __init__(self, seed: int, substitute: bool) -> None:
        self.seed, self.substitute = seed, substitute

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def draws(self, key: SampleKey) -> bool:
        """Whether anything about the sample is random."""

    @abstractmethod
    def sample(self, place: int, key: SampleKey, error: str) -> Sample:
        """The sample at `place`, for `key`; ImageError where it can't be read."""

    @abstractmethod
    def blank(self, key: SampleKey, error: str) -> Sample:
        """A black picture."""

    def __getitem__(self, index: SampleKey | int) -> Sample:
        key = index if isinstance(index, SampleKey) else SampleKey(int(index))
        if not self.substitute and not self.draws(key):
            return self._item(key)
        with seeded(self.seed, key.epoch, key.index, key.repeat):
            return self._item(key)

    def _item(self, key: SampleKey) -> Sample:
        try:
            return self.sample(key.index, key, "")
        except ImageError as error:
            first_error = str(error)
        for _ in range(MAX_SUBSTITUTES if self.substitute else 0):
            with suppress(ImageError):  # it will be reported when its own turn comes
                return self.sample(random.randrange(len(self)), key, first_error)
        # Not an exception: from a worker process it would reach the person as a traceback. Whoever reads the errors
        # of the batches ends a run that has too many of them.
        return self.blank(key, first_error)


class ClassificationDataset(PictureDataset[Item]):
    """Pictures of a listing, transformed by one transform, or one per stage of a curriculum; see `PictureDataset`.

    A blank picture has the right label. `bits` is of 16-bit pictures, for transforms that do not read files themselves.
    """

    def __init__(
        self,
        listing: Listing,
        transforms: Transform | Reader | Sequence[Transform | Reader],
        seed: int = 0,
        *,
        substitute: bool = True,
        bits: int | None = None,
    ) -> None:
        super().__init__(seed, substitute)
        self.listing, self.bits = listing, bits
        self.transforms = tuple(transforms) if isinstance(transforms, Sequence) else (transforms,)

    def __len__(self) -> int:
        return len(self.listing.samples)

    @property
    def normalise(self) -> Normalise | None:
        """What pictures that come as bytes still need; None if none do."""
        return next((one.normalise for one in self.transforms if isinstance(one, Reader)), None)

    @property
    def picture_bytes(self) -> int:
        """Of the largest pictures that come as bytes."""
        return max((one.bytes for one in self.transforms if isinstance(one, Reader)), default=0)

    def draws(self, key: SampleKey) -> bool:
        """See `PictureDataset`."""
        transform = self.transforms[key.stage]
        return not isinstance(transform, Reader) or transform.seeded

    def sample(self, place: int, key: SampleKey, error: str) -> Item:
        """See `PictureDataset`."""
        transform, wanted = self.transforms[key.stage], self.listing.samples[place]
        if isinstance(transform, Reader):
            image, erasures = transform.read(wanted.path)
        else:
            image, erasures = Pixels(transform(open_image(wanted.path, bits=self.bits)))
        return Item(image, self.listing.target(place), key.index, error, erasures)

    def blank(self, key: SampleKey, error: str) -> Item:
        """See `PictureDataset`."""
        transform = self.transforms[key.stage]
        black = transform.blank() if isinstance(transform, Reader) else Pixels(transform(Image.new("RGB", (64, 64))))
        return Item(black.image, self.listing.target(key.index), key.index, error)


def collate(
    items: Sequence[Item],
    *,
    normalise: Normalise | None = None,
    channels_last: bool = False,
    slots: Slots | None = None,
) -> Batch | _Parcel:
    """Stack samples into a batch; in a worker, which has `slots`, into what becomes one in the main process."""
    given = [Item(*item) for item in items]
    labels, indices = [item.label for item in given], [item.index for item in given]
    errors, erasures = [item.error for item in given], tuple(item.erasures for item in given)
    images = [item.image.movedim(0, -1) if channels_last else item.image for item in given]
    raw = images[0].dtype == torch.uint8
    normalising = Normalising(normalise, erasures if any(erasures) else ()) if raw and normalise is not None else None
    pixels = slots.fill(images) if slots is not None and normalising is not None else None
    if pixels is None:
        pixels = default_collate(images)
    packed = pixels, channels_last, labels, indices, errors, normalising
    return _unpack(*packed) if get_worker_info() is None else _Parcel(*packed)


class Batches(Protocol):
    """What `make_loader` needs to know: keys batch by batch, and how many batches."""

    def __iter__(self) -> Iterator[list[SampleKey]]: ...
    def __len__(self) -> int: ...


class EpochBatches:
    """The batches of one epoch for one process, from `start_batch` on."""

    def __init__(self, batches: TrainBatches, epoch: int, start_batch: int = 0, stage: int = 0) -> None:
        self._batches = batches
        self.move_to(epoch, start_batch, stage)

    def move_to(self, epoch: int, start_batch: int = 0, stage: int = 0) -> None:
        """Stand for another epoch; a loader with persistent workers that holds this object goes there next."""
        if not 0 <= start_batch <= len(self._batches):
            raise UserError(f"start batch {start_batch} of an epoch of {len(self._batches)} batches")
        self._epoch, self._start, self._stage = epoch, start_batch, stage

    @property
    def batch_size(self) -> int:
        """Samples in a batch, at most."""
        return self._batches.batch_size

    def __len__(self) -> int:
        return len(self._batches) - self._start

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = self._batches.order(self._epoch)
        copies = self._batches.copies(order)
        for batch in range(self._start, len(self._batches)):
            yield [
                SampleKey(int(order[place]), self._epoch, self._stage, int(copies[place]))
                for place in self._batches.places(batch, len(order))
            ]


class TrainBatches:
    """Shuffled batches, epoch by epoch.

    Together the processes take the same samples in the same steps as one process with a batch `world` times larger.

    Args:
        n: number of samples.
        batch_size: per process.
        seed: of the order.
        rank: number of this process.
        world: number of processes.
        repeats: copies of each picture in an epoch, differently augmented (repeated augmentation); an epoch keeps its
            length, so it holds n / repeats different pictures.
        rates: how often each sample comes in an epoch in the mean, n in all; an epoch has that many copies of it,
            rounded up or down at random. None: once each.
        drop_last: leave out the last, smaller batch; False fills it up from the start of the epoch's order, only as far
            as the processes need to have equally much.

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
        repeats: int = 1,
        rates: np.ndarray | None = None,
        drop_last: bool = True,
    ) -> None:
        if batch_size < 1 or repeats < 1 or not 0 <= rank < world:
            raise UserError(
                f"batch size {batch_size} and repeats {repeats} have to be positive, rank {rank} in 0..{world - 1}"
            )
        if n < 1 or (drop_last and n < batch_size * world):
            raise UserError(
                f"{n} training pictures do not fill one batch of {batch_size * world}"
                f" ({batch_size} in each of {counted(world, 'processes')}); use a batch size of at most {n // world}"
                " (--batch-size)"
            )
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.rank, self.world, self.repeats, self.drop_last = rank, world, repeats, drop_last
        self.rates = rates

    def __len__(self) -> int:
        step = self.batch_size * self.world
        return self.n // step if self.drop_last else -(-self.n // step)

    def epoch(self, epoch: int, start_batch: int = 0, stage: int = 0) -> EpochBatches:
        """The batches of one epoch (counted from 0), from `start_batch` on."""
        return EpochBatches(self, epoch, start_batch, stage)

    def order(self, epoch: int) -> np.ndarray:
        """Sample numbers of the whole epoch, over all processes; copies of one picture stand side by side."""
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]))
        order = torch.randperm(self.n, generator=generator).numpy()
        if self.rates is not None:  # systematic sampling: an even comb, laid over the samples at a random place
            ends = np.floor(np.cumsum(self.rates[order]) + torch.rand((), generator=generator).item())
            ends[-1] = self.n
            taken = np.repeat(order, np.diff(ends, prepend=0).astype(np.int64))
            return taken[torch.randperm(self.n, generator=generator).numpy()]
        return np.repeat(order[: -(-self.n // self.repeats)], self.repeats)[: self.n]

    def copies(self, order: np.ndarray) -> np.ndarray:
        """Which of the copies of its sample stands at each place of an epoch's order."""
        if self.rates is None:
            return np.arange(len(order)) % self.repeats
        together = np.argsort(order, kind="stable")
        starts = np.searchsorted(order[together], order[together])
        numbers = np.empty(len(order), np.int64)
        numbers[together] = np.arange(len(order)) - starts
        return numbers

    def places(self, batch: int, total: int) -> list[int]:
        """Places in the epoch's order that form this process's share of one batch."""
        start, stop = batch * self.batch_size * self.world, min(total, (batch + 1) * self.batch_size * self.world)
        padded = stop + -(stop - start) % self.world
        return [place % total for place in range(start + self.rank, padded, self.world)]


def eval_indices(n: int, rank: int = 0, world: int = 1) -> range:
    """The samples that process `rank` evaluates: over all processes each exactly once, none padded."""
    return range(rank, n, world)


def eval_batches(n: int, batch_size: int, rank: int = 0, world: int = 1) -> list[list[SampleKey]]:
    """`eval_indices` in batches; the last may be smaller."""
    keys = [SampleKey(index) for index in eval_indices(n, rank, world)]
    return [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]


def make_loader(
    dataset: Dataset[Item],
    batches: Batches,
    workers: int = 0,
    *,
    pin_memory: bool = False,
    prefetch: int = 2,
    persistent: bool = False,
    channels_last: bool = False,
) -> DataLoader[Item]:
    """A loader that yields `Batch` objects; see `phonecv.data.loading.workers.open_loader`.

    Batches are keys such as ``TrainBatches(...).epoch(3)``; `EpochBatches.move_to` changes the epoch of one that keeps
    its workers.
    """
    slots = None
    if workers:
        largest = batches.batch_size if isinstance(batches, EpochBatches) else max(map(len, batches), default=0)
        # One that is being filled, and those that wait for the main process or are in its hands.
        slots = Slots(workers, prefetch + 1, largest * getattr(dataset, "picture_bytes", 0))
    pack = partial(collate, normalise=getattr(dataset, "normalise", None), channels_last=channels_last, slots=slots)
    return open_loader(
        dataset,
        batches,
        workers,
        collate=pack,
        pin_memory=pin_memory,
        prefetch=prefetch,
        persistent=persistent,
    )
