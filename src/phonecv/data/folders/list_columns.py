"""The columns of a list file: which part of a line is the path, and which the label."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

from phonecv.data.pictures.opening import IMAGE_SUFFIXES, is_image_name
from phonecv.text import printable_name, some_names

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
_BLANKS = re.compile(r"[ \t]+")
_AFTER_PICTURE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))[ \t]+(.+)", re.IGNORECASE)

#: Lines that are looked at to tell how the columns are separated, and the share of them that has to agree.
_LOOKED_AT, _AGREE = 200, 0.8

# Words of header lines, without blanks, "_" and letter case.
_PATH_WORDS = frozenset(
    ("path", "file", "filename", "filepath", "image", "imagepath", "imagename", "imagefile", "imagefilename", "imageid",
     "img", "imgpath", "imgname", "imgid", "picture", "photo", "id", "name", "relativepath")
)  # fmt: skip
_LABEL_WORDS = frozenset(
    ("label", "labels", "labelid", "labelname", "class", "classes", "classid", "classname", "classindex", "category",
     "categoryid", "categoryname", "target", "y", "species", "breed", "diagnosis", "tag")
)  # fmt: skip


class Row(NamedTuple):
    """A line: its number, path and label as they are written; `column` if a header says that the path is one."""

    line: int
    path: str
    label: str | None
    column: bool = False


def read_rows(lines: Sequence[tuple[int, str]]) -> tuple[list[Row], list[str]]:
    """Path and label of every line, and what people should know about the columns."""
    for delimiter in (",", ";"):
        if columns := _csv_columns([line for _, line in lines[:_LOOKED_AT]], delimiter):
            return _csv_rows(lines, delimiter, *columns)
    if lines and _is_header(_BLANKS.split(lines[0][1])):
        lines = lines[1:]
    return [Row(number, *_split_label(line)) for number, line in lines], []


def _split_label(line: str) -> tuple[str, str | None]:
    """Path and label as text; None where the line is a path alone."""
    columns = line.rsplit("\t", 1) if "\t" in line else _split_last_blank(line)
    if len(columns) == 1 or (not _WHOLE_NUMBER.fullmatch(columns[1].strip(" ")) and is_image_name(columns[1])):
        return _unquoted(line), None
    path, label = (column.strip(" \t") for column in columns)
    # "a cat.jpg big dog": a name of several words.
    if not is_image_name(path) and not _WHOLE_NUMBER.fullmatch(label) and (parts := _AFTER_PICTURE.fullmatch(line)):
        path, label = parts.groups()
    return _unquoted(path), label


def _split_last_blank(line: str) -> list[str]:
    path, blank, label = line.rpartition(" ")
    return [path.rstrip(" "), label] if blank else [line]


def _unquoted(path: str) -> str:
    return path[1:-1] if len(path) > 2 and path[0] == path[-1] == '"' else path


def _csv_columns(lines: Sequence[str], delimiter: str) -> tuple[int, int | None, bool] | None:
    """Column of the path, column of the label, and whether there is a header; None if this is no CSV."""
    if not lines:
        return None
    rows = [_cells(line, delimiter) for line in lines]
    if _is_header(rows[0]):
        words = [_word(cell) for cell in rows[0]]
        # Of several columns that may hold the path, the one with names of pictures.
        paths = [place for place, word in enumerate(words) if word in _PATH_WORDS]
        path = max(paths, key=lambda place: sum(is_image_name(row[place]) for row in rows[1:] if place < len(row)))
        labels = [place for place, word in enumerate(words) if word in _LABEL_WORDS and place != path]
        others = [place for place in range(len(words)) if place != path]
        return path, (labels[0] if labels else others[0] if len(others) == 1 else None), True
    hits = [
        len(row) > 1 and is_image_name(row[0]) and not is_image_name(line) and not _is_plain(line)
        for row, line in zip(rows, lines, strict=True)
    ]
    return (0, 1, False) if sum(hits) >= _AGREE * len(hits) else None


def _is_plain(line: str) -> bool:
    """Whether a line is `path label` as it stands."""
    path, label = _split_label(line)
    return label is not None and is_image_name(path) and bool(_WHOLE_NUMBER.fullmatch(label))


def _is_header(cells: Sequence[str]) -> bool:
    words = [_word(cell) for cell in cells]
    return len(words) > 1 and any(word in _PATH_WORDS for word in words) and not any(map(is_image_name, cells))


def _word(cell: str) -> str:
    return re.sub(r"[ _-]", "", cell).casefold()


def _csv_rows(
    lines: Sequence[tuple[int, str]], delimiter: str, path: int, label: int | None, header: bool
) -> tuple[list[Row], list[str]]:
    notes = []
    if header:
        cells = _cells(lines[0][1], delimiter)
        shown = f"column {printable_name(cells[path])!r} is the path"
        shown += f", {printable_name(cells[label])!r} the label" if label is not None else ", none is the label"
        left = [cell for place, cell in enumerate(cells) if place not in (path, label)]
        notes = [f"{shown}; left out: {some_names(left)}"] if left else []
        lines = lines[1:]
    rows = []
    for number, line in lines:
        cells = _cells(line, delimiter)
        given = cells[label] if label is not None and label < len(cells) else None
        rows.append(Row(number, cells[path] if path < len(cells) else "", given, column=header))
    return rows, notes


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip(" \t") for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    except (csv.Error, StopIteration):
        return [line]
