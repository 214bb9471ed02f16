"""Detections of any origin in COCO's results format, checked against the data set they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.masks import MaskError
from phonecv.data.coco.split import CocoSplit
from phonecv.data.json_file import read_json_file, shown, whole
from phonecv.errors import UserError
from phonecv.text import printable

#: Larger numbers are no pixels, whatever the picture.
_LARGEST = 1e9


class CocoResults(NamedTuple):
    """Detections, those of one picture next to each other and best first.

    Attributes:
        pictures: N int64, places in the split.
        boxes: N 4 float32, xyxy; all zero where a result has a mask only.
        scores: N float32.
        labels: N int64.
        masks: N run lengths ``{"size": [h, w], "counts": text}``, or None if not all results have one.
    """

    pictures: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[dict[str, Any], ...] | None


def read_results(path: Path | str, split: CocoSplit) -> CocoResults:
    """Read a list of ``{image_id, category_id, score, bbox and/or segmentation}``; an empty list is fine.

    Unlike an annotation, a result is never left out: the score would be that of other detections.

    Args:
        path: the JSON file.
        split: the data set they are for.

    Raises:
        UserError: names the file and the record.
    """
    path = Path(path)
    content = read_json_file(path, _slim)
    if not isinstance(content, list):
        what = "a data set, not its results" if isinstance(content, dict) and "images" in content else "not a list"
        raise UserError(f"{printable(path)}: {what}; COCO results are a list of detections")
    images = {key: place for place, key in enumerate(split.images.ids.tolist())}
    labels = {key: label for label, key in enumerate(split.category_ids)}
    pictures, classes, boxes, scores, masks = [], [], [], [], []
    for number, record in enumerate(content):
        try:
            picture, label, box, score = _checked(record, images, labels)
            height, width = int(split.images.heights[picture]), int(split.images.widths[picture])
            mask = coco_masks.pack(record.get("segmentation"), height, width)
        except (_BadResultError, MaskError) as error:
            raise UserError(f"{printable(path)}: result {number} ({shown(record, 160)}): {error}") from error
        if box is None and not mask:
            raise UserError(f"{printable(path)}: result {number} ({shown(record, 160)}) has no bbox and no mask")
        pictures.append(picture)
        classes.append(label)
        boxes.append(box or [0.0] * 4)
        scores.append(score)
        masks.append(mask)
    columns = np.array(pictures, dtype=np.int64), np.array(scores, dtype=np.float64)
    # Stable, so that equal scores stay in the order of the file.
    order = np.lexsort((np.arange(len(pictures)), -columns[1], columns[0]))
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    codes = None
    if all(masks):
        heights, widths = split.images.heights.tolist(), split.images.widths.tolist()
        codes = tuple(coco_masks.to_rle(masks[row], heights[pictures[row]], widths[pictures[row]]) for row in order)
    return CocoResults(
        columns[0][order],
        corners[order].astype(np.float32),
        columns[1][order].astype(np.float32),
        np.array(classes, dtype=np.int64)[order],
        codes if pictures else None,
    )


class _BadResultError(ValueError):
    """What is wrong with one result."""


def _slim(record: dict[str, Any]) -> dict[str, Any]:
    if "segmentation" in record:
        record["segmentation"] = coco_masks.compact(record["segmentation"])
    return record


def _checked(record: Any, images: dict[int, int], labels: dict[int, int]) -> tuple[int, int, list[float] | None, float]:
    if not isinstance(record, dict):
        raise _BadResultError("not an object")
    image, category = whole(record.get("image_id")), whole(record.get("category_id"))
    if image not in images:
        raise _BadResultError(f"image_id {shown(record.get('image_id'))} is not among the {len(images)} pictures")
    if category not in labels:
        raise _BadResultError(f"category_id {shown(record.get('category_id'))} is not among the {len(labels)} classes")
    score: Any = record.get("score")
    if type(score) not in (int, float) or not -_LARGEST < score < _LARGEST:  # false for NaN
        raise _BadResultError(f"score is {shown(score)}, not a finite number")
    box: Any = record.get("bbox")
    if box is not None:
        numbers = isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)
        if not numbers or not all(-_LARGEST < value < _LARGEST for value in box) or box[2] < 0 or box[3] < 0:
            raise _BadResultError("bbox is not x, y, width, height in pixels, finite and not negative")
    return images[image], labels[category], box, float(score)
