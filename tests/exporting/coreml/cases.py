"""Operators in Core ML's builder and in PyTorch, side by side, for every rule of the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


#: What cases read.
INPUTS = {
    "x": normal(2, 4, 7, 9),
    "p": np.abs(normal(2, 4, 7, 9)) + 0.1,
    "y": normal(2, 4, 7, 9),
    "whole": RNG.integers(-3, 4, (2, 4, 7, 9)).astype(np.float32),
    "whole2": RNG.integers(-3, 4, (2, 4, 7, 9)).astype(np.float32),
    "wide": normal(1, 3, 300, 2) * 20,
    "flat": normal(3, 9),
}
DENSE, DEPTH = normal(6, 4, 3, 3), normal(4, 1, 3, 3)
GROUPS, UP, BIAS = normal(8, 2, 2, 3), normal(4, 3, 2, 2), normal(6)
GAMMA, BETA, GAMMA9, BETA9 = normal(4), normal(4), normal(9), normal(9)
MATRIX, LAST = normal(2, 4, 9, 5), normal(5, 9)
AT, ALONG = np.array([2, 0, -1], np.int32), RNG.integers(-7, 7, (2, 4, 3, 9)).astype(np.int32)
PLACES = np.array([[1, 3], [0, -1]], np.int32)


@dataclass(frozen=True)
class Case:
    """An operator in Core ML's builder and in PyTorch, both given the inputs by name."""

    built: Callable[[Any, dict[str, Any]], Any]
    wanted: Callable[[dict[str, Tensor]], Tensor]


def unary(kind: str, function: Callable[[Tensor], Tensor], source: str = "x", **parameters: Any) -> Case:
    return Case(
        lambda mb, i: getattr(mb, kind)(x=i[source], **parameters),
        lambda i: function(i[source]),
    )


def binary(kind: str, function: Callable[[Tensor, Tensor], Tensor], first: str = "x", second: str = "y") -> Case:
    return Case(lambda mb, i: getattr(mb, kind)(x=i[first], y=i[second]), lambda i: function(i[first], i[second]))


def logical(kind: str, function: Callable[[Tensor, Tensor], Tensor]) -> Case:
    return Case(
        lambda mb, i: getattr(mb, kind)(x=mb.greater(x=i["x"], y=0.0), y=mb.greater(x=i["y"], y=0.0)),
        lambda i: function(i["x"] > 0, i["y"] > 0),
    )


def part(kind: str, number: int, function: Callable[[Tensor], Tensor], source: str = "x", **parameters: Any) -> Case:
    return Case(lambda mb, i: getattr(mb, kind)(x=i[source], **parameters)[number], lambda i: function(i[source]))


