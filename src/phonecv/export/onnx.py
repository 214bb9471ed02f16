"""ONNX: written by PyTorch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.export.job import Job, Session, Written
from phonecv.export.record import read_record

#: Metadata keys in the file start with this.
PREFIX = "phonecv."


def write(job: Job, folder: Path) -> Written:
    """The graph, with the record in its metadata."""
    import onnx

    path = folder / f"{job.stem}.onnx"
    write_graph(job.module, job.example, path, list(job.outputs), dynamic_size=job.dynamic_size)
    proto = onnx.load(path)
    for key, value in job.record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        proto.metadata_props.add(key=PREFIX + key, value=text)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return Written(path, len(proto.graph.node))


def write_graph(
    network: nn.Module, example: Tensor, path: Path, outputs: list[str], *, dynamic_size: bool = False
) -> None:
    """Trace and write, with a free batch size."""
    torch.onnx.export(
        network,
        (example,),
        path,
        dynamo=True,
        input_names=["images"],
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,  # one file; mobile networks are far below protobuf's 2 GB
        verbose=False,
    )


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """An ONNX file of ours or another's in ONNX Runtime.

    Raises:
        UserError: not an ONNX file, weights outside its folder, or it takes no RGB pictures.
    """
    import onnxruntime

    refuse_outside_weights(path)
    session = start_session(path, threads)
    inputs = session.get_inputs()
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        wanted = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise UserError(f"{path} takes {wanted}; a network of ours takes one batch of pictures, B x 3 x H x W")
    metadata = session.get_modelmeta().custom_metadata_map
    record = {
        key.removeprefix(PREFIX): _value(text) for key, text in metadata.items() if key.startswith(PREFIX)
    } or read_record(path)
    height, width = shape[2:]
    name = inputs[0].name

    def run(images: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {name: images})

    return Session(
        run=run,
        runtime=f"ONNX Runtime {onnxruntime.__version__}",
        batch=shape[0] if isinstance(shape[0], int) else None,
        size=(height, width) if isinstance(height, int) and isinstance(width, int) else None,
        record=record,
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def start_session(path: Path, threads: int) -> Any:
    """ONNX Runtime on the CPU.

    Raises:
        UserError: the file is not a usable ONNX model.
    """
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


def refuse_outside_weights(path: Path) -> None:
    """Refuse a file whose weights lie outside its folder: reading them would open any file of the machine.

    Raises:
        UserError: it does, or it is not an ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UserError(f"{path} is not an ONNX file ({type(error).__name__})") from error
    folder = path.resolve().parent
    for tensor in [*proto.graph.initializer, *_attribute_tensors(proto.graph)]:
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise UserError(f"{path} was refused: its weights {entry.value!r} lie outside its folder")


def _attribute_tensors(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in [attribute.g, *attribute.graphs]:
                yield from inner.initializer
                if inner.node:
                    yield from _attribute_tensors(inner)
