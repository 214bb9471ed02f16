"""What is in a data set: its classes, and the pictures of a split with their labels.

Layouts: class folders (``train/<class>/*``, ``val/<class>/*``), list files (``train.txt``, ``val.txt``, or PaddleViT's
``train_list.txt``, ``val_list.txt``), one list with a column of splits, shards (``train-0000.tar``), and a folder that
is itself a split. A list file wins over the folders' order. ``classes.txt`` names the classes and fixes their order.
Undivided data, class folders, one list or shards of no split, is the split "all".
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from phonecv.data.findings import Problem
from phonecv.data.folders.class_names import CLASS_FILE, ClassList, how_unlike, natural_key, read_class_file
from phonecv.data.folders.list_columns import UNLABELLED, Labels
from phonecv.data.folders.list_file import (
    ListFile,
    list_splits,
    lists_files,
    lists_pictures,
    names_classes,
    read_list,
)
from phonecv.data.folders.splits import class_folders, find_split, split_folder
from phonecv.data.folders.suspicions import alike_names, heic_problems, list_suspicions, set_suspicions, tree_suspicions
from phonecv.data.foreign.layouts import foreign_layout, refuse_foreign
from phonecv.data.loading.byte_table import ByteTable
from phonecv.data.pictures.opening import Passed, is_helper_folder, is_image_name, scan_images
from phonecv.data.shards.samples import find_shards, read_shards
from phonecv.data.split_names import ALIASES, SPLITS, WHOLE, are_splits, split_names, split_of
from phonecv.errors import UserError, did_you_mean
from phonecv.files import digest
from phonecv.text import counted, printable, printable_name, quoted, some_names

__all__ = ["SPLITS", "Listing", "Sample", "SampleTable", "class_folders", "find_list", "known_classes", "read_split"]


#: Texts of a folder that are looked into for the one list of all samples.
_LISTS = 20
_LIST_SUFFIXES = (".csv", ".tsv", ".txt")


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
        self._root, self._names = root, ByteTable(map(os.fsencode, names))
        self.labels = np.fromiter(labels, dtype=np.int64, count=len(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """Path of one sample relative to the data folder."""
        return os.fsdecode(self._names[index])

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


@dataclass(frozen=True)
class Listing:
    """The pictures of one split.

    Attributes:
        root: the data folder.
        split: "train", "val", "test" or "all".
        classes: names for people, in label order.
        samples: in a fixed order: that of the list file, or classes and then file names.
        problems: what a person should know (an empty class, files that were left out, repeats); a training refuses
            those of severity "error".
        class_ids: what the class folders are called; mostly equal to `classes`.
        list_file: the list the samples come from, if any.
        frames: how many each clip has by that list; None where it does not say.
        sets: where pictures have several labels or none, for each picture and class whether it is there, ``N C`` bool;
            the labels of the samples then mean nothing. None where each has one class.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    samples: Sequence[Sample]
    problems: tuple[Problem, ...] = ()
    class_ids: tuple[str, ...] = ()
    list_file: Path | None = None
    frames: Sequence[int | None] | None = None
    sets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> np.ndarray:
        """Labels of all samples, int64."""
        if isinstance(self.samples, SampleTable):
            return self.samples.labels
        return np.asarray([sample.label for sample in self.samples], dtype=np.int64)

    @property
    def counts(self) -> np.ndarray:
        """Pictures of each class, int64."""
        if self.sets is not None:
            return self.sets.sum(0, dtype=np.int64)
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def label_digest(self) -> str:
        """Another one for other labels, wherever the files lie."""
        return digest(self.labels if self.sets is None else np.packbits(self.sets))

    def said(self, index: int) -> str:
        """The label of a picture, or its labels, for people."""
        if self.sets is None:
            return self.classes[self.samples[index].label]
        return ", ".join(self.classes[label] for label in np.flatnonzero(self.sets[index])) or "no label"

    def target(self, index: int) -> int | list[int]:
        """What a picture is: the number of its class, or for every class 1 or 0."""
        return self.samples[index].label if self.sets is None else self.sets[index].astype(int).tolist()

    @property
    def class_sets(self) -> Sequence[Collection[int]]:
        """The classes of every sample."""
        if self.sets is not None:
            return [np.flatnonzero(row).tolist() for row in self.sets]
        return [(label,) for label in self.labels.tolist()]

    @property
    def names(self) -> list[str]:
        """Paths relative to the data folder, with "/"."""
        if isinstance(self.samples, SampleTable):
            return [self.samples.name(index) for index in range(len(self))]
        return [sample.path.relative_to(self.root).as_posix() for sample in self.samples]

    @property
    def words(self) -> dict[str, str]:
        """What a list calls the class of each sample, by the sample's name: its number where names could mislead.

        Several are parted by "|"; where there is none, nothing stands.
        """
        ids = self.class_ids or self.classes
        plain = len(set(ids)) == len(ids) and all(one == one.strip() and not one.isdecimal() for one in ids)
        plain = plain and (self.sets is None or not any(mark in one for one in ids for mark in "|;,\"'"))
        own = ids if plain else [str(label) for label in range(len(ids))]
        return {
            name: "|".join(own[label] for label in labels)
            for name, labels in zip(self.names, self.class_sets, strict=True)
        }

    def select(self, rows: Sequence[int] | np.ndarray) -> Listing:
        """These samples alone."""
        places = np.asarray(rows, dtype=np.int64).tolist()
        names, labels = self.names, self.labels
        table = SampleTable(self.root, [names[place] for place in places], [int(labels[place]) for place in places])
        frames = None if self.frames is None else [self.frames[place] for place in places]
        return replace(self, samples=table, frames=frames, sets=None if self.sets is None else self.sets[places])


