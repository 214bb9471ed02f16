"""From a COCO split to batches of pictures with boxes, reproducibly.

As with classification (`phonecv.data.loading.loader`), everything random about a sample comes from (seed, epoch,
index, repeat) alone, so the same batches arrive with any number of worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phonecv.data.coco.batch import DetectionBatch, DetectionItem
from phonecv.data.coco.split import CocoSplit
from phonecv.data.coco.tiles import TilePlan, cut_out
from phonecv.data.loading.loader import PictureDataset, SampleKey
from phonecv.data.loading.workers import open_loader
from phonecv.data.pictures.opening import ImageError, open_image
from phonecv.data.pictures.reading import to_tensor

__all__ = ["DetectionBatch", "DetectionDataset", "DetectionItem", "DetectionTransform", "make_detection_loader"]

#: Boxes narrower than this after a transform are nothing that could be found, in pixels.
SMALLEST = 1e-3

#: Takes and gives a picture (`tv_tensors.Image`) and its targets, boxes and masks among them as tv_tensors: any
#: transform of torchvision.transforms.v2 that keeps the targets in step, and those of `detection_transforms`.
DetectionTransform = Callable[[Any, dict[str, Any]], tuple[Any, dict[str, Any]]]


class DetectionDataset(PictureDataset[DetectionItem]):
    """Pictures of a split with what is on them; see `PictureDataset`. A blank picture has no objects.

    Args:
        split: what to read.
        transform: what to do to picture and targets, one or one per stage of a training; None gives the picture as it
            is, in bytes.
        seed: see `PictureDataset`, like the next.
        substitute: whether others stand in.
        masks: whether targets hold masks.
        bits: that the values of 16-bit pictures hold, see `phonecv.data.pictures.opening.open_image`.
        tiles: what is looked at of which pictures; None for all of all.
    """

    def __init__(
        self,
        split: CocoSplit,
        transform: DetectionTransform | Sequence[DetectionTransform] | None = None,
        seed: int = 0,
        *,
        substitute: bool,
        masks: bool = False,
        bits: int | None = None,
        tiles: TilePlan | None = None,
    ) -> None:
        super().__init__(seed, substitute)
        self.split, self.masks, self.bits, self.tiles = split, masks, bits, tiles
        self.transforms = (transform,) if callable(transform) or transform is None else tuple(transform)

    def __len__(self) -> int:
        return len(self.split if self.tiles is None else self.tiles)

    def draws(self, key: SampleKey) -> bool:
        """See `PictureDataset`."""
        return self.transforms[key.stage] is not None

    def sample(self, place: int, key: SampleKey, error: str) -> DetectionItem:
        """See `PictureDataset`."""
        return DetectionItem(*self._read(place, self.transforms[key.stage]), key.index, error)

    def blank(self, key: SampleKey, error: str) -> DetectionItem:
        """See `PictureDataset`."""
        black, targets = torch.zeros(3, 64, 64, dtype=torch.uint8), no_targets(64, 64, masks=self.masks)
        return DetectionItem(*_transformed(black, targets, self.transforms[key.stage]), key.index, error)

    def _read(self, index: int, transform: DetectionTransform | None) -> tuple[Tensor, dict[str, Tensor]]:
        view = None if self.tiles is None else self.tiles.views[index]
        place = index if self.tiles is None else int(self.tiles.pictures[index])
        path = self.split.path(place)
        image = to_tensor(open_image(path, bits=self.bits))
        self._check_size(path, place, image)
        targets = self.split.targets(place, masks=self.masks, within=view)
        del targets["area"]
        if view is not None:
            image, targets = cut_out(image, targets, view)
        return _transformed(image, targets, transform)

    def _check_size(self, path: Path, index: int, image: Tensor) -> None:
        height, width = int(self.split.images.heights[index]), int(self.split.images.widths[index])
        if (height, width) != tuple(image.shape[1:]):
            # To scale the boxes would be a guess, and often a wrong one.
            there = f"{image.shape[2]} x {image.shape[1]} pixels"
            turned = ", turned by its EXIF orientation" if (width, height) == tuple(image.shape[1:]) else ""
            raise ImageError(path, f"has {there}{turned}, but its annotations are for {width} x {height}")


def no_targets(height: int, width: int, *, masks: bool) -> dict[str, Tensor]:
    """Targets of a picture without objects."""
    targets = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "crowd": torch.zeros(0, dtype=torch.bool),
    }
    return targets | {"masks": torch.zeros(0, height, width, dtype=torch.bool)} if masks else targets


def _transformed(
    image: Tensor, targets: dict[str, Tensor], transform: DetectionTransform | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Transformed as tv_tensors and plain again, boxes cut at the border and those outside left out."""
    if transform is not None:
        from torchvision import tv_tensors

        from phonecv.data.coco.geometry import bounding_boxes

        wrapped: dict[str, Any] = dict(targets)
        wrapped["boxes"] = bounding_boxes(targets["boxes"], (int(image.shape[1]), int(image.shape[2])))
        if "masks" in targets:
            # Bytes, because torch resizes no truth values.
            wrapped["masks"] = tv_tensors.Mask(targets["masks"].view(torch.uint8))
        picture, wrapped = transform(tv_tensors.Image(image), wrapped)
        image, targets = plain(picture), {name: plain(wrapped[name]).to(targets[name].dtype) for name in targets}
    height, width = image.shape[1:]
    boxes = torch.minimum(targets["boxes"].clamp(min=0), torch.tensor([width, height, width, height]))
    keep = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
    return image, {name: (boxes if name == "boxes" else value)[keep] for name, value in targets.items()}


def plain(value: Tensor) -> Tensor:
    """A tensor that is nothing but a tensor."""
    return value.as_subclass(Tensor)


#: A loader that yields `DetectionBatch` objects, see `open_loader`.
make_detection_loader = partial(open_loader, collate=DetectionBatch.of)
