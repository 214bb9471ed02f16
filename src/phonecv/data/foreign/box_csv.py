"""CSV lists of boxes, a row for each: with a header (TensorFlow, Roboflow, Kaggle, Open Images), or without one as
Keras RetinaNet reads them (``path,x1,y1,x2,y2,class``; a path alone is a picture without objects)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.data.coco.conventions import BoxLayout
from phonecv.data.coco.shapes import box_of
from phonecv.data.folders.list_columns import CLASS_WORDS, PICTURE_WORDS
from phonecv.data.foreign.document import NAMELESS, Document, Reads, number, numbers, reads_of
from phonecv.data.foreign.reading import FileError, read_table
from phonecv.data.foreign.tree import Source, Tree, beginning, split_in
from phonecv.data.json_file import whole
from phonecv.data.pictures.opening import is_image_name
from phonecv.data.split_names import WHOLE, split_of
from phonecv.errors import UserError
from phonecv.text import printable

_HEADER = re.compile(
    rb"\A(?=[^\n]*(?:file|image|img|path|picture))(?=[^\n]*\b(?:xmin|x_min|x1|bbox|bbox_x|left|cx|x_?cent(?:er|re)"
    rb"|x\W+y\W+w|x\W+y\W+width)\b)",
    re.I,
)
#: SKU-110K has the picture's sides behind the class.
_BARE = re.compile(
    rb"\A[^\n,;\t]+\.\w{3,4}[,;\t](?:\s*-?\d+(?:\.\d+)?\s*[,;\t]){4}[^\n,;\t]+(?:[,;\t]\d+[,;\t]\d+)?\r?\n", re.I
)
#: Make Sense without a header: class, left, top, width, height, picture and its sides.
_MAKE_SENSE = re.compile(rb"\A[^\n,]+,(?:\s*\d+(?:\.\d+)?,){4}[^\n,]+\.\w{3,4},\d+,\d+\s*(?:\n|\Z)", re.I)
_NAMES = ("_annotations.csv", "annotations.csv")
#: Words of a header, as those in `list_columns`, and without the "Roi." of GTSRB.
_WIDTH, _HEIGHT = ("imagewidth", "imgwidth", "width", "imgw"), ("imageheight", "imgheight", "height", "imgh")
_SPLIT, _GROUP = ("split", "subset", "set"), ("isgroupof",)
#: Four columns of a box, or one, and how it is to be read; width and height of a box come before those of a picture.
_BOXES: tuple[tuple[tuple[str, ...], BoxLayout], ...] = (
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("left", "top", "right", "bottom"), "xyxy"),
    (("upperleftcornerx", "upperleftcornery", "lowerrightcornerx", "lowerrightcornery"), "xyxy"),
    (("xcenter", "ycenter", "width", "height"), "cxcywh"),
    (("xcenter", "ycenter", "w", "h"), "cxcywh"),
    (("cx", "cy", "width", "height"), "cxcywh"),
    (("cx", "cy", "w", "h"), "cxcywh"),
    (("bboxx", "bboxy", "bboxwidth", "bboxheight"), "xywh"),
    (("bboxx", "bboxy", "bboxw", "bboxh"), "xywh"),
    (("left", "top", "width", "height"), "xywh"),
    (("xmin", "ymin", "width", "height"), "xywh"),
    (("x", "y", "w", "h"), "xywh"),
    (("x", "y", "width", "height"), "xywh"),
    (("bbox",), "xywh"),
    (("box",), "xywh"),
    (("boundingbox",), "xywh"),
)


@dataclass(frozen=True)
class _Columns:
    """Places of the columns; `boxes` is one place where the four numbers are in one cell."""

    picture: int
    label: int | None
    boxes: tuple[int, ...]
    layout: BoxLayout
    sides: tuple[int, int] | None = None
    split: int | None = None
    group: int | None = None
    header: bool = True


def find(tree: Tree) -> Path | None:
    """The file that tells the layout."""
    paths = [*tree.named(*_NAMES), *tree.ending(".csv")]
    return next((found for kind in (_HEADER, _BARE, _MAKE_SENSE) if (found := tree.starts(paths, kind))), None)


def lists_boxes(path: Path) -> bool:
    """Whether a CSV file begins as a list of boxes."""
    start = beginning(path)
    return any(kind.search(start) for kind in (_HEADER, _BARE, _MAKE_SENSE))


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    rows: dict[str, list[tuple[str, int, list[str], _Columns]]] = defaultdict(list)
    for name in source.files(".csv"):
        if not source.alone and not lists_boxes(source.root / name):
            continue
        table = read_table(source.root / name)
        columns = _columns(source.root / name, next(filter(None, table), []))
        stem = re.split(r"[^a-zA-Z]+", name.rpartition("/")[2].rpartition(".")[0])
        own = split_in(name) or next(filter(None, map(split_of, stem)), None) or WHOLE
        for number_, cells in enumerate(table, 1):
            if cells and not (columns.header and number_ == _first(table)):
                told = cells[columns.split] if columns.split is not None and columns.split < len(cells) else ""
                rows[split_of(told) or own].append((name, number_, cells, columns))
    return reads_of(rows, lambda split, found: _read(source, split, found))


def _first(table: Sequence[Sequence[str]]) -> int:
    return next(place for place, cells in enumerate(table, 1) if cells)


def _columns(path: Path, header: Sequence[str]) -> _Columns:
    words = [re.sub(r"[\s_\-#.]|^roi\.", "", cell.casefold()).replace("centre", "center") for cell in header]

    def of(*names: str) -> int | None:
        return next((words.index(name) for name in names if name in words), None)

    picture = of(*PICTURE_WORDS)
    if picture is None and len(header) == 8 and is_image_name(header[5]):
        return _Columns(5, 0, (1, 2, 3, 4), "xywh", (6, 7), header=False)
    if picture is None:
        if not is_image_name(header[0].replace("\\", "/").rpartition("/")[2]) or len(header) < 6:
            raise FileError(path, "no column of the first line names the pictures (filename, path, image and so on)")
        return _Columns(0, 5, (1, 2, 3, 4), "xyxy", (6, 7) if len(header) == 8 else None, header=False)
    row = next((row for row in _BOXES if set(row[0]) <= set(words)), None)
    if row is None:
        raise FileError(path, "no columns of the first line hold boxes (xmin, ymin, xmax, ymax; x1, y1, x2, y2; bbox)")
    boxes = tuple(words.index(name) for name in row[0])
    left = [None if place in boxes else word for place, word in enumerate(words)]
    sides = [next((left.index(name) for name in side if name in left), None) for side in (_WIDTH, _HEIGHT)]
    both = (sides[0], sides[1]) if None not in sides else None
    return _Columns(picture, of(*CLASS_WORDS), boxes, row[1], both, of(*_SPLIT), of(*_GROUP))  # pyrefly: ignore[bad-argument-type]


def _read(source: Source, split: str, rows: Sequence[tuple[str, int, list[str], _Columns]]) -> Document:
    columns = rows[0][3]
    if other := next((row for row in rows if row[3].layout != columns.layout), None):
        both = f"{rows[0][0]} as {columns.layout}, {other[0]} as {other[3].layout}"
        raise UserError(f"{printable(source.root)}: lists of boxes that are written in two ways: {printable(both)}")
    document = Document(source.root, _layout(rows), sized=columns.sides is not None)
    document.classes = _classes(source)
    names = {str(key): name for key, name in document.classes.items()} | _described(source)
    images: dict[tuple[str, str], int] = {}
    for file, line, cells, columns in rows:
        place = f"{file}:{line}"
        name = cells[columns.picture] if columns.picture < len(cells) else ""
        if not name:
            document.tell("label-file", place, "names no picture; it is left out")
            continue
        key = file.rpartition("/")[0], name
        if key not in images:
            sides = [number(cells[side]) for side in columns.sides or () if side < len(cells)]
            images[key] = document.picture(name, *sides, file=file)
        given = [cells[at] if at < len(cells) else "" for at in columns.boxes]
        if not any(given):
            continue  # a picture without objects
        box = _box(given)
        label = cells[columns.label] if columns.label is not None and columns.label < len(cells) else ""
        if columns.label is not None and not label:
            document.tell("category", place, "has no class; it is left out", dropped=True)
            continue
        crowd = columns.group is not None and cells[columns.group : columns.group + 1] == ["1"]
        if crowd:
            document.tell("reading", place, "is a group (IsGroupOf): neither learnt nor counted")
        document.add(
            images[key],
            names.get(label, label) or NAMELESS,
            place,
            box=box if isinstance(box, list) else [given],
            crowd=crowd,
        )
    if columns.label is None:
        document.tell("reading", '"categories"', f"no column names a class; all objects are called {NAMELESS!r}")
    document.settle(split)
    document.tell("reading", '"annotations"', f"a CSV list of boxes: {_WORDS[document.boxes]}")
    return document


_SHARES: dict[BoxLayout, BoxLayout] = {"xyxy": "xyxy_shares", "xywh": "xywh_shares", "cxcywh": "cxcywh_shares"}
_WORDS = {
    "xyxy": "two corners in pixels, edges counted from 0",
    "xyxy_shares": "two corners as shares of the sides, for none is above 1",
    "cxcywh": "centre, width and height in pixels",
    "cxcywh_shares": "centre, width and height as shares of the sides, for none is above 1",
    "xywh": "left, top, width and height in pixels",
    "xywh_shares": "left, top, width and height as shares of the sides, for none is above 1",
}


def _layout(rows: Sequence[tuple[str, int, list[str], _Columns]]) -> BoxLayout:
    """How boxes are written: shares where no number is above 1 and some are fractions, as in Open Images."""
    largest, fraction = 0.0, False
    layout = rows[0][3].layout
    for _, _, cells, columns in rows:
        box = _box([cells[at] if at < len(cells) else "" for at in columns.boxes])
        for value in map(number, box) if isinstance(box, list) else ():
            largest, fraction = max(largest, value or 0.0), fraction or (value is not None and value % 1 != 0)
    return _SHARES.get(layout, layout) if fraction and largest <= 1 else layout


def _box(cells: Sequence[str]) -> Any:
    """Four numbers in as many cells or in one; what is no box as it is."""
    return box_of(cells[0])[0] if len(cells) == 1 else numbers(cells)


def _classes(source: Source) -> dict[int, str]:
    """Classes as Keras RetinaNet lists them beside the boxes: ``name,number``."""
    path = next(source.tree.named("classes.csv", "class_map.csv"), None)
    rows = [] if path is None else read_table(path)
    pairs = [(whole(cells[1]), cells[0]) for cells in rows if len(cells) == 2]
    return dict(sorted((key, name) for key, name in pairs if key is not None))


def _described(source: Source) -> dict[str, str]:
    """What Open Images calls its classes, such as ``/m/01yrx``."""
    path = next(source.tree.named("class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv"), None)
    return {} if path is None else {cells[0]: cells[1] for cells in read_table(path) if len(cells) == 2}
