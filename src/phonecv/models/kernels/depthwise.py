"""Depthwise convolutions trained on the CPU: the same numbers, a faster backward pass.

PyTorch hands convolutions on x86 to oneDNN, whose gradients of depthwise convolutions have two slow spots:

- The weight gradient is quick for 3x3 kernels, but for 5x5 takes ten times as long as the forward pass, up to half of a
  whole training step of EMOv2. It need not: it is itself a depthwise convolution, of the input with the output's
  gradient as its kernel, and oneDNN is quick at those.
- The input's gradient takes up to twice as long as the forward pass, although for stride 1 it is the same convolution
  with the kernel turned round; and with a stride in bfloat16 it takes ten to fifty times as long as in float32.

`docs/performance.md` has the figures.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library, nn

from phonecv.models.kernels import conv_relu
from phonecv.models.kernels.choices import GRADIENTS

#: Smallest kernel whose weight gradient is computed here.
LEAST_KERNEL = 5

#: Elements of the input that one call takes: as many as stay in a core's cache. Larger calls were measured slower.
CHUNK = 2**18

#: Other processors have other libraries, and were not measured.
_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine().lower() in ("x86_64", "amd64")


def gains(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether `depthwise` serves this convolution on this input better than PyTorch's own gradient."""
    height, width = conv.kernel_size
    padding = conv.padding
    return (
        torch.is_grad_enabled()
        and conv.weight.requires_grad
        and x.device.type == "cpu"
        and conv.groups == conv.in_channels == conv.out_channels > 1
        and height == width
        and height in (3, 5, 7)
        # oneDNN's weight gradient of a map one column wide needs the care that `Conv2d` takes.
        and (height >= LEAST_KERNEL or x.shape[3] > 1)
        and padding == (height // 2, height // 2)
        and conv.stride[0] == conv.stride[1]
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and x.ndim == 4
        and x.dtype in (torch.float32, torch.bfloat16)
        and conv.weight.dtype in (torch.float32, torch.bfloat16)
        and _ONEDNN
        and (torch.compiler.is_compiling() or bool(torch.backends.mkldnn.enabled))
        # Who writes the graph down expects the plain convolution in it.
        and not (torch.jit.is_tracing() or torch.compiler.is_exporting())
        and (torch.compiler.is_compiling() or GRADIENTS.ours)
    )


def depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv(x)`` for a convolution of which `gains` is true."""
    weight, bias = conv.weight, conv.bias
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return _Depthwise.apply(x, weight, bias, conv.stride[0])


class _Depthwise(torch.autograd.Function):
    """``x: B C H W, weight: C 1 K K -> B C H/stride W/stride``, zero padding K // 2."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:  # type: ignore[override]
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, 1, weight.shape[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.stride = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            input_gradient(grad, weight, ctx.stride, x.shape) if wants_x else None,
            _weight_gradient(grad, x, weight, ctx.stride) if wants_weight else None,
            grad.sum((0, 2, 3)) if wants_bias else None,
            None,
        )


def input_gradient(grad: Tensor, weight: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """Gradient of the input from that of the output: for stride 1 the convolution with the kernel turned round."""
    # Of the input only shape and layout are looked at, which for stride 1 are those of the output.
    x = grad if stride == 1 else torch.empty(shape, dtype=grad.dtype, memory_format=_layout(grad))
    return conv_relu.input_gradient(grad, x, weight, (stride, stride), weight.shape[-1] // 2, weight.shape[0])


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    side = weight.shape[-1]
    if side >= LEAST_KERNEL:
        gradient = weight_gradient(grad, x, side, stride)
    else:
        gradient = conv_relu.weight_gradient(grad, x, weight.shape, (stride, stride), side // 2, weight.shape[0])
    # The axis of length one may have any stride; distributed training wants the weight's own.
    return gradient.as_strided(weight.shape, weight.stride()) if _dense(weight) else gradient


@library.custom_op("phonecv::depthwise_weight_gradient", mutates_args=())
def weight_gradient(grad: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """Gradient of the weights, ``C 1 K K``, from that of the output and the input.

    A single operator for `torch.compile`, which would else compile every call in the loop.
    """
    C = x.shape[1]
    if not x.numel():
        return x.new_zeros((C, 1, kernel, kernel))
    x = x.contiguous(memory_format=_layout(grad))
    total = x.new_zeros((C, kernel, kernel), dtype=torch.float32)
    for x_part, grad_part in _parts(x, grad):
        channels = x_part.shape[1]
        y = F.conv2d(x_part, grad_part, None, 1, kernel // 2, stride, channels)
        # Where the stride does not divide the side, taps beyond the kernel come out, too.
        total += y[0, :, :kernel, :kernel].unflatten(0, (-1, C)).sum(0, dtype=torch.float32)
    return total.to(x.dtype).unsqueeze(1)


@weight_gradient.register_fake
def _(grad: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    return x.new_empty((x.shape[1], 1, kernel, kernel))


def _weight_gradient_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, x, _, ctx.stride = inputs
    ctx.save_for_backward(grad, x)


def _weight_gradient_backward(ctx: Any, direction: Tensor) -> tuple[Tensor, Tensor, None, None]:
    # The weight gradient is linear in both of its inputs, so second derivatives are convolutions again.
    grad, x = ctx.saved_tensors
    by_grad = F.conv2d(x, direction, None, ctx.stride, direction.shape[-1] // 2, 1, x.shape[1])
    return by_grad, input_gradient(grad, direction, ctx.stride, x.shape), None, None


weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_weight_gradient_context)


def _parts(x: Tensor, grad: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The batch as single pictures ``1 n*C H W`` and kernels ``n*C 1 h w``, without a copy."""
    B, C, H, W = x.shape
    if _layout(grad) == torch.channels_last:
        for b in range(B):
            yield x[b : b + 1], grad[b].unsqueeze(1)
    else:
        grad, count = grad.contiguous(), max(1, CHUNK // (C * H * W))
        for start in range(0, B, count):
            yield (
                x[start : start + count].view(1, -1, H, W),
                grad[start : start + count].view(-1, 1, *grad.shape[2:]),
            )


def _dense(weight: Tensor) -> bool:
    """Whether the weights lie one after the other, in the order of a contiguous tensor."""
    side = weight.shape[-1]
    return (weight.stride(0), weight.stride(2), weight.stride(3)) == (side * side, side, 1)


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
