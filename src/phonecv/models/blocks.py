"""Parts that the families share: convolution units, norms, window attention.

Shapes are written ``B C H W``; inside attention ``N`` is the number of tokens of one window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.models.kernels.calls import may_call_onednn
from phonecv.models.kernels.choices import GRADIENTS, POINTWISE
from phonecv.models.kernels.depthwise import depthwise, gains
from phonecv.models.kernels.work import Work, channels_last, feature_map, inference, learning

Scheme = Literal["remote", "close"]

#: EMO and EMOv2 use this in every norm; PyTorch's defaults differ for BatchNorm (1e-5) and LayerNorm (1e-5).
EMO_EPS = 1e-6


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of each pixel, ``B C H W -> B C H W``."""

    def __init__(self, channels: int, *, eps: float = EMO_EPS, affine: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        # Rows of pixels: a permuted map with one reader, which exported runtimes need not copy.
        x = self.norm(x.permute(0, 2, 3, 1).reshape(-1, C))
        return x.reshape(B, H, W, C).permute(0, 3, 1, 2)


class LayerScale2d(nn.Module):
    """A learned factor per channel (CaiT, Touvron et al. 2021, section 2), ``B C H W -> B C H W``."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, channels, 1, 1), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(nn.Module):
    """Drop the whole residual branch of a sample with probability `rate` (Huang et al. 2016, section 3).

    Attributes:
        frames: of a clip, which are dropped together; see `phonecv.models.clips`.
    """

    frames = 1

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0] // self.frames, 1, 1, 1).bernoulli_(keep).repeat(self.frames, 1, 1, 1)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        """The rate, for ``print(model)``."""
        return f"rate={self.rate:.4f}"


class Conv2d(nn.Conv2d):
    """PyTorch's convolution, around three weaknesses of its CPU kernels (torch 2.14); same numbers, same state dict.

    - The weight gradient of a depthwise convolution with a large kernel is slow: see
      `phonecv.models.kernels.depthwise`.
    - A strided convolution on a channels-last map one column wide gets a weight gradient (oneDNN, bfloat16) whose
      taps that only ever meet the padding are whatever was in memory, NaN included. The stride along an axis of
      length one has no effect, so there it is taken as one.
    - A 1x1 convolution of fewer than 16 pictures on one thread is sent to MKL's matrix product, which on AMD
      processors reaches half the speed of oneDNN's convolution. Inference calls the latter by name.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.groups > 1 and gains(self, input):
            return depthwise(self, input)
        if self.stride[1] > 1 and input.shape[3] == 1:
            return F.conv2d(input, weight, bias, (self.stride[0], 1), self.padding, self.dilation, self.groups)
        if (
            self.kernel_size == (1, 1)
            and not torch.is_grad_enabled()
            and may_call_onednn(input, weight)
            and torch.get_num_threads() == 1
            and POINTWISE.ours
        ):
            return torch.mkldnn_convolution(input, weight, bias, (0, 0), self.stride, (1, 1), self.groups)
        return super()._conv_forward(input, weight, bias)


class ConvNormAct(nn.Module):
    """Convolution, then norm or nothing, then activation or nothing; zero padding keeps ``H / stride``.

    Attributes:
        joined: whether convolution and activation are one call, see `phonecv.models.packing`.
    """

    joined = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: bool = False,
        act: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(out_channels, eps=EMO_EPS) if norm else nn.Identity()
        self.act = act() if act is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.act) if self.joined else self.act(self.norm(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over the map (Hu et al. 2018, section 3), ``B C H W -> B C H W``."""

    def __init__(self, channels: int, reduced: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.act = act()
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)
        return x * self.expand(self.act(self.reduce(gate))).sigmoid()


class SavesWork(nn.Module):
    """A layer that does less than the published one for the same result."""

    def saved_macs(self, x: Any) -> int:
        """Multiply-accumulates per picture that the published order would add, for what `forward` takes."""
        raise NotImplementedError


class WindowGrid:
    """Cuts a map into windows of ``window x window`` tokens and puts it together again.

    ``close`` windows are contiguous squares; ``remote`` windows are dilated grids, where window (i, j)
    holds the pixels with ``y mod rows == i`` and ``x mod columns == j`` (EMOv2, Zhang et al. 2024, section 3.2).
    `window` <= 0 means one window that covers the whole map. Cells beyond the map are appended at the
    bottom and right, unmasked: they take part as keys and values, as in the reference.

    No tensor here has more than five axes, which some exporters cannot pass.
    """

    def __init__(self, height: int, width: int, window: int) -> None:
        self.height, self.width = height, width
        # While a graph with free sizes is traced, sizes are symbols: then nothing may be decided by them.
        self.symbolic = not (isinstance(height, int) and isinstance(width, int))
        self.whole = window <= 0
        self.window_h, self.window_w = (height, width) if self.whole else (window, window)
        # The padded size as a product, so that a symbolic one is seen to divide by the window.
        self.rows = 1 if self.whole else (height + window - 1) // window
        self.columns = 1 if self.whole else (width + window - 1) // window
        self.pad_bottom = self.rows * self.window_h - height
        self.pad_right = self.columns * self.window_w - width

    @property
    def single(self) -> bool:
        """Whether one window covers the map; remote and close are then the same cut."""
        return self.whole or (not self.symbolic and self.rows == 1 and self.columns == 1)

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.window_h * self.window_w

    def pad(self, x: Tensor, value: Tensor | None = None) -> Tensor:
        """Append the cells that fill the last windows: zeros, or `value` per channel (1 C 1 1)."""
        if self.whole or not (self.symbolic or self.pad_bottom or self.pad_right):
            return x
        amounts = (0, self.pad_right, 0, self.pad_bottom)
        return F.pad(x, amounts) if value is None else F.pad(x - value, amounts) + value

    def split(self, rows: Tensor, scheme: Scheme) -> Tensor:
        """Padded map as rows of pixels ``B*H*W C`` -> tokens ``B*windows N C``, in a window order of its own."""
        C = rows.shape[1]
        R, K, h, w = self.rows, self.columns, self.window_h, self.window_w
        if self.single:
            return rows.reshape(-1, h * w, C)
        if scheme == "remote":
            # h comes before R in a column of the map, so B and h are one axis here, and the windows' order is R K B.
            x = rows.reshape(-1, R, w, K, C).permute(1, 3, 0, 2, 4)  # R K B*h w C
        else:
            x = rows.reshape(-1, h, K, w, C).transpose(1, 2)  # B*R K h w C
        return self._joined(x, h * w, C)

    def merge(self, x: Tensor, scheme: Scheme) -> Tensor:
        """Tokens ``B*windows N C`` -> rows of pixels ``B*H*W C``; the inverse of `split`."""
        C = x.shape[2]
        R, K, h, w = self.rows, self.columns, self.window_h, self.window_w
        if self.single:
            return x.reshape(-1, C)
        if scheme == "remote":
            x = x.reshape(R, K, -1, w, C).permute(2, 0, 3, 1, 4)  # B*h R w K C
        else:
            x = x.reshape(-1, K, h, w, C).transpose(1, 2)  # B*R h K w C
        return self._joined(x, C)

    def _joined(self, x: Tensor, *last: int) -> Tensor:
        """A permuted tensor with these last axes and one in front of them."""
        if self.symbolic:
            # Reshape would ask whether the axes happen to lie so that no copy is needed, as they do for one window,
            # and the answer would be frozen into the graph.
            return x.clone(memory_format=torch.contiguous_format).view(-1, *last)
        return x.reshape(-1, *last)

    def to_rows(self, x: Tensor) -> Tensor:
        """Padded map ``B C H W`` -> rows of pixels ``B*H*W C``."""
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])

    def to_map(self, rows: Tensor) -> Tensor:
        """Rows of pixels ``B*H*W C`` -> map ``B C H W`` without the appended cells."""
        x = rows.reshape(-1, self.rows * self.window_h, self.columns * self.window_w, rows.shape[1])
        # Always cut: a cut that depends on the size would be frozen into an exported graph.
        return x[:, : self.height, : self.width].permute(0, 3, 1, 2)


def multi_head_attention(qk: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """Plain softmax attention over the tokens of each window.

    Queries are in the first D channels of `qk` (``W N 2*D``), keys in the last D, each head-major, as `v` (``W N E``,
    E may differ from D) and the result are; the query-key product is multiplied by `scale`.
    """
    # Every axis moved by a transpose of its own: the form in which OpenVINO recognises attention and drops the copies.
    q, k = qk.chunk(2, 2)
    q = q.unflatten(2, (heads, -1)).transpose(1, 2)  # W heads N D/heads
    k = k.unflatten(2, (heads, -1)).permute(0, 2, 3, 1)  # W heads D/heads N
    v = v.unflatten(2, (heads, -1)).transpose(1, 2)  # W heads N E/heads
    # Scaling q, not the product, keeps half precision further from overflow. A fused network has it in its weights.
    weights = ((q if scale == 1.0 else q * scale) @ k).softmax(-1)
    # Under autocast softmax gives float32 and the product goes back to the lower precision.
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Rates per stage and block, rising linearly from 0 to `rate` over all blocks.

    Blocks without a residual consume an entry although they never use it, as in the reference.
    """
    total = sum(depths)
    flat = [rate * i / max(total - 1, 1) for i in range(total)]
    starts = [sum(depths[:i]) for i in range(len(depths))]
    return [flat[start : start + depth] for start, depth in zip(starts, depths, strict=True)]


@POINTWISE.timed_by
def _pointwise() -> Work:
    """1x1 convolutions of EMOv2-5M: stages 1, 3 and 4."""
    shapes = ((48, 96, 56), (160, 640, 14), (640, 160, 14), (1152, 288, 7))
    return inference(*((channels_last(Conv2d(C, out, 1)), feature_map(C, side)) for C, out, side in shapes))


@GRADIENTS.timed_by
def _gradients() -> Work:
    """A depthwise convolution of EMOv2-5M's second stage."""
    conv = Conv2d(96, 96, 5, 1, 2, groups=96, bias=False)
    return learning(channels_last(conv), feature_map(96, 28, 4))
