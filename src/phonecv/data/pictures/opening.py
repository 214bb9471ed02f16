"""Opening one picture safely: the only way any part of the package reads pixels.

The choices, the same in training, evaluation, prediction and the demo:

- the content decides the type of a file, its name does not;
- the size in the header is checked before anything is decoded (`MAX_PIXELS`; Pillow needs 4 bytes per pixel, so a
  picture takes at most about 0.4 GB, twice that while a mode is converted; `PHONECV_MAX_PIXELS` sets another limit);
- the EXIF orientation is always applied;
- transparency is composed onto white;
- gray of 16 bits is scaled to 8 by the number of bits that its values hold: as the caller says, for a whole data set
  (`phonecv.data.pictures.bit_depth`), else by the largest value of the picture; of 48-bit colour Pillow has the high
  bytes alone, which are scaled likewise: coarse where the values hold 12 bits, black where they hold 8;
- of an animation or a file of several pages the first picture counts;
- floating point files are refused: there is no range to scale them by, and they may hold NaN.
"""

from __future__ import annotations

import fnmatch
import glob
import importlib
import importlib.util
import io
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageFile

from phonecv.data.shards.index import read_source, size_of, source_of
from phonecv.errors import UserError, near_path
from phonecv.text import printable, unique_names

if TYPE_CHECKING:
    import numpy as np

#: Extensions of HEIC pictures, which phones write; reading them needs the extra "heic".
HEIC_SUFFIXES = (".heic", ".heif", ".hif")

#: Extensions a folder scan takes for pictures, in lower case.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
    ".avif", *HEIC_SUFFIXES,
)  # fmt: skip

#: Extensions of pictures that are not read here. A scan leaves such files out, and says so.
UNREAD_SUFFIXES = frozenset(
    (".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".jxr", ".wdp", ".tga", ".psd", ".psb", ".xcf", ".svg", ".eps", ".dng",
     ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".srw", ".pef", ".exr", ".hdr", ".dcm", ".ico", ".pcx",
     ".qoi", ".npy", ".heics", ".avifs", ".fits", ".nii")
)  # fmt: skip

#: Folders that programs leave beside pictures, in lower case: of macOS's archives, Synology, QNAP, Windows, Python.
HELPER_FOLDERS = frozenset(
    ("__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "$recycle.bin",
     "system volume information", "lost+found", "__pycache__")
)  # fmt: skip

#: Bits that the values of 16-bit pictures may hold: of screens, cameras, scanners.
DEPTHS = (8, 10, 12, 14, 16)

#: Environment variable with the pixels of the largest picture that is decoded, where somebody wants larger ones.
VARIABLE = "PHONECV_MAX_PIXELS"


def most_pixels() -> int:
    """Pixels of the largest picture that is decoded: as many as Pillow takes, or what the person wants.

    Raises:
        UserError: that is no number.
    """
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        return 89_478_485
    try:
        return max(1, int(float(wanted)))
    except (ValueError, OverflowError) as error:
        raise UserError(f"{VARIABLE}={wanted!r} is not a number of pixels, such as 200e6") from error


#: Largest picture that is decoded. Pillow starts to warn of "decompression bombs" there.
MAX_PIXELS = most_pixels()
if os.environ.get(VARIABLE):
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS

#: Only these decoders run. Others in Pillow start programs (EPS) or serve no photograph.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF")

#: What makes HEIC pictures readable.
HEIC_INSTALL = "pip install 'phonecv[heic]'"

#: Packages that teach Pillow to read HEIC; the second has decoders only.
_HEIF_READERS = ("pillow_heif", "pi_heif")
#: Kinds of HEIC in the first bytes of a file, as far as their pictures are still ones.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

#: Most pixels a byte of a JPEG file can stand for. At least one bit is spent on each block of 8 x 8 pixels of the
#: brightness, and blocks may stand for twice as much in odd files.
_JPEG_PIXELS = 1024
#: Most pixels that the passes of a progressive JPEG file may go over.
_SCANNED_PIXELS = 12 * MAX_PIXELS

