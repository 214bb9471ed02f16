"""What is probably wrong with the classes of a data set, judged by its folders and labels alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from phonecv.data.findings import Problem
from phonecv.data.folders.class_names import ClassList, how_unlike, look_alikes, name_key
from phonecv.data.pictures.opening import HEIC_INSTALL, HEIC_SUFFIXES, can_read_heif, is_heif, suffix_of
from phonecv.data.split_names import LEARNT, are_splits, split_of
from phonecv.text import counted, printable, quoted, some_names


def heic_problems(root: Path, place: Path, paths: Sequence[str]) -> list[Problem]:
    """Pictures of phones that can't be read here; told by the extension, and by the content of one of them."""
    named = [path for path in paths if suffix_of(path) in HEIC_SUFFIXES]
    if not named or can_read_heif():
        return []
    try:
        with (root / named[0]).open("rb") as file:
            if not is_heif(file.read(64)):  # JPEG data under such a name are read
                return []
    except OSError:  # reported when its turn comes
        return []
    text = f"{counted(len(named), 'pictures are', of=len(paths))} HEIC, which needs one more package: {HEIC_INSTALL}"
    return [Problem(text, "unreadable", "error", place)]


def tree_suspicions(folder: Path, split: str, trees: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Classes that lie a level too deep, and a single class."""
    filled = {name: found for name, found in trees.items() if found}
    # First folder of each picture below its class folder; "" for pictures that lie in it directly.
    inner = {name: {path.rpartition("/")[0].partition("/")[0] for path in found} for name, found in filled.items()}
    nested = all("" not in names for names in inner.values())
    below = Counter(sub for names in inner.values() for sub in names)
    if nested and all(split_of(name) for name in inner):
        deeper = folder / next(iter(inner))
        text = f"its folders {some_names([*inner])} are splits themselves; name {printable(folder)} as the data folder"
        return [Problem(f"{text}, or {printable(deeper)} as a split", "structure", "error", folder)]
    if are_splits([*filled]):
        text = (
            f"the folders {some_names([*filled])} are called like splits, not like classes; call them train/ and val/,"
            " with a folder for each class or a list of the pictures' classes (train.csv)"
        )
        return [Problem(text, "structure", "error", folder)]
    if len(filled) == 1:
        (name,) = filled
        text = f"only one class, {quoted(name)}; there is nothing to tell it from"
        if nested and len(below) > 1:
            text = (
                f"the only folder {quoted(name)} holds no pictures itself, but the folders {some_names(sorted(below))};"
                f" if these are the classes, move them up to {folder.name}/<class>"
            )
        # Validation may lack classes.
        return [Problem(text, "structure", "error", folder)] if split in LEARNT else []
    if nested and max(map(len, inner.values())) > 1 and max(below.values()) == 1:
        text = (
            f"all pictures lie in {len(below)} folders within the {len(inner)} class folders"
            f" ({some_names(sorted(below))}); if these are the classes, move them up to {folder.name}/<class>"
        )
        return [Problem(text, "structure", place=folder)]
    return []


def alike_names(path: Path, names: Sequence[str]) -> list[Problem]:
    """Names of classes in a list that people take for the same one."""
    return [
        Problem(
            f"{quoted(one)} and {quoted(other)} are read as two classes ({how_unlike(one, other)}); write them alike"
            " if they are one",
            "label-names",
            place=path,
        )
        for one, other in look_alikes(names)
    ]


def list_suspicions(
    path: Path, split: str, order: ClassList, labels: Sequence[int], *, numbered: bool
) -> list[Problem]:
    """A single class, classes without a picture, and labels counted from 1 (where they alone count the classes)."""
    there = set(labels)
    if split in LEARNT and len(there) == 1:
        (label,) = there
        text = f"only one class, {quoted(order.names[label])}; there is nothing to tell it from"
        return [Problem(text, "structure", "error", path)]
    absent = sorted(set(range(len(order))) - there)
    if numbered and absent == [0] and len(there) > 1:
        text = (
            f"the labels are 1 to {max(there)}, no picture has label 0: they seem to be counted from 1. Labels count"
            " from 0; as it is, the network gets a class without pictures"
        )
        return [Problem(text, "one-based", place=path)]
    if absent and split in LEARNT:
        names = some_names([order.names[label] for label in absent])
        text = f"{counted(len(absent), 'classes have', of=len(order))} no picture in this list: {names}"
        if absent == [len(order) - 1] and name_key(order.names[0]).strip() in ("background", "bg"):
            text += f"; if no label counts {quoted(order.names[0])}, its line makes every class be called after another"
        return [Problem(text, "empty-class", place=path)]
    return []


def set_suspicions(path: Path, split: str, order: ClassList, sets: np.ndarray) -> list[Problem]:
    """What speaks against several labels a picture, and classes that no picture or every one has.

    Args:
        path: of the list.
        split: that it describes.
        order: the classes.
        sets: ``N C`` bool.
    """
    problems, counts, each = [], sets.sum(0), sets.sum(1)
    if len(sets) > 1 and (each == 1).all():
        text = "every picture has one label: data.labels=one trains on classes that exclude each other"
        problems.append(Problem(text, "labels", place=path))
    if split != "train":
        return problems
    for number, what in ((0, "have no picture"), (len(sets), "stand at every picture")):
        if found := [order.names[label] for label in np.flatnonzero(counts == number)]:
            text = f"{len(found)} of {len(order)} classes {what} in this list: {some_names(found)}"
            problems.append(Problem(text, "empty-class", place=path))
    return problems
