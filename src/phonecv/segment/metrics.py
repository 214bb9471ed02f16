"""How good label maps are: counts of pixels, and the figures that follow from them.

Counts are whole numbers, so they add up exactly over batches and processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phonecv.data.labelmaps.loading import SegmentationBatch
from phonecv.segment.losses import IGNORE
from phonecv.training.world import World


@dataclass(frozen=True)
class SegmentScores:
    """Figures per class and over all, from counts of labelled pixels. Shares are 0..1.

    Attributes:
        intersect: per class, pixels that are of it and were found as it.
        labelled: per class, pixels that are of it.
        predicted: per class, labelled pixels that were found as it.
    """

    intersect: np.ndarray
    labelled: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray | Tensor) -> SegmentScores:
        """Of a confusion matrix, true classes in rows, found ones in columns, and any further columns for "none"."""
        counts = matrix.cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
        classes = counts.shape[0]
        return cls(np.diagonal(counts).copy(), counts.sum(1), counts[:, :classes].sum(0))

    @property
    def union(self) -> np.ndarray:
        """Per class, pixels that are of it or were found as it."""
        return self.labelled + self.predicted - self.intersect

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union per class; NaN for a class that neither is nor was found anywhere."""
        return _share(self.intersect, self.union)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of a class's pixels that were found; NaN for a class that is nowhere."""
        return _share(self.intersect, self.labelled)

    @property
    def dice(self) -> np.ndarray:
        """Twice the intersection over the sum of both areas, per class; NaN as for `iou`."""
        return _share(2 * self.intersect, self.labelled + self.predicted)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that have one."""
        return _mean(self.iou)

    @property
    def macc(self) -> float:
        """Mean of `accuracy` over the classes that have one."""
        return _mean(self.accuracy)

    @property
    def mdice(self) -> float:
        """Mean of `dice` over the classes that have one."""
        return _mean(self.dice)

    @property
    def aacc(self) -> float:
        """Share of all labelled pixels that were found."""
        return int(self.intersect.sum()) / max(1, int(self.labelled.sum()))

    def __str__(self) -> str:
        return (
            f"mIoU {100 * self.miou:.2f} %, aAcc {100 * self.aacc:.2f} %, mAcc {100 * self.macc:.2f} %"
            f" ({int(self.labelled.sum())} labelled pixels)"
        )


class SegmentMeter:
    """Counts pixels over batches.

    A pixel whose logits hold a NaN is never right: broken weights do not pass for a poor score of class 0.

    Args:
        num_classes: classes.
        device: where the counts are kept.

    Attributes:
        matrix: C C+1 int64, true classes in rows, found ones in columns; the last column is what got no class.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        self.matrix = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, output: Tensor | Sequence[Tensor], batch: SegmentationBatch) -> None:
        """Count a batch.

        Args:
            output: at the label maps' sizes, logits (``B C H W`` or ``C H W`` each), or classes (``B H W`` or ``H W``
                each), which `phonecv.segment.inference.predict_labels` gives in far less memory.
            batch: the samples; those that could not be used are left out.
        """
        for logits, labels, error in zip(output, batch.labels, batch.errors, strict=True):
            if not error:
                self.add(classes_of(logits), labels)

    @torch.no_grad()
    def add(self, found: Tensor, labels: Tensor) -> Tensor:
        """Count one picture, and give its own counts.

        Args:
            found: ``H W``, classes; `num_classes` for none.
            labels: ``H W``, classes and 255.
        """
        counts = confusion(found, labels, self.num_classes)
        self.matrix += counts.to(self.matrix.device)
        return counts

    @property
    def scores(self) -> SegmentScores:
        """Of the counts so far."""
        return SegmentScores.of(self.matrix)

    def result(self, world: World) -> dict[str, float]:
        """miou, aacc, macc over all processes, in percent."""
        self.matrix = world.sum(self.matrix)
        scores = self.scores
        return {"miou": 100 * scores.miou, "aacc": 100 * scores.aacc, "macc": 100 * scores.macc}


def classes_of(logits: Tensor) -> Tensor:
    """The class of the largest logit, ``C H W -> H W`` int64; C where a logit is NaN. Classes stay as they are."""
    if logits.ndim == 2 and not logits.is_floating_point():
        return logits
    value, found = logits.max(0)
    return found.masked_fill_(value.isnan(), logits.shape[0])


def confusion(found: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """``C C+1`` int64 counts of labelled pixels; rows are true classes, columns found ones and "none".

    Args:
        found: classes 0..C-1, or C for none; any integer type.
        labels: of the same shape, classes and 255.
        num_classes: C.

    Raises:
        ValueError: shapes that differ, or a label that is neither a class nor 255.
    """
    if found.shape != labels.shape:
        raise ValueError(f"found classes of shape {tuple(found.shape)} for labels of shape {tuple(labels.shape)}")
    labels = labels.to(found.device)
    known = labels != IGNORE
    places = labels[known].long() * (num_classes + 1) + found[known].long()
    counts = torch.bincount(places, minlength=num_classes * (num_classes + 1))
    if counts.numel() != num_classes * (num_classes + 1):
        raise ValueError(f"a label is not one of 0..{num_classes - 1} and {IGNORE}")
    return counts.view(num_classes, num_classes + 1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else 0.0
