"""Decode heads: maps of a backbone, or of a pyramid on it, to logits per pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.blocks import SavesWork
from phonecv.segment.layers import PixelClassifier, check_batch_of_one, conv_bn_relu, resize


class FCNHead(nn.Module):
    """The auxiliary head: a 3x3 convolution and the classifier, on the map with number `index`, in training alone.

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3 (deep supervision); weight 0.4.
    """

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


class ASPPHead(nn.Module):
    """DeepLabv3's: image pooling, a 1x1 and dilated 3x3 convolutions side by side, joined by a 3x3.

    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv 1706.05587. The published EMO
    and EMOv2 rows put it on the map of stride 32, not 8: at 16 x 16 pixels the dilations 24 and 36 see their centre tap
    alone.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 256,
        dilations: Sequence[int] = (12, 24, 36),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = in_channels[-1]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pooled = conv_bn_relu(width, channels)
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(width, channels),
                *(conv_bn_relu(width, channels, 3, dilation=dilation) for dilation in dilations),
            ]
        )
        self.join = conv_bn_relu((2 + len(dilations)) * channels, channels, 3)
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The last of `maps`, ``B C H W``, to logits ``B num_classes H W``."""
        x = maps[-1]
        check_batch_of_one(self.pooled, x)
        whole = resize(self.pooled(self.pool(x)), x.shape[-2:])
        return self.classify(self.join(torch.cat([whole, *(branch(x) for branch in self.branches)], 1)))


class PSPHead(nn.Module):
    """PSPNet's: the map beside its averages over n x n grids for each n of `pools`, joined by a 3x3 convolution.

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, arXiv 1612.01105, section 3.2; here every level keeps the
    full channel count, as in the published EMO and EMOv2 rows, which put it on the map of stride 32.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 256,
        pools: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = in_channels[-1]
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(side) for side in pools)
        self.levels = nn.ModuleList(conv_bn_relu(width, channels) for _ in pools)
        self.sides = tuple(pools)
        self.join = conv_bn_relu(width + len(pools) * channels, channels, 3)
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The last of `maps`, ``B C H W``, to logits ``B num_classes H W``."""
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


class SemanticFPNHead(nn.Module):
    """Per level, at strides 4, 8, ..., a 3x3 convolution and a doubling of the size for every halving below stride 4.

    The first level has one convolution and no doubling. Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR
    2019, arXiv 1901.02446, section 3.1; BatchNorm instead of group norm, as in the published EMOv2 rows. The pyramid
    itself is `phonecv.dense.fpn.FPN`.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, *, channels: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level, width in enumerate(in_channels):
            steps: list[nn.Module] = []
            for step in range(max(1, level)):
                steps.append(conv_bn_relu(channels if step else width, channels, 3))
                if level:
                    steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.levels.append(nn.Sequential(*steps))
        self.classify = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps ``B C H/2^i W/2^i`` to logits ``B num_classes H W``."""
        total, *others = [level(x) for level, x in zip(self.levels, maps, strict=True)]
        for other in others:
            # Doubling a size that was rounded up overshoots by a few pixels.
            total = total + resize(other, total.shape[-2:])
        return self.classify(total)


class SegFormerHead(SavesWork):
    """One 1x1 convolution per level, finest first, bilinear to its size, one 1x1 convolution over all.

    Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", NeurIPS 2021,
    arXiv 2105.15203, section 3.2. As in the published EMOv2 rows the levels are concatenated finest first, and every
    linear layer of the paper is a 1x1 convolution with BatchNorm and ReLU.

    Attributes:
        whole: join the levels by one convolution even where parts of it are faster, as files do.
    """

    whole: bool = False

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, *, channels: int | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if channels is None:
            # Published: 180 for 1M, 288 for 2M, 5M and 20M.
            channels = 180 if in_channels[-1] <= 180 else 288
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


class UNetHead(nn.Module):
    """From the coarsest map upwards: resize to the next one, concatenate, two 3x3 convolutions.

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv
    1505.04597: the encoder is the backbone, whose finest map has stride 2, so the last doubling is bilinear and has no
    skip. The published EMOv2 UNet, with an encoder of its own, is in `phonecv.segment.unet_hrf`.

    Maps come finest first; `widths` are those after each of the steps, coarsest first; one fewer than there are maps.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, *, widths: Sequence[int] | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if widths is None:
            widths = (256, 128, 64, 32)[: len(in_channels) - 1]
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
