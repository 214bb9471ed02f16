"""Are label maps fit for training? Wrong values, sizes and partners, and what is probably behind them."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from phonecv.data.audit_pictures import check_suffix
from phonecv.data.findings import Look, Notes, Numbers
from phonecv.data.images import ImageError, printable, probe_image
from phonecv.data.label_classes import LabelClasses, find_class_file, read_label_classes
from phonecv.data.label_files import IGNORE, LabelFormatError, LabelSizeError, read_pair
from phonecv.data.label_suspicions import smoothed, suspicions
from phonecv.data.labelmaps import NO_LABEL, LabelFolders, find_labels, label_splits, pair_names
from phonecv.errors import UserError

#: Pairs that the quick audit decodes in each split, spread evenly over it.
QUICK_PAIRS = 100

_VALUES = 65536


@dataclass(frozen=True, slots=True)
class _Pair:
    """A picture and its label map, as looked at in a worker.

    Attributes:
        kind: what is wrong with it, a key of `phonecv.data.findings.FIXES`, or "".
        path: the file at fault.
        message: what is wrong.
        format: of the picture.
        digest: of the upright RGB pixels of the picture.
        values: numbers in the label map.
        counts: how many pixels of each.
        smooth: why the label map seems to be smoothed, or "".
    """

    kind: str = ""
    path: Path = Path()
    message: str = ""
    format: str = ""
    digest: bytes = b""
    values: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    smooth: str = ""


@dataclass
class _Split:
    """What is in the label maps of one split; smoothed ones are left out."""

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(_VALUES, dtype=np.int64))
    files: np.ndarray = field(default_factory=lambda: np.zeros(_VALUES, dtype=np.int64))
    pairs: list[tuple[Path, _Pair]] = field(default_factory=list)
    images: int = 0

    def take(self, label_path: Path, pair: _Pair) -> None:
        values = np.array(pair.values, dtype=np.int64)
        self.pixels[values] += np.array(pair.counts, dtype=np.int64)
        self.files[values] += 1
        self.pairs.append((label_path, pair))


def audit_labels(notes: Notes, root: Path, look: Look) -> Numbers:
    """Look at all splits of the data set at `root` that have label maps; the quick audit decodes a sample."""
    names = label_splits(root)
    classes = _class_file(notes, root)
    chosen: list[tuple[str, Path, Path]] = []
    splits = {name: _Split() for name in names}
    for name in names:
        folders = find_labels(root, name)
        pairs, left_out = pair_names(folders)
        splits[name].images = len(pairs)
        _report_left_out(notes, folders, left_out, pairs=len(pairs))
        step = max(1, -(-len(pairs) // QUICK_PAIRS)) if look.quick else 1
        chosen += [(name, folders.images / image, folders.labels / label) for image, label in pairs[::step]]

    digests: dict[bytes, list[tuple[str, Path]]] = {}
    for done, ((name, image_path, label_path), pair) in enumerate(_inspected(chosen, look), 1):
        if pair.kind:
            notes.add(pair.kind, "error", pair.path, pair.message)
        else:
            check_suffix(notes, image_path, pair.format)
            digests.setdefault(pair.digest, []).append((name, image_path))
            if pair.smooth:
                notes.add("anti-aliased", "error", label_path, pair.smooth)
            else:
                splits[name].take(label_path, pair)
        if look.progress:
            look.progress(done, len(chosen))
    _report_equal(notes, digests)
    _report_values(notes, root, classes, splits)
    _report_classes(notes, root, classes, splits)
    numbers = {f"{name} (label maps)": _numbers(split, classes) for name, split in splits.items()}
    return numbers, 2 * len(chosen)


def _class_file(notes: Notes, root: Path) -> LabelClasses | None:
    path = find_class_file(root)
    if path is None:
        notes.add(
            "structure", "warning", root, "no classes.txt, so nothing says how many classes there are or what they mean"
        )
        return None
    try:
        return read_label_classes(path)
    except UserError as error:
        notes.add("structure", "error", path, str(error))
        return None


def _report_left_out(notes: Notes, folders: LabelFolders, left_out: Iterable[tuple[Path, str]], *, pairs: int) -> None:
    for path, reason in left_out:
        notes.add("partner", "error" if reason == NO_LABEL else "warning", path, reason)
    if not pairs:
        notes.add(
            "structure", "error", folders.images, f"no picture here has a label map in {notes.name(folders.labels)}"
        )


def _inspected(chosen: list[tuple[str, Path, Path]], look: Look) -> Iterator[tuple[tuple[str, Path, Path], _Pair]]:
    pool = multiprocessing.get_context("spawn").Pool(look.workers) if look.workers > 1 else nullcontext()
    tasks = [(image, label) for _, image, label in chosen]
    with pool as running:
        results = running.imap(_inspect, tasks, chunksize=16) if running else map(_inspect, tasks)
        yield from zip(chosen, results, strict=True)


def _inspect(paths: tuple[Path, Path]) -> _Pair:
    try:
        picture_format = probe_image(paths[0])[0]
        picture, raw = read_pair(*paths)
    except ImageError as error:
        kinds: dict[type[ImageError], str] = {LabelSizeError: "label-size", LabelFormatError: "label-format"}
        return _Pair(kinds.get(type(error), "unreadable"), error.path, error.reason)
    digest = hashlib.blake2b(picture.tobytes(), digest_size=16, salt=b"%dx%d" % picture.size).digest()
    values, counts = np.unique(raw, return_counts=True)
    return _Pair(
        format=picture_format,
        digest=digest,
        values=tuple(values.tolist()),
        counts=tuple(counts.tolist()),
        smooth=smoothed(raw, values, counts),
    )


def _report_equal(notes: Notes, digests: dict[bytes, list[tuple[str, Path]]]) -> None:
    for group in digests.values():
        if len(group) == 1:
            continue
        first, *rest = (path for _, path in group)
        others = ", ".join(notes.name(path) for path in rest[:4]) + (", ..." if len(rest) > 4 else "")
        splits = sorted({name for name, _ in group})
        if len(splits) > 1:
            notes.add("split-leak", "error", first, f"the same picture is in {' and '.join(splits)}: {others}")
        else:
            notes.add("duplicate", "warning", first, f"the same picture again: {others}")


def _report_values(notes: Notes, root: Path, classes: LabelClasses | None, splits: dict[str, _Split]) -> None:
    """What is suspected of the data as a whole, and every file with values that no suspicion explains."""
    pixels = sum((split.pixels for split in splits.values()), np.zeros(_VALUES, dtype=np.int64))
    files = sum((split.files for split in splits.values()), np.zeros(_VALUES, dtype=np.int64))
    if not pixels.any():
        return
    found, explained = suspicions(pixels, files, classes)
    for kind, severity, message in found:
        notes.add(kind, severity, classes.path if classes else root, message)
    if classes is None:
        return
    last = (classes.first or 0) + len(classes.names) - 1
    for label_path, pair in (pair for split in splits.values() for pair in split.pairs):
        strange = [
            (value, count)
            for value, count in zip(pair.values, pair.counts, strict=True)
            if value > last and value != IGNORE and value not in explained
        ]
        if strange:
            shown = ", ".join(f"{value} ({count} px)" for value, count in strange[:5])
            more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
            notes.add(
                "label-value",
                "error",
                label_path,
                f"label value {shown}{more} with {len(classes.names)} classes, whose values are {classes.first or 0} to"
                f" {last} ({IGNORE} is ignored)",
            )
        elif set(pair.values) <= ({IGNORE, 0} if classes.first == 1 else {IGNORE}):
            notes.add("unlabelled", "warning", label_path, "no pixel of this label map belongs to a class")


def _report_classes(notes: Notes, root: Path, classes: LabelClasses | None, splits: dict[str, _Split]) -> None:
    """Classes that are nowhere, or not where they could be learnt."""
    if classes is None:
        return
    names = classes.names
    first = classes.first or 0
    seen = {name: split.files[first : first + len(names)] > 0 for name, split in splits.items()}
    nowhere = [names[index] for index in np.flatnonzero(~np.any(list(seen.values()), axis=0))]
    if nowhere:
        notes.add(
            "unseen-class",
            "warning",
            classes.path,
            f"{len(nowhere)} of {len(names)} classes never occur: {_some(nowhere)}",
        )
    if "train" not in seen:
        return
    for name, there in seen.items():
        unlearnt = [names[index] for index in np.flatnonzero(there & ~seen["train"])]
        if unlearnt:
            notes.add(
                "unseen-class",
                "warning",
                classes.path,
                f"{len(unlearnt)} classes occur in {name} but never in train: {_some(unlearnt)}",
            )


def _some(names: list[str]) -> str:
    return ", ".join(printable(name) for name in names[:6]) + (", ..." if len(names) > 6 else "")


def _numbers(split: _Split, classes: LabelClasses | None) -> dict[str, int]:
    """Pictures, classes, and in how many of the pictures looked at the rarest and the most frequent class are."""
    if classes is not None:
        first = classes.first or 0
        files = split.files[first : first + len(classes.names)]
    else:
        files = split.files[:IGNORE][split.files[:IGNORE] > 0]
    return {
        "images": split.images,
        "classes": len(files),
        "smallest": int(files.min(initial=split.images)) if len(files) else 0,
        "largest": int(files.max(initial=0)),
    }
