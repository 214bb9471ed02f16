"""What an evaluation of a generator found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from phonecv.evaluating import EvaluationResult
from phonecv.text import counted


@dataclass(frozen=True, slots=True)
class GenerationResult(EvaluationResult):
    """What an evaluation found.

    Attributes:
        distance: Frechet distance between samples and pictures, smaller is better; NaN with fewer than two of either.
        asked: class of each sample, a number of the generator's.
        read: number of the class that the features' classifier reads in each; empty where it knows none.
        classes: names of the generator's classes.
        pictures: how many the samples are compared with.
        shown: the first samples, ``B 3 H W`` uint8.
    """

    task: ClassVar[str] = "generate"

    distance: float
    asked: tuple[int, ...]
    read: tuple[int, ...]
    classes: tuple[str, ...]
    pictures: int
    shown: Tensor

    @property
    def count(self) -> int:
        """Pictures that count."""
        return self.pictures

    @property
    def agreement_percent(self) -> float | None:
        """Share of samples in which the class asked for is read, in percent; None where none is read."""
        return float(100 * np.equal(self.asked, self.read).mean()) if self.read else None

    @property
    def per_class(self) -> list[tuple[str, int, int]]:
        """Name, samples and agreeing samples of each class that was asked for."""
        asked, read = np.array(self.asked), np.array(self.read)
        return [
            (self.classes[label], int((asked == label).sum()), int(((asked == label) & (read == label)).sum()))
            for label in np.unique(asked)
        ]

    def measures(self) -> dict[str, Any]:
        """See `EvaluationResult`."""
        agreement = self.agreement_percent
        return {
            "samples": len(self.asked),
            "frechet_distance": None if np.isnan(self.distance) else round(self.distance, 4),
            "agreement_percent": None if agreement is None else round(agreement, 4),
        }

    def lines(self) -> list[str]:
        """See `EvaluationResult`."""
        said = f"Frechet distance {self.distance:.2f}"
        if self.agreement_percent is not None:
            said += f", {self.agreement_percent:.1f} % of the samples are read as the class asked for"
        return [
            f"{counted(len(self.asked), 'samples')} of {self.model},"
            f" {counted(self.pictures, 'pictures')} of {self.data}: {said}"
        ]
