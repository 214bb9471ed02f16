"""Boxes as ``x1 y1 x2 y2`` in pixels: their code relative to anchors, and their overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: A decoded side is at most 62.5 times its anchor's, and at least 1/62.5 of it.
LOG_SIZE_LIMIT = math.log(1000 / 16)

#: Codes are divided by these: nothing in RetinaNet and proposals ...
UNIT_STDS = (1.0, 1.0, 1.0, 1.0)
#: ... and these in SSDLite and the second stage of Mask R-CNN.
SSD_STDS = (0.1, 0.1, 0.2, 0.2)

#: The least area by which an overlap is divided, square pixels.
_LEAST_AREA = 1e-6


def encode(anchors: Tensor, boxes: Tensor, stds: Sequence[float] = UNIT_STDS) -> Tensor:
    """Codes of `boxes` relative to `anchors`: shift of the centre in anchor sizes, and logarithm of the sizes' ratio.

    Args:
        anchors: ``... 4``.
        boxes: ``... 4``, with area.
        stds: by which each of the four numbers is divided.
    """
    corner, size = anchors[..., :2], anchors[..., 2:] - anchors[..., :2]
    box_corner, box_size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    shift = (box_corner + box_size / 2 - corner - size / 2) / size
    return torch.cat([shift, (box_size / size).log()], -1) / anchors.new_tensor(stds)


def decode(
    anchors: Tensor,
    codes: Tensor,
    stds: Sequence[float] = UNIT_STDS,
    clip: tuple[int, int] | Tensor | None = None,
) -> Tensor:
    """The boxes of `codes`; the inverse of `encode` within the limit of sizes.

    Args:
        anchors: ``... 4``.
        codes: ``... 4``.
        stds: as for `encode`.
        clip: height and width that boxes are cut to, also per box as ``... 2``; None for no cutting.
    """
    codes = codes * codes.new_tensor(stds)
    corner, size = anchors[..., :2], anchors[..., 2:] - anchors[..., :2]
    centre = corner + size / 2 + codes[..., :2] * size
    half = size * codes[..., 2:].clamp(-LOG_SIZE_LIMIT, LOG_SIZE_LIMIT).exp() / 2
    boxes = torch.cat([centre - half, centre + half], -1)
    if clip is None:
        return boxes
    if not isinstance(clip, Tensor):
        height, width = clip
        clip = boxes.new_tensor((height, width))
    # y x -> x y x y
    return torch.minimum(boxes.clamp(min=0), clip.to(boxes.dtype).flip(-1).repeat(*[1] * (clip.ndim - 1), 2))


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every pair, ``... G 4`` and ``... N 4`` -> ``... G N``.

    One contiguous plane per coordinate: `torchvision.ops.box_iou` works on pairs of coordinates in the last axis,
    which vectorises badly, and gives NaN for two boxes without area, where this gives 0.
    """
    x1, y1, x2, y2 = boxes.unsqueeze(-1).unbind(-2)  # ... G 1
    u1, v1, u2, v2 = others.movedim(-1, 0).contiguous().unsqueeze(-2)  # ... 1 N
    width = (torch.minimum(x2, u2) - torch.maximum(x1, u1)).clamp_(min=0)
    height = (torch.minimum(y2, v2) - torch.maximum(y1, v1)).clamp_(min=0)
    overlap = width.mul_(height)
    union = ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1)).sub_(overlap)
    return overlap.div_(union.clamp_(min=_LEAST_AREA))


def area(boxes: Tensor) -> Tensor:
    """Of boxes ``... 4``; 0 for those that are none."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def common(boxes: Tensor, others: Tensor) -> Tensor:
    """What boxes ``... 4`` have in common with others, by broadcasting; a box that is none where that is nothing."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    return torch.cat([low, torch.minimum(boxes[..., 2:], others[..., 2:])], -1)
