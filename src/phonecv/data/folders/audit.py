"""The audit of a classification data set: its lists and folders, its classes, its pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from phonecv.data.findings import Look, Notes, Numbers
from phonecv.data.folders.class_names import CLASS_FILE
from phonecv.data.folders.list_columns import Labels
from phonecv.data.folders.list_file import read_list
from phonecv.data.folders.listing import (
    PICTURES,
    SPLITS,
    Kind,
    Listing,
    class_file,
    class_folders,
    find_list,
    has_split,
    read_split,
    shared_names,
)
from phonecv.data.folders.splits import find_split
from phonecv.data.pictures.audit import Copies, check_header, in_order, inspect, report_unreadable, sampled
from phonecv.data.pictures.bit_depth import find_depth
from phonecv.data.pictures.opening import UNREAD_SUFFIXES, Passed, is_helper_folder, is_image_name, suffix_of
from phonecv.data.shards.samples import has_shards
from phonecv.data.split_names import ALIASES, WHOLE, split_of
from phonecv.data.splitting.stratified import undivided_told
from phonecv.errors import UserError
from phonecv.text import counted, printable, printable_name, some_names

#: Largest class over smallest from which on the classes count as imbalanced.
IMBALANCE = 10


def audit_folders(notes: Notes, root: Path, look: Look) -> Numbers:
    """Look at a data set of class folders or lists."""
    splits = [split for split in ALIASES if has_split(root, split)]
    whole = WHOLE if split_of(root.name) is None else "val"
    listings: dict[str, Listing] = {}
    labels: Labels = look.labels
    for split in splits or [whole]:
        if not check_list(notes, root, split, look.quick, labels=labels):
            continue
        listing = _read(notes, root, split, labels)
        if listing:
            listings[split] = listing
            labels = "one" if listing.sets is None else "many"  # the others as the first
            _check_counts(notes, listing)
    if (test := find_split(root, "test")) is not None and "test" not in splits:
        notes.add("left-out", "note", test, "pictures without classes; they are neither trained nor evaluated on")
    _check_depth(notes, root, listings.get("train") or listings.get(WHOLE))
    report_undivided(notes, root, listings)
    for one, other in combinations(listings.values(), 2):
        for name in shared_names(one, other):
            text = f"the picture is in the list of {one.split} and in that of {other.split}"
            notes.add("split-leak", "error", root / name, text)
    _check_classes(notes, root, listings)

    checked = 0
    if look.quick:
        for listing in listings.values():
            for index in sampled(len(listing)):
                checked += 1
                check_header(notes, listing.samples[index].path)
    else:
        for split in listings:
            _check_leftovers(notes, root, split, {root / CLASS_FILE, *(one.list_file for one in listings.values())})
        checked = _check_pictures(notes, listings, look)
    return {split: numbers_of(listing, "images") for split, listing in listings.items()}, checked


def check_list(
    notes: Notes, root: Path, split: str, quick: bool, samples: Kind = PICTURES, labels: Labels = "one"
) -> bool:
    """Report every bad line of the split's list; False if no line is good."""
    path = find_list(root, split)
    if path is None:
        return True
    try:
        known = class_file(root)
        names, count = (known.names, len(known)) if known else (None, None)
        entries = read_list(path, root, split, classes=count, labels=labels, names=names)
    except UserError as error:
        notes.add("structure", "error", path, str(error))
        return False
    for problem in entries.problems:
        repeat = problem.kind == "repeat"
        kind, severity = ("repeated-line", "warning") if repeat else ("list", "error")
        notes.add(kind, severity, path, problem.message, problem.line)
    if not entries.paths:
        notes.add("structure", "error", path, f"no {samples.noun} in this list")
    elif not quick and (folder := find_split(root, split)):
        listed = set(entries.paths)
        unlisted = sum(f"{folder.name}/{name}" not in listed for name in samples.scan(folder, Passed()))
        if unlisted:
            notes.add("unlisted", "note", path, f"{unlisted} {samples.noun} below {folder.name}/ are not in this list")
    return bool(entries.paths) and not entries.errors


def _read(notes: Notes, root: Path, split: str, labels: Labels) -> Listing | None:
    folder = find_split(root, split)
    place = folder or root / split
    try:
        listing = read_split(root, split, labels=labels)
    except UserError as error:
        notes.add("structure" if folder is None else "class-drift", "error", place, str(error))
        # Classes that do not fit together are no reason not to look at the pictures.
        if find_list(root, split) or folder is None or not class_folders(folder):
            return None
        try:
            listing = read_split(root, split, classes=class_folders(folder))
        except UserError:  # already reported above: there are no pictures at all
            return None
    report_problems(notes, listing, place)
    return listing


def report_problems(notes: Notes, listing: Listing, place: Path) -> None:
    """What listing the samples told; `place` is theirs."""
    for problem in listing.problems:
        if problem.kind != "repeated-line":  # reported line by line
            notes.add(problem.kind, problem.severity, problem.place or place, problem.text)


def report_undivided(notes: Notes, root: Path, listings: Mapping[str, Listing], noun: str = "pictures") -> None:
    """What a training validates on where there is no validation split."""
    train = listings.get("train") or listings.get(WHOLE)
    if train is None or "val" in listings:
        return
    if "test" in listings:
        text = f"no val/: a training takes test/ for it; {noun} that choose the best epoch don't say how good it is"
        notes.add("test-for-val", "warning", root, text)
    else:
        severity, text = undivided_told(train.class_sets, train.classes, noun)
        notes.add("unsplit", severity, root, text)


