"""From a network to XNNPACK: the same numbers from operators that it has, and what stays outside of it.

Whatever XNNPACK cannot take splits the network: the pieces run one after another, and between them data is turned
from XNNPACK's layout to PyTorch's and back.
"""

from __future__ import annotations

import copy
import math
import operator
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeProgramManager, to_edge_transform_and_lower
from executorch.exir.backend.utils import get_delegates, get_non_lowered_nodes
from executorch.exir.dialects._ops import ops
from executorch.exir.pass_base import ExportPass
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from phonecv.exporting.where.graph import Operator, Value
from phonecv.models.blocks import LayerNorm2d

_aten = ops.edge.aten


class _OnlyWhatXnnpackHas(ExportPass):
    """Say the same with operators that XNNPACK has, where it refuses only the way it is said.

    - A copy to the same shape (matrix products of more than three axes make some) is nothing.
    - A split is several slices.
    - The mean over height and width keeps these axes and drops them afterwards.
    """

    def call_operator(self, op: Any, args: Any, kwargs: Any, meta: Any) -> Any:
        if op is _aten.alias_copy.default:
            return args[0]
        if op is _aten.expand_copy.default and list(args[0].data.shape) == list(args[1]):
            return args[0]
        if op is _aten.split_with_sizes_copy.default:
            return self._slices(*args, meta=meta, **kwargs)
        if op is _aten.mean.dim and _over_the_map(*args, **kwargs):
            kept = super().call_operator(op, (args[0], [2, 3], True), {}, meta)
            return super().call_operator(_aten.view_copy.default, (kept, list(kept.data.shape[:2])), {}, meta)
        return super().call_operator(op, args, kwargs, meta)

    def call_getitem(self, value: Any, key: int, meta: Any) -> Any:
        return value[key] if isinstance(value, tuple) else super().call_getitem(value, key, meta)

    def _slices(self, value: Any, sizes: list[int], dim: int = 0, *, meta: Any) -> tuple[Any, ...]:
        ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        return tuple(
            super(_OnlyWhatXnnpackHas, self).call_operator(
                _aten.slice_copy.Tensor, (value, dim, end - size, end), {}, meta
            )
            for size, end in zip(sizes, ends, strict=True)
        )


def _over_the_map(value: Any, dims: list[int] | None, keepdim: bool = False, **kwargs: Any) -> bool:
    rank = value.data.dim()
    return rank == 4 and not keepdim and not kwargs and sorted(dim % rank for dim in dims or ()) == [2, 3]


def lower(program: ExportedProgram) -> EdgeProgramManager:
    """Give XNNPACK all of the program that it takes."""
    _scalars_as_floats(program)
    return to_edge_transform_and_lower(
        program, transform_passes=[_OnlyWhatXnnpackHas()], partitioner=[XnnpackPartitioner()]
    )


def _scalars_as_floats(program: ExportedProgram) -> None:
    """A whole number that multiplies a map would become a tensor of integers and a conversion, both outside."""
    aten = torch.ops.aten
    targets = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
    for node in program.graph.nodes:
        if node.target in targets and type(node.args[1]) is int and node.meta["val"].is_floating_point():
            node.update_arg(1, float(node.args[1]))


def delegation(graph: fx.GraphModule) -> dict[str, Any]:
    """How much of a lowered graph XNNPACK computes, and what it does not, by operator and layer; JSON values.

    Multiply-adds are those of convolutions, linear layers and matrix products, for the file's batch.
    """
    inside, outside = _inside_and_outside(graph)
    total, taken = len(inside) + len(outside), sum(map(macs, inside))
    whole = taken + sum(map(macs, outside))
    layers: dict[str, list[str]] = defaultdict(list)
    for node in outside:
        layers[_name(node)].append(layer_of(node))
    return {
        "delegates": len(get_delegates(graph.graph)),
        "operators": {"delegated": len(inside), "outside": len(outside)},
        "share_of_operators": round(len(inside) / total, 4) if total else 0.0,
        "macs": {"delegated": taken, "outside": whole - taken},
        "share_of_macs": round(taken / whole, 4) if whole else 1.0,
        "outside": [
            {"operator": name, "count": len(places), "layers": sorted(set(places))}
            for name, places in sorted(layers.items())
        ],
    }


