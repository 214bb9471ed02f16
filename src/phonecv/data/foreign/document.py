"""What the files of another tool say, as a COCO file says it: pictures, annotations, categories, and their places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.data.coco.conventions import BoxLayout
from phonecv.data.coco.masks import runs_of
from phonecv.data.coco.picture_names import clean_name, exists, path_of, unsafe_name
from phonecv.data.coco.tables import CocoProblem
from phonecv.data.folders.class_names import look_alikes, natural_key
from phonecv.data.foreign.tree import relative, split_in
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.text import printable, quoted

#: What an object is called that nobody gave a class.
NAMELESS = "object"
#: Corners of a polygon that stands for an ellipse.
_CORNERS = 36
#: Pictures looked up to tell the folder that names are relative to.
_SAMPLES = 20
#: Folders beside annotations that pictures may lie in, and endings that lists leave out.
_PICTURES, _ENDINGS = ("images", "data"), (".jpg", ".png", ".jpeg", ".JPG")

Ring = Sequence[float]


@dataclass(slots=True)
class Document:
    """The records of one split, in the making.

    Attributes:
        root: the data folder, to which names of pictures are relative.
        boxes: how boxes are written; with shares of the sides outlines are shares, too.
        sized: whether the files tell the sizes of the pictures; if not, the pictures do.
        classes: the classes by their ids where the files list them, else found in the annotations.
        images, annotations: as in a COCO file; ``category_id`` is an id or, until `categories` is asked for, a name.
        places: where each annotation stands.
        told: what was decided, left out or is wrong.
    """

    root: Path
    boxes: BoxLayout = "xywh"
    sized: bool = True
    classes: dict[int, str] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    _told: dict[str, CocoProblem] = field(default_factory=dict)
    _beside: list[str] = field(default_factory=list)  # the folder of the file that names each picture

    @property
    def told(self) -> list[CocoProblem]:
        """What was decided, left out or is wrong; what is the same of many places is told once."""
        return list(self._told.values())

    def tell(self, kind: str, place: str, message: str, *, dropped: bool = False) -> None:
        """Take up what a person should know; equal messages are counted."""
        first = self._told.get(message)
        self._told[message] = (
            replace(first, count=first.count + 1) if first else CocoProblem(kind, printable(place), message, dropped)
        )

    def picture(self, name: str, width: Any = None, height: Any = None, *, file: str = "") -> int:
        """A picture that a file names, and its id."""
        number = len(self.images) + 1
        self._beside.append(file.rpartition("/")[0])
        self.images.append({"id": number, "file_name": name, "width": width, "height": height})
        return number

    def add(
        self,
        image: int,
        label: int | str,
        place: str,
        *,
        box: Sequence[Any] | None = None,
        rings: Sequence[Ring] = (),
        crowd: bool = False,
    ) -> None:
        """An object: its box, or what is around its outline."""
        if box is None and rings:
            box = self._around(rings)
        record: dict[str, Any] = {"image_id": image, "category_id": label, "bbox": None if box is None else list(box)}
        if rings:
            record["segmentation"] = [list(ring) for ring in rings]
        self.annotations.append(record | {"id": len(self.annotations) + 1, "iscrowd": int(crowd)})
        self.places.append(printable(place))

    def add_pixels(self, image: int, label: int | str, place: str, mask: np.ndarray) -> None:
        """An object that is drawn: H W, bool."""
        if not mask.any():
            self.tell("bad-mask", place, "is a mask without a pixel; it is left out", dropped=True)
            return
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        high, wide = mask.shape if self.boxes.endswith("_shares") else (1, 1)
        left, top, right, bottom = xs[0] / wide, ys[0] / high, (xs[-1] + 1) / wide, (ys[-1] + 1) / high
        box = self._around([[left, top, right, bottom]])
        self.add(image, label, place, box=[float(value) for value in box])
        self.annotations[-1]["segmentation"] = runs_of(mask)

    def _around(self, rings: Sequence[Ring]) -> list[float]:
        """The box around outlines, as `boxes` are written."""
        xs, ys = [x for ring in rings for x in ring[::2]], [y for ring in rings for y in ring[1::2]]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
        if self.boxes.startswith("xyxy"):
            return [left, top, right, bottom]
        if self.boxes.startswith("cxcywh"):
            return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        return [left, top, right - left, bottom - top]

    def categories(self) -> list[dict[str, Any]]:
        """The classes as a COCO file lists them; names get their ids, in natural order after those that are listed."""
        ids = {name: key for key, name in reversed(self.classes.items())}
        used = {record["category_id"] for record in self.annotations if isinstance(record["category_id"], str)}
        new = sorted(used - set(ids), key=natural_key)
        if new and self.classes:
            self.tell(
                "category-name", '"categories"', f"{', '.join(map(quoted, new[:4]))} not in the list of classes; added"
            )
        first = max(self.classes, default=-1) + 1
        ids |= {name: first + place for place, name in enumerate(new)}
        for record in self.annotations:
            if isinstance(record["category_id"], str):
                record["category_id"] = ids[record["category_id"]]
        for one, other in look_alikes(sorted(used))[:3]:
            what = f"{quoted(one)} and {quoted(other)} are two classes that look like one"
            self.tell("category-name", '"categories"', what)

        return [
            {"id": key, "name": name}
            for key, name in (self.classes | {first + p: n for p, n in enumerate(new)}).items()
        ]

    def settle(self, split: str) -> None:
        """Make names of pictures relative to `root` that are relative to the folder of their file, or to one in it.

        The folder that holds most of the first names of a file counts, and with it that of the split; endings may be
        missing. Where none holds any, names are put into the folder of the file or the split, for names that are nearly
        those of files are looked for in these alone.
        """
        for here in dict.fromkeys(self._beside):
            records = [record for record, one in zip(self.images, self._beside, strict=True) if one == here]
            names = [str(record["file_name"]) for record in records]
            first = [clean_name(name) for name in names[:_SAMPLES] if not unsafe_name(name)]
            folders = [folder for folder in self._folders(self.root / here, split) if folder.is_dir()]
            held = [sum(_is_there(folder / name) for name in first) for folder in folders]
            if any(held):
                base = relative(folders[held.index(max(held))], self.root)
            else:
                base = here if split_in(f"{here}/") or split == WHOLE else f"{here}/{split}".lstrip("/")
            for record, name in zip(records, names, strict=True) if base not in ("", ".") else ():
                if any(held) and not unsafe_name(name):
                    record["file_name"] = f"{base}/{clean_name(name)}"
                elif not any(held) and split_in(f"{base}/"):
                    record["file_name"] = "/".join((base, *path_of(name)))

    def _folders(self, here: Path, split: str) -> Iterable[Path]:
        """Where the pictures of a file in a folder may lie."""
        bases = dict.fromkeys((here, *(here / name for name in _PICTURES), self.root))
        words = [form for word in ALIASES.get(split, ()) for form in (word, word.capitalize(), word.upper())]
        return dict.fromkeys([*bases, *(base / word for base in bases for word in words)])


#: Split ("train", "val", "test", or `phonecv.data.split_names.WHOLE` alone where data are not split) -> reads it.
Reads = Mapping[str, Callable[[], Document]]


def reads_of(found: Mapping[str, Sequence[Any]], read: Callable[[str, Any], Document]) -> Reads:
    """What reads each split from what belongs to it; what is in none, where there are some, is left out and told."""
    split = [name for name in found if name != WHOLE] or list(found)
    rest = len(found[WHOLE]) if WHOLE in found and WHOLE not in split else 0

    def run(name: str) -> Document:
        document = read(name, found[name])
        if rest and name == split[0]:
            document.tell("label-file", '"splits"', f"{rest} more are of no split and are left out")
        return document

    return {name: partial(run, name) for name in split}


def _is_there(path: Path) -> bool:
    return exists(path) or (not path.suffix and any(exists(path.with_suffix(end)) for end in _ENDINGS))


def rotated(box: Sequence[float], degrees: float, around: tuple[float, float]) -> list[float]:
    """The corners x, y, x, y, ... of a box (left, top, width, height) turned clockwise around a point."""
    left, top, wide, tall = box
    corners = ((left, top), (left + wide, top), (left + wide, top + tall), (left, top + tall))
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved = (((x - around[0]), (y - around[1])) for x, y in corners)
    return [v for x, y in moved for v in (around[0] + x * cosine - y * sine, around[1] + x * sine + y * cosine)]


def ellipse(x: float, y: float, across: float, down: float, degrees: float = 0.0) -> list[float]:
    """A polygon for an ellipse around x, y with these radii, turned clockwise."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turns = (2 * math.pi * corner / _CORNERS for corner in range(_CORNERS))
    points = ((across * math.cos(turn), down * math.sin(turn)) for turn in turns)
    return [v for a, b in points for v in (x + a * cosine - b * sine, y + a * sine + b * cosine)]


def number(value: Any) -> float | None:
    """A finite number, also one that is written as text; None if it is none."""
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(values: Sequence[Any]) -> list[float] | None:
    """All of them as finite numbers; None if one is none."""
    found = [number(value) for value in values]
    return None if None in found else found  # pyrefly: ignore[bad-return]
