"""LiteRT: converted by litert-torch, run by LiteRT's interpreter with XNNPACK.

The file takes pictures as phones have them, ``1 H W 3`` (a clip ``1 T H W 3``); its signature names inputs and outputs,
and its metadata holds the record.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.exporting.four_axes import with_four_axes
from phonecv.exporting.inputs import Input, channels_last, last_layout
from phonecv.exporting.job import Job, Written
from phonecv.exporting.litert.graph import Node, read_nodes
from phonecv.exporting.litert.metadata import ENTRY, append_labels, check_normalisation, metadata
from phonecv.exporting.litert.record import METADATA
from phonecv.exporting.where.finding import found_in


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

    check_normalisation(job)
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
        if job.precision == "int8":
            from phonecv.exporting.litert.int8 import quantize

            settings = quantize(job, source, path)
        else:
            settings = quantize_weights(job.precision, source, path)
        source.unlink()
        model = flatbuffer_utils.read_model(str(path))
    _add_metadata(model, METADATA, json.dumps(dict(job.record), ensure_ascii=False).encode())
    names = _describe(model, job)
    flatbuffer_utils.write_model(model, str(path))
    if names:
        append_labels(path, names)
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


def quantize_weights(precision: str, source: Path, path: Path) -> dict[str, Any]:
    """Write `source` with its weights in 16-bit floating point, or as int8, symmetric, one scale per output channel.

    What is computed stays float32; in 16 bits phones compute too, where their runtime likes to.
    """
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    bits: dict[str, Any] = {"num_bits": 8}
    if precision == "fp16":
        bits = {"num_bits": 16, "algorithm_key": quantizer.AlgorithmName.FLOAT_CASTING}
    work = quantizer.Quantizer(str(source))
    work.add_weight_only_config(".*", TFLOperationName.ALL_SUPPORTED, **bits)
    result = work.quantize(enable_progress_report=False)
    assert result.quantized_model is not None
    path.write_bytes(result.quantized_model)
    weights = "float16" if precision == "fp16" else "int8, symmetric, per output channel"
    return {"weights": weights, "activations": "float32"}


def _name_as_without_wrapper(model: Any, module: nn.Module) -> None:
    """Values are named after the modules they come from: leave the wrapper out of the names."""
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    wrapper = f"{_ChannelsLast.__module__}.{_ChannelsLast.__qualname__}"
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = tensor.name.replace(f"{wrapper}/{name}_inner".encode(), name.encode())


def _describe(model: Any, job: Job) -> Sequence[str]:
    """Say what a file of pictures is in MediaPipe's words; returns the names of classes that belong behind it."""
    if [one.kind for one in job.taken] != ["pictures"] or "preprocessing" not in job.record:
        return ()
    graph = model.subgraphs[0]
    called = {one.tensorIndex: one.name for signature in model.signatureDefs or () for one in signature.outputs}
    tensors = {place: graph.tensors[place] for place in graph.outputs}
    outputs = {called.get(place, one.name).decode(): list(one.shape) for place, one in tensors.items()}
    content, classes = metadata(job, outputs)
    _add_metadata(model, ENTRY, content)
    return classes


def _add_metadata(model: Any, name: str, content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = name, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]


def report(path: Path) -> dict[str, Any]:
    """Operators by kind, where they run, and those outside XNNPACK by layer."""
    nodes = read_nodes(path)
    outside = outside_xnnpack(nodes, path)
    counts = Counter((node.operator.layer, node.operator.kind) for node in outside)
    return {
        **found_in("litert", [node.operator for node in nodes]),
        "xnnpack": {
            "share": round(1 - len(outside) / max(1, len(nodes)), 4),
            "outside": [{"layer": layer, "operator": kind, "count": count} for (layer, kind), count in counts.items()],
        },
    }


def outside_xnnpack(nodes: list[Node], path: Path) -> list[Node]:
    """Operators that the interpreter runs by itself, found by going back from the outputs of the opened file.

    A delegate adds an operator to the graph that makes the same tensors as those it replaces.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    # LiteRT offers no public way to list what is delegated.
    delegates = [node for node in interpreter._get_ops_details() if node["op_name"] == "DELEGATE"]
    maker: dict[int, Node | tuple[int, ...]] = {number: node for node in nodes for number in node.outputs}
    for delegate in delegates:
        maker.update(dict.fromkeys(map(int, delegate["outputs"]), tuple(map(int, delegate["inputs"]))))
    waiting = [int(one["index"]) for one in interpreter.get_output_details()]
    seen: set[int] = set()
    outside: list[Node] = []
    while waiting:
        number = waiting.pop()
        if number in seen or number not in maker:
            continue
        seen.add(number)
        made_by = maker[number]
        if isinstance(made_by, Node):
            if made_by not in outside:
                outside.append(made_by)
            waiting += made_by.inputs
        else:
            waiting += made_by
    return sorted(outside, key=nodes.index)
