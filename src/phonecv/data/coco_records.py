"""From the records of a COCO file to compact tables, with a note of everything that does not fit.

Two kinds of faults: those that leave open what the data set is (no pictures, two pictures of one id, a file name that
leads out of the folder) make the whole file unusable; a bad annotation is left out and noted with its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.data import coco_masks
from phonecv.data.byte_table import ByteTable
from phonecv.data.coco_annotations import AnnotationReader, no_id
from phonecv.data.coco_paths import clean_name, missing_files, unsafe_name
from phonecv.data.coco_tables import CocoProblem, CocoTables
from phonecv.data.images import MAX_PIXELS, ImageError, opened, printable, turn_of
from phonecv.data.json_file import shown, whole

_IMAGE_KEYS = ("id", "file_name", "width", "height")
#: Height and width where the file does not tell them.
_UNKNOWN = (0, 0)


def slim(record: dict[str, Any], *, masks: bool) -> dict[str, Any]:
    """A record as it is read, without what nobody needs: addresses, licences, and masks unless they are wanted."""
    if "segmentation" in record:
        record["segmentation"] = coco_masks.compact(record["segmentation"]) if masks else None
    elif "file_name" in record:
        return {key: record[key] for key in _IMAGE_KEYS if key in record}
    return record


def read_records(content: Any, folder: Path | None, *, masks: bool) -> CocoTables:
    """Tables of a COCO file's content.

    Args:
        content: what the JSON file holds.
        folder: of the pictures, which have to be there; None leaves them alone.
        masks: whether annotations need a mask.
    """
    tables = CocoTables()
    note = tables.problems.append
    if not isinstance(content, Mapping):
        note(
            CocoProblem(
                "structure",
                "the file",
                f"holds a {type(content).__name__}, not an object with images, annotations and categories"
                + ("; is it a file of results?" if isinstance(content, list) else ""),
            )
        )
        return tables
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            what = f"is {shown(content[name])}, not a list" if name in content else "is missing"
            note(CocoProblem("structure", f'"{name}"', f"{what}; a COCO data set has it"))
        elif not content[name] and name != "annotations":
            note(CocoProblem("structure", f'"{name}"', "is an empty list"))
    if tables.problems:
        return tables
    places = _read_categories(tables, content["categories"])
    rows = _read_images(tables, content["images"], folder)
    if not tables.fatal:
        AnnotationReader(tables, places, rows, masks=masks).read(content["annotations"])
    return tables


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from its header.

    Raises:
        ImageError: it can't be read.
    """
    with opened(path) as image:
        turn = turn_of(image)
        # Turns by a quarter, which change the sides, are all but these.
        same = turn is None or turn.name in ("FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM", "ROTATE_180")
        return image.size if same else (image.height, image.width)


def _read_categories(tables: CocoTables, records: list[Any]) -> dict[int, int]:
    """Fill in the categories; returns their place by id."""
    found: dict[int, str] = {}
    for number, record in enumerate(records):
        place = f"categories[{number}]"
        key = whole(record.get("id")) if isinstance(record, dict) else None
        if key is None:
            tables.problems.append(CocoProblem("record", place, no_id(record)))
            continue
        if key in found:
            tables.problems.append(CocoProblem("record", place, f"id {key} is given twice, first to {found[key]!r}"))
            continue
        name = record.get("name")
        if not isinstance(name, str) or not name.strip():
            tables.problems.append(CocoProblem("category-name", place, f"has no name; it is called {str(key)!r} here"))
            name = str(key)
        found[key] = name
    tables.categories = sorted(found.items())
    for name, count in Counter(found.values()).items():
        if count > 1:
            tables.problems.append(CocoProblem("category-name", "categories", f"{count} of them are called {name!r}"))
    return {key: place for place, (key, _) in enumerate(tables.categories)}


def _read_images(tables: CocoTables, records: list[Any], folder: Path | None) -> dict[int, int]:
    """Fill in the pictures; returns their row by id."""
    rows: dict[int, int] = {}
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    for number, record in enumerate(records):
        place = f"images[{number}]"
        key = whole(record.get("id")) if isinstance(record, dict) else None
        if key is None:
            tables.problems.append(CocoProblem("record", place, no_id(record)))
            continue
        if key in rows:
            first = printable(names[rows[key]])
            tables.problems.append(CocoProblem("record", place, f"id {key} is given twice, first to {first}"))
            continue
        reason = unsafe_name(record.get("file_name"))
        if reason:
            tables.problems.append(CocoProblem("record", f"{place} (id {key})", reason))
            continue
        rows[key] = len(names)
        names.append(clean_name(record["file_name"]))
        height, width = whole(record.get("height")) or 0, whole(record.get("width")) or 0
        sizes.append((height, width) if height > 0 and width > 0 and height * width <= MAX_PIXELS else _UNKNOWN)
    if folder is not None:
        absent = missing_files(folder, names)
        ids = list(rows)
        for row in absent:
            place = f"picture {printable(names[row])} (id {ids[row]})"
            tables.problems.append(CocoProblem("missing-file", place, f"is not in {printable(folder)}"))
        if not absent:
            _complete_sizes(tables, folder, names, sizes)
    else:
        for name, size in zip(names, sizes, strict=True):
            if size == _UNKNOWN:
                problem = "has no height and width that a picture could have"
                tables.problems.append(CocoProblem("record", f"picture {printable(name)}", problem))
    for name, count in Counter(names).items():
        if count > 1:
            place = f"picture {printable(name)}"
            tables.problems.append(CocoProblem("repeated-file", place, f"is listed {count} times under several ids"))
    tables.image_ids = np.fromiter(rows, dtype=np.int64, count=len(rows))
    tables.names = ByteTable(name.encode("utf-8", "surrogateescape") for name in names)
    tables.heights, tables.widths = np.array(sizes, dtype=np.int32).reshape(-1, 2).T.copy()
    return rows


def _complete_sizes(tables: CocoTables, folder: Path, names: list[str], sizes: list[tuple[int, int]]) -> None:
    """Take sizes that the file does not tell, or tells impossibly, from the pictures."""
    for row, size in enumerate(sizes):
        if size != _UNKNOWN:
            continue
        place = f"picture {printable(names[row])}"
        try:
            width, height = upright_size(folder / names[row])
            sizes[row] = height, width
            message = f"has no height and width here; those of the file are used, {height} x {width}"
        except ImageError as error:
            # Its boxes have no place to be then; they are left out one by one.
            message = f"has no height and width here, and can't be read ({error.reason})"
        tables.problems.append(CocoProblem("picture-size", place, message))