_BACKGROUND = (255, 255, 255)
#: Says in a picture's notes that its colours had 16 bits.
_DEEP = "phonecv deep colour"
_ORIENTATION = 0x0112  # EXIF tag

#: How the stored picture is turned to stand upright, by EXIF orientation; others stand upright already.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Per turn: whether the sides are exchanged, and then whether left and right, top and bottom are.
FLIPS: dict[Image.Transpose | None, tuple[bool, bool, bool]] = {
    None: (False, False, False),
    Image.Transpose.FLIP_LEFT_RIGHT: (False, True, False),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, False, True),
    Image.Transpose.ROTATE_180: (False, True, True),
    Image.Transpose.TRANSPOSE: (True, False, False),
    Image.Transpose.ROTATE_270: (True, True, False),
    Image.Transpose.ROTATE_90: (True, False, True),
    Image.Transpose.TRANSVERSE: (True, True, True),
}


class ImageError(UserError):
    """A picture file that can't be used; the message names the file and what is wrong with it."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[Path, str]]:
        # Worker processes send exceptions back by pickle, which would call __init__ with the joined message only.
        return type(self), (self.path, self.reason)


def open_image(path: Path | str, *, max_pixels: int = MAX_PIXELS, bits: int | None = None) -> Image.Image:
    """The picture at `path` as RGB, upright, fully decoded, with its file closed.

    Args:
        path: the file; its extension does not matter.
        max_pixels: refuse larger pictures before decoding; can't be raised above `MAX_PIXELS`.
        bits: that the values of a 16-bit picture hold; None goes by its largest value.

    Raises:
        ImageError: the file can't be read, is damaged, too large or of a kind that is not supported.
    """
    path = Path(path)
    with opened(path, max_pixels) as image:
        return decoded(image, path, bits)


def reopen(path: Path) -> Image.Image | None:
    """The picture to draw once more, or None if it cannot be read (any more)."""
    try:
        return open_image(path)
    except ImageError:
        return None


def fitted(image: Image.Image, side: int) -> Image.Image:
    """A picture in a size to be looked at: its longer side has so many pixels."""
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def reason_of(error: str, path: Path) -> str:
    """The text of an `ImageError` without the path it starts with, which is kept apart."""
    return error.removeprefix(f"{printable(path)}: ")


def probe_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[str, int, int]:
    """Format, width and height from the header alone; pixels are not decoded."""
    with opened(Path(path), max_pixels) as image:
        return image.format or "", image.width, image.height


def largest_value(path: Path, *, header_only: bool = False) -> tuple[int, bool]:
    """Largest value of a picture of more than 8 bits, 255 for all others; with `header_only` the most it can hold. And
    whether the high byte alone is known, as of 48-bit colour.

    Raises:
        ImageError: the file can't be used.
    """
    with opened(path) as image:
        deep = _DEEP in image.info
        if not deep and not image.mode.startswith("I"):
            return 0xFF, False
        if header_only:
            return 0xFFFF, deep
        image.load()
        return _brightest(image) << 8 | 0xFF if deep else int(_deep_values(image, path).max(initial=0)), deep


def depth_of(largest: int) -> int:
    """Bits of the usual depths that hold values up to `largest`."""
    return next(bits for bits in DEPTHS if largest < 1 << bits or bits == DEPTHS[-1])


def decoded(image: Image.Image, path: Path, bits: int | None = None) -> Image.Image:
    """All of an `opened` picture, as RGB and upright."""
    image.load()
    turn = turn_of(image)
    return to_rgb(image if turn is None else image.transpose(turn), path, bits)


@contextmanager
def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile.ImageFile]:
    """The file opened and its header checked; everything that goes wrong inside becomes an `ImageError`."""
    with _WARNINGS.off():
        try:
            source = source_of(path)
            with Image.open(source, formats=_formats_for(path, source)) as image:
                if image.width * image.height > max_pixels:
                    raise ImageError(path, _too_large(f"{image.width} x {image.height} pixels", max_pixels))
                if image.format in ("JPEG", "MPO"):
                    _check_jpeg(image, path)
                if len(image.getbands()) > 1 and any(";16" in str(tile[3]) for tile in image.tile):
                    image.info[_DEEP] = True  # once it is loaded, nothing tells
                yield image
        except ImageError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(path, _too_large("the picture its header announces", max_pixels)) from error
        except Image.UnidentifiedImageError as error:
            raise ImageError(path, _unidentified_reason(path)) from error
        # The decoders raise nearly everything on damaged data (OSError, SyntaxError, struct.error, zlib.error,
        # ValueError, IndexError, OverflowError, ...); whatever it is, the file is at fault.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise ImageError(path, _system_reason(path, error)) from error
            raise ImageError(path, f"damaged picture ({_one_line(error)})") from error


def fits_jpeg(width: int, height: int, size: int) -> bool:
    """Whether a JPEG file of `size` bytes can hold so many pixels.

    A file of 1 kB whose damaged header announces 9000 x 9000 pixels would be decoded for seconds, to grey.
    """
    return width * height <= max(_JPEG_PIXELS * size, 1_000_000)


def _check_jpeg(image: ImageFile.ImageFile, path: Path) -> None:
    size = size_of(path)
    pixels = image.width * image.height
    if not fits_jpeg(image.width, image.height, size):
        raise ImageError(
            path, f"damaged picture (its header announces {image.width} x {image.height} pixels in {size:,} bytes)"
        )
    # Every pass over the picture takes as long as decoding it once; common files have ten.
    if image.info.get("progressive") and pixels * (scans := read_source(path).count(b"\xff\xda")) > _SCANNED_PIXELS:
        raise ImageError(path, f"{scans} passes over {pixels:,} pixels would take too long; save the picture anew")


def _formats_for(path: Path, source: Path | io.BytesIO) -> tuple[str, ...]:
    """The decoders that may run: `FORMATS`, and for a file that is HEIC by its content that of an optional package."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            start = file.read(64)
    else:
        start = source.getvalue()[:64]
    if not is_heif(start):
        return FORMATS
    if not can_read_heif():
        raise ImageError(path, f"a HEIC picture, which needs one more package: {HEIC_INSTALL}")
    return ("HEIF",)


