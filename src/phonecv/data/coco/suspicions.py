"""What a COCO file as a whole seems to be, where that is not what it says: one problem for all of its records.

Such a suspicion takes the place of the many single problems that it explains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.conventions import BOX_LAYOUTS, setting_and_flag
from phonecv.data.coco.tables import CocoProblem, CocoTables
from phonecv.data.folders.class_names import same_name
from phonecv.data.json_file import shown, whole
from phonecv.text import printable

#: What each layout of boxes is called in a message.
_WORDS = {
    "xywh": "left, top, width, height",
    "xyxy": "two corners (x1, y1, x2, y2)",
    "cxcywh": "centre, width, height",
    "xywh_shares": "left, top, width, height as shares of the picture",
    "xyxy_shares": "two corners as shares of the picture",
    "cxcywh_shares": "centre, width, height as shares of the picture",
}
#: Fewer boxes, or crowds, tell nothing.
_LEAST = 4
#: Boxes of a layout lie in their pictures, but for rounding (pixels, and a share of the side) and a few mistakes.
_ROUNDING, _SHARE, _MISTAKES = 1.0, 0.005, 0.02
#: Share of the boxes that have to stick out as they are read before another layout is suspected.
_STICKING_OUT = 0.05
#: Shares of sides end here, but for rounding; a whole file of boxes of one pixel and less is no file of pixels.
_LARGEST_SHARE = 1.01
#: Shares may be written as percent or thousandths: so many boxes tell, that reach so far, in pictures so much larger.
_SCALES, _TELLING, _REACH, _LARGER = {100: "percent", 1000: "thousandths"}, 20, 0.9, 1.5
#: Problems of single boxes that another layout explains.
_BY_LAYOUT = frozenset(("bad-box", "empty-box", "outside-box", "clipped-box", "area"))
#: Boxes that are compared with their outlines, and the share of both together that they have in common at least.
_COMPARED, _COMMON = 200, 0.5
#: What tools call the category of what is no object, without "_".
_NO_OBJECT = ("background", "ignore")
#: Share of the annotations that are crowds from which on they are told; COCO has one in a hundred.
_MANY_CROWDS = 0.1
#: What annotations call the name of their category beside its id.
_NAME_KEYS = ("category_name", "category", "class_name", "class", "label", "name")


def _replace(tables: CocoTables, kinds: frozenset[str], kind: str, message: str) -> None:
    """One problem in the place of all of these kinds."""
    explained = [problem for problem in tables.problems if problem.kind in kinds]
    tables.problems = [problem for problem in tables.problems if problem.kind not in kinds]
    dropped = sum(problem.count for problem in explained if problem.dropped)
    left_out = f"; as it is, {dropped} of {tables.total} annotations are left out" if dropped else ""
    tables.problems.insert(0, CocoProblem(kind, '"annotations"', message + left_out, dropped > 0, max(1, dropped)))


def suspect_layout(tables: CocoTables, layout: str, boxes: np.ndarray, images: np.ndarray) -> None:
    """Boxes (N 4, as in the file, finite) of pictures (N rows) that in all probability have another `layout`."""
    if len(boxes) < _LEAST:
        return
    heights, widths = tables.heights[images].astype(float), tables.widths[images].astype(float)
    largest, shares = float(np.abs(boxes).max()), layout.endswith("_shares")
    if not shares and 0 < largest <= _LARGEST_SHARE:
        shares, why = True, f"none of their numbers is larger than {largest:.3g}"
    elif shares and largest > 2:
        shares, why = False, f"their numbers reach {largest:.5g}"
    else:
        sticking = 1 - float(_fits(layout, boxes, heights, widths).mean())
        if sticking < _STICKING_OUT:
            if not shares and (message := _scaled(boxes, heights, widths)):
                _replace(tables, _BY_LAYOUT, "box-layout", message)
            return
        why = f"{sticking:.0%} of them stick out of their pictures as {_WORDS[layout]}"
    names = [name for name in BOX_LAYOUTS if name != layout and name.endswith("_shares") == shares]
    found = [float(_fits(name, boxes, heights, widths).mean()) for name in names]
    best = int(np.argmax(found))
    if found[best] >= 1 - _MISTAKES:
        message = (
            f"bbox seems to be written as {names[best]}, not {layout}: of {len(boxes)} boxes {why}, {found[best]:.0%}"
            f" are good as {_WORDS[names[best]]}; {setting_and_flag('boxes', names[best])} reads them so"
        )
        _replace(tables, _BY_LAYOUT, "box-layout", message)
    elif not layout.endswith("_shares") and (message := _scaled(boxes, heights, widths, sticking_out=True)):
        _replace(tables, _BY_LAYOUT, "box-layout", message)


def _scaled(boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray, *, sticking_out: bool = False) -> str:
    """What to say of boxes that are percent or thousandths of the sides in all probability; "" where they are not."""
    for scale, word in _SCALES.items() if len(boxes) >= _TELLING else ():
        small = float((np.minimum(heights, widths) < _LARGER * scale).mean())
        if np.abs(boxes).max() > _LARGEST_SHARE * scale or (small > _MISTAKES and not sticking_out):
            continue
        for name in (name for name in BOX_LAYOUTS if name.endswith("_shares")):
            left, top, wide, tall = to_xywh(name, boxes.T / scale, 1, 1)
            good = float(_fits(name, boxes / scale, heights, widths).mean())
            if good >= 1 - _MISTAKES and min((left + wide).max(), (top + tall).max()) > _REACH:
                return (
                    f"bbox seems to be in {word} of the sides: no number of {len(boxes)} boxes is above {scale}, and so"
                    f" {good:.0%} are good as {_WORDS[name]}; divide them by {scale} and choose"
                    f" {setting_and_flag('boxes', name)}"
                )
    return ""


def _fits(layout: str, boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Which boxes (N 4) have a size and lie in their pictures (N) if they are read in this way; N bool."""
    left, top, wide, tall = to_xywh(layout, boxes.T, heights, widths)
    slack_x, slack_y = _ROUNDING + _SHARE * widths, _ROUNDING + _SHARE * heights
    inside = (left >= -slack_x) & (top >= -slack_y) & (left + wide <= widths + slack_x)
    return inside & (top + tall <= heights + slack_y) & (wide > 0) & (tall > 0)


