"""What the file of a detector or segmenter lost: pixels of another class, objects that come and go.

No labels are needed: the floating-point network's answers on the same pictures are what the file is held to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from phonecv.detect.detections import Detections
from phonecv.detect.judging import THRESHOLD
from phonecv.detect.matching import Objects, match
from phonecv.errors import UserError
from phonecv.quantization.scoring import Score

#: A detection is confident from this score on. It counts as found where the other side has one of its class there that
#: people would be shown; without that distance, scores that cross the threshold by a hair would count.
CONFIDENT, SHOWN = 0.5, THRESHOLD

#: Least overlap of the two.
IOU = 0.5


@dataclass(frozen=True, slots=True)
class DenseScore(Score):
    """A file of a detector or segmenter against the floating-point network, on the same pictures.

    Attributes:
        what: "pixels", or "objects": confident detections of both.
        total: how many there are.
        lost: objects of the floating-point network that the file does not find.
        added: objects of the file that the floating-point network does not find.
    """

    what: str
    total: int
    lost: int = 0
    added: int = 0

    @property
    def agreement(self) -> float:
        """Share that is the same."""
        return self.same / self.total

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = Score.to_dict(self)
        unused = ("right", "float_right", "top1", *(() if self.what == "objects" else ("lost", "added")))
        return {key: value for key, value in values.items() if key not in unused}

    def __str__(self) -> str:
        sure = f"{self.drop:.2f} ± {self.standard_error:.2f} %"
        if self.what == "pixels":
            return f"{sure} of the pixels changed class, {self.decibels:.1f} dB"
        return (
            f"{sure} of {self.total} confident detections differ ({self.lost} lost, {self.added} added),"
            f" {self.decibels:.1f} dB"
        )


def score_pixels(wanted: Sequence[Tensor], got: Sequence[Tensor], decibels: float) -> DenseScore:
    """Compare label maps with those of the floating-point network, picture by picture."""
    changed = np.array([int((one != other).sum()) for one, other in zip(wanted, got, strict=True)], float)
    sizes = np.array([one.numel() for one in wanted], float)
    share, error = _ratio(changed, sizes)
    total = int(sizes.sum())
    return DenseScore(
        len(wanted), None, None, total - int(changed.sum()), share, error, decibels, what="pixels", total=total
    )


def score_objects(wanted: Detections, got: Detections, pictures: int, decibels: float) -> DenseScore:
    """Compare detections, from `SHOWN` on, with those of the floating-point network, which is sure of some."""
    lost, sure = _missing(wanted, got, pictures)
    added, more = _missing(got, wanted, pictures)
    total = int((sure + more).sum())
    share, error = _ratio(lost + added, sure + more)
    differ = int((lost + added).sum())
    return DenseScore(
        pictures, None, None, total - differ, share, error, decibels,
        what="objects", total=total, lost=int(lost.sum()), added=int(added.sum()),
    )  # fmt: skip


def check_confident(found: Detections, source: str) -> None:
    """Check that there is something to compare.

    Raises:
        UserError: nothing is confident.
    """
    if not (found.scores >= CONFIDENT).any():
        raise UserError(
            f"the network is sure of nothing in {source}: no detection has a score of {CONFIDENT:g} or more, so there "
            "is nothing that a file could lose; give pictures that show what it was trained for"
        )


def _missing(wanted: Detections, got: Detections, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """By picture, how many confident detections have no partner, and how many there are."""
    sure = wanted[wanted.scores >= CONFIDENT]
    objects = Objects(sure.pictures, sure.boxes.astype(np.float64), sure.labels, np.zeros(len(sure), bool))
    found = match(got, objects, iou=IOU).objects
    there = np.zeros(len(sure), bool)
    there[found[found >= 0]] = True
    counts = [np.bincount(sure.pictures[rows], minlength=pictures).astype(float) for rows in (~there, slice(None))]
    return counts[0], counts[1]


def _ratio(part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Percent of all, and its standard error from the differences between pictures."""
    share = float(part.sum() / whole.sum())
    error = math.sqrt(float(np.square(part - share * whole).sum())) / float(whole.sum())
    return 100 * share, 100 * error
