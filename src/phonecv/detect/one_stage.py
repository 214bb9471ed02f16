"""Detectors of one stage: every anchor gets scores and a box, and the best of them are the objects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from phonecv.dense.inputs import Prepared
from phonecv.detect.anchors import anchors_by_rule
from phonecv.detect.base import BoxRule, Detector, flatten_level, full_precision
from phonecv.detect.boxes import decode
from phonecv.detect.postprocess import Found, best_pairs, suppressed

#: By level class logits ``B A*values H W`` and box codes ``B A*4 H W``; a value for each class, perhaps one more.
Outputs = tuple[list[Tensor], list[Tensor]]


class OneStage(Detector):
    """A backbone with heads that look at every anchor of every level."""

    @property
    @abstractmethod
    def box_rule(self) -> BoxRule:
        """How outputs become scores and boxes."""

    def make_anchors(self, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Those of `box_rule`."""
        return anchors_by_rule(sizes, self.box_rule.anchors)

    def postprocess(self, outputs: Outputs, prepared: Prepared) -> list[Found]:
        """Predictions from what `network` returned.

        Pairs of an anchor and a class above the threshold; of these the best per level; decoded and cut to the picture;
        those without area dropped; non-maximum suppression within each class.
        """
        rule, bar = self.box_rule, self.score_threshold
        values = self.num_classes + (rule.activation == "softmax")
        sigmoid = rule.activation == "sigmoid"  # spared for most of them
        if sigmoid:
            bar = torch.logit(torch.tensor(bar, dtype=torch.float64)).item()
        anchors = self.anchors([(x.shape[2], x.shape[3]) for x in outputs[0]], outputs[0][0].device)
        found = []
        for level, code, anchor in zip(*outputs, anchors, strict=True):
            score, code = full_precision(flatten_level(level, values)), full_precision(flatten_level(code, 4))
            image, place, label, value = best_pairs(score if sigmoid else rule.scores(score), bar, self.candidates)
            found.append((image, anchor[place], code[image, place], label, value))
        image, anchor, code, label, value = (torch.cat(parts) for parts in zip(*found, strict=True))
        sizes = torch.tensor(prepared.sizes, device=image.device)
        return suppressed(
            decode(anchor.to(code.dtype), code, rule.stds, clip=sizes[image]),
            value.sigmoid() if sigmoid else value,
            label,
            image,
            prepared.scales,
            overlap=self.nms_overlap,
            keep=self.max_detections,
            agnostic=self.class_agnostic,
        )
