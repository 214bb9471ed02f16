"""LiteRT: converted by litert-torch, run by LiteRT's interpreter with XNNPACK.

The file takes pictures as phones have them, ``1 H W 3`` (a clip ``1 T H W 3``); its signature names inputs and outputs,
and its metadata holds the record.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.four_axes import with_four_axes
from phonecv.exporting.inputs import Input, channels_last, check_taken, inputs_in, last_layout
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.litert.record import METADATA, read_content, record_in
from phonecv.exporting.native import silenced, try_in_child
from phonecv.exporting.record import read_record

_QUANTIZERS = {
    "fp16": "phonecv.exporting.litert.exporter:halve",
    "int8": "phonecv.exporting.litert.int8:quantize",
    "int8-weights": "phonecv.exporting.litert.weights:quantize",
}
#: Opens a file and runs it once, on zeros: what lies in memory may be no row of a table that the network looks up.
_TRIAL = """
import sys
import numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
for one in interpreter.get_input_details():
    interpreter.set_tensor(one["index"], numpy.zeros(one["shape"], one["dtype"]))
interpreter.invoke()
"""


class _ChannelsLast(nn.Module):
    """Takes pictures as ``B H W 3`` and names the outputs. The converter lets the first transpose vanish."""

    def __init__(self, inner: nn.Module, inputs: tuple[Input, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.inner, self.inputs, self.outputs = inner, inputs, outputs

    def forward(self, **given: Tensor) -> dict[str, Tensor]:
        taken = [given[one.name].movedim(-1, 1) if one.coloured else given[one.name] for one in self.inputs]
        return dict(zip(self.outputs, self.inner(*taken), strict=True))


def write(job: Job, folder: Path) -> Written:
    """The file, for one picture of one size."""
    from ai_edge_litert.tools import flatbuffer_utils

    from phonecv.exporting.litert.report import report

    if job.precision == "fp16" and [one.kind for one in job.taken] == ["pictures"]:
        # Half precision is what GPUs compute in, and they take four axes: EMOv2-1M is on one whole (752 operators), and
        # not without 126 of 728. On one core of a processor that costs 8 % of the time, so float32 keeps five axes.
        job = replace(job, module=with_four_axes(job.module, job.row[0]))
    path = folder / f"{job.stem}.tflite"
    model = flatbuffer_utils.read_model_from_bytearray(converted(job))
    _name_as_without_wrapper(model, job.module)
    flatbuffer_utils.write_model(model, str(path))
    settings: dict[str, Any] = {}
    if job.precision != "float32":
        source = path.rename(folder / f"{job.stem}.float.tflite")
        settings = resolve_name(_QUANTIZERS[job.precision])(job, source, path)
        source.unlink()
        model = flatbuffer_utils.read_model(str(path))
    _add_record(model, job.record)
    flatbuffer_utils.write_model(model, str(path))
    found = report(path)
    found["inputs"] = [{"name": one.name, "layout": last_layout(one), "type": one.type} for one in job.taken]
    return Written(path, sum(found["operators"].values()), found | ({"settings": settings} if settings else {}))


def converted(job: Job) -> bytes:
    """The float32 file of a job."""
    import litert_torch

    wrapped = _ChannelsLast(in_plain_order(job.module), job.taken, job.outputs).eval()
    given = {
        one.name: channels_last(values).contiguous() if one.coloured else values
        for one, values in zip(job.taken, job.row, strict=True)
    }
    with torch.no_grad():
        model = litert_torch.convert(wrapped, sample_kwargs=given)
    return model.model_content()


def in_plain_order(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers lie in memory in the order of their axes.

    Of any other tensor, such as the channels-last weights that `fuse` leaves, the converter (0.10) makes a temporary
    copy, by whose address it recognises a constant it has written already. The next copy may well get the address of
    the last: six convolutions of one shape then share one weight.
    """
    module = copy.deepcopy(module)
    for values in [*module.parameters(), *module.buffers()]:
        values.data = values.data.contiguous()
    return module


def halve(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write `source` with weights in 16-bit floating point; phones compute in it too, where their runtime likes to."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    work = quantizer.Quantizer(str(source))
    cast = quantizer.AlgorithmName.FLOAT_CASTING
    work.add_weight_only_config(".*", TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=cast)
    result = work.quantize(enable_progress_report=False)
    assert result.quantized_model is not None
    path.write_bytes(result.quantized_model)
    return {"weights": "float16", "activations": "float32"}


def _name_as_without_wrapper(model: Any, module: nn.Module) -> None:
    """Values are named after the modules they come from: leave the wrapper out of the names."""
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    wrapper = f"{_ChannelsLast.__module__}.{_ChannelsLast.__qualname__}"
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = tensor.name.replace(f"{wrapper}/{name}_inner".encode(), name.encode())


def _add_record(model: Any, record: Mapping[str, Any]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(json.dumps(dict(record), ensure_ascii=False).encode(), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = METADATA, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """A .tflite file of ours or another's in LiteRT."""
    from importlib.metadata import version

    content = read_content(path)
    try_in_child(_TRIAL, path, runtime="LiteRT")
    from ai_edge_litert.interpreter import Interpreter

    with silenced():
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    record = record_in(content, path) or read_record(path)
    inputs, outputs = _in_order(interpreter, record)
    shapes: dict[str, list[int | None]] = {one["name"]: [int(side) for side in one["shape"]] for one in inputs}
    turned = [len(shape) > 3 and shape[-1] == 3 and shape[1] != 3 for shape in shapes.values()]
    own = inputs_in(record)
    if own:
        turned = [one.coloured for one in own]
    for name, turn in zip(shapes, turned, strict=False):
        if turn:
            batch, *sides, channels = shapes[name]
            shapes[name] = [batch, channels, *sides]
    batch, size = check_taken(path, shapes, record)

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        for detail, turn, array in zip(inputs, turned, arrays, strict=True):
            if size is not None and array.ndim > 3 and array.shape[-2:] != size:
                raise UserError(f"{path} takes {size[0]} x {size[1]} pixels, not {array.shape[-2]} x {array.shape[-1]}")
            interpreter.set_tensor(detail["index"], _quantized(channels_last(array) if turn else array, detail))
        interpreter.invoke()
        return [_dequantized(interpreter.get_tensor(output["index"]), output) for output in outputs]

    return Session(run=run, runtime=f"LiteRT {version('ai-edge-litert')}", batch=batch, size=size, record=record)


def _in_order(interpreter: Any, record: FileRecord) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs as the record lists them; of a file of another's in its own order."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if not interpreter.get_signature_list():
        return inputs, outputs
    runner = interpreter.get_signature_runner()
    given, found = runner.get_input_details(), runner.get_output_details()
    names, wanted = [one.name for one in inputs_in(record)], record.get("outputs", ())
    return (
        [given[name] for name in names] if set(names) == set(given) else inputs,
        [found[name] for name in wanted] if set(wanted) == set(found) else outputs,
    )


def _quantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    if detail["dtype"] == np.float32:
        return np.ascontiguousarray(values, np.float32)
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.round(values / (scale or 1) + zero).clip(limits.min, limits.max).astype(detail["dtype"])


def _dequantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values
