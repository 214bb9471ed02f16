"""A data set written in another layout: shards, class folders, or COCO's files."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from phonecv.data.coco.audit import has_objects
from phonecv.data.coco.paths import find_coco, has_split, undivided
from phonecv.data.coco.reader import read_coco
from phonecv.data.coco.split import CocoSplit
from phonecv.data.folders import listing as folders
from phonecv.data.folders.class_names import CLASS_FILE
from phonecv.data.folders.listing import Listing, read_split
from phonecv.data.shards.index import SUFFIX, read_source
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.errors import UserError
from phonecv.files import atomic_path, write_text
from phonecv.text import printable, printable_name

Target = Literal["shards", "folders", "coco"]
Progress = Callable[[int, int], None]

#: Megabytes that a shard has at most: what is read in one go from disks, and few files for millions of pictures.
SHARD_SIZE = 256


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What was written.

    Attributes:
        folder: where.
        to: as what.
        pictures: of each split; "all" is data without splits.
        files: how many.
        notes: what a person should know.
    """

    folder: Path
    to: str
    pictures: dict[str, int]
    files: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = ", ".join(f"{split} {count:,}" for split, count in self.pictures.items())
        lines = [f"{self.folder}: {self.files:,} files, as {self.to}; pictures: {counts}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def convert_data(
    source: Path | str,
    destination: Path | str,
    *,
    to: Target = "shards",
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Rewritten:
    """Write a data set in another layout; pictures keep their bytes.

    Args:
        source: data folder, in any layout that is read.
        destination: folder to make; it must not hold anything yet.
        to: "shards" (tar files as WebDataset has them) or "folders" of pictures with a class each; "coco" of objects.
        shard_size: megabytes of a shard.
        seed: of the order of pictures in shards, which programs that read them as a stream count on.
        on_progress: called with the number of pictures done and their total.

    Raises:
        UserError: no such data, data that the layout cannot hold, or a destination that is in use.
    """
    source, destination = Path(source), Path(destination)
    if to not in get_args(Target):
        raise UserError(f"to={to!r} is unknown (known: {', '.join(get_args(Target))})")
    if shard_size < 1:
        raise UserError(f"shard_size={shard_size} is no number of megabytes; use 1 or more")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(f"{printable(destination)}: is there already and not empty; name a new folder")
    if not source.is_dir():
        raise UserError(f"{printable(source)}: {'not a folder' if source.exists() else 'no such folder'}")
    if to == "coco":
        return _to_coco(source, destination, on_progress)
    listings = _listings(source)
    total, done = sum(map(len, listings.values())), 0
    names = next(iter(listings.values()))
    ids = zip(names.class_ids or names.classes, names.classes, strict=True)
    write_text(
        destination / CLASS_FILE, "".join(f"{one}\t{name}\n" if one != name else f"{one}\n" for one, name in ids)
    )
    files = 1
    for split, listing in listings.items():
        write = _to_shards(destination, split, listing, shard_size, seed) if to == "shards" else None
        for made in write or _to_folders(destination, split, listing):
            files, done = files + made, done + 1
            if on_progress is not None:
                on_progress(done, total)
    return Rewritten(destination, to, {split: len(listing) for split, listing in listings.items()}, files)


def _listings(source: Path) -> dict[str, Listing]:
    """Every split, with the classes of the first."""
    found: dict[str, Listing] = {}
    for split in [one for one in ALIASES if folders.has_split(source, one)] or [WHOLE]:
        first = next(iter(found.values()), None)
        listing = read_split(source, split, classes=first.classes if first else None, labels="auto")
        if listing.sets is not None:
            raise UserError(
                f"{printable(source)}: pictures with several labels; shards and folders hold one class each"
            )
        found[split] = listing
    return found


def _to_shards(destination: Path, split: str, listing: Listing, size: int, seed: int) -> Iterator[int]:
    """Write the shards of a split; yields for each picture how many files it began."""
    order = np.random.default_rng(seed).permutation(len(listing)).tolist()
    stem = "data" if split == WHOLE else split
    names, used, shard = listing.names, set[str](), 0
    while order:
        with atomic_path(destination / f"{stem}-{shard:05}{SUFFIX}") as path, tarfile.open(path, "w") as tar:
            full = False
            while order and not full:
                place = order.pop()
                name = names[place].rpartition(f"{SUFFIX}/")[2]
                key, ending = _key(name, used)
                _add(tar, f"{key}.{ending}", _content(listing.samples[place].path))
                _add(tar, f"{key}.cls", str(int(listing.labels[place])).encode())
                full = tar.offset >= size * 1_000_000  # type: ignore[attr-defined]
                yield int(full or not order)
        shard += 1


def _key(name: str, used: set[str]) -> tuple[str, str]:
    """Name of a sample, which ends at the first dot, and the ending of its picture."""
    folder, slash, leaf = name.rpartition("/")
    stem, _, ending = leaf.rpartition(".")
    key = base = f"{folder}{slash}{stem.replace('.', '_')}"
    number = 1
    while key in used:
        number += 1
        key = f"{base}-{number}"
    used.add(key)
    return key, ending.lower()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _to_folders(destination: Path, split: str, listing: Listing) -> Iterator[int]:
    ids, used = listing.class_ids or listing.classes, set[str]()
    top = destination if split == WHOLE else destination / split
    for place, name in enumerate(listing.names):
        label = ids[int(listing.labels[place])]
        if "/" in label or label in (".", ".."):
            raise UserError(f"class {printable_name(label)} can be no folder; name it otherwise in the list")
        leaf = name.rpartition("/")[2]
        key, _ = _key(f"{label}/{leaf}", used)
        _write(top / label / f"{key.removeprefix(f'{label}/')}{Path(leaf).suffix}", listing.samples[place].path)
        yield 1


def _write(path: Path, source: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(_content(source))


def _content(path: Path) -> bytes:
    try:
        return read_source(path)
    except OSError as error:
        raise UserError(f"{printable(path)}: can't be read ({error.strerror or error})") from error


def _to_coco(source: Path, destination: Path, on_progress: Progress | None) -> Rewritten:
    if not has_objects(source):
        raise UserError(
            f"{printable(source)}: no boxes or outlines of objects here; --to shards or folders is for classes"
        )
    whole = undivided(source)
    splits: dict[str, CocoSplit] = {}
    notes: list[str] = []
    for split in [WHOLE] if whole is not None else [one for one in ALIASES if has_split(source, one)]:
        paths = whole or find_coco(source, split)
        first = next(iter(splits.values()), None)
        classes = first.classes if first else None
        found = read_coco(paths, classes=classes)
        try:
            masked = read_coco(paths, masks=True, classes=classes)
        except UserError:  # boxes alone
            masked = None
        if masked is not None and masked.object_counts.sum() == found.object_counts.sum():
            found = masked
        splits[split] = found
        notes += found.notes
    total, done, files = sum(map(len, splits.values())), 0, 0
    for split, found in splits.items():
        images = destination / "images" if split == WHOLE else destination / "images" / split
        for place in range(len(found)):
            _write(images / found.images.name(place), found.path(place))
            done += 1
            if on_progress is not None:
                on_progress(done, total)
        name = "annotations.json" if split == WHOLE else f"annotations/instances_{split}.json"
        write_text(destination / name, json.dumps(found.to_ground_truth()))
        files += len(found) + 1
    return Rewritten(destination, "coco", {split: len(found) for split, found in splits.items()}, files, tuple(notes))
