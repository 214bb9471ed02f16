"""A network as XNNPACK can take it whole: the same numbers from operators that it has."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from phonecv.models.blocks import LayerNorm2d


class ChannelNorm(nn.Module):
    """`LayerNorm2d` as convolutions, differences and products, ``B C H W -> B C H W``.

    XNNPACK has no layer norm, and averages over height and width alone. The mean over the channels of a pixel is a
    1x1 convolution with equal weights: it needs no turning of the map, and nothing leaves XNNPACK.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        channels = norm.normalized_shape[0]
        self.mean = nn.Conv2d(channels, 1, 1, bias=False)
        nn.init.constant_(self.mean.weight, 1 / channels)
        self.eps = norm.eps
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        if norm.elementwise_affine:
            self.weight = nn.Parameter(norm.weight.detach().clone()[None, :, None, None])
            self.bias = nn.Parameter(norm.bias.detach().clone()[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """``B C H W``, each pixel with mean 0 and variance 1 over its channels, then the affine part."""
        # From the differences, not as mean of squares less square of mean: that cancels where the mean is large.
        x = x - self.mean(x)
        x = x * (self.mean(x * x) + self.eps).rsqrt()
        return x if self.weight is None or self.bias is None else x * self.weight + self.bias


def for_xnnpack(module: nn.Module) -> nn.Module:
    """A copy with every `LayerNorm2d` as `ChannelNorm`; the module stays as it was.

    Weights lie contiguous: XNNPACK's graph passes refuse the channels-last ones of a fused network.
    """
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, ChannelNorm(child.norm))
    return module.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def norm_names(module: nn.Module) -> list[str]:
    """Paths of the `ChannelNorm` layers, which must stay float in an int8 file."""
    return [name for name, child in module.named_modules() if isinstance(child, ChannelNorm)]
