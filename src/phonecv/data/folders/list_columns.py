"""The columns of a list file: which part of a line is the path, and which the label, or several of them.

Pictures with several labels stand there as columns of 0 and 1, as cells with several names, or on several lines.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from phonecv.data.clips.streams import VIDEO_SUFFIXES, is_video
from phonecv.data.pictures.opening import IMAGE_SUFFIXES, is_image_name
from phonecv.data.split_names import split_of
from phonecv.text import printable_name, quoted, some_names

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
_BLANKS = re.compile(r"[ \t]+")
_SUFFIXES = "|".join(map(re.escape, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)))
_AFTER_NAME = re.compile(rf"(.+?(?:{_SUFFIXES}))[ \t]+(.+)", re.IGNORECASE)
_FRAMES = re.compile(r"[ \t]+([0-9]+)(?=[ \t]|$)")

#: Lines that are looked at to tell how the columns are separated, and the share of them that has to agree.
_LOOKED_AT, _AGREE = 200, 0.8

#: Words of header lines, without blanks, "_" and letter case, for pictures and for their classes or those of boxes; of
#: several that are there the first is meant.
PICTURE_WORDS = (
    "filename", "file", "filepath", "imagepath", "imagename", "imagefile", "path", "image", "img", "imageid", "images",
    "imgname", "imgpath", "imgid", "fname", "picture",
)  # fmt: skip
CLASS_WORDS = (
    "class", "label", "classname", "labelname", "name", "category", "categoryname", "classid", "categoryid", "target",
    "annotationtag", "classlabel", "labelid", "objectclass", "objectname", "objecttype", "tag",
)  # fmt: skip
_PATH_WORDS = frozenset(
    (*PICTURE_WORDS, "imagefilename", "imageindex", "photo", "id", "name", "relativepath", "video", "videopath",
     "videoname", "videoid", "clip", "clippath", "folder", "framefolder", "framedir", "directory")
)  # fmt: skip
_LABEL_WORDS = frozenset(
    (*(word for word in CLASS_WORDS if word != "name"), "labels", "classes", "classindex", "y", "species", "breed",
     "diagnosis", "tags", "choice", "choices", "findinglabels", "attributes")
)  # fmt: skip
_SPLIT_WORDS = frozenset(("split", "set", "subset", "partition", "fold", "usage", "phase"))
_FRAME_WORDS = frozenset(("frames", "numframes", "nframes", "totalframes", "framecount", "nbframes", "length"))
#: What stands in a column of a class, where each class has its own: the last two are what a reader left open.
_YES, _NO = frozenset(("1", "1.0", "true", "yes")), frozenset(("0", "0.0", "false", "no", "", "nan"))
_OPEN = frozenset(("-1", "-1.0"))
#: Kinetics' own lists, of which a clip's file is called after video, start and end.
_KINETICS = ("youtubeid", "timestart", "timeend")


#: Said of a list without labels.
UNLABELLED = "none is the label"

#: How many labels a picture has: one, any number, or as the list looks.
Labels = Literal["one", "many", "auto"]

#: What separates names in a cell, and how it is called; blanks are looked at last, names have them, too.
_SEPARATORS = (("|", "'|'"), (";", "';'"), (",", "','"))
_LABEL_NUMBER = re.compile(r"[0-9]{1,9}")
#: Pictures with several lines of different labels, and their share, from which on a list means them so: a label given
#: twice by mistake is rare.
_MEANT, _SHARE = 10, 0.1

MANY = "data.labels=many takes them as labels of one picture"


class Row(NamedTuple):
    """A line: its number, path and label as they are written; `column` if a header says that the path is one.

    `frames` is how many frames the clip has by the list, `split` to which split it belongs, if it says so; `names` are
    the columns that hold 1, where each class has a column, or what else the line names where several labels may stand;
    `wrong` says what stands in such a column that is neither.
    """

    line: int
    path: str
    label: str | None
    column: bool = False
    frames: int | None = None
    names: tuple[str, ...] | None = None
    split: str | None = None
    wrong: str = ""

    def with_frames(self) -> list[Row]:
        """What the line says if it is ``folder frames label``: each way to read it, the last being the likeliest."""
        numbered = _WHOLE_NUMBER.fullmatch(self.label or "")
        return [
            self._replace(
                path=_unquoted(self.path[: found.start()]),
                label=f"{self.path[found.end() :].strip()} {self.label}".strip(),
                frames=int(found[1]),
            )
            for found in reversed([*_FRAMES.finditer(self.path)])
            if found.start()
            and (not numbered or found.end() == len(self.path))
            and not is_image_name(self.path[: found.start()])
        ]


class _Columns(NamedTuple):
    """Places of the columns of a CSV file.

    `made` are those of Kinetics' own lists, `header` whether the first line names the columns, `classes` those that
    hold 0 or 1, with their names.
    """

    path: int
    label: int | None
    frames: int | None = None
    made: tuple[int, ...] = ()
    header: bool = False
    classes: tuple[tuple[int, str], ...] = ()
    split: int | None = None

    def row(self, line: int, cells: Sequence[str]) -> Row:
        """A line as a row."""

        def cell(place: int | None) -> str | None:
            return cells[place] if place is not None and place < len(cells) else None

        path, frames = cell(self.path) or "", cell(self.frames) or ""
        if self.made:
            video, *times = (cell(place) or "" for place in self.made)
            path = "_".join([video, *(time.partition(".")[0].zfill(6) for time in times)]) + ".mp4"
        count = int(frames) if frames.isdecimal() else None
        names = tuple(name for place, name in self.classes if (cell(place) or "").casefold() in _YES)
        named = names if self.classes else None
        odd = [(cell(place) or "", name) for place, name in self.classes if not _is_bit(cell(place) or "")]
        wrong = f"{printable_name(odd[0][0])} in column {odd[0][1]!r}, which holds 0 and 1" if odd else ""
        return Row(line, path, cell(self.label), self.header, count, named, cell(self.split), wrong)


class Rows(NamedTuple):
    """Path and label of every line; `notes` are for people, `classes` the names of columns of 0 and 1."""

    rows: list[Row]
    notes: list[str]
    classes: tuple[str, ...] = ()


def read_rows(lines: Sequence[tuple[int, str]]) -> Rows:
    """The lines of a list, taken apart."""
    for delimiter in (",", ";", "\t"):
        if columns := _csv_columns([line for _, line in lines[:_LOOKED_AT]], delimiter):
            return _csv_rows(lines, delimiter, columns)
    if lines and is_header(_BLANKS.split(lines[0][1])):
        lines = lines[1:]
    return Rows([Row(number, *_split_label(line)) for number, line in lines], [])


def _split_label(line: str) -> tuple[str, str | None]:
    """Path and label as text; None where the line is a path alone."""
    columns = line.rsplit("\t", 1) if "\t" in line else _split_last_blank(line)
    if len(columns) == 1 or (not _WHOLE_NUMBER.fullmatch(columns[1].strip(" ")) and _is_named(columns[1])):
        return _unquoted(line), None
    path, label = (column.strip(" \t") for column in columns)
    # "a cat.jpg big dog": a name of several words.
    parts = None if _is_named(path) else _AFTER_NAME.fullmatch(line)
    # Between a clip and its number stands how many frames it has.
    if parts and (not _WHOLE_NUMBER.fullmatch(label) or is_image_name(parts[1])):
        path, label = parts.groups()
    return _unquoted(path), label


def _split_last_blank(line: str) -> list[str]:
    path, blank, label = line.rpartition(" ")
    return [path.rstrip(" "), label] if blank else [line]


def _is_named(path: str) -> bool:
    """Whether it is the name of a picture or a video."""
    return is_image_name(path) or is_video(path)


def _unquoted(path: str) -> str:
    return path[1:-1] if len(path) > 2 and path[0] == path[-1] == '"' else path


def _csv_columns(lines: Sequence[str], delimiter: str) -> _Columns | None:
    """Where what is; None if this is no CSV."""
    if not lines:
        return None
    rows = [_cells(line, delimiter) for line in lines]
    if len(rows[0]) > 1 and is_header(rows[0]):
        words = [_word(cell) for cell in rows[0]]
        made = tuple(words.index(word) for word in _KINETICS) if set(_KINETICS) <= set(words) else ()
        # Of several columns that may hold the path, the one with names of files.
        paths = [place for place, word in enumerate(words) if word in _PATH_WORDS] or [*made]
        path = max(paths, key=lambda place: sum(_is_named(row[place]) for row in rows[1:] if place < len(row)))
        labels = [place for place, word in enumerate(words) if word in _LABEL_WORDS and place != path]
        frames = next((place for place, word in enumerate(words) if word in _FRAME_WORDS), None)
        splits = [place for place, word in enumerate(words) if word in _SPLIT_WORDS and place != path]
        # Of whatever else is called so the values are no splits.
        split = next((one for one in splits if any(split_of(row[one]) for row in rows[1:] if one < len(row))), None)
        others = [place for place in range(len(words)) if place not in (path, frames, split)]
        label = labels[0] if labels else others[0] if len(others) == 1 else None
        classes = [] if label is not None else [place for place in others if _is_class([*_column(rows[1:], place)])]
        named = tuple((place, rows[0][place]) for place in classes) if len(classes) > 1 else ()
        return _Columns(path, label, frames, made=made, header=True, classes=named, split=split)
    # Path and label are parted line by line, whatever stands in the label.
    if delimiter == "\t" or ("\t" in lines[0] and _is_named(lines[0].partition("\t")[0])):
        return None
    of_folders = [len(row) in (2, 3) and bool(_WHOLE_NUMBER.fullmatch(row[1])) and row[-1] != "" for row in rows]
    hits = [
        len(row) > 1 and (_is_named(row[0]) or folder) and not _is_named(line) and not _is_plain(line)
        for row, line, folder in zip(rows, lines, of_folders, strict=True)
    ]
    if sum(hits) < _AGREE * len(hits):
        return None
    counted = [len(row) == 3 and not is_image_name(row[0]) and bool(_WHOLE_NUMBER.fullmatch(row[1])) for row in rows]
    return _Columns(0, 2, 1) if sum(counted) >= _AGREE * len(counted) else _Columns(0, 1)


def _column(rows: Sequence[Sequence[str]], place: int) -> Iterator[str]:
    return (row[place].casefold() for row in rows if place < len(row))


def _is_class(cells: Sequence[str]) -> bool:
    """Whether a column holds 0 and 1, slips apart, as one does that stands for a class."""
    return any(cells) and sum(map(_is_bit, cells)) >= _AGREE * len(cells)


def _is_bit(cell: str) -> bool:
    return cell.casefold() in _YES | _NO | _OPEN


def _is_plain(line: str) -> bool:
    """Whether a line is `path label` as it stands."""
    path, label = _split_label(line)
    return label is not None and is_image_name(path) and bool(_WHOLE_NUMBER.fullmatch(label))


def is_header(cells: Sequence[str]) -> bool:
    """Whether cells are heads of columns, of which one is of paths."""
    words = {_word(cell) for cell in cells}
    named = bool(words & _PATH_WORDS) or set(_KINETICS) <= words
    return len(cells) > 1 and named and not any(_is_named(cell) or _WHOLE_NUMBER.fullmatch(cell) for cell in cells)


def _word(cell: str) -> str:
    return re.sub(r"[ _-]", "", cell).casefold()


def _csv_rows(lines: Sequence[tuple[int, str]], delimiter: str, columns: _Columns) -> Rows:
    notes = []
    if columns.header:
        cells = _cells(lines[0][1], delimiter)
        path = " and ".join(printable_name(cells[place]) for place in columns.made or (columns.path,))
        shown = f"column {path!r} is the path"
        if columns.label is not None:
            shown += f", {printable_name(cells[columns.label])!r} the label"
        elif not columns.classes:
            shown += f", {UNLABELLED}"
        used = {columns.path, columns.label, columns.frames, columns.split, *columns.made}
        used |= {place for place, _ in columns.classes}
        left = [cell for place, cell in enumerate(cells) if cell and place not in used]
        notes = [f"{shown}; left out: {some_names(left)}"] if left else []
        lines = lines[1:]
    rows = [columns.row(number, _cells(line, delimiter)) for number, line in lines]
    return Rows(rows, notes, tuple(name for _, name in columns.classes))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip(" \t") for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    except (csv.Error, StopIteration):
        return [line]


class Sets(NamedTuple):
    """Rows of a list whose pictures have several labels or none: each has `names`.

    Attributes:
        note: how it was seen, for people.
        columns: all classes in order, where columns or places stand for them; else empty.
    """

    rows: list[Row]
    note: str
    columns: tuple[str, ...] = ()


def find_sets(rows: Sequence[Row], columns: Sequence[str], labels: Labels, known: Sequence[str] | None) -> Sets | None:
    """The rows with the names of all labels of each; None where each picture has one.

    Args:
        rows: of the list.
        columns: names of its columns of 0 and 1, if there are such.
        labels: "auto" decides by the list: cells are parted where parts recur in other cells, or all are known.
        known: names of the classes, if they are.
    """
    if columns:
        shown = some_names([quoted(name) for name in columns], 3)
        several = sum(len(row.names or ()) != 1 for row in rows)
        if labels == "many" or (labels == "auto" and several):
            return Sets(list(rows), f"columns of 0 and 1 are read as {len(columns)} labels ({shown})", tuple(columns))
        return None
    if labels == "one":
        return None
    cells = Counter(row.label for row in rows if row.label)
    if found := _parted(cells, labels, known):
        parts, how = found
        names = [row._replace(names=parts.get(row.label or "", ())) for row in rows]
        if places := _places(parts):
            ones = [row._replace(names=tuple(str(at) for at in _ones(row.label or ""))) for row in rows]
            return Sets(ones, f"labels are read as {len(places)} places of 0 and 1", places)
        return Sets(names, f"labels are read as several, separated by {how}")
    merged: dict[str, Row] = {}
    for row in rows:
        before = merged.get(row.path)
        own = (row.label,) if row.label else ()
        names = own if before is None else (*before.names, *own) if before.names else own
        merged[row.path] = (before or row)._replace(names=tuple(dict.fromkeys(names)))
    several = sum(len(row.names or ()) > 1 for row in merged.values())
    if labels == "many" or (several >= _MEANT and several >= _SHARE * len(merged)):
        return Sets(list(merged.values()), "several lines of a picture are read as its labels" if several else "")
    return None


def single(row: Row) -> Row:
    """A row whose column of 0 and 1 is its label."""
    return row if row.names is None or len(row.names) != 1 else row._replace(label=row.names[0], names=None)


def _parted(
    cells: Mapping[str, int], labels: Labels, known: Sequence[str] | None
) -> tuple[dict[str, tuple[str, ...]], str] | None:
    """The parts of each cell, and what parts them; None where cells are names as they are."""
    listed = {cell: names for cell in cells if (names := _listed(cell)) is not None}
    if listed:
        return {cell: (cell,) for cell in cells} | listed, "commas in brackets"
    words = set(known or ())
    for separator, how in _SEPARATORS:
        parts = {cell: _unique(cell.split(separator)) for cell in cells}
        if not any(separator in cell for cell in cells) or (words and words >= cells.keys()):
            continue
        if separator == "|" or labels == "many" or _recur(parts) or _known(parts, words) or _numbers(parts):
            return parts, how
    parts = {cell: _unique(cell.split()) for cell in cells}
    several = any(len(names) > 1 for names in parts.values())
    if several and not words >= cells.keys() and (_recur(parts, fewer=1) or _known(parts, words) or _numbers(parts)):
        return parts, "blanks"
    return None


def _unique(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts if (name := part.strip(" \t'\""))))


def _listed(cell: str) -> tuple[str, ...] | None:
    """A list as JSON or Python writes it, or Label Studio's ``{"choices": [...]}``; None for anything else."""
    if cell[:1] not in ("[", "{"):
        return None
    try:
        values = json.loads(cell)
    except RecursionError:
        return None
    except ValueError:
        try:
            values = ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    if isinstance(values, dict):
        values = values.get("choices")
    if not isinstance(values, list) or not all(isinstance(value, str | int) for value in values):
        return None
    return _unique([str(value) for value in values])


def _recur(parts: Mapping[str, Sequence[str]], *, fewer: int = 0) -> bool:
    """Whether there are no more parts than cells, and one is in several: parts of names are mostly in one alone."""
    count = Counter(name for names in parts.values() for name in names)
    return len(count) + fewer <= len(parts) and max(count.values(), default=0) > 1


def _known(parts: Mapping[str, Sequence[str]], words: set[str]) -> bool:
    return bool(words) and all(words.issuperset(names) for names in parts.values())


def _numbers(parts: Mapping[str, Sequence[str]]) -> bool:
    return all(_LABEL_NUMBER.fullmatch(name) for names in parts.values() for name in names)


def _places(parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names of the places of ``0,1,0,0``, one for each class; empty where the cells are no such rows."""
    rows = [_row(cell) for cell in parts]
    alike = len({len(row) for row in rows}) == 1 and {bit for row in rows for bit in row} <= {"0", "1"}
    return tuple(str(place) for place in range(len(rows[0]))) if rows and alike and len(rows[0]) > 2 else ()


def _row(cell: str) -> list[str]:
    return re.split(r"[ \t,;|]+", cell.strip())


def _ones(cell: str) -> list[int]:
    return [place for place, bit in enumerate(_row(cell)) if bit == "1"]
