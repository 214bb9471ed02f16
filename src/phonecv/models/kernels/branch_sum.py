"""The branches of a MobileOne layer in training as one convolution, with the statistics and gradients of all.

BatchNorm in training scales and shifts its input by the batch's mean and variance. Both follow from the moments of what
the convolutions read (`phonecv.models.kernels.moments`), so every branch is known to be affine before it has run:

    ``g_j = gamma_j / sqrt(var_j + eps)``, weight ``sum g_j w_j``, bias ``sum beta_j - g_j mean_j``

with a 1x1 kernel in the middle tap and the skip as a kernel of one. The layer then runs one convolution and keeps its
input and output; gradients reach every branch through the formulas above. Running statistics are those of the branches.
`docs/performance.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.models.kernels.choices import BRANCHES
from phonecv.models.kernels.conv_relu import convolve_relu, patch_convolve_relu, plain_backward
from phonecv.models.kernels.moments import Moments, depthwise_moments, output_moments, patch_moments, pointwise_moments

TrainingForm = Literal["auto", "moments", "branches"]

#: A variance from moments is a difference of sums, and loses digits where it is much smaller than they. An output whose
#: variance could be off by more than this share (itself by half of it) is measured instead, as its branch would do.
VARIANCE_TOLERANCE = 2e-4

#: Where more than this share of the outputs had to be measured, the branches run.
MOST_MEASURED = 1 / 8

#: Values in a depthwise layer's map below which its branches are as quick as working out their sum.
LEAST_MAP = 2**16


class Branch(Protocol):
    """A convolution without bias, then BatchNorm."""

    conv: nn.Conv2d
    bn: nn.BatchNorm2d


class BranchedBlock(Protocol):
    """What is asked of a layer: `phonecv.models.mobileone.MobileOneBlock` says what its attributes mean."""

    training: bool
    training_form: TrainingForm
    kernel: int
    stride: int
    groups: int
    rbr_conv: nn.ModuleList
    rbr_skip: nn.BatchNorm2d | None
    se: nn.Module

    def linear_branches(self) -> Sequence[Branch]:
        """The convolutions, and the scale where there is one."""

    def is_plain(self) -> bool:
        """Whether all branches normalise by the batch, and nothing from outside watches or changes what they do."""


Way = Callable[[BranchedBlock, Tensor, bool], Tensor | None]


def sum_branches(block: BranchedBlock, x: Tensor) -> Tensor | None:
    """The layer's output before squeeze-excite; where there is none, after ReLU.

    Returns:
        None where the branches themselves must run, or are as quick. Nothing has changed then.
    """
    way = _choose(block, x)
    if way is None:
        return None
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    with torch.autocast(device, enabled=False):
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        return way(block, x, isinstance(block.se, nn.Identity))


def _choose(block: BranchedBlock, x: Tensor) -> Way | None:
    """How to sum this layer's branches, or None. Decides by shapes and settings, never by what happened before."""
    form = block.training_form
    if (
        form == "branches"
        or not block.training
        or (form == "auto" and x.device.type != "cpu")
        # Whoever writes the graph down gets the branches: they need no decision by the values.
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or type(x) is not Tensor
        or x.numel() <= x.shape[1] * block.stride**2  # one value per channel has no variance: BatchNorm says so
        or not block.is_plain()
        or (form == "auto" and not BRANCHES.ours)
    ):
        return None
    C, out, branches = x.shape[1], block.linear_branches()[0].conv.out_channels, len(block.rbr_conv)
    if block.kernel == 1 and block.groups == 1 and block.stride == 1:
        if form == "auto" and branches == 1:
            return _run_one_pointwise
        # Products of channels instead of convolutions, and work with the weights that does not depend on the pixels.
        pixels = x.numel() // C
        pays = 3 * (branches - 1) * pixels * C * out > 2 * pixels * C**2 + 4 * branches * out * C**2
        return _sum_pointwise if pays or form == "moments" else None
    if block.kernel == 3 and block.groups == C == out:
        if form == "auto" and x.numel() < LEAST_MAP:
            return None
        return _sum_taps if block.stride == 1 else _sum_strided_depthwise
    few = block.groups == 1 and C <= 4 and block.rbr_skip is None
    if block.kernel == 3 and few and not (x.requires_grad and torch.is_grad_enabled()):
        return _sum_taps
    return None


def _norms(block: BranchedBlock) -> list[nn.BatchNorm2d]:
    """BatchNorm of every branch: the convolutions', the scale's, the skip's."""
    norms = [branch.bn for branch in block.linear_branches()]
    return norms if block.rbr_skip is None else [*norms, block.rbr_skip]


