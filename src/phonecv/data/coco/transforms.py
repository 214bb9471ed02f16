"""What training does to a picture and its objects.

The two published pipelines (SSDLite's; that of RetinaNet and Mask R-CNN) and a light one for small data sets. Each is
called with a picture and its targets as tv_tensors, as `DetectionDataset` does, and can stand in a Compose of
torchvision.transforms.v2. Normalising and padding are left to the detector, which knows how.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import exp, log
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from phonecv.data.coco.geometry import View, expanded, flipped, min_iou_crop, see, visible_share
from phonecv.data.pictures.colours import hue_turned, saturated
from phonecv.errors import UserError
from phonecv.preprocessing import IMAGENET_MEAN, DensePreprocessing

#: Crops tried by `LightTransform` before it takes the whole picture.
_TRIES = 10

Sample = tuple[Any, dict[str, Any]]


@dataclass(frozen=True)
class SSDTransform:
    """The published training of SSDLite: expand, crop by overlap, stretch to a square, flip, colours.

    Gives floats that may leave 0..1, as the colours are not cut.

    Attributes:
        size: side of the square, pixels.
        mean: colour around an expanded picture, RGB in 0..1.
        hflip: probability of a left-right flip.

    Raises:
        UserError: a value out of range.
    """

    size: int
    mean: Sequence[float] = IMAGENET_MEAN
    hflip: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        DensePreprocessing(self.size)
        _check_share(hflip=self.hflip)

    def __call__(self, image: Any, targets: dict[str, Any]) -> Sample:
        """Picture and targets as tv_tensors, transformed."""
        height, width = image.shape[-2:]
        canvas = expanded(width, height) if random.random() < 0.5 else View(0, 0, width, height)
        boxes = targets["boxes"].as_subclass(Tensor) - torch.tensor([canvas.left, canvas.top] * 2)
        crop, keep = min_iou_crop(boxes, int(canvas.width), int(canvas.height))
        view = crop._replace(left=canvas.left + crop.left, top=canvas.top + crop.top)
        image, targets = see(image, targets, view, (self.size, self.size), keep=keep, fill=self.mean)
        image, targets = flipped(image, targets, horizontal=self.hflip)
        return tv_tensors.Image(photometric_distortion(image.as_subclass(Tensor))), targets


@dataclass(frozen=True)
class ResizeTransform:
    """The published training of RetinaNet and Mask R-CNN: resize as for evaluation, flip. Gives bytes.

    Attributes:
        size: length of the short side, or side of the square, pixels.
        longest: most of the long side; the aspect is kept. None for a square.
        hflip: probability of a left-right flip.

    Raises:
        UserError: a value out of range.
    """

    size: int
    longest: int | None = None
    hflip: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        DensePreprocessing(self.size, self.longest)
        _check_share(hflip=self.hflip)

    def __call__(self, image: Any, targets: dict[str, Any]) -> Sample:
        """Picture and targets as tv_tensors, transformed."""
        size = list(DensePreprocessing(self.size, self.longest).target(*image.shape[-2:]))
        moving = {name: targets[name] for name in ("boxes", "masks") if name in targets}
        # Without antialiasing, as the published systems and the detectors' own preprocessing do.
        resized = {name: v2.functional.resize(value, size, antialias=False) for name, value in moving.items()}
        # A rounded factor may carry them a hair beyond the border.
        resized["boxes"] = v2.functional.clamp_bounding_boxes(resized["boxes"])
        image = v2.functional.resize(image, size, antialias=False)
        return flipped(image, targets | resized, horizontal=self.hflip)


@dataclass(frozen=True)
class LightTransform:
    """For small data sets: the picture larger or smaller by a random factor, at a random place, flips, mild colours.

    Where the factor is above 1 a part of the picture fills the result, where it is below there is `mean` around it.
    Gives bytes, resized as for evaluation.

    Attributes:
        size: length of the short side, or side of the square, pixels.
        longest: most of the long side; None for a square.
        mean: colour around the picture, RGB in 0..1.
        scale: range of the factor.
        aspect: most that width and height are stretched against each other.
        hflip: probability of a left-right flip; 0 where left and right differ in meaning, as with writing.
        vflip: probability of an upside-down flip; .5 suits pictures from above or through a microscope.
        color: strength of random brightness, contrast and saturation; at 0.2 hue turns by up to 7 degrees.
        visible: objects of which less than this share is left are left out; of tiles, where targets have "ignored",
            they are ignored.

    Raises:
        UserError: a value out of range.
    """

    size: int
    longest: int | None = None
    _: KW_ONLY
    mean: Sequence[float] = IMAGENET_MEAN
    scale: tuple[float, float] = (0.5, 1.5)
    aspect: float = 1.2
    hflip: float = 0.5
    vflip: float = 0.0
    color: float = 0.2
    visible: float = 0.3

    def __post_init__(self) -> None:
        DensePreprocessing(self.size, self.longest)
        _check_share(hflip=self.hflip, vflip=self.vflip, visible=self.visible)
        if not (0 < self.scale[0] <= self.scale[1] and self.aspect >= 1 and self.color >= 0):
            raise UserError(
                f"scale {list(self.scale)} has to rise and be positive, aspect {self.aspect} at least 1,"
                f" color {self.color} at least 0; usual values are [0.5, 1.5], 1.2 and 0.2"
            )

    def __call__(self, image: Any, targets: dict[str, Any]) -> Sample:
        """Picture and targets as tv_tensors, transformed."""
        height, width = image.shape[-2:]
        boxes, skipped = targets["boxes"].as_subclass(Tensor), targets["crowd"]
        if "ignored" in targets:
            skipped = skipped | targets["ignored"]
        view, keep = self._choose(width, height, boxes, skipped)
        if "ignored" in targets:
            targets = targets | {"ignored": targets["ignored"] | ~keep}
            keep = visible_share(boxes, view) > 0
        size = DensePreprocessing(self.size, self.longest).target(max(1, round(view.height)), max(1, round(view.width)))
        image, targets = see(image, targets, view, size, keep=keep, fill=self.mean)
        image, targets = flipped(image, targets, horizontal=self.hflip, vertical=self.vflip)
        pixels = image.as_subclass(Tensor)
        if self.color:
            factors = (max(0.0, 1 - self.color), 1 + self.color)
            pixels = photometric_distortion(
                pixels,
                brightness=self.color / 2,
                contrast=factors,
                saturation=factors,
                hue=min(180.0, 36 * self.color),
                shuffle=False,
            )
        return tv_tensors.Image((pixels * 255).round_().clamp_(0, 255).to(torch.uint8)), targets

    def _choose(self, width: int, height: int, boxes: Tensor, crowd: Tensor) -> tuple[View, Tensor]:
        """A view that shows at least one of the objects, if there are any, and which of them it shows."""
        for _ in range(_TRIES):
            factor = exp(random.uniform(log(self.scale[0]), log(self.scale[1])))
            stretch = exp(random.uniform(-log(self.aspect), log(self.aspect)) / 2)
            wide, tall = width / factor * stretch, height / factor / stretch
            view = View(random.random() * (width - wide), random.random() * (height - tall), wide, tall)
            keep = visible_share(boxes, view) >= max(self.visible, 1e-6)
            if (keep & ~crowd).any() or crowd.all():
                return view, keep
        return View(0, 0, width, height), torch.ones(len(boxes), dtype=torch.bool)


def _check_share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name} {value} is not in 0..1")


def photometric_distortion(
    image: Tensor,
    *,
    brightness: float = 32 / 255,
    contrast: tuple[float, float] = (0.5, 1.5),
    saturation: tuple[float, float] = (0.5, 1.5),
    hue: float = 18.0,
    shuffle: bool = True,
) -> Tensor:
    """The published SSD's: brightness, contrast, saturation, hue, order of the channels, each half of the time.

    torchvision's `RandomPhotometricDistort` is another one: there brightness is a factor and not an offset, contrast is
    changed around the picture's mean gray and not around black, and every step cuts values to 0..1.

    Contrast comes before saturation or after hue, as a coin says. Values are not cut, so they may leave 0..1.

    Args:
        image: 3 H W, floats with 1 for white.
        brightness: largest offset, either way.
        contrast: range of the factor on all values.
        saturation: range of the factor on the saturation, which is cut at 1.
        hue: largest turn, either way, in degrees.
        shuffle: whether the order of the channels may change.
    """

    def chosen() -> bool:
        return random.random() < 0.5

    if chosen():
        image = image + random.uniform(-brightness, brightness)
    contrast_first = chosen()
    if contrast_first and chosen():
        image = image * random.uniform(*contrast)
    if chosen():
        image = saturated(image, random.uniform(*saturation))
    if chosen():
        image = hue_turned(image, random.uniform(-hue, hue))
    if not contrast_first and chosen():
        image = image * random.uniform(*contrast)
    if shuffle and chosen():
        image = image[random.sample(range(3), 3)]
    return image
