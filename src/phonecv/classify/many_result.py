"""What an evaluation found where a picture may have several labels or none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from phonecv.classify.ranking import Counts, average_precision, counted, mean_defined
from phonecv.evaluating import EvaluationResult
from phonecv.text import counted as said


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One line of the table of labels; shares from 0 to 1, None where one is not defined.

    Attributes:
        name: of the label.
        count: pictures with it.
        threshold: probability from which on it was told.
        ap: average precision.
        f1: of precision and recall at the threshold.
        precision: share of the pictures it was told of that have it.
        recall: share of the pictures with it that it was told of.
    """

    name: str
    count: int
    threshold: float
    ap: float | None
    f1: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True, eq=False)  # without slots, for the cached figures
class LabelsResult(EvaluationResult):
    """What an evaluation found.

    Attributes:
        classes: names of the model's outputs.
        paths: every evaluated picture, in the order of the data.
        probabilities: of each picture and output, ``N C``.
        truth: which labels each picture has, ``N C`` bool.
        thresholds: of the outputs, probabilities.
    """

    task: ClassVar[str] = "classify"

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    probabilities: np.ndarray
    truth: np.ndarray
    thresholds: tuple[float, ...]

    @property
    def count(self) -> int:
        """Pictures that count."""
        return len(self.paths)

    @property
    def told(self) -> np.ndarray:
        """Which labels the model tells of each picture, ``N C`` bool."""
        return self.probabilities >= np.asarray(self.thresholds)

    @cached_property
    def ap(self) -> np.ndarray:
        """Average precision of every output, 0 to 1; not a number where no picture has the label."""
        return average_precision(torch.from_numpy(self.probabilities), torch.from_numpy(self.truth)).numpy()

    @property
    def map_percent(self) -> float:
        """Mean average precision of the labels that occur, in percent."""
        return 100 * mean_defined(torch.from_numpy(self.ap))

    @cached_property
    def counts(self) -> Counts:
        """Per output what was told and what was missed."""
        return counted(torch.from_numpy(self.told), torch.from_numpy(self.truth))

    @property
    def f1_percent(self) -> float:
        """Mean over labels of F1 at the thresholds, in percent."""
        return 100 * mean_defined(self.counts.f1)

    @property
    def f1_all_percent(self) -> float:
        """F1 of the labels of all pictures together, in percent."""
        hits, false, missed = (int(part.sum()) for part in self.counts)
        return 200 * hits / max(1, 2 * hits + false + missed)

    @property
    def exact(self) -> int:
        """Pictures of which every label is right."""
        return int((self.told == self.truth).all(1).sum())

    @property
    def per_class(self) -> list[LabelScore]:
        """A line for every output."""
        found = (self.ap, *(part.numpy() for part in (self.counts.f1, self.counts.precision, self.counts.recall)))
        columns, counts = zip(*found, strict=True), self.truth.sum(0)
        return [
            LabelScore(name, int(count), threshold, *(None if np.isnan(value) else float(value) for value in values))
            for name, count, threshold, values in zip(self.classes, counts, self.thresholds, columns, strict=True)
        ]

    @property
    def worst(self) -> list[int]:
        """Pictures, those first one of whose labels was told to be the least likely, or another one the likeliest."""
        least = np.where(self.truth, self.probabilities, 1 - self.probabilities).min(1)
        return np.argsort(least, kind="stable").tolist()

    def labels_of(self, picture: int, *, told: bool = False) -> list[str]:
        """The names of a picture's labels, or of those that the model tells."""
        row = self.told[picture] if told else self.truth[picture]
        return [self.classes[label] for label in np.flatnonzero(row)]

    def measures(self) -> dict[str, Any]:
        """See `EvaluationResult`."""
        figures = {"map": self.map_percent, "f1": self.f1_percent, "f1_all": self.f1_all_percent}
        rounded = {name: None if np.isnan(value) else round(value, 4) for name, value in figures.items()}
        return rounded | {"labels": int((self.truth.sum(0) > 0).sum()), "exact": self.exact}

    def lines(self) -> list[str]:
        """See `EvaluationResult`."""
        there = int((self.truth.sum(0) > 0).sum())
        return [
            f"{self.model} on {self.data}: mAP {self.map_percent:.2f} % of {there} labels in {self.count} pictures,"
            f" F1 {self.f1_percent:.2f} % at their thresholds ({self.f1_all_percent:.2f} % of all labels together),"
            f" {said(self.exact, 'pictures')} with every label right"
        ]
