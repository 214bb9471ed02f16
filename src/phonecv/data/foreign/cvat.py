"""CVAT's own XML: boxes, polygons, masks and ellipses of pictures, or tracks of a film that is there as pictures."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

import numpy as np

from phonecv.data.foreign.document import Document, Reads, ellipse, numbers, reads_of, rotated
from phonecv.data.foreign.reading import read_xml
from phonecv.data.foreign.tree import Source, split_in, starting
from phonecv.data.json_file import whole
from phonecv.data.pictures.opening import MAX_PIXELS, scan_images
from phonecv.data.split_names import WHOLE, split_of
from phonecv.errors import UserError
from phonecv.text import printable

_FIND = re.compile(rb"<annotations>.*(?:<image\s|<track\s|<version>)", re.S)
#: What CVAT calls the pictures of a film.
_FRAME = "frame_{:06d}.png"
_FRAMES = re.compile(r"(?:.*/)?frame_\d+\.\w+", re.I)
_SHAPES = ("box", "polygon", "mask", "ellipse")
#: What has no inside, and labels of whole pictures.
_UNREAD = ("polyline", "points", "skeleton", "cuboid", "tag")

#: Gives the file that tells the layout.
find = starting(_FIND, ".xml")


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    found: dict[str, list[tuple[str, _Picture]]] = defaultdict(list)
    classes: dict[str, None] = {}
    for name in source.files(".xml", like=_FIND):
        root = read_xml(source.root / name)
        for label in root.iterfind("meta//labels/label"):
            if label.findtext("type") not in ("tag", "points", "polyline", "skeleton"):
                classes[(label.findtext("name") or "").strip()] = None
        for picture in _pictures(root):
            subset = split_of(picture.subset) or split_in(name) or split_in(picture.name) or WHOLE
            found[subset].append((name, picture))
    return reads_of(found, lambda split, pictures: _read(source, split, pictures, list(filter(None, classes))))


@dataclass
class _Picture:
    """A picture with the shapes on it."""

    name: str
    width: int | None
    height: int | None
    subset: str = ""
    shapes: list[tuple[str, Element]] = field(default_factory=list)
    film: bool = False


def _pictures(root: Element) -> Iterator[_Picture]:
    for entry in root.iterfind("image"):
        given = entry.attrib
        shapes = [(str(shape.get("label", "")), shape) for shape in entry]
        sides = whole(given.get("width")), whole(given.get("height"))
        yield _Picture(given.get("name", ""), *sides, given.get("subset", ""), shapes)
    frames: dict[int, _Picture] = {}
    sides = (whole(root.findtext(f"meta//original_size/{side}")) for side in ("width", "height"))
    width, height = sides
    for track in root.iterfind("track"):
        for shape in track:
            number = whole(shape.get("frame"))
            if number is not None and shape.get("outside") != "1":
                picture = frames.setdefault(number, _Picture(_FRAME.format(number), width, height, film=True))
                picture.shapes.append((str(track.get("label", "")), shape))
    yield from (frames[number] for number in sorted(frames))


def _read(source: Source, split: str, pictures: Sequence[tuple[str, _Picture]], classes: Sequence[str]) -> Document:
    document = Document(source.root, "xyxy")
    document.classes = dict(enumerate(classes))
    if film := next((file for file, picture in pictures if picture.film), None):
        if not any(map(_FRAMES.fullmatch, scan_images(source.root))):
            raise UserError(
                f"{printable(source.root / film)}: tracks of a film, whose frames are not here as pictures; write them"
                " (`ffmpeg -i FILM -start_number 0 frame_%06d.png`), or export the task with its pictures as CVAT for"
                " images 1.1"
            )
        document.tell("reading", film, "frames without a shape are not told in the XML of a film and are left out")
    for file, picture in pictures:
        image = document.picture(picture.name, picture.width, picture.height, file=file)
        # What lies on top comes last.
        shapes = sorted(enumerate(picture.shapes, 1), key=lambda one: whole(one[1][1].get("z_order")) or 0)
        for place, (label, shape) in shapes:
            _take(document, image, label.strip(), shape, picture, f"{file} {picture.name} {shape.tag} {place}")
    document.settle(split)
    document.tell("reading", '"annotations"', "CVAT's XML: edges in pixels, counted from 0")
    return document


def _take(document: Document, image: int, label: str, shape: Element, picture: _Picture, place: str) -> None:
    """One shape."""
    kind, given = shape.tag, shape.attrib
    if kind in _UNREAD:
        document.tell(
            "unread", place, f"is a {kind}; it is no object with an inside and is left out", dropped=kind != "tag"
        )
    if kind not in _SHAPES:
        return
    if not label:
        document.tell("category", place, "has no label; it is left out", dropped=True)
        return
    pixels = _pixels(given, picture) if kind == "mask" else None
    box, ring = _outline(kind, given) if kind != "mask" else (None, None)
    if box is None and ring is None and pixels is None:
        document.tell("bad-box", place, f"is a {kind} without the numbers of one; it is left out", dropped=True)
    elif pixels is not None:
        document.add_pixels(image, label, place, pixels)
    else:
        if given.get("rotation", "0").strip("0.") and kind == "box":
            document.tell("reading", place, "is turned; the upright box around it is taken")
        document.add(image, label, place, box=box, rings=[ring] if ring else [])


def _outline(kind: str, given: dict[str, str]) -> tuple[list[float] | None, list[float] | None]:
    """Box (left, top, right, bottom) or polygon of a shape."""
    (turn,) = numbers([given.get("rotation", "0")]) or [0.0]
    if kind == "box":
        edges = numbers([given.get(edge, "") for edge in ("xtl", "ytl", "xbr", "ybr")])
        if edges is None:
            return None, None
        left, top, right, bottom = edges
        if not turn:
            return edges, None
        return None, rotated((left, top, right - left, bottom - top), turn, ((left + right) / 2, (top + bottom) / 2))
    if kind == "ellipse":
        values = numbers([given.get(key, "") for key in ("cx", "cy", "rx", "ry")])
        return None, ellipse(*values[:4], degrees=turn) if values else None
    points = numbers(re.split(r"[,;]", given.get("points", "")))
    return None, points if points and len(points) >= 6 and len(points) % 2 == 0 else None


def _pixels(given: dict[str, str], picture: _Picture) -> np.ndarray | None:
    """A mask: lengths of runs outside and inside along the rows of a part of the picture."""
    part = [whole(given.get(key)) for key in ("left", "top", "width", "height")]
    lengths = [whole(one.strip()) for one in given.get("rle", "").split(",")]
    sides = (picture.width, picture.height)
    if None in (*part, *sides, *lengths):
        return None
    left, top, width, height, across, down = (value or 0 for value in (*part, *sides))
    runs = np.array(lengths, dtype=np.int64)
    fits = 0 <= left <= left + width <= across and 0 <= top <= top + height <= down and across * down <= MAX_PIXELS
    if not fits or runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        return None
    mask = np.zeros((down, across), dtype=bool)
    mask[top : top + height, left : left + width] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(
        height, width
    )
    return mask
