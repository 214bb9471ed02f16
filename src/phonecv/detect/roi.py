"""Features of boxes: every box is read from the map whose stride suits its size (Lin et al. 2017, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor

from phonecv.detect.base import full_precision

#: Boxes of this side, and up to twice it, belong to the second finest map.
_SIDE = 112


def level_of(boxes: Tensor, levels: int) -> Tensor:
    """Number of each box's map, 0 for the finest; ``R 4 -> R``, int64.

    Args:
        boxes: in pixels of the prepared pictures.
        levels: how many maps there are.
    """
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    # The summand lifts a side that rounding put just below a border, and keeps a side of zero away from log2.
    return (side / (_SIDE / 2) + 1e-6).log2().floor().clamp(0, levels - 1).long()


def pool(levels: Sequence[Tensor], rois: Tensor, size: int, strides: Sequence[int]) -> Tensor:
    """RoIAlign with half-pixel alignment and as many samples per bin as it has map cells.

    Args:
        levels: maps ``B C H W``, fine to coarse.
        rois: ``R 5``: number of the picture, then its box in pixels of the prepared pictures.
        size: bins per side.
        strides: of the maps, pixels.

    Returns:
        ``R C size size`` in the maps' precision; the computation itself is in float32 at least.
    """
    number = level_of(rois[:, 1:], len(levels))
    order = number.argsort(stable=True)
    parts = rois[order].split(torch.bincount(number, minlength=len(levels)).tolist())
    with torch.autocast(rois.device.type, enabled=False):
        pooled = torch.cat(
            [
                torchvision.ops.roi_align(
                    full_precision(level), part.to(full_precision(level).dtype), size, 1 / stride, 0, aligned=True
                )
                for level, part, stride in zip(levels, parts, strides, strict=True)
            ]
        )
    # Back into the order of the boxes, by a copy whose gradient is a plain selection.
    return torch.empty_like(pooled).index_copy(0, order, pooled).to(levels[0].dtype)


def with_picture(picture: Tensor, boxes: Tensor) -> Tensor:
    """``R``, ``R 4`` -> ``R 5``, the form that `pool` reads."""
    return torch.cat([picture.to(boxes.dtype)[:, None], boxes], 1)
