"""Annotations in other layouts than COCO's: recognised by name, and read or told how they become what is read.

`LAYOUTS` is the whole of it; a further layout is a further row and, if it is read, a module with two functions:
``find`` gives the file of a `Tree` that tells the layout, ``splits`` what reads each split of a `Source` into a
`phonecv.data.foreign.document.Document`. To recognise a layout only names and the first bytes of a few files are looked
at, so that a data set of a million pictures takes no longer than one of a hundred.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from phonecv.data.foreign import box_csv, create_ml, cvat, kitti, label_studio, labelme, via, voc, yolo
from phonecv.data.foreign.document import Document, Reads
from phonecv.data.foreign.tree import Source, Tree, starting
from phonecv.errors import UserError
from phonecv.text import printable

__all__ = ["LAYOUTS", "Document", "ForeignLayout", "foreign_layout", "refuse_foreign"]

_STUDIO_TABLE = re.compile(rb'\A[^\n]*annotat[^\n]*\n.*"(?:rectangle|polygon|brush|ellipse)labels"', re.S)
_DATUMARO = re.compile(rb'\A\s*\{.*"categories"\s*:\s*\{.*"items"\s*:\s*\[', re.S)
_LINES = re.compile(rb"\A[^\n]+\.\w{3,4}(?:[ \t]+\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?){4})+[ \t]*\r?\n")
#: Layouts that are not read, and what their files hold: all from what the tools' exports look like.
_VOTT = re.compile(rb'\A(?=.*"assets?"\s*:)(?=.*"boundingBox"\s*:)', re.S)
_LABELBOX = re.compile(rb'\A(?=.*"data_row"\s*:)(?=.*"projects"\s*:)', re.S)
_SUPERANNOTATE = re.compile(rb'\A(?=.*"instances"\s*:)(?=.*"className"\s*:)', re.S)
_SCALABEL = re.compile(rb'\A(?=.*"labels"\s*:)(?=.*"(?:box2d|poly2d)"\s*:)', re.S)
_VIA_3 = re.compile(rb'\A(?=.*"project"\s*:)(?=.*"pid"\s*:)(?=.*"metadata"\s*:)', re.S)
_SUPERVISELY = re.compile(rb'"classTitle"|"(?:projectType|classes)"\s*:.*"shape"', re.S)


_ONCE_MORE = 'export the project once more as "{}"'
_FROM_THE_TOOL = f"{_ONCE_MORE.format('COCO')} from the labelling tool"


class _Row(NamedTuple):
    """A layout: its name for people, what tells it, and either what reads it or what to do with it."""

    name: str
    find: Callable[[Tree], Path | None]
    splits: Callable[[Source], Reads] | None = None
    advice: str = ""


LAYOUTS: tuple[_Row, ...] = (
    _Row("a CSV list of boxes", box_csv.find, box_csv.splits),
    _Row("CreateML's JSON", create_ml.find, create_ml.splits),
    _Row("YOLO's label files", yolo.find, yolo.splits),
    _Row("KITTI's label files", kitti.find, kitti.splits),
    _Row("Pascal VOC's XML", voc.find, voc.splits),
    _Row("CVAT's XML", cvat.find, cvat.splits),
    _Row("Label Studio's JSON", label_studio.find, label_studio.splits),
    _Row(
        "classes of whole pictures in Label Studio's JSON",
        partial(label_studio.find, choices=True),
        advice="move the pictures into a folder for each class, or write lists of pictures and classes",
    ),
    _Row("Label Studio's CSV", starting(_STUDIO_TABLE, ".csv", ".tsv"), advice=_ONCE_MORE.format("JSON")),
    _Row("the VGG Image Annotator (VIA)", via.find, via.splits),
    _Row("labelme's JSON, one file a picture", labelme.find, labelme.splits),
    _Row("Datumaro's JSON", starting(_DATUMARO, ".json"), advice=_ONCE_MORE.format("COCO")),
    _Row("boxes in lines behind names of pictures (YOLO for Keras)", starting(_LINES, ".txt"), advice=_FROM_THE_TOOL),
    _Row(
        "a Supervisely project",
        starting(_SUPERVISELY, ".json"),
        advice='export it with Supervisely\'s app "Export to COCO"',
    ),
    _Row(
        "a VoTT project",
        lambda tree: tree.starts(tree.ending(".json"), _VOTT),
        advice='export it from VoTT once more as "Pascal VOC" or "CSV"',
    ),
    _Row(
        "Labelbox's export",
        lambda tree: tree.starts(tree.ending(".json", ".ndjson"), _LABELBOX),
        advice="write it as COCO, of which it has everything",
    ),
    _Row(
        "SuperAnnotate's JSON",
        lambda tree: tree.starts(tree.ending(".json"), _SUPERANNOTATE),
        advice="write it as COCO, of which it has everything",
    ),
    _Row(
        "Scalabel's JSON, as BDD100K has it",
        lambda tree: tree.starts(tree.ending(".json"), _SCALABEL),
        advice="convert it with `python -m scalabel.label.to_coco`",
    ),
    _Row(
        "a project of VIA 3",
        lambda tree: tree.starts(tree.ending(".json"), _VIA_3),
        advice='export it from VIA once more as "COCO format"',
    ),
    _Row(
        "TensorFlow records",
        lambda tree: next(tree.ending(".tfrecord", ".tfrec", ".tfrecords"), None),
        advice=_FROM_THE_TOOL,
    ),
)


@dataclass(frozen=True)
class ForeignLayout:
    """A data set of a known layout that is not ours: its name, the file that tells it, and what to do."""

    name: str
    evidence: Path
    advice: str
    source: Source
    row: _Row

    @property
    def is_read(self) -> bool:
        """Whether its boxes and outlines are read as they are."""
        return self.row.splits is not None

    def reads(self) -> Reads:
        """What reads each split of it."""
        return self.row.splits(self.source) if self.row.splits is not None else {}

    def beside(self) -> list[str]:
        """Names of other layouts that are read and are in the same place, but not taken."""
        others = (row for row in LAYOUTS if row is not self.row and row.splits is not None)
        return [] if self.source.alone else [row.name for row in others if row.find(self.source.tree) is not None]

    def message(self, root: Path) -> str:
        """One line of what was found and what to do."""
        place = self.evidence.relative_to(root) if self.evidence.is_relative_to(root) else self.evidence
        what = f"this is {self.name} (by {printable(place)})"
        if self.is_read:
            return f"{what}: objects in pictures, which are read where objects are asked for, not here"
        return f"{what}, which is not read as it is; {self.advice}"


def foreign_layout(root: Path | str) -> ForeignLayout | None:
    """The layout of the annotations at `root`, a folder or one file, if it is known and not ours; None otherwise.

    Whether there is also something of ours is the caller's question, and the first one to ask.
    """
    root, file = Path(root), None
    tree = Tree(root)
    if not root.is_dir():
        root, file = root.parent, root
        tree.folders = [(root, [file.name])]
    for row in LAYOUTS:
        evidence = row.find(tree)
        if evidence is not None and evidence == (file or evidence):
            return ForeignLayout(row.name, evidence, row.advice, Source(root, evidence, tree, file is not None), row)
    return None


def refuse_foreign(root: Path | str) -> None:
    """Nothing, unless the annotations at `root` are of a known layout that is not ours."""
    found = foreign_layout(root)
    if found is not None:
        raise UserError(f"{printable(root)}: {found.message(Path(root))}")
