"""The layouts of segmentation data: label maps, and outlines that they are drawn from."""

from __future__ import annotations

from pathlib import Path

from phonecv.data.coco.audit import COCO_FIXES, what_is_there
from phonecv.data.labelmaps.audit import MAP_FIXES, audit_labels
from phonecv.data.labelmaps.drawn import audit_outlines, has_outlines
from phonecv.data.labelmaps.folders import has_label_maps, paired_folders
from phonecv.data.layouts import Layout
from phonecv.text import printable_name


def _paired(root: Path) -> str:
    """Folders of pictures and label maps under other names than those that are known, for people."""
    pair = paired_folders(root)
    if pair is None:
        return ""
    images, labels = (printable_name(folder.name) for folder in pair)
    return (
        f"{images}/ and {labels}/ seem to be pictures and their label maps: call them images/ and masks/, each with"
        f" train/ and val/, or name them in training (segment.train_images={images} segment.train_labels={labels} and"
        " so on)"
    )


LAYOUTS = (
    Layout("label maps", "segment", has_label_maps, audit_labels, MAP_FIXES, nearly=_paired),
    Layout(
        "outlines of objects",
        "segment",
        has_outlines,
        audit_outlines,
        COCO_FIXES,
        surely=lambda _: False,
        called=lambda root: f"outlines of objects in {what_is_there(root) or 'COCO files'}",
    ),
)
