"""The auxiliary head: a small fully convolutional classifier on an earlier map, used in training alone.

Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3 (deep supervision); weight 0.4.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from phonecv.segment.layers import PixelClassifier, conv_bn_relu


class FCNHead(nn.Module):
    """A 3x3 convolution and the classifier, on the map with number `index` of the backbone's."""

    def __init__(
        self, in_channels: int, num_classes: int, *, index: int, channels: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.index = index
        self.conv = conv_bn_relu(in_channels, channels, 3)
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The chosen map, ``B in_channels H W``, to logits ``B num_classes H W``."""
        return self.classify(self.conv(maps[self.index]))
