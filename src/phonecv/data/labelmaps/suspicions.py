"""What is probably wrong with label maps, judged by the values in them, and whether there is anything to learn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd

import numpy as np

from phonecv.data.labelmaps.classes import LabelClasses
from phonecv.data.labelmaps.listing import IGNORE, LabelSplit
from phonecv.data.pictures.opening import ImageError
from phonecv.data.split_names import LEARNT
from phonecv.errors import UserError
from phonecv.text import printable, quoted

#: Kind, severity and text, as in `phonecv.data.audit.Finding`.
Suspicion = tuple[str, str, str]

#: What it means for a split that it holds one class at most: False for one to score by, True for one to learn from.
EFFECTS = ("its scores say nothing", "there is nothing to learn")
#: Label maps that are looked into before a split is given up, and of how many of them the picture is read, too.
_MOST, _PAIRS = 2000, 8

#: What the value 0 is called where it is everything that no other class is.
_EMPTY_NAMES = ("background", "other", "unlabeled", "unlabelled", "void", "nothing", "none", "bg")

#: A value on less than this share of the pixels is rare. Smoothing leaves several of them ...
_RARE, _SEVERAL = 0.005, 3
#: ... on at least this many pixels, of which this share lies between two areas or alone; less where there are many such
#: values. In 90 honest label maps made from COCO it was 20 % at most; in 33 of COCO and ADE20K that were resized with
#: smoothing 38 % at least, after JPEG compression 25 %, so some of the latter are not noticed.
_PIXELS, _ODD = 20, 0.6
_MANY, _ODD_OF_MANY = 16, 0.35


def smoothed(raw: np.ndarray, values: np.ndarray, counts: np.ndarray) -> str:
    """Why a label map (``H W``) seems to be resized or drawn with smoothing, or to come from a JPEG; "" if it does not.

    Smoothing makes values between those of neighbouring areas, and JPEG specks around edges. Both are rare values whose
    pixels have a smaller and a larger neighbour, or no neighbour of their own value. The pixels of a small thing that
    was labelled as such mostly touch each other instead. `counts` are the pixels of each of the `values`.
    """
    rare = values[(counts < _RARE * raw.size) & (values != IGNORE)]
    if len(rare) < _SEVERAL:
        return ""
    table = np.zeros(int(values.max()) + 1, dtype=bool)
    table[rare] = True
    mask = table[raw]
    pixels = int(mask.sum())
    if pixels < _PIXELS:
        return ""
    smallest = largest = raw
    alone = np.ones(raw.shape, dtype=bool)
    padded = np.pad(raw, 1, mode="edge")
    inside = np.pad(np.ones(raw.shape, dtype=bool), 1)
    height, width = raw.shape
    for down in range(3):
        for right in range(3):
            if (down, right) == (1, 1):
                continue
            other = padded[down : down + height, right : right + width]
            smallest, largest = np.minimum(smallest, other), np.maximum(largest, other)
            alone &= (other != raw) | ~inside[down : down + height, right : right + width]
    odd = int((mask & (alone | ((smallest < raw) & (raw < largest)))).sum()) / pixels
    if odd < (_ODD if len(rare) < _MANY else _ODD_OF_MANY):
        return ""
    shown = ", ".join(str(value) for value in rare[:4]) + (", ..." if len(rare) > 4 else "")
    return (
        f"{len(rare)} values ({shown}) on {pixels} pixels, {odd:.0%} of them alone or with values between those of"
        " their neighbours: the map seems to have been drawn or resized with smoothing, or saved as JPEG on its way"
    )


def suspicions(
    pixels: np.ndarray, files: np.ndarray, classes: LabelClasses | None
) -> tuple[list[Suspicion], frozenset[int]]:
    """What the values of a whole data set tell, and which values that explains.

    `pixels` counts those of every value, `files` the label maps that hold it.
    """
    present = [int(value) for value in np.flatnonzero(files) if value != IGNORE]
    white = int(files[IGNORE])
    if white and present == [0] and (classes is None or len(classes.names) <= 2):
        text = (
            f"only the values 0 and 255 occur: black and white masks, whose white would be ignored as {IGNORE};"
            " threshold=128 makes white class 1"
        )
        return [("label-value", "error", text)], frozenset()
    if classes is None:
        return _without_classes(present), frozenset()
    count, first = len(classes.names), classes.first
    last = (first or 0) + count - 1
    beyond = [value for value in present if value > last]
    if beyond:
        return _beyond(present, beyond, count, first, classes)
    if first == 1:
        return _from_one(pixels, present, count), frozenset()
    if present and 0 not in present and count > 2:
        text = (
            f"the value 0 never occurs, so {quoted(classes.names[0])} has no pixel; if the label maps count classes"
            " from 1, every class is off by one and reduce_zero_label=true is right"
        )
        return [("off-by-one", "warning", text)], frozenset()
    return _subtracted(pixels, present, classes), frozenset()


def _subtracted(pixels: np.ndarray, present: Sequence[int], classes: LabelClasses) -> list[Suspicion]:
    """Whether 0 seems to have become 255 by taking one off, so that every class bears the name of the one before."""
    count = len(classes.names)
    empty = classes.names[0].strip("_").casefold() in _EMPTY_NAMES
    if not (empty and count > 2 and pixels[IGNORE] and list(present) == list(range(count - 1))):
        return []
    share = pixels[IGNORE] / pixels.sum()
    first, last = quoted(classes.names[0]), quoted(classes.names[-1])
    text = (
        f"{last}, the last class, never occurs, and {IGNORE} (ignored) is on {share:.1%} of the pixels: if one was"
        f" taken off all labels, every class is off by one and {first} does not belong into the file"
    )
    return [("off-by-one", "warning", text)]


def _without_classes(present: Sequence[int]) -> list[Suspicion]:
    if not present or present[0] > 0 or len(present) == present[-1] + 1:
        how = f"the values are {present[0]} to {present[-1]}" if present else "all pixels are ignored"
        return [("structure", "note", f"{how}, {len(present)} different ones")]
    step = reduce(gcd, present)
    if step > 1:
        return [("label-value", "error", _multiples(step, present))]
    return [("structure", "note", f"the values are {present[0]} to {present[-1]}, {len(present)} different ones")]


def _multiples(step: int, present: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in present[:5]) + (", ..." if len(present) > 5 else "")
    return f"all values ({shown}) are multiples of {step}: the maps seem to be made for looking at; divide by {step}"


def _beyond(
    present: list[int], beyond: list[int], count: int, first: int | None, classes: LabelClasses
) -> tuple[list[Suspicion], frozenset[int]]:
    name = classes.path.name
    found: list[Suspicion] = []
    step = reduce(gcd, present)
    if step > 1 and present[-1] // step <= (first or 0) + count - 1:
        return [("label-value", "error", f"{_multiples(step, present)} and they fit {name}")], frozenset(beyond)
    if 254 in beyond:
        text = (
            "the value 254 occurs: it is what 255 (ignored) becomes when one is subtracted from all labels, so that may"
            " have been done already; the 0 of before would then be 255"
        )
        found.append(("off-by-one", "error", text))
    if beyond == [count] and first != 1:
        if 0 not in present:
            text = (
                f"the values run from 1 to {count} and 0 never occurs, while {name} has {count} classes from 0 to"
                f" {count - 1}: classes seem to be counted from 1; reduce_zero_label=true makes 1 class 0"
            )
        else:
            text = (
                f"the values run from 0 to {count}, one more than the {count} classes of {name}: 0 seems to mean"
                " nothing, as in ADE20K, which reduce_zero_label=true says; otherwise a class is missing in the file"
            )
        return [*found, ("off-by-one", "error", text)], frozenset(beyond)
    return found, frozenset({254} & set(beyond)) if found else frozenset()


def _from_one(pixels: np.ndarray, present: Sequence[int], count: int) -> list[Suspicion]:
    found: list[Suspicion] = []
    if count not in present and list(present) == list(range(count)) and count > 1:
        text = (
            f"the class file counts from 1 to {count}, but the values run from 0 to {count - 1} and {count} never"
            " occurs: either may be off by one"
        )
        found.append(("off-by-one", "warning", text))
    if 0 in present:
        share = pixels[0] / max(1, pixels.sum())
        text = (
            f"the value 0 has no name in the class file and is on {share:.1%} of the pixels: reduce_zero_label=true"
            " ignores it, false makes it the class 'background'"
        )
        found.append(("zero-label", "note", text))
    return found


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
    learnt = split.split in LEARNT
    if learnt and not some:
        raise UserError(f"{text}: {EFFECTS[True]}; `phonecv audit` tells what the label maps hold")
    return f"{text}: {EFFECTS[learnt]}"


def _spread(count: int) -> list[int]:
    """Up to `_MOST` places, far apart ones first."""
    step = max(1, count // _MOST)
    places = list(range(0, count, step))[:_MOST]
    stride = max(1, len(places) // 16)
    return [place for start in range(stride) for place in places[start::stride]]
