"""RetinaNet (Lin et al. 2017) as EMO and EMOv2 publish it.

A feature pyramid of five levels (strides 8 to 128) over the backbone's last three maps, and one head for all levels:
two towers of four convolutions without norms. The two coarsest levels come from the backbone's last map by two
convolutions without an activation between them, unlike torchvision's; anchors keep the nominal strides and exact sizes,
again unlike torchvision's; the loss is normalised over the batch, not per picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from phonecv.dense.backbone import feature_channels
from phonecv.dense.fpn import FPN
from phonecv.dense.model import Further, initialise
from phonecv.detect.anchors import usable_anchors
from phonecv.detect.assign import assign, spare
from phonecv.detect.base import BoxRule, Targets, flatten_level, full_precision
from phonecv.detect.boxes import UNIT_STDS
from phonecv.detect.losses import box_targets, focal_sum, normaliser
from phonecv.detect.one_stage import OneStage, Outputs
from phonecv.errors import UserError
from phonecv.models.blocks import Conv2d, ConvNormAct
from phonecv.preprocessing import COARSEST_STRIDE, DensePreprocessing

_STRIDES = (8, 16, 32, 64, 128)
#: Sizes of the anchors in strides, and their height / width.
_SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))
_RATIOS = (0.5, 1.0, 2.0)
_PER_CELL = len(_SCALES) * len(_RATIOS)
#: First score of every class: almost all anchors are background.
_PRIOR = 0.01


class RetinaNet(OneStage):
    """The detector; pictures keep their aspect.

    Args:
        architecture: its name.
        backbone: with maps at strides 8, 16 and 32.
        num_classes: without background.
        size: length of the short side, pixels.
        longest: most of the long side; None stretches pictures to a square of `size`.
        channels: of the pyramid and of the towers.
    """

    def __init__(
        self,
        architecture: str,
        backbone: nn.Module,
        num_classes: int,
        *,
        size: int = 800,
        longest: int | None = 1333,
        channels: int = 256,
    ) -> None:
        preprocessing = DensePreprocessing(size=size, longest=longest, multiple=COARSEST_STRIDE)
        super().__init__(architecture, backbone, num_classes, preprocessing)
        if not (isinstance(channels, int) and channels >= 1):
            raise UserError(f"channels {channels!r} is not a whole number >= 1; published are 256")
        self.neck = FPN(feature_channels(backbone, (8, 16, 32)), channels, extra="p6p7")
        self.class_tower, self.box_tower = _tower(channels), _tower(channels)
        self.class_head = Conv2d(channels, _PER_CELL * num_classes, 3, padding=1)
        self.box_head = Conv2d(channels, _PER_CELL * 4, 3, padding=1)
        # 0.01 at the published width; narrower towers would hardly pass anything on with it.
        std = 0.01 * (256 / channels) ** 0.5
        for part in (self.class_tower, self.box_tower, self.class_head, self.box_head):
            initialise(part, partial(nn.init.normal_, std=std))
        assert self.class_head.bias is not None
        nn.init.constant_(self.class_head.bias, -math.log(1 / _PRIOR - 1))

    def network(self, batch: Tensor) -> Outputs:
        """Class logits ``B 9*classes H W`` and box codes ``B 36 H W`` of the five levels."""
        levels = self.neck(self.backbone(batch))
        logits = [self.class_head(self.class_tower(x)) for x in levels]
        codes = [self.box_head(self.box_tower(x)) for x in levels]
        return logits, codes

    @property
    def box_rule(self) -> BoxRule:
        """A sigmoid per class; nine anchors per cell and level."""
        anchors = {"kind": "grid", "strides": _STRIDES, "scales": _SCALES, "ratios": _RATIOS}
        return BoxRule("sigmoid", UNIT_STDS, anchors)

    def losses(
        self, images: Sequence[Tensor] | Tensor, targets: Targets, further: Further | None = None
    ) -> dict[str, Tensor]:
        """ "cls" and "box", both per positive anchor."""
        prepared = self.prepare(images)
        truth = self.truth(targets, prepared)
        logits, codes = self.network(prepared.batch)
        sizes = [(x.shape[2], x.shape[3]) for x in logits]
        anchors = torch.cat(self.anchors(sizes, prepared.batch.device))
        usable = usable_anchors(
            sizes,
            pictures=prepared.padded(self.preprocessing.multiple),
            strides=_STRIDES,
            per_cell=_PER_CELL,
            device=anchors.device,
        )
        found = assign(anchors, truth.boxes, truth.valid, positive=0.5, negative=0.4, least=0.0, usable=usable)
        found = spare(found, anchors, truth.ignored)

        parts = found.index.split([height * width * _PER_CELL for height, width in sizes], 1)
        focal = [
            focal_sum(level, part, truth.labels, classes=self.num_classes)
            for level, part in zip(logits, parts, strict=True)
        ]
        where, wanted = box_targets(found, anchors, truth, UNIT_STDS)
        given = full_precision(torch.cat([flatten_level(x, 4) for x in codes], 1)[where])
        count = normaliser(found)
        named = {"cls": torch.stack(focal).sum() / count, "box": (given - wanted).abs().sum() / count}
        return named if further is None else named | further(logits, prepared.batch)


def _tower(channels: int) -> nn.Sequential:
    return nn.Sequential(*[ConvNormAct(channels, channels, 3, bias=True, act=nn.ReLU) for _ in range(4)])
