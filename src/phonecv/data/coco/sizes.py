"""The sizes of pictures and those that a COCO file says: whether they agree, what is behind it where they do not, and
annotations brought to the pictures as they are opened: turned with them, and resized with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.conventions import CocoReading, setting, setting_and_flag
from phonecv.data.coco.split import CocoSplit
from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.loading.byte_table import ByteTable
from phonecv.data.pictures.opening import FLIPS, ImageError, opened, turn_of
from phonecv.text import printable

#: Rounding of a side when pictures are resized, in pixels.
_ROUNDING = 1.5


#: What seems to be behind wrong sizes, and what to do.
_BEHIND = {
    "stored": "They are turned by their EXIF orientation and have the sizes of the pictures as stored: if boxes are for"
    f" those too, choose {setting_and_flag('stored')}; if they are for the pictures as shown,"
    f" {setting_and_flag('sizes', 'pictures')}",
    "exchanged": "Width and height seem to be exchanged in the file:"
    f" {setting_and_flag('sizes', 'pictures')}"
    " takes the sizes of the pictures",
    "resized": "The pictures seem to have been resized after labelling:"
    f" {setting_and_flag('sizes', 'scaled')} resizes boxes with them",
    "other": "If boxes are pixels of the pictures as they are, choose"
    f" {setting_and_flag('sizes', 'pictures')}; if the pictures were resized after labelling,"
    f" {setting('sizes', 'scaled')}",
}


@dataclass
class SizeCheck:
    """The pictures of a split that were looked at.

    Attributes:
        split: theirs.
        looked: how many.
        wrong: places of those that have another size than the file says, by what seems to be behind it.
        turned: places of those whose EXIF orientation turns them and leaves their sides as they are, so that the file
            can't tell whether its boxes are for the picture as stored or as shown.
        upright: how many are turned and have the size of the picture as shown.
    """

    split: CocoSplit
    looked: int = 0
    wrong: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    turned: list[int] = field(default_factory=list)
    upright: int = 0

    @classmethod
    def of(cls, split: CocoSplit, places: Iterable[int]) -> SizeCheck:
        """Look at the headers of some pictures."""
        check = cls(split)
        for place in places:
            check.take(place)
        return check

    def take(self, index: int) -> None:
        """Look at the header of one picture; one that can't be read is not counted."""
        image = self.split.images[index]
        try:
            width, height, turn = stored_size(image.path)
        except ImageError:
            return
        self.looked += 1
        told, stored = (image.width, image.height), (width, height)
        shown = upright(width, height, turn)
        if not image.height:
            return
        if told == shown:
            if turn is not None:
                if shown == stored:
                    self.turned.append(index)
                else:
                    self.upright += 1
        elif turn is not None and told == stored:
            self.wrong["stored"].append(index)
        elif told == shown[::-1]:
            self.wrong["exchanged"].append(index)
        elif _proportional(told, shown):
            right, bottom = self._reach(index)
            beyond = right > shown[0] + _ROUNDING or bottom > shown[1] + _ROUNDING
            self.wrong["resized" if beyond else "other"].append(index)
        else:
            self.wrong["other"].append(index)

    def messages(self) -> list[tuple[int, str]]:
        """The first picture of every kind of wrong sizes, and what to say of all of them."""
        return [(places[0], self._message(kind, places)) for kind, places in self.wrong.items()]

    def turned_message(self) -> str:
        """What to say of the pictures whose turn the file can't tell."""
        return (
            f"{len(self.turned)} of {self.looked} pictures are turned by their EXIF orientation and have the same sides"
            " either way: boxes are taken as drawn on the pictures as shown; if they were drawn on the pictures as"
            f" stored, choose {setting_and_flag('stored')}"
        )

    def _message(self, kind: str, places: list[int]) -> str:
        image = self.split.images[places[0]]
        width, height = upright(*stored_size(image.path))
        return (
            f"has {width} x {height} pixels, but {printable(self.split.source.name)} says {image.width} x"
            f" {image.height}; so it is with {len(places)} of {self.looked} pictures, which training leaves out as it"
            f" is. {_BEHIND[kind]}"
        )

    def _reach(self, index: int) -> tuple[float, float]:
        """How far to the right and down the boxes of a picture go."""
        boxes = self.split.targets(index, masks=False)["boxes"]
        return (float(boxes[:, 2].max()), float(boxes[:, 3].max())) if len(boxes) else (0.0, 0.0)


