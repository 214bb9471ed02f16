"""What the file of a detector or segmenter lost, of parts of pictures: without labels and with them.

Without labels the floating-point network's answers on the same pictures are what the file is held to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.errors import UserError
from phonecv.quantization.scoring import LabelledScore, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsScore(Score):
    """Of all "pixels", or "objects" (sure detections of both), how many are the same; `drop` is percent of the rest."""

    what: str
    total: int
    same: int

    @property
    def agreement(self) -> float:
        """Share that is the same."""
        return self.same / self.total

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return Score.to_dict(self) | {"agreement": round(self.agreement, 4)}


def ratio(part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Percent of all, and its standard error from the differences between pictures."""
    share = float(part.sum() / whole.sum())
    error = math.sqrt(float(np.square(part - share * whole).sum())) / float(whole.sum())
    return 100 * share, 100 * error


def labelled_score(figure: str, count: int, wanted: float, got: float, folder: Path | str) -> LabelledScore:
    """The last word on labelled pictures: a figure in percent, `wanted` that of the floating-point network.

    Raises:
        UserError: the figure is not defined there.
    """
    if not (math.isfinite(wanted) and math.isfinite(got)):
        raise UserError(f"{folder}: {figure} is not defined there; give objects of its classes, or pictures alone")
    return LabelledScore(
        count=count, drop=wanted - got, standard_error=0.0, decibels=0.0, figure=figure, value=got, float_value=wanted
    )
