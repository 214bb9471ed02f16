"""Masks between pictures and the small squares that a head learns and predicts.

Pasted into a picture of 12 megapixels a mask takes 48 MB; a hundred of them would fill most machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from phonecv.errors import UserError

#: A pixel belongs to an object from this probability on.
MASK_THRESHOLD = 0.5


def target_masks(targets: Sequence[Mapping[str, Tensor]], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Per picture the masks of its objects, ``N H W``.

    Args:
        targets: of a batch, checked otherwise.
        sizes: height and width of each picture as given.

    Raises:
        UserError: there are none, or not one per object in the size of its picture.
    """
    masks = []
    for number, (target, size) in enumerate(zip(targets, sizes, strict=True)):
        expected = (len(target["labels"]), *size)
        if "masks" not in target:
            raise UserError(
                f"target {number} has no 'masks'; Mask R-CNN learns from one per object (N x height x width);"
                " for boxes alone choose retinanet_fpn"
            )
        mask = target["masks"]
        if tuple(mask.shape) != expected and (mask.numel() or expected[0]):
            raise UserError(
                f"target {number} has masks of shape {tuple(mask.shape)}; {expected} is expected"
                " (objects, height and width of its picture)"
            )
        masks.append(mask.reshape(expected))
    return masks


@torch.no_grad()
def crop_masks(masks: Sequence[Tensor], boxes: Tensor, picture: Tensor, number: Tensor, side: int) -> Tensor:
    """What lies of an object in a box, as a square: RoIAlign of its mask, set where at least half.

    Args:
        masks: per picture ``N H W``, bool or 0 and 1.
        boxes: ``R 4`` in pixels of the masks, sorted by picture.
        picture: ``R``, int64.
        number: ``R``, int64: which of the picture's objects.
        side: pixels of the square.

    Returns:
        ``R side side``, bool.
    """
    counts = torch.bincount(picture, minlength=len(masks)).tolist()
    squares = []
    # Picture by picture: masks differ in size, and only those that are needed become floats, one picture at a time.
    for mask, box, which in zip(masks, boxes.split(counts), number.split(counts), strict=True):
        if not len(box):
            continue
        used, index = which.unique(return_inverse=True)
        layers = mask.to(box.device)[used][:, None].to(box.dtype)
        rois = torch.cat([index.to(box.dtype)[:, None], box], 1)
        squares.append(torchvision.ops.roi_align(layers, rois, side, 1.0, 0, aligned=True)[:, 0] >= 0.5)
    return torch.cat(squares) if squares else boxes.new_zeros((0, side, side), dtype=torch.bool)


def cell_weights(start: Tensor, end: Tensor, length: int, side: int, first: int = 0) -> Tensor:
    """Share of each cell of a mask in each pixel along one axis, ``M length side``.

    Args:
        start: ``M``, where the boxes begin.
        end: ``M``, where they end.
        length: pixels.
        side: cells.
        first: the first pixel's place in the picture.
    """
    centres = torch.arange(first, first + length, device=start.device, dtype=start.dtype) + 0.5
    place = (centres - start[:, None]) / (end - start)[:, None] * side - 0.5
    cells = torch.arange(side, device=start.device, dtype=start.dtype)
    return (1 - (place[..., None] - cells).abs()).clamp_(min=0)


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
        """Whole pictures, ``M 1 height width``, 0..1: each square stretched over its box, bilinearly, zero outside.

        Bilinear sampling works along one axis at a time, so two small matrix products do what a lookup per pixel of
        `grid_sample` would, several times faster on a processor.
        """
        boxes, side = self.boxes, self.squares.shape[-1]
        with torch.autocast(boxes.device.type, enabled=False):
            rows = cell_weights(boxes[:, 1], boxes[:, 3], self.height, side)
            columns = cell_weights(boxes[:, 0], boxes[:, 2], self.width, side)
            return (rows @ self.squares.to(rows.dtype) @ columns.mT).clamp_(0, 1)[:, None]

    @torch.no_grad()
    def encode(self) -> list[dict[str, Any]]:
        """COCO's run lengths of the pixels from `MASK_THRESHOLD` on.

        Only what lies around a box becomes pixels, one object at a time: boxes differ in size.
        """
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
                inside = (rows @ square @ columns.mT >= MASK_THRESHOLD).numpy()
                runs.append(_counts(inside, top, left, self.height, self.width))
        return _coded(runs, self.height, self.width)


