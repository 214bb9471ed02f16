"""Convolution, bias and ReLU as one step of autograd, for the processor.

The numbers are those of `torch.nn.functional.conv2d` and `relu`; the ways there are chosen for speed (PyTorch 2.14,
x86, oneDNN; `docs/performance.md` has the figures):

- A 1x1 convolution does not care which pixel stands where, so its pixels are cut anew into pieces of about 200, a view.
  oneDNN's weight gradient of 28x28 maps takes a third less time, and PyTorch does not send batches below 16, on one
  thread, to a slower library.
- The input's gradient of a depthwise convolution of stride 1 is a convolution with the kernel turned round, which runs
  in 60 % of the time of oneDNN's own gradient.
- A 3x3 convolution of three channels gets its weight gradient from its patches, cut out by a convolution with unit
  kernels, in half of the time.
- ReLU overwrites the convolution's output, and only that is kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Bytes that a step may touch at a time, to stay in a core's share of the cache.
PIECE = 3 * 2**20

#: Pixels per piece of a 1x1 convolution, and the fewest pieces that PyTorch gives to oneDNN on any number of threads.
_LARGEST_TILE, _SMALLEST_TILE, _LEAST_TILES = 200, 64, 16


def plain_backward(function: Callable[..., Any]) -> Callable[..., Any]:
    """For a backward pass that cannot be differentiated itself, and that autocast around it must not cast."""

    @once_differentiable
    @wraps(function)
    def backward(ctx: Any, *grads: Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return function(ctx, *grads)

    return backward


def pieces(x: Tensor, most: int | None = None) -> Iterator[slice]:
    """The pictures of a batch in groups that fit the cache, of `most` at most; not on the CPU: all at once."""
    count = len(x)
    if x.device.type == "cpu":
        count = max(1, PIECE // max(1, x[0].numel() * x.element_size()))
        count = count if most is None else min(count, most)
    for start in range(0, len(x), count):
        yield slice(start, start + count)


def tiles(x: Tensor) -> Tensor:
    """Channels-last ``B C H W`` -> the same pixels as ``B*H*W/t C 1 t``, a view; `x` itself where no `t` divides."""
    B, C, H, W = x.shape
    pixels = B * H * W
    for t in range(_LARGEST_TILE, _SMALLEST_TILE - 1, -1):
        if pixels % t == 0 and pixels // t >= _LEAST_TILES:
            return x.permute(0, 2, 3, 1).reshape(pixels // t, 1, t, C).permute(0, 3, 1, 2)
    return x


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution of a channels-last map, ``B C H W -> B out H W``; no gradient."""
    B, _, H, W = x.shape
    y = F.conv2d(tiles(x), weight, bias)
    return y.permute(0, 2, 3, 1).reshape(B, H, W, -1).permute(0, 3, 1, 2)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Sum over pixels of the outer products of two channels-last maps, ``B C H W, B D H W -> C D``; no gradient."""
    return weight_gradient(tiles(a), tiles(b), (a.shape[1], b.shape[1], 1, 1), (1, 1), 0, 1)[:, :, 0, 0]


def weight_gradient(
    grad: Tensor, x: Tensor, shape: tuple[int, ...], stride: tuple[int, int], padding: int, groups: int
) -> Tensor:
    """Gradient of a convolution's weight of this shape from that of its output and from its input."""
    like = x.new_empty(1).expand(shape)
    return torch.ops.aten.convolution_backward(
        grad, x, like, None, stride, (padding, padding), (1, 1), False, (0, 0), groups, (False, True, False)
    )[1]


def input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: int, groups: int
) -> Tensor:
    """Gradient of a convolution's input, in the layout of the input `x`, whose values do not matter."""
    if stride == (1, 1) and groups == weight.shape[0] > 1 and padding == weight.shape[-1] // 2:
        return F.conv2d(grad, weight.flip(2, 3), None, 1, padding, 1, groups)
    dtype = grad.dtype
    if dtype == torch.bfloat16 and x.device.type == "cpu":
        # Strided and in bfloat16, oneDNN takes 20 to 100 times as long for this one.
        grad, weight, x = grad.float(), weight.float(), torch.empty_like(x, dtype=torch.float32)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, (padding, padding), (1, 1), False, (0, 0), groups, (True, False, False)
    )[0].to(dtype)


