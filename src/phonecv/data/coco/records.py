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

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco import shapes as coco_shapes
from phonecv.data.coco.annotations import AnnotationReader
from phonecv.data.coco.conventions import PLAIN, CocoReading
from phonecv.data.coco.picture_names import REFUSED, called, clean_name, near_names, unsafe_name
from phonecv.data.coco.sizes import fit_to_pictures, stored_size, upright_size
from phonecv.data.coco.suspicions import drop_placeholders
from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.foreign.document import Document
from phonecv.data.json_file import no_id, shown, whole
from phonecv.data.loading.byte_table import ByteTable
from phonecv.data.pictures.near_names import Present
from phonecv.data.pictures.opening import MAX_PIXELS, ImageError, printable

_IMAGE_KEYS = ("id", "file_name", "width", "height")
#: What holds a picture's name where there is no file_name: LVIS has the address alone.
_NAME_KEYS = ("file_name", "filename", "path", "coco_url", "url")
#: Height and width where the file does not tell them.
_UNKNOWN = (0, 0)


def slim(record: dict[str, Any], *, masks: bool) -> dict[str, Any]:
    """A record as it is read, without what nobody needs: addresses, licences, and masks unless they are wanted."""
    if "segmentation" in record:
        # Boxes that say nothing are taken from the mask.
        needed = masks or coco_shapes.nothing(record.get("bbox"))
        record["segmentation"] = coco_masks.compact(record["segmentation"]) if needed else None
    elif "file_name" in record:
        return {key: record[key] for key in _IMAGE_KEYS if key in record}
    return record


def read_records(content: Any, folder: Path | None, *, masks: bool, reading: CocoReading = PLAIN) -> CocoTables:
    """Tables of what a COCO file holds; without a `folder` the pictures are left alone."""
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
    if other := _other_kind(content):
        note(CocoProblem("structure", "the file", other))
        return tables
    content = _as_lists(tables, content)
    annotations, categories = content.get("annotations"), content.get("categories")
    how = ""
    if isinstance(annotations, list):
        categories, how = numbered(categories, annotations)
    if how:
        note(CocoProblem("respelled", '"categories"', f"are {how}"))
    for name, records in (("images", content.get("images")), ("annotations", annotations), ("categories", categories)):
        if not isinstance(records, list):
            what = f"is {shown(content[name])}, not a list" if name in content else "is missing"
            note(CocoProblem("structure", f'"{name}"', f"{what}; a COCO data set has it"))
        elif not records and name != "annotations":
            note(CocoProblem("structure", f'"{name}"', "is an empty list"))
        elif name == "categories" and (why := why_not_numbered(records)):
            note(CocoProblem("structure", f'"{name}"', why))
    if tables.fatal:
        return tables
    places, groups = read_categories(tables, categories)  # pyrefly: ignore[bad-argument-type]
    rows = _read_images(tables, content["images"], folder, reading)
    if not tables.fatal:
        AnnotationReader(tables, places, rows, masks=masks, layout=reading.boxes or "xywh").read(content["annotations"])
        drop_placeholders(tables, groups)
        if folder is not None and reading.looks:
            fit_to_pictures(tables, folder, reading)
    return tables


def read_document(document: Document, folder: Path | None, *, masks: bool, reading: CocoReading = PLAIN) -> CocoTables:
    """Tables of what the files of another tool say; how they write boxes holds unless `reading` says otherwise."""
    tables = CocoTables()
    categories = document.categories()
    tables.problems += document.told
    for name, records in (("images", document.images), ("annotations", categories)):
        if not records:
            what = (
                "there are no pictures in them"
                if name == "images"
                else "no picture has an object, and no class is listed"
            )
            tables.problems.append(CocoProblem("structure", f'"{name}"', what))
    if tables.fatal:
        return tables
    places, _ = read_categories(tables, categories)
    rows = _read_images(tables, document.images, folder, reading, sized=document.sized)
    if not tables.fatal:
        layout = reading.boxes or document.boxes
        AnnotationReader(tables, places, rows, masks=masks, layout=layout, document=document).read(document.annotations)
        if folder is not None and reading.looks:
            fit_to_pictures(tables, folder, reading)
    return tables


