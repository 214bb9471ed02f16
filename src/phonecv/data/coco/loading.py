"""From a COCO split to batches of pictures with boxes, reproducibly; large pictures perhaps cut into tiles, so that
small objects keep their size.

As with classification (`phonecv.data.loading.loader`), everything random about a sample comes from (seed, epoch,
index, repeat) alone, so the same batches arrive with any number of worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from phonecv.data.coco.geometry import View, bounding_boxes, visible_share
from phonecv.data.coco.split import CocoSplit
from phonecv.data.loading.batches import StepBatch, views
from phonecv.data.loading.loader import PictureDataset, SampleKey
from phonecv.data.loading.workers import open_loader
from phonecv.data.pictures.opening import ImageError, open_image
from phonecv.data.pictures.reading import to_tensor
from phonecv.errors import UserError

#: Boxes narrower than this after a transform are nothing that could be found, in pixels.
SMALLEST = 1e-3

#: Takes and gives a picture (`tv_tensors.Image`) and its targets, boxes and masks among them as tv_tensors: any
#: transform of torchvision.transforms.v2 that keeps the targets in step, and those of `detection_transforms`.
DetectionTransform = Callable[[Any, dict[str, Any]], tuple[Any, dict[str, Any]]]

#: Of an object that a tile shows so much of (a share of its box) is learnt what is seen; with less of it, it is neither
#: an object nor background. As much as `phonecv.data.coco.transforms.LightTransform` asks for.
VISIBLE = 0.3

#: Tiles without any object for each one with some: enough to learn what there is elsewhere.
EMPTY = 0.1


class DetectionItem(NamedTuple):
    """One sample.

    Attributes:
        image: 3 H W; bytes, or floats with 1 for white.
        targets: boxes N 4 (xyxy in the picture's pixels), labels N, crowd N, masks N H W if asked for, and of tiles
            ignored N: too little of the object is seen.
        index: place in the split.
        error: empty, or why the file could not be used.
    """

    image: Tensor
    targets: dict[str, Tensor]
    index: int
    error: str


class Packed(NamedTuple):
    """A batch end to end in a few tensors: each of them costs a message between processes and a copy to the GPU.

    Attributes:
        pixels: all pictures flattened, one after the other.
        masks: the same of all masks, bool; None without masks.
        boxes: 4 columns, the objects of all pictures.
        labels: of the same.
        crowd: of the same.
        ignored: of the same; None where nothing is cut.
        sizes: height and width of every picture.
        counts: objects of every picture.
    """

    pixels: Tensor
    masks: Tensor | None
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    ignored: Tensor | None
    sizes: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]


#: Columns of all objects.
_COLUMNS = ("boxes", "labels", "crowd", "ignored")


class DetectionBatch(StepBatch):
    """Samples of one step.

    Args:
        images: 3 H W each; bytes, or floats with 1 for white.
        wanted: per picture boxes N 4 (xyxy), labels N, crowd N and ignored N (all False if left out), and masks N H W
            or none.
        indices: see `StepBatch`.
        errors: one text per sample.
    """

    def _hold(self, images: Sequence[Tensor], wanted: Sequence[dict[str, Tensor]]) -> None:
        self._packed = _pack(images, wanted)

    @classmethod
    def _from(cls, packed: Packed, indices: Tensor, errors: list[str]) -> DetectionBatch:
        batch = cls.__new__(cls)
        batch.indices, batch.errors, batch._packed = indices, errors, packed
        return batch

    @cached_property
    def images(self) -> list[Tensor]:
        """The pictures, 3 H W each."""
        return views(self._packed.pixels, [(3, *size) for size in self._packed.sizes])

    @cached_property
    def targets(self) -> list[dict[str, Tensor]]:
        """Boxes, labels, crowd, and ignored and masks if there are any, of every picture."""
        packed, counts = self._packed, list(self._packed.counts)
        columns: dict[str, Sequence[Tensor]] = {
            name: getattr(packed, name).split(counts) for name in _COLUMNS if getattr(packed, name) is not None
        }
        if packed.masks is not None:
            shapes = [(count, *size) for count, size in zip(counts, packed.sizes, strict=True)]
            columns["masks"] = views(packed.masks, shapes)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _each(self, change: Callable[[Tensor], Any]) -> DetectionBatch:
        changed = {name: change(part) for name, part in self._packed._asdict().items() if isinstance(part, Tensor)}
        return DetectionBatch._from(self._packed._replace(**changed), self.indices, self.errors)

    def __reduce__(self) -> tuple[Any, ...]:
        # From a worker process: every tensor would travel as a file descriptor of its own, which takes longer than the
        # few numbers of all but pixels and masks.
        small = {name: part.numpy() for name in _COLUMNS if (part := getattr(self._packed, name)) is not None}
        return _unpack, (self._packed._replace(**small), self.indices.tolist(), self.errors)


def _unpack(packed: Packed, indices: list[int], errors: list[str]) -> DetectionBatch:
    columns = ((name, getattr(packed, name)) for name in _COLUMNS)
    small: dict[str, Any] = {name: torch.from_numpy(part) for name, part in columns if part is not None}
    return DetectionBatch._from(packed._replace(**small), torch.tensor(indices), errors)


def _pack(images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Packed:
    if len({image.dtype for image in images}) > 1:
        raise UserError("pictures of one batch are bytes and floats; let the transform always give the same")
    boxes = [target["boxes"] for target in targets]
    crowd, ignored = (
        [target.get(name, torch.zeros(len(target["labels"]), dtype=torch.bool)) for target in targets]
        for name in ("crowd", "ignored")
    )
    masks = None
    if all("masks" in target for target in targets):
        masks = torch.cat([target["masks"].to(torch.bool).reshape(-1) for target in targets])
    return Packed(
        torch.cat([image.reshape(-1) for image in images]),
        masks,
        torch.cat(boxes),
        torch.cat([target["labels"] for target in targets]),
        torch.cat(crowd),
        torch.cat(ignored) if any("ignored" in target for target in targets) else None,
        tuple((int(image.shape[1]), int(image.shape[2])) for image in images),
        tuple(map(len, boxes)),
    )


@dataclass(frozen=True, slots=True)
class TilePlan:
    """The tiles that a training looks at.

    Attributes:
        pictures: T int64, places in the split.
        views: T 4 int64, x1 y1 x2 y2 in pixels of the picture.
        empty: how many show no object.
    """

    pictures: np.ndarray
    views: np.ndarray
    empty: int

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def lying(self) -> np.ndarray:
        """T bool: wider than high."""
        sides = self.views[:, 2:] - self.views[:, :2]
        return sides[:, 0] > sides[:, 1]


def plan_tiles(split: CocoSplit, views_of: Callable[[int, int], Tensor], *, empty: bool, seed: int) -> TilePlan:
    """The tiles around objects, some without any, and every picture that is one tile.

    Args:
        split: the pictures.
        views_of: height and width -> tiles ``V 4``.
        empty: whether tiles without objects are taken, too: one for ten others, drawn by `seed`.
        seed: of the draw.
    """
    taken: list[tuple[int, ...]] = []
    bare: list[tuple[int, ...]] = []
    for place, (height, width) in enumerate(
        zip(split.images.heights.tolist(), split.images.widths.tolist(), strict=True)
    ):
        views = views_of(height, width)
        if len(views) == 1:
            taken.append((place, *views[0].tolist()))
            continue
        targets = split.targets(place, masks=False)
        boxes = targets["boxes"][~targets["crowd"]]
        for view in views.tolist():
            share = visible_share(boxes, _view(view))
            if bool((share >= VISIBLE).any()):
                taken.append((place, *view))
            elif not bool((share > 0).any()):
                bare.append((place, *view))
    count = min(len(bare), round(EMPTY * len(taken))) if empty else 0
    drawn = np.random.default_rng(seed).choice(len(bare), count, replace=False) if count else []
    rows = np.array(sorted([*taken, *(bare[number] for number in drawn)]), dtype=np.int64).reshape(-1, 5)
    return TilePlan(rows[:, 0], rows[:, 1:], count)


def cut_out(image: Tensor, targets: dict[str, Any], view: np.ndarray) -> tuple[Tensor, dict[str, Any]]:
    """A tile of a picture ``3 H W`` and what is on it; targets get "ignored" (N bool): too little of it is seen."""
    left, top, right, bottom = view.tolist()
    share = visible_share(targets["boxes"], _view(view.tolist()))
    keep = share > 0
    shown = {name: value[keep] for name, value in targets.items()}
    limits = torch.tensor([right - left, bottom - top] * 2)
    shown["boxes"] = torch.minimum((shown["boxes"] - torch.tensor([left, top] * 2)).clamp(min=0), limits)
    shown["ignored"] = share[keep] < VISIBLE
    if "masks" in shown:
        shown["masks"] = shown["masks"][:, top:bottom, left:right]
    return image[:, top:bottom, left:right], shown


def _view(corners: list[int]) -> View:
    left, top, right, bottom = corners
    return View(left, top, right - left, bottom - top)


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
        nothing = torch.zeros(0, dtype=torch.bool)
        targets = {"boxes": torch.zeros(0, 4), "labels": nothing.long(), "crowd": nothing}
        if self.masks:
            targets["masks"] = torch.zeros(0, 64, 64, dtype=torch.bool)
        black = torch.zeros(3, 64, 64, dtype=torch.uint8)
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


def _transformed(
    image: Tensor, targets: dict[str, Tensor], transform: DetectionTransform | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Transformed as tv_tensors and plain again, boxes cut at the border and those outside left out."""
    if transform is not None:
        wrapped: dict[str, Any] = dict(targets)
        wrapped["boxes"] = bounding_boxes(targets["boxes"], (int(image.shape[1]), int(image.shape[2])))
        if "masks" in targets:
            # Bytes, because torch resizes no truth values.
            wrapped["masks"] = tv_tensors.Mask(targets["masks"].view(torch.uint8))
        picture, wrapped = transform(tv_tensors.Image(image), wrapped)
        image = picture.as_subclass(Tensor)
        targets = {name: wrapped[name].as_subclass(Tensor).to(value.dtype) for name, value in targets.items()}
    height, width = image.shape[1:]
    boxes = torch.minimum(targets["boxes"].clamp(min=0), torch.tensor([width, height, width, height]))
    keep = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
    return image, {name: (boxes if name == "boxes" else value)[keep] for name, value in targets.items()}


#: A loader that yields `DetectionBatch` objects, see `open_loader`.
make_detection_loader = partial(open_loader, collate=DetectionBatch.of)
