"""The last word on labelled pictures: mIoU or AP of the file and of the floating-point network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.data.coco.reader import find_coco
from phonecv.data.labelmaps.listing import label_splits
from phonecv.errors import UserError
from phonecv.quantization.scoring import Score

_SPLIT = "val"


@dataclass(frozen=True, slots=True)
class LabelledScore(Score):
    """A file's figure against that of the floating-point network; `drop` is in points, without a standard error.

    Attributes:
        figure: "mIoU" or "AP".
        value: of the file, percent.
        float_value: of the floating-point network.
    """

    figure: str
    value: float
    float_value: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("figure", "count", "value", "float_value", "drop")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return (
            f"{self.figure} {self.value:.2f}, float32 {self.float_value:.2f} ({self.drop:+.2f} points lost,"
            f" {self.count} pictures)"
        )


def has_labels(folder: Path | str, task: str) -> bool:
    """Whether a folder is a data set with labels of the task."""
    root = Path(folder)
    if not root.is_dir():
        return False
    if task == "segment":
        return _SPLIT in label_splits(root)
    try:
        find_coco(root, _SPLIT)
    except UserError:
        return False
    return True


def score_labelled(reference: Any, file: Any, folder: Path | str, task: str) -> LabelledScore:
    """Evaluate two runners on a data set.

    Args:
        reference: the floating-point network at the file's size.
        file: the file.
        folder: with labels, see `has_labels`.
        task: "detect" or "segment".

    Raises:
        UserError: classes that do not fit, or no figure.
    """
    if task == "segment":
        from phonecv.segment.evaluate import evaluate_segmenter

        results: list[Any] = [evaluate_segmenter(runner, folder, split=_SPLIT) for runner in (reference, file)]
        wanted, got = (100 * result.scores.miou for result in results)
        name = "mIoU"
    else:
        from phonecv.detect.evaluate import evaluate_detector

        results = [evaluate_detector(runner, folder, split=_SPLIT) for runner in (reference, file)]
        wanted, got = (result.figures["ap"] for result in results)
        name = "AP"
    if not (math.isfinite(wanted) and math.isfinite(got)):
        raise UserError(f"{folder}: {name} is not defined there; give objects of its classes, or pictures alone")
    return LabelledScore(
        results[0].count, None, None, 0, wanted - got, 0.0, 0.0, figure=name, value=got, float_value=wanted
    )