def _as_lists(tables: CocoTables, content: Mapping[Any, Any]) -> dict[Any, Any]:
    """The content with lists for tables of records by key, and numbers for ids of pictures and categories that are
    words, such as UUIDs."""
    content = dict(content)
    for name in ("images", "annotations", "categories"):
        records = content.get(name)
        if isinstance(records, dict) and records and all(isinstance(one, dict) for one in records.values()):
            content[name] = list(records.values())
            tables.problems.append(CocoProblem("respelled", f'"{name}"', "are records by key"))
    for name, key in (("images", "image_id"), ("categories", "category_id")):
        given = [one.get("id") for one in _records(content, name)]
        if not any(isinstance(one, str) and whole(one) is None for one in given):
            continue
        numbers = {str(one): number for number, one in enumerate(given, 1) if isinstance(one, str | int)}
        if len(numbers) < len(given):  # the reader of the records says which is given twice, or is none
            continue
        for where, records in (("id", _records(content, name)), (key, _records(content, "annotations"))):
            for record in records:
                if isinstance(record.get(where), str | int):
                    record[where] = numbers.get(str(record[where]), record[where])
        tables.problems.append(CocoProblem("respelled", f'"{name}"', "have words for ids; they are numbered from 1"))
    return content


def _records(content: Mapping[Any, Any], name: str) -> list[dict[str, Any]]:
    """The records of a list that are records."""
    found = content.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _other_kind(content: Mapping[Any, Any]) -> str:
    """What else a file of COCO's family is, or nothing."""
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if not isinstance(first, dict) or "bbox" in first or "segmentation" in first:
        return ""
    if "segments_info" in first:
        return "is COCO's panoptic form; take the instances file of the same pictures"
    if "caption" in first:
        return "holds captions, no objects; take the instances file of the same pictures"
    return ""


def _read_images(
    tables: CocoTables, records: list[Any], folder: Path | None, reading: CocoReading, *, sized: bool = True
) -> dict[int, int]:
    """Fill in the pictures; returns their row by id. Those of files that tell no sizes have their own."""
    rows: dict[int, int] = {}
    given: list[Any] = []
    sizes: list[tuple[int, int]] = []
    for number, record in enumerate(records):
        place = f"images[{number}]"
        key = whole(record.get("id")) if isinstance(record, dict) else None
        if key is None:
            tables.problems.append(CocoProblem("record", place, no_id(record)))
            continue
        if key in rows:
            first = called(given[rows[key]])
            tables.problems.append(CocoProblem("record", place, f"id {key} is given twice, first to {first}"))
            continue
        rows[key] = len(given)
        given.append(next((record[word] for word in _NAME_KEYS if record.get(word)), None))
        height, width = whole(record.get("height")) or 0, whole(record.get("width")) or 0
        sizes.append((height, width) if height > 0 and width > 0 and height * width <= MAX_PIXELS else _UNKNOWN)
    names = _found_names(tables, folder, given, list(rows))
    if folder is not None:
        _take_sizes(tables, folder, names, sizes, reading, sized=sized)
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


def _found_names(tables: CocoTables, folder: Path | None, given: list[Any], ids: list[int]) -> list[str]:
    """The file names, every one inside the folder; those under which nothing is there are reported."""
    names = [REFUSED if unsafe_name(name) else clean_name(name) for name in given]
    if folder is None:
        absent = [row for row, name in enumerate(names) if name == REFUSED]
        near: dict[int, str] = {}
    else:
        present = Present(folder)  # reads each folder once, which is faster than asking
        absent = [row for row, name in enumerate(names) if name == REFUSED or name not in present]
        near = near_names(folder, {row: given[row] for row in absent}, taken=set(names)) if absent else {}
    found = 0
    for row in absent:
        if row in near:
            names[row] = near[row]
            found += 1
            continue
        reason = unsafe_name(given[row]) or f"is not in {printable(folder or '')}"
        tables.problems.append(CocoProblem("missing-file", f"picture {called(given[row])} (id {ids[row]})", reason))
        if names[row] == REFUSED:
            names[row] = f"{REFUSED}/{ids[row]}"
    if found:
        first = next(row for row in absent if row in near)
        place = f"picture {called(given[first])} (id {ids[first]})"
        message = f"is taken for {printable(names[first])}, the one file of that name here"
        tables.problems.append(CocoProblem("picture-name", place, message, count=found))
    gone = len(absent) - found
    if folder is not None and gone and 2 * gone >= len(names):
        first = next(problem for problem in tables.problems if problem.kind == "missing-file")
        message = (
            f"{gone} of {len(names)} are not there ({first}); name the right folder of pictures, or mend the names"
        )
        tables.problems.insert(0, CocoProblem("structure", '"images"', message))
    return names


