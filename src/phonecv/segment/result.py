"""What evaluating a segmenter found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.data.labelmaps.classes import Colour
from phonecv.data.labelmaps.listing import LabelSplit
from phonecv.data.pictures.opening import printable
from phonecv.segment.metrics import SegmentScores, figures


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
class SegmentResult:
    """What an evaluation found.

    Attributes:
        scores: over all pictures.
        classes: names of the model's classes.
        palette: their colours.
        matrix: C C+1 counts of pixels, true classes in rows, found ones in columns, the last for "none".
        pictures: every evaluated picture, in the order of the data.
        best: of these, the ones with the highest mIoU, with their label maps; best first.
        worst: the same with the lowest.
        skipped: pictures (and label maps without a picture) that count nowhere, with the reason.
        split: the data, to draw from; its labels may have to be mapped by `outputs`.
        outputs: class of the model for each class of the data.
        seconds: reading, running and counting.
        model: what was evaluated, for people.
        data: folder and split, for people.
        notes: what a person should know.
        details: form, runtime, preprocessing and so on.
    """

    scores: SegmentScores
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    matrix: np.ndarray
    pictures: tuple[PictureScore, ...]
    best: tuple[PictureScore, ...]
    worst: tuple[PictureScore, ...]
    skipped: tuple[tuple[Path, str], ...]
    split: LabelSplit
    outputs: np.ndarray
    seconds: float
    model: str
    data: str
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Pictures that were evaluated."""
        return len(self.pictures)

    def summary(self) -> dict[str, Any]:
        """The figures as plain values for JSON."""
        return {
            "task": "segment",
            "model": self.model,
            "data": self.data,
            "count": self.count,
            **figures(self.scores),
            "skipped": len(self.skipped),
            "seconds": round(self.seconds, 3),
            "reduce_zero_label": self.split.reduce_zero_label,
            "notes": list(self.notes),
            **self.details,
        }

    def __str__(self) -> str:
        lines = [f"{self.model} on {self.data}, {self.count} images", str(self.scores)]
        lines += [f"note: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"{len(self.skipped)} files were skipped and count nowhere:")
            lines += [f"  {printable(path)}: {reason}" for path, reason in self.skipped[:20]]
            if len(self.skipped) > 20:
                lines.append(f"  ... and {len(self.skipped) - 20} more (all are in skipped.csv of the output folder)")
        return "\n".join(lines)