def is_heif(start: bytes) -> bool:
    """Whether a file that starts so is a HEIC picture."""
    brand, others = start[8:12], start[16:64]
    return start[4:8] == b"ftyp" and brand in _HEIF_BRANDS and b"avif" not in (brand, others[:4], others[4:8])


@cache
def can_read_heif() -> bool:
    """Whether HEIC pictures can be read here; looks for the package once and tells Pillow of it."""
    for name in _HEIF_READERS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).register_heif_opener()
            return True
    return False


class _PillowWarnings:
    """Switches Pillow's warnings off while any thread is inside `off`.

    Pillow warns of damaged metadata, which is harmless here; only its bomb warning is a reason to stop. As
    `warnings.catch_warnings` changes the state of the whole process, the first thread enters it and the last one leaves
    it; between them any number may decode at the same time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught: warnings.catch_warnings[None] | None = None

    @contextmanager
    def off(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._caught is not None:
                    self._caught.__exit__(None, None, None)


_WARNINGS = _PillowWarnings()
# A thread may be inside at the moment another one forks worker processes, which must not inherit its lock.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WARNINGS.__init__)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What brings the stored picture upright by its EXIF orientation; a damaged EXIF block counts as none."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the EXIF parser meets arbitrary bytes here, and the pixels are fine without it
        return None
    return TURNS.get(orientation) if isinstance(orientation, int) else None


def to_rgb(image: Image.Image, path: Path, bits: int | None = None) -> Image.Image:
    """`image` as a plain RGB picture that no longer depends on its file; `bits` as for `open_image`."""
    if image.mode == "F":
        raise ImageError(
            path, "floating point pixels are not supported; save the picture with 8 or 16 bits per channel"
        )
    if image.mode.startswith("I"):
        image = _scale_to_8_bits(_deep_values(image, path), bits)
    elif _DEEP in image.info:
        image = _scale_colours(image, bits)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, _BACKGROUND)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image if image.mode == "RGB" and type(image) is Image.Image else image.convert("RGB")
    # Metadata ends here: with its EXIF block left in, the picture could be turned a second time further on.
    rgb.info.clear()
    return rgb


def _deep_values(image: Image.Image, path: Path) -> np.ndarray:
    """Values of a gray picture of more than 8 bits, uint16."""
    import numpy as np

    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
        raise ImageError(path, "pixel values outside 0..65535; save the picture with 8 or 16 bits per channel")
    return values.astype(np.uint16)


def _scale_to_8_bits(values: np.ndarray, bits: int | None) -> Image.Image:
    import numpy as np

    if bits is None:
        bits = depth_of(int(values.max(initial=0)))
    # A value beyond the depth, which the pictures that were looked at did not have, is as bright as can be.
    return Image.fromarray((np.minimum(values, (1 << bits) - 1) >> (bits - 8)).astype(np.uint8))


def _brightest(image: Image.Image) -> int:
    """The largest value of the colours, without the opacity."""
    bands = image.split()[: 1 if image.mode.startswith("L") else 3]
    return max(int(band.getextrema()[1]) for band in bands)  # pyrefly: ignore[bad-index, bad-argument-type]


def _scale_colours(image: Image.Image, bits: int | None) -> Image.Image:
    """The high bytes of 16-bit colours as bright as `bits` say; opacity has all its bits."""
    if bits is None:
        bits = depth_of(_brightest(image) << 8 | 0xFF)
    if bits == DEPTHS[-1]:
        return image
    factor = 1 << (DEPTHS[-1] - bits)
    bands = [
        band if name in "Aa" else band.point([min(255, factor * value) for value in range(256)])
        for name, band in zip(image.getbands(), image.split(), strict=True)
    ]
    return Image.merge(image.mode, bands)


def _too_large(what: str, max_pixels: int) -> str:
    way_out = f"scale the picture down, or allow larger ones: {VARIABLE}=200e6"
    return f"too large: {what} exceeds the limit of {max_pixels:,} pixels; {way_out}"


def _system_reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the link points nowhere" if path.is_symlink() else "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a picture"
    return f"can't be read ({error.strerror or error})"


def _unidentified_reason(path: Path) -> str:
    start = read_source(path, 64)
    if not start:
        return "empty file"
    lowered = start.lstrip().lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture; download the file again"
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the picture itself; run `git lfs pull`"
    if start.startswith((b"\xff\xd8", b"\x89PNG")) or (
        start[4:8] == b"ftyp" and start[8:12] in (b"avif", *_HEIF_BRANDS)
    ):
        return "damaged picture (its header can't be read)"
    if all(byte in b"\t\n\r\f" or byte >= 32 for byte in start) and start.isascii():
        return "text, not a picture"
    known = [f"{kind}, " for kind, (place, mark) in _OTHER_KINDS.items() if start[place:].startswith(mark)]
    return f"{''.join(known[:1])}not a picture in a format that is read here ({', '.join(FORMATS)})"


_VIDEO = "a video, which `phonecv predict` reads with a detector"

#: Kinds of files that are not read, and what their bytes from some place on are.
_OTHER_KINDS = {
    "a JPEG XL picture": (4, b"JXL \r\n"),
    "a bare JPEG XL picture": (0, b"\xff\x0a"),
    "a JPEG 2000 picture": (4, b"jP  \r\n"),
    "a Photoshop file": (0, b"8BPS"),
    "a RAW picture of a camera": (4, b"ftypcrx"),
    _VIDEO: (4, b"ftyp"),
    f"{_VIDEO} (Matroska or WebM)": (0, b"\x1aE\xdf\xa3"),
    f"{_VIDEO} (AVI)": (8, b"AVI "),
    f"{_VIDEO} (MPEG)": (0, b"\0\0\1\xba"),
    f"{_VIDEO} (transport stream)": (0, b"G@"),
    "a PDF": (0, b"%PDF"),
    "an OpenEXR picture": (0, b"v/1\x01"),
    "a NumPy array": (0, b"\x93NUMPY"),
    "a ZIP archive": (0, b"PK\x03\x04"),
}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def is_image_name(name: str) -> bool:
    """Whether a folder scan takes a file called `name` for a picture: a known extension and no leading dot."""
    return not name.startswith(".") and suffix_of(name) in IMAGE_SUFFIXES


def suffix_of(name: str) -> str:
    """Extension in lower case, without a blank behind it."""
    return os.path.splitext(name)[1].lower().rstrip()  # noqa: PTH122


def is_helper_folder(name: str) -> bool:
    """Whether a folder of this name is some program's own: hidden, or on the list of names."""
    return name.startswith(".") or name.casefold() in HELPER_FOLDERS