def _run_one_pointwise(block: BranchedBlock, x: Tensor, relu: bool) -> Tensor:
    """A 1x1 layer of one branch gains nothing from moments; only its convolution and the sum are made quicker."""
    (branch,) = block.linear_branches()
    y = branch.bn(convolve_relu(x, branch.conv.weight.to(x.dtype), None, relu=False))
    if block.rbr_skip is not None:
        y.add_(block.rbr_skip(x))
    return y.relu_() if relu else y


def _sum_pointwise(block: BranchedBlock, x: Tensor, relu: bool) -> Tensor | None:
    exact = _exact(x)
    moments = pointwise_moments(exact)
    # The products of weights and covariance are large enough here to be worth float32.
    mean, covariance = moments.mean.to(exact.dtype), moments.covariance.to(exact.dtype)
    power = torch.diagonal(moments.second).detach().to(exact.dtype)
    norms = [branch.bn for branch in block.linear_branches()]
    weights = torch.stack([branch.conv.weight for branch in block.linear_branches()]).flatten(2).to(exact.dtype)
    means, variances = weights @ mean, _Variance.apply(weights, covariance)
    doubts = _doubtful(weights.square() @ power, means, variances, norms, moments.error, exact.dtype)
    checked = _measure(variances, doubts, lambda j, out: F.conv2d(exact, weights[j, out][:, :, None, None]))
    if checked is None:
        return None
    weight, bias = _fold(weights, means, checked, norms)
    skip = block.rbr_skip
    if skip is not None:
        # A unit matrix for a kernel: mean and variance are the channels' own.
        mean, own = mean[None], torch.diagonal(covariance)[None]
        doubts = _doubtful(power[None], mean, own, [skip], moments.error, exact.dtype)
        own = _measure(own, doubts, lambda j, out: exact[:, out])
        if own is None:
            return None
        factor, shift = _affine(mean, own, [skip])
        weight, bias = weight + torch.diag(factor[0]), bias + shift
        _update([skip], mean, own, moments.count)
    _update(norms, means, checked, moments.count)
    return convolve_relu(x, weight.to(x.dtype)[:, :, None, None], bias.to(x.dtype), relu=relu)


def _sum_taps(block: BranchedBlock, x: Tensor, relu: bool) -> Tensor | None:
    """Of a depthwise 3x3 layer of stride 1, or a dense one of few channels."""
    exact, own = _exact(x), block.groups > 1
    folded = _fold_taps(block, exact, depthwise_moments(exact) if own else patch_moments(exact, block.stride))
    if folded is None:
        return None
    weight, bias = (part.to(x.dtype) for part in folded)
    weight = weight.unflatten(1, (-1, 3, 3))
    if own:
        return convolve_relu(x, weight, bias, groups=block.groups, relu=relu)
    return patch_convolve_relu(x, weight, bias, stride=block.stride, relu=relu)