def convolve_relu(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, groups: int = 1, relu: bool = True
) -> Tensor:
    """``relu(conv2d(x, weight, bias))`` with zero padding K // 2, ``B C H W -> B out H/stride W/stride``.

    `x` is channels-last. The weight is ``out C/groups K K``; K is 1 only with stride 1 and one group.
    """
    # The stride along an axis of length one has no effect, and oneDNN's weight gradient is wrong there: see
    # `phonecv.models.blocks.Conv2d`.
    strides = (stride, stride if x.shape[3] > 1 else 1)
    return _ConvReLU.apply(x, weight, bias, strides, groups, relu)


class _ConvReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], groups: int, relu: bool
    ) -> Tensor:
        if weight.shape[-1] == 1:
            y = pointwise(x, weight, bias)
        else:
            y = F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, 1, groups)
        if relu:
            y.relu_()
        ctx.save_for_backward(x, weight, y if relu else None)
        ctx.stride, ctx.groups = stride, groups
        return y

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, y = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last)
        if y is not None:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        geometry = (ctx.stride, weight.shape[-1] // 2, ctx.groups)
        grad_x = grad_weight = None
        if weight.shape[-1] == 1:
            if wants_x:
                grad_x = pointwise(grad, weight.transpose(0, 1).contiguous())
            if wants_weight:
                grad_weight = products(grad, x)[:, :, None, None]
        else:
            if wants_x:
                grad_x = input_gradient(grad, x, weight, *geometry)
            if wants_weight:
                grad_weight = weight_gradient(grad, x, weight.shape, *geometry)
        return grad_x, grad_weight, grad.sum((0, 2, 3)) if wants_bias else None, None, None, None


def patches(x: Tensor, stride: int) -> Tensor:
    """Every 3x3 neighbourhood as the channels of one pixel, then a one, then zeros up to a multiple of 16.

    The taps stand in the order of a dense kernel's elements. ``B C H W -> B D H/stride W/stride``, channels-last.
    """
    return F.conv2d(x, *_unit_kernels(x.shape[1], x.dtype, x.device), stride, 1)


@cache
def _unit_kernels(channels: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    taps = 9 * channels
    size = -(-(taps + 1) // 16) * 16  # what oneDNN's vectors hold
    weight = torch.zeros(size, taps, dtype=dtype, device=device)
    weight[:taps].fill_diagonal_(1)
    bias = torch.zeros(size, dtype=dtype, device=device)
    bias[taps] = 1
    return weight.view(size, channels, 3, 3).contiguous(memory_format=torch.channels_last), bias


def patch_convolve_relu(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, relu: bool) -> Tensor:
    """`convolve_relu` of a 3x3 kernel on few channels; `x` gets no gradient."""
    return _PatchConvReLU.apply(x, weight, bias, stride, relu)


class _PatchConvReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, relu: bool) -> Tensor:  # type: ignore[override]
        y = F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, stride, 1)
        if relu:
            y.relu_()
        ctx.save_for_backward(x, y if relu else None)
        ctx.stride = stride
        return y

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, y = ctx.saved_tensors
        taps = 9 * x.shape[1]
        grad = grad.contiguous(memory_format=torch.channels_last)
        total = torch.zeros((), dtype=torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype)
        total = total.to(x.device)
        for part in pieces(x):
            piece = grad[part] if y is None else torch.ops.aten.threshold_backward(grad[part], y[part], 0)
            total = total + products(piece, patches(x[part], ctx.stride))
        weight = total[:, :taps].reshape(-1, x.shape[1], 3, 3)
        return None, weight.to(x.dtype), total[:, taps].to(x.dtype), None, None
