"""Losses of one-stage detectors, as sums; who calls them divides by `normaliser`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from phonecv.detect.assign import IGNORED, Assigned
from phonecv.detect.base import Truth, full_precision
from phonecv.detect.boxes import encode


def normaliser(found: Assigned) -> Tensor:
    """Positive anchors of the batch, where a picture without any counts as one."""
    return found.positive.sum(1).clamp(min=1).sum()


def box_targets(
    found: Assigned, anchors: Tensor, truth: Truth, stds: Sequence[float]
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Where boxes are learnt, and what.

    Args:
        found: of the batch.
        anchors: ``N 4`` of all levels.
        truth: the objects.
        stds: of the box code.

    Returns:
        Picture and anchor of every positive, ``P`` each, and the codes of their objects, ``P 4``.
    """
    image, place = found.positive.nonzero(as_tuple=True)
    return (image, place), encode(anchors[place], truth.boxes[image, found.index[image, place]], stds)


def mined_cross_entropy(
    scores: Tensor, labels: Tensor, background: int, negative: Tensor | None = None, *, ratio: int = 3
) -> Tensor:
    """Cross entropy over the positives and, in each picture, `ratio` times as many of its hardest negatives.

    A picture without positives adds nothing, as in the published systems.

    Args:
        scores: ``B N classes``, background among them.
        labels: ``B N``, int64.
        background: its label.
        negative: ``B N``, bool: anchors that stand for background; None for all that stand for no object.
        ratio: negatives per positive.
    """
    positive = labels != background
    negative = ~positive if negative is None else negative
    allowed = ratio * positive.sum(1)
    # Which negatives are hard needs no gradient, so only the chosen few go through the differentiable loss.
    with torch.no_grad():
        loss = full_precision(scores).logsumexp(-1) - scores[..., background]
        most = min(int(allowed.max()), loss.shape[1])
        order = loss.masked_fill(~negative, -torch.inf).topk(most, 1)
        # Written so that NaN counts as hard: the loss must show it.
        within = (torch.arange(most, device=loss.device) < allowed[:, None]) & ~(order.values == -torch.inf)
        chosen = positive.scatter(1, order.indices, within | positive.gather(1, order.indices))
    return F.cross_entropy(full_precision(scores[chosen]), labels[chosen], reduction="sum")


def focal_sum(logits: Tensor, index: Tensor, labels: Tensor, *, classes: int, alpha: float = 0.25) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017) of one level with gamma 2, summed over anchors and classes.

    Args:
        logits: ``B A*classes H W``, as the convolution gives them.
        index: ``B H*W*A``, what each anchor stands for, as in `Assigned`.
        labels: ``B G``, classes of the objects.
        classes: how many there are.
        alpha: weight of positives; negatives have 1 - alpha.
    """
    height, width = logits.shape[-2:]
    index = index.unflatten(1, (height, width, -1))  # B H W A
    image, y, x, anchor = (index >= 0).nonzero(as_tuple=True)
    channel = anchor * classes + labels[image, index[image, y, x, anchor]]
    ignored = (index == IGNORED).permute(0, 3, 1, 2)[:, :, None]  # B A 1 H W
    result: Tensor = _FocalSum.apply(logits, ignored, (image, channel, y, x), alpha)
    return result


class _FocalSum(torch.autograd.Function):
    """The gradient is computed along with the loss, and it alone is kept: one tensor of the logits' size.

    Plain operations would keep some eight of them, and a head has 16 million logits per picture of 800 x 1344. Almost
    all are negatives, so all are computed as such and the few positives are put right afterwards.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ignored: Tensor, positives: tuple[Tensor, ...], alpha: float) -> Tensor:
        x = full_precision(logits.detach())
        loss, slope = _negative(x)
        # Without `if any`, which would make a GPU wait.
        shape = (x.shape[0], ignored.shape[1], -1, *x.shape[2:])
        loss.view(shape).masked_fill_(ignored, 0.0)
        slope.view(shape).masked_fill_(ignored, 0.0)
        few = x[positives]
        few_loss, few_slope = _negative(-few)
        loss.index_put_(positives, few_loss * (alpha / (1 - alpha)))
        slope.index_put_(positives, few_slope * (-alpha / (1 - alpha)))
        ctx.save_for_backward(slope.mul_(1 - alpha).to(logits.dtype))
        return loss.sum() * (1 - alpha)

    @staticmethod
    @once_differentiable
    # pyrefly: ignore[bad-override]
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * grad_outputs[0].to(slope.dtype), None, None, None


def _negative(x: Tensor) -> tuple[Tensor, Tensor]:
    """``p^2 * -log(1 - p)`` with p the sigmoid of x, and its derivative; a positive's are those of -x."""
    p = x.sigmoid()
    square = p * p
    loss = F.softplus(x).mul_(square)
    slope = square.mul_(p).add_((1 - p).mul_(loss), alpha=2.0)
    return loss, slope