@dataclass(frozen=True, slots=True)
class RunMasks:
    """Masks of one picture's objects as run lengths.

    Attributes:
        codes: M of COCO's.
        height: of the picture.
        width: of the picture.
    """

    codes: tuple[dict[str, Any], ...]
    height: int
    width: int

    @classmethod
    def union(cls, codes: Sequence[Sequence[dict[str, Any]]], height: int, width: int) -> RunMasks:
        """Of objects in one piece or several."""
        from faster_coco_eval.core import mask as coder

        whole = [pieces[0] if len(pieces) == 1 else coder.merge(list(pieces), False) for pieces in codes]
        return cls(tuple(map(plain_code, whole)), height, width)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Tensor) -> RunMasks:
        """Some of them, by numbers or by truth values."""
        chosen = torch.arange(len(self))[rows.cpu()].tolist()
        return RunMasks(tuple(self.codes[row] for row in chosen), self.height, self.width)

    def paste(self) -> Tensor:
        """Whole pictures, ``M 1 height width``, 0 and 1."""
        from faster_coco_eval.core import mask as coder

        if not len(self):
            return torch.zeros(0, 1, self.height, self.width)
        return torch.from_numpy(coder.decode(list(self.codes)).transpose(2, 0, 1)[:, None].astype(np.float32))

    def encode(self) -> list[dict[str, Any]]:
        """The run lengths; what belongs to an object is settled already."""
        return list(self.codes)


def placed_masks(
    masks: Tensor | BoxMasks | RunMasks, left: int, top: int, height: int, width: int
) -> list[dict[str, Any]]:
    """Masks of a part of a picture as run lengths of the whole of it.

    Args:
        masks: ``M 1 H W`` of the part, or other kinds of masks of it.
        left: where the part begins.
        top: likewise.
        height: of the picture.
        width: of the picture.
    """
    if isinstance(masks, BoxMasks):
        shift = masks.boxes.new_tensor([left, top, left, top])
        return BoxMasks(masks.squares, masks.boxes + shift, height, width).encode()
    pixels = masks.paste() if isinstance(masks, RunMasks) else masks
    inside = (pixels[:, 0] >= MASK_THRESHOLD).cpu().numpy()
    return _coded([_counts(one, top, left, height, width) for one in inside], height, width)


def _coded(runs: Sequence[Sequence[int]], height: int, width: int) -> list[dict[str, Any]]:
    """Lengths of runs as COCO writes them."""
    from faster_coco_eval.core import mask as coder

    given = [{"size": [height, width], "counts": counts} for counts in runs]
    codes = coder.frPyObjects(given, height, width) if given else []
    return [plain_code(code) for code in codes]


def _counts(inside: np.ndarray, top: int, left: int, height: int, width: int) -> list[int]:
    """Lengths of the runs of unset and set pixels, down the columns of the whole picture, from a part of it."""
    columns = np.zeros((inside.shape[1], inside.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = inside.T
    change = np.diff(columns, axis=1)
    column, start = (change > 0).nonzero()
    _, stop = (change < 0).nonzero()  # in the same order: a column's runs take turns
    whole = height * width
    if not len(start):
        return [whole]
    origin = (left + column) * height + top
    first, last = origin + start, origin + stop
    # A run that reaches the foot of the picture goes on where the next column starts.
    apart = first[1:] != last[:-1]
    bounds = np.stack([first[np.append(True, apart)], last[np.append(apart, True)]], 1).ravel()
    counts = np.diff(bounds, prepend=0, append=whole)
    return (counts if counts[-1] else counts[:-1]).tolist()


def plain_code(code: Mapping[str, Any]) -> dict[str, Any]:
    """Run lengths of the coder as JSON has them."""
    counts = code["counts"]
    return {
        "size": [int(side) for side in code["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }
