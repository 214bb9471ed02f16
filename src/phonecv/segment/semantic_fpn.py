"""The head of Semantic FPN: pyramid levels brought to stride 4 step by step, and added.

Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, arXiv 1901.02446, section 3.1; BatchNorm instead of
group norm, as in the published EMOv2 rows. The pyramid itself is `phonecv.dense.fpn.FPN`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from phonecv.segment.layers import PixelClassifier, conv_bn_relu, resize


class SemanticFPNHead(nn.Module):
    """Per level, at strides 4, 8, ..., a 3x3 convolution and a doubling of the size for every halving below stride 4.

    The first level has one convolution and no doubling.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, levels: int = 4, channels: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level in range(levels):
            steps: list[nn.Module] = []
            for step in range(max(1, level)):
                steps.append(conv_bn_relu(channels if step else in_channels, channels, 3))
                if level:
                    steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.levels.append(nn.Sequential(*steps))
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps ``B in_channels H/2^i W/2^i`` to logits ``B num_classes H W``."""
        total, *others = [level(x) for level, x in zip(self.levels, maps, strict=True)]
        for other in others:
            # Doubling a size that was rounded up overshoots by a few pixels.
            total = total + resize(other, total.shape[-2:])
        return self.classify(total)