def _sum_strided_depthwise(block: BranchedBlock, x: Tensor, relu: bool) -> Tensor:
    exact, weights, norms = _exact(x), _tap_weights(block), _norms(block)
    kernels = weights[: len(block.rbr_conv)].to(exact.dtype).view(len(block.rbr_conv), -1, 1, 3, 3)
    means, variances = output_moments(exact, kernels, block.stride)
    middle = weights[-1:, :, 4]  # the scale's kernel has nothing else
    means = torch.cat([means[:-1], middle * means[-1:]])
    variances = torch.cat([variances[:-1], middle.square() * variances[-1:]])
    weight, bias = _fold(weights, means, variances, norms)
    B, C, H, W = x.shape
    _update(norms, means, variances, B * -(-H // block.stride) * -(-W // block.stride))
    weight = weight.to(x.dtype).view(C, 1, 3, 3)
    return convolve_relu(x, weight, bias.to(x.dtype), stride=block.stride, groups=C, relu=relu)


def _exact(x: Tensor) -> Tensor:
    """In float32 or better: moments lose digits as differences do."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _tap_weights(block: BranchedBlock) -> Tensor:
    """All branches of a 3x3 layer as 3x3 kernels, ``J out taps``, float64; J are the convolutions, scale, skip."""
    weights = [branch.conv.weight for branch in block.linear_branches()]
    weights[-1] = F.pad(weights[-1], (1, 1, 1, 1))
    if block.rbr_skip is not None:
        unit = torch.zeros_like(weights[0])
        unit[:, :, 1, 1] = 1
        weights.append(unit)
    return torch.stack(weights).flatten(2).double()


def _fold_taps(block: BranchedBlock, x: Tensor, moments: Moments) -> tuple[Tensor, Tensor] | None:
    """Kernel ``out taps`` and bias ``out`` of a 3x3 layer, and its running statistics; None where digits are lost."""
    weights, norms = _tap_weights(block), _norms(block)
    means = (weights * moments.mean).sum(2)
    variances = _Variance.apply(weights, moments.covariance)
    power = (weights.square() * torch.diagonal(moments.second, dim1=-2, dim2=-1)).sum(2)

    def run(j: Tensor, out: Tensor) -> Tensor:
        kernels = weights[j, out].to(x.dtype).unflatten(1, (-1, 3, 3))
        own = block.groups > 1
        return F.conv2d(x[:, out] if own else x, kernels, None, block.stride, 1, 1, len(out) if own else 1)

    doubts = _doubtful(power, means, variances, norms, moments.error, x.dtype)
    checked = _measure(variances, doubts, run)
    if checked is None:
        return None
    _update(norms, means, checked, moments.count)
    return _fold(weights, means, checked, norms)


@torch.no_grad()
def _doubtful(
    power: Tensor, means: Tensor, variances: Tensor, norms: Sequence[nn.BatchNorm2d], error: float, dtype: torch.dtype
) -> Tensor:
    """Which variances from moments (``J out``) have too few digits left; also those that are not finite.

    `power` has sums over a kernel's taps of the mean of (weight * value)^2; `error` is of the sums over the map, see
    `Moments`, in `dtype`.
    """
    unit = torch.finfo(dtype).eps / 2
    eps = _column([norm.eps for norm in norms], variances)
    return ~(error * unit * (power + means.square()) <= VARIANCE_TOLERANCE * (variances + eps))


def _measure(variances: Tensor, doubts: Tensor, run: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
    """Variances (``J out``) with the doubtful ones taken from the outputs themselves; None where they are too many.

    Gradients stay those of the moments: they lose only half as many digits. `run` gives the outputs ``B n H W`` of n
    branches and channels.
    """
    with torch.no_grad():
        # On a GPU this waits for the device, once per layer.
        places = doubts.nonzero()
        if len(places) == 0:
            return variances
        if len(places) > MOST_MEASURED * doubts.numel():
            return None
        j, out = places.unbind(1)
        y = run(j, out).double()
        exact = (y - y.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3))
        change = torch.zeros_like(variances)
        change[j, out] = exact.to(variances.dtype) - variances[j, out]
    return variances + change


def _affine(means: Tensor, variances: Tensor, norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    """Factors that these norms apply, ``J out``, and the sum of what they add, ``out``."""
    gamma = torch.stack([norm.weight for norm in norms]).to(means.dtype)
    factor = gamma * (variances + _column([norm.eps for norm in norms], variances)).rsqrt()
    shift = -(factor * means).sum(0)
    for norm in norms:
        # One by one: a sum over a stack would give all of them gradients that share their memory, and whoever then
        # accumulates or clips in place changes them all.
        shift = shift + norm.bias
    return factor, shift


def _fold(weights: Tensor, means: Tensor, variances: Tensor, norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    """The one kernel, ``out D``, and bias, ``out``, of kernels ``J out D`` and their norms."""
    factor, shift = _affine(means, variances, norms)
    return (factor[..., None] * weights).sum(0), shift


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


@torch.no_grad()
def _update(norms: Sequence[nn.BatchNorm2d], means: Tensor, variances: Tensor, count: int) -> None:
    """Move the running statistics as BatchNorm does."""
    variances = variances * (count / (count - 1))
    for norm, mean, variance in zip(norms, means, variances, strict=True):
        assert norm.num_batches_tracked is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.num_batches_tracked.add_(1)
        share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)


class _Variance(torch.autograd.Function):
    """``w' S w`` for each kernel: ``J out D`` with one `S`, or with one per output channel, ``out D D``."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, covariance: Tensor) -> Tensor:  # type: ignore[override]
        ctx.shared = covariance.ndim == 2
        half = weights @ covariance if ctx.shared else (weights.transpose(0, 1) @ covariance).transpose(0, 1)
        ctx.save_for_backward(weights, half)
        return (half * weights).sum(2)

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        weights, half = ctx.saved_tensors
        scaled = grad[..., None] * weights
        if ctx.shared:
            outer = weights.flatten(0, 1).T @ scaled.flatten(0, 1)
        else:
            outer = weights.permute(1, 2, 0) @ scaled.transpose(0, 1)
        return 2 * grad[..., None] * half, outer
