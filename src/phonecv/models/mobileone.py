"""MobileOne: plain stacks of depthwise and pointwise layers, over-parameterised in training.

Vasu et al., "MobileOne: An Improved One Millisecond Mobile Backbone", CVPR 2023, arXiv 2206.04040. Every layer
is trained as a sum of linear branches (several convolutions, a 1x1 scale branch, a skip, each with its own
BatchNorm) and deployed as the one convolution they amount to; `phonecv.fuse` makes it. Parameter names
are those of Apple's release.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import VisionModel
from phonecv.models.blocks import Conv2d, SqueezeExcite
from phonecv.models.emo import check_stages
from phonecv.models.kernels.branch_sum import TrainingForm, sum_branches
from phonecv.models.kernels.choices import BRANCHES
from phonecv.models.kernels.work import Work, channels_last, feature_map, learning


class ConvBN(nn.Module):
    """One linear branch: convolution without bias, then BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv: nn.Conv2d = Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class MobileOneBlock(nn.Module):
    """Training form of a layer (paper, section 3.2), ``B in H W -> B out H/stride W/stride``.

    Attributes:
        rbr_conv: the parallel convolutions.
        rbr_scale: 1x1 branch of a layer with a larger kernel.
        rbr_skip: BatchNorm of the input, where the shapes allow.
        training_form: see `MobileOne`.
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
        training_form: TrainingForm = "auto",
    ) -> None:
        super().__init__()
        self.training_form: TrainingForm = training_form
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.rbr_conv = nn.ModuleList(
            ConvBN(in_channels, out_channels, kernel, stride, groups) for _ in range(branches)
        )
        # Its stride is applied by slicing in `forward`: PyTorch's weight gradient of a strided 1x1
        # convolution with few input channels (the stem has 3) corrupts memory on channels-last input
        # (CPU with AVX512, torch 2.13 to 2.15). Slice and convolve is the same map.
        self.rbr_scale = ConvBN(in_channels, out_channels, 1, 1, groups) if kernel > 1 else None
        self.rbr_skip = nn.BatchNorm2d(in_channels) if in_channels == out_channels and stride == 1 else None
        self.se: nn.Module = SqueezeExcite(out_channels, int(out_channels / 16), nn.ReLU) if se else nn.Identity()
        self.act = nn.ReLU()

    def linear_branches(self) -> list[ConvBN]:
        """The convolutions, and the scale where there is one."""
        branches = [*self.rbr_conv] if self.rbr_scale is None else [*self.rbr_conv, self.rbr_scale]
        return cast(list[ConvBN], branches)

    def is_plain(self) -> bool:
        """Whether all branches normalise by the batch, and nothing from outside watches or changes what they do."""
        branches = self.linear_branches()
        if any(type(branch) is not ConvBN for branch in branches):
            return False
        norms = [branch.bn for branch in branches] + ([] if self.rbr_skip is None else [self.rbr_skip])
        convolutions = [branch.conv for branch in branches]
        return (
            all(type(conv) in (nn.Conv2d, Conv2d) and conv.bias is None for conv in convolutions)
            and all(type(norm) is nn.BatchNorm2d and norm.training for norm in norms)
            and all(norm.affine and norm.track_running_stats for norm in norms)
            and type(self.act) is nn.ReLU
            and not any(_is_watched(module) for module in [*branches, *convolutions, *norms, self.act])
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            y = sum_branches(self, x)
            if y is not None:
                return y if isinstance(self.se, nn.Identity) else self.act(self.se(y))
        y = self.rbr_conv[0](x)
        for branch in list(self.rbr_conv)[1:]:
            y = y + branch(x)
        if self.rbr_scale is not None:
            y = y + self.rbr_scale(x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x)
        if self.rbr_skip is not None:
            y = y + self.rbr_skip(x)
        return self.act(self.se(y))


def _is_watched(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


class DeployedMobileOneBlock(nn.Module):
    """Deploy form of a layer: one convolution with bias, squeeze-excite where trained, ReLU.

    Attributes:
        joined: as of `phonecv.models.blocks.ConvNormAct`.
    """

    joined = False

    def __init__(self, reparam_conv: nn.Conv2d, se: nn.Module) -> None:
        super().__init__()
        self.reparam_conv = reparam_conv
        self.se = se
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.reparam_conv(x, self.act) if self.joined else self.act(self.se(self.reparam_conv(x)))


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
        training_form: how a layer's branches run in training. "branches": one by one. "moments": as one
            convolution whose BatchNorm statistics come from the moments of its input, with the same results,
            gradients and running statistics up to rounding; where the input leaves the moments too few digits, the
            branches run. "auto": "moments" where that was measured to be faster, which is on the CPU, else "branches".

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
        training_form: TrainingForm = "auto",
    ) -> None:
        stem_width = min(64, widths[0])
        super().__init__(
            widths=(stem_width, *widths),
            num_classes=num_classes,
            in_chans=in_chans,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        check_stages(widths=widths, depths=depths)
        if branches < 1:
            raise UserError(f"branches {branches!r} is not a whole number >= 1")
        if len(se_pairs) != 4 or any(not 0 <= n <= depth for n, depth in zip(se_pairs, depths, strict=False)):
            raise UserError(f"se_pairs {tuple(se_pairs)!r} needs four numbers from 0 to the depth {tuple(depths)!r}")
        if training_form not in get_args(TrainingForm):
            raise UserError(f"training_form {training_form!r} is not one of {', '.join(get_args(TrainingForm))}")
        self.stage0 = MobileOneBlock(in_chans, stem_width, 3, stride=2, training_form=training_form)
        channels = stem_width
        for s in range(4):
            layers: list[nn.Module] = []
            for pair in range(depths[s]):
                se = pair >= depths[s] - se_pairs[s]
                stride = 2 if pair == 0 else 1
                both = {"branches": branches, "se": se, "training_form": training_form}
                layers += [
                    MobileOneBlock(channels, channels, 3, stride=stride, groups=channels, **both),
                    MobileOneBlock(channels, widths[s], 1, **both),
                ]
                channels = widths[s]
            setattr(self, f"stage{s + 1}", nn.Sequential(*layers))
        self.norm = nn.Identity()
        self._add_classifier()
        self._freeze()


@BRANCHES.timed_by
def _branches() -> Work:
    """A depthwise and a 1x1 layer of MobileOne-S0."""
    both = (MobileOneBlock(128, 128, 3, groups=128, branches=4), MobileOneBlock(128, 128, 1, branches=4))
    return learning(channels_last(nn.Sequential(*both)), feature_map(128, 28, 4))
