"""What an evaluation of a detector found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.data.coco.reader import CocoSplit
from phonecv.data.pictures.opening import printable
from phonecv.detect.average_precision import RANGES, AveragePrecision, plain, shown
from phonecv.detect.detections import Detections
from phonecv.detect.judging import Judged
from phonecv.detect.matching import Objects


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
class DetectionResult:
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
        skipped: pictures that could not be read, with the reason; they count nowhere.
        seconds: reading, running and evaluating.
        model: what was evaluated, for people.
        data: folder and split, for people.
        notes: what a person should know.
        details: form, runtime, preprocessing and so on.
    """

    figures: dict[str, float]
    classes: tuple[str, ...]
    curves: dict[str, AveragePrecision]
    judged: Judged
    split: CocoSplit
    found: Detections
    objects: Objects
    skipped: tuple[tuple[Path, str], ...]
    seconds: float
    model: str
    data: str
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

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

    def summary(self) -> dict[str, Any]:
        """The figures as plain values for JSON; None where one is not defined."""
        return {
            "task": "detect",
            "model": self.model,
            "data": self.data,
            "count": self.count,
            "objects": int(self.judged.classes.objects.sum()),
            "detections": len(self.found),
            **plain(self.figures),
            "threshold": self.threshold,
            "skipped": len(self.skipped),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            **self.details,
        }

    def __str__(self) -> str:
        lines = [f"{self.model} on {self.data}, {self.count} images"]
        for prefix in self.curves:
            values = {name: shown(self.figures[prefix + name]) for name in ("ap", "ap50", "ap75")}
            sizes = ", ".join(f"{name[1:]} {shown(self.figures[f'{prefix}ap{name}'])}" for name in RANGES[1:])
            kind = "masks" if prefix else "boxes"
            lines.append(f"{kind}: AP {values['ap']}, AP50 {values['ap50']}, AP75 {values['ap75']} ({sizes})")
        lines += [f"note: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"{len(self.skipped)} unreadable images were skipped and count nowhere:")
            lines += [f"  {printable(path)}: {reason}" for path, reason in self.skipped[:20]]
            if len(self.skipped) > 20:
                lines.append(f"  ... and {len(self.skipped) - 20} more (all are in skipped.csv of the output folder)")
        return "\n".join(lines)
