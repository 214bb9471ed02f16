"""Is this data set fit for training? Everything wrong with it, named, with what to do about it.

The full audit decodes every picture. The quick one, run before training, looks at folders, lists and the headers of a
sample of the files; it stays fast with a million of them.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phonecv.data.class_names import CLASS_FILE, read_class_file
from phonecv.data.folder import SPLITS, Listing, class_folders, find_list, read_split
from phonecv.data.images import ImageError, is_image_name, open_image, printable, probe_image, scan_images
from phonecv.data.listfile import read_list
from phonecv.errors import UserError

SEVERITIES = ("error", "warning", "note")

#: Kind of finding -> what to do about it.
FIXES = {
    "structure": "arrange the folder as train/<class>/<picture> and val/<class>/<picture>, or give list files",
    "list": "mend or remove the line",
    "repeated-line": "remove the line, unless the picture shall count twice",
    "unlisted": "add the pictures to the list, or leave them out on purpose",
    "class-drift": "give both splits the same class folders, or name the classes in classes.txt",
    "empty-class": "add pictures or remove the class",
    "imbalance": "collect more of the rare classes, or read the per-class table rather than the top-1",
    "unreadable": "replace or remove the file; training would put another picture in its place",
    "extension": "rename the file; it is read by its content here, but other programs may go by the name",
    "duplicate": "keep one of them",
    "label-conflict": "keep the picture under the right class only",
    "split-leak": "remove it from one of the splits; as it is, the validation score is too high",
    "link": "restore what the link points to, or remove it",
    "ignored": "nothing, if that is meant",
}

#: Largest class over smallest from which on the classes count as imbalanced.
IMBALANCE = 10
#: Headers that the quick audit reads, spread evenly over the files.
QUICK_HEADERS = 1000

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        kind: a key of `FIXES`.
        severity: "error" (results would be wrong), "warning" or "note".
        path: the file or folder, relative to the data folder, printable.
        line: line of a list file, or 0.
        message: what is wrong.
        fix: what to do.
    """

    kind: str
    severity: str
    path: str
    line: int
    message: str
    fix: str


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        root: the data folder, printable.
        quick: whether only structure and some headers were looked at.
        findings: errors first.
        splits: per split the number of pictures and classes, smallest and largest class.
        checked: files opened.
        seconds: time taken.
    """

    root: str
    quick: bool
    findings: tuple[Finding, ...]
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    checked: int = 0
    seconds: float = 0.0

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that would make results wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def counts(self) -> dict[str, int]:
        """Kind of finding -> how many."""
        return dict(Counter(finding.kind for finding in self.findings))

    def table(self, most: int = 20) -> str:
        """Plain text for people; at most `most` findings of each kind."""
        lines = [
            f"{self.root}: {'quick ' if self.quick else ''}audit, {self.checked} files opened in {self.seconds:.1f} s"
        ]
        for split, numbers in self.splits.items():
            lines.append(
                f"  {split}: {numbers['images']} pictures, {numbers['classes']} classes"
                f" ({numbers['smallest']} to {numbers['largest']} pictures per class)"
            )
        if not self.findings:
            lines.append("  nothing to complain about")
        shown: Counter[str] = Counter()
        for finding in self.findings:
            shown[finding.kind] += 1
            if shown[finding.kind] > most:
                continue
            where = f"{finding.path}:{finding.line}" if finding.line else finding.path
            lines.append(f"  {finding.severity:7} {finding.kind:14} {where}: {finding.message}")
        for kind, count in shown.items():
            if count > most:
                lines.append(f"  ... and {count - most} more of kind {kind}")
        lines += [f"  {kind}: {FIXES[kind]}" for kind in shown]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"findings": [asdict(finding) for finding in self.findings], "counts": self.counts}


def audit(
    root: Path | str,
    *,
    quick: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Look for whatever is wrong with the data set at `root`.

    Args:
        root: data folder.
        quick: do not decode all pictures and do not look for duplicates.
        workers: processes that decode; 0 does it in this one.
        progress: called with the number of files done and their total.

    Raises:
        UserError: `root` is not a folder.
    """
    started = time.perf_counter()
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{printable(root)}: no such folder; name a data set folder")
    notes = _Notes(root)
    splits = [split for split in SPLITS if (root / split).is_dir() or find_list(root, split)] or ["val"]
    listings: dict[str, Listing] = {}
    for split in splits:
        if not _check_list(notes, root, split, quick):
            continue
        listing = _read(notes, root, split)
        if listing:
            listings[split] = listing
            _check_counts(notes, listing)
    _check_classes(notes, root, listings)

    checked = 0
    if quick:
        for listing in listings.values():
            step = max(1, len(listing) // QUICK_HEADERS)
            for index in range(0, len(listing), step):
                checked += 1
                _check_header(notes, listing.samples[index].path)
    else:
        for split in listings:
            _check_leftovers(notes, root, split)
        checked = _check_pictures(notes, listings, workers, progress)

    return AuditReport(
        root=printable(root),
        quick=quick,
        findings=tuple(sorted(notes.findings, key=lambda finding: SEVERITIES.index(finding.severity))),
        splits={split: _numbers(listing) for split, listing in listings.items()},
        checked=checked,
        seconds=round(time.perf_counter() - started, 3),
    )


class _Notes:
    """Collects findings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []

    def name(self, path: Path) -> str:
        return printable(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def add(self, kind: str, severity: str, path: Path, message: str, line: int = 0) -> None:
        self.findings.append(Finding(kind, severity, self.name(path), line, message, FIXES[kind]))


def _check_list(notes: _Notes, root: Path, split: str, quick: bool) -> bool:
    """Report every bad line of the split's list; False if no line is good."""
    path = find_list(root, split)
    if path is None:
        return True
    try:
        count = len(read_class_file(root / CLASS_FILE)) if (root / CLASS_FILE).is_file() else None
        entries = read_list(path, root, split, classes=count)
    except UserError as error:
        notes.add("structure", "error", path, str(error))
        return False
    for problem in entries.problems:
        repeat = problem.kind == "repeat"
        kind, severity = ("repeated-line", "warning") if repeat else ("list", "error")
        notes.add(kind, severity, path, problem.message, problem.line)
    if not entries.paths:
        notes.add("structure", "error", path, "no pictures in this list")
    elif not quick and (root / split).is_dir():
        listed = set(entries.paths)
        unlisted = sum(f"{split}/{name}" not in listed for name in scan_images(root / split))
        if unlisted:
            notes.add("unlisted", "note", path, f"{unlisted} pictures below {split}/ are not in this list")
    return bool(entries.paths) and not entries.errors


def _read(notes: _Notes, root: Path, split: str) -> Listing | None:
    try:
        listing = read_split(root, split)
    except UserError as error:
        notes.add("structure" if not (root / split).is_dir() else "class-drift", "error", root / split, str(error))
        # Classes that do not fit together are no reason not to look at the pictures.
        if find_list(root, split) or not (root / split).is_dir() or not class_folders(root / split):
            return None
        try:
            listing = read_split(root, split, classes=class_folders(root / split))
        except UserError:  # already reported above: there are no pictures at all
            return None
    for problem in listing.problems:
        kind = "empty-class" if "empty class" in problem else "ignored"
        if any(words in problem for words in ("no folder for", "is class")):
            kind = "class-drift"
        if "repeat earlier" not in problem:  # reported line by line
            notes.add(kind, "note" if kind == "ignored" else "warning", root / split, problem)
    return listing


def _numbers(listing: Listing) -> dict[str, int]:
    per_class = list(Counter(listing.labels.tolist()).values())
    return {
        "images": len(listing),
        "classes": len(listing.classes),
        "smallest": min(per_class),
        "largest": max(per_class),
    }


def _check_counts(notes: _Notes, listing: Listing) -> None:
    counts = Counter(listing.labels.tolist()).most_common()
    (most, largest), (least, smallest) = counts[0], counts[-1]
    if largest >= IMBALANCE * smallest:
        names = listing.classes
        notes.add(
            "imbalance",
            "warning",
            listing.root / listing.split,
            f"class {printable(names[least])} has {smallest} pictures, {printable(names[most])} has {largest}",
        )


def _check_classes(notes: _Notes, root: Path, listings: dict[str, Listing]) -> None:
    """Labels that occur in validation but never in training can't be learnt."""
    if not set(SPLITS) <= set(listings):
        return
    trained, tested = (set(listings[split].labels.tolist()) for split in SPLITS)
    if listings["train"].class_ids == listings["val"].class_ids:
        unknown = [listings["val"].classes[label] for label in sorted(tested - trained)]
        if unknown:
            shown = ", ".join(printable(name) for name in unknown[:6])
            notes.add(
                "class-drift",
                "error",
                root / "val",
                f"{len(unknown)} classes have no training pictures, first: {shown}",
            )
        return
    ours, theirs = (set(listings[split].class_ids) for split in SPLITS)
    drifted = any(finding.kind == "class-drift" and finding.severity == "error" for finding in notes.findings)
    if ours == theirs and not drifted:
        notes.add("class-drift", "error", root / "val", "train and val order the same classes differently")
    for split, severity, names in (("train", "warning", ours - theirs), ("val", "error", theirs - ours)):
        # Folders of val that training lacks were reported when val was listed.
        if names and not (split == "val" and drifted):
            shown = ", ".join(printable(name) for name in sorted(names)[:6])
            notes.add(
                "class-drift", severity, root / split, f"{len(names)} classes are in {split} only, first: {shown}"
            )


def _check_leftovers(notes: _Notes, root: Path, split: str) -> None:
    """Links that point nowhere, and files that the scan passes over."""
    folder = root / split if (root / split).is_dir() else root
    ignored: Counter[str] = Counter()
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(base) / name
            if path.is_symlink() and not path.exists():
                notes.add("link", "warning", path, "the link points nowhere")
            elif not is_image_name(name):
                ignored["hidden" if name.startswith(".") else path.suffix or "no extension"] += 1
    if ignored:
        shown = ", ".join(f"{count} x {printable(what)}" for what, count in ignored.most_common(6))
        notes.add("ignored", "note", folder, f"{sum(ignored.values())} files are not taken for pictures: {shown}")


def _check_header(notes: _Notes, path: Path) -> None:
    try:
        kind, _, _ = probe_image(path)
    except ImageError as error:
        notes.add("unreadable", "error", path, error.reason)
        return
    _check_suffix(notes, path, kind)


def _check_suffix(notes: _Notes, path: Path, kind: str) -> None:
    if path.suffix.lower() not in _SUFFIXES.get(kind, ()):
        notes.add("extension", "warning", path, f"{kind} data under the extension {printable(path.suffix) or '(none)'}")


@dataclass(frozen=True, slots=True)
class _Inspected:
    """One file: why it can't be read, or its format and a digest of its upright RGB pixels."""

    error: str
    kind: str
    digest: bytes


def _inspect(path: Path) -> _Inspected:
    try:
        kind, _, _ = probe_image(path)
        image = open_image(path)
    except ImageError as error:
        return _Inspected(error.reason, "", b"")
    # Of the pixels, not of the file: a copy saved again as PNG, or with other metadata, is the same picture.
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, salt=b"%dx%d" % image.size)
    return _Inspected("", kind, digest.digest())


