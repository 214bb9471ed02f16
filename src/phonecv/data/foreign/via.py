"""A project or an export of the VGG Image Annotator (VIA), JSON or CSV: rectangles, polygons, circles and ellipses.

The class is the attribute of the region that is called so, or the only one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phonecv.data.foreign.document import NAMELESS, Document, Reads, ellipse, number, numbers, reads_of
from phonecv.data.foreign.reading import read_table
from phonecv.data.foreign.tree import Source, by_split, starting
from phonecv.data.json_file import parse_json, read_json_file
from phonecv.errors import UserError

_START = re.compile(
    rb'"(?:_via_settings|_via_img_metadata|shape_attributes)"|\A\W*filename\W+file_size\W+file_attributes'
)
_CLASS_WORDS = ("class", "label", "name", "category", "type", "class_name", "object", "species")
_NO_INSIDE = ("point", "polyline", "line")

#: Gives the file that tells the layout.
find = starting(_START, ".json", ".csv")


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    found = by_split(source.files(".json", ".csv", like=_START))
    # A project says what its exports say.
    texts = {
        split: [name for name in names if name.lower().endswith(".json")] or names for split, names in found.items()
    }
    return reads_of(texts, lambda split, names: _read(source, split, names))


def _read(source: Source, split: str, files: Sequence[str]) -> Document:
    document = Document(source.root, sized=False)
    pictures: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for file in files:
        entries = _of_csv(source.root / file) if file.lower().endswith(".csv") else _of_json(source.root / file)
        for picture, regions in entries:
            known = pictures.setdefault((file.rpartition("/")[0], picture), [])
            known += [(file, region) for region in regions]
    for (folder, picture), regions in pictures.items():
        image = document.picture(picture, file=f"{folder}/")
        for place, (file, region) in enumerate(regions, 1):
            _take(document, image, region, f"{file} {picture} region {place}")
    document.settle(split)
    document.tell("reading", '"annotations"', "VIA: edges in pixels, counted from 0")
    return document


def _of_json(path: Path) -> Iterator[tuple[str, list[Any]]]:
    content = read_json_file(path)
    entries = content.get("_via_img_metadata", content) if isinstance(content, Mapping) else {}
    for entry in entries.values() if isinstance(entries, Mapping) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("filename"), str):
            regions = entry.get("regions", [])
            yield entry["filename"], list(regions.values() if isinstance(regions, Mapping) else regions or [])


def _of_csv(path: Path) -> Iterator[tuple[str, list[Any]]]:
    header, *rows = read_table(path)
    names = [cell.lstrip("# ") for cell in header]
    for cells in filter(None, rows):
        row = dict(zip(names, cells, strict=False))
        parts = {key: _json(row.get(f"region_{key}", "")) for key in ("shape_attributes", "attributes")}
        region = {"shape_attributes": parts["shape_attributes"], "region_attributes": parts["attributes"]}
        yield row.get("filename", ""), [region] if region["shape_attributes"] else []


def _json(text: str) -> Any:
    try:
        return parse_json(text.encode(), "a cell") if text else {}
    except UserError:
        return {}


def _take(document: Document, image: int, region: Any, place: str) -> None:
    """One region."""
    shape = region.get("shape_attributes") if isinstance(region, Mapping) else None
    if not isinstance(shape, Mapping):
        document.tell("bad-box", place, "has no shape; it is left out", dropped=True)
        return
    kind = shape.get("name")
    if kind in _NO_INSIDE:
        document.tell("unread", place, f"is a {kind}; it is no object with an inside and is left out", dropped=True)
        return
    label = _label(document, region.get("region_attributes"), place)
    if kind == "rect":
        box = numbers([shape.get(key) for key in ("x", "y", "width", "height")])
        ring = None
    else:
        box, ring = None, _ring(shape)
    if box is None and ring is None:
        document.tell("bad-box", place, f"is no shape that is known ({str(kind)[:20]!r}); it is left out", dropped=True)
    else:
        document.add(image, label, place, box=box, rings=[ring] if ring else [])


def _ring(shape: Mapping[str, Any]) -> list[float] | None:
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if isinstance(xs, list) and isinstance(ys, list):
        flat = numbers([value for pair in zip(xs, ys, strict=False) for value in pair])
        return flat if flat and len(flat) >= 6 and len(xs) == len(ys) else None
    round_ = [shape.get("cx"), shape.get("cy"), shape.get("rx", shape.get("r")), shape.get("ry", shape.get("r"))]
    values = numbers(round_)
    # Turned by radians.
    return ellipse(*values[:4], degrees=(number(shape.get("theta", 0)) or 0.0) * 57.29577951308232) if values else None


def _label(document: Document, attributes: Any, place: str) -> str:
    """The class of a region."""
    given = {str(key).strip(): value for key, value in attributes.items()} if isinstance(attributes, Mapping) else {}
    words = {key.casefold(): key for key in given}
    key = next((words[word] for word in _CLASS_WORDS if word in words), next(iter(given)) if len(given) == 1 else None)
    value = given.get(key) if key is not None else None
    if isinstance(value, Mapping):  # boxes to tick
        value = next((name for name, ticked in value.items() if ticked), None)
    if isinstance(value, str) and value.strip():
        return value.strip()
    document.tell("reading", place, f"has no attribute that names a class; it is called {NAMELESS!r}")
    return NAMELESS
