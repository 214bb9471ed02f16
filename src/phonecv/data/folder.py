"""What is in a data set: its classes, and the pictures of a split with their labels.

Layouts: class folders (``train/<class>/*``, ``val/<class>/*``), list files (``train.txt``, ``val.txt``, or PaddleViT's
``train_list.txt``, ``val_list.txt``), and a folder that is itself a split. A list file wins over the folders' order.
``classes.txt`` names the classes and fixes their order.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from phonecv.data.class_names import CLASS_FILE, ClassList, read_class_file
from phonecv.data.foreign import refuse_foreign
from phonecv.data.images import is_image_name, printable, scan_images
from phonecv.data.listfile import ListFile, read_list
from phonecv.errors import UserError

SPLITS = ("train", "val")


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture file and the number of its class."""

    path: Path
    label: int


class SampleTable(Sequence[Sample]):
    """Samples of one data folder, stored compactly.

    A million `Sample` objects take over a gigabyte, and every worker process would copy them page by page as their
    reference counts change; two arrays and one string of bytes take a tenth of it and stay shared.
    """

    def __init__(self, root: Path, names: Iterable[str], labels: Iterable[int]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._root = root
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self.labels = np.fromiter(labels, dtype=np.int64, count=len(encoded))

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """Path of one sample relative to the data folder."""
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._bytes[start : int(self._ends[index])])

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return tuple(self[position] for position in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        return Sample(self._root / self.name(index), int(self.labels[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Listing:
    """The pictures of one split.

    Attributes:
        root: the data folder.
        split: "train" or "val".
        classes: names for people, in label order.
        samples: in a fixed order: that of the list file, or classes and then file names.
        problems: what a person should know but can live with (an empty class, files that were left out, repeats).
        class_ids: what the class folders are called; mostly equal to `classes`.
        list_file: the list the samples come from, if any.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    samples: Sequence[Sample]
    problems: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()
    list_file: Path | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> np.ndarray:
        """Labels of all samples, int64."""
        if isinstance(self.samples, SampleTable):
            return self.samples.labels
        return np.asarray([sample.label for sample in self.samples], dtype=np.int64)


def read_split(
    root: Path | str,
    split: str = "train",
    *,
    list_file: Path | str | None = None,
    classes: Sequence[str] | int | None = None,
) -> Listing:
    """List one split of the data set at `root`.

    Args:
        root: data folder with ``train`` and ``val``, or (for "val") a folder that holds class folders directly.
        split: "train" or "val".
        list_file: use this list; a relative path is looked for below `root` first.
        classes: the classes that labels refer to, for instance those of a trained model, or just how many there are.
            Without it they come from ``classes.txt``, else from the training folder, else from the list itself.

    Raises:
        UserError: no such data, an unusable list (with line numbers), or classes that do not fit together.
    """
    root = Path(root)
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{printable(root)}: {what}; a data set is a folder with train/<class>/* and val/<class>/*")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} (known: {', '.join(SPLITS)})")
    if isinstance(classes, int):
        given, count = None, classes
    else:
        given = ClassList.plain(classes) if classes is not None else None
        count = len(given) if given else None

    chosen = find_list(root, split, list_file)
    if chosen:
        return _from_list(root, split, chosen, given, count)
    if not _has_classes(root, split):
        refuse_foreign(root)
    return _from_folders(root, split, given, count)


def find_list(root: Path, split: str, list_file: Path | str | None = None) -> Path | None:
    """The list that describes `split`: the given one, else ``<split>.txt`` or ``<split>_list.txt``, if any."""
    if list_file is not None:
        for candidate in (root / list_file, Path(list_file)):
            if candidate.is_file():
                return candidate
        raise UserError(f"{printable(list_file)}: no such list file, neither below {printable(root)} nor here")
    for name in (f"{split}.txt", f"{split}_list.txt"):
        if (root / name).is_file():
            return root / name
    return None


def split_folder(root: Path, split: str) -> Path:
    """Folder whose sub-folders are the classes.

    Raises:
        UserError: there is none.
    """
    if (root / split).is_dir():
        return root / split
    has_splits = any((root / name).is_dir() for name in SPLITS)
    if split == "val" and not has_splits and class_folders(root):
        return root
    there = [printable(name) for name in sorted(entry.name for entry in root.iterdir() if entry.is_dir())[:8]]
    raise UserError(
        f"{printable(root)}: no folder {split}/ and no list {split}.txt or {split}_list.txt here"
        f" (folders here: {', '.join(there) or 'none'}); expected {split}/<class>/<picture>"
    )


def class_folders(folder: Path) -> list[str]:
    """Names of the sub-folders, in order; hidden ones do not count."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _has_classes(root: Path, split: str) -> bool:
    """Whether several class folders hold pictures; one may be the folder of pictures of any other layout."""
    try:
        folder = split_folder(root, split)
    except UserError:  # whoever reads it says so
        return False
    found = (name for name in class_folders(folder) if next(scan_images(folder / name), None) is not None)
    return len(list(islice(found, 2))) == 2


def known_classes(root: Path) -> ClassList | None:
    """The classes that ``classes.txt`` or the training folder of the data set at `root` define.

    A folder that is itself a split (``.../data/val``) belongs to the data set above it.
    """
    for folder in (root, root.parent) if root.name in SPLITS else (root,):
        if (folder / CLASS_FILE).is_file():
            return read_class_file(folder / CLASS_FILE)
        if (folder / "train").is_dir() and (names := class_folders(folder / "train")):
            return ClassList.plain(names)
    return None


def _from_folders(root: Path, split: str, given: ClassList | None, count: int | None) -> Listing:
    folder = split_folder(root, split)
    names = class_folders(folder)
    if not names:
        raise UserError(f"{printable(folder)}: no class folders; expected {split}/<class>/<picture>")
    known = known_classes(root)
    order = _merge(given, known) or ClassList.plain(names)
    if count is not None and given is None and len(order) != count:
        raise UserError(
            f"{printable(root)}: {len(order)} classes, but {count} are expected; "
            f"give the class list ({CLASS_FILE}) or a list file with labels"
        )
    strangers = [name for name in names if order.label(name) is None]
    if strangers:
        source = "the given classes" if given else f"{CLASS_FILE} or train/"
        raise UserError(
            f"{printable(folder)}: {len(strangers)} class folders are not among the {len(order)} classes of {source}: "
            f"{_some(strangers)}; rename or remove them, or give a list file with labels or"
            f" a {CLASS_FILE} with lines `index folder name`"
        )

    problems: list[str] = []
    paths: list[str] = []
    labels: list[int] = []
    prefix = "" if folder == root else f"{split}/"
    for name in names:
        label = order.label(name)
        assert label is not None
        found = [f"{prefix}{name}/{picture}" for picture in scan_images(folder / name)]
        if not found:
            problems.append(f"{printable(folder / name)}: empty class, no pictures in it")
        paths += found
        labels += [label] * len(found)
    absent = sorted(set(range(len(order))) - {order.label(name) for name in names})
    if absent:
        missing = _some([order.ids[label] for label in absent])
        problems.append(f"{printable(folder)}: no folder for {len(absent)} of {len(order)} classes: {missing}")
    loose = sum(is_image_name(entry.name) and entry.is_file() for entry in folder.iterdir())
    if loose:
        problems.append(f"{printable(folder)}: {loose} pictures lie outside the class folders and are left out")
    if not paths:
        raise UserError(f"{printable(folder)}: no pictures in its {len(names)} class folders")
    return Listing(root, split, order.names, SampleTable(root, paths, labels), tuple(problems), order.ids)


def _from_list(root: Path, split: str, path: Path, given: ClassList | None, count: int | None) -> Listing:
    known = known_classes(root)
    file_names = read_class_file(root / CLASS_FILE) if (root / CLASS_FILE).is_file() else None
    if count is None and file_names:
        count = len(file_names)
    entries = read_list(path, root, split, classes=count)
    if entries.errors:
        raise UserError(f"{len(entries.errors)} unusable lines in a list file:\n{entries.describe(entries.errors)}")
    if not entries.paths:
        raise UserError(f"{printable(path)}: no pictures in this list")
    problems: list[str] = []
    repeats = entries.problems
    if repeats:
        problems.append(f"{len(repeats)} lines repeat earlier ones and count again: {entries.describe(repeats, 1)}")

    if entries.labels is None:
        order = _merge(given, known) or ClassList.plain(
            sorted({_class_folder(entries, i) for i in range(len(entries.paths))})
        )
        labels = _labels_from_folders(entries, order)
    else:
        labels = entries.labels
        order = _merge(given, file_names) or _classes_of_labels(entries, labels, count, known)
        if contradiction := _contradiction(entries, labels, order):
            # Between training and validation it means scores of the wrong classes; else the list knows best.
            if given:
                raise UserError(f"{contradiction}; number the classes of both splits alike")
            problems.append(contradiction)
    return Listing(
        root, split, order.names, SampleTable(root, entries.paths, labels), tuple(problems), order.ids, list_file=path
    )


def _merge(given: ClassList | None, known: ClassList | None) -> ClassList | None:
    """The given classes, with the folder names that the data set knows for them."""
    if given is None or known is None:
        return given or known
    if given.names == known.names:
        return known
    ids = [*given.names]
    for class_id, name in zip(known.ids, known.names, strict=True):
        label = given.label(class_id)
        if label is None:
            label = given.label(name)
        if label is not None:
            ids[label] = class_id
    return ClassList(given.names, tuple(ids))


def _class_folder(entries: ListFile, row: int) -> str:
    """Name of the class folder in a path such as ``val/<class>/...``, or an empty string."""
    parts = entries.paths[row].split("/")
    if parts[0] in SPLITS:
        parts = parts[1:]
    return parts[0] if len(parts) > 1 else ""


def _contradiction(entries: ListFile, labels: Sequence[int], order: ClassList) -> str:
    """Says where a label is not that of the class its folder is called after; empty if nowhere."""
    expected = [order.label(_class_folder(entries, row)) for row in range(len(labels))]
    wrong = [row for row, label in enumerate(expected) if label is not None and label != labels[row]]
    if not wrong:
        return ""
    row = wrong[0]
    return (
        f"{printable(entries.path)}:{entries.lines[row]}: label {labels[row]}, but folder"
        f" {printable(_class_folder(entries, row))!r} is class {expected[row]} ({len(wrong)} lines like this)"
    )


def _labels_from_folders(entries: ListFile, order: ClassList) -> list[int]:
    labels: list[int] = []
    for row, line in enumerate(entries.lines):
        folder = _class_folder(entries, row)
        label = order.label(folder)
        if label is None:
            what = (
                f"folder {printable(folder)!r} is not one of the {len(order)} classes" if folder else "no class folder"
            )
            raise UserError(f"{printable(entries.path)}:{line}: {what}; write `path label`")
        labels.append(label)
    return labels


def _classes_of_labels(
    entries: ListFile, labels: Sequence[int], count: int | None, known: ClassList | None
) -> ClassList:
    """Names for the labels of a list: those of the folders, where each label has one folder of its own."""
    folders: dict[int, set[str]] = {}
    for row, label in enumerate(labels):
        folders.setdefault(label, set()).add(_class_folder(entries, row))
    # The list may hold only some of the classes: whatever agrees with the data set's own order belongs to it.
    if (
        known
        and count in (None, len(known))
        and all(known.label(name) == label for label in folders for name in folders[label])
    ):
        return known
    count = count or max(folders) + 1
    names = [str(label) for label in range(count)]
    owners = Counter(folder for found in folders.values() for folder in found)
    for label, found in folders.items():
        name = next(iter(found)) if len(found) == 1 else ""
        if name and owners[name] == 1:
            names[label] = name
    # A folder called "7" under label 3 would collide with the number that stands in for label 7.
    if len(set(names)) < len(names):
        names = [str(label) for label in range(count)]
    return ClassList.plain(names)


def _some(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(printable(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
