"""What an evaluation found where each picture or clip has one class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.evaluating import EvaluationResult
from phonecv.whole.metrics import Accuracy


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One evaluated picture.

    Attributes:
        path: the file.
        label: the true class, an output of the model.
        predicted: the class with the largest logit.
        rank: place of the true class, 0 for right at the first guess.
        true_probability: softmax of the true class.
        probability: softmax of the predicted class.
    """

    path: Path
    label: int
    predicted: int
    rank: int
    true_probability: float
    probability: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One line of the per-class table."""

    name: str
    count: int
    top1: int
    top5: int


@dataclass(frozen=True, slots=True)
class WholeResult(EvaluationResult):
    """What an evaluation found; each task has its own kind, of its name.

    Attributes:
        classes: names of the model's outputs.
        images: every evaluated picture, in the order of the data.
    """

    classes: tuple[str, ...]
    images: tuple[ImageScore, ...]

    @property
    def count(self) -> int:
        """Pictures that count."""
        return len(self.images)

    @property
    def top1(self) -> int:
        """Pictures right at the first guess."""
        return sum(image.rank < 1 for image in self.images)

    @property
    def top5(self) -> int:
        """Pictures right within five guesses."""
        return sum(image.rank < 5 for image in self.images)

    @property
    def accuracy(self) -> Accuracy:
        """The counts as a pair of shares."""
        return Accuracy(self.count, self.top1, self.top5, len(self.classes))

    @property
    def top1_percent(self) -> float:
        """Share right at the first guess, in percent."""
        return self.accuracy.top1_percent

    @property
    def confusion(self) -> np.ndarray:
        """Pictures per true class (row) and predicted class (column), over the model's outputs."""
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counts, ([image.label for image in self.images], [image.predicted for image in self.images]), 1)
        return counts

    @property
    def per_class(self) -> list[ClassScore]:
        """A line for every class that has pictures."""
        labels = np.array([image.label for image in self.images], dtype=np.int64)
        ranks = np.array([image.rank for image in self.images], dtype=np.int64)
        size = len(self.classes)
        count = np.bincount(labels, minlength=size)
        top1 = np.bincount(labels[ranks < 1], minlength=size)
        top5 = np.bincount(labels[ranks < 5], minlength=size)
        return [
            ClassScore(self.classes[label], int(count[label]), int(top1[label]), int(top5[label]))
            for label in np.flatnonzero(count)
        ]

    @property
    def worst(self) -> list[ImageScore]:
        """Pictures by rising probability of their true class: the clearest mistakes first."""
        return sorted(self.images, key=lambda image: image.true_probability)

    def measures(self) -> dict[str, Any]:
        """See `EvaluationResult`."""
        accuracy = self.accuracy
        five = {"top5": accuracy.top5, "top5_percent": round(accuracy.top5_percent, 4)}
        return {
            "top1": accuracy.top1,
            "top1_percent": round(accuracy.top1_percent, 4),
            "top1_error": round(accuracy.error, 4),
            **(five if accuracy.five_guesses else {}),
        }

    def lines(self) -> list[str]:
        """See `EvaluationResult`."""
        return [f"{self.model} on {self.data}: {self.accuracy}"]
