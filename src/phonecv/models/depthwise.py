"""Depthwise convolution with large kernels, trained on the CPU: the same numbers, a faster backward pass.

PyTorch hands convolutions on x86 to oneDNN. Its weight gradient of a depthwise convolution is quick for 3x3 kernels and
slow for larger ones: ten times as long as the forward pass for EMOv2's 5x5, up to half of a whole training step. It
need not be: the weight gradient is itself a depthwise convolution, of the input with the output's gradient as its
kernel, and oneDNN is quick at those. In bfloat16 the gradient of the input is treated likewise where a stride makes
oneDNN slow. `docs/performance.md` has the figures.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Smallest kernel that gains; oneDNN has a quick way of its own for 3x3.
LEAST_KERNEL = 5

#: Elements of the input that one call takes: as many as stay in a core's cache. Larger calls were measured slower.
CHUNK = 2**18

_X86 = platform.machine().lower() in ("x86_64", "amd64")


def gains(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether `depthwise` serves this convolution on this input better than PyTorch's own gradient."""
    height, width = conv.kernel_size
    padding = conv.padding
    return (
        torch.is_grad_enabled()
        and conv.weight.requires_grad
        and x.device.type == "cpu"
        and conv.groups == conv.in_channels == conv.out_channels > 1
        and height == width >= LEAST_KERNEL
        and padding == (height // 2, height // 2)
        and height % 2 == 1
        and conv.stride[0] == conv.stride[1]
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and x.ndim == 4
        and x.dtype in (torch.float32, torch.bfloat16)
        and conv.weight.dtype in (torch.float32, torch.bfloat16)
        and _X86
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
        # Who writes the graph down expects the plain convolution in it.
        and not (torch.jit.is_tracing() or torch.compiler.is_exporting())
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
            weight_gradient(grad, x, weight.shape[-1], ctx.stride) if wants_weight else None,
            grad.sum((0, 2, 3)) if wants_bias else None,
            None,
        )


def input_gradient(grad: Tensor, weight: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """Gradient of the input from that of the output: for stride 1 the convolution with the kernel turned round."""
    channels, side = weight.shape[0], weight.shape[-1]
    if stride == 1:
        return F.conv2d(grad, weight.flip(2, 3), None, 1, side // 2, 1, channels)
    # In bfloat16 oneDNN takes 20 to 100 times as long for this one.
    wide, kernel = grad.float(), weight.float()
    return torch.nn.grad.conv2d_input(shape, kernel, wide, stride, side // 2, 1, channels).to(grad.dtype)


@torch.library.custom_op("phonecv::depthwise_weight_gradient", mutates_args=())
def weight_gradient(grad: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """Gradient of the weights, ``C 1 K K``, from that of the output and the input.

    A single operator for `torch.compile`, which would else compile every call in the loop.
    """
    B, C, H, W = x.shape
    h, w = grad.shape[2:]
    if not x.numel():
        return x.new_zeros((C, 1, kernel, kernel))
    x = x.contiguous(memory_format=torch.channels_last) if _channels_last(grad) else x.contiguous()
    # Channels-last pictures one by one: several would have to be copied to become the channels of one.
    count = 1 if _channels_last(grad) else max(1, CHUNK // (C * H * W))
    total = x.new_zeros((C, kernel, kernel), dtype=torch.float32)
    for x_part, grad_part in zip(x.split(count), grad.split(count), strict=True):
        n = x_part.shape[0]
        y = F.conv2d(
            x_part.reshape(1, n * C, H, W), grad_part.reshape(n * C, 1, h, w), None, 1, kernel // 2, stride, n * C
        )
        # Where the stride does not divide the side, taps beyond the kernel come out, too.
        total += y[0, :, :kernel, :kernel].unflatten(0, (n, C)).sum(0, dtype=torch.float32)
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


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
