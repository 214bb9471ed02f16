"""A UNet decoder for any backbone.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv 1505.04597:
the encoder is the backbone, whose finest map has stride 2, so the last doubling is bilinear and has no skip. The
published EMOv2 UNet, with an encoder of its own, is in `phonecv.segment.unet_hrf`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.segment.layers import PixelClassifier, conv_bn_relu, resize


class UNetHead(nn.Module):
    """From the coarsest map upwards: resize to the next one, concatenate, two 3x3 convolutions.

    Maps come finest first; `widths` are those after each of the steps, coarsest first; one fewer than there are maps.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, *, widths: Sequence[int], dropout: float = 0.1
    ) -> None:
        super().__init__()
        if len(widths) != len(in_channels) - 1:
            raise UserError(
                f"widths {list(widths)}: {len(in_channels)} maps of the backbone need {len(in_channels) - 1} numbers,"
                " coarsest step first"
            )
        self.steps = nn.ModuleList()
        below = in_channels[-1]
        for skip, width in zip(in_channels[-2::-1], widths, strict=True):
            self.steps.append(nn.Sequential(conv_bn_relu(below + skip, width, 3), conv_bn_relu(width, width, 3)))
            below = width
        self.classify = PixelClassifier(below, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of falling size to logits ``B num_classes H W`` of the first one's size."""
        x = maps[-1]
        for step, skip in zip(self.steps, maps[-2::-1], strict=True):
            x = step(torch.cat([skip, resize(x, skip.shape[-2:])], 1))
        return self.classify(x)
