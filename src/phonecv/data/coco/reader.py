"""COCO-format data: boxes, and masks if wanted, from a JSON file of any quality; and detections in its results format.

What can't be understood at all is refused at once, with every fault named; a bad annotation is left out, counted, and
listed with its place in `CocoSplit.problems`. Masks stay packed until they are asked for, so that the 860,000 objects
of COCO's training split fit into memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.conventions import PLAIN, CocoReading
from phonecv.data.coco.masks import MaskError
from phonecv.data.coco.paths import CocoPaths, locate_coco
from phonecv.data.coco.paths import find_coco as find_coco
from phonecv.data.coco.records import read_document, read_records, slim
from phonecv.data.coco.split import CocoSplit, ImageTable
from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.folders.class_names import same_name
from phonecv.data.foreign.layouts import foreign_layout
from phonecv.data.json_file import read_json_file, shown, whole
from phonecv.errors import UserError
from phonecv.text import counted, first_names, printable

#: Faults that a message names; `phonecv audit` lists them all.
_MOST = 5
#: Larger numbers are no pixels, whatever the picture.
_LARGEST = 1e9


def read_coco(
    paths: CocoPaths | Path | str,
    *,
    masks: bool = False,
    classes: Sequence[str] | None = None,
    reading: CocoReading = PLAIN,
) -> CocoSplit:
    """Read one annotation file.

    Args:
        paths: from `find_coco`, or just the JSON file, whose pictures are then looked for in the usual places. With
            `CocoPaths(file, None)` no pictures are needed.
        masks: whether every object needs a mask; those without a good one are left out then. Otherwise masks are not
            even looked at.
        classes: the classes that labels refer to, for instance those of the training split or of a trained model;
            categories are matched by name. Without it they are the file's own, by category id.
        reading: how the file is to be understood where it is not written as COCO is.

    Raises:
        UserError: the file can't be understood, its pictures are missing, its objects are of other classes, or not one
            of its annotations is usable.
    """
    if not isinstance(paths, CocoPaths):
        paths = locate_coco(paths)
    name = printable(paths.annotations)
    tables = read_tables(paths, masks=masks, reading=reading)
    if fatal := tables.fatal:
        listed = "\n".join(f"  {problem}" for problem in fatal[:_MOST])
        more = f"\n  and {len(fatal) - _MOST} more; `phonecv audit {name}` lists them" if len(fatal) > _MOST else ""
        what = f"none that can be used of {paths.layout}" if paths.layout else "not a usable COCO data set"
        raise UserError(f"{name}: {what}:\n{listed}{more}")
    if tables.total and not len(tables.boxes):
        reasons = Counter(problem.kind for problem in tables.problems if problem.dropped)
        first = next(problem for problem in tables.problems if problem.dropped)
        hint = "; without masks its boxes can be used" if reasons.total() == reasons["no-mask"] else ""
        raise UserError(f"{name}: none of its {tables.total} annotations is usable; first: {first}{hint}")
    return split_of(paths, tables, classes, masks=masks)


def read_tables(paths: CocoPaths, *, masks: bool, reading: CocoReading = PLAIN) -> CocoTables:
    """The tables of an annotation file, whatever is wrong with its content."""
    if paths.read is not None:
        return read_document(paths.read(), paths.images, masks=masks, reading=reading)
    content = read_json_file(paths.annotations, partial(slim, masks=masks))
    tables = read_records(content, paths.images, masks=masks, reading=reading)
    other = foreign_layout(paths.annotations) if tables.fatal else None
    if other is not None:
        tables.problems.insert(
            0, CocoProblem("structure", "the file", f"is {other.name}; {other.advice}".removesuffix("; "))
        )
    return tables


def split_of(paths: CocoPaths, tables: CocoTables, classes: Sequence[str] | None, *, masks: bool) -> CocoSplit:
    """A split from its tables."""
    names, ids, labels = _match_classes(paths.annotations, tables, classes)
    images = ImageTable(tables, paths.images or Path(), np.arange(len(tables.image_ids)))
    return CocoSplit(
        source=paths.annotations,
        classes=names,
        category_ids=ids,
        images=images,
        problems=tuple(tables.problems),
        masks=masks,
        layout=paths.layout,
        _tables=tables,
        _labels=labels[tables.categories_of],
    )


def near_classes(
    categories: list[tuple[int, str]], classes: Sequence[str]
) -> tuple[list[tuple[int, str]], CocoProblem | None]:
    """Categories under the names of classes that differ in capitals and blanks alone, where one fits one."""
    free = Counter(same_name(name) for name in classes)
    there = Counter(same_name(name) for _, name in categories)
    near = {same_name(name): name for name in classes if free[same_name(name)] == 1 == there[same_name(name)]}
    renamed = [(key, near.get(same_name(name), name)) for key, name in categories]
    changed = [(old, new) for (_, old), (_, new) in zip(categories, renamed, strict=True) if old != new]
    if not changed:
        return renamed, None
    old, new = changed[0]
    message = f"{shown(old)} is taken for {shown(new)}"
    return renamed, CocoProblem("category-name", "categories", message, count=len(changed))


def _match_classes(
    source: Path, tables: CocoTables, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray]:
    """Names and category ids of the classes, and the label of every category in the tables."""
    categories = tables.categories
    if classes is None:
        names, ids = tuple(name for _, name in categories), tuple(key for key, _ in categories)
        return names, ids, np.arange(len(categories))
    wanted = {name: label for label, name in enumerate(classes)}
    categories, told = near_classes(categories, list(wanted))
    if told:
        tables.problems.append(told)
    labels = np.array([wanted.get(name, -1) for _, name in categories], dtype=np.int64)
    used = np.bincount(tables.categories_of, minlength=len(categories))
    strange = [place for place in np.flatnonzero(used) if labels[place] < 0]
    if strange:
        shown = ", ".join(
            f"{printable(categories[place][1])} ({counted(used[place], 'objects')})" for place in strange[:_MOST]
        )
        raise UserError(
            f"{printable(source)}: {len(strange)} categories with objects are not among the {len(wanted)} given"
            f" classes: {shown}; the classes are {first_names(list(wanted), 8)}"
        )
    twice = [name for name, count in Counter(name for _, name in categories).items() if count > 1 and name in wanted]
    if len(wanted) < len(classes) or twice:
        what = f"several categories are called {twice[0]!r}" if twice else "the given classes repeat a name"
        raise UserError(f"{printable(source)}: {what}; classes are matched by name, so every name may occur once")
    ids = {wanted[name]: key for key, name in categories if name in wanted}
    free = max(key for key, _ in categories) + 1
    known = [ids[label] if label in ids else free + label for label in range(len(classes))]
    return tuple(classes), tuple(known), labels


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
