"""Decoding no more of a picture than a crop of it needs.

A training crop covers about half of a photograph. For JPEG files

- the decoder stops at the last row of the crop (rows are stored from the top, so those above it have to be decoded);
- TurboJPEG, where there is one, decodes only the rectangle (`phonecv.data.pictures.turbojpeg`);
- a crop much larger than what it will be resized to is decoded at 1/2, 1/4 or 1/8 of its size, which JPEG can do within
  its own arithmetic.

The first two change no pixel. The third is a reduction before the resize, like an average over 2 x 2 pixels; `MARGIN`
keeps its effect small.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from phonecv.data.pictures import turbojpeg as turbo
from phonecv.data.pictures.opening import FLIPS, MAX_PIXELS, decoded, fits_jpeg, opened, to_rgb, turn_of
from phonecv.data.shards.index import read_source, size_of

#: A picture is decoded at a fraction of its size only if the crop keeps this many times the pixels it is resized to,
#: along both sides.
MARGIN = 2.0

#: Bytes handed to the decoder at a time once it is near the last row. It gets slower with less than a few kB in hand.
_STEP = 8192

#: Marks at the start of a JPEG file, before its pixels, and at its end; cameras append data of their own to that, so it
#: is searched for in a tail of this length.
_START_OF_IMAGE, _START_OF_SCAN, _END_OF_IMAGE = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_TAIL = 256

#: What a header holds if it may ask for the picture to be turned (EXIF, XMP), or holds several pictures.
_ORIENTED = (b"Exif", b"http://ns.adobe.com/xap/", b"MPF\0")

#: Longer files are left to Pillow, which does not read them into memory as a whole.
_MOST_BYTES = 1 << 26

#: Pixels around a box in a reduced picture; a cubic filter at twice the size needs four.
_ROOM = 8

Size = tuple[int, int]
Box = tuple[float, float, float, float]

#: How to find the stored box of an upright one: the turn that undoes each turn.
_UNDO = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90}


class Part(NamedTuple):
    """Pixels that hold a crop.

    Attributes:
        pixels: H W 3, uint8, upright.
        box: the crop within them: left, top, right, bottom; not whole numbers where the picture was reduced.
    """

    pixels: np.ndarray
    box: Box


def open_part(
    path: Path | str, choose: Callable[[Size], Box], *, side: int | None = None, bits: int | None = None
) -> Part:
    """The crop of a picture that `choose` wants.

    Args:
        path: the file; its extension does not matter.
        choose: gets width and height of the upright picture, and says which box: left, top, right, bottom, in whole
            pixels.
        side: pixels along both sides to which the crop will be resized; None keeps it at full size.
        bits: that the values of a 16-bit picture hold, see `phonecv.data.pictures.opening.open_image`.

    Raises:
        ImageError: the file can't be read, is damaged, too large or of a kind that is not supported. Damage below the
            crop can stay unnoticed, but not a missing end of the file.
    """
    path = Path(path)
    header = _plain_jpeg(path) if turbo.load() is not None else None
    if header is None:
        return _pillow_part(path, choose, side, bits)
    box = choose((header.width, header.height))
    cut = _cut(box, (header.width, header.height), side)
    pixels = turbo.decode_box(header, cut.outer, cut.reduced)
    if pixels is None:  # something unusual, which Pillow reads or explains
        return _pillow_part(path, lambda _: box, side)
    return Part(pixels, cut.inner)


class _Cut(NamedTuple):
    """What of a picture to decode: whole pixels around a box in the reduced picture, and the box within them."""

    reduced: int
    outer: tuple[int, int, int, int]
    inner: Box


def _cut(box: Box, size: Size, side: int | None) -> _Cut:
    most = 1 if side is None else int(min(box[2] - box[0], box[3] - box[1]) / (MARGIN * side))
    reduced = next((scale for scale in (8, 4, 2) if scale <= most), 1)
    # Filters reach a few pixels beyond a box that does not fall on pixels.
    room = 0 if reduced == 1 else _ROOM
    left, top, right, bottom = (edge / reduced for edge in box)
    outer = (
        max(0, math.floor(left) - room),
        max(0, math.floor(top) - room),
        min(-(-size[0] // reduced), math.ceil(right) + room),
        min(-(-size[1] // reduced), math.ceil(bottom) + room),
    )
    return _Cut(reduced, outer, (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]))


def _plain_jpeg(path: Path) -> turbo.Header | None:
    """The header of a whole JPEG file that stands upright, of colours and size that are read here; None otherwise."""
    try:
        data = read_source(path) if size_of(path) <= _MOST_BYTES else b""
    except OSError:  # Pillow's attempt will be reported
        return None
    if not data.startswith(_START_OF_IMAGE) or data.find(_END_OF_IMAGE, -_TAIL) < 0:
        return None
    pixels = data.find(_START_OF_SCAN)
    if any(data.find(mark, 0, pixels) >= 0 for mark in _ORIENTED):
        return None
    header = turbo.read_header(data)
    if header is None or not 0 < header.width * header.height <= MAX_PIXELS:
        return None
    return header if fits_jpeg(header.width, header.height, len(data)) else None


def _pillow_part(path: Path, choose: Callable[[Size], Box], side: int | None, bits: int | None = None) -> Part:
    with opened(path) as image:
        turn = turn_of(image)
        size = (image.height, image.width) if FLIPS[turn][0] else image.size
        box = choose(size)
        if image.format != "JPEG" or image.mode not in ("RGB", "L"):
            pixels = np.array(decoded(image, path, bits).crop(box))
            return Part(pixels, (0, 0, pixels.shape[1], pixels.shape[0]))
        stored = box if turn is None else turn_box(box, size, _UNDO.get(turn, turn))
        cut = _cut(stored, image.size, side)
        if cut.reduced > 1:
            image.draft(image.mode, (math.ceil(image.width / cut.reduced), math.ceil(image.height / cut.reduced)))
        if cut.outer[3] < image.height and image.fp is not None:
            image.fp = _Feed(image.fp, image, cut.outer)  # pyrefly: ignore[bad-assignment]
        try:
            image.load()
        except _EnoughError:
            image.tile = []  # what is not decoded by now never will be
        part, inner = image.crop(cut.outer), cut.inner
        if turn is not None:
            inner = turn_box(inner, part.size, turn)
            part = part.transpose(turn)
        return Part(np.array(to_rgb(part, path)), inner)


def turn_box(box: Box, size: Size, turn: Image.Transpose) -> Box:
    """Where `box` of a picture of `size` lies after a `turn` of the picture."""
    (exchange, *flips), spans = FLIPS[turn], [(box[0], box[2]), (box[1], box[3])]
    if exchange:
        spans, size = spans[::-1], size[::-1]
    x, y = (
        (side - span[1], side - span[0]) if flip else span for span, side, flip in zip(spans, size, flips, strict=True)
    )
    return (x[0], y[0], x[1], y[1])


class _EnoughError(Exception):
    """Ends the decoding of rows that nobody wants."""


class _Feed(io.BufferedIOBase):
    """Hands a file to a picture's decoder in portions, until the rows that are wanted are there."""

    def __init__(self, file: IO[bytes], image: ImageFile.ImageFile, box: tuple[int, int, int, int]) -> None:
        left, _, right, bottom = box
        self._file, self._image, self._row = file, image, (left, bottom - 1, right, bottom)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        # A file without an end is read to where it breaks off, so that Pillow reports it.
        self._stops = _END_OF_IMAGE in file.read(_TAIL)
        self._started = False
        # The first portion is a guess: as much of the file as of the rows. The decoder is at its fastest in one go.
        self._first = max(_STEP, size * bottom // image.height)

    def seek(self, place: int, whence: int = 0) -> int:
        """As any file."""
        return self._file.seek(place, whence)

    def read(self, size: int | None = -1) -> bytes:
        """The next portion; ends the decoding once the last wanted row is no longer as black as it was made."""
        if not self._stops:
            return self._file.read(-1 if size is None else size)
        filled = self._is_row_filled()
        if self._started:
            if filled:
                raise _EnoughError
            return self._file.read(_STEP)
        self._started = True
        self._stops = not filled  # a Pillow that does not start from black tells us nothing
        return self._file.read(self._first)

    def close(self) -> None:
        """As any file."""
        self._file.close()
        super().close()

    def _is_row_filled(self) -> bool:
        # With its list of tiles in place, the picture would start to decode once more.
        tiles, self._image.tile = self._image.tile, []
        try:
            return self._image.crop(self._row).getbbox() is not None
        finally:
            self._image.tile = tiles
