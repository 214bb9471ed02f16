"""Anchors of feature maps, as plain functions of the maps' sizes.

A level's anchors are ordered by row, column, then kind: the order in which a head's channels are flattened.
Coordinates are computed in float32 as the published systems do, because ties between anchors are decided by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: Aspect ratios (height / width) of SSD's anchors beside the squares.
_SSD_RATIOS = (1.0, 1 / 2, 2.0, 1 / 3, 3.0)

Sizes = Sequence[tuple[int, int]]


def anchors_by_rule(sizes: Sizes, rule: Mapping[str, Any]) -> list[Tensor]:
    """Anchors from a rule that can be written down, for maps of these heights and widths.

    "kind" is "ssd" or "grid"; the rest are the arguments of `ssd_anchors` or `grid_anchors`.
    """
    arguments = {name: value for name, value in rule.items() if name != "kind"}
    return {"ssd": ssd_anchors, "grid": grid_anchors}[rule["kind"]](sizes, **arguments)


def ssd_anchors(
    sizes: Sizes, *, min_sizes: Sequence[float], max_sizes: Sequence[float], strides: Sequence[float]
) -> list[Tensor]:
    """SSD's six anchors per cell, around its centre; ``6*H*W 4`` per level.

    A square of the minimal size, a square of the geometric mean of both sizes, then the minimal size at height /
    width 1/2, 2, 1/3 and 3. Anchors reach beyond the picture.

    Args:
        sizes: height and width of every level's map.
        min_sizes: per level, pixels.
        max_sizes: per level, pixels.
        strides: pixels from cell to cell per level, which need not be those of the maps.
    """
    root = torch.tensor(_SSD_RATIOS).sqrt()
    levels = []
    for size, least, most, stride in zip(sizes, min_sizes, max_sizes, strides, strict=True):
        widths, heights = least / root, least * root
        middle = widths[:1] * (most / least) ** 0.5
        widths = torch.cat([widths[:1], middle, widths[1:]])
        heights = torch.cat([heights[:1], middle, heights[1:]])
        levels.append(_spread(_around(stride / 2, widths, heights), size, stride))
    return levels


def grid_anchors(
    sizes: Sizes, *, strides: Sequence[float], scales: Sequence[float], ratios: Sequence[float]
) -> list[Tensor]:
    """Anchors of RetinaNet and of proposals, around the upper left corner of each cell; ``len*H*W 4`` per level.

    The nominal stride sets sizes and places, also where a map is not exactly the picture's size divided by it.

    Args:
        sizes: height and width of every level's map.
        strides: per level, pixels.
        scales: sizes in strides.
        ratios: height / width; the first ratio with all scales comes first.
    """
    root = torch.tensor(ratios).sqrt()[:, None]
    factors = torch.tensor(scales)[None]
    levels = []
    for size, stride in zip(sizes, strides, strict=True):
        widths = (stride * (1 / root) * factors).flatten()
        heights = (stride * root * factors).flatten()
        levels.append(_spread(_around(0.0, widths, heights), size, stride))
    return levels


def usable_anchors(
    sizes: Sizes, *, pictures: Sizes, strides: Sequence[float], per_cell: int, device: torch.device | None = None
) -> Tensor | None:
    """Which anchors stand on a picture rather than on the padding that other pictures of the batch made necessary.

    Args:
        sizes: height and width of every level's map.
        pictures: height and width of every picture, with the padding of its own.
        strides: per level, pixels.
        per_cell: anchors of a cell.
        device: of the result.

    Returns:
        ``B N``, or None where all of them are.
    """
    masks = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        # Rounded up: a cell that a picture only touches counts.
        rows = torch.tensor([-(-h // stride) for h, _ in pictures])
        columns = torch.tensor([-(-w // stride) for _, w in pictures])
        inside = (torch.arange(height) < rows[:, None])[:, :, None] & (torch.arange(width) < columns[:, None])[:, None]
        masks.append(inside.flatten(1))
    usable = torch.cat(masks, 1)
    if bool(usable.all()):
        return None
    return usable.to(device).repeat_interleave(per_cell, 1)


def _around(centre: float, widths: Tensor, heights: Tensor) -> Tensor:
    half_w, half_h = 0.5 * widths, 0.5 * heights
    return torch.stack([centre - half_w, centre - half_h, centre + half_w, centre + half_h], 1)


def _spread(cell: Tensor, size: tuple[int, int], stride: float) -> Tensor:
    """The anchors of the first cell, repeated over the map."""
    height, width = size
    y = (torch.arange(height) * stride)[:, None].expand(height, width)
    x = (torch.arange(width) * stride)[None].expand(height, width)
    shifts = torch.stack([x, y, x, y], -1).to(cell.dtype)
    return (shifts[:, :, None] + cell).reshape(-1, 4)
