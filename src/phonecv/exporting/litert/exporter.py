"""LiteRT: converted by litert-torch, run by LiteRT's interpreter with XNNPACK.

The file takes pictures as phones have them, ``1 H W 3``; its signature names input and outputs, and its metadata holds
the record.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.litert.record import METADATA, read_content, record_in
from phonecv.exporting.native import silenced, try_in_child
from phonecv.exporting.record import read_record

INPUT = "images"
_QUANTIZERS = {
    "fp16": "phonecv.exporting.litert.exporter:halve",
    "int8": "phonecv.exporting.litert.int8:quantize",
    "int8-weights": "phonecv.exporting.litert.weights:quantize",
}
#: Opens a file and runs it once.
_TRIAL = """
import sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.invoke()
"""


class _ChannelsLast(nn.Module):
    """Takes ``B H W 3`` and names the outputs. The converter lets the first transpose vanish."""

    def __init__(self, inner: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.inner, self.outputs = inner, outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.outputs, self.inner(images.permute(0, 3, 1, 2)), strict=True))


def write(job: Job, folder: Path) -> Written:
    """The file, for one picture of one size."""
    from ai_edge_litert.tools import flatbuffer_utils

    from phonecv.exporting.litert.report import report

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
    found = report(model, path, job)
    found["input"] = {"name": INPUT, "layout": "NHWC", "type": "float32"}
    return Written(path, sum(found["operators"].values()), found | ({"settings": settings} if settings else {}))


def converted(job: Job) -> bytes:
    """The float32 file of a job."""
    import litert_torch

    images = job.example[:1].permute(0, 2, 3, 1).contiguous()
    wrapped = _ChannelsLast(in_plain_order(job.module), job.outputs).eval()
    with torch.no_grad():
        model = litert_torch.convert(wrapped, sample_kwargs={INPUT: images})
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
    """A .tflite file of ours or another's in LiteRT.

    Raises:
        UserError: not such a file, damaged, or it takes no RGB pictures.
    """
    from importlib.metadata import version

    content = read_content(path)
    try_in_child(_TRIAL, path, runtime="LiteRT")
    from ai_edge_litert.interpreter import Interpreter

    with silenced():
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shape = [int(side) for side in inputs[0]["shape"]]
    if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        wanted = ", ".join(f"{item['name']} {list(item['shape'])}" for item in inputs)
        raise UserError(f"{path} takes {wanted}; a network of ours takes one batch of pictures, B x H x W x 3")
    channels_last = shape[3] == 3
    size = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
    record = record_in(content, path) or read_record(path)
    outputs = _in_order(interpreter, outputs, record)

    def run(images: np.ndarray) -> list[np.ndarray]:
        if images.shape[2:] != size:
            raise UserError(f"{path} takes {size[0]} x {size[1]} pixels, not {images.shape[2]} x {images.shape[3]}")
        given = images.transpose(0, 2, 3, 1) if channels_last else images
        interpreter.set_tensor(inputs[0]["index"], _quantized(given, inputs[0]))
        interpreter.invoke()
        return [_dequantized(interpreter.get_tensor(output["index"]), output) for output in outputs]

    return Session(run=run, runtime=f"LiteRT {version('ai-edge-litert')}", batch=shape[0], size=size, record=record)


def _in_order(interpreter: Any, outputs: list[dict[str, Any]], record: FileRecord) -> list[dict[str, Any]]:
    """The outputs as the record lists them; a file of another's in its own order."""
    if not interpreter.get_signature_list():
        return outputs
    named = interpreter.get_signature_runner().get_output_details()
    wanted = record.get("outputs", ())
    return [named[name] for name in wanted] if set(wanted) == set(named) else outputs


def _quantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    if detail["dtype"] == np.float32:
        return np.ascontiguousarray(values, np.float32)
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.round(values / (scale or 1) + zero).clip(limits.min, limits.max).astype(detail["dtype"])


def _dequantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values
