"""Boxes and masks that are written in other ways than COCO's and can still be read in one way only.

Each function gives the value as COCO writes it and, where it was written otherwise, a few words of how.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping
from typing import Any

#: Longest text that is taken for a box, and for a mask.
_BOX_TEXT, _MASK_TEXT = 200, 1 << 24

_NUMBER = re.compile(r"\s*[-+]?(\d{1,20}(\.\d*)?|\.\d{1,30})([eE][-+]?\d{1,3})?\s*")
#: Names that say what the numbers of a box are; the last two of a pair of corners are not its size.
_SIZES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"))
#: Names of the lists that hold all x and all y of an outline.
_AXES = (("x", "y"), ("all_points_x", "all_points_y"))


def box_of(value: Any) -> tuple[Any, str]:
    """A box; what is no box stays as it is."""
    if type(value) is list and len(value) == 4:
        if not any(isinstance(one, str) for one in value):
            return value, ""
        return ([float(one) for one in value], "numbers as text") if all(map(_is_number, value)) else (value, "")
    if isinstance(value, str) and len(value) <= _BOX_TEXT:
        cells = re.split(r"\s*,\s*|\s+", value.strip().strip("[]()").strip())
        if len(cells) == 4 and all(map(_is_number, cells)):
            return [float(one) for one in cells], "a list as text"
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) and len(value[0]) == 4:
        return box_of(value[0])[0], "a list in a list"
    if isinstance(value, Mapping):
        named = {str(key).replace("_", "").casefold(): one for key, one in value.items()}
        for names in (*_SIZES, *_CORNERS):
            if set(named) == set(names) and all(_is_number(named[name]) for name in names):
                box = [float(named[name]) for name in names]
                if names in _CORNERS:
                    box[2:] = box[2] - box[0], box[3] - box[1]
                return box, "an object"
    return value, ""


def nothing(box: Any) -> bool:
    """Whether a box says nothing at all: it is missing, empty, all zero or, as tables write that, all NaN."""
    if box is None or (isinstance(box, list) and not box):
        return True
    numbers = isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)
    return numbers and (not any(box) or all(value != value for value in box))


def segmentation_of(value: Any) -> tuple[Any, str]:
    """A segmentation as a list of rings or as run lengths; what is neither stays as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and len(value) <= _MASK_TEXT:
        inner = _parsed(value)
        return (segmentation_of(inner)[0], "text") if isinstance(inner, list | dict) else (value, "")
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if not isinstance(value, list) or not value:
        return value, ""
    if len(value) == 1 and isinstance(value[0], Mapping) and "counts" in value[0]:
        return _of_mapping(value[0])[0], "run lengths in a list"
    if all(isinstance(one, array) and len(one) > 2 for one in value):  # as it ought to be
        return value, ""
    if all(map(_is_number, value)):
        return [[float(one) for one in value]], "one flat list"
    if len(value) > 2 and all(_is_point(one) for one in value):
        return [_flat(value)], "points"
    if all(isinstance(ring, list) and len(ring) > 2 and all(_is_point(one) for one in ring) for ring in value):
        return [_flat(ring) for ring in value], "points"
    if any(isinstance(ring, list) and any(isinstance(one, str) for one in ring) for ring in value) and all(
        isinstance(ring, list | array) and all(map(_is_number, ring)) for ring in value
    ):
        return [[float(one) for one in ring] for ring in value], "numbers as text"
    return value, ""


def _of_mapping(value: Mapping[str, Any]) -> tuple[Any, str]:
    counts = value.get("counts")
    if isinstance(counts, str) and counts.lstrip().startswith("["):
        inner = _parsed(counts)
        return (dict(value) | {"counts": inner}, "run lengths as text") if isinstance(inner, list) else (value, "")
    for names in _AXES:
        lists = [value.get(name) for name in names]
        if set(value) >= set(names) and all(isinstance(one, list) and all(map(_is_number, one)) for one in lists):
            pairs = zip(*lists, strict=False)  # pyrefly: ignore[bad-argument-type]
            return [[float(number) for pair in pairs for number in pair]], "lists of x and y"
    return value, ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)


def _is_point(value: Any) -> bool:
    if isinstance(value, Mapping):
        return set(value) == {"x", "y"} and all(map(_is_number, value.values()))
    return isinstance(value, list | array) and len(value) == 2 and all(map(_is_number, value))


def _flat(points: list[Any]) -> list[float]:
    pairs = ((point["x"], point["y"]) if isinstance(point, Mapping) else point for point in points)
    return [float(number) for pair in pairs for number in pair]
