"""Detectors of one stage: every anchor gets scores and a box, and the best of them are the objects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from phonecv.dense.inputs import Prepared
from phonecv.detect.anchors import anchors_by_rule
from phonecv.detect.base import BoxRule, Detector, flatten_level, full_precision
from phonecv.detect.postprocess import Found, dense_detections

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
        """Predictions from what `network` returned."""
        logits, codes = outputs
        rule = self.box_rule
        values = self.num_classes + (rule.activation == "softmax")
        scores = [full_precision(flatten_level(x, values)) for x in logits]
        sigmoid = rule.activation == "sigmoid"  # spared for most of them
        return dense_detections(
            scores if sigmoid else [rule.scores(x) for x in scores],
            [full_precision(flatten_level(x, 4)) for x in codes],
            self.anchors([(x.shape[2], x.shape[3]) for x in logits], logits[0].device),
            prepared,
            threshold=self.score_threshold,
            candidates=self.candidates,
            overlap=self.nms_overlap,
            keep=self.max_detections,
            stds=rule.stds,
            logits=sigmoid,
            agnostic=self.class_agnostic,
        )
