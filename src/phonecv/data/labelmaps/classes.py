"""Classes of label maps: which value means what, under which name and colour."""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phonecv.data.folders.class_names import AFTER_NUMBER, CLASS_FILE, class_lines
from phonecv.data.labelmaps import ade20k
from phonecv.errors import UserError
from phonecv.text import printable, some_names

Colour = tuple[int, int, int]

#: Where the classes of label maps may stand, beside the folders: CVAT's labelmap.txt, Roboflow's _classes.csv (in the
#: folders of the splits), labelme's class_names.txt and labels.txt; the last are those of ADE20K itself.
CLASS_FILES = (
    CLASS_FILE, "classes.csv", "class_dict.csv", "class_dict_seg.csv", "labelmap.txt", "_classes.csv",
    "label_colors.txt", "class_names.txt", "labels.txt", "objectInfo150.txt", "objectInfo150.csv",
)  # fmt: skip
#: Folders of splits that may hold a class file instead.
_SPLITS = ("train", "valid", "val", "test")
_SPLIT_FILE = "_classes.csv"
#: What labelme calls the value -1, which is no class.
_NOT_A_CLASS = "__ignore__"

#: Name of what has the value 0 where a class file starts at 1.
BACKGROUND = "background"

_WHOLE_NUMBER = re.compile(r"\d{1,9}")
_INDEX_NAMES = ("idx", "index", "id", "value", "label", "pixel value", "pixel_value")
_NAME_NAMES = ("name", "class", "classname", "class_name", "class name")
_COLUMNS = (
    ("value", _INDEX_NAMES), ("name", _NAME_NAMES), ("r", ("r", "red")), ("g", ("g", "green")), ("b", ("b", "blue")),
)  # fmt: skip
#: CVAT's lines: name, colour, parts and actions.
_CVAT = re.compile(r"(?P<name>[^:].*?):(?P<r>\d{1,3}),(?P<g>\d{1,3}),(?P<b>\d{1,3}):.*:.*")
#: Lines that begin or end with a colour, as CamVid's and those of many programs do; in commas or blanks.
_COLOUR_FIRST = re.compile(r"(?P<r>\d{1,3})[\s,]+(?P<g>\d{1,3})[\s,]+(?P<b>\d{1,3})[\s,]+(?P<name>\S.*)")
_COLOUR_LAST = re.compile(
    r"(?:(?P<value>\d{1,9})[\s,:]+)?(?P<name>\S.*?)[\s,:]+(?P<r>\d{1,3})[\s,]+(?P<g>\d{1,3})[\s,]+(?P<b>\d{1,3})"
)


@dataclass(frozen=True, slots=True)
class LabelClasses:
    """A class file as read.

    Attributes:
        path: the file.
        names: in the order of their values.
        first: value of the first one if the file gives values, 0 or 1; None if it only lists names.
        colours: of all of them, or None.
    """

    path: Path
    names: tuple[str, ...]
    first: int | None
    colours: tuple[Colour, ...] | None

    def under(self, reduce_zero_label: bool) -> tuple[tuple[str, ...], tuple[Colour, ...] | None]:
        """Names and colours of the classes 0, 1, ... of a network.

        Args:
            reduce_zero_label: the value 0 is ignored and 1 is class 0. A plain list of names then starts with that of
                the value 1, otherwise with that of 0; a file that starts at 1 gets "background" in front.
        """
        if reduce_zero_label and self.first == 0:
            return self.names[1:], self.colours[1:] if self.colours else None
        if not reduce_zero_label and self.first == 1:
            return (BACKGROUND, *self.names), ((0, 0, 0), *self.colours) if self.colours else None
        return self.names, self.colours


def find_class_file(root: Path) -> Path | None:
    """The class file of the data set at `root`, if there is one."""
    beside = [root / name for name in CLASS_FILES]
    inside = [root / split / _SPLIT_FILE for split in _SPLITS]
    return next((path for path in (*beside, *inside) if path.is_file()), None)


