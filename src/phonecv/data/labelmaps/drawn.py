"""Label maps drawn from the outlines of objects, where a data set has those and no maps.

The annotations are those of `phonecv.data.coco`: COCO files and what other tools write. Classes are the "background"
and those of the objects; where objects overlap, the one that comes later in the file lies on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from phonecv.data.coco.audit import audit_coco, has_objects
from phonecv.data.coco.conventions import CocoReading
from phonecv.data.coco.paths import find_coco, undivided
from phonecv.data.coco.reader import read_coco
from phonecv.data.coco.split import CocoSplit
from phonecv.data.coco.tables import READING
from phonecv.data.findings import Look, Notes, Numbers
from phonecv.data.folders.class_names import same_name
from phonecv.data.labelmaps.classes import BACKGROUND, palette_for
from phonecv.data.labelmaps.files import LabelSizeError, LabelValues
from phonecv.data.labelmaps.folders import has_label_maps
from phonecv.data.labelmaps.listing import LabelSplit, read_label_split
from phonecv.data.pictures.opening import open_image
from phonecv.data.split_names import WHOLE
from phonecv.errors import UserError
from phonecv.text import printable

#: What a person should know.
DRAWN = "label maps are drawn from the outlines of objects: what is in none is background, later objects lie on top"


@dataclass(frozen=True)
class DrawnSplit(LabelSplit):
    """A split whose label maps are drawn when they are asked for; `labels` are the file of the annotations.

    Attributes:
        objects: what is drawn.
        numbers: class of each class of objects, uint8; pixels of none are `outside`.
    """

    _: KW_ONLY
    objects: CocoSplit
    numbers: tuple[int, ...]
    outside: int

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should know but can live with."""
        return (DRAWN, *self.objects.notes)

    @property
    def label_digest(self) -> str:
        """See `LabelSplit.label_digest`."""
        return self.objects.label_digest

    def select(self, rows: Sequence[int] | np.ndarray) -> Self:
        """These pictures alone."""
        return replace(super().select(rows), objects=self.objects.select(rows))

    def read_label(self, index: int) -> np.ndarray:
        """``H W`` uint8, classes, of the size that the annotations are for."""
        table = np.array((self.outside, *self.numbers), dtype=np.uint8)
        return table[self.objects.drawn(index)]

    def read(self, index: int, *, bits: int | None = None) -> tuple[Image.Image, np.ndarray]:
        """See `LabelSplit.read`."""
        picture, labels = open_image(self.images[index], bits=bits), self.read_label(index)
        if labels.shape != (picture.height, picture.width):
            height, width = labels.shape
            raise LabelSizeError(
                self.images[index],
                f"has {picture.width} x {picture.height} pixels, but its annotations are for {width} x {height}",
            )
        return picture, labels


def has_outlines(root: Path) -> bool:
    """Whether label maps are to be drawn: there are none, but annotations of objects."""
    return root.is_dir() and not has_label_maps(root) and has_objects(root)


def audit_outlines(notes: Notes, root: Path, look: Look) -> Numbers:
    """Look at the annotations that label maps are drawn from."""
    numbers = audit_coco(notes, root, look, outlines=True)
    notes.add(READING, "note", root, DRAWN)
    return numbers


def read_split(
    root: Path | str,
    split: str = "train",
    *,
    classes: Sequence[str] | int | None = None,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    stored: bool = False,
    **others: Any,
) -> LabelSplit:
    """A split of label maps as `read_label_split` reads it, or drawn where the folder has outlines of objects instead.

    `split` may be "all" for all pictures of a folder that has no splits.
    """
    root = Path(root)
    if images is not None or labels is not None or not has_outlines(root):
        return read_label_split(root, split, classes=classes, images=images, labels=labels, stored=stored, **others)
    if others.get("reduce_zero_label") or others.get("threshold") is not None:
        raise UserError(
            f"{printable(root)}: label maps are drawn from the outlines of objects here; leave out reduce_zero_label"
            " and threshold"
        )
    return _drawn(root, split, classes, CocoReading(stored=stored))


def _drawn(root: Path, split: str, classes: Sequence[str] | int | None, reading: CocoReading) -> DrawnSplit:
    paths = undivided(root) if split == WHOLE else None
    paths = paths or find_coco(root, split)
    given = None if classes is None or isinstance(classes, int) else tuple(classes)
    objects = read_coco(paths, masks=True, classes=given, reading=reading)
    background = any(same_name(name) == BACKGROUND for name in objects.classes)
    names = objects.classes if background else (BACKGROUND, *objects.classes)
    if isinstance(classes, int) and classes != len(names):
        listed = ", ".join(map(printable, names[:8]))
        raise UserError(f"{classes} classes were asked for, but there are {len(names)} with the background: {listed}")
    outside = next(number for number, name in enumerate(names) if same_name(name) == BACKGROUND)
    return DrawnSplit(
        root,
        split,
        names,
        palette_for(names),
        tuple(objects.path(index) for index in range(len(objects))),
        (objects.source,) * len(objects),
        LabelValues(len(names)),
        objects=objects,
        numbers=tuple(map(names.index, objects.classes)),
        outside=outside,
    )
