"""SegFormer's head: every level brought to one width and one size, then mixed pixel by pixel.

Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", NeurIPS 2021, arXiv
2105.15203, section 3.2. As in the published EMOv2 rows the levels are concatenated finest first, and every linear
layer of the paper is a 1x1 convolution with BatchNorm and ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phonecv.models.blocks import SavesWork
from phonecv.segment.layers import PixelClassifier, conv_bn_relu, resize


class SegFormerHead(SavesWork):
    """One 1x1 convolution per level, finest first, bilinear to its size, one 1x1 convolution over all.

    Attributes:
        whole: join the levels by one convolution even where parts of it are faster, as files do.
    """

    whole: bool = False

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, *, channels: int = 288, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(conv_bn_relu(width, channels) for width in in_channels)
        self.join = conv_bn_relu(len(in_channels) * channels, channels)
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of falling size to logits ``B num_classes H W`` of the first one's size."""
        levels = [level(x) for level, x in zip(self.levels, maps, strict=True)]
        if self.whole or torch.jit.is_tracing() or torch.compiler.is_exporting():
            # Runtimes of phones want whole weights, not parts of them.
            size = maps[0].shape[-2:]
            return self.classify(self.join(torch.cat([resize(x, size) for x in levels], 1)))
        return self.classify(self.join.act(self.join.norm(self._joined(levels))))

    def _joined(self, levels: Sequence[Tensor]) -> Tensor:
        """The convolution of the resized and concatenated levels.

        A 1x1 convolution and a resizing may change places, so each level goes through its part of the convolution at
        its own size: a third of the work, and nothing is concatenated.
        """
        conv = self.join.conv
        parts = conv.weight.chunk(len(levels), 1)
        total = conv._conv_forward(levels[0], parts[0], conv.bias)
        for level, part in zip(levels[1:], parts[1:], strict=True):
            total = total + resize(conv._conv_forward(level, part, None), levels[0].shape[-2:])
        return total

    def saved_macs(self, x: Sequence[Tensor]) -> int:
        """Those of the convolution at full size, as published."""
        finest, *others = (level.shape[-2] * level.shape[-1] for level in x)
        channels = self.join.conv.out_channels
        return sum(finest - pixels for pixels in others) * channels * channels
