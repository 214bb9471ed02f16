"""Opening ONNX files of anyone: their record, and ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, checked_fields, is_text
from phonecv.exporting.inputs import check_taken
from phonecv.exporting.job import Session
from phonecv.exporting.record import read_record

#: Metadata keys in the file start with this.
PREFIX = "phonecv."


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """An ONNX file of ours or another's in ONNX Runtime."""
    proto = refuse_outside_weights(path)
    session = start_session(path, threads)
    return session_of(session, path, metadata_record(proto, path) or read_record(path))


def session_of(session: Any, path: Path, record: FileRecord) -> Session:
    """A file that ONNX Runtime has opened."""
    import onnxruntime

    shapes = {one.name: [side if isinstance(side, int) else None for side in one.shape] for one in session.get_inputs()}
    batch, size = check_taken(path, shapes, record)

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return session.run(None, dict(zip(shapes, arrays, strict=True)))

    return Session(run, f"ONNX Runtime {onnxruntime.__version__}", batch, size, record)


def record_within(path: Path) -> FileRecord:
    """The record in a file; empty if it has none."""
    return metadata_record(refuse_outside_weights(path), path)


def metadata_record(proto: Any, path: Path) -> FileRecord:
    """The record in an ONNX file's metadata; empty if it has none."""
    try:
        entries = {entry.key: entry.value for entry in proto.metadata_props}
    except UnicodeDecodeError as error:
        raise UserError(f"the record in {path} is not UTF-8 text; export the network again") from error
    return record_in(entries, path)


def record_in(entries: Mapping[str, str], path: Path) -> FileRecord:
    """The record among the entries of a file's metadata; empty if there is none."""
    texts = {key.removeprefix(PREFIX): text for key, text in entries.items() if key.startswith(PREFIX)}
    return checked_fields({name: _value(name, text) for name, text in texts.items()}, f"the record in {path}")


def _value(name: str, text: str) -> Any:
    if is_text(name):  # a network may be called 1, or null
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def start_session(path: Path, threads: int) -> Any:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while waiting slow each other, and everything else, down on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be used as an ONNX model: {reason}") from error


def refuse_outside_weights(path: Path) -> Any:
    """Refuse a file whose weights lie outside its folder: reading them would open any file of the machine.

    Returns:
        The model without weights that lie in files of their own.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UserError(f"{path} is not an ONNX file ({type(error).__name__})") from error
    if not proto.HasField("graph"):  # an empty file is a message without any field
        raise UserError(f"{path} is not an ONNX file (there is no graph in it); export the network again")
    folder = path.resolve().parent
    for tensor in [*_weights(proto.graph), *(weight for function in proto.functions for weight in _in_nodes(function))]:
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise UserError(f"{path} was refused: its weights {entry.value!r} lie outside its folder")
    return proto


def _weights(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _in_nodes(graph)


def _in_nodes(graph: Any) -> Iterator[Any]:
    """Tensors in the attributes of a graph's or a function's nodes."""
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                yield from (sparse.values, sparse.indices)
            for inner in attribute.graphs:
                yield from _weights(inner)
            if attribute.HasField("g"):
                yield from _weights(attribute.g)
