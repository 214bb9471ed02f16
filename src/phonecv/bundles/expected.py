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
        picture: file name of the test picture.
        width: of it, pixels.
        height: of it, pixels.
        through: the file that was run.
        found: what that gave.
    """

    picture: str
    width: int
    height: int
    through: str
    found: Found


def write_expected(folder: Path, records: Sequence[FileRecord]) -> Expected | None:
    """Predict the test picture through the first file whose runtime is installed; write the result beside it.

    Args:
        folder: of the bundle, files and test picture already there.
        records: of the files, with "file".

    Returns:
        What was written; None where no file can be run or there is no test picture.
    """
    for record in records:
        file = folder / record["file"]
        exporter, name = exporter_for(file), record.get("test", {}).get("picture")
        if exporter is None or exporter.missing() or not name or not (folder / name).is_file():
            continue
        found = bundling_of(record).find(file, folder / name, record, folder)
        if found is None:
            continue
        with Image.open(folder / name) as image:
            width, height = image.size
        described = {"picture": name, "width": width, "height": height, "through": file.name}
        write_json(folder / RESULT, described | dict(found.numbers))
        return Expected(**described, found=found)
    return None


def save_drawing(image: Image.Image, folder: Path) -> None:
    """Save a drawing of the result, made smaller where it is large."""
    image.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
    image.save(folder / DRAWN)
