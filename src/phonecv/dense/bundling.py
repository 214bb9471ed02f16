"""Detectors and segmenters in a bundle: their pictures on the way to the input, and what their readers have in common.

The readers take a picture and give objects or a map of classes, as `phonecv predict` does. What the file leaves to do
is in them: anchors, decoding and suppression after "raw", suppression after "boxes", and in any case the way back to
the pixels of the picture as it was given.
"""

from __future__ import annotations

from typing import Any

from phonecv.bundles.records import channels_first, decoding_kind, is_baked, output_shape, values_step
from phonecv.bundles.tensors import input_texts
from phonecv.data.class_mapping import display_names
from phonecv.exporting.fields import FileRecord
from phonecv.preprocessing import DensePreprocessing

NEEDED_FIELDS = ("decoding",)
READERS_TESTED = "Kotlin is compiled and run likewise, Swift type-checked, where a compiler is installed."
WHY_NO_APPS = ""

#: How pictures come to the size of the input.
STRETCH, FIT, FREE = "stretch", "fit", "free"


def fitting(record: FileRecord) -> str:
    """`STRETCH` to the file's size, `FIT` into it with padding, or `FREE` with a size for every picture."""
    if DensePreprocessing.from_dict(record["preprocessing"]).longest is None:
        return STRETCH
    return FREE if record.get("dynamic_size") else FIT


def preparation(record: FileRecord) -> list[tuple[str, str]]:
    """How a picture becomes the input, step by step."""
    height, width = record["input_size"]
    spec = DensePreprocessing.from_dict(record["preprocessing"])
    resized = {
        STRETCH: f"the whole picture to {height} x {width} (height x width), its aspect changed",
        FIT: f"to fit into {height} x {width} (height x width), its aspect kept, sides rounded",
        FREE: f"the aspect kept, sides rounded, at most {spec.size} x {spec.longest} (short x long)",
    }[fitting(record)]
    steps = [
        ("orientation", "upright: what the camera noted (EXIF) is applied first"),
        ("resize", f"{resized}; bilinear without antialiasing, pixel centres at halves"),
        (
            "channels",
            "gray, (19595 red + 38470 green + 7471 blue) / 65536" if spec.channels == 1 else "red, green, blue",
        ),
        values_step(record),
    ]
    if fitting(record) != STRETCH:
        rest = f"up to multiples of {spec.multiple} " if fitting(record) == FREE else ""
        zero = "the mean times 255" if is_baked(record) else "zeros"
        steps.append(("padding", f"at the bottom and at the right {rest}with the mean colour, {zero}"))
    return steps


def why_no_readers(record: FileRecord) -> str:
    """Why the readers cannot serve a file, and what to do; empty if they can."""
    if decoding_kind(record) == "mediapipe":
        return "MediaPipe prepares the pictures and reads the outputs itself"
    if any(output_shape(record, name) is None for name in record["outputs"]):
        return "the record does not tell the shapes of the outputs; export the network again"
    return ""


def reader_values(record: FileRecord) -> dict[str, Any]:
    """What readers are told of the input and the classes, see `phonecv.bundles.readers.filled_readers`."""
    spec = DensePreprocessing.from_dict(record["preprocessing"])
    height, width = record["input_size"]
    (tensor,), baked = input_texts(record), is_baked(record)
    classes = display_names(record.get("classes"), record["num_classes"])
    return {
        "CLASSES": record["num_classes"],
        "NAMES": lambda language: language.strings(classes),
        "HEIGHT": height,
        "WIDTH": width,
        "SHORT": spec.size,
        "LONGEST": spec.longest or 0,
        "MULTIPLE": spec.multiple,
        "CHANNELS": spec.channels,
        "COLOURS": "gray" if spec.channels == 1 else "red, green, blue",
        "MEAN": spec.mean,
        "STD": spec.std,
        "NORMALISE": not baked,
        "CHANNELS_FIRST": channels_first(record),
        "LAYOUT_TEXT": f"{tensor.type}, {tensor.shape}, {'0..255' if baked else 'normalised'}",
    }


def reader_conditions(record: FileRecord) -> set[str]:
    """Words of their templates that hold: what of the decoding is in the file, and how pictures fit into the input."""
    gray = DensePreprocessing.from_dict(record["preprocessing"]).channels == 1
    return {decoding_kind(record), fitting(record), "gray" if gray else "rgb"}
