"""Operators of PyTorch as coremltools can convert them, where it knows them not at all or not for whole numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

_aten = torch.ops.aten

#: Another name under which coremltools knows the same operator.
KNOWN_AS: dict[Any, OpOverload] = {
    _aten.__and__.Tensor: _aten.logical_and.default,
    _aten.alias.default: _aten.clone.default,
}


def _where_number(condition: Tensor, value: Tensor, other: float) -> Tensor:
    return torch.where(condition, value, torch.full_like(value, other))


#: The same from operators that it knows.
DECOMPOSED: dict[Any, Any] = {_aten.where.ScalarOther: _where_number}


def teach() -> None:
    """Let coremltools divide whole numbers into whole numbers.

    Its own rule ends in float32, although PyTorch's quotient is whole: nothing can be gathered by it afterwards, and in
    half precision places beyond 2048 would be rounded.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs, promote_input_dtypes
    from coremltools.converters.mil.mil import types

    def floor_divide(context: Any, node: Any) -> None:
        x, y = promote_input_dtypes(_get_inputs(context, node, expected=2))
        if types.is_int(x.dtype):
            context.add(Builder.floor_div(x=x, y=y, name=node.name))
        else:
            context.add(Builder.cast(x=Builder.floor_div(x=x, y=y), dtype="fp32", name=node.name))

    register_torch_op(floor_divide, torch_alias=["floordiv"], override=True)
