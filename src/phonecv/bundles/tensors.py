"""What goes into a file and what comes out: the tensors, for the page and the README of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phonecv.bundles.records import input_of, inputs_of, is_baked, output_shape, takes_picture
from phonecv.bundles.room import OutputMeaning, bundling_of
from phonecv.exporting.fields import FileRecord

_FEATURES = OutputMeaning("a feature map")


@dataclass(frozen=True, slots=True)
class TensorText:
    """An input or output.

    Attributes:
        name: in the file.
        shape: such as "1 x 3 x 96 x 96".
        type: of its numbers.
        meaning: of its axes and numbers.
    """

    name: str
    shape: str
    type: str
    meaning: str


def input_texts(record: FileRecord) -> list[TensorText]:
    """The file's inputs, in its order."""
    return [_input_text(record, found) for found in inputs_of(record)]


def _input_text(record: FileRecord, found: Mapping[str, Any]) -> TensorText:
    if found["kind"] != "pictures":
        return _other_input(record, found)
    height, width = ("H", "W") if record.get("dynamic_size") else record["input_size"]
    batch = "B" if record.get("dynamic_batch") else "1"
    channels, layout = len(record["preprocessing"]["mean"]), found["layout"]
    shape = {
        "NHWC": f"{batch} x {height} x {width} x {channels}",
        "CHW": f"{channels} x {height} x {width}",
    }.get(layout, f"{batch} x {channels} x {height} x {width}")
    shape = f"{height} x {width} {layout}" if takes_picture(record) else shape
    meaning = "pixel values 0..255" if is_baked(record) else "normalised values"
    colours = "gray" if channels == 1 else "red, green, blue"
    return TensorText(found["name"], shape, found["type"], f"{colours}; {meaning}, rows from top to bottom")


def _other_input(record: FileRecord, found: Mapping[str, Any]) -> TensorText:
    """Anything but pictures."""
    sides, most = list(found["shape"]), found.get("most")
    if found["layout"].endswith("C") and len(sides) > 1:
        sides.append(sides.pop(0))
    shape = " x ".join(map(str, ["B" if record.get("dynamic_batch") else 1, *sides]))
    meaning = found["kind"] if most is None else f"{found['kind']}, from 0 to {most:g}"
    if found["kind"] == "clips":
        values = "pixel values 0..255" if is_baked(record) else "normalised values"
        meaning = f"frames of red, green and blue; {values}, rows from top to bottom"
    return TensorText(found["name"], shape, found["type"], meaning)


def output_texts(record: FileRecord) -> list[TensorText]:
    """The file's outputs, in its order."""
    layout = input_of(record)["layout"]
    batch = "" if layout == "CHW" else "B x " if record.get("dynamic_batch") else "1 x "
    names = record.get("report", {}).get("outputs", {})
    meanings = bundling_of(record).output_meanings(record)
    found = []
    for name in record["outputs"]:
        meaning = meanings.get(name, _FEATURES)
        shape = output_shape(record, name)
        sides = "" if shape is None else " x ".join(map(str, shape))
        if record.get("dynamic_size") and shape and len(shape) > 1:
            sides = "H x W" if meaning.full_size else f"{shape[0]} x h x w"
        found.append(
            TensorText(
                names.get(name, name) if isinstance(names, dict) else name,
                "" if shape is None else (batch + sides).removesuffix(" x "),
                # ncnn, whose tensors have no axis for pictures, has floating point alone.
                "int32" if meaning.whole and layout != "CHW" else "float32",
                meaning.text,
            )
        )
    return found
