"""Parts that make a network of pictures one of clips: convolutions and windows that reach over time.

Clips pass through a network as the pictures of a batch, ``T*B C H W``: the first frames of all clips, then the second
ones, and so on. Norms, activations and 1x1 convolutions then are those of pictures; what is here sees several frames.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.blocks import Conv2d, ConvNormAct, DropPath, SavesWork, Scheme, WindowGrid
from phonecv.models.emov2 import EMOv2, WindowExpansion

#: Frames of an attention window.
SPAN = 2


class ClipConv(SavesWork):
    """A convolution over time and space, ``T*B C H W -> T/time_stride*B D H/stride W/stride``; zeros pad all sides.

    It is the sum of one convolution over space for each tap in time, which every runtime has, and leaves out what
    meets the padding alone: of a kernel of five frames on clips of two, the outer taps. On the CPU a training step of
    it takes a half to a tenth of the time of PyTorch's convolution over time and space.

    Attributes:
        taps: a convolution for each place in time, the middle one with the bias.
        frames: of a clip at its input.
    """

    def __init__(self, like: nn.Conv2d, *, frames: int, time_stride: int) -> None:
        """Stand in for a convolution of pictures, whose square kernel becomes the middle tap of a cube of zeros.

        `frames` are of a clip at its input, and `time_stride` of them become one.
        """
        super().__init__()
        self.frames, self.time_stride, self.reach = frames, time_stride, like.kernel_size[0] // 2
        places = range(-self.reach, self.reach + 1)
        self.taps = nn.ModuleList([_blank(like) if place else like for place in places])
        #: Per tap the new frames that it serves, and the old ones that these read.
        self._pairs = [
            [(new, old) for new in range(self.frames_out) if 0 <= (old := new * time_stride + place) < frames]
            for place in places
        ]
        for tap, pairs in zip(self.taps, self._pairs, strict=True):
            # Distributed training refuses what is trained and has no part in the loss.
            tap.requires_grad_(bool(pairs))

    @property
    def frames_out(self) -> int:
        """Of a clip at its output."""
        return -(-self.frames // self.time_stride)

    @property
    def convolutions(self) -> list[Conv2d]:
        """The taps, for type checkers."""
        return cast("list[Conv2d]", list(self.taps))

    @property
    def middle(self) -> Conv2d:
        """The tap that stays in its frame."""
        return self.convolutions[self.reach]

    def spread(self) -> None:
        """Fresh values for all taps alike, as PyTorch gives them to a convolution over time and space."""
        for tap in self.convolutions:
            bound = (tap.weight[0].numel() * len(self.taps)) ** -0.5
            nn.init.uniform_(tap.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if self.frames == 1:
            return self.middle(x)
        moments = x.unflatten(0, (self.frames, -1))  # T B C H W
        sums: list[Tensor | None] = [None] * self.frames_out
        for tap, pairs in zip(self.taps, self._pairs, strict=True):
            if not pairs:
                continue
            made = tap(moments[pairs[0][1] : pairs[-1][1] + 1 : self.time_stride].flatten(0, 1))
            # Not `chunk`, which asks whether the batch divides: exports would fix it, and LiteRT's converter fails.
            for (new, _), part in zip(pairs, made.unflatten(0, (len(pairs), -1)).unbind(), strict=True):
                before = sums[new]
                sums[new] = part if before is None else before + part
        # Joined so that channels-last maps stay that.
        return torch.cat([one for one in sums if one is not None])

    def saved_macs(self, x: Tensor) -> int:
        """What the taps would do on frames of padding."""
        conv = self.middle
        height, width = (-(-side // step) for side, step in zip(x.shape[2:], conv.stride, strict=True))
        skipped = self.frames_out * len(self.taps) - sum(map(len, self._pairs))
        return skipped * height * width * conv.weight.numel()


def _blank(like: nn.Conv2d) -> Conv2d:
    """A convolution of the same geometry without bias, all zeros."""
    side, stride = like.kernel_size[0], like.stride[0]
    conv = Conv2d(like.in_channels, like.out_channels, side, stride, side // 2, groups=like.groups, bias=False)
    nn.init.zeros_(conv.weight)
    return conv


class ClipGrid(WindowGrid):
    """Windows that hold the same cut of `span` frames of a clip, as tokens one frame after the other.

    In time, as in space, ``close`` windows are frames that follow one another, and ``remote`` ones frames as far apart
    as there are windows. The clip has `span` frames or a multiple of it.
    """

    def __init__(self, height: int, width: int, window: int, *, frames: int, span: int) -> None:
        super().__init__(height, width, window)
        self.frames, self.span = frames, span

    @property
    def single(self) -> bool:
        """Whether one window covers the clip."""
        return super().single and self.frames == self.span

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.span * super().tokens

    def split(self, rows: Tensor, scheme: Scheme) -> Tensor:
        """See `WindowGrid`; tokens are ``B*windows span*N C``."""
        x = super().split(rows, scheme)
        tokens, C = x.shape[1:]
        frames = x.reshape(self._outer(scheme), self.span, -1, tokens * C).transpose(1, 2)
        return self._joined(frames, self.span * tokens, C)

    def merge(self, x: Tensor, scheme: Scheme) -> Tensor:
        """See `WindowGrid`."""
        tokens, C = x.shape[1] // self.span, x.shape[2]
        windows = x.reshape(self._outer(scheme), -1, self.span, tokens * C).transpose(1, 2)
        return super().merge(self._joined(windows, tokens, C), scheme)

    def _outer(self, scheme: Scheme) -> int:
        """What lies before the frames of a window: windows in time, or for remote ones those in space."""
        return self.frames // self.span if scheme == "close" else self.rows * self.columns


def inflate(network: EMOv2, frames: int) -> int:
    """Make a network of pictures one of clips (1, 2, or a multiple of 4 frames), in place.

    Kernels become cubes, windows reach over `SPAN` frames. The kernels stay what they are in the middle of the cubes,
    zeros elsewhere: on a clip whose frames are all the same the network gives what it gave for the picture. Kernels
    spread over time would not, because clips of few frames are padded with zeros. The first convolution halves the
    number of frames.

    Returns:
        Frames of a clip behind the first convolution.
    """
    if frames not in (1, 2) and (frames < 1 or frames % 4):
        raise UserError(f"frames {frames} is not 1, 2 or a multiple of 4: they are halved, and windows hold two each")
    first, later = True, -(-frames // 2)
    for unit in [module for module in network.modules() if isinstance(module, ConvNormAct)]:
        if unit.conv.kernel_size[0] > 1:
            conv: Any = ClipConv(unit.conv, frames=frames if first else later, time_stride=2 if first else 1)
            unit.conv, first = conv, False
    for module in network.modules():
        if isinstance(module, DropPath):
            module.frames = later
        elif isinstance(module, WindowExpansion) and later > 1:
            module.grid = partial(ClipGrid, frames=later, span=SPAN)
    return later
