"""Looking at the picture files of a data set, whatever the data set is for."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from phonecv.data.findings import Look, Notes
from phonecv.data.pictures.lookalikes import Lookalikes, reduced
from phonecv.data.pictures.opening import HEIC_SUFFIXES, ImageError, open_image, printable, probe_image
from phonecv.text import first_names

#: Headers that the quick audit reads, spread evenly over the files.
QUICK_HEADERS = 1000

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": HEIC_SUFFIXES,
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}


def check_header(notes: Notes, path: Path) -> None:
    """Report what the header of a picture tells."""
    try:
        kind, _, _ = probe_image(path)
    except ImageError as error:
        notes.add("unreadable", "error", path, error.reason)
        return
    check_suffix(notes, path, kind)


def check_suffix(notes: Notes, path: Path, kind: str) -> None:
    """Report an extension that does not belong to the content."""
    if path.suffix.lower() not in SUFFIXES.get(kind, ()):
        notes.add("extension", "warning", path, f"{kind} data under the extension {printable(path.suffix) or '(none)'}")


@dataclass(frozen=True, slots=True)
class Inspected:
    """One file: why it can't be read (or ""), format, digest of its RGB pixels, size, what copies are known by."""

    error: str
    kind: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    look: bytes = b""


def inspect(path: Path) -> Inspected:
    """Decode one file."""
    try:
        kind, _, _ = probe_image(path)
        image = open_image(path)
    except ImageError as error:
        return Inspected(error.reason)
    return Inspected("", kind, digest_of(image), image.size, reduced(image))


def digest_of(image: Image.Image) -> bytes:
    """Of the pixels, not of the file: a copy saved again as PNG, or with other metadata, is the same picture."""
    return hashlib.blake2b(image.tobytes(), digest_size=16, salt=b"%dx%d" % image.size).digest()


def report_equal(notes: Notes, pictures: Iterable[Sequence[tuple[str, Path]]], *, again: bool = True) -> None:
    """Report groups of equal pictures, each with its split: in several splits, or (with `again`) twice in one."""
    for group in pictures:
        paths = [path for _, path in group]
        splits = list(dict.fromkeys(split for split, _ in group))
        if len(splits) > 1:
            text = f"the same picture is in {' and '.join(splits)}: {other_names(notes, paths)}"
            notes.add("split-leak", "error", paths[0], text)
        elif again and len(set(paths)) > 1:
            notes.add("duplicate", "warning", paths[0], f"the same picture again: {other_names(notes, paths)}")


def other_names(notes: Notes, paths: Sequence[Path]) -> str:
    """All paths but the first, for people."""
    return first_names([notes.name(path) for path in paths[1:]], 4)


def report_lookalikes(notes: Notes, pictures: Lookalikes) -> None:
    """Report pictures of one split that seem to be in another, saved anew."""
    for found in pictures.find():
        split, other = printable(found.other_split), notes.name(found.other)
        text = f"seems to be a picture of {split}, saved or taken once more: {other}"
        notes.add("near-duplicate", "warning", found.path, text)


def inspect_all(paths: Sequence[Path], look: Look) -> Iterator[Inspected]:
    """Decode all files, in order."""
    pool = multiprocessing.get_context("spawn").Pool(look.workers) if look.workers > 1 else nullcontext()
    with pool as running:
        results = running.imap(inspect, paths, chunksize=32) if running else map(inspect, paths)
        for done, result in enumerate(results, 1):
            yield result
            if look.progress:
                look.progress(done, len(paths))


def sampled(count: int) -> range:
    """The places that the quick audit looks at, of `count`."""
    return range(0, count, max(1, count // QUICK_HEADERS))
