"""Decoding a rectangle of a JPEG file with TurboJPEG, where a library of version 3 or newer is installed.

libjpeg-turbo can leave out the colours and the frequency transform of everything beside a rectangle, and stop below it;
Pillow offers neither. Its C interface TurboJPEG is small and stable, so `ctypes` will do. It is found as

- the file that the environment variable PHONECV_TURBOJPEG names (an empty value switches TurboJPEG off);
- the system's: conda-forge and Homebrew `libjpeg-turbo`, Fedora `turbojpeg`, Arch `libjpeg-turbo`, the project's own
  installers; Debian 12 and Ubuntu 24.04 still have version 2, which can't do this;
- what the Python package `pylibjxl` carries in its extension module.

Without one, Pillow decodes; the pixels are the same.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: Names the library, or switches it off.
VARIABLE = "PHONECV_TURBOJPEG"

# Numbers of the TurboJPEG 3 interface.
_DECOMPRESS, _RGB = 1, 0
#: Parameters of a header: chroma subsampling, width, height, bits, colours.
_HEADER = (4, 5, 6, 7, 8)
#: Colours that Pillow reads as "RGB" or "L": RGB, YCbCr, grey.
_COLOURS = (0, 1, 2)
#: Blocks that are coded together, pixels wide and high, by chroma subsampling: 444, 422, 420, grey, 440, 411, 441.
_BLOCKS = {0: (8, 8), 1: (16, 8), 2: (16, 16), 3: (8, 8), 4: (8, 16), 5: (32, 8), 6: (8, 32)}

_LOCAL = threading.local()


class _Region(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


class _Factor(ctypes.Structure):
    _fields_ = (("num", ctypes.c_int), ("denom", ctypes.c_int))


class Header(NamedTuple):
    """Of a JPEG file in memory; `blocks` are the pixels, wide and high, that are coded together."""

    data: bytes
    width: int
    height: int
    blocks: tuple[int, int]


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG file; None without TurboJPEG, or if the file is damaged or of an unusual kind."""
    library = load()
    if library is None:
        return None
    handle = _handle(library)
    if library.tj3DecompressHeader(handle, data, len(data)):
        _drop_handle()
        return None
    subsampling, width, height, bits, colours = (library.tj3Get(handle, one) for one in _HEADER)
    blocks = _BLOCKS.get(subsampling)
    if blocks is None or bits != 8 or colours not in _COLOURS:
        return None
    return Header(data, width, height, blocks)


def decode_box(header: Header, box: tuple[int, int, int, int], reduced: int = 1) -> np.ndarray | None:
    """A rectangle (left, top, right, bottom) of a JPEG file as H W 3, uint8; None if the file is damaged.

    The file is decoded at one part in `reduced`: 1, 2, 4 or 8; the rectangle's pixels are of that size.
    """
    library = load()
    assert library is not None
    handle, data = _handle(library), header.data
    # Columns start at whole blocks. Colours are interpolated across the edges of blocks, hence one more on every side.
    across, down = header.blocks[0] // reduced, header.blocks[1] // reduced
    left = max(0, box[0] // across - 1) * across
    top = max(0, box[1] - down)
    right, bottom = min(-(-header.width // reduced), box[2] + across), min(-(-header.height // reduced), box[3] + down)
    pixels = np.empty((bottom - top, right - left, 3), np.uint8)
    address = pixels.__array_interface__["data"][0]  # `pixels.ctypes` takes ten times as long
    failed = (
        library.tj3DecompressHeader(handle, data, len(data))
        or library.tj3SetScalingFactor(handle, _Factor(1, reduced))
        or library.tj3SetCroppingRegion(handle, _Region(left, top, right - left, bottom - top))
        or library.tj3Decompress8(handle, data, len(data), address, 0, _RGB)
    )
    if failed:
        _drop_handle()
        return None
    return pixels[box[1] - top : box[3] - top, box[0] - left : box[2] - left]


@cache
def load() -> ctypes.CDLL | None:
    """TurboJPEG of version 3 or newer, or None."""
    for name in _names():
        try:
            library = ctypes.CDLL(name)
            functions = {
                "tj3DecompressHeader": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
                "tj3Get": (ctypes.c_void_p, ctypes.c_int),
                "tj3SetScalingFactor": (ctypes.c_void_p, _Factor),
                "tj3SetCroppingRegion": (ctypes.c_void_p, _Region),
                "tj3Decompress8": (
                    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_int,
                ),
                "tj3Destroy": (ctypes.c_void_p,),
            }  # fmt: skip
            for function, arguments in functions.items():
                getattr(library, function).argtypes = arguments
            library.tj3Init.restype = ctypes.c_void_p
        except (OSError, AttributeError):  # not there, or of version 2
            continue
        return library
    return None


def _names() -> Iterator[str]:
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        if chosen:
            yield chosen
        return
    suffix = {"darwin": "libturbojpeg.dylib", "win32": "turbojpeg.dll"}.get(sys.platform, "libturbojpeg.so.0")
    for folder in (Path(sys.prefix) / "lib", Path(sys.prefix) / "Library/bin", Path("/opt/libjpeg-turbo/lib64")):
        if (folder / suffix).is_file():
            yield str(folder / suffix)
    found = ctypes.util.find_library("turbojpeg")
    if found:
        yield found
    package = importlib.util.find_spec("pylibjxl")
    for place in (package.submodule_search_locations or ()) if package else ():
        yield from map(str, sorted(Path(place).glob("_pylibjxl*")))


def _handle(library: ctypes.CDLL) -> int:
    """A decompressor of this thread's own."""
    owner = getattr(_LOCAL, "handle", None)
    if owner is None:
        owner = _LOCAL.handle = _Handle(library)
    return owner.pointer


def _drop_handle() -> None:
    """Give this thread a new decompressor next time.

    After some damaged files the old one fails for ever, and every intact file that follows would be left to Pillow.
    """
    del _LOCAL.handle


class _Handle:
    def __init__(self, library: ctypes.CDLL) -> None:
        self.pointer: int = library.tj3Init(_DECOMPRESS)
        self._destroy = library.tj3Destroy

    def __del__(self) -> None:
        self._destroy(self.pointer)
