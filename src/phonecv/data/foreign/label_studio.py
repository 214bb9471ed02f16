"""Label Studio's JSON and JSON-MIN: boxes, polygons, ellipses and brush masks in percent of the picture's sides.

Of several annotations of a picture the one changed last counts; cancelled ones and predictions never do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.data.foreign.document import Document, Reads, ellipse, number, numbers, reads_of, rotated
from phonecv.data.foreign.tree import Source, Tree, by_split
from phonecv.data.json_file import read_json_file, whole
from phonecv.data.pictures.opening import MAX_PIXELS, is_image_name
from phonecv.text import printable

_START = re.compile(
    rb'\A\s*\[.*"(?:from_name|to_name|lead_time|completions|rectanglelabels|polygonlabels|brushlabels|annotation_id)"',
    re.S,
)
_SHAPES = re.compile(rb'"(?:rectangle|polygon|brush|ellipse)(?:labels)?"')
_CHOICES = re.compile(rb'"(?:choices|taxonomy)"')
#: What holds the classes of a shape.
_LABELS = ("rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels", "labels")
#: Keys of JSON-MIN that are no data of the task.
_OWN = frozenset(("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"))
#: Keys that hold the picture, where several hold the name of one.
_PICTURE = ("image", "img", "picture", "photo", "url")


def find(tree: Tree, *, choices: bool = False) -> Path | None:
    """The file that tells the layout, or that of classes of whole pictures."""
    starts = ((path, tree.start(path)) for path in tree.ending(".json"))
    found = ((path, start) for path, start in starts if _START.search(start))
    only = ((path, bool(_CHOICES.search(start)) and not _SHAPES.search(start)) for path, start in found)
    return next((path for path, of_pictures in only if of_pictures == choices), None)


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    found = by_split(source.files(".json", like=_START))
    return reads_of(found, lambda split, names: _read(source, split, names))


def _read(source: Source, split: str, files: Sequence[str]) -> Document:
    document = Document(source.root, "xywh_shares", sized=False)
    newest: dict[tuple[str, str], tuple[str, str, list[Any]]] = {}
    for file in files:
        content = read_json_file(source.root / file)
        if not isinstance(content, list):
            document.tell("label-file", file, "is no list of tasks; it is left out")
            continue
        for place, task in enumerate(content):
            for picture, changed, results in _annotated(document, task, f"{file} task {_name(task, place)}"):
                key = file.rpartition("/")[0], picture
                earlier = newest.get(key)
                if earlier is not None:
                    document.tell(
                        "reading",
                        f"picture {printable(picture)}",
                        "is annotated several times; what was changed last counts",
                    )
                if earlier is None or changed >= earlier[0]:
                    newest[key] = changed, f"{file} task {_name(task, place)}", results
    for (folder, picture), (_, place, results) in newest.items():
        image = document.picture(picture, file=f"{folder}/")
        for result in _regions(results):
            _take(document, image, result, place)
    document.settle(split)
    document.tell("reading", '"annotations"', "Label Studio's JSON: percent of the picture as shown")
    return document


def _name(task: Any, place: int) -> str:
    return printable(str(task.get("id", place)))[:20] if isinstance(task, Mapping) else str(place)


def _annotated(document: Document, task: Any, place: str) -> Iterator[tuple[str, str, list[Any]]]:
    """Picture, time of the last change, and results of a task; nothing where it has none that count."""
    if not isinstance(task, Mapping):
        document.tell("label-file", place, "is no object; it is left out")
        return
    given = task.get("annotations", task.get("completions"))
    data = task.get("data") if given is not None else {key: value for key, value in task.items() if key not in _OWN}
    picture = _picture(data)
    if not picture:
        document.tell("label-file", place, "names no picture; it is left out")
        return
    if given is None:  # JSON-MIN
        results = [value for values in task.values() if isinstance(values, list) for value in values]
        yield picture, str(task.get("updated_at", "")), [{"value": one} for one in results if isinstance(one, Mapping)]
        return
    every = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
    done = [one for one in every if not one.get("was_cancelled") and not one.get("skipped")]
    if not done:
        waiting = "not annotated" + (", for predictions never count" if task.get("predictions") else "")
        why = "cancelled" if every else waiting
        document.tell("reading", place, f"is {why}; its picture is left out")
    for one in done:
        results = one.get("result")
        changed = str(one.get("updated_at") or one.get("created_at") or "")
        yield picture, changed, results if isinstance(results, list) else []


def _picture(data: Any) -> str:
    """What a task calls its picture."""
    if not isinstance(data, Mapping):
        return ""
    texts = {str(key): value for key, value in data.items() if isinstance(value, str) and value}
    named = [key for key in texts if is_image_name(texts[key].partition("?")[0].rpartition("/")[2])]
    asked = [key for key in texts if "?" in texts[key] and is_image_name(texts[key].rpartition("/")[2])]
    for key in (*(key for key in _PICTURE if key in texts), *named, *asked):
        return texts[key]
    return ""


def _regions(results: Iterable[Any]) -> list[dict[str, Any]]:
    """Results with a shape; labels that stand in another result of the same region are put to it."""
    found: list[dict[str, Any]] = []
    labels: dict[Any, Any] = {}
    for result in results:
        value = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(value, Mapping):
            continue
        key, given = result.get("id"), next((value[name] for name in _LABELS if value.get(name)), None)
        if given and isinstance(key, str):
            labels[key] = given
        merged = {**value, **{name: item for name, item in result.items() if name != "value"}, "labels": given}
        if {"points", "rle", "radiusX", "width"} & value.keys() and merged.get("type") not in ("labels", "choices"):
            found.append(merged)
    for one in found:
        one["labels"] = one["labels"] or (labels.get(one["id"]) if isinstance(one.get("id"), str) else None)
    return found


def _take(document: Document, image: int, region: Mapping[str, Any], place: str) -> None:
    """One region."""
    place = f"{place} region {printable(str(region.get('id', '')))[:20]}".removesuffix(" region ")
    labels = region["labels"] if isinstance(region["labels"], list) else [region["labels"]]
    label = labels[0].strip() if labels and isinstance(labels[0], str) else ""
    if not label and "keypointlabels" in region:
        document.tell("unread", place, "is a key point; it is no object with an inside and is left out", dropped=True)
        return
    if not label:
        document.tell("category", place, "has no label; it is left out", dropped=True)
        return
    if len(labels) > 1:
        document.tell("reading", place, "has several labels; the first counts")
    if number(region.get("image_rotation", 0)) != 0:
        what = "was drawn on a picture that was turned in Label Studio; it is left out"
        document.tell("unread", place, what, dropped=True)
        return
    width, height = (whole(region.get(f"original_{side}")) for side in ("width", "height"))
    if "rle" in region:
        mask = brush(region["rle"], width, height)
        if mask is None:
            document.tell("bad-mask", place, "is a brush mask that can't be read; it is left out", dropped=True)
        else:
            document.add_pixels(image, label, place, mask)
        return
    points = region.get("points")
    if isinstance(points, list):
        ring = _flat(points)
        if ring is None:
            document.tell("bad-mask", place, "is a polygon without three points; it is left out", dropped=True)
        else:
            document.add(image, label, place, rings=[ring])
        return
    round_ = "radiusX" in region
    keys = ("x", "y", "radiusX", "radiusY") if round_ else ("x", "y", "width", "height")
    values = numbers([region.get(key) for key in keys])
    turn = number(region.get("rotation", 0)) or 0.0
    if values is None or (turn and not (width and height)):
        what = "is turned and does not tell the picture's size" if values else "has no four numbers"
        document.tell("bad-box", place, f"{what}; it is left out", dropped=True)
        return
    values = [value / 100 for value in values]
    if not turn and not round_:
        document.add(image, label, place, box=values)
        return
    sides = (width or 1, height or 1)  # turned in pixels, whose sides are equal
    x, y, across, down = (value * sides[place % 2] for place, value in enumerate(values))
    ring = ellipse(x, y, across, down, turn) if round_ else rotated((x, y, across, down), turn, (x, y))
    if turn and not round_:
        document.tell("reading", place, "is turned; the upright box around it is taken")
    document.add(image, label, place, rings=[[value / sides[place % 2] for place, value in enumerate(ring)]])


def _flat(points: Sequence[Any]) -> list[float] | None:
    flat = numbers([value for point in points for value in (point if isinstance(point, list) else [None])])
    return [value / 100 for value in flat] if flat and len(flat) >= 6 and len(flat) == 2 * len(points) else None


def brush(lengths: Any, width: int | None, height: int | None) -> np.ndarray | None:
    """A brush mask H W as bool; None if it is none of this size.

    Label Studio's bits (its ``brush.py``): 32 for how many values there are, 5 for their width, 4 times 4 for the
    widths of lengths, each less one; then runs: whether one value is repeated, which of the four widths the length has,
    the length less one, and one value or as many. Values are those of an RGBA picture; the mask is its opacity.
    """
    if not isinstance(lengths, list) or not width or not height or not 0 < width * height <= MAX_PIXELS:
        return None
    try:
        bits = np.unpackbits(np.array(lengths, dtype=np.uint8))
    except (TypeError, ValueError, OverflowError):
        return None
    place = 0

    def take(count: int) -> int:
        nonlocal place
        value = int("".join(map(str, bits[place : place + count].tolist())) or "0", 2)
        place += count
        return value

    total, wide = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if total != 4 * width * height or wide != 8:
        return None
    values = np.zeros(total, dtype=np.uint8)
    filled = 0
    while filled < total:
        if place >= len(bits):
            return None
        repeated, which = take(1), take(2)
        end = min(filled + take(widths[which]) + 1, total)
        if repeated:
            values[filled:end] = take(8)
        else:
            run = bits[place : place + 8 * (end - filled)]
            if len(run) < 8 * (end - filled):
                return None
            values[filled:end] = np.packbits(run)
            place += len(run)
        filled = end
    return values[3::4].reshape(height, width) > 0
