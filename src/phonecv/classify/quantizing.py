"""Classifiers in 8 bits: right answers, or those that stay, are what a file is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, cat, float64

from phonecv.classify.opening import open_classifier
from phonecv.classify.quantizing_data import CHOOSE, SCORE, Pictures, find, split_data
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.scoring import Measure, Score
from phonecv.quantization.sensitivity import signal_to_noise
from phonecv.quantization.workshop import Workshop
from phonecv.whole.metrics import label_rank

#: An answer changes more often than it becomes wrong: right ones turn wrong and wrong ones right.
LABELLED, CHANGED = Measure("points of top-1 lost", 1.0, labelled=True), Measure("% of answers changed", 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersScore(Score):
    """A classifier's file; `drop` is in points of top-1, without labels percent of pictures whose best class changed.

    Attributes:
        right: of all pictures, how many the file gets right; None without labels.
        float_right: how many the floating-point network gets right; None without labels.
        same: how many have the same best class in both.
    """

    right: int | None
    float_right: int | None
    same: int

    @property
    def top1(self) -> float | None:
        """Percent right, or None without labels."""
        return None if self.right is None else 100 * self.right / self.count

    @property
    def agreement(self) -> float:
        """Share with the same best class."""
        return self.same / self.count

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        top1 = None if self.top1 is None else round(self.top1, 4)
        return Score.to_dict(self) | {"top1": top1, "agreement": round(self.agreement, 4)}

    def __str__(self) -> str:
        if self.right is None:
            return f"{self.same}/{self.count} same best class ({self.drop:.1f} ± {self.standard_error:.1f} % changed)"
        return (
            f"{self.right}/{self.count} right, float32 {self.float_right} "
            f"({self.drop:+.1f} ± {self.standard_error:.1f} points lost)"
        )


@dataclass
class ClassifyWorkshop(Workshop[Pictures]):
    """A classifier with its pictures."""

    @property
    def measure(self) -> Measure:
        """Right answers where they are known."""
        return CHANGED if self.choosing.labels is None else LABELLED

    def input_of(self, pictures: Pictures) -> Tensor:
        """As at evaluation."""
        return pictures.tensor()

    def float_outputs(self, pictures: Pictures) -> Tensor:
        """Logits."""
        return logits_of(open_classifier(self.network, device="cpu"), pictures)

    def judge(self, path: Path, pictures: Pictures, reference: Tensor) -> AnswersScore:
        """By its answers."""
        return score(reference, logits_of(open_classifier(path), pictures), pictures.labels)

    def last_pictures(self, source: Path | str) -> Pictures:
        """Those of a folder, with its labels."""
        return find(source, self.network).read(self.network, SCORE)

    def notes(self, last: Pictures | None) -> tuple[str, ...]:
        """Why labels are not used, and what one picture of few stands for."""
        notes = [
            f"{pictures.source} is used without labels: {pictures.note}"
            for pictures in (self.choosing, last)
            if pictures is not None and pictures.labels is None
        ]
        if len(self.choosing) < 300:
            one = 100 / len(self.choosing)
            notes.append(
                f"{len(self.choosing)} pictures choose the method, and one of them is {one:.1f} points: give more if"
                " you can"
            )
        return tuple(notes)


def check_int8(network: VisionModel, formats: Sequence[str]) -> None:
    """Every format that holds int8 holds classifiers."""
    del network, formats


def open_workshop(network: VisionModel, options: QuantizeOptions) -> ClassifyWorkshop:
    """A classifier with its pictures.

    Raises:
        UserError: it has no classifier, another size is asked for, or there are too few pictures.
    """
    if not network.num_classes:
        raise UserError(f"{network.name} gives feature maps; a classifier, detector or segmenter can be judged")
    if options.size is not None:
        raise UserError("size is for detectors and segmenters; classifiers keep the size of their preprocessing")
    choose = CHOOSE if options.choose is None else options.choose
    return ClassifyWorkshop(network, *split_data(options.data, network, calibrate=options.calibrate, choose=choose))


def logits_of(run: Callable[[Tensor], Tensor], pictures: Pictures) -> Tensor:
    """Outputs for all pictures."""
    return cat([run(part).float() for part in pictures.batches()])


def score(reference: Tensor, logits: Tensor, labels: Tensor | None) -> AnswersScore:
    """Compare outputs ``N classes`` with those of the floating-point network."""
    count = len(reference)
    same = (reference.argmax(1) == logits.argmax(1)) & logits.isfinite().all(1)
    signal = float(reference.square().sum(dtype=float64))
    noise = float((logits - reference).square().sum(dtype=float64))
    decibels = signal_to_noise(signal, noise) if math.isfinite(noise) else -math.inf
    if labels is None:
        lost = (~same).double().numpy()
        right = float_right = None
    else:
        hits = [(label_rank(values, labels) == 0).double().numpy() for values in (logits, reference)]
        lost = hits[1] - hits[0]
        right, float_right = int(hits[0].sum()), int(hits[1].sum())
    return AnswersScore(
        count=count,
        drop=100 * float(np.mean(lost)),
        standard_error=100 * float(np.std(lost)) / math.sqrt(count),
        decibels=decibels,
        right=right,
        float_right=float_right,
        same=int(same.sum()),
    )
