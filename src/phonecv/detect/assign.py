"""Which anchor answers for which object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from phonecv.detect.boxes import area, common, pairwise_iou
from phonecv.errors import UserError

NEGATIVE = -1
IGNORED = -2

#: Pairs of objects and anchors that are compared at a time; more are taken in groups of pictures. At 4 bytes a pair
#: and some six intermediate results this keeps the peak below a gigabyte.
_PAIRS = 2**25


@dataclass(frozen=True, slots=True)
class Assigned:
    """What each anchor stands for.

    Attributes:
        index: ``B N``, int64: number of its object in the padded list, `NEGATIVE` or `IGNORED`.
    """

    index: Tensor

    @property
    def positive(self) -> Tensor:
        """``B N``, bool: the anchor stands for an object."""
        return self.index >= 0

    @property
    def negative(self) -> Tensor:
        """``B N``, bool: the anchor stands for background."""
        return self.index == NEGATIVE


def assign(
    anchors: Tensor,
    boxes: Tensor,
    valid: Tensor,
    *,
    positive: float,
    negative: float,
    least: float,
    ties: Literal["all", "first"] = "all",
    usable: Tensor | None = None,
) -> Assigned:
    """Match anchors with objects by intersection over union.

    An anchor takes the object it overlaps most if that is at least `positive`, is background below `negative` and
    ignored in between. Then every object takes the anchor (or anchors) it overlaps most, even below `positive`, if
    that is at least `least`; where two objects want the same anchor, the later one gets it. An object that overlaps
    no anchor at all takes none.

    Args:
        anchors: ``N 4``, or ``B N 4``.
        boxes: ``B G 4``, padded.
        valid: ``B G``, bool: the object is there and has a box with area.
        positive: least overlap of a positive anchor.
        negative: overlap below which an anchor is background.
        least: overlap from which an object's best anchor is taken.
        ties: whether an object takes all anchors it overlaps equally well, or the first.
        usable: ``B N``, bool: other anchors are ignored, whatever they overlap.
    """
    B, G = valid.shape
    N = anchors.shape[-2]
    if G == 0 or N == 0:
        index = torch.full((B, N), NEGATIVE, device=boxes.device)
        return Assigned(index if usable is None else index.masked_fill_(~usable, IGNORED))
    group = max(1, _PAIRS // (G * N))
    parts = []
    for start in range(0, B, group):
        chosen = slice(start, start + group)
        there = valid[chosen]
        own = anchors if anchors.ndim == 2 else anchors[chosen]
        overlap = pairwise_iou(boxes[chosen], own.to(boxes.dtype))  # B G N
        overlap.masked_fill_(~there[:, :, None], -1.0)
        if usable is not None:
            overlap.masked_fill_(~usable[chosen, None], -1.0)

        most, index = overlap.max(1)  # B N; the first of several objects it overlaps equally
        index = torch.where(most >= positive, index, torch.where(most < negative, NEGATIVE, IGNORED))

        best, place = overlap.max(2)  # B G; the first anchor likewise
        wanted = there & (best >= least) & (best > 0)
        if ties == "first":
            number = torch.where(wanted, torch.arange(G, device=boxes.device), -1)
            claim = torch.full_like(index, -1).scatter_reduce_(1, place, number, "amax")
        else:
            number = torch.arange(G, device=boxes.device, dtype=torch.int16)[None, :, None]
            # An impossible overlap stands for "wants none", so that one comparison decides.
            best = best.masked_fill(~wanted, 2.0)
            claim = torch.where(overlap == best[:, :, None], number, -1).amax(1).long()
        index = torch.where(claim >= 0, claim, index)
        parts.append(index if usable is None else index.masked_fill_(~usable[chosen], IGNORED))
    return Assigned(parts[0] if len(parts) == 1 else torch.cat(parts))


def spare(found: Assigned, anchors: Tensor, ignored: Sequence[Tensor]) -> Assigned:
    """The same with background that lies by half or more in a box to be ignored ignored, too.

    Args:
        found: of the batch.
        anchors: ``N 4``, or ``B N 4``.
        ignored: of each picture the boxes, ``I 4``; empty where nothing is.
    """
    index = found.index
    for number, boxes in enumerate(ignored):
        if not len(boxes):
            continue
        own = (anchors if anchors.ndim == 2 else anchors[number]).to(boxes.dtype)
        inside = (area(common(own, boxes[:, None])) >= 0.5 * area(own)).any(0)  # I N -> N
        index = index.index_put(
            (torch.tensor(number, device=index.device),),
            torch.where(inside & (index[number] == NEGATIVE), IGNORED, index[number]),
        )
    return Assigned(index)


def pad_targets(
    targets: Sequence[Mapping[str, Tensor]], device: torch.device | str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Objects of a batch as three tensors, ``B G 4`` (float32), ``B G`` (int64) and ``B G`` (bool: usable).

    Crowds and ignored ones are marked unusable, and so are boxes without area or with a coordinate that is no number:
    those are a data set's mistakes, and none may stop a training. G is at least 1.

    Args:
        targets: per picture "boxes" ``N 4``, "labels" ``N`` and perhaps "crowd" ``N`` and "ignored" ``N``.
        device: of the result; None for that of the boxes.

    Raises:
        UserError: a target without boxes or labels, or of other shapes.
    """
    if not targets:
        raise UserError("no targets were given; each picture needs a dict with 'boxes' and 'labels'")
    boxes, labels, real = [], [], []
    for number, target in enumerate(targets):
        missing = [key for key in ("boxes", "labels") if key not in target]
        if missing:
            raise UserError(
                f"target {number} has no {' and no '.join(missing)}; it has {', '.join(target) or 'nothing'}"
            )
        box, label = target["boxes"], target["labels"]
        if box.numel() == 0:
            box = box.reshape(0, 4)
        if box.ndim != 2 or box.shape[1] != 4 or label.shape != box.shape[:1]:
            raise UserError(
                f"target {number} has boxes of shape {tuple(box.shape)} and labels of shape {tuple(label.shape)};"
                " N x 4 and N are expected"
            )
        boxes.append(box.to(device, torch.float32))
        labels.append(label.to(device, torch.int64))
        usable = torch.ones_like(labels[-1], dtype=torch.bool)
        for name in ("crowd", "ignored"):
            if name in target:
                usable = usable & ~target[name].to(device, torch.bool)
        real.append(usable)
    if not any(len(label) for label in labels):  # one row of nothing spares everybody the empty case
        boxes[0], labels[0], real[0] = boxes[0].new_zeros(1, 4), labels[0].new_zeros(1), real[0].new_zeros(1)
    box, label, valid = (pad_sequence(parts, batch_first=True) for parts in (boxes, labels, real))
    valid = valid & box.isfinite().all(-1) & (box[..., 2:] > box[..., :2]).all(-1)
    return box.masked_fill(~valid[..., None], 0.0), label, valid