def unlike_class_files(root: Path) -> str:
    """What is unlike in the class files of the splits, where each has its own, or ""."""
    paths = [path for split in _SPLITS if (path := root / split / _SPLIT_FILE).is_file()]
    if not paths or find_class_file(root) != paths[0]:
        return ""
    first = read_label_classes(paths[0])
    for path in paths[1:]:
        other = read_label_classes(path)
        if (other.names, other.first) != (first.names, first.first):
            one, two = (f"{file.parent.name}/{file.name}" for file in (paths[0], path))
            return (
                f"{one} has {some_names(first.names)}, but {two} has {some_names(other.names)}; export all splits once"
                " more, or write one classes.txt for all"
            )
    return ""


def read_label_classes(path: Path | str) -> LabelClasses:
    """Classes from a text file with one class a line.

    A line is ``name`` or ``value name`` (also ``value: name`` and the like); further columns (separated by tabs or,
    below a header line, by commas) do not count. With a header line, columns called ``Idx`` and ``Name`` are taken, and
    ``r``, ``g``, ``b`` as colours. Where all lines are like ``name:r,g,b::`` (CVAT), ``r g b name`` (CamVid) or ``name
    r g b``, they give colours, too.
    Values have to be 0, 1, 2, ... or 1, 2, 3, ... in any order. Of several names separated by ``;`` the first counts.
    Empty lines and lines that start with ``#`` do not count, nor does labelme's ``__ignore__``.

    Raises:
        UserError: with the number of the line.
    """
    path = Path(path)
    lines = class_lines(path)
    columns = _header(lines[0][1])
    rows = _rows(path, lines[1:], columns) if columns else _coloured_rows(path, lines) or _plain_rows(lines)
    rows = [row for row in rows if row.name != _NOT_A_CLASS]
    if not rows:
        raise UserError(f"{printable(path)}: no classes in this file; write one class name a line")
    first, rows = _ordered(path, rows)
    texts = tuple(row.name for row in rows)
    if _is_ade20k(texts):
        return LabelClasses(path, ade20k.CLASSES, first, ade20k.PALETTE)
    short = tuple(text.split(";")[0].strip() or text for text in texts)
    names = short if len(set(short)) == len(short) else texts
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{printable(path)}: the name {twice!r} is given twice; class names have to differ")
    colours = tuple(row.colour for row in rows if row.colour is not None)
    return LabelClasses(path, names, first, colours if len(colours) == len(rows) else None)


def palette_for(names: Sequence[str], colours: Sequence[Colour] | None = None) -> tuple[Colour, ...]:
    """A colour for every class: those given, ADE20K's for its classes, else bright ones far from their neighbours'.

    A class called "background" is black, which `phonecv.segment.overlay.overlay` leaves transparent.
    """
    if colours is not None and len(colours) == len(names):
        return tuple(colours)
    known = {BACKGROUND: (0, 0, 0)} | dict(zip(ade20k.CLASSES, ade20k.PALETTE, strict=True))
    if all(name in known for name in names):
        return tuple(known[name] for name in names)
    return tuple((0, 0, 0) if name == BACKGROUND else _bright(index) for index, name in enumerate(names))


