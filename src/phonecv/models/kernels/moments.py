"""What BatchNorm needs to know of a linear map's output, from the map's input.

The mean and the variance of ``w . p`` over all patches ``p`` that a convolution reads are ``w . m`` and ``w' S w``,
with the mean `m` and the covariance `S` of the patches: one look at the input serves all convolutions that read it.

- 1x1 convolutions: the patch is a pixel, `S` the channels' covariance, one matrix product.
- Depthwise 3x3, stride 1: nine taps per channel. Most of the 81 products of two taps are the same sum over the map up
  to its border: 13 sums, which two of oneDNN's quick depthwise weight gradients give (of the map against itself
  shifted), less what the first and last row and column add.
- Dense 3x3 of a few channels (the stem): 27 taps, cut out by a convolution with unit kernels.
- Depthwise 3x3, stride 2: 34 such sums; measuring the outputs themselves, piece by piece in the cache, is as quick, and
  simpler.

All take their sums in the precision of `x`, which must be float32 or better, and add them up in float64. Gradients are
those of the moments; none can be differentiated twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.models.kernels.conv_relu import (
    input_gradient,
    patches,
    pieces,
    plain_backward,
    pointwise,
    products,
    weight_gradient,
)

#: Pixels whose products oneDNN's depthwise weight gradient adds up in float32 before they go on in float64: it has one
#: running sum per tap, in which small addends are lost. Fewer are more exact and cost more calls.
LONGEST_SUM = 2048

#: Offsets of the nine taps, in the order of a kernel's elements.
TAPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]


@dataclass(frozen=True, slots=True)
class Moments:
    """Of patches of D values; ``...`` is nothing, or one set per channel.

    Attributes:
        mean: ``... D``, float64.
        second: ``... D D``, mean of the products, float64.
        count: patches.
        error: what rounding may have done to `second`, in units of half an epsilon of the map's precision, as measured
            on inputs chosen to be hard.
    """

    mean: Tensor
    second: Tensor
    count: int
    error: float = 24

    @property
    def covariance(self) -> Tensor:
        """``... D D``, symmetric."""
        return self.second - self.mean[..., :, None] * self.mean[..., None, :]


def pointwise_moments(x: Tensor) -> Moments:
    """Of the pixels of a channels-last map ``B C H W``: D is C."""
    mean, second = _PixelMoments.apply(x)
    return Moments(mean, second, x.numel() // x.shape[1])


def depthwise_moments(x: Tensor) -> Moments:
    """Of the 3x3 neighbourhoods of a channels-last map ``B C H W``, zeros beyond it: ``C 9``, ``C 9 9``."""
    mean, second = _TapMoments.apply(x)
    pixels = x.shape[2] * x.shape[3]
    longest = max(1, LONGEST_SUM // pixels) * pixels
    return Moments(mean, second, x.numel() // x.shape[1], error=max(24, longest / 24))


def output_moments(x: Tensor, kernels: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of depthwise convolutions' outputs, and of the pixels in their middle: ``k+1 C`` each, float64.

    `x` is a channels-last map, ``B C H W``, and kernels are ``k C 1 3 3``.
    """
    return _OutputMoments.apply(x, kernels, stride)


def patch_moments(x: Tensor, stride: int) -> Moments:
    """Of the 3x3 neighbourhoods across all channels, ``9*C``; without gradient to `x`."""
    taps = 9 * x.shape[1]
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    with torch.no_grad():
        for part in pieces(x):
            cut = patches(x[part], stride)
            total = total + products(cut, cut).double()
    count = len(x) * -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    return Moments(total[taps, :taps] / count, total[:taps, :taps] / count, count)


