"""A Core ML package as it lies on the disk: which of its files hold the model and the weights.

A package is a folder that anyone may have made. It is read with its own bounds kept: no file outside of it is opened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.coreml.toolkit import messages

#: How paths of weights begin in a model.
_HERE = "@model_path/"

#: A model without its weights; those of mobile networks take a few hundred kilobytes.
_MOST_BYTES = 256 * 2**20

#: Of the header of every blob of weights.
_SENTINEL = 0xDEADBEEF
_HEADER = np.dtype([("sentinel", "<u4"), ("kind", "<u4"), ("bytes", "<u8"), ("offset", "<u8")])

#: Numbers of element types in weight files, and names in `program.KINDS`.
_BLOB_KINDS = {1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 14: "int32", 15: "uint32"}


@dataclass(frozen=True, slots=True)
class Package:
    """An opened package.

    Attributes:
        path: the folder.
        model: the message `Model`.
        folder: the one that paths of weights start from.
        files: weight files that were read, by path.
    """

    path: Path
    model: Any
    folder: Path
    files: dict[Path, np.ndarray]

    def blob(self, name: str, offset: int, kind: str, bytes_: int) -> np.ndarray:
        """Raw bytes of a tensor in a weight file; `offset` of the blob's header, kind and size as the model says."""
        content = self._file(name)
        header = content[offset : offset + _HEADER.itemsize]
        if offset < 0 or len(header) < _HEADER.itemsize:
            raise UserError(f"{self.path} is damaged: {name} ends before the weights at byte {offset}")
        (found,) = header.view(_HEADER)
        if int(found["sentinel"]) != _SENTINEL:
            raise UserError(f"{self.path} is damaged: {name} has no weights at byte {offset}")
        stored = _BLOB_KINDS.get(int(found["kind"]))
        start, size = int(found["offset"]), int(found["bytes"])
        if stored != kind or size != bytes_:
            raise UserError(
                f"{self.path} is damaged: {name} holds {size} bytes of {stored or 'an unknown type'} at byte {offset},"
                f" the model expects {bytes_} of {kind}"
            )
        if start + size > len(content):
            raise UserError(f"{self.path} is damaged: {name} ends before the weights at byte {offset}")
        return content[start : start + size]

    def _file(self, name: str) -> np.ndarray:
        path = _inside(self.path, self.folder, name.removeprefix(_HERE), "weights")
        if not name.startswith(_HERE):
            raise UserError(f"{self.path} was refused: its weights {name!r} are not inside the package")
        if path not in self.files:
            if not path.is_file():
                raise UserError(f"{self.path} is incomplete: its weights {name.removeprefix(_HERE)} are missing")
            self.files[path] = np.fromfile(path, np.uint8)
        return self.files[path]


def open_package(path: Path) -> Package:
    """Find and parse the model of a package."""
    from google.protobuf.message import DecodeError

    if not path.is_dir():
        raise UserError(f"{path} is not a Core ML package; a package is a folder, as phonecv export writes it")
    file = _model_file(path)
    if file.stat().st_size > _MOST_BYTES:
        raise UserError(f"{path} was refused: a model of {file.stat().st_size} bytes without its weights")
    model = messages().Model_pb2.Model()
    try:
        model.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path} is damaged: {file.name} is not a Core ML model") from error
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise UserError(f"{path} holds a model of the kind {kind or 'none'}; phonecv reads mlProgram alone")
    return Package(path, model, file.parent, {})


def _model_file(path: Path) -> Path:
    manifest = path / "Manifest.json"
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))
        name = listed["itemInfoEntries"][listed["rootModelIdentifier"]]["path"]
    except FileNotFoundError as error:
        raise UserError(f"{path} is not a Core ML package: it has no Manifest.json") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its Manifest.json names no model ({type(error).__name__})") from error
    file = _inside(path, path / "Data", str(name), "model")
    if not file.is_file():
        raise UserError(f"{path} is incomplete: its model {name} is missing")
    return file


def _inside(package: Path, folder: Path, name: str, what: str) -> Path:
    """A file of the package; links are followed before the question is asked."""
    try:
        path = (folder / name).resolve()
        within = path.is_relative_to(package.resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, or a zero byte in the name
        raise UserError(f"{package} was refused: its {what} has the unusable path {name!r}") from error
    if not within:
        raise UserError(f"{package} was refused: its {what} {name!r} lies outside the package")
    return path
