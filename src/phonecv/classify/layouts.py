"""The layouts of classification data: list files, and a folder for each class."""

from __future__ import annotations

from pathlib import Path

from phonecv.data.clips.listing import has_clip_lists
from phonecv.data.findings import FIXES
from phonecv.data.folders.audit import audit_folders
from phonecv.data.folders.list_file import names_classes
from phonecv.data.folders.listing import find_list
from phonecv.data.folders.splits import class_folders, find_split
from phonecv.data.foreign import box_csv, yolo
from phonecv.data.foreign.tree import Tree
from phonecv.data.labelmaps.folders import IMAGE_FOLDERS, LABEL_FOLDERS
from phonecv.data.layouts import Layout
from phonecv.data.pictures.opening import scan_images
from phonecv.data.shards.samples import has_shards
from phonecv.data.split_names import ALIASES, WHOLE


def has_lists(root: Path) -> bool:
    """Whether list files give pictures and their classes; those of paths alone (YOLO), of boxes or of clips are other
    layouts."""
    lists = [path for split in (*ALIASES, WHOLE) if (path := find_list(root, split)) is not None]
    return any(_labels(root, path) for path in lists) and not has_clip_lists(root)


def _labels(root: Path, path: Path) -> bool:
    """Whether a list gives pictures and classes: neither boxes nor, as YOLO does, pictures whose names hold blanks."""
    if not names_classes(path) or box_csv.lists_boxes(path):
        return False
    return not yolo.lists_pictures(path) or yolo.find(Tree(root)) is None


def has_class_folders(root: Path) -> bool:
    """Whether the folders of the splits hold a folder of pictures for each class."""
    splits = [folder for split in ALIASES if (folder := find_split(root, split)) is not None]
    folders = [folder / name for folder in splits for name in _classes(folder)]
    return any(next(scan_images(folder), None) is not None for folder in folders)


def _classes(split: Path) -> list[str]:
    """Folders of a split that may be classes: not ``train/images`` with ``train/labels``, nor those of COCO exports and
    of KITTI."""
    names = class_folders(split)
    known = {*IMAGE_FOLDERS, *LABEL_FOLDERS, "jpegimages", "image_2", "label_2", "calib", "velodyne"}
    other = {name.casefold() for name in names} <= known or (split / "_annotations.coco.json").is_file()
    return [] if other else names


LAYOUTS = (
    Layout("shards", "classify", has_shards, audit_folders, FIXES),
    Layout("list files", "classify", has_lists, audit_folders, FIXES),
    # Assumed as well: a folder that is itself a split, with a folder for each class.
    Layout("class folders", "classify", has_class_folders, audit_folders, FIXES, assumed=True),
)
