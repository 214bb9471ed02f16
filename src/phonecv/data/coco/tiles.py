"""Training pictures cut into tiles, so that small objects of large pictures keep their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.data.coco.geometry import View, visible_share
from phonecv.data.coco.split import CocoSplit

#: Of an object that a tile shows so much of (a share of its box) is learnt what is seen; with less of it, it is neither
#: an object nor background. As much as `phonecv.data.coco.transforms.LightTransform` asks for.
VISIBLE = 0.3

#: Tiles without any object for each one with some: enough to learn what there is elsewhere.
EMPTY = 0.1


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