class _PixelMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.save_for_backward(x)
        count = x.numel() // x.shape[1]
        return x.sum((0, 2, 3)).double() / count, products(x, x).double() / count

    @staticmethod
    @plain_backward
    def backward(ctx: Any, mean: Tensor, second: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        kernel = ((second + second.T) / count).to(x.dtype)
        return pointwise(x, kernel[:, :, None, None], (mean / count).to(x.dtype))


class _TapMoments(torch.autograd.Function):
    """First the sums that the map gives, per channel; `_tap_sums` says which of them make up which moment."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.save_for_backward(x)
        C = x.shape[1]
        count = x.numel() // C
        lags = _lag_products(x)
        firsts, seconds = [x.sum((0, 2, 3))], []
        for line in _borders(x):
            length = line.shape[1]
            firsts.append(line.reshape(-1, C).sum(0))
            for lag in range(3):
                product = line[:, min(lag, length) :] * line[:, : max(length - lag, 0)]
                seconds.append(product.reshape(-1, C).sum(0))
        for corner in _corners(x):
            firsts.append(corner.sum(0))
            seconds.append(corner.square().sum(0))
        to_first, to_second, _ = _tap_sums(x.device)
        first = torch.stack(firsts, 1).double() @ to_first.T
        second = torch.cat([lags, torch.stack(seconds, 1).double()], 1) @ to_second.T
        return first / count, second.view(C, 9, 9) / count

    @staticmethod
    @plain_backward
    def backward(ctx: Any, mean: Tensor, second: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        C = x.shape[1]
        count = x.numel() // C
        to_first, to_second, to_kernel = _tap_sums(x.device)
        firsts = (mean / count @ to_first).to(x.dtype)
        seconds = second.reshape(C, 81) / count @ to_second
        kernel = (seconds[:, :18] @ to_kernel.T).to(x.dtype).view(C, 1, 5, 5)
        grad = F.conv2d(x, kernel, firsts[:, 0].contiguous(), 1, 2, 1, C)
        columns = seconds[:, 18:].to(x.dtype).T.contiguous()
        firsts = firsts[:, 1:].T.contiguous()
        for i, (line, grad_line) in enumerate(zip(_borders(x), _borders(grad), strict=True)):
            length = line.shape[1]
            change = torch.addcmul(firsts[i], 2 * columns[3 * i], line)
            for lag in range(1, min(3, length)):
                change[:, lag:].addcmul_(columns[3 * i + lag], line[:, :-lag])
                change[:, :-lag].addcmul_(columns[3 * i + lag], line[:, lag:])
            grad_line += change
        for i, (corner, grad_corner) in enumerate(zip(_corners(x), _corners(grad), strict=True)):
            grad_corner += torch.addcmul(firsts[4 + i], 2 * columns[12 + i], corner)
        return grad


def _lag_products(x: Tensor) -> Tensor:
    """Sums of ``x[p] * x[p + d]`` per channel, ``C 18``: nine d from (0, 0) to (2, 2), nine from (0, -2) to (2, 0)."""
    C, H, W = x.shape[1:]
    sums = torch.zeros(C, 18, dtype=torch.float64, device=x.device)
    wide: list[Tensor] = []
    for part in pieces(x, most=max(1, LONGEST_SUM // (H * W))):
        piece = x[part]
        if not wide:  # zeros around the map, written once
            wide = [piece.new_zeros(len(piece), H + 2, W + 2, C).permute(0, 3, 1, 2) for _ in range(2)]
        for i, frame in enumerate(wide):
            frame = frame[: len(piece)]
            frame[:, :, :H, 2 * i : 2 * i + W] = piece
            sums[:, 9 * i : 9 * i + 9] += weight_gradient(piece, frame, (C, 1, 3, 3), (1, 1), 0, C).view(C, 9)
    return sums


def _borders(x: Tensor) -> list[Tensor]:
    """First row, last row, first column, last column as views ``B length C``."""
    x = x.permute(0, 2, 3, 1)
    return [x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]]


def _corners(x: Tensor) -> list[Tensor]:
    """The four corner pixels as views ``B C``, row by row."""
    return [x[:, :, row, column] for row in (0, -1) for column in (0, -1)]


@cache
def _tap_sums(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Which sums over the map make up the taps' moments: constant matrices, float64.

    Tap `a` of the patch at `p` is the pixel ``p + a``, so the sum over all patches of the product of taps `a` and `b`
    is that of pixels which lie ``b - a`` apart, without the pairs whose patch would stand outside of the map. With the
    tap in the row below the patch (+1) these are the pairs in the first row, with the one above those in the last row;
    likewise columns; what lies in both, the corner, is taken away twice and must come back once.

    Returns:
        ``9 9``: from [all, borders, corners] to the taps' sums; ``81 34``: from [18 lags, 3 lags of each border,
        squares of the corners] to the taps' products; ``25 18``: from gradients of lags to the 5x5 kernel that applies
        them.
    """
    first, second, kernel = torch.zeros(9, 9), torch.zeros(81, 34), torch.zeros(25, 18)

    def lag(row: int, column: int) -> int:
        if (row, column) < (0, 0):
            row, column = -row, -column  # the sum is the same
        return row * 3 + column if column >= 0 else 9 + row * 3 + column + 2

    corners = {(1, 1): 0, (1, -1): 1, (-1, 1): 2, (-1, -1): 3}
    for i, a in enumerate(TAPS):
        first[i, 0] = 1
        for axis in (0, 1):
            if a[axis]:
                first[i, 1 + 2 * axis + (a[axis] < 0)] = -1
        if a in corners:
            first[i, 5 + corners[a]] = 1
        for j, b in enumerate(TAPS):
            row = second[9 * i + j]
            row[lag(b[0] - a[0], b[1] - a[1])] = 1
            for axis in (0, 1):
                if a[axis] == b[axis] != 0:
                    border = 2 * axis + (a[axis] < 0)
                    row[18 + 3 * border + abs(b[1 - axis] - a[1 - axis])] = -1
            if a == b and a in corners:
                row[30 + corners[a]] = 1
    for row in range(3):
        for column in range(-2, 3):
            if (row, column) >= (0, 0):
                kernel[(2 + row) * 5 + 2 + column, lag(row, column)] += 1
                kernel[(2 - row) * 5 + 2 - column, lag(row, column)] += 1
    return first.double().to(device), second.double().to(device), kernel.double().to(device)


class _OutputMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, stride: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        means, variances, counts = [], [], []
        for part in pieces(x):
            outputs = [_depthwise(x[part], kernel, stride) for kernel in kernels]
            outputs.append(x[part, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last))
            found = [torch.batch_norm_update_stats(y, None, None, 0.0) for y in outputs]
            means.append(torch.stack([mean for mean, _ in found]).double())
            variances.append(torch.stack([variance for _, variance in found]).double())
            counts.append(outputs[0].numel() // x.shape[1])
        share = torch.tensor(counts, dtype=torch.float64, device=x.device)[:, None, None] / sum(counts)
        means, variances = torch.stack(means), torch.stack(variances)
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(x, kernels, mean)
        ctx.stride, ctx.count = stride, sum(counts)
        return mean, variance

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> tuple[Tensor | None, Tensor, None]:  # type: ignore[override]
        x, kernels, mean = ctx.saved_tensors
        stride, C = ctx.stride, x.shape[1]
        geometry = ((stride, stride), 1, C)
        # An output y of the map has the gradient slope * y + shift.
        slope = 2 * grad_variance / ctx.count
        shift = (grad_mean / ctx.count - slope * mean).to(x.dtype)[:, :, None, None]
        slope = slope.to(x.dtype)[:, :, None, None]
        grad_x, grad_kernels = torch.empty_like(x), torch.zeros_like(kernels)
        for part in pieces(x):
            piece = x[part]
            total = None
            for j, kernel in enumerate(kernels):
                grad = _depthwise(piece, kernel, stride).mul_(slope[j]).add_(shift[j])
                grad_kernels[j] += weight_gradient(grad, piece, kernel.shape, *geometry)
                change = input_gradient(grad, piece, kernel, *geometry)
                total = change if total is None else total.add_(change)
            assert total is not None
            total[:, :, ::stride, ::stride] += torch.addcmul(shift[-1], slope[-1], piece[:, :, ::stride, ::stride])
            grad_x[part] = total
        return grad_x, grad_kernels, None


def _depthwise(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, kernel, None, stride, 1, 1, x.shape[1])
