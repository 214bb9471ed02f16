"""ONNX: written by PyTorch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.exporting.fields import checked_fields, is_text
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.record import read_record
from phonecv.exporting.tracing import traced

#: Metadata keys in the file start with this.
PREFIX = "phonecv."


def write(job: Job, folder: Path) -> Written:
    """The graph, with the record in its metadata."""
    import onnx

    path = folder / f"{job.stem}.onnx"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "float.onnx"
        write_graph(job.module, job.example, source, list(job.outputs), dynamic_size=job.dynamic_size)
        report = _in_precision(job, source, path)
    proto = onnx.load(path)
    for key, value in job.record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        proto.metadata_props.add(key=PREFIX + key, value=text)
    _forget_sources(proto)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return Written(path, len(proto.graph.node), report)


def _forget_sources(proto: Any) -> None:
    """Take out where each operator was called in the sources: paths of this machine, and a third of a small file.

    Which layer it belongs to stays.
    """
    for node in proto.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key.endswith("name_scopes")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def _in_precision(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write a float32 file as `path` in the precision asked for; returns what was used."""
    if job.precision == "int8":
        from phonecv.exporting.onnx import int8 as onnx_int8

        return {"settings": onnx_int8.quantize(job, source, path)}
    if job.precision == "int8-weights":
        from phonecv.exporting.onnx import weights as onnx_weights

        return {"settings": onnx_weights.quantize(job, source, path)}
    if job.precision == "fp16":
        _halve(source, path)
    else:
        shutil.move(source, path)  # the temporary folder may be on another disk
    return {}


def _halve(source: Path, path: Path) -> None:
    """Weights and arithmetic in fp16, inputs and outputs in float32; operators that lack fp16 stay as they are."""
    import onnx

    before = list(sys.path)
    # That import puts its own folder on the path. What ONNX Runtime's quantization wants from there comes now, or an
    # int8 file written later by the same process would not find it.
    import onnxruntime.quantization  # noqa: F401
    from onnxruntime.transformers.float16 import convert_float_to_float16

    sys.path[:] = before
    proto = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    # A value that several operators in float32 read is cast for each of them, every time to the same name. The casts
    # stand at the end of the graph, but the format wants each operator after those it reads from.
    nodes = list({tuple(node.output): node for node in proto.graph.node}.values())
    made = {name: number for number, node in enumerate(nodes) for name in node.output}
    reads = {number: {made[name] for name in node.input if name in made} for number, node in enumerate(nodes)}
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[number] for number in TopologicalSorter(reads).static_order())
    onnx.save(proto, path)


def write_graph(
    network: nn.Module, example: Tensor, path: Path, outputs: list[str], *, dynamic_size: bool = False
) -> None:
    """Trace and write, with a free batch size and, if asked for, free height and width."""
    # The exporter traces a module itself, in more ways than one if it has to; none of them leaves a size free here.
    given: dict[str, Any] = {"model": network, "args": (example,), "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    if dynamic_size:
        given = {"model": traced(network, example, dynamic_size=True)}
    with torch.no_grad():
        torch.onnx.export(
            f=path,
            dynamo=True,
            input_names=["images"],
            output_names=outputs,
            external_data=False,  # one file; mobile networks are far below protobuf's 2 GB
            verbose=False,
            **given,
        )
    if dynamic_size:
        _name_axes(path)


def _name_axes(path: Path) -> None:
    """Call the free axes batch, height and width, which the tracer has called s1, s2 and s3."""
    import onnx

    proto = onnx.load(path)
    axes = proto.graph.input[0].type.tensor_type.shape.dim
    names = {axes[axis].dim_param: name for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(r"\w+", lambda word: names.get(word.group(), word.group()), axis.dim_param)
    onnx.save(proto, path)


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """An ONNX file of ours or another's in ONNX Runtime.

    Raises:
        UserError: not an ONNX file, weights outside its folder, or it takes no RGB pictures.
    """
    import onnxruntime

    proto = refuse_outside_weights(path)
    session = start_session(path, threads)
    inputs = session.get_inputs()
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        wanted = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise UserError(f"{path} takes {wanted}; a network of ours takes one batch of pictures, B x 3 x H x W")
    record = metadata_record(proto, path) or read_record(path)
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


def record_within(path: Path) -> dict[str, Any]:
    """The record in a file; empty if it has none.

    Raises:
        UserError: not an ONNX file, one with weights outside its folder, or with a damaged record.
    """
    return metadata_record(refuse_outside_weights(path), path)


def metadata_record(proto: Any, path: Path) -> dict[str, Any]:
    """The record in an ONNX file's metadata; empty if it has none.

    Args:
        proto: the model.
        path: its file, for messages.

    Raises:
        UserError: it is damaged.
    """
    place = f"the record in {path}"
    try:
        entries = {entry.key: entry.value for entry in proto.metadata_props}
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 text; export the network again") from error
    texts = {key.removeprefix(PREFIX): text for key, text in entries.items() if key.startswith(PREFIX)}
    return checked_fields({name: _value(name, text) for name, text in texts.items()}, place)


def _value(name: str, text: str) -> Any:
    if is_text(name):  # a network may be called 1, or null
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
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


def refuse_outside_weights(path: Path) -> Any:
    """Refuse a file whose weights lie outside its folder: reading them would open any file of the machine.

    Returns:
        The model without weights that lie in files of their own.

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