def _proportional(told: tuple[int, int], shown: tuple[int, int]) -> bool:
    factor = shown[0] / told[0]
    return abs(told[1] * factor - shown[1]) <= _ROUNDING * max(1.0, factor)


def stored_size(path: Path) -> tuple[int, int, Image.Transpose | None]:
    """Width and height of a picture as it is stored, and how it is turned to stand upright, from its header."""
    with opened(path) as image:
        return image.width, image.height, turn_of(image)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from its header."""
    return upright(*stored_size(path))


def upright(width: int, height: int, turn: Image.Transpose | None) -> tuple[int, int]:
    """Width and height after a turn."""
    return (height, width) if FLIPS[turn][0] else (width, height)


def fit_to_pictures(tables: CocoTables, folder: Path, reading: CocoReading) -> None:
    """Turn and resize the annotations of pictures that are turned, or of another size than the file says.

    Pictures that can't be read stay as they are: opening them will tell.
    """
    changed = _Changed(tables)
    turned = scaled = 0
    for row in range(len(tables.image_ids)):
        try:
            width, height, turn = stored_size(folder / tables.names[row].decode("utf-8", "surrogateescape"))
        except ImageError:
            continue
        if not reading.stored:
            (width, height), turn = upright(width, height, turn), None
        told = int(tables.heights[row]), int(tables.widths[row])
        scale = told != (height, width) and reading.sizes == "scaled"
        if not scale and (turn is None or told != (height, width)):
            continue
        turned += turn is not None
        scaled += scale
        changed.change(row, (height, width), turn)
    changed.finish()
    for count, what in ((turned, "are turned with their EXIF orientation"), (scaled, "are resized to the pictures")):
        if count:
            message = f"annotations of {count} of {len(tables.image_ids)} pictures {what}"
            tables.problems.append(CocoProblem("fitted", '"annotations"', message))


class _Changed:
    """Tables in the making."""

    def __init__(self, tables: CocoTables) -> None:
        self.tables = tables
        self.boxes, self.areas = tables.boxes.copy(), tables.areas.copy()
        self.masks: dict[int, bytes] = {}

    def change(self, row: int, size: tuple[int, int], turn: Image.Transpose | None) -> None:
        """Bring the annotations of one picture to a size (height, width), and then turn them."""
        tables = self.tables
        told = int(tables.heights[row]), int(tables.widths[row])
        span = slice(int(tables.starts[row]), int(tables.starts[row + 1]))
        factors = np.array([size[1] / told[1], size[0] / told[0]])
        corners = self.boxes[span].reshape(-1, 2, 2)  # left and top; width and height
        corners[:, 1] += corners[:, 0]
        ends = turned_points(corners * factors, size, turn)
        low, high = ends.min(1), ends.max(1)
        self.boxes[span] = np.concatenate((low, high - low), 1)
        self.areas[span] *= factors.prod()
        if tables.masks is not None:
            for place in range(span.start, span.stop):
                self.masks[place] = coco_masks.moved(
                    tables.masks[int(tables.mask_rows[place])],
                    lambda points: turned_points(points * factors, size, turn),
                    lambda pixels: turned_mask(resized_mask(pixels, size), turn),
                    told,
                )
        sides = size[::-1] if FLIPS[turn][0] else size
        tables.heights[row], tables.widths[row] = sides

    def finish(self) -> None:
        """Put them in the place of the old ones."""
        tables = self.tables
        tables.boxes, tables.areas = self.boxes, self.areas
        if self.masks and tables.masks is not None:
            old, rows = tables.masks, tables.mask_rows
            count = len(rows)
            tables.masks = ByteTable(
                self.masks[place] if place in self.masks else old[int(rows[place])] for place in range(count)
            )
            tables.mask_rows = np.arange(count)


def turned_points(points: np.ndarray, size: tuple[int, int], turn: Image.Transpose | None) -> np.ndarray:
    """Points (... x y) of a picture of `size` (height, width) in the turned picture."""
    exchange, across, upside_down = FLIPS[turn]
    height, width = size
    x, y = points[..., 0], points[..., 1]
    if exchange:
        x, y, width, height = y, x, height, width
    return np.stack((width - x if across else x, height - y if upside_down else y), -1)


def turned_mask(mask: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    """A mask (H W) in the turned picture."""
    exchange, across, upside_down = FLIPS[turn]
    mask = mask.T if exchange else mask
    return mask[:: -1 if upside_down else 1, :: -1 if across else 1]


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H W) at another size (height, width), by the nearest pixel."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
