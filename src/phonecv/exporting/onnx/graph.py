"""The operators of an ONNX file, for the rules of `phonecv.exporting.where`; it is read, not run."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.exporting.onnx.opening import refuse_outside_weights
from phonecv.exporting.where.graph import Operator, Value

#: Names of the free batch axis: the one of our files, and what others mostly call it. An app sets it to 1 in the
#: session's options; see the note of ONNX Runtime's accelerators.
_BATCH = ("batch", "batch_size", "N")


def read_operators(path: Path) -> list[Operator]:
    """The operators of a file, in order; a free batch counts as 1.

    Raises:
        UserError: it is no ONNX file, or its weights lie outside its folder.
    """
    import onnx

    proto = refuse_outside_weights(path)
    graph = proto.graph
    names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    words = {"float": "float32", "double": "float64"}
    types = {number: words.get(name, name) for number, name in names.items()}
    values = {item.name: _value(item, types) for item in [*graph.value_info, *graph.input, *graph.output]}
    for weight in graph.initializer:
        values[weight.name] = Value(types.get(weight.data_type, ""), tuple(weight.dims), constant=True)
    found = []
    for node in graph.node:
        settings = {entry.name: _setting(onnx.helper.get_attribute_value(entry)) for entry in node.attribute}
        if node.op_type == "Constant":
            values[node.output[0]] = Value("", None, constant=True)
            continue
        reads = tuple(values.get(name, Value()) for name in node.input if name)
        makes = tuple(values.get(name, Value()) for name in node.output if name)
        found.append(Operator(node.op_type, _layer(node), reads, makes, settings))
    return found


def _value(item: Any, types: Mapping[int, str]) -> Value:
    tensor = item.type.tensor_type
    if not tensor.HasField("shape"):
        return Value(types.get(tensor.elem_type, ""))
    sides = [_length(dim, first=number == 0) for number, dim in enumerate(tensor.shape.dim)]
    return Value(types.get(tensor.elem_type, ""), tuple(sides))


def _length(dim: Any, *, first: bool) -> int | None:
    if dim.HasField("dim_value"):
        return dim.dim_value
    # An axis behind the first may hold the batch, too: windows of all pictures, as "49*batch".
    words = dim.dim_param.replace("*", " ").split()
    batch = any(word in _BATCH for word in words) and all(word in _BATCH or word.isdecimal() for word in words)
    return 1 if batch or (first and not dim.dim_param) else None


def _setting(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _layer(node: Any) -> str:
    """The module that PyTorch's exporter noted: names of all modules around an operator, the innermost last but one."""
    for entry in node.metadata_props:
        if entry.key.endswith("name_scopes"):
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
                return ""
            within = [scope for scope in scopes[:-1] if isinstance(scope, str) and scope]
            return within[-1].removeprefix("network").removeprefix(".") if within else ""
    return ""
