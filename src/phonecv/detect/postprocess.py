"""From scores of all anchors to the few boxes that are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor


class Found(dict[str, Any]):
    """What was found in a picture: "boxes", "scores", "labels" and perhaps "masks", best first.

    Attributes:
        beyond: scores of objects that are left out because a picture may not have more, ``X``.
        full: why there may be more that nobody knows of, for people; "" where there are none.
        surest: score that these have at most.
    """

    def __init__(self, columns: Mapping[str, Any], beyond: Tensor, full: str = "", surest: float = 0.0) -> None:
        super().__init__(columns)
        self.beyond, self.full, self.surest = beyond, full, surest


def suppressed(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    image: Tensor,
    scales: Tensor,
    *,
    overlap: float,
    keep: int,
    agnostic: bool = False,
) -> list[Found]:
    """Non-maximum suppression of a batch, and back to pixels of the pictures as given.

    Args:
        boxes: ``P 4`` of all pictures, in pixels of the prepared ones.
        scores: ``P``.
        labels: ``P``.
        image: ``P``, which picture of the batch.
        scales: ``B 2``, see `Prepared.scales`.
        overlap: intersection over union above which the weaker of two boxes goes.
        keep: boxes per picture.
        agnostic: whether boxes of different classes suppress each other, too.
    """
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    # Pictures one after the other, each its own suppression: it compares every box with every other.
    order = image[real].argsort(stable=True)
    boxes, scores, labels, image = (x[real][order] for x in (boxes, scores, labels, image))
    counts = torch.bincount(image, minlength=len(scales)).tolist()
    original = boxes / scales.to(boxes.dtype).repeat(1, 2)[image]
    results = []
    for box, shown, score, label in zip(
        *(x.split(counts) for x in (boxes, original, scores, labels)),
        strict=True,
    ):
        left = class_nms(box, score, torch.zeros_like(label) if agnostic else label, overlap)
        kept = left[:keep]
        columns = {"boxes": shown[kept], "scores": score[kept], "labels": label[kept]}
        results.append(Found(columns, score[left[keep:]]))
    return results


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Indices of the boxes that stay, best first; boxes of different labels leave each other alone.

    In float64: torchvision moves the classes' boxes apart by many picture widths, and float32 would round them.
    """
    return torchvision.ops.batched_nms(boxes.double(), scores.double(), labels, overlap)


def best_pairs(scores: Tensor, bar: float, top: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs of an anchor and a class above a bar, at most so many of each picture.

    Args:
        scores: ``B N classes``.
        bar: scores above it count.
        top: of each picture the best so many.

    Returns:
        Picture, anchor, class and score of each pair.
    """
    above = scores > bar
    # Mostly there are few, and picking them out is many times faster than sorting everything.
    if int(above.flatten(1).sum(1).max()) <= top:
        image, place, label = above.nonzero(as_tuple=True)
        return image, place, label, scores[image, place, label]
    value, where = scores.flatten(1).topk(top, 1)
    image, rank = (value > bar).nonzero(as_tuple=True)
    where = where[image, rank]
    return image, where // scores.shape[2], where % scores.shape[2], value[image, rank]
