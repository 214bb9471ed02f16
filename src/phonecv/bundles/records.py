"""What a record says of a file, as the readers and the descriptions of a bundle need it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from phonecv.exporting.fields import FileRecord
from phonecv.exporting.inputs import inputs_in
from phonecv.task import DEFAULT_TASK, TASKS, Task


def task_of(record: FileRecord) -> Task:
    """The task of the network in a file."""
    return TASKS[record.get("task", DEFAULT_TASK)]


def remark_of(record: FileRecord) -> str:
    """Why the check of the file could compare nothing; empty where it could, or none was made."""
    return (record.get("checked") or {}).get("remark", "")


def difference_text(record: FileRecord) -> str:
    """The difference from PyTorch in a table's few letters."""
    if remark_of(record):
        return "nothing to compare"
    return "not checked" if record.get("difference") is None else f"{record['difference']:.1e}"


def decoding_kind(record: FileRecord) -> str:
    """Which part of the decoding is in the file; empty where there is nothing to decode."""
    return record.get("decoding", {}).get("kind", "")


def inputs_of(record: FileRecord) -> list[Mapping[str, Any]]:
    """Name, layout and type of the file's inputs, with shape and kind where the record has them."""
    held = record.get("report", {}).get("inputs", ())
    said = record.get("inputs") or ({"name": "images", "kind": "pictures", "type": "float32"},)
    found = zip_longest(said, inputs_in(record), held[: len(said)], fillvalue=None)
    return [{**one, "layout": own.layout if own else "NCHW", **(file or {})} for one, own, file in found if one]


def input_of(record: FileRecord) -> Mapping[str, Any]:
    """The first of them: of most files the only one, pictures."""
    return inputs_of(record)[0]


def is_baked(record: FileRecord) -> bool:
    """Whether the file takes pixel values 0..255."""
    return record.get("input_range") == "pixels 0..255"


def channels_first(record: FileRecord) -> bool:
    """Whether the colours of a picture follow each other as planes; files that take pictures have them side by side."""
    return input_of(record)["layout"] in ("NCHW", "CHW")


def takes_picture(record: FileRecord) -> bool:
    """Whether the file takes a picture as apps have it, rather than numbers."""
    return str(input_of(record)["layout"]).endswith(" picture")


def output_shape(record: FileRecord, name: str) -> list[int] | None:
    """Shape of an output for one picture; None where the record does not tell."""
    return record.get("test", {}).get("outputs", {}).get(name, {}).get("shape")


def values_step(record: FileRecord) -> tuple[str, str]:
    """The step of the preparation that makes numbers of pixels, which all tasks share."""
    mean, std = (", ".join(f"{value:g}" for value in record["preprocessing"][name]) for name in ("mean", "std"))
    baked = "0..255 as they are"
    return "values", baked if is_baked(record) else f"(value / 255 - mean) / std; mean {mean}; std {std}"
