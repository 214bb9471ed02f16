"""What is timed both ways for each of `phonecv.models.kernels.choices`: small pieces of networks.

Each function gives work that is done the way that is chosen while it is made, and while it runs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from phonecv.models.blocks import Conv2d, ConvNormAct
from phonecv.models.fusing import lay_out
from phonecv.models.mobileone import DeployedMobileOneBlock, MobileOneBlock
from phonecv.models.packing import freeze

Work = Callable[[], object]


def _map(channels: int, side: int, pictures: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(pictures, channels, side, side, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


def _last(module: nn.Module) -> nn.Module:
    return module.to(memory_format=torch.channels_last)


def _run(*pairs: tuple[nn.Module, Tensor]) -> Work:
    """Inference of layers, each on a map of its own."""

    def work() -> None:
        with torch.inference_mode():
            for layer, x in pairs:
                layer(x)

    return work


def _train(layer: nn.Module, x: Tensor) -> Work:
    """A forward and a backward pass."""
    x.requires_grad_()

    def work() -> None:
        layer(x).sum().backward()

    return work


def pointwise() -> Work:
    """1x1 convolutions of EMOv2-5M: stages 1, 3 and 4."""
    shapes = ((48, 96, 56), (160, 640, 14), (640, 160, 14), (1152, 288, 7))
    return _run(*((_last(Conv2d(C, out, 1)), _map(C, side)) for C, out, side in shapes))


def layout() -> Work:
    """Layers of MobileOne-S0, on a picture in PyTorch's layout."""

    def layer(C: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
        conv = Conv2d(C, out, kernel, stride, kernel // 2, groups=groups)
        return DeployedMobileOneBlock(conv, nn.Identity())

    layers = [layer(3, 48, 3, 2)]
    for C, out, stride in ((48, 48, 2), (48, 128, 2), (128, 128, 1), (128, 256, 2), *[(256, 256, 1)] * 3):
        layers += [layer(C, C, 3, stride, C), layer(C, out, 1)]
    network = nn.Sequential(*layers)
    lay_out(network)
    return _run((network, torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))))


def weights() -> Work:
    """Convolutions and activations of EMOv2-5M's third stage and of a MobileOne."""
    units = (
        (ConvNormAct(160, 640, bias=True, act=nn.GELU), _map(160, 14)),
        (ConvNormAct(640, 640, 5, groups=640, bias=True, act=nn.SiLU), _map(640, 14)),
        (ConvNormAct(640, 160), _map(640, 14)),
        (ConvNormAct(256, 256, bias=True, act=nn.ReLU), _map(256, 14)),
    )
    network = nn.ModuleList(_last(unit) for unit, _ in units)
    freeze(network)
    return _run(*((unit, x) for unit, (_, x) in zip(network, units, strict=True)))


def gradients() -> Work:
    """A depthwise convolution of EMOv2-5M's second stage."""
    return _train(_last(Conv2d(96, 96, 5, 1, 2, groups=96, bias=False)), _map(96, 28, 4))


def branches() -> Work:
    """A depthwise and a 1x1 layer of MobileOne-S0."""
    both = (MobileOneBlock(128, 128, 3, groups=128, branches=4), MobileOneBlock(128, 128, 1, branches=4))
    return _train(_last(nn.Sequential(*both)), _map(128, 28, 4))
