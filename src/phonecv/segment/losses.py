"""The loss of segmentation: cross entropy per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.errors import UserError
from phonecv.models.kernels.conv_relu import plain_backward
from phonecv.segment.layers import at_least_float32, resize

#: Label of pixels that count for nothing.
IGNORE = 255

#: Gradient of bilinear resizing.
_smaller = torch.ops.aten.upsample_bilinear2d_backward


def pixel_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, factors: Tensor | None = None
) -> Tensor:
    """Cross entropy, averaged over **all** pixels, those ignored included.

    So the published systems are trained: a picture with many ignored pixels weighs less. PyTorch's own
    ``ignore_index`` averages over the others alone.

    Args:
        logits: ``B classes h w``; resized to the labels' size first, in float32 at least.
        labels: ``B H W``, int64, 0..classes-1 or 255 for ignored.
        weights: of the classes, see `balanced_weights`; None for all alike. A pixel's loss is multiplied by the weight
            of its class, whose logarithm is added to the class's logits for the loss: the best logits are the same as
            without weights (logit adjustment; Menon et al., ICLR 2021, arXiv 2007.07314), the way there is another.
        factors: likewise, without the logarithm: classes with a large one are found more often.

    Raises:
        UserError: a label that is neither, as far as the labels are on the CPU. On a GPU this check would stop the
            stream in every step, and PyTorch aborts with a device-side assertion instead.
    """
    on_cpu = labels.device.type == "cpu"
    if on_cpu:
        check_labels(labels, logits.shape[1])
    logits = at_least_float32(logits)
    if weights is not None:
        # Weights alone would shift the balance of the answers, too: rare classes would be found too often and too wide.
        # Resizing keeps what is added to all pixels of a class alike.
        weights = weights.to(logits.dtype)
        logits = logits + weights.log().view(-1, 1, 1)
    if factors is not None:
        factors = factors.to(logits.dtype)
        weights = factors if weights is None else weights * factors
    if on_cpu and logits.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        by_picture: Tensor = _ByPicture.apply(logits, labels, weights)
        return by_picture / labels.numel()
    large = resize(logits, (labels.shape[-2], labels.shape[-1]))
    return F.cross_entropy(large, labels, weights, ignore_index=IGNORE, reduction="sum") / labels.numel()


class _ByPicture(torch.autograd.Function):
    """The sum of `pixel_cross_entropy` and its gradient, picture by picture, where a CPU trains.

    Logits at the labels' size are the largest tensors of a training: what is done to them waits for memory, the more so
    the more pictures there are at once. So the gradient is computed on the spot, and only its small form is kept.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        total = logits.new_zeros(())
        gradient = torch.empty_like(logits)
        for one, classes, own in zip(logits.split(1), labels, gradient.split(1), strict=True):
            small = one.contiguous(memory_format=torch.channels_last)  # a pixel's classes side by side
            large = F.interpolate(small, size=classes.shape, mode="bilinear", align_corners=False)
            pixels = large.permute(0, 2, 3, 1).flatten(0, 2)  # H*W classes
            counted = classes != IGNORE
            place = torch.where(counted, classes, 0).view(-1, 1)
            counts = counted.view(-1, 1).to(pixels.dtype)
            if weights is not None:
                counts = counts * weights[place]
            pixels = pixels - pixels.amax(1, keepdim=True)
            right = pixels.gather(1, place)
            shares = pixels.exp_()
            whole = shares.sum(1, keepdim=True)
            total += ((whole.log() - right) * counts).sum()
            back = shares.mul_(counts / whole).scatter_add_(1, place, -counts).view(1, *classes.shape, -1)
            own.copy_(_smaller(back.permute(0, 3, 1, 2), list(classes.shape), list(one.shape), False, None, None))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None


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
    """Every label is a class or ignored."""
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != IGNORE)]
    if wrong.numel():
        values = sorted(set(wrong.unique().tolist()))
        some = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise UserError(
            f"label maps hold {some}; with {num_classes} classes they may hold 0..{num_classes - 1} and {IGNORE} for"
            f" ignored pixels. `phonecv audit` finds out whether labels start at 1 or classes are missing"
        )
