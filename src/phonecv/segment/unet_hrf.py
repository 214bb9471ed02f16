"""The UNet of the EMOv2 release, trained there on vessels of the retina (HRF): an encoder and decoder of its own.

Its blocks are EMOv2's with one change: LayerNorm and GELU, not BatchNorm and SiLU, follow the depthwise convolution.
No other published model has that. Released copies of the backbone that do cannot load the ImageNet weights of these
norms, so the change stays in this file. With 21.4 M parameters it is no 5M model, whatever its published name says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import init_emo_weights
from phonecv.models.blocks import LayerNorm2d
from phonecv.models.emov2 import I2RMB
from phonecv.segment.layers import conv_bn_relu, resize

#: Narrower inputs than this get plain convolutions; that is the first stage, which sees the picture.
NARROW = 64


class UpStep(nn.Module):
    """Doubles the size, brings the channels to those of the skip, concatenates, mixes."""

    def __init__(self, channels: int, skip: int, blocks: nn.Sequential) -> None:
        super().__init__()
        self.shrink = conv_bn_relu(channels, skip)
        self.blocks = blocks

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """``B skip H W`` and ``B channels H/2 W/2`` to ``B skip H W``."""
        return self.blocks(torch.cat([skip, self.shrink(resize(x, skip.shape[-2:]))], 1))


class EMOv2UNet(nn.Module):
    """The encoder and decoder; its maps are those of the decoder, coarsest first: strides 16, 8, 4, 2, 1.

    Args:
        widths: channels per encoder stage, at strides 1, 2, 4, ...
        depth: blocks per stage, on both sides.
        ratio: expansion of the blocks.
        head_dim: channels of queries and keys per attention head.
        window: side of the attention windows in tokens.
        kernel: of the depthwise convolutions.
        layer_scale: its initial value.
        drop_path: drop path rate of every block.
        in_chans: input channels.

    Raises:
        UserError: a head does not divide a width.
    """

    name = "emov2_unet"

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        depth: int = 2,
        ratio: float = 2.0,
        head_dim: int = 32,
        window: int = 10,
        kernel: int = 5,
        layer_scale: float = 1e-6,
        drop_path: float = 0.0,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        for width in widths:
            if width < head_dim or width % head_dim:
                raise UserError(f"head_dim {head_dim} does not divide the width {width}")

        def stage(dim_in: int, dim_out: int) -> nn.Sequential:
            blocks: list[nn.Module] = []
            for block in range(depth):
                width = dim_out if block else dim_in
                if dim_in < NARROW:
                    blocks.append(conv_bn_relu(width, dim_out, 3))
                    continue
                mixed = I2RMB(
                    width,
                    dim_out,
                    ratio=ratio,
                    kernel=kernel,
                    stride=1,
                    late=True,
                    attention="hybrid",
                    head_dim=head_dim,
                    window=window,
                    qkv_bias=True,
                    layer_scale=layer_scale,
                    drop_path=drop_path,
                )
                mixed.conv_local.add_module("norm", LayerNorm2d(mixed.conv_local.conv.out_channels))
                mixed.conv_local.act = nn.GELU()
                mixed.apply(init_emo_weights)
                blocks.append(mixed)
            return nn.Sequential(*blocks)

        self.overrides: dict[str, Any] = {}
        self.encoder = nn.ModuleList(
            stage(dim_in, dim_out) for dim_in, dim_out in zip((in_chans, *widths[:-1]), widths, strict=True)
        )
        # Rounded up: a map of odd size keeps its last row, and a map of one pixel stays.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        sides = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.decoder = nn.ModuleList(UpStep(below, skip, stage(2 * skip, skip)) for below, skip in sides)
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": 2**level} for level, width in reversed(list(enumerate(widths)))
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """``B in_chans H W`` to the maps ``B C H/stride W/stride``, coarsest first."""
        skips = []
        for level, stage in enumerate(self.encoder):
            x = stage(self.pool(x) if level else x)
            skips.append(x)
        maps = [x]
        for step, skip in zip(self.decoder, skips[-2::-1], strict=True):
            maps.append(step(skip, maps[-1]))
        return maps
