"""Which detection found which object: greedy, as COCO matches, for a whole data set at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phonecv.detect.detections import Detections

#: Pairs of detections and objects looked at together; bounds the memory (about 100 bytes each).
_PORTION = 2_000_000


@dataclass(frozen=True, slots=True)
class Objects:
    """The true objects of any number of pictures, those of one picture next to each other.

    Attributes:
        pictures: N int64, place of the picture in its list.
        boxes: N 4 float64, xyxy.
        labels: N int64.
        crowd: N bool: a region of many objects that counts for nothing; what is found there is not wrong.
    """

    pictures: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray | slice) -> Objects:
        """Some rows."""
        return Objects(self.pictures[rows], self.boxes[rows], self.labels[rows], self.crowd[rows])


@dataclass(frozen=True, slots=True)
class Matching:
    """What became of each detection.

    Attributes:
        objects: N int64, the row of the object it found, -1 for none.
        overlaps: N float64, IoU with it, 0 for none.
        excused: N bool: found no object but lies in a crowd region of its class, so it is neither right nor wrong.
    """

    objects: np.ndarray
    overlaps: np.ndarray
    excused: np.ndarray


def match(found: Detections, objects: Objects, *, iou: float = 0.5, same_class: bool = True) -> Matching:
    """Give each detection, in the order of scores, the object it overlaps most among those still free.

    A detection's match depends on those with higher scores alone, so rows below a threshold can be dropped afterwards.

    Args:
        found: detections, ordered by picture.
        objects: true objects, ordered by picture.
        iou: least overlap; for crowd regions the least share of the detection inside.
        same_class: only objects of the detection's class.
    """
    matched = np.full(len(found), -1, dtype=np.int64)
    overlaps = np.zeros(len(found))
    excused = np.zeros(len(found), dtype=bool)
    rows, others, values = _overlapping(found, objects, iou, same_class)
    crowd = objects.crowd[others]
    in_crowd = rows[crowd]
    rows, others, values = rows[~crowd], others[~crowd], values[~crowd]
    order = np.lexsort((-values, rows, -found.scores[rows]))
    rows, others, values = rows[order], others[order], values[order]
    busy = np.zeros(len(objects), dtype=bool)
    while len(rows):
        # A pair that comes first for its detection and for its object is certain. Each round settles all such pairs,
        # the very first among them, so a few rounds do what a loop over detections would.
        certain = np.intersect1d(np.unique(rows, return_index=True)[1], np.unique(others, return_index=True)[1])
        matched[rows[certain]] = others[certain]
        overlaps[rows[certain]] = values[certain]
        busy[others[certain]] = True
        open_ = (matched[rows] < 0) & ~busy[others]
        rows, others, values = rows[open_], others[open_], values[open_]
    excused[in_crowd] = True
    excused &= matched < 0
    return Matching(matched, overlaps, excused)


def _overlapping(
    found: Detections, objects: Objects, least: float, same_class: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of detections, rows of objects and overlaps of all pairs that overlap enough."""
    boxes = found.boxes.astype(np.float64)
    areas, true_areas = _areas(boxes), _areas(objects.boxes)
    parts = []
    for rows, others in _pairs(found.pictures, objects.pictures):
        if same_class:
            same = found.labels[rows] == objects.labels[others]
            rows, others = rows[same], others[same]
        corner = np.maximum(boxes[rows, :2], objects.boxes[others, :2])
        sides = np.clip(np.minimum(boxes[rows, 2:], objects.boxes[others, 2:]) - corner, 0, None)
        shared = sides[:, 0] * sides[:, 1]
        whole = np.where(objects.crowd[others], areas[rows], areas[rows] + true_areas[others] - shared)
        overlap = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
        enough = overlap >= least
        parts.append((rows[enough], others[enough], overlap[enough]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    rows, others, overlaps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, others, overlaps


def _pairs(pictures: np.ndarray, others: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both sides for all pairs that share a picture, in portions of bounded size; both are in order."""
    starts = np.searchsorted(others, pictures, side="left")
    counts = np.searchsorted(others, pictures, side="right") - starts
    portions = np.cumsum(counts) // _PORTION
    for portion in np.unique(portions):
        rows = np.flatnonzero(portions == portion)
        times = counts[rows]
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        yield np.repeat(rows, times), within + np.repeat(starts[rows], times)


def _areas(boxes: np.ndarray) -> np.ndarray:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return sides[:, 0] * sides[:, 1]
