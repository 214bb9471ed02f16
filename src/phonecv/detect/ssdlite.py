"""SSDLite: SSD (Liu et al. 2016) with depthwise-separable heads (Sandler et al. 2018), as EMO and EMOv2 publish it.

The backbone's maps at strides 16 and 32, four more maps by convolutions of stride 2, and on each of the six a class
and a box head of its own. The rows published as 300 x 300 run at 320 x 320. The row published as 512 x 512 keeps the
anchors of 320, whose coarse grids end before the picture does; `ssdlite512_corrected` has anchors that do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.backbone import feature_channels
from phonecv.dense.model import Further, initialise
from phonecv.detect.assign import assign, spare
from phonecv.detect.base import BoxRule, Targets, flatten_level, full_precision
from phonecv.detect.boxes import SSD_STDS
from phonecv.detect.losses import box_targets, mined_cross_entropy, normaliser
from phonecv.detect.one_stage import OneStage, Outputs
from phonecv.errors import UserError
from phonecv.models.blocks import Conv2d, ConvNormAct
from phonecv.preprocessing import DensePreprocessing

#: Channels of the four maps beyond the backbone's.
_EXTRA = (512, 256, 256, 128)
_PER_CELL = 6
#: Least and greatest anchor size of each level for pictures of 320 pixels.
_MIN_SIZES = (48, 100, 150, 202, 253, 304)
_MAX_SIZES = (100, 150, 202, 253, 304, 320)


class SSDLite(OneStage):
    """The detector, on maps at strides 16 and 32; pictures are stretched to a square.

    Args:
        architecture: as for `phonecv.detect.retinanet.RetinaNet`, like all that is not named here.
        size: side of the square, pixels.
        min_sizes: least anchor size of each of the six levels in pixels; None grows those of 320 with `size`.
        max_sizes: likewise the greatest.
        anchor_strides: pixels from anchor to anchor on each level; None spreads them over the whole picture.
    """

    score_threshold = 0.02
    nms_overlap = 0.45
    max_detections = 200

    def __init__(
        self,
        architecture: str,
        backbone: nn.Module,
        num_classes: int,
        *,
        size: int = 320,
        min_sizes: Sequence[float] | None = None,
        max_sizes: Sequence[float] | None = None,
        anchor_strides: Sequence[float] | None = None,
    ) -> None:
        super().__init__(architecture, backbone, num_classes, DensePreprocessing(size=size))
        sides = [-(-size // 2 ** (level + 4)) for level in range(len(_EXTRA) + 2)]
        self.min_sizes = _numbers("min_sizes", min_sizes, [s * size / 320 for s in _MIN_SIZES])
        self.max_sizes = _numbers("max_sizes", max_sizes, [s * size / 320 for s in _MAX_SIZES])
        # Whole pixels, as published: 107 where 320 / 3 is 106.67.
        self.anchor_strides = _numbers("anchor_strides", anchor_strides, [round(size / side) for side in sides])

        channels = [*feature_channels(backbone, (16, 32)), *_EXTRA]
        self.extras = nn.ModuleList([_extra(*pair) for pair in pairwise(channels[1:])])
        self.class_heads = nn.ModuleList([_head(width, _PER_CELL * (num_classes + 1)) for width in channels])
        self.box_heads = nn.ModuleList([_head(width, _PER_CELL * 4) for width in channels])
        for part, std in ((self.extras, 0.03), (self.class_heads, 0.001), (self.box_heads, 0.001)):
            initialise(part, partial(nn.init.trunc_normal_, std=std))  # cut at +-2: a plain normal

    def network(self, batch: Tensor) -> Outputs:
        """Class logits ``B 6*(classes+1) H W``, background last, and box codes ``B 24 H W`` of the six levels."""
        maps = list(self.backbone(batch))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        logits = [head(x) for head, x in zip(self.class_heads, maps, strict=True)]
        codes = [head(x) for head, x in zip(self.box_heads, maps, strict=True)]
        return logits, codes

    @property
    def box_rule(self) -> BoxRule:
        """Softmax with the background last; six anchors per cell and level."""
        anchors = {
            "kind": "ssd",
            "min_sizes": self.min_sizes,
            "max_sizes": self.max_sizes,
            "strides": self.anchor_strides,
        }
        return BoxRule("softmax", SSD_STDS, anchors)

    def losses(
        self, images: Sequence[Tensor] | Tensor, targets: Targets, further: Further | None = None
    ) -> dict[str, Tensor]:
        """ "cls" and "box", both per positive anchor."""
        prepared = self.prepare(images)
        truth = self.truth(targets, prepared)
        if len(prepared.batch) == 1 and any(m.training for m in self.extras.modules() if isinstance(m, nn.BatchNorm2d)):
            raise UserError(
                "SSDLite trains on two pictures or more at a time: its last map is a single pixel, over which"
                " BatchNorm has nothing to average for one picture; raise the batch size, or drop the last, odd batch"
            )
        logits, codes = self.network(prepared.batch)
        anchors = torch.cat(self.anchors([(x.shape[2], x.shape[3]) for x in logits], prepared.batch.device))
        found = assign(anchors, truth.boxes, truth.valid, positive=0.5, negative=0.5, least=0.0, ties="first")
        found = spare(found, anchors, truth.ignored)

        labels = torch.where(
            found.positive, truth.labels.gather(1, found.index.clamp(min=0)), self.num_classes
        )  # fmt: skip
        scores = torch.cat([flatten_level(x, self.num_classes + 1) for x in logits], 1)
        where, wanted = box_targets(found, anchors, truth, SSD_STDS)
        given = full_precision(torch.cat([flatten_level(x, 4) for x in codes], 1)[where])
        count = normaliser(found)
        named = {
            "cls": mined_cross_entropy(scores, labels, self.num_classes, found.negative) / count,
            "box": F.smooth_l1_loss(given, wanted.to(given.dtype), reduction="sum") / count,
        }
        return named if further is None else named | further(logits, prepared.batch)


def _unit(in_channels: int, out_channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> ConvNormAct:
    unit = ConvNormAct(
        in_channels, out_channels, kernel, stride=stride, groups=groups, norm=True, act=nn.ReLU6
    )  # fmt: skip
    assert isinstance(unit.norm, nn.BatchNorm2d)
    unit.norm.eps, unit.norm.momentum = 1e-3, 0.03
    return unit


def _extra(in_channels: int, out_channels: int) -> nn.Sequential:
    """Half the size of a map."""
    middle = out_channels // 2
    return nn.Sequential(
        _unit(in_channels, middle), _unit(middle, middle, 3, stride=2, groups=middle), _unit(middle, out_channels)
    )


def _head(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(_unit(channels, channels, 3, groups=channels), Conv2d(channels, out_channels, 1))


def _numbers(name: str, values: Sequence[float] | None, default: Sequence[float]) -> tuple[float, ...]:
    """The values given, or the default's, as a tuple: as many as the default has, all positive."""
    values = tuple(default if values is None else values)
    if len(values) != len(default) or not all(isinstance(v, int | float) and v > 0 for v in values):
        raise UserError(f"{name} {values!r}: {len(default)} positive numbers are expected, such as {tuple(default)}")
    return values