def _check_pictures(
    notes: _Notes, listings: dict[str, Listing], workers: int, progress: Callable[[int, int], None] | None
) -> int:
    """Decode every picture once; report unreadable files, wrong extensions and equal pictures."""
    rows: list[tuple[str, int, int]] = []  # split, index, label
    paths_seen: set[Path] = set()
    for split, listing in listings.items():
        for index, sample in enumerate(listing.samples):
            if sample.path not in paths_seen:  # a line given twice is one file
                paths_seen.add(sample.path)
                rows.append((split, index, sample.label))
    paths_seen.clear()

    def path(row: tuple[str, int, int]) -> Path:
        return listings[row[0]].samples[row[1]].path

    groups: dict[bytes, list[tuple[str, int, int]]] = {}
    pool = multiprocessing.get_context("spawn").Pool(workers) if workers > 1 else nullcontext()
    with pool as running:
        results: Iterator[_Inspected] = (
            running.imap(_inspect, map(path, rows), chunksize=32) if running else map(_inspect, map(path, rows))
        )
        for done, (row, result) in enumerate(zip(rows, results, strict=True), 1):
            if result.error:
                notes.add("unreadable", "error", path(row), result.error)
            else:
                _check_suffix(notes, path(row), result.kind)
                groups.setdefault(result.digest, []).append(row)
            if progress:
                progress(done, len(rows))
    for group in groups.values():
        if len(group) > 1:
            _report_equal(notes, listings, group, [path(row) for row in group])
    return len(rows)


def _report_equal(
    notes: _Notes, listings: dict[str, Listing], group: Sequence[tuple[str, int, int]], paths: Sequence[Path]
) -> None:
    others = ", ".join(notes.name(path) for path in paths[1:5]) + (", ..." if len(paths) > 5 else "")
    if len({split for split, _, _ in group}) > 1:
        notes.add("split-leak", "error", paths[0], f"the same picture is in train and val: {others}")
    elif len({label for _, _, label in group}) == 1:
        notes.add("duplicate", "warning", paths[0], f"the same picture again: {others}")
    labels = {listings[split].classes[label] for split, _, label in group}
    if len(labels) > 1:
        shown = ", ".join(printable(name) for name in sorted(labels)[:6])
        notes.add("label-conflict", "error", paths[0], f"the same picture has several classes ({shown}): {others}")
