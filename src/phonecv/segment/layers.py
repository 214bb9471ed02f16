"""What the decode heads share: their convolution unit, bilinear resizing, the classifier of pixels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.errors import UserError
from phonecv.models.blocks import Conv2d, ConvNormAct
from phonecv.models.kernels.conv_relu import plain_backward


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int = 1, *, dilation: int = 1) -> ConvNormAct:
    """Convolution without bias, BatchNorm, ReLU; the size stays.

    The heads' BatchNorm has PyTorch's epsilon of 1e-5, the backbones' 1e-6, hence not `ConvNormAct` alone.
    """
    unit = ConvNormAct(in_channels, out_channels, kernel, act=nn.ReLU)
    unit.conv = Conv2d(
        in_channels, out_channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False
    )
    unit.norm = nn.BatchNorm2d(out_channels)
    nn.init.kaiming_normal_(unit.conv.weight, mode="fan_out", nonlinearity="relu")
    return unit


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear, corners not aligned, as everywhere in the published heads; ``B C H W -> B C *size``."""
    if all(_alike(have, want) for have, want in zip(x.shape[-2:], size, strict=True)):
        return x
    if x.requires_grad and x.device.type == "cpu" and not torch.compiler.is_compiling():
        resized: Tensor = _ResizeChannelsLast.apply(x, size)
        return resized
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _alike(one: int, other: int) -> bool:
    """Whether two lengths are the same; free lengths in a graph only if they always are.

    To ask whether they happen to be would fix the size of the picture that a graph is traced with.
    """
    if isinstance(one, torch.SymInt) or isinstance(other, torch.SymInt):
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        return statically_known_true(one == other)
    return one == other


class _ResizeChannelsLast(torch.autograd.Function):
    """`resize` where a CPU trains: on maps of many channels PyTorch is several times as fast with channels last.

    That holds for both passes, but the gradient often comes otherwise: from a softmax, or as a part of what was
    concatenated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, ...]) -> Tensor:
        ctx.shape = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        gradient = grad.contiguous(memory_format=torch.channels_last)
        back = torch.ops.aten.upsample_bilinear2d_backward
        return back(gradient, list(gradient.shape[2:]), list(ctx.shape), False, None, None), None


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits for what comes after the network: bfloat16 keeps too few digits to resize, compare or sum them."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


class PixelClassifier(nn.Module):
    """Dropout of whole channels, then a 1x1 convolution to the classes."""

    def __init__(self, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv = nn.Conv2d(channels, num_classes, 1)
        # Published is 0.01, for heads of 256 channels and more. Narrow ones would spend their first hundreds of steps
        # on growing these weights, and what is before them would learn little meanwhile.
        nn.init.normal_(self.conv.weight, std=0.01 * max(1.0, 256 / channels) ** 0.5)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    @torch.no_grad()
    def expect(self, shares: Tensor) -> None:
        """Let it begin with every class as likely as its share of all pixels, ``num_classes``."""
        assert self.conv.bias is not None
        self.conv.bias.copy_(shares.clamp(min=1e-4).log())

    def forward(self, x: Tensor) -> Tensor:
        """``B channels H W -> B num_classes H W``."""
        return self.conv(self.dropout(x))


def check_batch_of_one(unit: nn.Module, x: Tensor) -> None:
    """A BatchNorm after pooling to one pixel needs two pictures to tell a mean from a value; one alone is refused.

    A synchronised norm may find the others in other processes, so it is left to judge for itself.
    """
    norm = unit.norm if isinstance(unit, ConvNormAct) else None
    if (
        isinstance(norm, _BatchNorm)
        and norm.training
        and not isinstance(norm, nn.SyncBatchNorm)
        and x.shape[0] == 1  # asked last: in a traced graph this fixes the batch size
    ):
        raise UserError(
            "a training step with one picture: the head pools a picture to one pixel and normalises that over the"
            " batch; take a batch of 2 or more, drop the incomplete last batch, or use semantic_fpn or segformer"
        )
