"""The JSON beside an exported file: all that an app needs to feed it and to read what it gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, parse_record
from phonecv.exporting.formats import exporter_for
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.task import DEFAULT_TASK, TASKS

if TYPE_CHECKING:
    from phonecv.models.headed import Network

#: Bytes of a record; one with the values of a million outputs takes a tenth.
_LONGEST = 256 << 20


def record_path(path: Path) -> Path:
    """Where the JSON record of an exported file lies: its full name and ".json", as x.onnx.json."""
    return path.with_name(path.name + ".json")


def at_size(preprocessing: Preprocessing, height: int, width: int) -> Preprocessing:
    """The preprocessing that makes this input: a square one changes its size, others keep the model's."""
    return preprocessing if height != width else replace(preprocessing, size=height)


def check_size(size: int | tuple[int, int] | None, network: Network) -> tuple[int, int]:
    """Input height and width as two numbers.

    Raises:
        UserError: not positive.
    """
    spec = network.preprocessing
    if size is None and isinstance(spec, DensePreprocessing) and spec.longest is not None:
        multiple = spec.multiple  # a picture of the usual 3:4
        height, width = (-(-side // multiple) * multiple for side in spec.target(3 * spec.longest, 4 * spec.longest))
        return height, width
    if size is None:
        size = spec.size
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UserError(f"input size {height}x{width} is not positive; the model's own is {spec.size}")
    return height, width


def read_record(path: Path) -> FileRecord:
    """The record beside an exported file; empty if there is none."""
    beside = record_path(path)
    if not beside.is_file():
        return {}
    try:
        if beside.stat().st_size > _LONGEST:
            raise UserError(f"{beside} is larger than any record; export the network again")
        content = beside.read_bytes()
    except OSError as error:
        raise UserError(f"{beside} cannot be read ({error.strerror or error})") from error
    return parse_record(content, str(beside))


#: How a file begins that is not what it is called, and what it is then.
_PLACEHOLDERS = {
    b"version https://git-lfs": "a git-lfs pointer, not the file itself; run `git lfs pull`",
    b"<!doctype html": "a web page, not the file itself; download it again",
    b"<html": "a web page, not the file itself; download it again",
}


def refuse_placeholder(path: Path) -> None:
    """Name what a clone or a download leaves in the place of a file."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    for mark, what in _PLACEHOLDERS.items():
        if start.startswith(mark):
            raise UserError(f"{path} is {what}")


def find_record(path: Path) -> FileRecord:
    """The record beside an exported file, or the one within it; empty if there is none.

    Runs nothing of the file.

    Raises:
        UserError: it is damaged, the file is one that is never opened, or it lies alone and what reads it is missing.
    """
    exporter = exporter_for(path)
    if exporter is not None and path.is_file():
        refuse_placeholder(path)
    beside = read_record(path)
    if beside or exporter is None or not exporter.within:
        return beside
    try:
        within: FileRecord = resolve_name(exporter.within)(path)
    except ModuleNotFoundError:
        exporter.require()
        raise
    return within


def preprocessing_of(record: FileRecord) -> Preprocessing | DensePreprocessing | None:
    """The preprocessing in a record, if it has one."""
    values = record.get("preprocessing")
    if not isinstance(values, dict):
        return None
    return TASKS[record.get("task", DEFAULT_TASK)].preprocessing.from_dict(values)