def operators_of(graph: fx.GraphModule) -> list[Operator]:
    """What a lowered graph computes, for the rules of `phonecv.exporting.where`: inside XNNPACK, then outside."""
    inside, outside = _inside_and_outside(graph)
    return [
        *(Operator(_name(node), layer_of(node), settings={"delegated": True}) for node in inside),
        *(Operator(_name(node), layer_of(node), _values(node.all_input_nodes), _values([node])) for node in outside),
    ]


def _values(nodes: Sequence[fx.Node]) -> tuple[Value, ...]:
    tensors = [value for node in nodes if isinstance(value := node.meta.get("val"), torch.Tensor)]
    return tuple(Value(str(value.dtype).removeprefix("torch."), tuple(value.shape)) for value in tensors)


def _inside_and_outside(graph: fx.GraphModule) -> tuple[list[fx.Node], list[fx.Node]]:
    """What XNNPACK computes of a lowered graph, and what it does not."""
    delegates = [getattr(graph, str(node.target)) for node in get_delegates(graph.graph)]
    inside = [node for one in delegates for node in one.original_module.graph_module.graph.nodes if _computes(node)]
    return inside, [node for node in get_non_lowered_nodes(graph.graph) if node.target is not operator.getitem]


def _computes(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is not operator.getitem


def _name(node: fx.Node) -> str:
    """As "aten.mean.dim"."""
    return getattr(node.target, "__name__", str(node.target))


def layer_of(node: fx.Node) -> str:
    """The module an operator comes from, as "stage3.0.norm"; empty for the network itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path = str(stack[-1][0]).removeprefix("L['self']").removeprefix(".")
    return "" if path == "network" else path.removeprefix("network.")


def macs(node: fx.Node) -> int:
    """Multiply-adds of an operator; 0 for all but convolutions, linear layers and matrix products."""
    name = _name(node).removeprefix("aten.").partition(".")[0]
    place = {"convolution": 1, "linear": 1, "addmm": 2, "mm": 1, "bmm": 1}.get(name)
    if place is None:
        return 0
    factor = node.args[place]
    assert isinstance(factor, fx.Node)
    shape = factor.meta["val"].shape
    # A filter holds all inputs of one output after its first axis, a factor of a product in its second to last.
    each = math.prod(shape[1:]) if name in ("convolution", "linear") else shape[-2]
    return math.prod(node.meta["val"].shape) * each


class ChannelNorm(nn.Module):
    """`LayerNorm2d` as convolutions, differences and products, ``B C H W -> B C H W``.

    XNNPACK has no layer norm, and averages over height and width alone. The mean over the channels of a pixel is a
    1x1 convolution with equal weights: it needs no turning of the map, and nothing leaves XNNPACK.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        channels = norm.normalized_shape[0]
        self.mean = nn.Conv2d(channels, 1, 1, bias=False)
        nn.init.constant_(self.mean.weight, 1 / channels)
        self.eps = norm.eps
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        if norm.elementwise_affine:
            self.weight = nn.Parameter(norm.weight.detach().clone()[None, :, None, None])
            self.bias = nn.Parameter(norm.bias.detach().clone()[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """``B C H W``, each pixel with mean 0 and variance 1 over its channels, then the affine part."""
        # From the differences, not as mean of squares less square of mean: that cancels where the mean is large.
        x = x - self.mean(x)
        x = x * (self.mean(x * x) + self.eps).rsqrt()
        return x if self.weight is None or self.bias is None else x * self.weight + self.bias


def for_xnnpack(module: nn.Module) -> nn.Module:
    """A copy with every `LayerNorm2d` as `ChannelNorm`; the module stays as it was.

    Weights lie contiguous: XNNPACK's graph passes refuse the channels-last ones of a fused network.
    """
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, ChannelNorm(child.norm))
    return module.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def norm_names(module: nn.Module) -> list[str]:
    """Paths of the `ChannelNorm` layers, which must stay float in an int8 file."""
    return [name for name, child in module.named_modules() if isinstance(child, ChannelNorm)]
