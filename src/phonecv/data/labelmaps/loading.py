"""From pictures with label maps to batches, as reproducibly as `phonecv.data.loading.loader` does it for classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from phonecv.data.labelmaps.listing import IGNORE, LabelSplit
from phonecv.data.loading.batches import StepBatch, views
from phonecv.data.loading.loader import PictureDataset, SampleKey
from phonecv.data.loading.workers import open_loader

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


class SegmentationBatch(StepBatch):
    """Samples of one step.

    All pictures lie one after the other in one tensor, and so do all label maps, in bytes: whatever their sizes, a
    batch travels from a worker and to a GPU in two pieces.

    Attributes:
        sizes: height and width of every picture.
    """

    __slots__ = ("_labels", "_pixels", "sizes")
    moving = ("_pixels", "_labels")

    def _hold(self, images: Tensor | Sequence[Tensor], wanted: Tensor | Sequence[Tensor]) -> None:
        self.sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        self._pixels, self._labels = _flat(images), _flat(wanted)

    @property
    def images(self) -> Tensor | list[Tensor]:
        """``B 3 H W``; a list of ``3 H W`` where sizes differ."""
        return _views(self._pixels, [(3, *size) for size in self.sizes])

    @property
    def labels(self) -> Tensor | list[Tensor]:
        """``B H W``, int64, classes and 255; a list of ``H W`` where sizes differ."""
        return _views(self._labels.long(), self.sizes)


def _flat(tensors: Tensor | Sequence[Tensor]) -> Tensor:
    return tensors.reshape(-1) if isinstance(tensors, Tensor) else torch.cat([tensor.reshape(-1) for tensor in tensors])


def _views(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> Any:
    return flat.view(len(shapes), *shapes[0]) if len(set(shapes)) == 1 else views(flat, shapes)


class SegmentationDataset(PictureDataset[LabelledImage]):
    """Pictures of a split with their label maps; see `PictureDataset`. That of a blank picture is ignored.

    `transform` is of `phonecv.data.labelmaps.transforms`; None decodes only, for evaluation. `bits` is what the values
    of 16-bit pictures hold, see `phonecv.data.pictures.opening.open_image`.
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
        super().__init__(seed, substitute)
        self.split, self.transform, self.bits = split, transform, bits

    def __len__(self) -> int:
        return len(self.split)

    def draws(self, key: SampleKey) -> bool:
        """See `PictureDataset`."""
        return self.transform is not None

    def sample(self, place: int, key: SampleKey, error: str) -> LabelledImage:
        """See `PictureDataset`."""
        return LabelledImage(*self._transformed(*self.split.read(place, bits=self.bits)), key.index, error)

    def blank(self, key: SampleKey, error: str) -> LabelledImage:
        """See `PictureDataset`."""
        nothing = np.full((_BLANK, _BLANK), IGNORE, dtype=np.uint8)
        return LabelledImage(*self._transformed(Image.new("RGB", (_BLANK, _BLANK)), nothing), key.index, error)

    def _transformed(self, picture: Image.Image, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        image = tv_tensors.Image(torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous())
        mask = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(labels)))
        if self.transform is None:
            return image.as_subclass(Tensor), mask.as_subclass(Tensor)
        changed_image, changed_mask = self.transform(image, mask)
        return changed_image.as_subclass(Tensor), changed_mask.as_subclass(Tensor)


#: A loader that yields `SegmentationBatch` objects, see `open_loader`.
make_segmentation_loader = partial(open_loader, collate=SegmentationBatch.of)