def numbers_of(listing: Listing, samples: str) -> dict[str, int]:
    """The numbers of a split for `AuditReport.splits`; `samples` is what counts them."""
    per_class = listing.counts[listing.counts > 0].tolist()
    return {
        samples: len(listing),
        "classes": len(listing.classes),
        "smallest": min(per_class, default=0),
        "largest": max(per_class, default=0),
    }


def _check_counts(notes: Notes, listing: Listing) -> None:
    counts = Counter({label: count for label, count in enumerate(listing.counts.tolist()) if count}).most_common()
    if listing.sets is not None:
        each = listing.sets.sum(1)
        shown = some_names([f"{printable_name(listing.classes[label])} {count}" for label, count in counts], 12)
        without = counted(int((each == 0).sum()), "pictures")
        text = f"{each.mean():.1f} labels a picture, {without} without; pictures by label: {shown}"
        notes.add("labels", "note", listing.list_file or listing.root, text)
    if text := imbalance(listing.counts, listing.classes, "pictures"):
        notes.add("imbalance", "warning", listing.root / listing.split, text)


def imbalance(counts: np.ndarray, classes: Sequence[str], nouns: str) -> str:
    """The rarest and the most frequent class, where one has many times the `nouns` of the other; else empty."""
    there = np.flatnonzero(counts)
    if not len(there) or counts.max() < IMBALANCE * counts[there].min():
        return ""
    rare, frequent = int(there[counts[there].argmin()]), int(counts.argmax())
    names = [printable_name(classes[label]) for label in (rare, frequent)]
    return f"class {names[0]} has {counted(int(counts[rare]), nouns)}, {names[1]} has {counts[frequent]}"


def _check_depth(notes: Notes, root: Path, listing: Listing | None) -> None:
    """16-bit pictures: what they hold, which decides how a training reads them."""
    if listing is not None:
        depth = find_depth([listing.samples[index].path for index in sampled(len(listing))])
        if depth is not None:
            notes.add("bit-depth", "note", root / listing.split, str(depth))


def _check_classes(notes: Notes, root: Path, listings: dict[str, Listing]) -> None:
    """Labels that occur in validation but never in training can't be learnt."""
    if not set(SPLITS) <= set(listings):
        return
    trained, tested = (set(np.flatnonzero(listings[split].counts).tolist()) for split in SPLITS)
    ours, theirs = (set(listings[split].class_ids) for split in SPLITS)
    drifted = any(finding.kind == "class-drift" and finding.severity == "error" for finding in notes.findings)
    if listings["train"].class_ids == listings["val"].class_ids:
        unknown = [listings["val"].classes[label] for label in sorted(tested - trained)]
        told = [("val", "error", unknown, f"{counted(len(unknown), 'classes have')} no training pictures")]
    else:
        if ours == theirs and not drifted and not _read_by_name(root, listings["train"], listings["val"]):
            notes.add("class-drift", "error", root / "val", "train and val order the same classes differently")
        told = [
            (split, severity, sorted(names), f"{counted(len(names), 'classes are')} in {split} only")
            # Folders of val that training lacks were reported when val was listed.
            for split, severity, names in (
                ("train", "warning", ours - theirs), ("val", "error", set() if drifted else theirs - ours),
            )
        ]  # fmt: skip
    for split, severity, names, text in told:
        if names:
            notes.add("class-drift", severity, root / split, f"{text}, first: {some_names(names)}")


def _read_by_name(root: Path, train: Listing, val: Listing) -> bool:
    """Whether the order of the classes means nothing: read with those of `train`, `val` says the same."""
    try:
        again = read_split(root, "val", classes=train.classes, labels="one" if train.sets is None else "many")
    except UserError:
        return False
    said = ([{one.classes[label] for label in labels} for labels in one.class_sets] for one in (again, val))
    return next(said) == next(said)


def _check_leftovers(notes: Notes, root: Path, split: str, read: Container[Path | None]) -> None:
    """Links that point nowhere, and files that the scan passes over; those of `read` were read otherwise."""
    folder = find_split(root, split) or root
    if has_shards(root):
        return
    ignored: Counter[str] = Counter()
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_helper_folder(name)]
        for name in names:
            path = Path(base) / name
            if path.is_symlink() and not path.exists():
                notes.add("link", "warning", path, "the link points nowhere")
            elif not is_image_name(name) and suffix_of(name) not in UNREAD_SUFFIXES and path not in read:
                ignored["hidden" if name.startswith(".") else path.suffix or "no extension"] += 1
    if ignored:
        shown = ", ".join(f"{count} x {printable(what)}" for what, count in ignored.most_common(6))
        text = f"{counted(ignored.total(), 'files are')} not taken for pictures: {shown}"
        notes.add("ignored", "note", folder, text)


def _check_pictures(notes: Notes, listings: dict[str, Listing], look: Look) -> int:
    """Decode every picture once; report unreadable files, wrong extensions and equal pictures."""
    rows: dict[Path, tuple[str, str]] = {}  # split and label; a line given twice is one file
    for split, listing in listings.items():
        for index, sample in enumerate(listing.samples):
            rows.setdefault(sample.path, (split, listing.said(index)))
    copies = Copies(notes)
    for path, result in zip(rows, in_order(inspect, list(rows), look), strict=True):
        if result.error:
            report_unreadable(notes, path, result.error)
        else:
            split, label = rows[path]
            copies.take(split, path, result, label)
    copies.report()
    return len(rows)