@dataclass
class Passed:
    """What a scan has passed over: other programs' folders, and extensions of kinds that are not read, counted."""

    helpers: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)


def scan_images(
    folder: Path | str, passed: Passed | None = None, wanted: Callable[[str], bool] = is_image_name
) -> Iterator[str]:
    """Paths, relative to `folder` and in order, of the pictures (the `wanted` names) in it and in its sub-folders.

    Links are followed, but no folder is entered twice, so loops end. Hidden files and folders are left out, and so are
    links that point nowhere and the folders that other programs leave behind; `passed` takes up what that was.
    """
    seen: set[tuple[int, int]] = set()
    passed = passed or Passed()

    def walk(absolute: str, relative: str) -> Iterator[str]:
        status = os.stat(absolute)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(absolute) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link that loops onto itself: neither a file nor a folder
                continue
            if is_folder and is_helper_folder(entry.name):
                passed.helpers[entry.name] += 1
            elif is_folder:
                yield from walk(entry.path, f"{relative}{entry.name}/")
            elif is_file and wanted(entry.name):
                yield relative + entry.name
            elif is_file and (suffix := suffix_of(entry.name)) in UNREAD_SUFFIXES and entry.name[0] != ".":
                passed.unread[suffix] += 1

    yield from walk(os.fspath(folder), "")


