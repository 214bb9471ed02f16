"""A COCO file in memory: columns of numbers, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from phonecv.data.findings import more_of_this
from phonecv.data.loading.byte_table import ByteTable

#: Kinds of faults that make a file unusable.
FATAL = ("structure", "record")
#: Kind of what is no fault: how the files of another tool are read.
READING = "reading"


@dataclass(frozen=True, slots=True)
class CocoProblem:
    """One thing that is wrong with a COCO file.

    Attributes:
        kind: "structure" or "record" (the file can't be used); "missing-file" (its picture can't be read); "orphan",
            "category", "bad-box", "empty-box", "outside-box", "bad-mask", "no-mask" (an annotation is left out);
            "box-layout", "category-shift", "category-twice" (the whole file is probably not what it seems);
            "clipped-box", "annotation-id", "apart", "area", "category-name", "crowd", "fitted", "picture-name",
            "picture-size", "placeholder", "repeated-file", "repeated-object", "respelled" (for information); of files
            of other tools "label-file" (a file or picture is left out), "unread" (shapes that are no objects) and
            `READING`.
        place: where, such as "annotations[3] (id 17, picture 000017.jpg)".
        message: what is wrong.
        dropped: whether annotations are left out because of it.
        count: how many records it speaks of; the place is that of the first.
    """

    kind: str
    place: str
    message: str
    dropped: bool = False
    count: int = 1

    @property
    def alike(self) -> int:
        """For how many records `place` stands; 1 where that is a whole list: `message` then says how many."""
        return 1 if self.place.startswith('"') else self.count

    def __str__(self) -> str:
        return f"{self.place}: {self.message}{more_of_this(self.alike)}"


@dataclass(slots=True)
class CocoTables:
    """What is in a COCO file; annotations are ordered by picture, and within one as in the file.

    Attributes:
        categories: id and name, by id.
        image_ids: I int64.
        names: I file names.
        heights: I int32.
        widths: I int32.
        starts: I + 1 int64, rows of the annotations of each picture.
        boxes: A 4 float64, left, top, width, height, as in the file.
        categories_of: A int32, places in `categories`.
        crowd: A bool.
        areas: A float64.
        masks: packed masks (`phonecv.data.coco.masks`), A rows in the order `mask_rows`; None if not asked for.
        mask_rows: A int64.
        total: annotations in the file, those left out included.
        problems: all that is wrong.
    """

    categories: list[tuple[int, str]] = field(default_factory=list)
    image_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    names: ByteTable = field(default_factory=lambda: ByteTable(()))
    heights: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    widths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    categories_of: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    areas: np.ndarray = field(default_factory=lambda: np.zeros(0))
    masks: ByteTable | None = None
    mask_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    total: int = 0
    problems: list[CocoProblem] = field(default_factory=list)

    @property
    def fatal(self) -> list[CocoProblem]:
        """Problems that make the file unusable."""
        return [problem for problem in self.problems if problem.kind in FATAL]
