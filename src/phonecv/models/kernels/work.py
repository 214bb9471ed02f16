"""Work that a choice of kernels is timed by, see `phonecv.models.kernels.choices`: layers that run, or learn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Work = Callable[[], object]


def feature_map(channels: int, side: int, pictures: int = 1) -> Tensor:
    """A map as channels-last layers hand it on, the same at every call."""
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(pictures, channels, side, side, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


def channels_last(module: nn.Module) -> nn.Module:
    """The module, with weights that lie so."""
    return module.to(memory_format=torch.channels_last)


def inference(*pairs: tuple[nn.Module, Tensor]) -> Work:
    """Layers, each on a map of its own."""

    def work() -> None:
        with torch.inference_mode():
            for layer, x in pairs:
                layer(x)

    return work


def learning(layer: nn.Module, x: Tensor) -> Work:
    """A forward and a backward pass."""
    x.requires_grad_()

    def work() -> None:
        layer(x).sum().backward()

    return work
