"""From pictures with label maps to batches, as reproducibly as `phonecv.data.loading.loader` does it for classes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors

from phonecv.data.labelmaps.listing import IGNORE, LabelSplit
from phonecv.data.loading.loader import MAX_SUBSTITUTES, Batches, SampleKey, seeded
from phonecv.data.loading.workers import open_loader
from phonecv.data.pictures.opening import ImageError

#: Takes and gives a picture and its label map (`tv_tensors.Image` and `tv_tensors.Mask`).
PairTransform = Callable[[tv_tensors.Image, tv_tensors.Mask], tuple[Tensor, Tensor]]

#: Side of the black picture that stands for one that can't be used.
_BLANK = 64


class LabelledImage(NamedTuple):
    """One sample.

    Attributes:
        image: ``3 H W``, uint8.
        labels: ``H W``, uint8: classes and 255.
        index: place in the split.
        error: empty, or why the picture or its label map could not be used.
    """

    image: Tensor
    labels: Tensor
    index: int
    error: str


class SegmentationBatch:
    """Samples of one step.

    All pictures lie one after the other in one tensor, and so do all label maps, in bytes: whatever their sizes, a
    batch travels from a worker and to a GPU in two pieces.

    Attributes:
        sizes: height and width of every picture.
        indices: B, int64, places in the split (of the sample asked for, also where another one stands in for it).
        errors: one text per sample, empty where all is well.
    """

    __slots__ = ("_labels", "_pixels", "errors", "indices", "sizes")

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        labels: Tensor | Sequence[Tensor],
        indices: Tensor,
        errors: list[str],
    ) -> None:
        self.sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        self._pixels, self._labels = _flat(images), _flat(labels)
        self.indices, self.errors = indices, errors

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def images(self) -> Tensor | list[Tensor]:
        """``B 3 H W``; a list of ``3 H W`` where sizes differ."""
        return _views(self._pixels, [(3, *size) for size in self.sizes])

    @property
    def labels(self) -> Tensor | list[Tensor]:
        """``B H W``, int64, classes and 255; a list of ``H W`` where sizes differ."""
        return _views(self._labels.long(), self.sizes)

    @property
    def good(self) -> Tensor:
        """B, bool: False where the picture or its label map could not be used."""
        return torch.tensor([not error for error in self.errors], dtype=torch.bool)

    def pin_memory(self) -> SegmentationBatch:
        """For the loader, which calls it when asked for pinned memory."""
        return self._moved(self._pixels.pin_memory(), self._labels.pin_memory())

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> SegmentationBatch:
        """Images and labels on `device`; the rest stays where it is."""
        return self._moved(
            self._pixels.to(device, non_blocking=non_blocking), self._labels.to(device, non_blocking=non_blocking)
        )

    def _moved(self, pixels: Tensor, labels: Tensor) -> SegmentationBatch:
        batch = object.__new__(SegmentationBatch)
        batch.sizes, batch.indices, batch.errors = self.sizes, self.indices, self.errors
        batch._pixels, batch._labels = pixels, labels
        return batch


def _flat(tensors: Tensor | Sequence[Tensor]) -> Tensor:
    return tensors.reshape(-1) if isinstance(tensors, Tensor) else torch.cat([tensor.reshape(-1) for tensor in tensors])


def _views(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> Any:
    if len(set(shapes)) == 1:
        return flat.view(len(shapes), *shapes[0])
    parts = flat.split([prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


class SegmentationDataset(Dataset[LabelledImage]):
    """Pictures of a split with their label maps.

    Args:
        split: what to read.
        transform: see `phonecv.data.labelmaps.transforms`; None decodes only, for evaluation.
        seed: of the random numbers of all samples.
        substitute: put another sample, chosen by the key, in the place of one that can't be used (training); False
            gives a small black picture whose label map is ignored (evaluation, which leaves it out by its error).
        bits: that the values of 16-bit pictures hold, see `phonecv.data.pictures.opening.open_image`.
    """

    def __init__(
        self,
        split: LabelSplit,
        transform: PairTransform | None = None,
        seed: int = 0,
        *,
        substitute: bool,
        bits: int | None = None,
    ) -> None:
        self.bits = bits
        self.split, self.transform, self.seed, self.substitute = split, transform, seed, substitute

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: SampleKey | int) -> LabelledImage:
        key = index if isinstance(index, SampleKey) else SampleKey(index)
        if self.transform is None and not self.substitute:  # nothing random in it
            return self._item(key)
        with seeded(self.seed, key.epoch, key.index, key.repeat):
            return self._item(key)

    def _item(self, key: SampleKey) -> LabelledImage:
        try:
            return LabelledImage(*self._read(key.index), key.index, "")
        except ImageError as error:
            first_error = str(error)
        for _ in range(MAX_SUBSTITUTES if self.substitute else 0):
            try:
                return LabelledImage(*self._read(random.randrange(len(self))), key.index, first_error)
            except ImageError:  # it will be reported when its own turn comes
                continue
        # Not an exception: from a worker process it would reach the person as a traceback. Whoever reads the errors
        # of the batches ends a run that has too many of them.
        nothing = np.full((_BLANK, _BLANK), IGNORE, dtype=np.uint8)
        return LabelledImage(*self._transformed(Image.new("RGB", (_BLANK, _BLANK)), nothing), key.index, first_error)

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        return self._transformed(*self.split.read(index, bits=self.bits))

    def _transformed(self, picture: Image.Image, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        image = tv_tensors.Image(torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous())
        mask = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(labels)))
        if self.transform is None:
            return image.as_subclass(Tensor), mask.as_subclass(Tensor)
        changed_image, changed_mask = self.transform(image, mask)
        return changed_image.as_subclass(Tensor), changed_mask.as_subclass(Tensor)


def collate(items: Sequence[LabelledImage]) -> SegmentationBatch:
    """A batch of samples."""
    return SegmentationBatch(
        [item.image for item in items],
        [item.labels for item in items],
        torch.tensor([item.index for item in items]),
        [item.error for item in items],
    )


def make_segmentation_loader(
    dataset: Dataset[LabelledImage],
    batches: Batches,
    workers: int = 0,
    *,
    pin_memory: bool = False,
    prefetch: int = 2,
    persistent: bool = False,
) -> DataLoader[Any]:
    """A loader that yields `SegmentationBatch` objects; see `phonecv.data.loading.workers.open_loader`."""
    return open_loader(
        dataset, batches, workers, collate, pin_memory=pin_memory, prefetch=prefetch, persistent=persistent
    )
