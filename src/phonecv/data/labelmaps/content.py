"""Is there anything in the label maps of a split to learn, or to score by?"""

from __future__ import annotations

import numpy as np

from phonecv.data.labelmaps.listing import IGNORE, LabelSplit
from phonecv.data.pictures.opening import ImageError
from phonecv.data.split_names import WHOLE
from phonecv.errors import UserError
from phonecv.text import printable, quoted

#: What it means for a split that it holds one class at most: False for one to score by, True for one to learn from.
EFFECTS = ("its scores say nothing", "there is nothing to learn")

#: Label maps that are looked into before a split is given up, and of how many of them the picture is read, too.
_MOST, _PAIRS = 2000, 8


def check_content(split: LabelSplit) -> str:
    """Why a split has nothing to score by: all its pixels are ignored or of one class; "" if it has.

    Looking ends with the second class that is seen, so it is a matter of a few files as a rule.

    Raises:
        UserError: nothing of it can be used; for training also where there is nothing to learn.
    """
    seen: set[int] = set()
    first: ImageError | None = None
    count = usable = 0
    for place in _spread(len(split)):
        count += 1
        try:
            labels = split.read(place)[1] if count <= _PAIRS else split.read_label(place)
        except ImageError as error:
            first = first or error
            continue
        usable += 1
        seen |= set(np.unique(labels).tolist()) - {IGNORE}
        if len(seen) > 1:
            return ""
    folder = printable(split.labels[0].parent)
    if not usable:
        raise UserError(
            f"none of the {count} label maps of {split.split!r} looked into can be used; `phonecv audit` tells"
            f" more of it; the first: {first}"
        )
    what = f"every labelled pixel is {quoted(split.classes[min(seen)])}" if seen else "no pixel belongs to a class"
    some = "" if count == len(split) else f" in the {count} label maps looked into"
    text = f"{folder}: {what}{some}"
    learnt = split.split in ("train", WHOLE)
    if learnt and not some:
        raise UserError(f"{text}: {EFFECTS[True]}; `phonecv audit` tells what the label maps hold")
    return f"{text}: {EFFECTS[learnt]}"


def _spread(count: int) -> list[int]:
    """Up to `_MOST` places, far apart ones first."""
    step = max(1, count // _MOST)
    places = list(range(0, count, step))[:_MOST]
    stride = max(1, len(places) // 16)
    return [place for start in range(stride) for place in places[start::stride]]
