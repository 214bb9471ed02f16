"""Pascal VOC's XML: a file for each picture, boxes as ``xmin ymin xmax ymax`` in pixels.

VOC counts pixels from 1 and takes the last one in, so that a box over a whole picture is 1, 1, width, height; most
programs since write edges counted from 0. Nothing in a file says which. Zeros and fractions, also 8.0 (CVAT), which
VOC's way of counting does not have, decide for the second; where there are none, VOC's own holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from phonecv.data.foreign.document import Document, Reads, number, numbers, reads_of, rotated
from phonecv.data.foreign.reading import FileError, read_text, read_xml
from phonecv.data.foreign.tree import Partners, Source, by_split, starting
from phonecv.data.labelmaps.classes import BACKGROUND, find_class_file, read_label_classes
from phonecv.data.pictures.opening import scan_images
from phonecv.data.split_names import ALIASES, LEARNT, WHOLE
from phonecv.errors import UserError

_START = re.compile(rb"<annotation[\s>]")
_FIND = re.compile(rb"<annotation[\s>].*(?:<object>|<bndbox>|<filename>)", re.S)
#: Files looked into for zeros and fractions, spread evenly over all splits.
_LOOKED_INTO = 200
_LISTS = "ImageSets/Main"
#: Label maps, which lie beside the pictures.
_MASKS = re.compile(r"(?:^|/)Segmentation\w*/")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")

#: Gives the file that tells the layout.
find = starting(_FIND, ".xml")


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    files = source.files(".xml", like=_START)
    listed = _listed(source, files)
    found = listed or by_split(files)
    step = max(1, len(files) // _LOOKED_INTO)
    first = _first_pixel(source, files[::step])
    pictures = [name for name in scan_images(source.root) if not _MASKS.search(name)]
    partners, labels = Partners(pictures, files), Partners(files, pictures)
    bare = [name for name in pictures if not labels.of(name)]
    return reads_of(
        found,
        lambda split, names: _read(source, names, partners, first, bare if split in LEARNT else []),
    )


def _listed(source: Source, files: Sequence[str]) -> dict[str, list[str]]:
    """Label files by split as ``ImageSets/Main`` lists them, of all roots such as VOC2007 and VOC2012."""
    if source.alone:
        return {}
    found: dict[str, dict[str, None]] = {}
    roots = dict.fromkeys(name.rpartition("Annotations/")[0] for name in files if "Annotations/" in name)
    there = set(files)
    for base in roots:
        folder = source.root / base / _LISTS
        for split, words in ALIASES.items():
            lists = [folder / f"{word}.txt" for word in (*words, *(["trainval"] if split == "train" else []))]
            path = next((path for path in lists if path.is_file()), None)
            ids = [line.split()[0] for line in read_text(path).splitlines() if line.strip()] if path else []
            names = (f"{base}Annotations/{one.removesuffix('.xml')}.xml" for one in ids)
            found.setdefault(split, {}).update(dict.fromkeys(names))
    listed = {split: list(names) for split, names in found.items() if not there.isdisjoint(names)}
    rest = [name for name in files if not any(name in found[split] for split in listed)]
    return listed | ({WHOLE: rest} if listed and rest else {})


def _first_pixel(source: Source, names: Sequence[str]) -> int:
    """1 where pixels seem to be counted as VOC counts them, else 0."""
    for name in names:
        try:
            root = read_xml(source.root / name)
        except UserError:  # told when it is read
            continue
        for box in root.iterfind("object/bndbox"):
            texts = [box.findtext(corner, "1") for corner in _CORNERS]
            if min(numbers(texts) or [1.0]) < 1 or any("." in text for text in texts):
                return 0
    return 1


def _read(source: Source, names: Sequence[str], partners: Partners, first: int, bare: Sequence[str]) -> Document:
    document = Document(source.root, "xyxy")
    for name in names:
        try:
            root = read_xml(source.root / name)
            if root.tag != "annotation":
                raise FileError(source.root / name, f"is <{root.tag[:40]}>, not <annotation>")
        except FileError as error:
            document.tell("label-file", name, f"{error.reason}; its picture is left out")
            continue
        own = partners.of(name)
        filename = (root.findtext("filename") or "").strip()
        if len(own) > 1:
            own = [one for one in own if one.rpartition("/")[2] == filename] or own
        width, height = (root.findtext(f"size/{side}") for side in ("width", "height"))
        image = document.picture(own[0] if own else filename or name, number(width), number(height))
        for place, entry in enumerate(root.findall("object"), 1):
            _take(document, image, entry, f"{name} object {place}", first)
    document.classes = _classes(source.root, {str(record["category_id"]) for record in document.annotations})
    how = (
        "pixels counted from 1, the last taken in, as VOC does: 1 is taken from xmin and ymin"
        if first
        else "boxes are edges counted from 0, for some are 0 or have a decimal point"
    )
    document.tell("reading", '"annotations"', f"Pascal VOC's XML: {how}")
    for name in bare:
        document.tell("reading", f"picture {name}", "has no XML and is left out")
    return document


def _classes(root: Path, used: set[str]) -> dict[int, str]:
    """The classes of a class file, CVAT's ``labelmap.txt`` for instance, if it knows all that are used."""
    path = find_class_file(root)
    try:
        names = () if path is None else read_label_classes(path).names
    except UserError:  # a list of something else
        return {}
    return dict(enumerate(name for name in names if name != BACKGROUND)) if used <= set(names) else {}


def _take(document: Document, image: int, entry: Element, place: str, first: int) -> None:
    """One object."""
    name = (entry.findtext("name") or "").strip()
    if not name:
        document.tell("category", place, "has no name; it is left out", dropped=True)
        return
    if (entry.findtext("deleted") or "").strip() == "1":  # LabelMe keeps them
        return
    hard = (entry.findtext("difficult") or "").strip().lower() in ("1", "true")
    if hard:
        document.tell("reading", place, "is difficult: such objects are neither learnt nor counted, as VOC does")
    turned, box = entry.find("robndbox"), entry.find("bndbox")
    ring = _polygon(entry.find("polygon"), first)
    rings = [ring] if ring else []
    if turned is not None:
        values = numbers([turned.findtext(key, "") for key in ("cx", "cy", "w", "h", "angle")])
        if values is not None:
            x, y, wide, tall, angle = values
            rings = [rotated((x - wide / 2, y - tall / 2, wide, tall), math.degrees(angle), (x, y))]
            document.tell("reading", place, "is turned; the upright box around it is taken")
            document.add(image, name, place, rings=rings, crowd=hard)
            return
    values = None if box is None else numbers([box.findtext(corner, "") for corner in _CORNERS])
    if values is None and not rings:
        what = "no bndbox" if box is None else f"a bndbox without four numbers {' '.join(_CORNERS)}"
        document.tell("bad-box", place, f"has {what}; it is left out", dropped=True)
        return
    if values is not None:
        values = [values[0] - first, values[1] - first, *values[2:]]
    document.add(image, name, place, box=values, rings=rings, crowd=hard)


def _polygon(entry: Element | None, first: int) -> list[float] | None:
    """The outline x1, y1, x2, y2, ... that Roboflow writes beside a box, or the points of LabelMe's own XML."""
    if entry is None:
        return None
    if points := entry.findall("pt"):
        found = numbers([point.findtext(axis, "") for point in points for axis in "xy"]) or []
        return found if len(found) >= 6 else None
    found = []
    for corner in range(1, len(entry) // 2 + 1):
        pair = numbers([entry.findtext(f"{axis}{corner}", "") for axis in "xy"])
        if pair is None:
            break
        found += pair
    return found if len(found) >= 6 else None
