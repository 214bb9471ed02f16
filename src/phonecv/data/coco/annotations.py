"""The one long list of a COCO file: its annotations, each checked by itself."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco import shapes as coco_shapes
from phonecv.data.coco import suspicions
from phonecv.data.coco.conventions import BoxLayout
from phonecv.data.coco.masks import MaskError
from phonecv.data.coco.suspicions import to_xywh
from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.foreign.document import Document
from phonecv.data.json_file import no_id, shown, whole
from phonecv.data.loading.byte_table import ByteTable
from phonecv.text import printable

#: Larger numbers are no pixels, whatever the picture.
_LARGEST = 1e9
#: Boxes are cut at the border without a word if they reach less far beyond it, in pixels: that is rounding.
_ROUNDING = 1.0
#: What is left of a box inside its picture and is narrower than this is no object that could be found, in pixels.
_SMALLEST = 0.1
#: Areas are those of masks, and masks may reach this far beyond their box on either side, in pixels.
_BEYOND = 2.0


class AnnotationReader:
    """Fills the tables with the annotations of a file; `places` of categories and `rows` of pictures are by id.

    `document` is where they come from if they are of another tool."""

    def __init__(
        self,
        tables: CocoTables,
        places: dict[int, int],
        rows: dict[int, int],
        *,
        masks: bool,
        layout: BoxLayout = "xywh",
        document: Document | None = None,
    ) -> None:
        self.tables, self.with_masks, self.layout, self.document = tables, masks, layout, document
        self.outline_shares = document is not None and document.boxes.endswith("_shares")
        self.places: dict[int | None, int] = {**places}
        self.rows: dict[int | None, int] = {**rows}
        self.heights, self.widths = tables.heights.tolist(), tables.widths.tolist()
        self.images, self.labels = array("q"), array("i")
        self.boxes, self.areas, self.crowd = array("d"), array("d"), array("b")
        self.masks: list[bytes] = []
        self.seen: set[int] = set()
        self.raw, self.raw_images = array("d"), array("q")  # as in the file, whatever becomes of them
        self.strange: set[int | None] = set()  # categories that are not listed
        self.names: dict[str, dict[str, int]] = {}  # by key of the annotations, where those are names
        self.told: dict[str, CocoProblem] = {}

    def read(self, records: list[Any]) -> None:
        """Fill the tables."""
        tables = self.tables
        tables.total = len(records)
        for number, record in enumerate(records):
            self._take(number, record)
        tables.problems += self.told.values()
        order = np.argsort(np.frombuffer(self.images, dtype=np.int64), kind="stable")
        per_image = np.bincount(np.frombuffer(self.images, dtype=np.int64), minlength=len(self.rows))
        tables.starts = np.concatenate(([0], per_image.cumsum()))
        tables.boxes = np.frombuffer(self.boxes, dtype=np.float64).reshape(-1, 4)[order]
        tables.categories_of = np.frombuffer(self.labels, dtype=np.int32)[order]
        tables.crowd = np.frombuffer(self.crowd, dtype=np.int8).astype(bool)[order]
        tables.areas = np.frombuffer(self.areas, dtype=np.float64)[order]
        tables.mask_rows = order
        tables.masks = ByteTable(self.masks) if self.with_masks else None
        raw = np.frombuffer(self.raw, dtype=np.float64).reshape(-1, 4)
        images = np.frombuffer(self.raw_images, dtype=np.int64)
        suspicions.suspect_layout(tables, self.layout, raw, images)
        suspicions.suspect_classes(tables, records, {key for key in self.strange if key is not None})
        suspicions.suspect_repeats(tables)
        suspicions.suspect_apart(tables)
        if self.document is None:  # which told already why annotations are crowds
            suspicions.suspect_crowds(tables)

    def _take(self, number: int, record: Any) -> None:
        if type(record) is not dict:
            self._note("bad-box", number, {}, f"is {shown(record)}, not an object", dropped=True)
            return
        mended: list[str] = []
        image = self.rows.get(_number(record.get("image_id")))
        if image is None:
            image = self._named(record, "image_id", mended)
        if image is None:
            what = f"image_id {shown(record['image_id'])} is not among the pictures" if "image_id" in record else ""
            self._note("orphan", number, record, what or "has no image_id", dropped=True)
            return
        label = self.places.get(_number(record.get("category_id")))
        if label is None:
            label = self._named(record, "category_id", mended)
        if label is None:
            what = "has no category_id"
            if "category_id" in record:
                self.strange.add(_number(record["category_id"]))
                what = f"category_id {shown(record['category_id'])} is not among the {len(self.places)} categories"
            self._note("category", number, record, what, dropped=True)
            return
        height, width = self.heights[image], self.widths[image]
        mask, mask_fault = b"", ""
        box, how = coco_shapes.box_of(record.get("bbox"))
        if how:
            mended.append(f"bbox is written as {how}")
        from_mask = coco_shapes.nothing(box)
        if self.with_masks or from_mask:
            try:
                given = record.get("segmentation")
                if self.outline_shares and isinstance(given, list):
                    given = [_in_pixels(ring, height, width) for ring in given]
                mask = coco_masks.pack(given, height, width, mended)
            except MaskError as error:
                mask_fault = str(error)
        if from_mask and mask:
            mended.append("bbox says nothing; it is taken from the mask")
            box = coco_masks.box(mask, height, width)
            kind, reason = _box_fault(box, height, width)
        else:
            kind, reason = _number_fault(box)
            if not kind:
                self.raw.extend(box)  # pyrefly: ignore[bad-argument-type]
                self.raw_images.append(image)
                if self.layout != "xywh":
                    box = list(to_xywh(self.layout, box, height, width))
                kind, reason = _box_fault(box, height, width)
        if kind and kind != "clipped-box":
            self._note(kind, number, record, reason, dropped=True)
            return
        if self.with_masks and mask_fault:
            self._note("bad-mask", number, record, mask_fault, dropped=True)
            return
        if self.with_masks and not mask:
            self._note("no-mask", number, record, "has no mask; it can serve for boxes only", dropped=True)
            return
        flag = record.get("iscrowd")
        crowd = int(flag or 0) if isinstance(flag, bool | None) else _number(flag)
        if crowd not in (0, 1):
            self._note("bad-box", number, record, f"iscrowd is {shown(flag)}, neither 0 nor 1", dropped=True)
            return
        if kind:
            self._note(kind, number, record, reason)
        for text in mended:
            self._tell("respelled", number, record, text)
        self._check_id(number, record)
        self.images.append(image)
        self.labels.append(label)
        self.boxes.extend(box)  # pyrefly: ignore[bad-argument-type]
        self.crowd.append(crowd)
        self.areas.append(self._area(number, record, box, mask, height, width))
        if self.with_masks:
            self.masks.append(mask)

    def _named(self, record: dict[str, Any], key: str, mended: list[str]) -> int | None:
        """The picture or category whose name stands in the place of its id."""
        name = record.get(key)
        if not isinstance(name, str):
            return None
        if key not in self.names:
            tables = self.tables
            every = (
                [name for _, name in tables.categories]
                if key == "category_id"
                else [tables.names[row].decode("utf-8", "surrogateescape") for row in range(len(tables.names))]
            )
            count = Counter(every)
            self.names[key] = {one: place for place, one in enumerate(every) if count[one] == 1}
        place = self.names[key].get(name)
        if place is not None:
            mended.append(f"{key} is a name")
        return place

    def _area(self, number: int, record: dict[str, Any], box: Any, mask: bytes, height: int, width: int) -> float:
        """The area that is given if it can be one, else that of the mask, else that of the box."""
        value: Any = record.get("area")
        if isinstance(value, str):
            (value, *_), _ = coco_shapes.box_of([value, 0, 0, 0])
        # Less than a pixel is a share of the picture, as that of a box is whose numbers are shares.
        least = min(1.0, box[2] * box[3])
        possible = type(value) in (int, float) and least <= value <= (box[2] + _BEYOND) * (box[3] + _BEYOND)
        if possible and not self.layout.endswith("_shares"):
            return float(value)
        area = float(coco_masks.area(mask, height, width) if mask else box[2] * box[3])
        if value is not None and not self.layout.endswith("_shares"):
            of = "mask" if mask else "box"
            self._tell("area", number, record, f"area {shown(value)} is impossible; that of its {of} is used, {area:g}")
        return area

    def _check_id(self, number: int, record: dict[str, Any]) -> None:
        key = _number(record.get("id"))
        if key is None or key in self.seen:
            what = f"id {shown(record.get('id'))} is given twice" if key is not None else no_id(record)
            self._note("annotation-id", number, record, f"{what}; a new one is used")
        else:
            self.seen.add(key)

    def _place(self, number: int, record: dict[str, Any]) -> str:
        if self.document is not None:
            return self.document.places[number]
        known = [f"id {shown(record['id'])}"] if "id" in record else []
        image = self.rows.get(_number(record.get("image_id")))
        if image is not None:
            known.append(f"picture {printable(self.tables.names[image].decode('utf-8', 'surrogateescape'))}")
        return f"annotations[{number}]" + (f" ({', '.join(known)})" if known else "")

    def _note(self, kind: str, number: int, record: dict[str, Any], message: str, *, dropped: bool = False) -> None:
        message += "; it is left out" if dropped else ""
        self.tables.problems.append(CocoProblem(kind, self._place(number, record), message, dropped))

    def _tell(self, kind: str, number: int, record: dict[str, Any], message: str) -> None:
        """One problem for all records that are mended in the same way: whole files are."""
        key = kind if kind == "area" else message
        first = self.told.get(key)
        self.told[key] = (
            replace(first, count=first.count + 1) if first else CocoProblem(kind, self._place(number, record), message)
        )


def _number(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else whole(value)


def _in_pixels(ring: Sequence[float], height: int, width: int) -> list[float]:
    return [value * (height if place % 2 else width) for place, value in enumerate(ring)]


def _number_fault(box: Any) -> tuple[str, str]:
    """Kind of problem and message; two empty texts for four good numbers."""
    if type(box) is not list or len(box) != 4:
        return "bad-box", f"bbox is {shown(box)}; four numbers x, y, width, height are expected"
    # Comparisons with NaN are false, and those with huge whole numbers exact.
    if not all(type(value) in (int, float) and -_LARGEST < value < _LARGEST for value in box):
        return "bad-box", f"bbox is {shown(box)}; its values have to be finite numbers of pixels"
    return "", ""


def _box_fault(box: Any, height: int, width: int) -> tuple[str, str]:
    """Kind of problem and message of four numbers; two empty texts for a good box."""
    left, top, wide, tall = box
    if wide < 0 or tall < 0:
        return "bad-box", f"bbox {shown(box)} has a negative width or height"
    if wide == 0 or tall == 0:
        return "empty-box", f"bbox {shown(box)} has no width or height"
    right, bottom = left + wide, top + tall
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return "outside-box", f"bbox {shown(box)} lies outside the picture of {width} x {height}"
    if min(wide, tall, right, bottom, width - left, height - top) < _SMALLEST:
        what = f"less than {_SMALLEST} pixels of bbox {shown(box)} are in the picture of {width} x {height}"
        return "empty-box", what
    beyond = max(-left, -top, right - width, bottom - height)
    if beyond > _ROUNDING:
        return "clipped-box", f"bbox {shown(box)} reaches beyond the picture of {width} x {height} and is cut"
    return "", ""
