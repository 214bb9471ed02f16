"""The loss of segmentation: cross entropy per pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.errors import UserError
from phonecv.segment.parts import at_least_float32, resize

#: Label of pixels that count for nothing.
IGNORE = 255


def pixel_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy, averaged over **all** pixels, those ignored included.

    So the published systems are trained: a picture with many ignored pixels weighs less. PyTorch's own
    ``ignore_index`` averages over the others alone.

    Args:
        logits: ``B classes h w``; resized to the labels' size first, in float32 at least.
        labels: ``B H W``, int64, 0..classes-1 or 255 for ignored.
        weights: of the classes, see `balanced_weights`; None for all alike. A pixel's loss is multiplied by the weight
            of its class, whose logarithm is added to the class's logits for the loss: the best logits are the same as
            without weights (logit adjustment; Menon et al., ICLR 2021, arXiv 2007.07314), the way there is another.

    Raises:
        UserError: a label that is neither, as far as the labels are on the CPU. On a GPU this check would stop the
            stream in every step, and PyTorch aborts with a device-side assertion instead.
    """
    if labels.device.type == "cpu":
        check_labels(labels, logits.shape[1])
    size = (labels.shape[-2], labels.shape[-1])
    large = resize(at_least_float32(logits), size)
    if weights is not None:
        # Weights alone would shift the balance of the answers, too: rare classes would be found too often and too wide.
        large = large + weights.to(large.dtype).log().view(-1, 1, 1)
    total = F.cross_entropy(large, labels, weights, ignore_index=IGNORE, reduction="sum")
    return total / labels.numel()


def balanced_weights(pixels: Sequence[int], power: float) -> Tensor:
    """Weights of classes for `pixel_cross_entropy` that make rare ones count for more.

    A class that covers the share f of all pixels gets f^-power, all scaled so that the mean over the pixels is one.
    Power 0 changes nothing, with 1 every class counts the same in all (Eigen and Fergus, ICCV 2015, section 5, balance
    so up to the median); in between the rare ones learn earlier without being found everywhere.

    Args:
        pixels: counted in the training data, one number per class; classes that were never seen get the largest weight.
        power: 0..1.
    """
    counts = torch.tensor(list(pixels), dtype=torch.float64)
    if not counts.any():
        return torch.ones(len(counts))
    weights = counts.clamp(min=float(counts[counts > 0].min())) ** -power
    return (weights / (weights * counts).sum() * counts.sum()).float()


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Every label is a class or ignored.

    Raises:
        UserError: one is not.
    """
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != IGNORE)]
    if wrong.numel():
        values = sorted(set(wrong.unique().tolist()))
        some = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise UserError(
            f"label maps hold {some}; with {num_classes} classes they may hold 0..{num_classes - 1} and {IGNORE} for"
            f" ignored pixels. `phonecv audit` finds out whether labels start at 1 or classes are missing"
        )
