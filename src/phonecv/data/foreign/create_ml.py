"""CreateML's JSON: a list of pictures with boxes as centre and size in pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from phonecv.data.foreign.document import Document, Reads, numbers, reads_of
from phonecv.data.foreign.tree import Source, by_split, starting
from phonecv.data.json_file import read_json_file

_START = re.compile(rb'\A\s*\[\s*\{.*"coordinates"\s*:\s*\{', re.S)

#: Gives the file that tells the layout.
find = starting(_START, ".json")


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    found = by_split(source.files(".json", like=_START))
    return reads_of(found, lambda split, names: _read(source, split, names))


def _read(source: Source, split: str, files: Sequence[str]) -> Document:
    document = Document(source.root, "cxcywh", sized=False)
    for file in files:
        content = read_json_file(source.root / file)
        for place, entry in enumerate(content if isinstance(content, list) else []):
            name = entry.get("image", entry.get("imagefilename")) if isinstance(entry, Mapping) else None
            if not isinstance(name, str):
                document.tell("label-file", f"{file}[{place}]", "names no picture; it is left out")
                continue
            image = document.picture(name, file=file)
            objects = entry.get("annotations", entry.get("annotation"))
            for number, one in enumerate(objects if isinstance(objects, list) else [], 1):
                given = one if isinstance(one, Mapping) else {}
                label, spot = given.get("label"), given.get("coordinates")
                box = (
                    numbers([spot.get(key) for key in ("x", "y", "width", "height")])
                    if isinstance(spot, Mapping)
                    else None
                )
                if box is None or not isinstance(label, str) or not label.strip():
                    what = "has no label or no four coordinates; it is left out"
                    document.tell("bad-box", f"{file} {name} {number}", what, dropped=True)
                else:
                    document.add(image, label.strip(), f"{file} {name} {number}", box=box)
    document.settle(split)
    document.tell("reading", '"annotations"', "CreateML's JSON: centre and size in pixels")
    return document
