"""Detectors in 8 bits: confident detections that come or go are what a file is judged by, with labels AP."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.data.coco.reader import find_coco
from phonecv.dense.model import DenseModel
from phonecv.dense.quantizing import (
    SPLIT,
    DenseWorkshop,
    PartsScore,
    labelled_score,
    read,
)
from phonecv.dense.quantizing_data import DensePictures
from phonecv.detect.detections import Detections
from phonecv.detect.finding import find
from phonecv.detect.judging import THRESHOLD
from phonecv.detect.matching import Objects, match
from phonecv.detect.opening import DetectRunner
from phonecv.detect.verbs import OpeningOptions
from phonecv.errors import UserError
from phonecv.evaluating import evaluate_runner
from phonecv.exporting.deployable import deployable
from phonecv.exporting.record import check_size
from phonecv.opening import open_runner
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.scoring import LabelledScore, Measure, ratio
from phonecv.verbs import Opening

OBJECTS = Measure("% of confident detections that differ", 5.0)

#: A detection is confident from this score on. It counts as found where the other side has one of its class there that
#: people would be shown; without that distance, scores that cross the threshold by a hair would count.
CONFIDENT, SHOWN = 0.5, THRESHOLD

#: Least overlap of the two.
IOU = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectScore(PartsScore):
    """A detector's file against the floating-point network, whose objects it may have lost, and added others."""

    what: str = "objects"
    lost: int
    added: int

    def __str__(self) -> str:
        return (
            f"{self.drop:.2f} ± {self.standard_error:.2f} % of {self.total} confident detections differ"
            f" ({self.lost} lost, {self.added} added), {self.decibels:.1f} dB"
        )


@dataclass
class DetectWorkshop(DenseWorkshop):
    """A detector with its pictures."""

    measure = OBJECTS

    def float_outputs(self, pictures: DensePictures) -> Detections:
        """What would be shown of pictures that were brought to the file's size."""
        found = detections(float_detector(self.network, self.size, SHOWN), pictures)
        if not (found.scores >= CONFIDENT).any():
            raise UserError(
                f"the network is sure of nothing in {pictures.source}: no detection has a score of {CONFIDENT:g} or"
                " more, so there is nothing that a file could lose; give pictures that show what it was trained for"
            )
        return found

    def judge(self, path: Path, pictures: DensePictures, reference: Detections) -> ObjectScore:
        """By what it is sure of."""
        found = detections(open_runner(path, "detect", options=OpeningOptions(threshold=SHOWN, tile=0)), pictures)
        return score_objects(reference, found, len(pictures), self.decibels(path, pictures))

    def labelled(self, path: Path, folder: Path) -> LabelledScore | None:
        """By AP."""
        if not has_labels(folder):
            return None
        runners = (float_detector(self.network, self.size), open_runner(path, "detect", options=OpeningOptions(tile=0)))
        results = [evaluate_runner(runner, folder, split=SPLIT) for runner in runners]
        wanted, got = (result.figures["ap"] for result in results)
        return labelled_score("AP", results[0].count, wanted, got, folder)


def check_int8(network: DenseModel, formats: Sequence[str]) -> None:
    """See `phonecv.quantization.room.QuantizingRoom`; SSDLite and RetinaNet were tried in every format."""


def open_workshop(network: DenseModel, options: QuantizeOptions) -> DetectWorkshop:
    """A detector with its pictures."""
    return DetectWorkshop.of(*usable(network, options.size), options)


def usable(network: Any, size: int | tuple[int, int] | None) -> tuple[Any, tuple[int, int]]:
    """The network in deploy form, and the height and width of its input: `size`, or its own.

    Raises:
        UserError: a Mask R-CNN, whose second stage is no network of convolutions, or a size that does not suit it.
    """
    if not hasattr(network, "box_rule"):
        raise UserError(
            f"{network.name} cannot be quantized: its second stage reads features where its first stage has found "
            "boxes, so its file always holds decoding, suppression and RoIAlign, which 8 bits would ruin; quantize an "
            "SSDLite or RetinaNet, or write this one with `phonecv export --decode final`"
        )
    shape = check_size(size, network)
    deployable(network, size=shape)  # refuses what the anchors were not made for
    return network, shape


def has_labels(folder: Path) -> bool:
    """Whether a folder is a data set with boxes."""
    if not folder.is_dir():
        return False
    try:
        find_coco(folder, SPLIT)
    except UserError:
        return False
    return True


def detections(runner: DetectRunner, pictures: DensePictures) -> Detections:
    """All that a detector would show."""
    parts = []
    for places, tensors in read(pictures, runner.batch):
        for place, (found, _) in zip(places, find(runner, tensors, SHOWN), strict=True):
            parts.append(replace(found, pictures=np.full(len(found), place)))
    return Detections.joined(parts)


def float_detector(network: Any, size: tuple[int, int], threshold: float = 0.0) -> DetectRunner:
    """The floating-point network as a runner that brings pictures to the file's size, as the file's own will."""
    network = copy.deepcopy(network)
    network.canvas = size
    return open_runner(network, "detect", Opening("cpu"), OpeningOptions(threshold=threshold, tile=0))


def score_objects(wanted: Detections, got: Detections, pictures: int, decibels: float) -> ObjectScore:
    """Compare detections, from `SHOWN` on, with those of the floating-point network, which is sure of some."""
    lost, sure = _missing(wanted, got, pictures)
    added, more = _missing(got, wanted, pictures)
    total = int((sure + more).sum())
    share, error = ratio(lost + added, sure + more)
    return ObjectScore(
        count=pictures,
        drop=share,
        standard_error=error,
        decibels=decibels,
        total=total,
        same=total - int((lost + added).sum()),
        lost=int(lost.sum()),
        added=int(added.sum()),
    )


def _missing(wanted: Detections, got: Detections, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """By picture, how many confident detections have no partner, and how many there are."""
    sure = wanted[wanted.scores >= CONFIDENT]
    objects = Objects(sure.pictures, sure.boxes.astype(np.float64), sure.labels, np.zeros(len(sure), bool))
    found = match(got, objects, iou=IOU).objects
    there = np.zeros(len(sure), bool)
    there[found[found >= 0]] = True
    counts = [np.bincount(sure.pictures[rows], minlength=pictures).astype(float) for rows in (~there, slice(None))]
    return counts[0], counts[1]
