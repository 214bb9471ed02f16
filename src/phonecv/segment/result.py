"""What evaluating a segmenter found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from phonecv.data.labelmaps.classes import Colour
from phonecv.data.labelmaps.listing import LabelSplit
from phonecv.evaluating import EvaluationResult
from phonecv.segment.metrics import SegmentScores
from phonecv.text import counted


@dataclass(frozen=True, slots=True)
class PictureScore:
    """One evaluated picture.

    Attributes:
        path: the picture.
        label_path: its label map.
        miou: mean IoU over the classes in it or found in it, 0..1.
        aacc: share of its labelled pixels that were found, 0..1.
        pixels: labelled ones; with none, the other two are 0 and say nothing.
        found: its label map as found, kept for the best and the worst only.
    """

    path: Path
    label_path: Path
    miou: float
    aacc: float
    pixels: int
    found: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class SegmentationResult(EvaluationResult):
    """What an evaluation found.

    Attributes:
        scores: over all pictures.
        classes: names of the model's classes.
        palette: their colours.
        matrix: C C+1 counts of pixels, true classes in rows, found ones in columns, the last for "none".
        pictures: every evaluated picture, in the order of the data.
        best: of these, the ones with the highest mIoU, with their label maps; best first.
        worst: the same with the lowest.
        split: the data, to draw from; its labels may have to be mapped by `outputs`.
        outputs: class of the model for each class of the data.
    """

    task: ClassVar[str] = "segment"
    left_out: ClassVar[str] = "files"

    scores: SegmentScores
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    matrix: np.ndarray
    pictures: tuple[PictureScore, ...]
    best: tuple[PictureScore, ...]
    worst: tuple[PictureScore, ...]
    split: LabelSplit
    outputs: np.ndarray

    @property
    def count(self) -> int:
        """Pictures that were evaluated."""
        return len(self.pictures)

    def measures(self) -> dict[str, Any]:
        """See `EvaluationResult`."""
        scores = self.scores
        shares = {name: round(100 * float(getattr(scores, name)), 4) for name in ("miou", "aacc", "macc", "mdice")}
        counts = {"pixels": int(scores.labelled.sum()), "classes_with_pixels": int((scores.labelled > 0).sum())}
        return shares | counts | {"reduce_zero_label": self.split.values.reduce_zero_label}

    def lines(self) -> list[str]:
        """See `EvaluationResult`."""
        return [f"{self.model} on {self.data}, {counted(self.count, 'images')}", str(self.scores)]
