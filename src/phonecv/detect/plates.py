"""Where the names of objects go on a picture: small where it is small, few where there are many, never on each other.

A name stands above its box, or where else it is free, the surest object first. What finds no room stays a box in the
colour of its class; tables hold the names of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from phonecv.plots import legible

#: Letters of a name before it is cut, and fewest that still say something.
_LETTERS, _FEWEST = 28, 6
#: Least height of letters that can be read, pixels, and what is easily read.
_SMALLEST, _USUAL = 8, 11
#: Share of the picture that all names together may cover, and of its width and height that one may.
_SHARE, _WIDTH, _HEIGHT = 0.16, 0.7, 0.3
#: Share of its own box that a name inside may cover.
_INSIDE = 0.35
#: From this many names on letters shrink, down to this share.
_MANY, _SHRINK = 12, 0.65


@dataclass(frozen=True, slots=True)
class Plate:
    """A name with its place: row of its box, the text cut to what fits, left and top of the plate in pixels."""

    row: int
    text: str
    left: int
    top: int


def letter_size(height: int, width: int, count: int = 1) -> int:
    """Height of letters for so many names in a picture of that size, pixels."""
    side = max(height, width)
    size = max(side / 45, min(_USUAL, _SMALLEST + (side - 64) / 80))
    shrink = max(_SHRINK, (_MANY / count) ** 0.25) if count > _MANY else 1.0
    return max(_SMALLEST, round(size * shrink))


def place_plates(
    boxes: np.ndarray, texts: Sequence[str], size: int, height: int, width: int, length: Callable[[str], float]
) -> list[Plate]:
    """The names that find room, best first.

    Args:
        boxes: N 4, xyxy in pixels, the best first.
        texts: a name for each; empty ones get no plate.
        size: height of the letters.
        height: of the picture.
        width: of the picture.
        length: of a text in these letters, pixels.
    """
    tall = plate_height(size)
    if tall > max(_HEIGHT * height, _SMALLEST):
        return []
    taken: list[tuple[float, float, float, float]] = []
    plates: list[Plate] = []
    room = _SHARE * height * width
    for row, (box, name) in enumerate(zip(boxes, texts, strict=True)):
        # The first name is cut to the room there is; later ones find it or not.
        text = _fitting(name, min(_WIDTH * width, _SHARE * width * height / tall) - 4, length)
        wide = length(text) + 4
        if not text or wide * tall > room:
            continue
        for left, top in _places(box, wide, tall, height, width):
            area = (left, top, left + wide, top + tall)
            if not any(_meet(area, other) for other in taken):
                taken.append(area)
                plates.append(Plate(row, text, int(left), int(top)))
                room -= wide * tall
                break
    return plates


def plate_height(size: int) -> int:
    """Of a plate for letters of that height, pixels."""
    return round(1.3 * size) + 2


def _fitting(name: str, most: float, length: Callable[[str], float]) -> str:
    """The name, without its score and cut at the end until it fits; nothing where too little of it would be left."""
    text = legible(name, _LETTERS)
    if length(text) <= most:
        return text
    first, _, last = text.rpartition(" ")
    text = first if first and last.isdecimal() else text
    shorter = [text, *(f"{text[:letters].rstrip()}…" for letters in range(len(text) - 2, _FEWEST - 2, -1))]
    return next((one for one in shorter if length(one) <= most), "")


def _places(box: np.ndarray, wide: float, tall: float, height: int, width: int) -> Iterator[tuple[float, float]]:
    """Left and top of where a name may go, the best first; all of it inside the picture."""
    left, top, right, bottom = (float(side) for side in box)
    begin, end = (min(max(0.0, x), width - wide) for x in (left, right - wide))
    for x in (begin, end):
        if top - tall >= 0:
            yield x, top - tall
    if wide * tall <= _INSIDE * (right - left) * (bottom - top):
        for y in (top, bottom - tall):
            for x in (begin, end):
                yield x, min(max(0.0, y), height - tall)
    for x in (begin, end):
        if bottom + tall <= height:
            yield x, bottom


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
