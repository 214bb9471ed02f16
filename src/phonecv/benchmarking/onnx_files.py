"""What can be read from any ONNX file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phonecv.exporting.inputs import Input

#: Operators that are there only in quantized files.
_QUANTIZED = frozenset({"QuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QGemm"})


def is_quantized(path: Path) -> bool:
    """Whether a file holds int8 arithmetic already."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return any(node.op_type in _QUANTIZED for node in graph.node)


def count_macs(path: Path, inputs: Sequence[Input]) -> int | None:
    """Multiply-adds of convolutions and matrix products for one row of inputs; None where a shape is not known."""
    import onnx

    model = onnx.load(path)
    for given, one in zip(model.graph.input, inputs, strict=True):
        for dimension, value in zip(given.type.tensor_type.shape.dim, (1, *one.shape), strict=True):
            dimension.dim_value = value
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        return None  # a file with its batch size fixed further inside
    shapes = {value.name: _shape(value) for value in [*graph.value_info, *graph.input, *graph.output]}
    shapes |= {value.name: list(value.dims) for value in graph.initializer}
    total = 0
    for node in graph.node:
        kind = node.op_type
        if kind not in ("Conv", "ConvInteger", "QLinearConv", "Gemm", "MatMul", "MatMulInteger"):
            continue
        weight = shapes.get(node.input[3 if kind == "QLinearConv" else 1])
        output, first = shapes.get(node.output[0]), shapes.get(node.input[0])
        if not (weight and output and first):
            return None
        if "Conv" in kind:
            total += math.prod(output) * math.prod(weight[1:])
        else:
            turned = kind == "Gemm" and any(item.name == "transA" and item.i for item in node.attribute)
            total += math.prod(output) * first[0 if turned else -1]
    return total


def _shape(value: Any) -> list[int] | None:
    sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
    return sides if all(sides) else None
