"""What a quantized file lost; what is counted is the task's."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Measure:
    """What a budget counts.

    Attributes:
        name: what it is a number of, as in "points of top-1 lost".
        budget: that is usual.
        labelled: whether right answers are counted.
    """

    name: str
    budget: float
    labelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A file against the floating-point network, on the same pictures.

    Attributes:
        count: pictures.
        drop: what was lost, in units of the measure.
        standard_error: of `drop`, from the pictures on which the two differ.
        decibels: signal-to-noise ratio of the raw outputs, which tells methods apart long before answers change.
    """

    count: int
    drop: float
    standard_error: float
    decibels: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        rounded = {name: round(value, 4) for name, value in values.items() if isinstance(value, float)}
        return values | rounded | {"decibels": None if math.isinf(self.decibels) else round(self.decibels, 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScore(Score):
    """A figure of a file on labelled pictures; `drop` is in points, and nothing is known of its error.

    Attributes:
        figure: its name, as in "mIoU".
        value: of the file, percent.
        float_value: of the floating-point network.
    """

    figure: str
    value: float
    float_value: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in ("figure", "count", "value", "float_value", "drop")}

    def __str__(self) -> str:
        return (
            f"{self.figure} {self.value:.2f}, float32 {self.float_value:.2f} ({self.drop:+.2f} points lost,"
            f" {self.count} pictures)"
        )


def ratio(part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Percent of all, and its standard error from the differences between pictures; 0 of nothing."""
    every = max(float(whole.sum()), 1e-9)
    share = float(part.sum()) / every
    return 100 * share, 100 * math.sqrt(float(np.square(part - share * whole).sum())) / every
