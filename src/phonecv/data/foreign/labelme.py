"""labelme's JSON, a file for each picture: polygons, rectangles and circles."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from phonecv.data.foreign.document import Document, Reads, ellipse, numbers, reads_of
from phonecv.data.foreign.tree import Partners, Source, by_split, starting
from phonecv.data.json_file import read_json_file
from phonecv.data.pictures.opening import scan_images
from phonecv.errors import UserError

_START = re.compile(
    rb'"shapes"\s*:.*"(?:imagePath|imageData)"|"(?:imagePath|imageData)"\s*:.*"shapes"|\A\s*\{\s*"version"\s*:[^,]*,\s*"flags"\s*:',
    re.S,
)

#: Gives the file that tells the layout.
find = starting(_START, ".json")


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    files = source.files(".json", like=_START)
    partners = Partners(list(scan_images(source.root)), files)
    found = by_split(files)
    return reads_of(found, lambda _, names: _read(source, names, partners))


def _read(source: Source, files: Sequence[str], partners: Partners) -> Document:
    document = Document(source.root, "xyxy")
    for file in files:
        try:
            content = read_json_file(source.root / file, _without_pixels)
        except UserError as error:
            document.tell("label-file", file, f"{str(error).partition(': ')[2]}; its picture is left out")
            continue
        given = content if isinstance(content, Mapping) else {}
        own, told = partners.of(file), given.get("imagePath")
        name = own[0] if own else told if isinstance(told, str) else file
        image = document.picture(name, given.get("imageWidth"), given.get("imageHeight"))
        shapes = given.get("shapes")
        for place, shape in enumerate(shapes if isinstance(shapes, list) else [], 1):
            _take(document, image, shape, f"{file} shape {place}")
    document.tell("reading", '"annotations"', "labelme's JSON: edges in pixels, counted from 0")
    return document


def _without_pixels(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the copy of the picture that labelme puts into it."""
    record.pop("imageData", None)
    return record


def _take(document: Document, image: int, shape: Any, place: str) -> None:
    """One shape."""
    given = shape if isinstance(shape, Mapping) else {}
    points = given.get("points")
    flat = (
        numbers([v for point in points for v in (point if isinstance(point, list) else [None])])
        if isinstance(points, list)
        else None
    )
    kind, label = given.get("shape_type") or "polygon", given.get("label")
    if kind in ("point", "points", "line", "linestrip"):
        document.tell("unread", place, f"is a {kind}; it is no object with an inside and is left out", dropped=True)
    elif not isinstance(label, str) or not label.strip():
        document.tell("category", place, "has no label; it is left out", dropped=True)
    elif flat and kind == "rectangle" and len(flat) in (4, 8):
        xs, ys = flat[::2], flat[1::2]
        document.add(image, label.strip(), place, box=[min(xs), min(ys), max(xs), max(ys)])
    elif flat and kind == "circle" and len(flat) == 4:
        radius = math.dist(flat[:2], flat[2:])
        document.add(image, label.strip(), place, rings=[ellipse(flat[0], flat[1], radius, radius)])
    elif flat and kind == "polygon" and len(flat) >= 6 and len(flat) % 2 == 0:
        document.add(image, label.strip(), place, rings=[flat])
    else:
        document.tell("unread", place, f"is no shape that is read ({str(kind)[:20]!r}); it is left out", dropped=True)
