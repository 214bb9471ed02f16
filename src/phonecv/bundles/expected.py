"""What a bundle's files give for its test picture, from picture to result: `expected.json` and a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from phonecv.bundles.room import Found, bundling_of
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import exporter_for
from phonecv.files import write_json

RESULT, DRAWN = "expected.json", "result.png"

#: Longer side of the drawing, pixels.
DRAWN_SIDE = 1024


@dataclass(frozen=True, slots=True)
class Expected:
    """What the app has to find.

    Attributes:
        given: file name of the test picture, or of the test inputs.
        size: of a picture, width and height in pixels.
        through: the file that was run.
        found: what that gave.
    """

    given: str
    size: tuple[int, int] | None
    through: str
    found: Found


def write_expected(bundle: Path, records: Sequence[FileRecord], folder: Path) -> Expected | None:
    """Run what an app is tested with through the first file whose runtime is installed; write the result into `folder`.

    Files and test picture or inputs are in the folder `bundle`; `records` are of the files, with "file".

    Returns:
        What was written; None where no file can be run or there is nothing to test with.
    """
    for record in records:
        file, test = bundle / record["file"], record.get("test", {})
        exporter, name = exporter_for(file), test.get("picture") or test.get("inputs")
        if exporter is None or exporter.missing() or not name or not (bundle / name).is_file():
            continue
        found = bundling_of(record).find(file, bundle / name, record, folder)
        if found is None:
            continue
        size, described = None, {"inputs": name}
        if "picture" in test:
            with Image.open(bundle / name) as image:
                size = image.size
            described = {"picture": name, "width": size[0], "height": size[1]}
        write_json(folder / RESULT, described | {"through": file.name} | dict(found.numbers))
        return Expected(name, size, file.name, found)
    return None


def save_drawing(image: Image.Image, folder: Path) -> None:
    """Save a drawing of the result, made smaller where it is large."""
    image.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
    image.save(folder / DRAWN)
