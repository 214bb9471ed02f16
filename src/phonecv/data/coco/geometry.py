"""Moving pictures, boxes and masks together: a view of a picture, which may reach beyond it.

Cropping, enlarging the canvas and resizing are one step here: which rectangle of the plane ends up in the new picture.
The canvas of the published SSD training, up to sixteen times the picture, is never made; the pixels are the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.ops import box_iou
from torchvision.transforms.v2 import functional as v2

#: Modes of `min_iou_crop`: None keeps the picture whole, the others are least IoUs.
MODES = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
#: Its crops for one mode; the shortest side of one, as a share, and how much longer the other one may be.
_TRIES, _SHORTEST, _LONGER = 50, 0.3, 2.0


class View(NamedTuple):
    """A rectangle in the pixels of a picture; parts of it may lie outside."""

    left: float
    top: float
    width: float
    height: float


def expanded(width: int, height: int, most: float = 4.0) -> View:
    """A canvas 1 to `most` times as wide and as high, with the picture anywhere in it."""
    ratio = random.uniform(1, most)
    left, top = int(random.uniform(0, width * ratio - width)), int(random.uniform(0, height * ratio - height))
    return View(-left, -top, int(width * ratio), int(height * ratio))


def min_iou_crop(
    boxes: Tensor, width: int, height: int, *, modes: Sequence[float | None] = MODES
) -> tuple[View, Tensor]:
    """The published SSD's crop: each of its sides at least 0.3 of the picture's, neither over twice as long as the
    other, the *least* of its IoUs with all boxes not below the mode, and a box's centre inside.

    torchvision's `RandomIoUCrop` asks for one box with such an IoU only, takes 40 tries, and has no mode 0 beside
    "keep": it crops tighter and oftener.

    Args:
        boxes: N 4, xyxy, all of the picture's, crowds included; without any, every crop of that shape will do.
        width: of the picture.
        height: of the picture.
        modes: one is drawn; another one if `_TRIES` crops fail it.

    Returns:
        The crop, in whole pixels, and which boxes (N, bool) have their centre in it.
    """
    boxes = boxes.double()
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2  # N 1 2
    while True:
        mode = random.choice(modes)
        if mode is None:
            return View(0, 0, width, height), torch.ones(len(boxes), dtype=torch.bool)
        # All tries at once: only the first good one is looked at, so the result is distributed as if made one by one.
        sides, places = torch.rand(2, _TRIES, 2, dtype=torch.float64)
        full = torch.tensor([width, height], dtype=torch.float64)
        sides = full * (_SHORTEST + (1 - _SHORTEST) * sides)
        starts = (full - sides) * places
        crops = torch.cat([starts, starts + sides], 1).floor()  # T 4
        shape = sides[:, 1] / sides[:, 0]
        good = (shape >= 1 / _LONGER) & (shape <= _LONGER) & (crops[:, 2:] > crops[:, :2]).all(1)
        inside = ((centres > crops[:, :2]) & (centres < crops[:, 2:])).all(-1)  # N T
        if len(boxes):
            good &= (box_iou(crops, boxes).amin(1) >= mode) & inside.any(0)
        if good.any():
            first = int(good.int().argmax())
            left, top, right, bottom = crops[first].tolist()
            return View(left, top, right - left, bottom - top), inside[:, first]


def bounding_boxes(boxes: Tensor, size: tuple[int, int]) -> Any:
    """Boxes N 4 (xyxy) of a picture of this height and width as tv_tensors."""
    kind: Any = tv_tensors.BoundingBoxes  # whose own arguments type checkers do not see behind those of Tensor
    return kind(boxes, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size)


def visible_share(boxes: Tensor, view: View) -> Tensor:
    """Share of each box's area that lies inside a view: N."""
    edges = torch.tensor([view.left, view.top, view.left + view.width, view.top + view.height])
    low, high = torch.maximum(boxes[:, :2], edges[:2]), torch.minimum(boxes[:, 2:], edges[2:])
    return (high - low).clamp(min=0).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)