@dataclass(frozen=True, slots=True)
class Kind:
    """What the samples of a data set are.

    Attributes:
        scan: their paths below a folder, relative to it; takes up what was passed over.
        noun: what they are called.
    """

    scan: Callable[[Path, Passed], Iterable[str]]
    noun: str


PICTURES = Kind(scan_images, "pictures")

#: The list that Roboflow puts into the folder of each split.
CLASS_CSV = "_classes.csv"
#: Those of Hugging Face's folders of pictures.
METADATA = ("metadata.csv", "metadata.jsonl")
_NUMBER = re.compile(r"[0-9]{1,9}")


def read_split(
    root: Path | str,
    split: str = "train",
    *,
    list_file: Path | str | None = None,
    classes: Sequence[str] | int | None = None,
    kind: Kind = PICTURES,
    labels: Labels = "one",
) -> Listing:
    """List one split of the data set at `root`.

    Args:
        root: data folder with ``train`` and ``val``, or (for "val") a folder that holds class folders directly.
        split: "train", "val", "test", or "all": what is not divided.
        list_file: use this list; a relative path is looked for below `root` first.
        classes: the classes that labels refer to, for instance those of a trained model, or just how many there are.
            Without it they come from ``classes.txt``, else from the training folder, else from the list itself.
        kind: what the samples are.
        labels: how many a picture has: "one", "many", or "auto", as the list looks. Folders of classes give one.

    Raises:
        UserError: no such data, an unusable list (with line numbers), or classes that do not fit together.
    """
    root = Path(root)
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{printable(root)}: {what}; a data set is a folder with train/<class>/* and val/<class>/*")
    if split not in (*ALIASES, WHOLE):
        raise UserError(f"unknown split {split!r} (known: {', '.join(ALIASES)}, and {WHOLE})")
    if isinstance(classes, int):
        given, count = None, classes
    else:
        given = ClassList.plain(classes) if classes is not None else None
        count = len(given) if given else None

    if shards := find_shards(root, split, list_file):
        entries = read_shards(shards, root, classes=_count(root, count))
        return _from_entries(root, split, entries, given, count, PICTURES)
    chosen = find_list(root, split, list_file, kind)
    # Lists of paths alone are YOLO's as well.
    if not _has_classes(root, split, kind) and list_file is None and (chosen is None or not names_classes(chosen)):
        refuse_foreign(root)
    if chosen:
        named = _merge(given, class_file(root))
        names = named.names if named else None
        entries = read_list(chosen, root, split, classes=_count(root, count), labels=labels, names=names)
        return _from_entries(root, split, entries, given, count, kind)
    if labels == "many":
        raise UserError(
            f"{printable(root)}: no list of pictures and their labels ({split}.csv, {split}.txt or"
            f" {split}/{CLASS_CSV}); folders of classes give each picture one, which data.labels=one reads"
        )
    return _from_folders(root, split, given, count, kind)


def shared_names(one: Listing, other: Listing) -> list[str]:
    """Samples that two splits have both, which lists alone can give them."""
    return sorted(set(one.names) & set(other.names)) if one.list_file or other.list_file else []


def find_list(root: Path, split: str, list_file: Path | str | None = None, kind: Kind = PICTURES) -> Path | None:
    """The list that describes `split`, if any.

    The given one, else ``<split>.txt`` or ``<split>_list.txt``; where there is no folder of classes, ``<split>.csv``,
    ``_classes.csv`` or ``metadata.csv`` (or ``.jsonl``) within the split's folder, or the only list there is, if it has
    a column with this split (for "all": if it has none; for "train", too, where the files lie in its folder).
    """
    if list_file is not None:
        for candidate in (root / list_file, Path(list_file)):
            if candidate.is_file():
                return candidate
        raise UserError(f"{printable(list_file)}: no such list file, neither below {printable(root)} nor here")
    ends = [".txt", "_list.txt"]
    folder = find_split(root, split)
    if folder is None or not class_folders(folder):
        ends += [".csv", ".tsv"]
    candidates = [root / f"{name}{end}" for end in ends for name in split_names(split)]
    if folder is not None and ".csv" in ends:  # label maps have such files, too
        candidates += [folder / name for name in (CLASS_CSV, *METADATA) if lists_pictures(folder / name)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and (folder is None or (split == "train" and not class_folders(folder))):
        only = only_list(root, kind, folder or root)
        splits = list_splits(only) if only else []
        found = only if (split in splits if splits else split == ("train" if folder else WHOLE)) else None
    return found


def has_split(root: Path, split: str, kind: Kind = PICTURES) -> bool:
    """Whether there are a folder, a list or shards of a split."""
    folder = find_split(root, split)
    # Pictures to be tested on come without classes, too.
    there = folder is not None and (split != "test" or bool(class_folders(folder)))
    return there or find_list(root, split, kind=kind) is not None or bool(find_shards(root, split))


def only_list(root: Path, kind: Kind = PICTURES, start: Path | None = None) -> Path | None:
    """The one list of samples and their classes in a folder without lists or folders of splits, whatever its name.

    Its paths lead to files below `start`, by default the folder itself.
    """
    if _has_classes(root, WHOLE, kind):
        return None
    names = [path for path in sorted(root.iterdir()) if path.suffix.lower() in _LIST_SUFFIXES and path.is_file()]
    others = [path for path in names[:_LISTS] if path.name != CLASS_FILE and not path.name.startswith(".")]
    whole = [path for path in others if split_of(path.stem.removesuffix("_list")) is None]
    found = [path for path in whole if lists_files(path, start or root) and foreign_layout(path) is None]
    return found[0] if len(found) == 1 else None


def _has_classes(root: Path, split: str, kind: Kind) -> bool:
    """Whether several class folders hold samples; one may be the folder of pictures of any other layout."""
    try:
        folder, _ = split_folder(root, split)
    except UserError:  # whoever reads it says so
        return False
    names = class_folders(folder)
    found = (name for name in names if any(kind.scan(folder / name, Passed())))
    return not are_splits(names) and len(list(islice(found, 2))) == 2


def known_classes(root: Path) -> ClassList | None:
    """The classes that ``classes.txt`` or the training folder of the data set at `root` define.

    A folder that is itself a split (``.../data/val``) belongs to the data set above it.
    """
    for folder in (root, root.parent) if split_of(root.name) else (root,):
        if (listed := class_file(folder)) is not None:
            return listed
        train = find_split(folder, "train")
        if train is not None and (names := class_folders(train)):
            return ClassList.of_folders(names, train)
    return None


def _from_folders(root: Path, split: str, given: ClassList | None, count: int | None, kind: Kind) -> Listing:
    folder, notes = split_folder(root, split)
    problems = list(notes)
    names = class_folders(folder)
    if not names:
        raise UserError(f"{printable(folder)}: no class folders; expected {split}/<class>/<picture>")
    known = known_classes(root)
    order = _merge(given, known) or ClassList.of_folders(names, folder)
    if count is not None and given is None and len(order) != count:
        raise UserError(
            f"{printable(root)}: {len(order)} classes, but {count} are expected; "
            f"give the class list ({CLASS_FILE}) or a list file with labels"
        )
    owners = _owners(folder, names, order, "the given classes" if given else f"{CLASS_FILE} or train/")
    problems += [
        Problem(
            f"the folder {quoted(name)} is taken for class {quoted(order.ids[label])}"
            f" ({how_unlike(name, order.ids[label])})",
            "spelling",
            "note",
            folder,
        )
        for label, name in owners.items()
        if not order.exactly(name)
    ]

    passed = Passed()
    paths: list[str] = []
    labels: list[int] = []
    trees: dict[str, list[str]] = {}
    prefix = "" if folder == root else f"{folder.name}/"
    for label, name in owners.items():
        found = trees[name] = list(kind.scan(folder / name, passed))
        paths += [f"{prefix}{name}/{picture}" for picture in found]
        labels += [label] * len(found)
    empty = [name for name, found in trees.items() if not found]
    if empty:
        text = f"{counted(len(empty), 'classes are', of=len(order))} empty, no {kind.noun} in them: {some_names(empty)}"
        problems.append(Problem(text, "empty-class", place=folder))
    absent = sorted(set(range(len(order))) - set(owners))
    if absent:
        missing = some_names([order.ids[label] for label in absent])
        text = f"no folder for {len(absent)} of {len(order)} classes: {missing}"
        problems.append(Problem(text, "class-drift", place=folder))
    problems += [*_left_out(folder, passed), *heic_problems(root, folder, paths)]
    if split == "train" and folder != root:
        problems += [*_unnamed_splits(root, names)]
    if not paths:
        raise UserError(f"{printable(folder)}: no {kind.noun} in its {len(names)} class folders")
    problems += tree_suspicions(folder, split, trees)
    return Listing(root, split, order.names, SampleTable(root, paths, labels), tuple(problems), order.ids)


def _owners(folder: Path, names: Sequence[str], order: ClassList, source: str) -> dict[int, str]:
    """The folder of each label that has one."""
    owners: dict[int, str] = {}
    strangers = []
    for name in names:
        label = order.label(name)
        if label is None:
            strangers.append(name)
        elif label in owners:
            raise UserError(
                f"{printable(folder)}: the folders {quoted(owners[label])} and {quoted(name)} look like one class,"
                f" {quoted(order.ids[label])} ({how_unlike(owners[label], name)}); move the pictures of one into the"
                " other"
            )
        else:
            owners[label] = name
    if strangers:
        raise UserError(
            f"{printable(folder)}: {len(strangers)} class folders are not among the {len(order)} classes of {source}: "
            f"{some_names([quoted(name) for name in strangers])}{did_you_mean(strangers[0], order.ids)}; rename or"
            f" remove them, or give a list file with labels or a {CLASS_FILE} with lines `index folder name`"
        )
    return owners


def _unnamed_splits(root: Path, classes: Sequence[str]) -> Iterator[Problem]:
    """Folders beside the training pictures that hold the same classes and are called like no split."""
    for name in class_folders(root)[:_LISTS]:
        if split_of(name) is None and len({*classes} & {*class_folders(root / name)}) > 1:
            text = f"the folder {quoted(name)} holds classes of train/ and is left out"
            yield Problem(f"{text}; call it val/ or test/, if it is one", place=root)


def _left_out(folder: Path, passed: Passed) -> list[Problem]:
    """What beside the pictures lies in a folder of classes."""
    problems = []
    loose = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            loose += is_image_name(entry.name) and entry.is_file()
            if is_helper_folder(entry.name) and entry.is_dir():
                passed.helpers[entry.name] += 1
    if loose:
        text = f"{counted(loose, 'pictures lie')} outside the class folders and are left out"
        problems.append(Problem(text, place=folder))
    if passed.helpers:
        names = some_names([f"{printable_name(name)} ({count})" for name, count in passed.helpers.most_common()])
        text = f"folders of other programs are no classes and are left out: {names}"
        problems.append(Problem(text, "helper", "note", folder))
    if passed.unread:
        names = ", ".join(f"{count} x {suffix}" for suffix, count in passed.unread.most_common(6))
        what = f"{counted(passed.unread.total(), 'pictures')} of a kind that is not read left out"
        problems.append(Problem(f"{what}: {names}; save them as JPEG or PNG", place=folder))
    return problems


def class_file(root: Path) -> ClassList | None:
    """The classes that the class file of a data set names; None without one."""
    return read_class_file(root / CLASS_FILE) if (root / CLASS_FILE).is_file() else None


def _count(root: Path, count: int | None) -> int | None:
    names = class_file(root)
    return len(names) if count is None and names else count


def _from_entries(
    root: Path, split: str, entries: ListFile, given: ClassList | None, count: int | None, kind: Kind
) -> Listing:
    path, known, file_names, count = entries.path, known_classes(root), class_file(root), _count(root, count)
    named = _merge(given, file_names)
    if entries.errors:
        raise entries.refusal()
    if not entries.paths:
        raise UserError(f"{printable(path)}: no {kind.noun} in this list")
    problems = [Problem(note, "spelling", "note", path) for note in entries.notes]
    repeats = entries.problems
    if repeats:
        text = f"{counted(len(repeats), 'lines repeat')} earlier ones: {entries.describe(repeats, 1)}"
        problems.append(Problem(text, "repeated-line"))

    if entries.seen:
        problems.append(Problem(entries.seen, "labels", "note", path))
    problems += heic_problems(root, path, entries.paths)
    if entries.sets is not None:
        order = named or _classes_of_sets(entries, count)
        problems += alike_names(path, order.names)
        sets = _matrix(entries, order)
        problems += set_suspicions(path, split, order, sets)
        table = SampleTable(root, entries.paths, [0] * len(entries.paths))
        return Listing(root, split, order.names, table, tuple(problems), order.ids, path, sets=sets)
    if entries.labels is None:
        words = entries.class_names or [_class_folder(entries, row) for row in range(len(entries.paths))]
        found = entries.columns or sorted({word for word in words if word}, key=natural_key)
        order = _merge(given, known) or ClassList.plain(found)
        problems += alike_names(path, found)
        labels = _labels_from_words(entries, words, order)
    else:
        labels = entries.labels
        order = _merge(given, file_names) or _classes_of_labels(entries, labels, count, known)
        if contradiction := _contradiction(entries, labels, order):
            # Between training and validation it means scores of the wrong classes; else the list knows best.
            if given:
                raise UserError(f"{contradiction}; number the classes of both splits alike")
            problems.append(Problem(contradiction, "class-drift"))
    problems += list_suspicions(path, split, order, labels, numbered=given is None and file_names is None)
    return Listing(
        root,
        split,
        order.names,
        SampleTable(root, entries.paths, labels),
        tuple(problems),
        order.ids,
        path,
        entries.frames,
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
    if split_of(parts[0]):
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
        f" {quoted(_class_folder(entries, row))} is class {expected[row]} ({counted(len(wrong), 'lines')} like this)"
    )


def _labels_from_words(entries: ListFile, words: Sequence[str], order: ClassList) -> list[int]:
    """Labels from the names of classes, which the list gives or its folders."""
    labels: list[int] = []
    for word, line in zip(words, entries.lines, strict=True):
        label = order.label(word) if word else None
        if label is None:
            kind = "class" if entries.class_names else "folder"
            what = f"{kind} {quoted(word)} is not one of the {len(order)} classes" if word else "no class folder"
            hint = did_you_mean(word, order.ids) if word else "; write `path label`"
            if not word and (columns := [note for note in entries.notes if UNLABELLED in note]):
                hint = f": {columns[0]}; call one label, or give each class a column of 0 and 1"
            raise UserError(f"{printable(entries.path)}:{line}: {what}{hint}")
        labels.append(label)
    return labels


def _classes_of_sets(entries: ListFile, count: int | None) -> ClassList:
    """The columns, or the names in the list; where these are numbers, as many classes as they count."""
    names = entries.columns or tuple(sorted({name for names in entries.sets or () for name in names}, key=natural_key))
    if names and not entries.columns and all(_NUMBER.fullmatch(name) for name in names):
        names = tuple(str(label) for label in range(count or int(names[-1]) + 1))
    if not names:
        raise UserError(f"{printable(entries.path)}: no picture in this list has a label")
    return ClassList.plain(names)


def _matrix(entries: ListFile, order: ClassList) -> np.ndarray:
    """Whether a picture has a class, for all of both."""
    sets = np.zeros((len(entries.paths), len(order)), bool)
    for row, names in enumerate(entries.sets or ()):
        for name in names:
            label = order.label(name)
            if label is None and _NUMBER.fullmatch(name) and int(name) < len(order):
                label = int(name)
            if label is None:
                raise UserError(
                    f"{printable(entries.path)}:{entries.lines[row]}: class {quoted(name)} is not one of the"
                    f" {len(order)} classes{did_you_mean(name, order.ids)}"
                )
            sets[row, label] = True
    return sets


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
