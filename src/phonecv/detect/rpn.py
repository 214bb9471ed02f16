"""Region proposals (Ren et al. 2015): where objects of any class may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from phonecv.dense.model import initialise
from phonecv.detect.assign import assign, spare
from phonecv.detect.base import Truth
from phonecv.detect.boxes import decode, encode
from phonecv.detect.postprocess import class_nms
from phonecv.detect.sampling import Sampling, sample
from phonecv.models.blocks import Conv2d, ConvNormAct

#: Overlap of two proposals of one level above which the weaker goes.
OVERLAP = 0.7


class ProposalHead(nn.Module):
    """Per anchor the logit of "an object" and four codes of its box; one set of weights for all levels."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        # The activation overwrites what the convolution wrote: on the finest map that is the largest tensor of all.
        self.shared = ConvNormAct(channels, channels, 3, bias=True, act=partial(nn.ReLU, inplace=True))
        self.objectness = Conv2d(channels, anchors, 1)
        self.box = Conv2d(channels, 4 * anchors, 1)
        initialise(self, partial(nn.init.normal_, std=0.01))

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps ``B C H W`` -> logits ``B A H W`` and codes ``B 4*A H W``, per level."""
        scores, codes = [], []
        for level in levels:
            x = self.shared(level)
            scores.append(self.objectness(x))
            codes.append(self.box(x))
        return scores, codes


@dataclass(frozen=True, slots=True)
class Proposals:
    """Boxes of a batch, in pixels of the prepared pictures.

    Attributes:
        boxes: ``B K 4``, best first, zeros where a picture has fewer than others.
        valid: ``B K``, bool: there is a box.
    """

    boxes: Tensor
    valid: Tensor


@torch.no_grad()
def propose(
    scores: Sequence[Tensor],
    codes: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes: Tensor,
    *,
    candidates: int,
    keep: int,
) -> Proposals:
    """The best boxes of each level, without near duplicates and without those that have no area.

    Args:
        scores: per level ``B N``, rising with the probability of an object.
        codes: per level ``B N 4``.
        anchors: per level ``N 4``.
        sizes: ``B 2``, height and width of the pictures, which boxes are cut to.
        candidates: boxes per level and picture before duplicates are dropped.
        keep: boxes per picture.
    """
    found, values, numbers = [], [], []
    for number, (score, code, anchor) in enumerate(zip(scores, codes, anchors, strict=True)):
        # Logits, not probabilities: those of sure objects all round to one, and their order would be arbitrary.
        best, place = score.topk(min(candidates, score.shape[1]), 1)
        code = code.gather(1, place[..., None].expand(-1, -1, 4))
        found.append(decode(anchor.to(code.dtype)[place], code, clip=sizes[:, None]))
        values.append(best)
        numbers.append(torch.full_like(place[0], number))
    boxes, value, level = torch.cat(found, 1), torch.cat(values, 1), torch.cat(numbers)
    # A box of infinite or missing numbers fails this comparison too.
    real = (boxes[..., 2:] > boxes[..., :2]).all(-1)
    kept = []
    # Picture by picture: suppression compares every box with every other, and numbers of survivors differ.
    for box, score, there in zip(boxes, value, real, strict=True):
        box, score = box[there], score[there]
        kept.append(box[class_nms(box, score, level[there], OVERLAP)[:keep]])
    valid = [torch.ones(len(box), dtype=torch.bool, device=box.device) for box in kept]
    return Proposals(pad_sequence(kept, batch_first=True), pad_sequence(valid, batch_first=True))


def proposal_losses(
    scores: Tensor,
    codes: Tensor,
    anchors: Tensor,
    truth: Truth,
    sampling: Sampling,
    usable: Tensor | None = None,
) -> dict[str, Tensor]:
    """Binary cross entropy of sampled anchors, and L1 distance of the positive ones' codes.

    Args:
        scores: ``B N``, logits.
        codes: ``B N 4``.
        anchors: ``N 4``.
        truth: the objects.
        sampling: of each picture's anchors.
        usable: ``B N``, bool, see `phonecv.detect.anchors.usable_anchors`.
    """
    assigned = assign(anchors, truth.boxes, truth.valid, positive=0.7, negative=0.3, least=0.3, usable=usable)
    assigned = spare(assigned, anchors, truth.ignored)
    chosen = sample(assigned, sampling)
    # As published: a picture without positives (or negatives) counts one all the same.
    counts = torch.stack([chosen.positive.sum(1), chosen.negative.sum(1)])
    normaliser = counts.clamp(min=1).sum()

    logits = scores.gather(1, chosen.place)
    losses = F.binary_cross_entropy_with_logits(logits, chosen.positive.to(logits.dtype), reduction="none")
    picture, slot = chosen.positive.nonzero(as_tuple=True)
    place = chosen.place[picture, slot]
    objects = truth.boxes[picture, assigned.index[picture, place]]
    goals = encode(anchors[place], objects).to(codes.dtype)
    return {
        "rpn_cls": losses[chosen.filled].sum() / normaliser,
        "rpn_box": F.l1_loss(codes[picture, place], goals, reduction="sum") / normaliser,
    }
