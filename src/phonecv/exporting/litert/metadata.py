"""Metadata that MediaPipe, ML Kit and Android Studio read in a .tflite file: what it takes, and names of classes.

A FlatBuffer of its own (TensorFlow Lite's metadata schema, "M001") in the model's metadata; class names are a text file
in a zip archive behind the model. The numbers of fields and kinds are those of the schema.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers

from phonecv.exporting.job import Job
from phonecv.preprocessing import RGB

#: Name of the entry in a model's metadata.
ENTRY = "TFLITE_METADATA"
#: Name of the file with the classes.
LABELS = "labels.txt"

_AXIS_LABELS, _IMAGE, _RGB, _GRAYSCALE, _NORMALIZATION = 2, 2, 1, 2, 1


def metadata(job: Job, outputs: Sequence[str], named: Sequence[str]) -> bytes:
    """What is said of a file of one batch of pictures.

    Args:
        job: whose record says what the values mean.
        outputs: names of the file's outputs, in its own order.
        named: those of them whose last axis is the classes.
    """
    builder = _Builder()
    record = job.record
    (images,) = job.taken
    height, width = images.shape[-2:]
    size = builder.table({0: ("Uint32", width), 1: ("Uint32", height)})
    properties = builder.table({0: ("Int8", _RGB if images.shape[0] == RGB else _GRAYSCALE), 1: size})
    content = builder.table({0: ("Uint8", _IMAGE), 1: properties})
    mean, std = _normalisation(record)
    options = builder.table({0: builder.floats(mean), 1: builder.floats(std)})
    unit = builder.table({0: ("Uint8", _NORMALIZATION), 1: options})
    taken = builder.table({0: builder.text(images.name), 3: content, 4: builder.tables([unit])})
    given = []
    for name in outputs:
        fields = {0: builder.text(name)}
        if name in named:
            file = builder.table({0: builder.text(LABELS), 2: ("Int8", _AXIS_LABELS)})
            fields[6] = builder.tables([file])
        given.append(builder.table(fields))
    graph = builder.table({2: builder.tables([taken]), 3: builder.tables(given)})
    texts = {
        0: str(record.get("model", job.stem)),
        1: " ".join(str(record.get(key, "")) for key in ("model", "task", "form")).strip(),
        2: str(record.get("version", "")),
        4: "phonecv",
        5: str(record.get("licence") or ""),
        7: "1.0.0",
    }
    fields = {number: builder.text(text) for number, text in texts.items() if text}
    return builder.finished(builder.table(fields | {3: builder.tables([graph])}))


def _normalisation(record: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation of pixel values 0..255; a file that normalises them itself takes them as they are."""
    if record.get("input_range") == "pixels 0..255":
        return [0.0], [1.0]
    spec = record["preprocessing"]
    return [255 * value for value in spec["mean"]], [255 * value for value in spec["std"]]


def append_labels(path: Path, names: Sequence[str]) -> None:
    """Put the names of the classes into an archive behind the model, a line each; the model stays as it is."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        # Without the time of day, so that the same export gives the same file.
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{' '.join(name.split())}\n" for name in names))


class _Builder:
    """Tables by the numbers of their fields."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        """The place of a text."""
        return self.builder.CreateString(value)

    def floats(self, values: Sequence[float]) -> int:
        """The place of a vector of numbers."""
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return self.builder.EndVector()

    def tables(self, places: Sequence[int]) -> int:
        """The place of a vector of tables."""
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return self.builder.EndVector()

    def table(self, fields: Mapping[int, int | tuple[str, int]]) -> int:
        """The place of a table, whose fields are places of others, or a kind of number and its value."""
        self.builder.StartObject(max(fields) + 1)
        for number, value in fields.items():
            if isinstance(value, tuple):
                getattr(self.builder, f"Prepend{value[0]}Slot")(number, value[1], 0)
            else:
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
        return self.builder.EndObject()

    def finished(self, root: int) -> bytes:
        """The bytes, with this table as the outermost."""
        self.builder.Finish(root, b"M001")
        return bytes(self.builder.Output())
