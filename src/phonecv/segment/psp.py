"""PSPNet's head: pooling to a pyramid of grids.

Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, arXiv 1612.01105, section 3.2; here every level keeps the full
channel count, as in the published EMO and EMOv2 rows, which put it on the map of stride 32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phonecv.segment.layers import PixelClassifier, check_batch_of_one, conv_bn_relu, resize


class PSPHead(nn.Module):
    """The map beside its averages over n x n grids for each n of `pools`, joined by a 3x3 convolution."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 256,
        pools: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(side) for side in pools)
        self.levels = nn.ModuleList(conv_bn_relu(in_channels, channels) for _ in pools)
        self.sides = tuple(pools)
        self.join = conv_bn_relu(in_channels + len(pools) * channels, channels, 3)
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The last of `maps`, ``B in_channels H W``, to logits ``B num_classes H W``."""
        x = maps[-1]
        parts = [x]
        for side, pool, level in zip(self.sides, self.pools, self.levels, strict=True):
            if side == 1:
                check_batch_of_one(level, x)
            pooled = grid_means(x, side) if isinstance(x.shape[-1], torch.SymInt) else pool(x)
            parts.append(resize(level(pooled), x.shape[-2:]))
        return self.classify(self.join(torch.cat(parts, 1)))


def grid_means(x: Tensor, side: int) -> Tensor:
    """`nn.AdaptiveAvgPool2d` as two products, ``B C H W -> B C side side``.

    For graphs with free sizes: other formats average over cells only where these are known beforehand.
    """
    rows, columns = (_shares(length, side, x) for length in x.shape[-2:])
    return rows @ x @ columns.T


def _shares(length: int, side: int, like: Tensor) -> Tensor:
    """Of every place along an axis in the average of every cell, ``side length``; cells may overlap by one place."""
    place, cell = torch.arange(length, device=like.device), torch.arange(side, device=like.device)[:, None]
    first, end = cell * length // side, ((cell + 1) * length + side - 1) // side
    inside = ((place >= first) & (place < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
