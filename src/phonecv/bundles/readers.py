"""Short sources that prepare pictures for a model in an app and read its outputs, made from the record of its file.

For classifiers C++, JavaScript, Kotlin and Swift resize as Pillow does, to the bit, so an app's input is the
evaluation's. One exception: pictures more than about twice as tall as wide, of which Pillow 13 resizes the columns
first; there single values may be a few of 255 off. Those for detectors and segmenters are made in `dense_readers`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.bundles.contents import Readers
from phonecv.bundles.facts import Record, channels_first, is_baked, task_of, why_no_readers
from phonecv.bundles.templating import filled
from phonecv.errors import UserError
from phonecv.files import write_text
from phonecv.preprocessing import Preprocessing

#: Language -> template, which is also the name of the file that is made.
TEMPLATES = {
    "C++": "phonecv_reader.hpp",
    "JavaScript": "phonecv_reader.mjs",
    "Kotlin": "PhonecvReader.kt",
    "Swift": "PhonecvReader.swift",
}


def readers_of(record: Record, name: str) -> dict[str, str]:
    """File name -> source text, for a file that `why_no_readers` has nothing against.

    Args:
        record: of the file.
        name: of the file or files, for the comments.
    """
    if task_of(record) != "classify":
        from phonecv.dense.bundling_readers import dense_reader_files

        return dense_reader_files(record, name)
    return reader_files(
        Preprocessing.from_dict(record["preprocessing"]),
        name=name,
        classes=record["num_classes"],
        layout="nchw" if channels_first(record) else "nhwc",
        baked=is_baked(record),
    )


def write_readers(records: Sequence[Record], folder: Path) -> tuple[list[Readers], dict[str, str]]:
    """One set of sources for all files that are fed and read alike, in `readers` or in folders there.

    Args:
        records: of the files, with "file".
        folder: of the bundle.

    Returns:
        The sets, and for the files that none serves the reason.
    """
    unread = {record["file"]: why for record in records if (why := why_no_readers(record))}
    groups: list[tuple[dict[str, str], list[Record]]] = []
    for record in records:
        if record["file"] in unread:
            continue
        sources = readers_of(record, "")
        group = next((served for known, served in groups if known == sources), None)
        if group is None:
            groups.append((sources, [record]))
        else:
            group.append(record)
    made = []
    for _, served in groups:
        names = tuple(record["file"] for record in served)
        place = "readers" if len(groups) == 1 else f"readers/{names[0]}"
        for file, source in readers_of(served[0], ", ".join(names)).items():
            write_text(folder / place / file, source)
        made.append(Readers(place, names))
    return made, unread


def reader_files(preprocessing: Preprocessing, *, name: str, classes: int, layout: str, baked: bool) -> dict[str, str]:
    """File name -> source text, for a classifier.

    Args:
        preprocessing: of the model.
        name: of the model.
        classes: outputs.
        layout: of the input, "nchw" or "nhwc".
        baked: the model takes pixel values 0..255.

    Raises:
        UserError: an unknown layout.
    """
    if layout not in ("nchw", "nhwc"):
        raise UserError(f"layout {layout!r} is not one of nchw, nhwc")
    values = _values(preprocessing, name=name, classes=classes, layout=layout, baked=baked)
    found = {template: filled(template, values) for template in TEMPLATES.values()}
    # The page that times models in a browser prepares its pictures with the same module.
    found["picture.js"] = (files("phonecv.benchmarking") / "page" / "picture.js").read_text(encoding="utf-8")
    return found


def comment(name: str) -> str:
    """A name as it can stand in a comment of one line."""
    return " ".join(name.split()).replace("*/", "")


def _values(preprocessing: Preprocessing, *, name: str, classes: int, layout: str, baked: bool) -> dict[str, str]:
    side = preprocessing.size
    shape = f"1 x 3 x {side} x {side}" if layout == "nchw" else f"1 x {side} x {side} x 3"
    plain: dict[str, Any] = {
        "RESIZE": preprocessing.resize,
        "SIZE": side,
        "CLASSES": classes,
        "BICUBIC": preprocessing.interpolation == "bicubic",
        "NORMALISE": not baked,
        "CHANNELS_FIRST": layout == "nchw",
        "BAKED": baked,
        "PREPROCESSING": preprocessing.to_dict(),
    }
    return {key: json.dumps(value) for key, value in plain.items()} | {
        "NAME": comment(name),
        "VERSION": __version__,
        "LAYOUT": layout,
        "LAYOUT_TEXT": f"float32, {shape}, {'0..255' if baked else 'normalised'}",
        "MEAN": ", ".join(map(repr, preprocessing.mean)),
        "STD": ", ".join(map(repr, preprocessing.std)),
        "MEAN_F": ", ".join(f"{value!r}f" for value in preprocessing.mean),
        "STD_F": ", ".join(f"{value!r}f" for value in preprocessing.std),
    }