def t(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


CASES: dict[str, Case] = {
    "add": binary("add", torch.add),
    "sub": binary("sub", torch.sub),
    "mul": binary("mul", torch.mul),
    "real_div": binary("real_div", torch.div, "x", "p"),
    "floor_div": binary("floor_div", lambda x, y: (x / y).floor(), "x", "p"),
    "floor_div of whole numbers": Case(
        lambda mb, i: mb.floor_div(x=mb.cast(x=i["wide"], dtype="int32"), y=3),
        lambda i: (i["wide"].to(torch.int32) / 3).floor().to(torch.int32),
    ),
    "mod": binary("mod", lambda x, y: x - y * (x / y).floor(), "whole", "p"),
    "pow": binary("pow", torch.pow, "p", "x"),
    "maximum": binary("maximum", torch.maximum),
    "minimum": binary("minimum", torch.minimum),
    **{
        kind: binary(kind, function, "whole", "whole2")
        for kind, function in {
            "equal": torch.eq,
            "not_equal": torch.ne,
            "greater": torch.gt,
            "greater_equal": torch.ge,
            "less": torch.lt,
            "less_equal": torch.le,
        }.items()
    },
    "logical_and": logical("logical_and", torch.logical_and),
    "logical_or": logical("logical_or", torch.logical_or),
    "logical_not": Case(lambda mb, i: mb.logical_not(x=mb.greater(x=i["x"], y=0.0)), lambda i: i["x"] <= 0),
    "broadcast": Case(
        lambda mb, i: mb.mul(x=i["x"], y=GAMMA.reshape(4, 1, 1)), lambda i: i["x"] * t(GAMMA)[:, None, None]
    ),
    "abs": unary("abs", torch.abs),
    "ceil": unary("ceil", torch.ceil),
    "floor": unary("floor", torch.floor),
    "round": unary("round", lambda x: x.double().round().float()),
    "sign": unary("sign", torch.sign, "whole"),
    "exp": unary("exp", torch.exp),
    "sin": unary("sin", torch.sin),
    "cos": unary("cos", torch.cos),
    "erf": unary("erf", torch.special.erf),
    "sqrt": unary("sqrt", lambda x: x**0.5, "p"),
    "square": unary("square", lambda x: x * x),
    "tanh": unary("tanh", torch.tanh),
    "inverse": unary("inverse", lambda x: 1 / (x + 1e-4), "p"),
    "inverse of more": unary("inverse", lambda x: 1 / (x + 0.5), "p", epsilon=0.5),
    "log": unary("log", lambda x: torch.log(x), "p"),
    "rsqrt": unary("rsqrt", lambda x: (x + 0.25) ** -0.5, "p", epsilon=0.25),
    "relu": unary("relu", F.relu),
    "relu6": unary("relu6", lambda x: x.clamp(0, 6), "wide"),
    "sigmoid": unary("sigmoid", torch.sigmoid),
    "silu": unary("silu", lambda x: x * torch.sigmoid(x)),
    "softplus": unary("softplus", F.softplus, "wide"),
    "gelu": unary("gelu", F.gelu, mode="EXACT"),
    "gelu by tanh": unary("gelu", lambda x: F.gelu(x, approximate="tanh"), mode="TANH_APPROXIMATION"),
    "gelu by sigmoid": unary("gelu", lambda x: x * torch.sigmoid(1.702 * x), mode="SIGMOID_APPROXIMATION"),
    "prelu": unary("prelu", lambda x: F.prelu(x, t(GAMMA)), alpha=GAMMA),
    "elu": unary("elu", lambda x: F.elu(x, 0.7), alpha=0.7),
    "leaky_relu": unary("leaky_relu", lambda x: F.leaky_relu(x, 0.2), alpha=0.2),
    "sigmoid_hard": unary("sigmoid_hard", lambda x: F.hardsigmoid(x), "wide", alpha=1 / 6, beta=0.5),
    "clip": unary("clip", lambda x: x.clamp(-0.5, 0.25), alpha=-0.5, beta=0.25),
    "softmax": unary("softmax", lambda x: F.softmax(x, -1), "wide"),
    "softmax of channels": unary("softmax", lambda x: F.softmax(x, 1), axis=1),
    "select": Case(
        lambda mb, i: mb.select(cond=mb.less(x=i["x"], y=0.0), a=i["y"], b=i["p"]),
        lambda i: torch.where(i["x"] < 0, i["y"], i["p"]),
    ),
    "cast": unary("cast", lambda x: x.to(torch.int32), "wide", dtype="int32"),
    "cast and back": Case(
        lambda mb, i: mb.cast(x=mb.cast(x=i["wide"], dtype="fp16"), dtype="fp32"), lambda i: i["wide"].half().float()
    ),
    "reduce_mean": unary("reduce_mean", lambda x: x.mean((2, 3)), axes=[2, 3]),
    "reduce_mean kept": unary("reduce_mean", lambda x: x.mean((-1, 1), keepdim=True), axes=[-1, 1], keep_dims=True),
    "reduce_sum": unary("reduce_sum", lambda x: x.sum(1), axes=[1]),
    "reduce_max": unary("reduce_max", lambda x: x.amax((1, 3)), axes=[1, 3]),
    "reduce_min": unary("reduce_min", lambda x: x.amin(2), axes=[2]),
    "reduce_l2_norm": unary("reduce_l2_norm", lambda x: torch.linalg.vector_norm(x, dim=(2, 3)), axes=[2, 3]),
    "reduce_argmax": unary("reduce_argmax", lambda x: x.argmax(1), axis=1),
    "reduce_argmin": unary("reduce_argmin", lambda x: x.argmin(3, keepdim=True), axis=-1, keep_dims=True),
    "reshape": unary("reshape", lambda x: x.reshape(2, 12, 21), shape=[2, -1, 21]),
    "reshape with a zero": unary("reshape", lambda x: x.reshape(2, 1, 28, 9), shape=[0, 1, -1, 9]),
    "transpose": unary("transpose", lambda x: x.permute(0, 3, 1, 2), perm=[0, -1, 1, 2]),
    "expand_dims": unary("expand_dims", lambda x: x[:, :, None], "flat", axes=[-1]),
    "expand_dims at two": unary("expand_dims", lambda x: x[None, :, None], "flat", axes=[0, 2]),
    "squeeze": unary("squeeze", lambda x: x[0], "wide", axes=[0]),
    "squeeze of all": unary("squeeze", lambda x: x[0], "wide"),
    "concat": Case(
        lambda mb, i: mb.concat(values=[i["x"], i["y"], i["p"]], axis=-3),
        lambda i: torch.cat([i["x"], i["y"], i["p"]], 1),
    ),
    "stack": Case(lambda mb, i: mb.stack(values=[i["x"], i["y"]], axis=1), lambda i: torch.stack([i["x"], i["y"]], 1)),
    "split": part("split", 1, lambda x: x[:, 2:], num_splits=2, axis=1),
    "split unevenly": part("split", 1, lambda x: x[..., 2:5], split_sizes=[2, 3, 4], axis=3),
    "slice_by_index": unary(
        "slice_by_index",
        lambda x: x[:, 1:3, :-2, 1::3],
        begin=[0, 1, 0, 1],
        end=[0, 3, -2, 0],
        stride=[1, 1, 1, 3],
        begin_mask=[True, False, True, False],
        end_mask=[True, False, False, True],
    ),
    "slice_by_index backwards": unary(
        "slice_by_index",
        lambda x: x.flip(3)[:, :, :, ::2],
        begin=[0, 0, 0, 0],
        end=[2, 4, 7, 0],
        stride=[1, 1, 1, -2],
        begin_mask=[False, False, False, True],
        end_mask=[False, False, False, True],
    ),
    "slice_by_index of one": unary(
        "slice_by_index",
        lambda x: x[:, -2, :, 4],
        begin=[0, -2, 0, 4],
        end=[2, 0, 7, 0],
        squeeze_mask=[False, True, False, True],
    ),
    "slice_by_size": unary("slice_by_size", lambda x: x[:, 1:3, 2:, 6:], begin=[0, 1, 2, -3], size=[2, 2, -1, 3]),
    "pad": unary(
        "pad", lambda x: F.pad(x, (3, 0, 1, 2), value=1.5), pad=[1, 2, 3, 0], mode="constant", constant_val=1.5
    ),
    "pad by reflection": unary(
        "pad", lambda x: F.pad(x, (3, 1, 2, 4), mode="reflect"), pad=[2, 4, 3, 1], mode="reflect"
    ),
    "pad by repeating": unary(
        "pad", lambda x: F.pad(x, (3, 1, 2, 4), mode="replicate"), pad=[2, 4, 3, 1], mode="replicate"
    ),
    "tile": unary("tile", lambda x: x.repeat(1, 2, 1, 3), reps=[1, 2, 1, 3]),
    "fill_like": Case(lambda mb, i: mb.fill_like(ref_tensor=i["x"], value=-1e4), lambda i: i["x"] * 0 - 1e4),
    "reverse": unary("reverse", lambda x: x.flip(1, 3), axes=[1, -1]),
    "gather": unary("gather", lambda x: x[:, :, [2, 0, 6]], indices=AT, axis=-2),
    "gather of rows": unary(
        "gather", lambda x: x[torch.tensor([[1, 0], [0, -1]])], indices=np.array([[1, 0], [0, -1]], np.int32), axis=0
    ),
    "gather_along_axis": unary(
        "gather_along_axis", lambda x: torch.take_along_dim(x, t(ALONG).long() % 7, 2), indices=ALONG, axis=2
    ),
    "gather_nd": unary("gather_nd", lambda x: torch.stack([x[1, 3], x[0, 3]]), indices=PLACES),
    "topk": part("topk", 0, lambda x: x.sort(2, descending=True).values[:, :, :3], k=3, axis=2),
    "topk, places": part("topk", 1, lambda x: x.sort(3, descending=True).indices[..., :4], k=4),
    "topk, smallest": part("topk", 0, lambda x: x.sort(3).values[..., :4], k=4, ascending=True),
    "argsort": unary("argsort", lambda x: (-x).sort(3).indices, axis=-1),
    "argsort upwards": unary("argsort", lambda x: x.sort(1).indices, axis=1, ascending=True),
    "cumsum": unary("cumsum", lambda x: x.cumsum(2), axis=2),
    "cumsum without itself": unary("cumsum", lambda x: x.cumsum(1) - x, axis=1, exclusive=True),
    "cumsum from the end": unary("cumsum", lambda x: x.flip(3).cumsum(3).flip(3), axis=3, reverse=True),
    "pixel_shuffle": unary("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), upscale_factor=2),
    "conv": unary(
        "conv",
        lambda x: F.conv2d(x, t(DENSE), t(BIAS), stride=2, padding=1),
        weight=DENSE,
        bias=BIAS,
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
    ),
    "conv of channels apart": unary(
        "conv",
        lambda x: F.conv2d(F.pad(x, (2, 0, 0, 1)), t(DEPTH), groups=4),
        weight=DEPTH,
        groups=4,
        pad_type="custom",
        pad=[0, 1, 2, 0],
    ),
    "conv in groups": unary(
        "conv", lambda x: F.conv2d(x, t(GROUPS), groups=2), weight=GROUPS, groups=2, pad_type="valid"
    ),
    "conv, dilated": unary(
        "conv",
        lambda x: F.conv2d(x, t(DENSE), padding="same", dilation=2),
        weight=DENSE,
        dilations=[2, 2],
        pad_type="same",
    ),
    "conv, odd padding": unary(  # 7 rows in steps of 2 need 4 windows of 2: one row is missing, and it goes behind
        "conv",
        lambda x: F.conv2d(F.pad(x, (1, 1, 0, 1)), t(GROUPS), stride=2, groups=2),
        weight=GROUPS,
        groups=2,
        strides=[2, 2],
        pad_type="same",
    ),
    "conv, odd padding before": unary(
        "conv",
        lambda x: F.conv2d(F.pad(x, (1, 1, 1, 0)), t(GROUPS), stride=2, groups=2),
        weight=GROUPS,
        groups=2,
        strides=[2, 2],
        pad_type="same_lower",
    ),
    "conv_transpose": unary(
        "conv_transpose", lambda x: F.conv_transpose2d(x, t(UP), stride=2), weight=UP, strides=[2, 2], pad_type="valid"
    ),
    "conv_transpose, padded": unary(
        "conv_transpose",
        lambda x: F.conv_transpose2d(x, t(DENSE.transpose(1, 0, 2, 3).copy()), t(BIAS), stride=2, padding=1),
        weight=DENSE.transpose(1, 0, 2, 3).copy(),
        bias=BIAS,
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
    ),
    "avg_pool": unary(
        "avg_pool", lambda x: F.avg_pool2d(x, 3, 2), kernel_sizes=[3, 3], strides=[2, 2], pad_type="valid"
    ),
    "avg_pool, padding counts": unary(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
    ),
    "avg_pool, padding aside": unary(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
        exclude_padding_from_average=True,
    ),
    "avg_pool, rounded up": unary(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
        kernel_sizes=[2, 2],
        strides=[2, 2],
        pad_type="valid",
        ceil_mode=True,
    ),
    "max_pool": unary(
        "max_pool", lambda x: F.max_pool2d(x, 1, 2), kernel_sizes=[1, 1], strides=[2, 2], pad_type="valid"
    ),
    "max_pool, padded": unary(
        "max_pool",
        lambda x: F.max_pool2d(x, 3, 2, 1),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
    ),
    "max_pool, rounded up": unary(
        "max_pool",
        lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
        kernel_sizes=[2, 2],
        strides=[2, 2],
        pad_type="valid",
        ceil_mode=True,
    ),
    "upsample_nearest_neighbor": unary(
        "upsample_nearest_neighbor",
        lambda x: F.interpolate(x, size=(21, 18)),
        scale_factor_height=3,
        scale_factor_width=2,
    ),
    "upsample_nearest_neighbor, not whole": unary(
        "upsample_nearest_neighbor",
        lambda x: F.interpolate(x, size=(10, 25)),
        scale_factor_height=10 / 7,
        scale_factor_width=25 / 9,
    ),
    "upsample_bilinear": unary(
        "upsample_bilinear",
        lambda x: F.interpolate(x, size=(10, 25), mode="bilinear"),
        scale_factor_height=10 / 7,
        scale_factor_width=25 / 9,
        align_corners=False,
    ),
    "upsample_bilinear, corners": unary(
        "upsample_bilinear",
        lambda x: F.interpolate(x, size=(14, 27), mode="bilinear", align_corners=True),
        scale_factor_height=2,
        scale_factor_width=3,
        align_corners=True,
    ),
    "resize_bilinear": unary(
        "resize_bilinear",
        lambda x: F.interpolate(x, size=(5, 20), mode="bilinear"),
        target_size_height=5,
        target_size_width=20,
        sampling_mode="UNALIGN_CORNERS",
    ),
    "resize_bilinear, corners": unary(
        "resize_bilinear",
        lambda x: F.interpolate(x, size=(5, 20), mode="bilinear", align_corners=True),
        target_size_height=5,
        target_size_width=20,
        sampling_mode="STRICT_ALIGN_CORNERS",
    ),
    "resize_nearest_neighbor": unary(
        "resize_nearest_neighbor", lambda x: F.interpolate(x, size=(5, 20)), target_size_height=5, target_size_width=20
    ),
    "layer_norm": unary(
        "layer_norm",
        lambda x: F.layer_norm(x, (9,), t(GAMMA9), t(BETA9), 1e-6),
        axes=[-1],
        gamma=GAMMA9,
        beta=BETA9,
        epsilon=1e-6,
    ),
    "layer_norm of two axes": unary("layer_norm", lambda x: F.layer_norm(x, (7, 9)), axes=[2, 3]),
    "instance_norm": unary(
        "instance_norm",
        lambda x: F.instance_norm(x, weight=t(GAMMA), bias=t(BETA), eps=1e-3),
        gamma=GAMMA,
        beta=BETA,
        epsilon=1e-3,
    ),
    "batch_norm": unary(
        "batch_norm",
        lambda x: F.batch_norm(x, t(BETA), t(GAMMA).abs(), t(BETA), t(GAMMA), eps=1e-3),
        mean=BETA,
        variance=np.abs(GAMMA),
        gamma=BETA,
        beta=GAMMA,
        epsilon=1e-3,
    ),
    "l2_norm": unary("l2_norm", lambda x: F.normalize(x.flatten(1)).reshape(x.shape), epsilon=1e-12),
    "linear": unary(
        "linear", lambda x: F.linear(x, t(LAST), t(LAST)[:, 0]), "flat", weight=LAST, bias=LAST[:, 0].copy()
    ),
    "matmul": unary("matmul", lambda x: x @ t(MATRIX), y=MATRIX),
    "matmul, turned": Case(
        lambda mb, i: mb.matmul(x=i["x"], y=i["y"], transpose_y=True), lambda i: i["x"] @ i["y"].transpose(-1, -2)
    ),
    "matmul, first turned": Case(
        lambda mb, i: mb.matmul(x=i["x"], y=i["y"], transpose_x=True), lambda i: i["x"].transpose(-1, -2) @ i["y"]
    ),
    "einsum": Case(
        lambda mb, i: mb.einsum(values=(i["x"], mb.transpose(x=i["y"], perm=[0, 3, 2, 1])), equation="nchw,nwhu->nchu"),
        lambda i: torch.einsum("nchw,nwhu->nchu", i["x"], i["y"].permute(0, 3, 2, 1)),
    ),
}
