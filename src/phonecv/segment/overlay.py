"""Label maps as pictures: laid over the photograph, as files of their own, and what their colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from phonecv.data.labelmaps.classes import Colour
from phonecv.files import atomic_path

#: Share of a class's colour in its pixels.
ALPHA = 0.55
#: Entries of a palette in a PNG file.
_PALETTE = 256
#: Height of a legend's letters, least height, and how many of them the strip is wide at least.
_FONT_SIZE, _SMALLEST, _LETTERS = 17, 8, 16


def overlay(
    picture: Image.Image, labels: np.ndarray, palette: Sequence[Colour], *, alpha: float = ALPHA
) -> Image.Image:
    """The picture with the colours of its classes; what is ignored, and a class whose colour is black, stays as it is.

    Args:
        picture: RGB.
        labels: ``H W`` of its size: classes and anything else for ignored.
        palette: a colour for every class.
        alpha: share of the colour.
    """
    table = np.zeros((max(_PALETTE, len(palette)), 3), dtype=np.uint8)
    table[: len(palette)] = palette
    colours = table[labels]
    painted = Image.fromarray((255 * alpha * colours.any(-1)).astype(np.uint8))
    return Image.composite(Image.fromarray(colours), picture, painted)


def save_label_map(labels: np.ndarray, palette: Sequence[Colour], path: Path | str) -> None:
    """Save class numbers as PNG: with a palette of the classes' colours, or with 16 bits for more than 256 classes."""
    if len(palette) > _PALETTE:
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        # All 256 entries: with fewer, Pillow would pack the numbers into fewer bits and cut off larger ones.
        table = np.zeros((_PALETTE, 3), dtype=np.uint8)
        table[: len(palette)] = palette
        image.putpalette(table.reshape(-1).tolist())
    with atomic_path(path) as temporary:
        image.save(temporary)


def shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """Share of the pixels of every class."""
    return np.bincount(labels.reshape(-1), minlength=classes)[:classes] / max(1, labels.size)


def legend(width: int, order: Sequence[int], classes: Sequence[str], palette: Sequence[Colour]) -> Image.Image:
    """A strip with the names and colours of some classes, as many as fit into two lines; letters shrink with it."""
    from phonecv.plots import INK, font_file, legible

    size = max(_SMALLEST, min(_FONT_SIZE, round(width / _LETTERS)))
    font = ImageFont.truetype(font_file(), size)
    line, square = round(1.4 * size), size - 3
    strip = Image.new("RGB", (width, 2 * line + 4), "white")
    pen = ImageDraw.Draw(strip)
    left, top = 0, 4
    for index in order:
        name = next(
            (
                text
                for most in range(20, 2, -1)
                if font.getlength(text := legible(classes[index], most)) <= width - square - 8
            ),
            "",
        )
        length = square + 5 + round(font.getlength(name)) + 14
        if left and left + length > width:
            left, top = 0, top + line
        if top + line > strip.height:
            break
        pen.rectangle((left, top, left + square, top + square), fill=tuple(palette[index]), outline=INK)
        pen.text((left + square + 5, top - 4), name, font=font, fill=INK)
        left += length
    return strip


def with_legend(
    pictures: Sequence[Image.Image],
    order: Sequence[int],
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    gap: int = 0,
    least: int = 0,
) -> Image.Image:
    """Pictures of one size side by side, and below them the `legend` of some classes; `least` pixels wide."""
    (width, height), count = pictures[0].size, len(pictures)
    strip = legend(max(least, count * width + (count - 1) * gap), order, classes, palette)
    sheet = Image.new("RGB", (strip.width, height + strip.height), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place * (width + gap), 0))
    sheet.paste(strip, (0, height))
    return sheet
