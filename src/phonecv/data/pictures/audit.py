"""Looking at the picture files of a data set, whatever the data set is for."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from phonecv.data.findings import Look, Notes
from phonecv.data.pictures.lookalikes import NOTHING, Known, Lookalikes, known_by
from phonecv.data.pictures.opening import HEIC_SUFFIXES, ImageError, open_image, probe_image
from phonecv.data.shards.index import shard_of
from phonecv.text import first_names, printable, some_names

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Headers that the quick audit reads, spread evenly over the files.
QUICK_HEADERS = 1000
#: Tasks that a process gets at a time.
_CHUNK = 16

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
        report_unreadable(notes, path, error.reason)
        return
    check_suffix(notes, path, kind)


def check_suffix(notes: Notes, path: Path, kind: str) -> None:
    """Report an extension that does not belong to the content."""
    if path.suffix.lower() not in SUFFIXES.get(kind, ()):
        notes.add("extension", "warning", path, f"{kind} data under the extension {printable(path.suffix) or '(none)'}")


def report_unreadable(notes: Notes, path: Path, reason: str) -> None:
    """Report a file that can't be read; of one that is not there whatever names it tells."""
    if os.path.lexists(path) or shard_of(path) is not None:
        notes.add("unreadable", "error", path, reason)


@dataclass(frozen=True, slots=True)
class Inspected:
    """One file: why it can't be read (or ""), its format, and what its picture is known by."""

    error: str
    kind: str = ""
    known: Known = NOTHING


def inspect(path: Path) -> Inspected:
    """Decode one file."""
    try:
        return Inspected("", probe_image(path)[0], known_by(open_image(path)))
    except ImageError as error:
        return Inspected(error.reason)


class Copies:
    """Takes up the pictures of all splits that can be read, to report those that are there several times."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._equal: dict[bytes, list[tuple[str, Path, str]]] = {}
        self._lookalikes = Lookalikes()

    def take(self, split: str, path: Path, seen: Inspected, label: str = "") -> None:
        """A picture of a split and its class, where that is of the whole picture; its extension is checked."""
        check_suffix(self._notes, path, seen.kind)
        self._equal.setdefault(seen.known.digest, []).append((split, path, label))
        self._lookalikes.add(split, path, seen.known.reduced, seen.known.digest)

    def report(self) -> None:
        """Equal pictures in several splits, twice in one or of several classes, and those that were saved anew."""
        for group in self._equal.values():
            paths, labels = [path for _, path, _ in group], sorted({label for _, _, label in group})
            splits = list(dict.fromkeys(split for split, _, _ in group))
            others = first_names([self._notes.name(path) for path in paths[1:]], 4)
            if len(splits) > 1:
                text = f"the same picture is in {' and '.join(splits)}: {others}"
                self._notes.add("split-leak", "error", paths[0], text)
            elif len(labels) == 1 and len(set(paths)) > 1:
                self._notes.add("duplicate", "warning", paths[0], f"the same picture again: {others}")
            if len(labels) > 1:
                text = f"the same picture has several classes ({some_names(labels)}): {others}"
                self._notes.add("label-conflict", "error", paths[0], text)
        for found in self._lookalikes.find():
            split, other = printable(found.other_split), self._notes.name(found.other)
            text = f"seems to be a picture of {split}, saved or taken once more: {other}"
            self._notes.add("near-duplicate", "warning", found.path, text)


def in_order(run: Callable[[Task], Result], tasks: Sequence[Task], look: Look) -> Iterator[Result]:
    """What comes of all tasks, in order, by as many processes as are wanted."""
    pool = multiprocessing.get_context("spawn").Pool(look.workers) if look.workers > 1 else nullcontext()
    with pool as running:
        results = running.imap(run, tasks, chunksize=_CHUNK) if running else map(run, tasks)
        for done, result in enumerate(results, 1):
            yield result
            if look.progress:
                look.progress(done, len(tasks))


def sampled(count: int) -> range:
    """The places that the quick audit looks at, of `count`."""
    return range(0, count, max(1, count // QUICK_HEADERS))
