"""From pictures to input tensors: timm's training transform (that of evaluation is in `phonecv.data.pictures.reading`).

Random numbers come from Python's, NumPy's and torch's global generators, as timm's transforms draw from all
three; the data set seeds them for every sample (see `phonecv.data.loading.loader`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from timm.data.auto_augment import AugmentOp, AugMixAugment, AutoAugment, RandAugment
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import MaybeToTensor
from timm.data.transforms_factory import transforms_imagenet_train
from torch import Tensor
from torch.nn import functional
from torchvision import transforms

from phonecv.data.folders.augment import AugmentConfig
from phonecv.data.pictures.crops import Part, open_part
from phonecv.data.pictures.normalising import Normalise, choose_erasures
from phonecv.data.pictures.reading import FILTERS, LimitAspect, Pixels, Reader, eval_transform, to_tensor
from phonecv.data.pictures.shears import FASTER
from phonecv.preprocessing import Preprocessing

__all__ = ["AugmentConfig", "LimitAspect", "TrainTransform", "eval_transform", "posterize", "train_transform"]

#: Up to this side a training picture is shifted (random crop with this padding) instead of cropped and resized.
TINY_SIZE, TINY_PADDING = 32, 4


def train_transform(augment: AugmentConfig, size: int, preprocessing: Preprocessing) -> transforms.Compose:
    """timm's training transform for pictures of `size` pixels, safe with every Pillow.

    Called with a picture, it gives what timm gives, to the bit. Unless `augment.reading` is "exact", it is a `Reader`
    as well and takes files much faster, to nearly the same pixels.

    Sides up to 32 px start with a shift (`RandomCrop` with padding 4 of the picture brought to that size) in place of
    the random resized crop, as EMO and DeiT do for CIFAR.
    """
    steps = _timm_steps(augment, size, preprocessing)
    if size <= TINY_SIZE:
        interpolation = "bilinear" if augment.interpolation == "random" else augment.interpolation
        steps[:1] = [
            LimitAspect(),
            transforms.Resize(size, transforms.InterpolationMode(interpolation)),
            transforms.RandomCrop(size, padding=TINY_PADDING),
        ]
        return transforms.Compose(steps)
    return (
        transforms.Compose(steps) if augment.reading == "exact" else TrainTransform(steps, augment, size, preprocessing)
    )


class TrainTransform(transforms.Compose, Reader):
    """timm's transform, and the same reading from files: equal random decisions, nearly equal pixels.

    What differs from timm's pixels: torch resizes where Pillow does (64 dB), very large crops are decoded at a fraction
    of their size (`phonecv.data.pictures.crops`), shears and translations round differently
    (`phonecv.data.pictures.shears`).
    """

    seeded = True

    def __init__(self, steps: list[Any], augment: AugmentConfig, size: int, preprocessing: Preprocessing) -> None:
        super().__init__(steps)
        self.normalise = Normalise(preprocessing.mean, preprocessing.std)
        self.side, self._augment, self._bits = size, augment, preprocessing.bits
        self._crop, *rest = _timm_steps(augment, size, preprocessing)
        for operation in _operations(rest):
            operation.aug_fn = FASTER.get(operation.name, operation.aug_fn)
        # Flips, normalising and erasing are done on tensors here; what is left needs a Pillow picture.
        done = (
            transforms.RandomHorizontalFlip,
            transforms.RandomVerticalFlip,
            transforms.Grayscale,
            MaybeToTensor,
            transforms.Normalize,
        )
        self._policy = [step for step in rest if not isinstance(step, (*done, RandomErasing))]

    def read(self, path: Path) -> Pixels:
        """See `Reader`."""
        augment, side = self._augment, self.side
        part = open_part(path, self._choose, side=side, bits=self._bits)
        interpolations = self._crop.interpolation
        chosen = random.choice(interpolations) if isinstance(interpolations, (tuple, list)) else interpolations
        image = resized_part(part, side, chosen.value)
        for probability, axis in ((augment.hflip, 2), (augment.vflip, 1)):
            # Drawn as torchvision draws it.
            if probability > 0 and torch.rand(1) < probability:
                image = image.flip(axis)
        if self._policy:
            picture = from_planes(image)
            for step in self._policy:
                picture = step(picture)
            image = to_planes(picture)
        return Pixels(image, choose_erasures(augment.erasing, augment.erasing_mode, augment.erasing_count, side))

    def _choose(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        width, height = size
        # timm asks a picture for its size only, which a tensor without memory has, too.
        stand_in: Any = torch.empty(()).expand(3, height, width)
        top, left, height, width = self._crop.get_params(stand_in, self._crop.scale, self._crop.ratio)
        return left, top, left + width, top + height


def _timm_steps(augment: AugmentConfig, size: int, preprocessing: Preprocessing) -> list[Any]:
    pipeline = transforms_imagenet_train(
        size,
        scale=augment.scale,
        ratio=augment.ratio,
        hflip=augment.hflip,
        vflip=augment.vflip,
        color_jitter=augment.color_jitter or None,  # pyrefly: ignore[bad-argument-type]
        auto_augment=augment.auto_augment,
        interpolation=augment.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        re_prob=augment.erasing,
        re_mode=augment.erasing_mode,
        re_count=augment.erasing_count,
    )
    assert isinstance(pipeline, transforms.Compose)
    steps = list(pipeline.transforms)
    if preprocessing.channels == 1:
        place = next(place for place, step in enumerate(steps) if isinstance(step, MaybeToTensor))
        steps.insert(place, transforms.Grayscale())
    for operation in _operations(steps):
        operation.magnitude *= augment.magnitude_scale
        if operation.name.startswith("Posterize"):
            # On this one object only: timm itself stays as it is for everybody else in the process.
            operation.aug_fn = posterize
    return steps


def from_planes(image: Tensor) -> Image.Image:
    """3 H W, uint8, one colour after the other in memory, as an RGB picture."""
    return Image.merge("RGB", [Image.fromarray(plane) for plane in image.numpy()])


def to_planes(image: Image.Image) -> Tensor:
    """An RGB picture as 3 H W, uint8; in memory the colours follow one another row by row, as Pillow does quickly."""
    rows = torch.frombuffer(bytearray(image.tobytes("raw", "RGB;L")), dtype=torch.uint8)
    return rows.view(image.height, 3, image.width).permute(1, 0, 2)


def resized_part(part: Part, side: int, interpolation: str) -> Tensor:
    """The crop of a part brought to `side` x `side` pixels: 3 H W, uint8."""
    height, width, _ = part.pixels.shape
    if part.box != (0, 0, width, height):
        return to_tensor(Image.fromarray(part.pixels).resize((side, side), FILTERS[interpolation], box=part.box))
    # Pillow's filter in whole numbers with vector instructions, four times as fast.
    pixels = torch.from_numpy(part.pixels).permute(2, 0, 1)[None]
    return functional.interpolate(pixels, (side, side), mode=interpolation, antialias=True)[0]


def posterize(img: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    """Keep the highest bits of each channel; none leaves a black picture, where Pillow 13 raises an error.

    timm's "increasing" posterize reaches 0 bits at magnitude 10, about once in 650 pictures of "rand-m9-mstd0.5-inc1".
    """
    if bits_to_keep >= 8:
        return img
    if bits_to_keep <= 0:
        return Image.new(img.mode, img.size)
    return ImageOps.posterize(img, bits_to_keep)


def _operations(steps: list[Any]) -> Iterator[AugmentOp]:
    """All operations of the automatic augmentation within `steps`."""
    for step in steps:
        if isinstance(step, (RandAugment, AugMixAugment)):
            yield from step.ops
        elif isinstance(step, AutoAugment):
            yield from (operation for policy in step.policy for operation in policy)
