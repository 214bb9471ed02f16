"""Label maps that hold colours: which number a colour stands for, and palettes that have to agree.

A colour is a class only where something says so: the class file beside the maps, or the palette of Pascal VOC, which
most drawing programs share. Nothing is ever taken for its nearest colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from phonecv.data.labelmaps.classes import Colour, LabelClasses
from phonecv.text import printable_name

#: Label of pixels that count for nothing.
IGNORE = 255


@dataclass(frozen=True)
class ColourKey:
    """Which number each colour stands for, and who says so."""

    numbers: dict[Colour, int]
    source: str
    _codes: np.ndarray = field(init=False, repr=False, compare=False)
    _values: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes = np.array([encoded(colour) for colour in self.numbers], dtype=np.int64)
        order = np.argsort(codes)
        object.__setattr__(self, "_codes", codes[order])
        object.__setattr__(self, "_values", np.array(list(self.numbers.values()), dtype=np.uint8)[order])

    def __call__(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of colours given as `encoded`, and which of them are known."""
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        return self._values[places], self._codes[places] == codes

    def knows(self, colours: Sequence[Colour]) -> bool:
        """Whether every one of them stands for a number."""
        return all(colour in self.numbers for colour in colours)


def encoded(colour: Colour) -> int:
    """A colour as one number."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def encode(pixels: np.ndarray) -> np.ndarray:
    """``... 3`` bytes as one number each."""
    wide = pixels.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def decode(codes: np.ndarray) -> list[Colour]:
    """The colours of such numbers."""
    return [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]


@cache
def voc_palette() -> tuple[Colour, ...]:
    """The 256 colours of Pascal VOC: the bits of the index, spread over red, green and blue from the highest down."""

    def channel(index: int, which: int) -> int:
        return sum((index >> (3 * place + which) & 1) << (7 - place) for place in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(256))


@cache
def voc_key() -> ColourKey:
    """The VOC palette; its last colour is the border, which is ignored."""
    return ColourKey({colour: index for index, colour in enumerate(voc_palette())}, "the palette of Pascal VOC")


def class_key(classes: LabelClasses | None, reduce_zero_label: bool = False) -> ColourKey | None:
    """The colours of a class file, if it gives every class one of its own; as in `LabelClasses.under`."""
    if classes is None or classes.colours is None or len(set(classes.colours)) < len(classes.colours):
        return None
    first = int(reduce_zero_label) if classes.first is None else classes.first
    numbers = {colour: first + index for index, colour in enumerate(classes.colours)}
    return ColourKey({voc_palette()[-1]: IGNORE} | numbers, classes.path.name)


def shown(colours: Sequence[Colour], most: int = 4) -> str:
    """Some of them, for people."""
    return ", ".join(f"({r}, {g}, {b})" for r, g, b in colours[:most]) + (", ..." if len(colours) > most else "")


@dataclass(frozen=True)
class Palette:
    """What the indices of palette pictures look like, taken from one file of the data set."""

    path: Path
    colours: dict[int, Colour]

    def difference(self, colours: dict[int, Colour]) -> str:
        """In what the colours of another file's indices contradict this palette, or ""."""
        for index, colour in colours.items():
            other = self.colours.get(index, colour)
            if other != colour and index != IGNORE:
                return (
                    f"index {index} is {shown([colour])} here and {shown([other])} in {printable_name(self.path.name)}"
                )
        return ""
