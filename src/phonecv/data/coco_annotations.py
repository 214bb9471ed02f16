"""The one long list of a COCO file: its annotations, each checked by itself."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from phonecv.data import coco_masks
from phonecv.data.byte_table import ByteTable
from phonecv.data.coco_masks import MaskError
from phonecv.data.coco_tables import CocoProblem, CocoTables
from phonecv.data.images import printable
from phonecv.data.json_file import shown, whole

#: Larger numbers are no pixels, whatever the picture.
_LARGEST = 1e9
#: Boxes are cut at the border without a word if they reach less far beyond it, in pixels: that is rounding.
_ROUNDING = 1.0


class AnnotationReader:
    """Fills the tables with the annotations of a file.

    Args:
        tables: with the pictures and categories filled in.
        places: of the categories, by id.
        rows: of the pictures, by id.
        masks: whether annotations need a mask.
    """

    def __init__(self, tables: CocoTables, places: dict[int, int], rows: dict[int, int], *, masks: bool) -> None:
        self.tables, self.with_masks = tables, masks
        self.places: dict[int | None, int] = {**places}
        self.rows: dict[int | None, int] = {**rows}
        self.heights, self.widths = tables.heights.tolist(), tables.widths.tolist()
        self.images, self.labels, self.ids = array("q"), array("i"), array("q")
        self.boxes, self.areas, self.crowd = array("d"), array("d"), array("b")
        self.masks: list[bytes] = []
        self.seen: set[int] = set()
        self.unnumbered: list[int] = []

    def read(self, records: list[Any]) -> None:
        """Fill the tables."""
        tables = self.tables
        tables.total = len(records)
        for number, record in enumerate(records):
            self._take(number, record)
        order = np.argsort(np.frombuffer(self.images, dtype=np.int64), kind="stable")
        per_image = np.bincount(np.frombuffer(self.images, dtype=np.int64), minlength=len(self.rows))
        tables.starts = np.concatenate(([0], per_image.cumsum()))
        tables.boxes = np.frombuffer(self.boxes, dtype=np.float64).reshape(-1, 4)[order]
        tables.categories_of = np.frombuffer(self.labels, dtype=np.int32)[order]
        tables.crowd = np.frombuffer(self.crowd, dtype=np.int8).astype(bool)[order]
        tables.areas = np.frombuffer(self.areas, dtype=np.float64)[order]
        ids = np.frombuffer(self.ids, dtype=np.int64).copy()
        # Numbers that nobody else has.
        ids[self.unnumbered] = max(self.seen, default=0) + 1 + np.arange(len(self.unnumbered))
        tables.annotation_ids = ids[order]
        tables.mask_rows = order
        tables.masks = ByteTable(self.masks) if self.with_masks else None

    def _take(self, number: int, record: Any) -> None:
        if type(record) is not dict:
            self._note("bad-box", number, {}, f"is {shown(record)}, not an object", dropped=True)
            return
        image = self.rows.get(_number(record.get("image_id")))
        if image is None:
            what = f"image_id {shown(record['image_id'])} is not among the pictures" if "image_id" in record else ""
            self._note("orphan", number, record, what or "has no image_id", dropped=True)
            return
        label = self.places.get(_number(record.get("category_id")))
        if label is None:
            what = "has no category_id"
            if "category_id" in record:
                what = f"category_id {shown(record['category_id'])} is not among the {len(self.places)} categories"
            self._note("category", number, record, what, dropped=True)
            return
        height, width = self.heights[image], self.widths[image]
        box = record.get("bbox")
        kind, reason = _box_fault(box, height, width)
        if kind and kind != "clipped-box":
            self._note(kind, number, record, reason, dropped=True)
            return
        mask = b""
        if self.with_masks:
            try:
                mask = coco_masks.pack(record.get("segmentation"), height, width)
            except MaskError as error:
                self._note("bad-mask", number, record, str(error), dropped=True)
                return
            if not mask:
                self._note("no-mask", number, record, "has no mask; it can serve for boxes only", dropped=True)
                return
        flag = record.get("iscrowd")
        crowd = int(flag or 0) if isinstance(flag, bool | None) else _number(flag)
        if crowd not in (0, 1):
            self._note("bad-box", number, record, f"iscrowd is {shown(flag)}, neither 0 nor 1", dropped=True)
            return
        if kind:
            self._note(kind, number, record, reason)
        self._number_it(number, record)
        self.images.append(image)
        self.labels.append(label)
        self.boxes.extend(box)  # pyrefly: ignore[bad-argument-type]
        self.crowd.append(crowd)
        self.areas.append(_area(record.get("area"), box, mask, height, width))
        if self.with_masks:
            self.masks.append(mask)

    def _number_it(self, number: int, record: dict[str, Any]) -> None:
        key = _number(record.get("id"))
        if key is None or key in self.seen:
            what = f"id {shown(record.get('id'))} is given twice" if key is not None else no_id(record)
            self._note("annotation-id", number, record, f"{what}; a new one is used")
            self.unnumbered.append(len(self.ids))
            key = 0
        else:
            self.seen.add(key)
        self.ids.append(key)

    def _note(self, kind: str, number: int, record: dict[str, Any], message: str, *, dropped: bool = False) -> None:
        known = [f"id {shown(record['id'])}"] if "id" in record else []
        image = self.rows.get(_number(record.get("image_id")))
        if image is not None:
            known.append(f"picture {printable(self.tables.names[image].decode('utf-8', 'surrogateescape'))}")
        place = f"annotations[{number}]" + (f" ({', '.join(known)})" if known else "")
        self.tables.problems.append(CocoProblem(kind, place, message, dropped))


def _number(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else whole(value)


def _box_fault(box: Any, height: int, width: int) -> tuple[str, str]:
    """Kind of problem and message; two empty texts for a good box."""
    if type(box) is not list or len(box) != 4:
        return "bad-box", f"bbox is {shown(box)}; four numbers x, y, width, height are expected"
    # Comparisons with NaN are false, and those with huge whole numbers exact.
    if not all(type(value) in (int, float) and -_LARGEST < value < _LARGEST for value in box):
        return "bad-box", f"bbox is {shown(box)}; its values have to be finite numbers of pixels"
    left, top, wide, tall = box
    if wide < 0 or tall < 0:
        return "bad-box", f"bbox {shown(box)} has a negative width or height"
    if wide == 0 or tall == 0:
        return "empty-box", f"bbox {shown(box)} has no width or height"
    right, bottom = left + wide, top + tall
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return "outside-box", f"bbox {shown(box)} lies outside the picture of {width} x {height}"
    beyond = max(-left, -top, right - width, bottom - height)
    if beyond > _ROUNDING:
        return "clipped-box", f"bbox {shown(box)} reaches beyond the picture of {width} x {height} and is cut"
    return "", ""


def _area(value: Any, box: Any, mask: bytes, height: int, width: int) -> float:
    """The area that is given, else that of the mask, else that of the box."""
    if type(value) in (int, float) and 0 <= value < _LARGEST**2:
        return float(value)
    return float(coco_masks.area(mask, height, width) if mask else box[2] * box[3])


def no_id(record: Any) -> str:
    """What is wrong with the id of a record."""
    if not isinstance(record, dict):
        return f"is {shown(record)}, not an object"
    if "id" not in record:
        return "has no id"
    return f"id {shown(record['id'])} is not a whole number of 64 bits"
