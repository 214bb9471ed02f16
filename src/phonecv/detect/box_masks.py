"""Masks as a head gives them, small squares over boxes, from which run lengths are made without whole pictures.

Pasted into a picture of 12 megapixels a mask takes 48 MB; a hundred of them would fill most machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.detect.masks import cell_weights, paste_masks


@dataclass(frozen=True, slots=True)
class BoxMasks:
    """Masks of one picture's objects.

    Attributes:
        squares: ``M side side``, 0..1, each to be stretched over its box.
        boxes: ``M 4`` in pixels of the picture, with area.
        height: of the picture.
        width: of the picture.
    """

    squares: Tensor
    boxes: Tensor
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, rows: Tensor) -> BoxMasks:
        """Some of them, by numbers or by truth values."""
        return BoxMasks(self.squares[rows], self.boxes[rows], self.height, self.width)

    def paste(self) -> Tensor:
        """Whole pictures, ``M 1 height width``, 0..1."""
        return paste_masks(self.squares, self.boxes, self.height, self.width)

    @torch.no_grad()
    def encode(self, threshold: float) -> list[dict[str, Any]]:
        """COCO's run lengths of the pixels from a probability on.

        Only what lies around a box becomes pixels, one object at a time: boxes differ in size.
        """
        from faster_coco_eval.core import mask as coder

        if not len(self):
            return []
        squares, boxes = self.squares.cpu().float(), self.boxes.cpu().float()
        size = torch.tensor([self.width, self.height])
        # A pixel beyond the box gets less than half of the mask's outermost cell; one is for the rounding.
        corner = torch.minimum((boxes[:, :2].floor() - 1).clamp(min=0), size).long().tolist()
        end = torch.minimum((boxes[:, 2:].ceil() + 1).clamp(min=0), size).long().tolist()
        runs = []
        with torch.autocast("cpu", enabled=False):
            for square, box, (left, top), (right, bottom) in zip(squares, boxes, corner, end, strict=True):
                rows = cell_weights(box[1:2], box[3:4], bottom - top, square.shape[0], first=top)[0]
                columns = cell_weights(box[0:1], box[2:3], right - left, square.shape[1], first=left)[0]
                inside = (rows @ square @ columns.mT >= threshold).numpy()
                runs.append({"size": [self.height, self.width], "counts": _counts(inside, top, left, self)})
        codes = coder.frPyObjects(runs, self.height, self.width)
        return [{"size": [self.height, self.width], "counts": _text(code["counts"])} for code in codes]


def _counts(inside: np.ndarray, top: int, left: int, picture: BoxMasks) -> list[int]:
    """Lengths of the runs of unset and set pixels, down the columns of the whole picture, from a part of it."""
    columns = np.zeros((inside.shape[1], inside.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = inside.T
    change = np.diff(columns, axis=1)
    column, start = (change > 0).nonzero()
    _, stop = (change < 0).nonzero()  # in the same order: a column's runs take turns
    whole = picture.height * picture.width
    if not len(start):
        return [whole]
    origin = (left + column) * picture.height + top
    first, last = origin + start, origin + stop
    # A run that reaches the foot of the picture goes on where the next column starts.
    apart = first[1:] != last[:-1]
    bounds = np.stack([first[np.append(True, apart)], last[np.append(apart, True)]], 1).ravel()
    counts = np.diff(bounds, prepend=0, append=whole)
    return (counts if counts[-1] else counts[:-1]).tolist()


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
