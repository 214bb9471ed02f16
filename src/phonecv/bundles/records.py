"""What a record says of a file, as the readers and the descriptions of a bundle need it."""

from __future__ import annotations

from phonecv.exporting.fields import FileRecord
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


def input_of(record: FileRecord) -> dict[str, str]:
    """Name, layout and type of the file's input."""
    return {"name": "images", "layout": "NCHW", "type": "float32"} | record.get("report", {}).get("input", {})


def is_baked(record: FileRecord) -> bool:
    """Whether the file takes pixel values 0..255."""
    return record.get("input_range") == "pixels 0..255"


def channels_first(record: FileRecord) -> bool:
    """Whether the colours of a picture follow each other as planes; files that take pictures have them side by side."""
    return input_of(record)["layout"] in ("NCHW", "CHW")


def output_shape(record: FileRecord, name: str) -> list[int] | None:
    """Shape of an output for one picture; None where the record does not tell."""
    return record.get("test", {}).get("outputs", {}).get(name, {}).get("shape")


def values_step(record: FileRecord) -> tuple[str, str]:
    """The step of the preparation that makes numbers of pixels, which all tasks share."""
    mean, std = (", ".join(f"{value:g}" for value in record["preprocessing"][name]) for name in ("mean", "std"))
    baked = "0..255 as they are"
    return "values", baked if is_baked(record) else f"(value / 255 - mean) / std; mean {mean}; std {std}"
