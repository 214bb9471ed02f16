"""Feature pyramid (Lin et al. 2017), without norm or activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.model import initialise
from phonecv.errors import UserError
from phonecv.models.blocks import Conv2d


class FPN(nn.Module):
    """Maps of rising stride and any channels -> as many maps of equal channels, each with what the deeper ones know.

    Args:
        channels: of the maps that come in, fine to coarse.
        out: channels of the maps that go out.
        extra: two coarser maps from the last map that came in by convolutions of stride 2, without an activation
            between them ("p6p7", RetinaNet); or every second pixel of the last map that goes out ("pool", Mask R-CNN).
    """

    def __init__(self, channels: Sequence[int], out: int = 256, extra: Literal["p6p7", "pool"] | None = None) -> None:
        super().__init__()
        if extra not in (None, "p6p7", "pool"):
            raise UserError(f"extra levels {extra!r} are not offered; choose 'p6p7', 'pool' or none")
        self.extra = extra
        self.laterals = nn.ModuleList([Conv2d(width, out, 1) for width in channels])
        self.outputs = nn.ModuleList([Conv2d(out, out, 3, padding=1) for _ in channels])
        self.coarser = nn.ModuleList(
            [Conv2d(channels[-1], out, 3, 2, 1), Conv2d(out, out, 3, 2, 1)] if extra == "p6p7" else []
        )
        initialise(self, nn.init.xavier_uniform_)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """``B C H W`` each, fine to coarse, in and out."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + F.interpolate(levels[i], size=levels[i - 1].shape[-2:], mode="nearest")
        levels = [output(x) for output, x in zip(self.outputs, levels, strict=True)]
        if self.extra == "pool":
            levels.append(F.max_pool2d(levels[-1], 1, 2))
        x = maps[-1]
        for conv in self.coarser:
            x = conv(x)
            levels.append(x)
        return levels
