"""Rules of the Core ML interpreter for operators that work value by value, and for those that reduce axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.exporting.coreml.arguments import Arguments, Rule


def _unary(function: Callable[[Tensor], Tensor]) -> Rule:
    return lambda a: function(a.tensor("x"))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    return lambda a: function(a.tensor("x"), a.tensor("y"))


def _real_div(a: Arguments) -> Tensor:
    x, y = a.tensor("x"), a.tensor("y")
    if not x.is_floating_point():
        raise ValueError("real_div of whole numbers has no rule")
    return x / y


def _gelu(a: Arguments) -> Tensor:
    x, mode = a.tensor("x"), a.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise ValueError(f"unknown mode {mode!r}")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Rule:
    def rule(a: Arguments) -> Tensor:
        x = a.tensor("x")
        return function(x, a.axes(), a.flag("keep_dims"))

    return rule


def _arg(function: Callable[..., Tensor]) -> Rule:
    return lambda a: function(a.tensor("x"), dim=a.whole("axis", -1), keepdim=a.flag("keep_dims"))


#: Operators that PyTorch has under the same name, of one value and of two.
_OF_ONE = "abs ceil cos erf exp floor logical_not relu round sigmoid sign sin sqrt square tanh"
_OF_TWO = "add greater greater_equal less less_equal logical_and logical_or maximum minimum mul not_equal pow sub"

RULES: dict[str, Rule] = {
    **{name: _unary(getattr(torch, name)) for name in _OF_ONE.split()},
    **{name: _binary(getattr(torch, name)) for name in _OF_TWO.split()},
    "real_div": _real_div,
    "floor_div": _binary(torch.floor_divide),
    "mod": _binary(torch.remainder),
    "equal": _binary(torch.eq),
    # The defaults that keep these three from dividing by zero are the operators' own.
    "inverse": lambda a: 1 / (a.tensor("x") + a.number("epsilon", 1e-4)),
    "log": lambda a: torch.log(a.tensor("x") + a.number("epsilon", 1e-45)),
    "rsqrt": lambda a: torch.rsqrt(a.tensor("x") + a.number("epsilon", 1e-12)),
    "identity": _unary(lambda x: x),
    "relu6": _unary(F.relu6),
    "silu": _unary(F.silu),
    "softplus": _unary(F.softplus),
    "gelu": _gelu,
    "prelu": lambda a: F.prelu(a.tensor("x"), a.tensor("alpha")),
    "elu": lambda a: F.elu(a.tensor("x"), a.number("alpha")),
    "leaky_relu": lambda a: F.leaky_relu(a.tensor("x"), a.number("alpha")),
    "sigmoid_hard": lambda a: (a.number("alpha") * a.tensor("x") + a.number("beta")).clamp(0, 1),
    "clip": lambda a: a.tensor("x").clamp(a.number("alpha"), a.number("beta")),
    "softmax": lambda a: a.tensor("x").softmax(a.whole("axis", -1)),
    "select": lambda a: torch.where(a.tensor("cond"), a.tensor("a"), a.tensor("b")),
    # To the declared type, by the interpreter, as every result; towards zero, as Core ML does.
    "cast": _unary(lambda x: x),
    "reduce_mean": _reduced(lambda x, axes, keep: x.mean(axes, keep)),
    "reduce_sum": _reduced(lambda x, axes, keep: x.sum(axes, keep)),
    "reduce_max": _reduced(lambda x, axes, keep: x.amax(axes, keep)),
    "reduce_min": _reduced(lambda x, axes, keep: x.amin(axes, keep)),
    "reduce_l2_norm": _reduced(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "reduce_argmax": _arg(torch.argmax),
    "reduce_argmin": _arg(torch.argmin),
}
