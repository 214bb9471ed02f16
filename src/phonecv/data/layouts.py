"""What a data folder is: the layouts that are read, how each is told, and what looks it over.

A further layout is a further row of `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from phonecv.data.coco.audit import audit_coco, has_coco
from phonecv.data.findings import Look, Notes, Numbers
from phonecv.data.folders.audit import audit_folders
from phonecv.data.folders.list_file import names_classes
from phonecv.data.folders.listing import find_list
from phonecv.data.folders.splits import class_folders, find_split
from phonecv.data.labelmaps.audit import audit_labels
from phonecv.data.labelmaps.folders import IMAGE_FOLDERS, LABEL_FOLDERS, has_label_maps
from phonecv.data.pictures.opening import scan_images
from phonecv.data.split_names import known_splits

Task = Literal["classify", "detect", "segment"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which a data set lies in its folder.

    Attributes:
        name: for people.
        task: that it is for.
        fits: whether a folder has it.
        run: looks it over.
    """

    name: str
    task: Task
    fits: Callable[[Path], bool]
    run: Callable[[Notes, Path, Look], Numbers]


def has_lists(root: Path) -> bool:
    """Whether list files give pictures and their classes; those of paths alone belong to other layouts (YOLO)."""
    lists = [path for split in known_splits() if (path := find_list(root, split)) is not None]
    return any(map(names_classes, lists))


def has_class_folders(root: Path) -> bool:
    """Whether the folders of the splits hold a folder of pictures for each class."""
    splits = [folder for split in known_splits() if (folder := find_split(root, split)) is not None]
    folders = [folder / name for folder in splits for name in _classes(folder)]
    return any(next(scan_images(folder), None) is not None for folder in folders)


def _classes(split: Path) -> list[str]:
    """Folders of a split that may be classes: not ``train/images`` with ``train/labels``, nor those of COCO exports."""
    names = class_folders(split)
    other = set(names) <= {*IMAGE_FOLDERS, *LABEL_FOLDERS} or (split / "_annotations.coco.json").is_file()
    return [] if other else names


LAYOUTS = (
    Layout("COCO boxes and masks", "detect", has_coco, audit_coco),
    Layout("label maps", "segment", has_label_maps, audit_labels),
    Layout("list files", "classify", has_lists, audit_folders),
    Layout("class folders", "classify", has_class_folders, audit_folders),
)

#: What is looked at where nothing tells: a folder that is itself a split, with a folder for each class.
FOLDERS = Layout("class folders", "classify", lambda _: True, audit_folders)


def find_layouts(root: Path) -> list[Layout]:
    """The layouts that a folder has, one of each audit; lists win over folders, as in training."""
    found: list[Layout] = []
    for layout in LAYOUTS:
        if layout.run not in [other.run for other in found] and layout.fits(root):
            found.append(layout)
    return found
