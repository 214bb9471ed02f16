"""8-bit weights in an ONNX file that computes in floating point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from phonecv.exporting.job import Job

#: Weights with fewer elements stay float: a node and its scales would cost what they save.
SMALLEST = 256


def quantize(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write `source` with the weights of convolutions and matrix products as int8, symmetric, per output channel.

    Each weight is followed by a DequantizeLinear, which every runtime since opset 13 knows.

    Args:
        job: needs no calibration; settings are not used.
        source: the float file.
        path: the file to write.

    Returns:
        What was done, as JSON values.
    """
    model = onnx.load(source)
    graph = model.graph
    axes = _output_axes(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes, done = [], {}
    for name, axis in axes.items():
        values = numpy_helper.to_array(constants[name])
        if values.size < SMALLEST:
            continue
        integers, scales = quantize_weights(values, axis)
        done[name] = f"{name}_dequantized"
        graph.initializer.remove(constants[name])
        graph.initializer.append(numpy_helper.from_array(integers, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [done[name]], f"{name}_dequantize", axis=axis
            )
        )
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = done.get(name, name)
    # Readers come after what they read.
    everything = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(everything)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return {"weights": "int8, symmetric, per output channel", "activations": "float32", "tensors": len(done)}


def quantize_weights(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest integers in -127..127 and their scale per index of `axis`; a channel of zeros gets scale one."""
    others = tuple(other for other in range(values.ndim) if other != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    # A channel near the smallest float can round its scale to nothing.
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    integers = np.rint(values / scales).clip(-127, 127).astype(np.int8)
    return integers, scales.reshape(-1)


def _output_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """Constant weights that only such operators read, and the axis of the outputs in each."""
    found: dict[str, set[int | None]] = {}
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        for place, name in enumerate(node.input):
            if name not in constants:
                continue
            axis: int | None = None
            if place == 1 and node.op_type in ("Conv", "ConvTranspose"):
                axis = 0 if node.op_type == "Conv" else 1
            elif place == 1 and node.op_type == "Gemm":
                axis = 0 if attributes.get("transB", 0) else 1
            elif place == 1 and node.op_type == "MatMul" and len(constants[name].dims) >= 2:
                axis = len(constants[name].dims) - 1
            found.setdefault(name, set()).add(axis)
    single = {name: next(iter(axes)) for name, axes in found.items() if len(axes) == 1}
    return {name: axis for name, axis in single.items() if axis is not None}
