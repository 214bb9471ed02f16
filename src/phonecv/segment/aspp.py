"""DeepLabv3's head: atrous spatial pyramid pooling.

Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv 1706.05587. The published EMO and
EMOv2 rows put it on the map of stride 32, not 8: at 16 x 16 pixels the dilations 24 and 36 see their centre tap alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phonecv.segment.layers import PixelClassifier, check_batch_of_one, conv_bn_relu, resize


class ASPPHead(nn.Module):
    """Image pooling, a 1x1 and dilated 3x3 convolutions side by side, joined by a 3x3."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 256,
        dilations: Sequence[int] = (12, 24, 36),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pooled = conv_bn_relu(in_channels, channels)
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(in_channels, channels),
                *(conv_bn_relu(in_channels, channels, 3, dilation=dilation) for dilation in dilations),
            ]
        )
        self.join = conv_bn_relu((2 + len(dilations)) * channels, channels, 3)
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The last of `maps`, ``B in_channels H W``, to logits ``B num_classes H W``."""
        x = maps[-1]
        check_batch_of_one(self.pooled, x)
        whole = resize(self.pooled(self.pool(x)), x.shape[-2:])
        return self.classify(self.join(torch.cat([whole, *(branch(x) for branch in self.branches)], 1)))
