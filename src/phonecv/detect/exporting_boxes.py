"""Detectors of one stage as graphs of plain operators: every shape is fixed, and pictures of a batch stay apart.

`torchvision.ops.nms` finds as many boxes as there are, one picture at a time; few formats have such an operator, and
none of them takes a free batch. Here suppression is a matrix of overlaps and a few products with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.detect.base import flatten_level, full_precision
from phonecv.detect.boxes import decode

if TYPE_CHECKING:
    from phonecv.dense.model import DenseModel

#: Boxes that are suppressed together, which bounds the matrix of overlaps, and the rounds that this takes. After n
#: rounds all is decided that hangs on chains of n boxes, each of which decides on the next: box 1 drops 2, so that 3,
#: which overlaps 2 alone, stays, and so on. Longer chains within a block may end with a box too many or too few.
BLOCK, ROUNDS = 256, 16

#: When areas are compared, boxes are measured by 256 pixels: half precision ends at the area of 256 x 256 of them. A
#: power of two changes nothing in float32.
_UNIT = 2.0**-8

#: Stands for "no box" among logits and scores; half precision holds it, too.
_NONE = -1e4


class RawBoxes(nn.Module):
    """What the heads say of every anchor, all levels in one row."""

    def __init__(self, network: DenseModel) -> None:
        super().__init__()
        self.network: Any = network
        rule: Any = self.network.box_rule
        self.values = network.num_classes + (rule.activation == "softmax")

    def levels(self, batch: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Class logits ``B N values``, box codes ``B N 4``, and the sizes of the maps."""
        logits, codes = self.network.network(batch)
        return (
            torch.cat([flatten_level(level, self.values) for level in logits], 1),
            torch.cat([flatten_level(level, 4) for level in codes], 1),
            [(level.shape[2], level.shape[3]) for level in codes],
        )

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B N values``, ``B N 4``."""
        logits, codes, _ = self.levels(batch)
        return logits, codes


class DecodedBoxes(RawBoxes):
    """Scores and boxes of every anchor of a detector with a `box_rule`.

    Sizes of its maps are None where they are known only when the file runs.
    """

    anchors: Tensor | None

    def __init__(self, network: DenseModel, sizes: Sequence[tuple[int, int]] | None) -> None:
        super().__init__(network)
        anchors = None if sizes is None else torch.cat(self.network.make_anchors(sizes))
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B N classes``, ``B N 4``."""
        logits, codes, sizes = self.levels(batch)
        anchors = torch.cat(self.network.make_anchors(sizes)) if self.anchors is None else self.anchors
        rule = self.network.box_rule
        codes = full_precision(codes)
        boxes = decode(anchors.to(codes.dtype), codes, rule.stds)
        return rule.scores(full_precision(logits)), cut(boxes, batch.shape[2], batch.shape[3])


class Choosing(nn.Module):
    """A graph that ends with suppression, by the rules of a detector."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.threshold, self.overlap = network.score_threshold, network.nms_overlap
        self.candidates, self.keep = network.candidates, network.max_detections
        self.agnostic = network.class_agnostic

    def chosen(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What suppression leaves of boxes ``B K 4``, best first, with their scores and labels ``B K``."""
        return final(
            boxes,
            scores,
            labels,
            threshold=self.threshold,
            overlap=self.overlap,
            keep=self.keep,
            agnostic=self.agnostic,
        )


class FinalBoxes(Choosing):
    """The boxes that are shown."""

    def __init__(self, boxes: DecodedBoxes) -> None:
        super().__init__(boxes.network)
        self.boxes = boxes

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> boxes ``B M 4``, scores ``B M``, labels ``B M``, count ``B``."""
        return self.chosen(*self.offered(batch, self.candidates))

    def offered(self, batch: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """What suppression chooses from, best first: boxes ``B K 4``, scores and labels ``B K``, K at most `most`."""
        scores, boxes = self.boxes(batch)
        if self.boxes.anchors is None:
            # A small picture may have fewer pairs than there are places, of which a file has a fixed number.
            rows = -(-most // scores.shape[2])
            scores = F.pad(scores, (0, 0, 0, rows), value=_NONE)
            boxes = F.pad(boxes, (0, 0, 0, rows))
        value, anchor, label = best_pairs(scores, most)
        return take(boxes, anchor), value, label


class ShareBoxes(FinalBoxes):
    """The same as MediaPipe reads it: corners as shares of the input's sides, all numbers in floating point."""

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> boxes ``B M 4``, scores ``B M``, labels ``B M``, count ``B``."""
        boxes, scores, labels, count = self.chosen(*super().offered(batch, self.candidates))
        return _shares(boxes, batch), scores, labels.float(), count.float()

    def offered(self, batch: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `FinalBoxes.offered`, in shares."""
        boxes, value, label = super().offered(batch, most)
        return _shares(boxes, batch), value, label


