"""What a record says of a file, as the readers and the descriptions of a bundle need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phonecv.preprocessing import DensePreprocessing

Record = Mapping[str, Any]

#: How a detector's or segmenter's pictures come to the size of the input.
STRETCH, FIT, FREE = "stretch", "fit", "free"


def task_of(record: Record) -> str:
    """ "classify", "detect" or "segment"."""
    return record.get("task", "classify")


def remark_of(record: Record) -> str:
    """Why the check of the file could compare nothing; empty where it could, or none was made."""
    return (record.get("checked") or {}).get("remark", "")


def difference_text(record: Record) -> str:
    """The difference from PyTorch in a table's few letters."""
    if remark_of(record):
        return "nothing to compare"
    return "not checked" if record.get("difference") is None else f"{record['difference']:.1e}"


def kind_of(record: Record) -> str:
    """Which part of the decoding is in the file, of `phonecv.dense.exporting.DECODINGS`; empty for classifiers."""
    return record.get("decoding", {}).get("kind", "")


def input_of(record: Record) -> dict[str, str]:
    """Name, layout and type of the file's input."""
    return {"name": "images", "layout": "NCHW", "type": "float32"} | record.get("report", {}).get("input", {})


def is_baked(record: Record) -> bool:
    """Whether the file takes pixel values 0..255."""
    return record.get("input_range") == "pixels 0..255"


def channels_first(record: Record) -> bool:
    """Whether the colours of a picture follow each other as planes; files that take pictures have them side by side."""
    return input_of(record)["layout"] in ("NCHW", "CHW")


def fitting(record: Record) -> str:
    """`STRETCH` to the file's size, `FIT` into it with padding, or `FREE` with a size for every picture."""
    if DensePreprocessing.from_dict(record["preprocessing"]).longest is None:
        return STRETCH
    return FREE if record.get("dynamic_size") else FIT


def output_shape(record: Record, name: str) -> list[int] | None:
    """Shape of an output for one picture; None where the record does not tell."""
    return record.get("test", {}).get("outputs", {}).get(name, {}).get("shape")


def why_no_readers(record: Record) -> str:
    """Why the readers cannot serve a file, and what to do; empty if they can."""
    height, width = record["input_size"]
    if task_of(record) == "classify":
        if list(record["outputs"]) != ["logits"]:
            return "the file gives feature maps, which only your own head can read"
        if height != width:
            return f"the network was evaluated on square crops, the file takes {height} x {width} pixels"
        return ""
    if any(output_shape(record, name) is None for name in record["outputs"]):
        return "the record does not tell the shapes of the outputs; export the network again"
    windows = record["decoding"].get("windows")
    if windows and kind_of(record) == "raw":
        return (
            f"this segmenter slides windows of {windows[0]} pixels every {windows[1]} over large pictures and averages"
            " their logits, the readers take a picture as a whole; a file made with --decode final is read as a whole"
        )
    return ""
