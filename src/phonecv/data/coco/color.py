"""The colour changes of the published SSD training.

torchvision's `RandomPhotometricDistort` is another one: there brightness is a factor and not an offset, contrast is
changed around the picture's mean gray and not around black, and every step cuts values to 0..1.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor


def photometric_distortion(
    image: Tensor,
    *,
    brightness: float = 32 / 255,
    contrast: tuple[float, float] = (0.5, 1.5),
    saturation: tuple[float, float] = (0.5, 1.5),
    hue: float = 18.0,
    shuffle: bool = True,
    probability: float = 0.5,
) -> Tensor:
    """Brightness, contrast, saturation, hue and the order of the channels, each changed with `probability`.

    Contrast comes before saturation or after hue, as a coin says. Values are not cut, so they may leave 0..1.

    Args:
        image: 3 H W, floats with 1 for white.
        brightness: largest offset, either way.
        contrast: range of the factor on all values.
        saturation: range of the factor on the saturation, which is cut at 1.
        hue: largest turn, either way, in degrees.
        shuffle: whether the order of the channels may change.
        probability: of each change.
    """

    def chosen() -> bool:
        return random.random() < probability

    if chosen():
        image = image + random.uniform(-brightness, brightness)
    contrast_first = random.random() < 0.5
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


def saturated(image: Tensor, factor: float) -> Tensor:
    """Saturation times `factor`, at most 1; hue and the largest channel stay. A pixel without light has none."""
    value, low = image.amax(0), image.amin(0)
    saturation = (value - low) / value.clamp(min=1e-8)
    ratio = (saturation * factor).clamp(max=1) / saturation.clamp(min=1e-8)
    ratio = torch.where((value > 0) & (saturation > 0), ratio, 1.0)
    return value - (value - image) * ratio


def hue_turned(image: Tensor, degrees: float) -> Tensor:
    """Every pixel's hue turned; its largest and smallest channel keep their values."""
    value, chroma = image.amax(0), image.amax(0) - image.amin(0)
    red, green, blue = image
    safe = chroma.clamp(min=1e-8)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    # How far each channel lies below the largest, by the distance on the circle of six sectors.
    around = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + sector + degrees / 60) % 6
    return value - chroma * torch.minimum(around, 4 - around).clamp(0, 1)