def _shares(boxes: Tensor, batch: Tensor) -> Tensor:
    """Boxes ``... 4`` in pixels of pictures ``B 3 H W`` as shares of their sides."""
    height, width = batch.shape[2:]
    return boxes * boxes.new_tensor((1 / width, 1 / height, 1 / width, 1 / height))


def best_pairs(scores: Tensor, candidates: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best pairs of a row and a class, ``B N C`` -> score, row and class, ``B K`` each; best first."""
    classes = scores.shape[2]
    flat = scores.flatten(1)
    value, place = flat.topk(_at_most(candidates, flat.shape[1]), 1)
    row = place // classes
    return value, row, place - row * classes


def take(rows: Tensor, index: Tensor) -> Tensor:
    """``B N D`` at ``B K`` -> ``B K D``."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def cut(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes ``... 4`` cut to the picture."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([_within(x1, width), _within(y1, height), _within(x2, width), _within(y2, height)], -1)


def final(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    threshold: float,
    overlap: float,
    keep: int,
    agnostic: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Suppression, and the best that are left.

    Args:
        boxes: ``B K 4``, best first.
        scores: ``B K``.
        labels: ``B K``.
        threshold: scores above it count.
        overlap: intersection over union above which the weaker of two boxes of a class goes.
        keep: boxes per picture.
        agnostic: whether boxes of different classes suppress each other, too.

    Returns:
        Boxes ``B M 4``, scores ``B M``, labels ``B M`` (int32, -1 for none), and how many there are, ``B`` (int32).
    """
    kept = survivors(boxes, scores > threshold, overlap, None if agnostic else labels)
    value, place = torch.where(kept, scores, _NONE).topk(_at_most(keep, scores.shape[1]), 1)
    there = value > threshold
    label = torch.where(there, labels.gather(1, place), -1).to(torch.int32)
    return (
        take(boxes, place) * there[..., None].to(boxes.dtype),
        value * there.to(value.dtype),
        label,
        there.to(torch.int32).sum(1, dtype=torch.int32),
    )


def survivors(boxes: Tensor, there: Tensor, overlap: float, labels: Tensor | None = None) -> Tensor:
    """Which boxes non-maximum suppression leaves, ``B K`` bool.

    A box stays unless a better one that stays overlaps it. Within a block of boxes that is taken as an equation and
    applied again and again, starting from all of them, which settles from the best box on. Blocks follow each other.

    Args:
        boxes: ``B K 4``, best first; those without area go.
        there: ``B K``, bool: which to consider.
        overlap: intersection over union above which the weaker of two goes.
        labels: ``B K``; boxes of different ones leave each other alone.
    """
    count = boxes.shape[1]
    there = there & (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    boxes = boxes * _UNIT
    kept: list[Tensor] = []
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        drops = _overlapping(boxes[:, :stop], boxes[:, start:stop], overlap)  # B stop block: row drops column
        if labels is not None:
            drops = drops & (labels[:, :stop, None] == labels[:, None, start:stop])
        dropping = drops.to(boxes.dtype)
        # Rows of 0 and 1, ``B 1 K``: less what drops them, and not below zero, is "and not". Few operators, since all
        # are repeated; `bmm` is one where `@` would be four in a graph with a free batch size.
        left = there[:, None, start:stop].to(boxes.dtype)
        if kept:
            left = (left - torch.bmm(torch.cat(kept, 2), dropping[:, :start])).relu()
        rank = torch.arange(stop - start, device=boxes.device)
        within = dropping[:, start:] * (rank[:, None] < rank[None, :]).to(boxes.dtype)
        block = left
        for _ in range(ROUNDS):
            block = (left - torch.bmm(block, within)).relu()
        kept.append(block)
    return torch.cat(kept, 2)[:, 0] > 0.5


def _overlapping(boxes: Tensor, others: Tensor, overlap: float) -> Tensor:
    """Pairs whose intersection over union is above a limit, ``B K 4``, ``B L 4`` -> ``B K L`` bool."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(-1)
    u1, v1, u2, v2 = others[:, None].unbind(-1)
    width = (torch.minimum(x2, u2) - torch.maximum(x1, u1)).clamp(min=0)
    height = (torch.minimum(y2, v2) - torch.maximum(y1, v1)).clamp(min=0)
    shared = width * height
    # Without the division: boxes without area are out of the game already.
    return shared > overlap * ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)


def _within(x: Tensor, limit: int) -> Tensor:
    if isinstance(limit, int):
        return x.clamp(0, limit)
    return torch.minimum(x.clamp(min=0), torch.full((), limit, dtype=x.dtype, device=x.device))  # a free size


def _at_most(count: int, available: int) -> int:
    # A free number of anchors is a symbol, of which nothing may be decided; it is far above the count.
    return min(count, available) if isinstance(available, int) else count