def _take_sizes(
    tables: CocoTables,
    folder: Path,
    names: list[str],
    sizes: list[tuple[int, int]],
    reading: CocoReading,
    *,
    sized: bool,
) -> None:
    """Take sizes from the pictures: all if wanted, else those that the file does not tell, or tells impossibly."""
    every, other = reading.sizes == "pictures" or not sized, 0
    for row, told in enumerate(sizes):
        if not every and told != _UNKNOWN:
            continue
        path, message = folder / names[row], ""
        try:
            width, height = stored_size(path)[:2] if every and reading.stored else upright_size(path)
            sizes[row] = height, width
            other += told != sizes[row]
            if not every:
                message = f"has no height and width here; those of the file are used, {height} x {width}"
        except ImageError as error:  # opening it will tell
            if told == _UNKNOWN:  # its boxes have no place to be then; they are left out one by one
                message = f"has no height and width here, and can't be read ({error.reason})"
        if message:
            tables.problems.append(CocoProblem("picture-size", f"picture {printable(names[row])}", message))
    if other and every and sized:
        message = f"{other} of {len(names)} have another size than the file says; that of the pictures is used"
        tables.problems.append(CocoProblem("fitted", '"images"', message))


def numbered(categories: Any, annotations: list[Any]) -> tuple[Any, str]:
    """Categories as a list of records, and how they were written, "" where as COCO writes them.

    Names alone get the ids that the annotations use; what can't be numbered stays as it is.
    """
    if isinstance(categories, dict) and categories:
        if all(isinstance(name, str) and whole(key) is not None for key, name in categories.items()):
            return [{"id": whole(key), "name": name} for key, name in categories.items()], "names by id"
        if all(whole(key) is not None for key in categories.values()):
            return [{"id": whole(key), "name": name} for name, key in categories.items()], "ids by name"
    names = categories if isinstance(categories, list) else []
    if names and all(isinstance(one, dict) and set(one) == {"name"} for one in names):
        names = [one["name"] for one in names]
    if names and all(isinstance(name, str) for name in names):
        given = [record.get("category_id") for record in annotations if isinstance(record, dict)]
        ids = {whole(value) for value in given if isinstance(value, int | float | str)} - {None}
        # Only the one number that the first or the last class has in one of the two ways tells which it is.
        starts = [start for start in (0, 1) if ids and ids <= set(range(start, start + len(names)))]
        if given and all(isinstance(value, str) and value in names for value in given):
            starts = [1]  # any will do
        if len(starts) == 1:
            records = [{"id": number, "name": name} for number, name in enumerate(names, starts[0])]
            return records, f"names alone; they are counted from {starts[0]}, as the annotations do"
    return categories, ""


def why_not_numbered(categories: list[Any]) -> str:
    """What to say of a list of names that `numbered` left alone; "" for anything else."""
    if not categories or not all(isinstance(name, str) for name in categories):
        return ""
    return (
        f"is a list of {len(categories)} names, and the annotations do not tell whether their ids count from 0 or from"
        f' 1; write {{"id": 1, "name": {shown(categories[0])}}} and so on'
    )


def read_categories(tables: CocoTables, records: list[Any]) -> tuple[dict[int, int], dict[int, str]]:
    """Fill in the categories; returns their place and their group (supercategory; "" if they have no name), by id."""
    found: dict[int, str] = {}
    groups: dict[int, str] = {}
    for number, record in enumerate(records):
        place = f"categories[{number}]"
        if record is None or record == {}:
            tables.problems.append(CocoProblem("placeholder", place, f"is {shown(record)}; it is no class"))
            continue
        key = whole(record.get("id")) if isinstance(record, dict) else None
        if key is None:
            tables.problems.append(CocoProblem("record", place, no_id(record)))
            continue
        if key in found:
            first = printable(found[key])
            tables.problems.append(CocoProblem("record", place, f"id {key} is given twice, first to {first!r}"))
            continue
        name, group = record.get("name"), record.get("supercategory")
        groups[key] = group if isinstance(group, str) and group.strip() else "none"
        if not isinstance(name, str) or not name.strip():
            tables.problems.append(CocoProblem("category-name", place, f"has no name; it is called {str(key)!r} here"))
            name, groups[key] = str(key), ""
        found[key] = name
    tables.categories = sorted(found.items())
    for name, count in Counter(found.values()).items():
        if count > 1:
            tables.problems.append(
                CocoProblem("category-twice", '"categories"', f"{count} of them are called {printable(name)!r}")
            )
    return {key: place for place, (key, _) in enumerate(tables.categories)}, groups
