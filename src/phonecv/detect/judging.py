"""What a person sees at one score threshold: right, wrong and missed, per class and per picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phonecv.detect.detections import Detections
from phonecv.detect.matching import Matching, Objects, match
from phonecv.detect.verbs import THRESHOLD


@dataclass(frozen=True, slots=True)
class Counts:
    """Columns with a row for each class or each picture.

    Attributes:
        objects: true objects, crowd regions aside.
        found: detections from the threshold on, those excused by crowd regions aside.
        right: detections that match an object of their class with IoU 0.5 or more.
        overlap: sum of IoU over the right ones.
    """

    objects: np.ndarray
    found: np.ndarray
    right: np.ndarray
    overlap: np.ndarray

    @property
    def quality(self) -> np.ndarray:
        """Panoptic quality, 0..1: mean IoU of what is right times F1; NaN without any object or detection."""
        return _ratio(self.overlap, (self.objects + self.found) / 2)

    @property
    def precision(self) -> np.ndarray:
        """Share of the detections that are right; NaN without any."""
        return _ratio(self.right, self.found)

    @property
    def recall(self) -> np.ndarray:
        """Share of the objects that were found; NaN without any."""
        return _ratio(self.right, self.objects)


@dataclass(frozen=True, slots=True)
class Judged:
    """Detections beside the truth at one score threshold.

    Attributes:
        threshold: least score that counts.
        matching: of all detections, also those below the threshold.
        classes: counts by label.
        pictures: counts by place.
        confusion: C+1 C+1 counts, true classes in rows, found ones in columns; the last row is what was found where
            nothing is, the last column what was missed.
    """

    threshold: float
    matching: Matching
    classes: Counts
    pictures: Counts
    confusion: np.ndarray


def judge(found: Detections, objects: Objects, pictures: int, classes: int, threshold: float | None = None) -> Judged:
    """Compare what was found with what is there, from a least score on; None takes the one with the best F1 here."""
    matching = match(found, objects)
    if threshold is None:
        threshold = best_threshold(found, objects, matching)
    strong = found.scores >= threshold
    counted = strong & ~matching.excused
    right = strong & (matching.objects >= 0)

    def counts(true: np.ndarray, own: np.ndarray, size: int) -> Counts:
        return Counts(
            np.bincount(true[~objects.crowd], minlength=size),
            np.bincount(own[counted], minlength=size),
            np.bincount(own[right], minlength=size),
            np.bincount(own[right], weights=matching.overlaps[right], minlength=size),
        )

    return Judged(
        threshold,
        matching,
        counts(objects.labels, found.labels, classes),
        counts(objects.pictures, found.pictures, pictures),
        _confusion(found, objects, counted, right, matching, classes),
    )


def best_threshold(found: Detections, objects: Objects, matching: Matching) -> float:
    """The score, rounded down to hundredths, from which on F1 over all objects is best; a default without any right."""
    counted = ~matching.excused
    scores = found.scores[counted].astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum((matching.objects[counted] >= 0)[order])
    if not len(right) or not right[-1]:
        return THRESHOLD
    scores = scores[order]
    f1 = 2 * right / (np.arange(1, len(right) + 1) + np.count_nonzero(~objects.crowd))
    # Detections of equal scores come together or not at all.
    last = np.append(scores[1:] != scores[:-1], True)
    best = scores[last][np.argmax(f1[last])]
    return math.floor(100 * best + 1e-4) / 100  # 0.29 in float32 is a little less


def objects_of(truth: Mapping[str, Any], category_ids: Sequence[int]) -> Objects:
    """The annotations of a clean COCO data set, by places of the pictures and by labels."""
    places = {entry["id"]: place for place, entry in enumerate(truth["images"])}
    labels = {category: label for label, category in enumerate(category_ids)}
    entries = sorted(truth["annotations"], key=lambda entry: places[entry["image_id"]])
    boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Objects(
        np.array([places[entry["image_id"]] for entry in entries], dtype=np.int64),
        boxes,
        np.array([labels[entry["category_id"]] for entry in entries], dtype=np.int64),
        np.array([bool(entry.get("iscrowd", 0)) for entry in entries], dtype=bool),
    )


def _confusion(
    found: Detections, objects: Objects, counted: np.ndarray, right: np.ndarray, matching: Matching, classes: int
) -> np.ndarray:
    """Right ones first; what is left then takes the objects left over that it overlaps, of whatever class."""
    open_objects = ~objects.crowd
    open_objects[matching.objects[right]] = False
    rest, left = found[counted & ~right], objects[open_objects]
    mistaken = match(rest, left, same_class=False).objects
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    labels = found.labels[right]
    np.add.at(matrix, (labels, labels), 1)
    true = np.append(left.labels, classes)[mistaken]  # -1 takes the last: nothing is there
    np.add.at(matrix, (true, rest.labels), 1)
    missed = np.ones(len(left), dtype=bool)
    missed[mistaken[mistaken >= 0]] = False
    matrix[:, classes] += np.bincount(left.labels[missed], minlength=classes + 1)
    return matrix


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