def _bright(index: int) -> Colour:
    # Steps of the golden ratio around the colour wheel never come close to an earlier hue for long.
    saturation, value = ((0.85, 1.0), (0.55, 1.0), (1.0, 0.65), (0.6, 0.75), (0.35, 0.95))[index // 5 % 5]
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    value: int | None
    name: str
    colour: Colour | None = None


def _header(line: str) -> dict[str, int]:
    """Column of "value", "name", "r", "g" and "b" if this is a header line, else nothing."""
    cells = [cell.strip().casefold() for cell in _cells(line)]
    found: dict[str, int] = {}
    for key, words in _COLUMNS:
        place = next((cells.index(word) for word in words if word in cells), None)
        if place is not None:
            found[key] = place
    return found if "name" in found and len(cells) > 1 else {}


def _cells(line: str) -> list[str]:
    separator = "\t" if "\t" in line else "," if "," in line else None
    return line.split(separator)


def _rows(path: Path, lines: Sequence[tuple[int, str]], columns: dict[str, int]) -> list[_Row]:
    rows = []
    for number, line in lines:
        cells = [cell.strip() for cell in _cells(line)]
        try:
            value = int(cells[columns["value"]]) if "value" in columns else None
            parts = [int(cells[columns[key]]) for key in "rgb" if key in columns]
            name = cells[columns["name"]]
        except (ValueError, IndexError) as error:
            raise UserError(
                f"{printable(path)}:{number}: does not fit the columns of the first line: {line[:80]!r}"
            ) from error
        rows.append(_Row(number, value, name, _colour(path, number, parts) if len(parts) == 3 else None))
    return rows


def _coloured_rows(path: Path, lines: Sequence[tuple[int, str]]) -> list[_Row]:
    """The rows where every line gives a colour; nothing where some do not."""
    for pattern in (_CVAT, _COLOUR_FIRST, _COLOUR_LAST):
        found = [(number, pattern.fullmatch(line)) for number, line in lines]
        matches = [(number, match.groupdict()) for number, match in found if match is not None]
        if len(matches) < len(lines):
            continue
        valued = all(groups.get("value") for _, groups in matches)
        return [
            _Row(
                number,
                int(groups["value"]) if valued else None,
                groups["name"].strip() if valued or not groups.get("value") else f"{groups['value']} {groups['name']}",
                _colour(path, number, [int(groups[key]) for key in "rgb"]),
            )
            for number, groups in matches
        ]
    return []


def _colour(path: Path, number: int, parts: Sequence[int]) -> Colour:
    if not all(0 <= part <= 255 for part in parts):
        raise UserError(f"{printable(path)}:{number}: the colour {list(parts)} is not within 0..255")
    return parts[0], parts[1], parts[2]


def _plain_rows(lines: Sequence[tuple[int, str]]) -> list[_Row]:
    split = [(number, line.split("\t") if "\t" in line else AFTER_NUMBER.split(line, 1)) for number, line in lines]
    valued = all(_WHOLE_NUMBER.fullmatch(cells[0].strip()) for _, cells in split)
    # Ten classes called "0" to "9" are names without values, unless a second column follows.
    if valued and any(len(cells) > 1 for _, cells in split):
        return [_Row(number, int(cells[0]), cells[-1 if len(cells) == 1 else 1].strip()) for number, cells in split]
    return [_Row(number, None, line.split("\t")[0].strip()) for number, line in lines]


def _ordered(path: Path, rows: list[_Row]) -> tuple[int | None, list[_Row]]:
    """The first value, if there are values, and the rows in their order."""
    if rows[0].value is None:
        return None, rows
    seen: dict[int, _Row] = {}
    for row in rows:
        if row.value in seen:
            raise UserError(f"{printable(path)}:{row.line}: the value {row.value} is given twice")
        seen[row.value or 0] = row
    first = min(seen)
    missing = next((value for value in range(first, first + len(seen)) if value not in seen), None)
    if first > 1 or missing is not None:
        lacking = first - 1 if missing is None else missing
        raise UserError(
            f"{printable(path)}: no class has the value {lacking}; the values have to be 0, 1, 2, ... or 1, 2, 3, ...,"
            " each once (renumber the label maps, or add lines for the values between)"
        )
    return first, [seen[value] for value in sorted(seen)]


def _is_ade20k(texts: Sequence[str]) -> bool:
    """Whether these are ADE20K's classes: its own lists give several words for each, split in odd places."""
    if len(texts) != len(ade20k.CLASSES):
        return False
    agree = sum(text.split(";")[0] == name for text, name in zip(texts, ade20k.CLASSES, strict=True))
    return agree > 0.8 * len(texts)
