"""Rules of the Core ML interpreter for convolutions, pooling, resizing, normalisation and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.exporting.coreml.arguments import Arguments, Rule
from phonecv.exporting.coreml.shapes import padded

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _padding(a: Arguments, sides: list[int], kernel: list[int], strides: list[int]) -> list[tuple[int, int]]:
    """Before and after, per axis; `a` has `pad_type` and `pad`, `kernel` counts its dilation."""
    kind = a.text("pad_type", "valid")
    if kind == "valid":
        return [(0, 0)] * len(sides)
    if kind == "custom":
        pad = a.wholes("pad")
        return list(zip(pad[::2], pad[1::2], strict=True))
    if kind not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {kind!r}")
    pairs = []
    for side, extent, stride in zip(sides, kernel, strides, strict=True):
        total = max(0, (math.ceil(side / stride) - 1) * stride + extent - side)
        less, more = total // 2, total - total // 2
        pairs.append((less, more) if kind == "same" else (more, less))
    return pairs


def _conv(a: Arguments) -> Tensor:
    x, weight = a.tensor("x"), a.tensor("weight")
    axes = x.ndim - 2
    strides, dilations = a.wholes("strides", [1] * axes), a.wholes("dilations", [1] * axes)
    extents = [(side - 1) * dilation + 1 for side, dilation in zip(weight.shape[2:], dilations, strict=True)]
    x = padded(x, _padding(a, list(x.shape[2:]), extents, strides))
    return _CONV[axes](
        x, weight, a.optional("bias"), stride=strides, dilation=dilations, groups=a.whole("groups", 1)
    )  # fmt: skip


def _conv_transpose(a: Arguments) -> Tensor:
    x, weight = a.tensor("x"), a.tensor("weight")
    axes = x.ndim - 2
    whole = _CONV_TRANSPOSE[axes](
        x,
        weight,
        a.optional("bias"),
        stride=a.wholes("strides", [1] * axes),
        groups=a.whole("groups", 1),
        dilation=a.wholes("dilations", [1] * axes),
    )
    kind = a.text("pad_type", "valid")
    if kind not in ("valid", "custom") or "output_shape" in a.values:
        raise ValueError(f"conv_transpose with pad_type {kind!r} or an output_shape has no rule")
    pad = a.wholes("pad", [0] * 2 * axes) if kind == "custom" else [0] * 2 * axes
    for axis in range(axes):
        whole = whole.narrow(axis + 2, pad[2 * axis], whole.shape[axis + 2] - pad[2 * axis] - pad[2 * axis + 1])
    return whole


def _pooling(a: Arguments) -> tuple[Tensor, list[int], list[int], list[tuple[int, int]], list[int]]:
    """The picture, kernel and strides, and per axis the padding and what a last partial window reaches beyond it."""
    x, kernel = a.tensor("x"), a.wholes("kernel_sizes")
    strides = a.wholes("strides", [1] * len(kernel))
    pairs = _padding(a, list(x.shape[2:]), kernel, strides)
    beyond = [0] * len(kernel)
    if a.flag("ceil_mode"):
        for axis, (before, after) in enumerate(pairs):
            side = x.shape[axis + 2] + before + after
            count = -(-(side - kernel[axis]) // strides[axis]) + 1
            if before + after and (count - 1) * strides[axis] >= x.shape[axis + 2] + before:
                count -= 1  # no window begins in the padding behind the picture
            beyond[axis] = max(0, (count - 1) * strides[axis] + kernel[axis] - side)
    return x, kernel, strides, pairs, beyond


def _avg_pool(a: Arguments) -> Tensor:
    x, kernel, strides, pairs, beyond = _pooling(a)
    pool: Callable[..., Tensor] = _AVG_POOL[len(kernel)]
    counted = torch.ones_like(x[:1, :1])
    # Padding counts in the average unless it is excluded; what lies beyond it never does, as in PyTorch.
    counted = padded(counted, pairs, 0.0 if a.flag("exclude_padding_from_average") else 1.0)
    over = [(0, length) for length in beyond]
    total = pool(padded(padded(x, pairs), over), kernel, strides)
    return total / pool(padded(counted, over), kernel, strides)


def _max_pool(a: Arguments) -> Tensor:
    x, kernel, strides, pairs, beyond = _pooling(a)
    x = padded(padded(x, pairs, -math.inf), [(0, length) for length in beyond], -math.inf)
    return _MAX_POOL[len(kernel)](x, kernel, strides)


def _sampled(x: Tensor, mode: str, target: Sequence[int]) -> Tensor:
    """Linear interpolation to so many rows and columns, see `_grid`."""
    for axis, side in zip((-2, -1), target, strict=True):
        at = _grid(mode, x.shape[axis], side)
        low = at.floor().long()
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        share = (at - low).to(x.dtype)
        share = share[:, None] if axis == -2 else share
        x = x.index_select(axis, low).lerp(x.index_select(axis, high), share)
    return x


def _grid(mode: str, side: int, target: int) -> Tensor:
    """Where `target` samples lie among `side` pixels, in the modes of the operator resize_bilinear."""
    index = torch.arange(target, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if target == 1:
            return torch.full((1,), (side - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0, dtype=torch.float64)
        points = index * (side - 1) / (target - 1)
    elif mode == "DEFAULT":
        points = index * side / target
    elif mode == "OFFSET_CORNERS":
        points = (index + 0.5) * max(1, side - 1) / target
    elif mode == "UNALIGN_CORNERS":
        points = (index + 0.5) * side / target - 0.5
    else:
        raise ValueError(f"unknown sampling_mode {mode!r}")
    return points.clamp(0, side - 1)


def _scaled(a: Arguments) -> list[int]:
    """Height and width after scaling by factors; in float32 as the factors are, so that 9 times 25/9 is 25."""
    sides, factors = a.tensor("x").shape[-2:], [a.number(f"scale_factor_{side}", 1.0) for side in ("height", "width")]
    return [int(np.floor(np.float32(factor) * np.float32(side))) for side, factor in zip(sides, factors, strict=True)]


def _upsample_bilinear(a: Arguments) -> Tensor:
    x, corners = a.tensor("x"), a.flag("align_corners", True)
    centres = a.flag("half_pixel_centers", not corners)
    if corners and centres:
        raise ValueError("align_corners with half_pixel_centers has no rule")
    mode = "STRICT_ALIGN_CORNERS" if corners else ("UNALIGN_CORNERS" if centres else "DEFAULT")
    return _sampled(x, mode, _scaled(a))


def _resize_bilinear(a: Arguments) -> Tensor:
    x, mode = a.tensor("x"), a.text("sampling_mode", "DEFAULT")
    target = a.whole("target_size_height", 1), a.whole("target_size_width", 1)
    return _sampled(x, mode, target)


def _nearest(x: Tensor, target: list[int]) -> Tensor:
    for axis, side in zip((-2, -1), target, strict=True):
        x = x.index_select(axis, torch.arange(side) * x.shape[axis] // side)
    return x


def _layer_norm(a: Arguments) -> Tensor:
    x = a.tensor("x")
    axes = [axis % x.ndim for axis in a.axes()]
    shape = [length if axis in axes else 1 for axis, length in enumerate(x.shape)]
    return _affine(a, _standard(x, axes, a.number("epsilon", 1e-5)), shape)


def _instance_norm(a: Arguments) -> Tensor:
    x = a.tensor("x")
    return _affine(a, _standard(x, list(range(2, x.ndim)), a.number("epsilon", 1e-5)), _channels(x))


def _batch_norm(a: Arguments) -> Tensor:
    x = a.tensor("x")
    shape = _channels(x)
    spread = (a.tensor("variance") + a.number("epsilon", 1e-5)).sqrt()
    return _affine(a, (x - a.tensor("mean").reshape(shape)) / spread.reshape(shape), shape)


def _standard(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True) + epsilon).sqrt()


def _affine(a: Arguments, x: Tensor, shape: list[int]) -> Tensor:
    gamma, beta = a.optional("gamma"), a.optional("beta")
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


def _channels(x: Tensor) -> list[int]:
    return [1, x.shape[1], *[1] * (x.ndim - 2)]


def _l2_norm(a: Arguments) -> Tensor:
    x = a.tensor("x")
    return x / (x.square().sum((-3, -2, -1), keepdim=True) + a.number("epsilon", 1e-6)).sqrt()


def _matmul(a: Arguments) -> Tensor:
    x, y = a.tensor("x"), a.tensor("y")
    x = x.transpose(-1, -2) if a.flag("transpose_x") and x.ndim > 1 else x
    y = y.transpose(-1, -2) if a.flag("transpose_y") and y.ndim > 1 else y
    return x @ y


RULES: dict[str, Rule] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": lambda a: _nearest(a.tensor("x"), _scaled(a)),
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": lambda a: _nearest(
        a.tensor("x"), [a.whole("target_size_height"), a.whole("target_size_width")]
    ),
    "layer_norm": _layer_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "l2_norm": _l2_norm,
    "linear": lambda a: F.linear(a.tensor("x"), a.tensor("weight"), a.optional("bias")),
    "matmul": _matmul,
    "einsum": lambda a: torch.einsum(a.text("equation", ""), *a.tensors("values")),
}