def to_xywh(layout: str, box: Any, height: Any, width: Any) -> tuple[Any, Any, Any, Any]:
    """Left, top, width and height in pixels; `box` is four numbers, or four columns of many."""
    a, b, c, d = box
    form, _, shares = layout.partition("_")
    if shares:
        a, b, c, d = a * width, b * height, c * width, d * height
    if form == "xyxy":
        return a, b, c - a, d - b
    if form == "cxcywh":
        return a - c / 2, b - d / 2, c, d
    return a, b, c, d


def suspect_classes(tables: CocoTables, records: list[Any], strange: set[int]) -> None:
    """Annotations that seem to mean other categories than they say; `strange` are their ids that are not listed."""
    if strange:
        _shifted(tables, strange)
    _named_otherwise(tables, records)


def _shifted(tables: CocoTables, strange: set[int]) -> None:
    """Annotations that count their categories from another number than the list of categories does."""
    listed = {key for key, _ in tables.categories}
    used = strange | {tables.categories[place][0] for place in np.unique(tables.categories_of).tolist()}
    for shift in (1, -1):
        if all(key + shift in listed for key in used):
            message = (
                f"category_id runs from {min(used)} to {max(used)}, but the categories from {min(listed)} to"
                f" {max(listed)}: the annotations seem to count them from {min(used)}, so that all classes are one off;"
                " renumber the one or the other"
            )
            _replace(tables, frozenset(("category",)), "category-shift", message)
            return


def _named_otherwise(tables: CocoTables, records: list[Any]) -> None:
    """Annotations that say the name of their category beside the id, and it is that of another one."""
    names = dict(tables.categories)
    known = {same_name(name): key for key, name in names.items()}
    first = next((record for record in records if isinstance(record, dict)), {})
    for word in (word for word in _NAME_KEYS if isinstance(first.get(word), str)):
        other, shown_first = 0, ""
        for number, record in enumerate(records):
            beside = record.get(word) if isinstance(record, dict) else None
            if not isinstance(beside, str):
                continue
            key, own = whole(record.get("category_id")), known.get(same_name(beside))
            if own is not None and key in names and own != key:
                other += 1
                shown_first = shown_first or (
                    f"annotations[{number}] has {word} {shown(beside)} and category_id {key}, which is"
                    f" {shown(names[key])}"
                )
        if other:
            message = f"{other} of {len(records)} have another name beside their category_id: {shown_first}"
            tables.problems.insert(0, CocoProblem("category-shift", '"annotations"', message))
            return


