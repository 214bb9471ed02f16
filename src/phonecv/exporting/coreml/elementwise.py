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


RULES: dict[str, Rule] = {
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "real_div": _real_div,
    "floor_div": _binary(torch.floor_divide),
    "mod": _binary(torch.remainder),
    "pow": _binary(torch.pow),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "equal": _binary(torch.eq),
    "not_equal": _binary(torch.ne),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "logical_and": _binary(torch.logical_and),
    "logical_or": _binary(torch.logical_or),
    "logical_not": _unary(torch.logical_not),
    "abs": _unary(torch.abs),
    "ceil": _unary(torch.ceil),
    "floor": _unary(torch.floor),
    "round": _unary(torch.round),
    "sign": _unary(torch.sign),
    "exp": _unary(torch.exp),
    "sin": _unary(torch.sin),
    "cos": _unary(torch.cos),
    "erf": _unary(torch.erf),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "tanh": _unary(torch.tanh),
    # The defaults that keep these three from dividing by zero are the operators' own.
    "inverse": lambda a: 1 / (a.tensor("x") + a.number("epsilon", 1e-4)),
    "log": lambda a: torch.log(a.tensor("x") + a.number("epsilon", 1e-45)),
    "rsqrt": lambda a: torch.rsqrt(a.tensor("x") + a.number("epsilon", 1e-12)),
    "identity": _unary(lambda x: x),
    "relu": _unary(torch.relu),
    "relu6": _unary(F.relu6),
    "sigmoid": _unary(torch.sigmoid),
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
