"""What an evaluation of a detector found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from phonecv.data.coco.reader import CocoSplit
from phonecv.detect.average_precision import RANGES, AveragePrecision, plain, shown
from phonecv.detect.detections import Detections
from phonecv.detect.judging import Judged
from phonecv.detect.matching import Objects
from phonecv.evaluating import EvaluationResult
from phonecv.text import counted


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One line of the per-class table; percentages, NaN where not defined.

    Attributes:
        name: the class.
        objects: true objects, crowd regions aside.
        ap: over IoU .5 to .95.
        ap50: at IoU .5.
        precision: share of right ones among the detections from the threshold on.
        recall: share of the objects found at the threshold.
        mask_ap: of masks, None without any.
        mask_ap50: of masks, None without any.
    """

    name: str
    objects: int
    ap: float
    ap50: float
    precision: float
    recall: float
    mask_ap: float | None = None
    mask_ap50: float | None = None


@dataclass(frozen=True, slots=True)
class PictureFigures:
    """One evaluated picture at the score threshold.

    Attributes:
        path: the file.
        objects: true ones.
        found: detections.
        right: detections that match an object of their class with IoU 0.5 or more.
        quality: mean IoU of the right ones times F1, 0..1; NaN where nothing is and nothing was found.
    """

    path: Path
    objects: int
    found: int
    right: int
    quality: float


@dataclass(frozen=True, slots=True)
class DetectionResult(EvaluationResult):
    """What an evaluation found.

    Attributes:
        figures: ap, ap50, ap75, ap_small, ap_medium, ap_large in percent, with masks also mask_ap and so on; NaN where
            not defined (no true object of that size).
        classes: names, by label.
        curves: precision over recall by kind: "" for boxes, "mask_" for masks.
        judged: what is right and wrong at the score threshold, with the confusion matrix.
        split: the pictures that count, and what is on them.
        found: all detections; `pictures` are places in `split`.
        objects: all true objects, the same.
    """

    task: ClassVar[str] = "detect"

    figures: dict[str, float]
    classes: tuple[str, ...]
    curves: dict[str, AveragePrecision]
    judged: Judged
    split: CocoSplit
    found: Detections
    objects: Objects

    @property
    def count(self) -> int:
        """Pictures that count."""
        return len(self.split)

    @property
    def threshold(self) -> float:
        """Least score of what the confusion matrix, the pictures, precision and recall count."""
        return self.judged.threshold

    @property
    def confusion(self) -> np.ndarray:
        """C+1 C+1 counts, true classes in rows; the last row and column are the background."""
        return self.judged.confusion

    @property
    def per_class(self) -> list[ClassFigures]:
        """A line for every class that has objects or detections."""
        counts = self.judged.classes
        precision, recall = 100 * counts.precision, 100 * counts.recall
        lines = []
        for label in np.flatnonzero(counts.objects + counts.found).tolist():
            ap, ap50 = self.curves[""].of_class(label)
            masks = self.curves["mask_"].of_class(label) if "mask_" in self.curves else (None, None)
            shares = float(precision[label]), float(recall[label])
            lines.append(ClassFigures(self.classes[label], int(counts.objects[label]), ap, ap50, *shares, *masks))
        return lines

    @property
    def pictures(self) -> list[PictureFigures]:
        """A line for every picture, in the order of the data."""
        counts = self.judged.pictures
        columns = (counts.objects, counts.found, counts.right, counts.quality)
        paths = (image.path for image in self.split.images)
        rows = zip(paths, *(column.tolist() for column in columns), strict=True)
        return [PictureFigures(*row) for row in rows]

    def measures(self) -> dict[str, Any]:
        """See `EvaluationResult`."""
        counted = {"objects": int(self.judged.classes.objects.sum()), "detections": len(self.found)}
        return {**counted, **plain(self.figures), "threshold": self.threshold}

    def lines(self) -> list[str]:
        """See `EvaluationResult`."""
        lines = [f"{self.model} on {self.data}, {counted(self.count, 'images')}"]
        for prefix in self.curves:
            values = {name: shown(self.figures[prefix + name]) for name in ("ap", "ap50", "ap75")}
            sizes = ", ".join(f"{name[1:]} {shown(self.figures[f'{prefix}ap{name}'])}" for name in RANGES[1:])
            kind = "masks" if prefix else "boxes"
            lines.append(f"{kind}: AP {values['ap']}, AP50 {values['ap50']}, AP75 {values['ap75']} ({sizes})")
        return lines
