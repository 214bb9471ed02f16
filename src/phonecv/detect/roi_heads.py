"""Second stage of Mask R-CNN: class, box and mask of each proposal (He et al. 2017, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.model import initialise
from phonecv.detect.assign import IGNORED, Assigned, assign, spare
from phonecv.detect.base import Truth, full_precision
from phonecv.detect.boxes import SSD_STDS, encode
from phonecv.detect.roi import with_picture
from phonecv.detect.rpn import Proposals
from phonecv.detect.sampling import Sampling, sample
from phonecv.models.blocks import Conv2d, ConvNormAct

#: Bins per side that each head reads, and pixels per side of a mask.
BOX_BINS, MASK_BINS, MASK_SIDE = 7, 14, 28


class BoxHead(nn.Module):
    """Two hidden layers, then class logits (background last) and the codes of one box per class."""

    def __init__(self, channels: int, num_classes: int, hidden: int = 1024) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc1 = nn.Linear(channels * BOX_BINS**2, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.cls = nn.Linear(hidden, num_classes + 1)
        self.box = nn.Linear(hidden, num_classes * 4)
        nn.init.xavier_uniform_(self.fc1.weight)
        nn.init.xavier_uniform_(self.fc2.weight)
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.cls, self.box):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``R C 7 7`` -> logits ``R classes+1`` and codes ``R classes 4``."""
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.relu(self.fc2(x))
        return self.cls(x), self.box(x).unflatten(1, (self.num_classes, 4))


class MaskHead(nn.Module):
    """Four 3x3 convolutions, then twice the resolution and one mask per class."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        relu = partial(nn.ReLU, inplace=True)
        self.convs = nn.Sequential(*[ConvNormAct(channels, channels, 3, bias=True, act=relu) for _ in range(4)])
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.act = relu()
        self.mask = Conv2d(channels, num_classes, 1)
        initialise(self, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))

    def forward(self, x: Tensor) -> Tensor:
        """``R C 14 14`` -> logits ``R classes 28 28``."""
        return self.mask(self.act(self.upsample(self.convs(x))))


@dataclass(frozen=True, slots=True)
class Regions:
    """Boxes that the second stage learns from, picture after picture.

    Attributes:
        rois: ``R 5``: number of the picture, then the box in pixels of the prepared pictures.
        labels: ``R``, int64; the number of classes stands for background.
        object: ``R``, int64: number of its object in the padded list, 0 for background.
        positive: ``R``, bool: it stands for an object.
    """

    rois: Tensor
    labels: Tensor
    object: Tensor
    positive: Tensor


@torch.no_grad()
def choose_regions(proposals: Proposals, truth: Truth, sizes: Tensor, num_classes: int, sampling: Sampling) -> Regions:
    """Match proposals of the first stage with objects and sample them; the objects' own boxes are proposals too."""
    assigned = assign(
        proposals.boxes, truth.boxes, truth.valid, positive=0.5, negative=0.5, least=0.5, usable=proposals.valid
    )
    assigned = spare(assigned, proposals.boxes, truth.ignored)
    # Cut to the picture, as proposals are: time and memory of pooling grow with a box.
    limit = sizes.to(truth.boxes.dtype).flip(1).repeat(1, 2)[:, None]
    own = torch.minimum(truth.boxes.clamp(min=0), limit)
    there = truth.valid & (own[..., 2:] > own[..., :2]).all(-1)
    itself = torch.arange(own.shape[1], device=own.device).expand_as(there)
    boxes = torch.cat([own.to(proposals.boxes.dtype), proposals.boxes], 1)
    index = torch.cat([itself.masked_fill(~there, IGNORED), assigned.index], 1)

    chosen = sample(Assigned(index), sampling)
    picture, slot = chosen.filled.nonzero(as_tuple=True)
    place = chosen.place[picture, slot]
    positive = chosen.positive[picture, slot]
    number = index[picture, place].clamp(min=0)
    labels = truth.labels[picture, number].masked_fill(~positive, num_classes)
    return Regions(with_picture(picture, boxes[picture, place]), labels, number, positive)


def box_losses(logits: Tensor, codes: Tensor, regions: Regions, truth: Truth) -> dict[str, Tensor]:
    """Cross entropy of all regions, and L1 distance of the positive ones' codes for their own class.

    Both are divided by the number of regions, positive or not.

    Args:
        logits: ``R classes+1``.
        codes: ``R classes 4``.
        regions: what each row stands for.
        truth: the objects.
    """
    number = max(len(logits), 1)
    place = regions.positive.nonzero()[:, 0]
    rois, label = regions.rois[place], regions.labels[place]
    objects = truth.boxes[rois[:, 0].long(), regions.object[place]]
    codes = full_precision(codes[place, label])
    goals = encode(rois[:, 1:], objects.to(rois.dtype), SSD_STDS).to(codes.dtype)
    return {
        "cls": F.cross_entropy(full_precision(logits), regions.labels, reduction="sum") / number,
        "box": F.l1_loss(codes, goals, reduction="sum") / number,
    }


def own_class(masks: Tensor, labels: Tensor) -> Tensor:
    """Each region's mask of its own class: ``R classes H W``, ``R`` -> ``R H W``."""
    return masks[torch.arange(len(masks), device=masks.device), labels]


def mask_loss(logits: Tensor, labels: Tensor, goals: Tensor) -> Tensor:
    """Binary cross entropy of the own class's mask, mean over all pixels; zero where there are no regions.

    Args:
        logits: ``R classes 28 28``.
        labels: ``R``.
        goals: ``R 28 28``, 0 or 1.
    """
    logits = full_precision(own_class(logits, labels))
    loss = F.binary_cross_entropy_with_logits(logits, goals.to(logits.dtype), reduction="sum")
    return loss / max(logits.numel(), 1)
