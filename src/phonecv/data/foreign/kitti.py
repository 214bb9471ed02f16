"""KITTI's label files, which NVIDIA TAO takes, too: a file for each picture, 15 columns for each object.

The first is the class, the fifth to the eighth are left, top, right and bottom in pixels, edges counted from 0 (Geiger
et al. 2012, the development kit's readme.txt); a sixteenth is the score of a detection. ``DontCare`` is no class:
these parts of a picture are not labelled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from phonecv.data.foreign.document import Document, Reads, numbers, reads_of
from phonecv.data.foreign.reading import FileError, read_text
from phonecv.data.foreign.tree import Partners, Source, by_split, starting
from phonecv.data.pictures.opening import scan_images

_LINE = re.compile(rb"\A\s*[^\s\d][^\s,;]*(?:[ \t]+-?\d+(?:\.\d+)?){14,15}[ \t]*(?:\r?\n|\Z)")
_COLUMNS = (15, 16)
_NOT_A_CLASS = "dontcare"

#: Gives the file that tells the layout.
find = starting(_LINE, ".txt")


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    files = source.files(".txt")
    pictures = list(scan_images(source.root))
    partners, labels = Partners(pictures, files), Partners(files, pictures)
    own = [name for name in files if partners.of(name)]
    bare = [name for name in pictures if not labels.of(name)]
    return reads_of(by_split(own), lambda split, names: _read(source, split, names, partners, bare))


def _read(source: Source, split: str, files: Sequence[str], partners: Partners, bare: Sequence[str]) -> Document:
    document = Document(source.root, "xyxy", sized=False)
    for file in files:
        try:
            lines = read_text(source.root / file).splitlines()
        except FileError as error:
            document.tell("label-file", file, f"{error.reason}; its picture is left out")
            continue
        image = document.picture(partners.of(file)[0])
        for number, words in enumerate(map(str.split, lines), 1):
            place = f"{file}:{number}"
            box = numbers(words[4:8]) if len(words) in _COLUMNS else None
            if words and words[0].casefold() == _NOT_A_CLASS:
                document.tell("reading", place, "is DontCare, a part that is not labelled; it is left out")
            elif box is not None:
                document.add(image, words[0], place, box=box)
            elif words:
                what = f"{len(words)} columns; a class and 14 numbers are expected; it is left out"
                document.tell("bad-box", place, what, dropped=True)
    for name in by_split(bare).get(split, ()):
        document.tell("reading", f"picture {name}", "has no label file and is left out")
    document.tell("reading", '"annotations"', "KITTI's label files: corners in pixels, edges counted from 0")
    return document
