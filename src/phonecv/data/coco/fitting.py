"""Annotations brought to the pictures as they are opened: turned with them, and resized with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.conventions import CocoReading
from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.loading.byte_table import ByteTable
from phonecv.data.pictures.opening import ImageError, opened, turn_of

_Turn = Image.Transpose
#: Per turn: whether the sides are exchanged, and then whether left and right, top and bottom are.
_TURNS: dict[Image.Transpose | None, tuple[bool, bool, bool]] = {
    None: (False, False, False),
    _Turn.FLIP_LEFT_RIGHT: (False, True, False),
    _Turn.FLIP_TOP_BOTTOM: (False, False, True),
    _Turn.ROTATE_180: (False, True, True),
    _Turn.TRANSPOSE: (True, False, False),
    _Turn.ROTATE_270: (True, True, False),
    _Turn.ROTATE_90: (True, False, True),
    _Turn.TRANSVERSE: (True, True, True),
}


def stored_size(path: Path) -> tuple[int, int, Image.Transpose | None]:
    """Width and height of a picture as it is stored, and how it is turned to stand upright, from its header."""
    with opened(path) as image:
        return image.width, image.height, turn_of(image)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from its header."""
    return upright(*stored_size(path))


def upright(width: int, height: int, turn: Image.Transpose | None) -> tuple[int, int]:
    """Width and height after a turn."""
    return (height, width) if _TURNS[turn][0] else (width, height)


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
        sides = size[::-1] if _TURNS[turn][0] else size
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
    exchange, across, upside_down = _TURNS[turn]
    height, width = size
    x, y = points[..., 0], points[..., 1]
    if exchange:
        x, y, width, height = y, x, height, width
    return np.stack((width - x if across else x, height - y if upside_down else y), -1)


def turned_mask(mask: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    """A mask (H W) in the turned picture."""
    exchange, across, upside_down = _TURNS[turn]
    mask = mask.T if exchange else mask
    return mask[:: -1 if upside_down else 1, :: -1 if across else 1]


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H W) at another size (height, width), by the nearest pixel."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
