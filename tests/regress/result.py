from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from phonecv.evaluating import EvaluationResult


@dataclass(frozen=True, slots=True)
class RegressionResult(EvaluationResult):
    """Numbers wanted and found."""

    task: ClassVar[str] = "regress"

    wanted: tuple[float, ...]
    found: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.wanted)

    @property
    def mean_error(self) -> float:
        return float(np.abs(np.subtract(self.wanted, self.found)).mean())

    def measures(self) -> dict[str, Any]:
        return {"mean_error": round(self.mean_error, 4)}

    def lines(self) -> list[str]:
        return [f"{self.model} on {self.data}: off by {self.mean_error:.3f} on average"]
