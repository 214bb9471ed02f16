"""Mask R-CNN as one graph: both stages with a fixed number of places for proposals and for objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torchvision
from torch import Tensor

from phonecv.detect.base import flatten_level, full_precision
from phonecv.detect.boxes import SSD_STDS, UNIT_STDS, decode
from phonecv.detect.exporting_boxes import Choosing, best_pairs, cut, survivors, take
from phonecv.detect.roi import level_of
from phonecv.detect.roi_heads import BOX_BINS, MASK_BINS
from phonecv.detect.rpn import OVERLAP

if TYPE_CHECKING:
    from phonecv.detect.mask_rcnn import MaskRCNN

#: Pixels of the maps that boxes are pooled from, finest first.
_STRIDES = (4, 8, 16, 32)

#: A box beside the map, in its cells, for boxes that a level is not to read. Not an empty box: PyTorch and ONNX Runtime
#: make zeros of those, but OpenVINO NaN (a mean over no samples), which multiplying by zero does not take away.
_AWAY = (-4.0, -4.0, -3.0, -3.0)

#: Stands for "no proposal" among logits; half precision holds it, too.
_NONE = -1e4


class FinalMasks(Choosing):
    """Boxes and the masks within them.

    Where the detector in PyTorch considers every pair of proposal and class above the threshold, this considers the
    best so many (`candidates`).
    """

    def __init__(self, network: MaskRCNN, sizes: Sequence[tuple[int, int]]) -> None:
        super().__init__(network)
        self.network = network
        for number, level in enumerate(network.make_anchors(sizes)):
            self.register_buffer(f"anchors{number}", level, persistent=False)

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> boxes ``B M 4``, scores ``B M``, labels ``B M``, count ``B``, masks ``B M 28 28``, 0..1."""
        levels, boxes, value, label = self._found(batch, self.candidates)
        boxes, value, label, found = self.chosen(boxes, value, label)
        return boxes, value, label, found, self._masks(levels, boxes, label)

    def offered(self, batch: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """What suppression chooses from, best first: boxes ``B K 4``, scores and labels ``B K``, K at most `most`."""
        _, boxes, value, label = self._found(batch, most)
        return boxes, value, label

    def masks(self, batch: Tensor, boxes: Tensor, label: Tensor) -> Tensor:
        """The masks ``B M 28 28`` of boxes ``B M 4`` with labels ``B M``; zeros where the label is -1."""
        return self._masks(self.network.network(batch)[0], boxes, label)

    def _found(self, batch: Tensor, most: int) -> tuple[Sequence[Tensor], Tensor, Tensor, Tensor]:
        """Maps that boxes are read from, then boxes, scores and labels as `offered` gives them."""
        net = self.network
        levels, scores, codes = net.network(batch)
        height, width = batch.shape[2], batch.shape[3]
        proposals, there = self._propose(scores, codes, height, width)
        logits, box_codes = net.box_head(_pool(levels, proposals, BOX_BINS))
        count = proposals.shape[1]
        shares = full_precision(logits).softmax(1)[:, :-1].reshape(-1, count, net.num_classes)
        value, row, label = best_pairs(shares * there[..., None].to(shares.dtype), most)
        own = full_precision(box_codes).reshape(-1, count * net.num_classes, 4)
        boxes = decode(take(proposals, row), take(own, row * net.num_classes + label), SSD_STDS)
        return levels, cut(boxes, height, width), value, label

    def _masks(self, levels: Sequence[Tensor], boxes: Tensor, label: Tensor) -> Tensor:
        masks = self.network.mask_head(_pool(levels, boxes, MASK_BINS))  # B*M classes 28 28
        side = masks.shape[-1]
        index = label.long().clamp(min=0).reshape(-1, 1, 1, 1).expand(-1, 1, side, side)
        masks = full_precision(masks.gather(1, index)).sigmoid().reshape(-1, boxes.shape[1], side, side)
        return masks * (label >= 0)[..., None, None].to(masks.dtype)

    def _propose(
        self, scores: Sequence[Tensor], codes: Sequence[Tensor], height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Boxes ``B P 4``, best first, and whether there is one, ``B P``."""
        net = self.network
        found, values = [], []
        for number, (score, code) in enumerate(zip(scores, codes, strict=True)):
            anchor = self.get_buffer(f"anchors{number}")
            score = full_precision(flatten_level(score, 1))[..., 0]
            code = full_precision(flatten_level(code, 4))
            best, place = score.topk(min(net.candidates, score.shape[1]), 1)
            boxes = cut(decode(anchor.to(code.dtype)[place], take(code, place), UNIT_STDS), height, width)
            kept = survivors(boxes, best > _NONE, OVERLAP)
            found.append(boxes)
            values.append(torch.where(kept, best, _NONE))
        boxes, value = torch.cat(found, 1), torch.cat(values, 1)
        value, place = value.topk(min(net.proposals, value.shape[1]), 1)
        there = value > _NONE
        return take(boxes, place) * there[..., None].to(boxes.dtype), there


def _pool(levels: Sequence[Tensor], boxes: Tensor, size: int) -> Tensor:
    """Features of boxes ``B P 4``: ``B*P C size size``, as `phonecv.detect.roi.pool` reads them; zeros for empty boxes.

    Every level reads every box, so that no number of boxes per level has to be known; for boxes of other levels it
    reads `_AWAY`, one sample per bin, and what it finds there does not count.
    """
    pictures = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)
    picture = pictures[:, None].expand(-1, boxes.shape[1]).reshape(-1, 1)
    flat = boxes.reshape(-1, 4)
    number = level_of(flat, len(levels))[:, None]
    real = ((flat[:, 2] > flat[:, 0]) & (flat[:, 3] > flat[:, 1]))[:, None]
    parts = []
    for place, (level, stride) in enumerate(zip(levels, _STRIDES, strict=True)):
        mine = (number == place) & real
        rois = torch.cat([picture, torch.where(mine, flat, flat.new_tensor(_AWAY) * stride)], 1)
        pooled = torchvision.ops.roi_align(full_precision(level), rois, size, 1 / stride, 0, aligned=True)
        parts.append(pooled * mine.to(pooled.dtype)[..., None, None])
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total.to(levels[0].dtype)
