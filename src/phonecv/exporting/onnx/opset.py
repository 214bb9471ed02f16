"""Older operator sets: a graph of opset 18, the least that PyTorch's exporter writes, in the words of 13 to 17.

ONNX's own converter knows only a few of the operators that changed since. What is not said here is left as it is;
ONNX's checker then tells whether it means the same in the older set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from phonecv.errors import UserError

#: The oldest that the exporter writes.
TRACED = 18

_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")


def lower(model: onnx.ModelProto, opset: int) -> None:
    """Say the same in operators of `opset`, in place; the file's version goes down with it, or old runtimes refuse it.

    Raises:
        UserError: an operator that the older set does not have.
    """
    (held,) = [entry for entry in model.opset_import if not entry.domain]
    graph = _Graph(model.graph)
    for newer in range(held.version, opset, -1):
        nodes = []
        for node in model.graph.node:
            change = _CHANGES.get((newer, node.op_type))
            nodes += [node] if change is None else list(change(graph, node))
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    _forget_unread(model.graph)
    held.version = opset
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"this network cannot be said in opset {opset}: {why}; leave out the opset (--opset)"
        ) from error


def _forget_unread(graph: onnx.GraphProto) -> None:
    """Take out constants that became attributes; runtimes warn about them."""
    read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def lower_file(path: Path, opset: int) -> None:
    """`lower` a file in place."""
    model = onnx.load(path)
    lower(model, opset)
    onnx.save(model, path)


class _Graph:
    """The constants of a graph, and how to add some."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph

    def value(self, name: str) -> np.ndarray:
        """A constant."""
        for tensor in self.graph.initializer:
            if tensor.name == name:
                return numpy_helper.to_array(tensor)
        for node in self.graph.node:
            if node.op_type == "Constant" and node.output[0] == name:
                return numpy_helper.to_array(helper.get_node_attr_value(node, "value"))
        raise UserError(f"this network cannot be said in an older opset: {name} is computed, not constant")

    def add(self, name: str, values: Any) -> str:
        """Keep a constant under this name."""
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _without(node: NodeProto, *names: str) -> Iterator[NodeProto]:
    """The node without some attributes."""
    kept = [one for one in node.attribute if one.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    yield node


def _axes_as_attribute(graph: _Graph, node: NodeProto) -> Iterator[NodeProto]:
    if len(node.input) > 1:
        node.attribute.append(helper.make_attribute("axes", graph.value(node.input[1]).tolist()))
        del node.input[1:]
    return _without(node, "noop_with_empty_axes")


def _without_empty_inputs(graph: _Graph, node: NodeProto) -> Iterator[NodeProto]:
    while node.input and not node.input[-1]:
        del node.input[-1]
    yield node


def _norm(graph: _Graph, node: NodeProto) -> Iterator[NodeProto]:
    """LayerNormalization over the last axis as mean, difference and root."""
    (given, scale, *bias), result = node.input, node.output[0]
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if attributes.get("axis", -1) != -1:
        raise UserError("this network cannot be said in an older opset: a norm over several axes")
    eps = graph.add(f"{result}_eps", np.float32(attributes.get("epsilon", 1e-5)))
    steps: Sequence[tuple[str, list[str], str, dict[str, Any]]] = [
        ("ReduceMean", [given], "mean", {"axes": [-1]}),
        ("Sub", [given, f"{result}_mean"], "centred", {}),
        ("Mul", [f"{result}_centred", f"{result}_centred"], "squares", {}),
        ("ReduceMean", [f"{result}_squares"], "variance", {"axes": [-1]}),
        ("Add", [f"{result}_variance", eps], "above", {}),
        ("Sqrt", [f"{result}_above"], "root", {}),
        ("Div", [f"{result}_centred", f"{result}_root"], "normal", {}),
        ("Mul", [f"{result}_normal", scale], "scaled", {}),
        *([("Add", [f"{result}_scaled", *bias], "", {})] if bias else []),
    ]
    for number, (kind, inputs, name, more) in enumerate(steps, 1):
        output = result if number == len(steps) else f"{result}_{name}"
        made = helper.make_node(kind, inputs, [output], name=f"{node.name}_{number}", **more)
        made.metadata_props.extend(node.metadata_props)
        yield made


def _part_of_shape(graph: _Graph, node: NodeProto) -> Iterator[NodeProto]:
    """Shape with a start and an end as Shape and Slice."""
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if attributes:
        result = node.output[0]
        node.output[0] = f"{result}_whole"
        ends = (attributes.get("start", 0), attributes.get("end", np.iinfo(np.int64).max))
        names = [graph.add(f"{result}_{end}", np.array([end], np.int64)) for end in ends]
        yield from _without(node, "start", "end")
        yield helper.make_node("Slice", [node.output[0], *names], [result], name=f"{node.name}_part")
    else:
        yield node


def _hard_swish(graph: _Graph, node: NodeProto) -> Iterator[NodeProto]:
    gate = f"{node.output[0]}_gate"
    yield helper.make_node("HardSigmoid", node.input, [gate], name=f"{node.name}_gate", alpha=1 / 6, beta=0.5)
    yield helper.make_node("Mul", [*node.input, gate], node.output, name=node.name)


#: The set in which an operator changed, and its name -> how to say it in the one before.
_CHANGES: dict[tuple[int, str], Callable[[_Graph, NodeProto], Iterator[NodeProto]]] = {
    **{(18, kind): _axes_as_attribute for kind in _REDUCTIONS},
    (18, "Pad"): _without_empty_inputs,
    (18, "Resize"): lambda _, node: _without(node, "antialias", "keep_aspect_ratio_policy"),
    # Without it, and without lengths, the parts are equal.
    (18, "Split"): lambda _, node: _without(node, "num_outputs"),
    (17, "LayerNormalization"): _norm,
    (15, "Shape"): _part_of_shape,
    # A zero meant "as before" until then; no axis of ours has none.
    (14, "Reshape"): lambda _, node: _without(node, "allowzero"),
    (14, "HardSwish"): _hard_swish,
}
