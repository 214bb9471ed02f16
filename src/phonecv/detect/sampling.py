"""A random share of positives and negatives to learn from, as both stages of Mask R-CNN take it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from phonecv.detect.assign import Assigned


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many candidates of a picture to learn from.

    Attributes:
        count: positives and negatives together; None for all there are.
        positive: largest share of positives; what they leave free goes to negatives.
    """

    count: int | None
    positive: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Chosen candidates, in slots of equal number per picture.

    Attributes:
        place: ``B S``, int64: number of the candidate.
        positive: ``B S``, bool: it stands for an object.
        negative: ``B S``, bool: it stands for background. A slot that is neither is empty.
    """

    place: Tensor
    positive: Tensor
    negative: Tensor

    @property
    def filled(self) -> Tensor:
        """``B S``, bool: the slot is not empty."""
        return self.positive | self.negative


def sample(assigned: Assigned, sampling: Sampling) -> Sample:
    """Choose without replacement, every candidate of a kind equally likely.

    Torch's generator of the device decides. Nothing is drawn where all candidates are wanted. The slots depend on the
    counts alone, so that a GPU need not wait for the outcome.
    """
    positive, negative = assigned.positive, assigned.negative
    B, N = positive.shape
    count = N if sampling.count is None else sampling.count
    most = N if sampling.count is None else int(count * sampling.positive)
    if most >= N:
        return Sample(torch.arange(N, device=positive.device).expand(B, N), positive, negative)
    # The largest of independent uniform numbers are a fair draw; -1 is below all of them.
    draw = torch.rand(B, N, device=positive.device)
    first, chosen = draw.masked_fill(~positive, -1.0).topk(min(most, N), 1)
    rest, others = draw.masked_fill(~negative, -1.0).topk(min(count, N), 1)
    taken = first >= 0
    free = torch.arange(rest.shape[1], device=rest.device) < count - taken.sum(1, keepdim=True)
    free = free & (rest >= 0)
    return Sample(
        torch.cat([chosen, others], 1),
        torch.cat([taken, torch.zeros_like(free)], 1),
        torch.cat([torch.zeros_like(taken), free], 1),
    )
