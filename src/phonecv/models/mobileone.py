"""MobileOne: plain stacks of depthwise and pointwise layers, over-parameterised in training.

Vasu et al., "MobileOne: An Improved One Millisecond Mobile Backbone", CVPR 2023, arXiv 2206.04040. Every layer
is trained as a sum of linear branches (several convolutions, a 1x1 scale branch, a skip, each with its own
BatchNorm) and deployed as the one convolution they amount to; `phonecv.fuse` makes it. Parameter names
are those of Apple's release.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import VisionModel
from phonecv.models.blocks import SqueezeExcite, convolve
from phonecv.models.emo import check_stages


class ConvBN(nn.Module):
    """One linear branch: convolution without bias, then BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(convolve(self.conv, x))


class MobileOneBlock(nn.Module):
    """Training form of a layer (paper, section 3.2), ``B in H W -> B out H/stride W/stride``.

    Attributes:
        rbr_conv: the parallel convolutions.
        rbr_scale: 1x1 branch of a layer with a larger kernel.
        rbr_skip: BatchNorm of the input, where the shapes allow.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        branches: int = 1,
        se: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.rbr_conv = nn.ModuleList(
            ConvBN(in_channels, out_channels, kernel, stride, groups) for _ in range(branches)
        )
        # Its stride is applied by slicing in `forward`: PyTorch's weight gradient of a strided 1x1
        # convolution with few input channels (the stem has 3) corrupts memory on channels-last input
        # (CPU with AVX512, torch 2.13 to 2.15). Slice and convolve is the same map.
        self.rbr_scale = ConvBN(in_channels, out_channels, 1, 1, groups) if kernel > 1 else None
        self.rbr_skip = nn.BatchNorm2d(in_channels) if in_channels == out_channels and stride == 1 else None
        self.se = SqueezeExcite(out_channels, int(out_channels / 16), nn.ReLU) if se else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.rbr_conv[0](x)
        for branch in list(self.rbr_conv)[1:]:
            y = y + branch(x)
        if self.rbr_scale is not None:
            y = y + self.rbr_scale(x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x)
        if self.rbr_skip is not None:
            y = y + self.rbr_skip(x)
        return self.act(self.se(y))


class DeployedMobileOneBlock(nn.Module):
    """Deploy form of a layer: one convolution with bias, squeeze-excite where trained, ReLU."""

    def __init__(self, reparam_conv: nn.Conv2d, se: nn.Module) -> None:
        super().__init__()
        self.reparam_conv = reparam_conv
        self.se = se
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.se(self.reparam_conv(x)))


class MobileOne(VisionModel):
    """The network: one layer at stride 2, then four stages of depthwise-pointwise pairs at strides 4 to 32.

    Args:
        widths: channels per stage; the stem has at most 64.
        depths: pairs per stage.
        branches: parallel convolutions of each layer in stages 1 to 4.
        se_pairs: how many of each stage's last pairs have squeeze-excite.
        num_classes: 0 for none.
        in_chans: input channels.
        out_indices: turns the network into a dense backbone that returns these stages' maps. Stage 0 is
            the stem at stride 2, so mmpretrain's index n is n + 1 here.
        frozen_stages: stages 0..n keep their weights and statistics; -1 freezes none.
        norm_eval: BatchNorm keeps its statistics in training.

    Raises:
        UserError: an argument is out of range.
    """

    classifier_name = "linear"

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depths: Sequence[int] = (2, 8, 10, 1),
        branches: int = 1,
        se_pairs: Sequence[int] = (0, 0, 0, 0),
        num_classes: int = 1000,
        in_chans: int = 3,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
    ) -> None:
        stem_width = min(64, widths[0])
        super().__init__(
            widths=(stem_width, *widths),
            num_classes=num_classes,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        check_stages(widths=widths, depths=depths)
        if branches < 1:
            raise UserError(f"branches {branches!r} is not a whole number >= 1")
        if len(se_pairs) != 4 or any(not 0 <= n <= depth for n, depth in zip(se_pairs, depths, strict=False)):
            raise UserError(f"se_pairs {tuple(se_pairs)!r} needs four numbers from 0 to the depth {tuple(depths)!r}")
        self.stage0 = MobileOneBlock(in_chans, stem_width, 3, stride=2)
        channels = stem_width
        for s in range(4):
            layers: list[nn.Module] = []
            for pair in range(depths[s]):
                se = pair >= depths[s] - se_pairs[s]
                stride = 2 if pair == 0 else 1
                layers += [
                    MobileOneBlock(channels, channels, 3, stride=stride, groups=channels, branches=branches, se=se),
                    MobileOneBlock(channels, widths[s], 1, branches=branches, se=se),
                ]
                channels = widths[s]
            setattr(self, f"stage{s + 1}", nn.Sequential(*layers))
        self.norm = nn.Identity()
        self._add_classifier()
        self._freeze()