def see(
    image: Tensor,
    targets: dict[str, Any],
    view: View,
    size: tuple[int, int],
    *,
    keep: Tensor,
    fill: Sequence[float],
) -> tuple[tv_tensors.Image, dict[str, Any]]:
    """What a view shows, resized to `size` (bilinear, without antialiasing), with the boxes in it, cut at its border.

    Gives the picture (float32) and targets of the objects to `keep` (N, bool); around the picture is `fill` (0..1).
    """
    result = {name: value[keep] for name, value in targets.items()}
    scale = torch.tensor([size[1] / view.width, size[0] / view.height] * 2)
    boxes = (result["boxes"].as_subclass(Tensor) - torch.tensor([view.left, view.top] * 2)) * scale
    result["boxes"] = bounding_boxes(torch.minimum(boxes.clamp(min=0), torch.tensor([size[1], size[0]] * 2)), size)
    if "masks" in result:
        result["masks"] = tv_tensors.Mask(_sample_masks(result["masks"].as_subclass(Tensor), view, size))
    return tv_tensors.Image(_sample_image(image.as_subclass(Tensor), view, size, fill)), result


def _sample_image(image: Tensor, view: View, size: tuple[int, int], fill: Sequence[float]) -> Tensor:
    rows, columns = _centres(view.top, view.height, size[0]), _centres(view.left, view.width, size[1])
    # Only what the view needs is made floats: a large photograph may be shown in part.
    top, bottom = _needed(rows, image.shape[1])
    left, right = _needed(columns, image.shape[2])
    background = torch.tensor(fill, dtype=torch.float32)[:, None, None]
    part = image[:, top:bottom, left:right]
    if not part.numel():
        return background.expand(3, *size).clone()
    part = part.float() / 255 if part.dtype == torch.uint8 else part.float()
    # grid_sample mixes with zeros outside, so zero has to be the background.
    ys, xs = (2 * (rows - top) + 1) / (bottom - top) - 1, (2 * (columns - left) + 1) / (right - left) - 1
    grid = torch.stack([xs.expand(size), ys[:, None].expand(size)], -1).float()
    shown = functional.grid_sample((part - background)[None], grid[None], align_corners=False)[0]
    return shown + background


def _centres(start: float, length: float, count: int) -> Tensor:
    """Where the centres of `count` pixels fall, counted in source pixels from the centre of the first.

    As in resizing, nothing lies beyond the centres of the outermost source pixels of the view.
    """
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count) - 0.5
    return start + places.clamp(0, max(0.0, length - 1))


def _needed(places: Tensor, length: int) -> tuple[int, int]:
    """First and one past the last source pixel that linear interpolation at `places` looks at."""
    low, high = int(places[0].floor()), int(places[-1].floor()) + 2
    return min(max(low, 0), length), min(max(high, 0), length)


def _sample_masks(masks: Tensor, view: View, size: tuple[int, int]) -> Tensor:
    """The nearest pixel's value: N h w."""
    places = []
    for start, length, count, limit in (
        (view.top, view.height, size[0], masks.shape[1]),
        (view.left, view.width, size[1], masks.shape[2]),
    ):
        nearest = (start + (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count)).floor().long()
        places.append((nearest.clamp(0, limit - 1), (nearest >= 0) & (nearest < limit)))
    (rows, in_rows), (columns, in_columns) = places
    inside = in_rows[:, None] & in_columns
    return masks[:, rows[:, None], columns] * inside.to(masks.dtype)


def flipped(
    image: Any, targets: dict[str, Any], *, horizontal: float = 0.0, vertical: float = 0.0
) -> tuple[Any, dict[str, Any]]:
    """Picture and targets mirrored with these probabilities."""
    for probability, flip in ((horizontal, v2.horizontal_flip), (vertical, v2.vertical_flip)):
        if random.random() < probability:
            image = flip(image)
            targets = targets | {name: flip(targets[name]) for name in ("boxes", "masks") if name in targets}
    return image, targets
