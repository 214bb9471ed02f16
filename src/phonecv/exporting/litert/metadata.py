"""Metadata that MediaPipe, ML Kit and Android Studio read in a .tflite file: what it takes, and names of classes.

A FlatBuffer of its own (TensorFlow Lite's metadata schema, "M001") in the model's metadata; class names are a text file
in a zip archive behind the model. The numbers of fields and kinds are those of the schema. What MediaPipe's tasks ask
for beyond it stands in files that are laid out for them (`--decode mediapipe`): its names of a detector's outputs, and
what makes probabilities of a segmenter's.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers

from phonecv.errors import UserError
from phonecv.exporting.job import Job
from phonecv.preprocessing import RGB

#: Name of the entry in a model's metadata.
ENTRY = "TFLITE_METADATA"
#: Name of the file with the classes.
LABELS = "labels.txt"
#: MediaPipe's names for outputs that it finds by name.
_CALLED = {"boxes": "location", "labels": "category", "scores": "score", "count": "number of detections"}
#: Outputs whose last axis, or whose values, are the classes, in files for MediaPipe.
_BY_AXIS, _BY_VALUE = ("logits_last",), ("labels",)

_AXIS_LABELS, _VALUE_LABELS = 2, 3
_IMAGE, _BOUNDING_BOX = 2, 3
_RGB, _GRAYSCALE, _NORMALIZATION, _BOUNDARIES, _SOFTMAX = 1, 2, 1, 1, 2


def metadata(job: Job, outputs: Mapping[str, Sequence[int]]) -> tuple[bytes, Sequence[str]]:
    """What is said of a file of one batch of pictures.

    Args:
        job: whose record says what the values mean.
        outputs: shapes of the file's outputs by name, in its own order.

    Returns:
        The FlatBuffer, and the names of classes that belong behind the model; none where no output has them.
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
    laid_out, classes = for_mediapipe(record), record.get("classes") or ()
    files = _label_files(outputs, laid_out=laid_out) if classes else {}
    given = []
    for name in outputs:
        fields = {0: builder.text(_CALLED.get(name, name) if laid_out else name)}
        if laid_out and name == "boxes":  # left, top, right, bottom, as shares of the picture
            box = builder.table({1: ("Int8", _BOUNDARIES)})
            fields[3] = builder.table({0: ("Uint8", _BOUNDING_BOX), 1: box})
        if name in files:
            file = builder.table({0: builder.text(LABELS), 2: ("Int8", files[name])})
            fields[6] = builder.tables([file])
        given.append(builder.table(fields))
    graph = {2: builder.tables([taken]), 3: builder.tables(given)}
    if laid_out and set(outputs) & set(_BY_AXIS):
        custom = builder.table({0: builder.text("SEGMENTER_METADATA"), 1: builder.aligned(_softmax())})
        graph[9] = builder.tables([custom])
    texts = {
        0: str(record.get("model", job.stem)),
        1: " ".join(str(record.get(key, "")) for key in ("model", "task", "form")).strip(),
        2: str(record.get("version", "")),
        4: "phonecv",
        5: str(record.get("licence") or ""),
        7: "1.5.0" if 9 in graph else "1.0.0",
    }
    fields = {number: builder.text(text) for number, text in texts.items() if text}
    root = builder.table(fields | {3: builder.tables([builder.table(graph)])})
    return builder.finished(root, b"M001"), classes if files else ()


def for_mediapipe(record: Mapping[str, Any]) -> bool:
    """Whether the outputs of a file are laid out as MediaPipe's tasks read them."""
    return record.get("decoding", {}).get("kind") == "mediapipe"


def check_normalisation(job: Job) -> None:
    """Refuse what MediaPipe would refuse when it opens the file.

    Raises:
        UserError: colours that are normalised each in its own way.
    """
    if for_mediapipe(job.record) and any(len(set(values)) > 1 for values in _normalisation(job.record)):
        raise UserError(
            "MediaPipe normalises red, green and blue alike, and this network does not; let the file do it: add --bake"
            " (bake=True)"
        )


def _label_files(outputs: Mapping[str, Sequence[int]], *, laid_out: bool) -> dict[str, int]:
    """Which outputs the names of the classes belong to, and how: by an axis, or by their values."""
    if laid_out:
        kinds = dict.fromkeys(_BY_AXIS, _AXIS_LABELS) | dict.fromkeys(_BY_VALUE, _VALUE_LABELS)
        return {name: kinds[name] for name in outputs if name in kinds}
    return dict.fromkeys(outputs, _AXIS_LABELS) if [len(shape) for shape in outputs.values()] == [2] else {}


def _softmax() -> bytes:
    """The options of MediaPipe's image segmenter ("V001"): a softmax makes probabilities of what the file gives."""
    builder = _Builder()
    return builder.finished(builder.table({0: ("Int8", _SOFTMAX), 1: builder.text("1.0.0")}), b"V001")


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

    def aligned(self, content: bytes) -> int:
        """The place of bytes that hold a FlatBuffer themselves."""
        self.builder.StartVector(1, len(content), 16)
        for value in reversed(content):
            self.builder.PrependByte(value)
        return self.builder.EndVector()

    def finished(self, root: int, identifier: bytes) -> bytes:
        """The bytes, with this table as the outermost."""
        self.builder.Finish(root, identifier)
        return bytes(self.builder.Output())
