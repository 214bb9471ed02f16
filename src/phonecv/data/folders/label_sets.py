"""Pictures with several labels in list files: columns of 0 and 1, cells with several names, several lines a picture."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from phonecv.data.folders.list_columns import Row
from phonecv.text import quoted, some_names

#: How many labels a picture has: one, any number, or as the list looks.
Labels = Literal["one", "many", "auto"]

#: What separates names in a cell, and how it is called; blanks are looked at last, names have them, too.
_SEPARATORS = (("|", "'|'"), (";", "';'"), (",", "','"))
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
#: Pictures with several lines of different labels, and their share, from which on a list means them so: a label given
#: twice by mistake is rare.
_MEANT, _SHARE = 10, 0.1

MANY = "data.labels=many takes them as labels of one picture"


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
    return all(_WHOLE_NUMBER.fullmatch(name) for names in parts.values() for name in names)


def _places(parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names of the places of ``0,1,0,0``, one for each class; empty where the cells are no such rows."""
    rows = [_row(cell) for cell in parts]
    alike = len({len(row) for row in rows}) == 1 and {bit for row in rows for bit in row} <= {"0", "1"}
    return tuple(str(place) for place in range(len(rows[0]))) if rows and alike and len(rows[0]) > 2 else ()


def _row(cell: str) -> list[str]:
    return re.split(r"[ \t,;|]+", cell.strip())


def _ones(cell: str) -> list[int]:
    return [place for place, bit in enumerate(_row(cell)) if bit == "1"]