def suspect_repeats(tables: CocoTables) -> None:
    """Annotations of the same picture, class and box."""
    if len(tables.boxes) < 2:
        return
    images = np.repeat(np.arange(len(tables.starts) - 1), np.diff(tables.starts))
    columns = np.column_stack((images, tables.categories_of, tables.crowd, tables.boxes))
    # One number for each row to sort by; rows that differ may share it, equal ones always do.
    key = columns @ np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0]))
    ordered = columns[np.argsort(key, kind="stable")]
    again = int((ordered[1:] == ordered[:-1]).all(1).sum())
    if again:
        message = f"{again} of {len(columns)} repeat another one: same picture, class and box"
        tables.problems.append(CocoProblem("repeated-object", '"annotations"', message))


def suspect_apart(tables: CocoTables) -> None:
    """Boxes and outlines that mostly lie in different places, where no other layout of boxes says why."""
    told = any(problem.kind == "box-layout" for problem in tables.problems)
    if told or tables.masks is None or len(tables.boxes) < _LEAST:
        return
    images = np.repeat(np.arange(len(tables.starts) - 1), np.diff(tables.starts))
    places = range(0, len(tables.boxes), max(1, len(tables.boxes) // _COMPARED))
    apart = []
    for place in places:
        size = int(tables.heights[images[place]]), int(tables.widths[images[place]])
        around = coco_masks.box(tables.masks[int(tables.mask_rows[place])], *size)
        if common_share(around, tables.boxes[place].tolist()) < _COMMON:
            apart.append((tables.boxes[place].tolist(), around))
    if 2 * len(apart) > len(places):
        box, around = ([round(value, 1) for value in one] for one in apart[0])
        message = (
            f"{len(apart)} of {len(places)} boxes that were looked at are not around their outlines, the first one"
            f" {box} around an outline in {around}: one of the two is written in another way than pixels from the top"
            " left corner"
        )
        tables.problems.append(CocoProblem("apart", '"annotations"', message))


def common_share(one: Sequence[float], other: Sequence[float]) -> float:
    """What two boxes (left, top, width, height) have in common, as a share of both together."""
    sides = (min(a + c, b + d) - max(a, b) for a, b, c, d in zip(one[:2], other[:2], one[2:], other[2:], strict=True))
    common = math.prod(max(0.0, side) for side in sides)
    return common / max(one[2] * one[3] + other[2] * other[3] - common, 1e-9)


def suspect_crowds(tables: CocoTables) -> None:
    """Many crowds."""
    count, total = int(tables.crowd.sum()), len(tables.crowd)
    if count >= _LEAST and count > _MANY_CROWDS * total:
        message = (
            f"{count} of {total} are crowds (iscrowd=1), which are neither learnt nor counted; CVAT marks every brush"
            " mask so, whatever it shows"
        )
        tables.problems.append(CocoProblem("crowd", '"annotations"', message))


def drop_placeholders(tables: CocoTables, groups: dict[int, str]) -> None:
    """Leave out categories that no object has and that are no class of their own.

    Those are the one that stands for the group ("supercategory") of all others, as Roboflow writes it, the background,
    as labelme's converter writes it, and those without a name.
    """
    used = np.bincount(tables.categories_of, minlength=len(tables.categories))
    dead = []
    for place, (key, name) in enumerate(tables.categories):
        others = {same_name(group) for other, group in groups.items() if other != key and group}
        stands_for_group = same_name(name) in others and same_name(groups.get(key, "none")) in ("none", same_name(name))
        background = same_name(name).strip("_") in _NO_OBJECT
        if not used[place] and (stands_for_group or background or groups.get(key) == ""):
            dead.append(place)
            what = "is the group of the others" if stands_for_group else "has no name"
            what = "means no object" if background else what
            message = f"{what} and no annotation has it; it is no class"
            tables.problems.append(CocoProblem("placeholder", f"category {printable(name)} (id {key})", message))
    if dead and len(dead) < len(tables.categories):
        kept = np.setdiff1d(np.arange(len(tables.categories)), dead)
        renumbered = np.zeros(len(tables.categories), dtype=np.int32)
        renumbered[kept] = np.arange(len(kept))
        tables.categories_of = renumbered[tables.categories_of]
        tables.categories = [tables.categories[place] for place in kept]
