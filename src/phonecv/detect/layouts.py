"""The layouts of detection data: COCO files, and what other tools write."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from phonecv.data.coco.audit import COCO_FIXES, audit_coco, has_coco_files, has_objects, what_is_there
from phonecv.data.labelmaps.folders import has_label_maps
from phonecv.data.layouts import Layout
from phonecv.data.pictures.opening import is_image_name
from phonecv.data.split_names import ALIASES


def looks_sorted(root: Path, split: str) -> bool:
    """Whether a folder is a data set of classifiers: several folders with pictures in it, or in that of the split."""
    if (root / "annotations").exists() or any(root.glob("*.json")):
        return False
    splits = {name for names in ALIASES.values() for name in names}
    for folder in (root / split, root):
        inner = [entry for entry in islice(folder.glob("*"), 1000) if entry.is_dir() and entry.name not in splits]
        if sum(any(is_image_name(file.name) for file in islice(entry.iterdir(), 10)) for entry in inner) > 1:
            return True
    return False


LAYOUTS = (
    Layout(
        "COCO boxes and masks",
        "detect",
        has_objects,
        audit_coco,
        COCO_FIXES,
        # ImageNet has XML beside the folders of its classes, VOC beside its label maps.
        surely=lambda root: has_coco_files(root) or not (looks_sorted(root, "train") or has_label_maps(root)),
        called=what_is_there,
    ),
)
