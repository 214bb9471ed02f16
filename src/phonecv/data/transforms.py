"""From an RGB picture to the input tensor: the evaluation transform, and timm's training transform.

Training random numbers come from Python's, NumPy's and torch's global generators, as timm's transforms draw from all
three; the data set seeds them for every sample (see `phonecv.data.loader`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image, ImageOps
from timm.data.auto_augment import AugmentOp, AugMixAugment, AutoAugment, RandAugment
from timm.data.transforms_factory import transforms_imagenet_train
from torch import Tensor
from torchvision import transforms

from phonecv.data.augment import AugmentConfig
from phonecv.preprocessing import Preprocessing

Transform = Callable[[Image.Image], Tensor]

#: Pictures longer than this many times their short side are cut to it before they are resized by the short side:
#: 3000 x 1 pixels would become 768000 x 256 otherwise. The centre crop afterwards keeps far less than that.
MAX_ASPECT = 16

#: Up to this side a training picture is shifted (random crop with this padding) instead of cropped and resized.
TINY_SIZE, TINY_PADDING = 32, 4


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """Short side to ``int(size / crop)`` by Pillow, centre crop, scale to 0..1, normalise."""
    return transforms.Compose(
        [
            LimitAspect(),
            transforms.Resize(preprocessing.resize, _interpolation(preprocessing.interpolation)),
            transforms.CenterCrop(preprocessing.size),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


def train_transform(augment: AugmentConfig, size: int, preprocessing: Preprocessing) -> Transform:
    """timm's training transform for pictures of `size` pixels, safe with every Pillow.

    Sides up to 32 px start with a shift (`RandomCrop` with padding 4 of the picture brought to that size) in place of
    the random resized crop, as EMO and DeiT do for CIFAR.
    """
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
    for operation in _operations(steps):
        operation.magnitude *= augment.magnitude_scale
        if operation.name.startswith("Posterize"):
            # On this one object only: timm itself stays as it is for everybody else in the process.
            operation.aug_fn = posterize
    if size <= TINY_SIZE:
        interpolation = "bilinear" if augment.interpolation == "random" else augment.interpolation
        steps[:1] = [
            LimitAspect(),
            transforms.Resize(size, _interpolation(interpolation)),
            transforms.RandomCrop(size, padding=TINY_PADDING),
        ]
    return transforms.Compose(steps)


class LimitAspect:
    """Cuts the ends off a picture that is longer than `MAX_ASPECT` times its short side; leaves any other as it is."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture, or its middle."""
        width, height = image.size
        longest = MAX_ASPECT * min(width, height)
        if max(width, height) <= longest:
            return image
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        return image.crop((left, top, left + min(width, longest), top + min(height, longest)))

    def __repr__(self) -> str:
        return f"LimitAspect({MAX_ASPECT})"


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


def _interpolation(name: str) -> transforms.InterpolationMode:
    return transforms.InterpolationMode(name)
