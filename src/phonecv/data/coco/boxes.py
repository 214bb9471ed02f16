"""In which ways files give boxes, and which of them a whole file of boxes looks like."""

from __future__ import annotations

from typing import Any

import numpy as np

from phonecv.data.coco.conventions import BOX_LAYOUTS

#: What each is called in a message.
_WORDS = {
    "xywh": "left, top, width, height",
    "xyxy": "two corners (x1, y1, x2, y2)",
    "cxcywh": "centre, width, height",
    "xywh_shares": "left, top, width, height as shares of the picture",
    "xyxy_shares": "two corners as shares of the picture",
    "cxcywh_shares": "centre, width, height as shares of the picture",
}

#: Fewer boxes tell nothing.
_LEAST = 4
#: Boxes of a layout lie in their pictures, but for rounding (pixels, and a share of the side) and a few mistakes.
_ROUNDING, _SHARE, _MISTAKES = 1.0, 0.005, 0.02
#: Share of the boxes that have to stick out as they are read before another layout is suspected.
_STICKING_OUT = 0.05
#: Shares of sides end here, but for rounding; a whole file of boxes of one pixel and less is no file of pixels.
_LARGEST_SHARE = 1.01


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


def fits(layout: str, boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Which boxes (N 4) have a size and lie in their pictures (N) if they are read in this way; N bool."""
    left, top, wide, tall = to_xywh(layout, boxes.T, heights, widths)
    slack_x, slack_y = _ROUNDING + _SHARE * widths, _ROUNDING + _SHARE * heights
    inside = (left >= -slack_x) & (top >= -slack_y) & (left + wide <= widths + slack_x)
    return inside & (top + tall <= heights + slack_y) & (wide > 0) & (tall > 0)


def suspected_layout(layout: str, boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> tuple[str, str]:
    """The layout that a whole file of boxes has in all probability, and why; two empty texts if it is `layout`.

    `boxes` are N 4, as in the file, finite; `heights` and `widths` N, of their pictures.
    """
    if len(boxes) < _LEAST:
        return "", ""
    largest = float(np.abs(boxes).max())
    if not layout.endswith("_shares") and 0 < largest <= _LARGEST_SHARE:
        names = [name for name in BOX_LAYOUTS if name.endswith("_shares")]
        why = f"none of their numbers is larger than {largest:.3g}"
    elif layout.endswith("_shares") and largest > 2:
        names = [name for name in BOX_LAYOUTS if not name.endswith("_shares")]
        why = f"their numbers reach {largest:.5g}"
    else:
        sticking = 1 - float(fits(layout, boxes, heights, widths).mean())
        if sticking < _STICKING_OUT:
            return "", ""
        shares = layout.endswith("_shares")
        names = [name for name in BOX_LAYOUTS if name != layout and name.endswith("_shares") == shares]
        why = f"{sticking:.0%} of them stick out of their pictures as {_WORDS[layout]}"
    found = [float(fits(name, boxes, heights, widths).mean()) for name in names]
    best = int(np.argmax(found))
    if found[best] < 1 - _MISTAKES:
        return "", ""
    return names[best], f"{why}, {found[best]:.0%} are good as {_WORDS[names[best]]}"
