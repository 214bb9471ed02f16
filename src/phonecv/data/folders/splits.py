"""Where the splits of a data folder are, and which folders are classes."""

from __future__ import annotations

import os
from pathlib import Path

from phonecv.data.findings import Problem
from phonecv.data.folders.class_names import natural_key
from phonecv.data.pictures.opening import is_helper_folder, is_image_name
from phonecv.data.split_names import ALIASES, WHOLE, split_names, split_of
from phonecv.errors import UserError
from phonecv.text import printable, quoted, some_names

#: Folders of a data folder that are looked into, to tell a person where the splits are.
_LOOKED_INTO = 50


def class_folders(folder: Path) -> list[str]:
    """Names of the sub-folders in natural order; hidden ones and those of other programs do not count."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not is_helper_folder(entry.name) and entry.is_dir()]
    return sorted(names, key=natural_key)


def find_split(root: Path, split: str) -> Path | None:
    """The folder of a split, which may be called by one of the usual names in any letter case."""
    wanted = split_names(split)
    there = [name for name in class_folders(root) if name.casefold() in wanted]
    there.sort(key=lambda name: (name not in wanted, wanted.index(name.casefold()), name))
    return next((root / name for name in there if not _is_class(root, name)), None)


def split_folder(root: Path, split: str) -> tuple[Path, tuple[Problem, ...]]:
    """Folder whose sub-folders are the classes, and what a person should know about the choice."""
    found = find_split(root, split)
    if found is not None:
        if found.name in (split, root.name):
            return found, ()
        return found, (Problem(f"the folder {quoted(found.name)} is taken for {split}/", "spelling", "note", root),)
    instead = find_split(root, "test") if split == "val" else None
    if instead is not None:
        text = (
            f"there is no {split}/, so the folder {quoted(instead.name)} is taken for it; pictures that choose the"
            " best epoch do not tell how good it is"
        )
        return instead, (Problem(text, "spelling", place=root),)
    splits = [name for name in ALIASES if find_split(root, name)]
    if split == WHOLE and splits:
        raise UserError(f"{printable(root)}: is divided into {' and '.join(splits)}; name one of them as the split")
    inner = [name for name in class_folders(root)[:_LOOKED_INTO] if _holds_splits(root / name)]
    whole = split != WHOLE or not (split_of(root.name) and _holds_splits(root.parent))
    if split != "train" and whole and not splits and not inner and class_folders(root):
        return root, ()
    raise UserError(_missing(root, split, inner))


def _missing(root: Path, split: str, inner: list[str]) -> str:
    there = class_folders(root)
    wanted = "train" if split == WHOLE else split
    text = (
        f"{printable(root)}: no folder {wanted}/ and no list {wanted}.txt or {wanted}_list.txt here"
        f" (folders here: {some_names(there, 8) or 'none'}); expected {wanted}/<class>/<picture>, or <class>/<picture>"
    )
    if inner:
        return f"{text}; {printable(root / inner[0])} holds splits: name that folder"
    if _holds_splits(root.parent) and split_of(root.name):
        return f"{text}; this is one split: name the folder above it, {printable(root.parent)}"
    return text


def _holds(folder: Path) -> tuple[bool, bool]:
    """Whether a folder holds folders directly, and whether pictures."""
    folders = pictures = False
    with os.scandir(folder) as entries:
        for entry in entries:
            folders = folders or (not is_helper_folder(entry.name) and entry.is_dir())
            pictures = pictures or is_image_name(entry.name)
            if folders and pictures:
                break
    return folders, pictures


def _is_class(root: Path, name: str) -> bool:
    """Whether a folder called like a split is a class: it holds pictures alone, and so do its other neighbours."""
    pictures_alone = (False, True)
    if _holds(root / name) != pictures_alone:
        return False
    others = [other for other in class_folders(root)[:_LOOKED_INTO] if split_of(other) is None]
    return any(_holds(root / other) == pictures_alone for other in others)


def _holds_splits(folder: Path) -> bool:
    """Whether a folder has a training and a validation or test folder with classes in them."""
    found = [find_split(folder, split) for split in ALIASES]
    return found[0] is not None and any(found[1:]) and all(_holds(path)[0] for path in found if path)
