"""Classifiers in 8 bits: right answers, or those that stay, are what a file is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, cat, float64, tensor

from phonecv.classify.quantizing_data import CHOOSE, SCORE, Pictures, find, split_data
from phonecv.classify.ranking import average_precision, mean_defined
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.opening import open_runner
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.scoring import Measure, Score, ratio
from phonecv.quantization.sensitivity import signal_to_noise
from phonecv.quantization.workshop import Workshop
from phonecv.text import counted
from phonecv.verbs import Opening
from phonecv.whole.metrics import label_rank

#: An answer changes more often than it becomes wrong: right ones turn wrong and wrong ones right.
LABELLED, CHANGED = Measure("points of top-1 lost", 1.0, labelled=True), Measure("% of answers changed", 5.0)

#: Of labels that do not exclude each other; most of them are clear, so that few changes are many of those that matter.
MAP_LOST, LABELS_CHANGED = Measure("points of mAP lost", 1.0, labelled=True), Measure("% of told labels changed", 5.0)

#: Of pictures, for the error of a difference in mAP.
GROUPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsScore(Score):
    """A file of labels that do not exclude each other; `drop` is points of mAP, without labels percent of those told.

    Attributes:
        map: mean average precision of the file, percent; None without labels.
        float_map: of the floating-point network.
        told: labels that one of both tells of the pictures.
        same: of them those that both tell.
    """

    map: float | None
    float_map: float | None
    told: int
    same: int

    def __str__(self) -> str:
        kept = f"{self.same}/{self.told} labels told alike"
        if self.map is None:
            return f"{kept} ({self.drop:.1f} ± {self.standard_error:.1f} % changed)"
        lost = f"({self.drop:+.2f} ± {self.standard_error:.2f} points lost)"
        return f"mAP {self.map:.2f}, float32 {self.float_map:.2f} {lost}, {kept}"


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
        labelled, changed = (LABELLED, CHANGED) if self.network.thresholds is None else (MAP_LOST, LABELS_CHANGED)
        return changed if self.choosing.labels is None else labelled

    def input_of(self, pictures: Pictures) -> Tensor:
        """As at evaluation."""
        return pictures.tensor()

    def float_outputs(self, pictures: Pictures) -> Tensor:
        """Logits."""
        return logits_of(open_runner(self.network, "classify", Opening("cpu")), pictures)

    def judge(self, path: Path, pictures: Pictures, reference: Tensor) -> Score:
        """By its answers."""
        logits, thresholds = logits_of(open_runner(path, "classify"), pictures), self.network.thresholds
        if thresholds is not None:
            return score_labels(reference, logits, pictures.labels, thresholds)
        return score(reference, logits, pictures.labels)

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
            one = f", and one of them is {100 / len(self.choosing):.1f} points"
            one = one if self.network.thresholds is None else ""  # of mAP nobody knows
            notes.append(f"{counted(len(self.choosing), 'pictures')} chose the method{one}: give more if you can")
        return tuple(notes)


def check_int8(network: VisionModel, formats: Sequence[str]) -> None:
    """Every format that holds int8 holds classifiers."""


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
    return ClassifyWorkshop(
        network, *split_data(options.data, network, calibrate=options.calibrate, choose=choose, lists=options.lists)
    )


def logits_of(run: Callable[[Tensor], Tensor], pictures: Pictures) -> Tensor:
    """Outputs for all pictures."""
    return cat([run(part).float() for part in pictures.batches()])


def score(reference: Tensor, logits: Tensor, labels: Tensor | None) -> AnswersScore:
    """Compare outputs ``N classes`` with those of the floating-point network."""
    count, decibels = len(reference), decibels_of(reference, logits)
    same = (reference.argmax(1) == logits.argmax(1)) & logits.isfinite().all(1)
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


def score_labels(reference: Tensor, logits: Tensor, labels: Tensor | None, thresholds: Sequence[float]) -> LabelsScore:
    """The same of labels that do not exclude each other.

    The error of the difference in mAP is that of a jackknife over groups of pictures (Tukey, 1958).
    """
    level = tensor(thresholds, dtype=float64).logit(1e-7)
    wanted, got = reference.double() >= level, logits.double() >= level
    told, same = (wanted | got).sum(1).double().numpy(), (wanted & got).sum(1).double().numpy()
    found: dict[str, Any] = {"map": None, "float_map": None}
    if labels is None:
        drop, error = ratio(told - same, told)
    else:
        truth = labels.bool()

        def points(side: Tensor, rows: Any) -> float:
            """mAP on some of the pictures."""
            return 100 * mean_defined(average_precision(side[rows], truth[rows]))

        found["map"], found["float_map"] = (points(side, slice(None)) for side in (logits, reference))
        drop = found["float_map"] - found["map"]
        groups = np.arange(len(reference)) % min(GROUPS, len(reference))
        rest = [groups != group for group in range(groups.max() + 1)]
        drops = np.array([points(reference, rows) - points(logits, rows) for rows in rest])
        drops = drops[np.isfinite(drops)]
        error = math.sqrt((len(drops) - 1) * float(np.var(drops))) if len(drops) else 0.0
    return LabelsScore(
        count=len(reference),
        drop=drop,
        standard_error=error,
        decibels=decibels_of(reference, logits),
        told=int(told.sum()),
        same=int(same.sum()),
        **found,
    )


def decibels_of(reference: Tensor, logits: Tensor) -> float:
    """Signal-to-noise ratio of the outputs."""
    signal = float(reference.square().sum(dtype=float64))
    noise = float((logits - reference).square().sum(dtype=float64))
    return signal_to_noise(signal, noise) if math.isfinite(noise) else -math.inf