def find_images(source: Path | str) -> list[Path]:
    """Pictures named by a path, a folder (with its sub-folders) or a glob pattern.

    A file that is named is taken whatever its extension; a folder or pattern gives only names of pictures.

    Raises:
        UserError: nothing there, or no picture in it.
    """
    path = Path(source)
    if path.is_dir():
        found = [path / name for name in scan_images(path)]
        if not found:
            raise UserError(f"{printable(path)}: no pictures in this folder (extensions: {' '.join(IMAGE_SUFFIXES)})")
        return found
    # A name that exists wins over its reading as a pattern: "[1].jpg" is a legal file name.
    if path.exists() or path.is_symlink():
        return [path]
    if not glob.has_magic(str(source)):
        raise UserError(f"{printable(path)}: no such file or folder{near_path(path)}")
    matches = _matches(str(source))
    found = [match for match in matches if match.is_file() and is_image_name(match.name)]
    if not found:
        raise UserError(
            f"{printable(path)}: the pattern matches {len(matches)} names, none of them a picture"
            f" (extensions: {' '.join(IMAGE_SUFFIXES)})"
        )
    return found


def file_names(paths: Sequence[Path]) -> list[str]:
    """A file name without extension for what is made of each picture: its own, numbered where several are alike."""
    return unique_names([printable(path.stem)[:80].replace("\\", "_") for path in paths])


def _matches(pattern: str) -> list[Path]:
    """Paths that match a glob pattern, in order. Python's own `**` walks round and round in a loop of links."""
    base, recursive, rest = pattern.partition("**")
    if not recursive or glob.has_magic(base) or not (base == "" or base.endswith("/")):
        return [Path(name) for name in sorted(glob.glob(pattern))]  # noqa: PTH207
    parts = (recursive + rest).split("/")
    folder = Path(base or ".")
    if not folder.is_dir():
        return []
    return [folder / name for name in scan_images(folder) if _fits(name.split("/"), parts)]


def _fits(names: list[str], parts: list[str]) -> bool:
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return _fits(names, parts[1:]) or _fits(names[1:], parts)
    return fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])
