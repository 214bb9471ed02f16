"""EMO and EMOv2 written straight from their description: the baseline for "what one gets today".

Every step of the description is a step here: windows are cut by one six-axis permute and a copy, LayerNorm moves
the channels to the end and back, every norm is a layer of its own, the two kinds of windows are attended one
after the other, and the map stays in PyTorch's default layout. Nothing is made slow on purpose, and nothing is
made fast. Parameter names are those of `phonecv.models` in training form, so one state dict serves both;
`tests/benchmarks/test_reference_style.py` holds the outputs together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.models.blocks import drop_path_rates
from phonecv.models.catalog import get_record

EPS = 1e-6


class LayerNorm2d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()
        return self.norm(x).permute(0, 3, 1, 2).contiguous()


class LayerScale2d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x / keep * torch.empty(x.shape[0], 1, 1, 1, device=x.device, dtype=x.dtype).bernoulli_(keep)


class ConvUnit(nn.Module):
    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: bool = False,
        act: type[nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(dim_out, eps=EPS) if norm else nn.Identity()
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.act = nn.SiLU()
        self.expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


def cut(x: Tensor, window: int, scheme: str) -> Tensor:
    """``B C H W`` -> ``B*windows N C``."""
    B, C, H, W = x.shape
    n1, n2 = H // window, W // window
    if scheme == "remote":
        x = x.reshape(B, C, window, n1, window, n2).permute(0, 3, 5, 2, 4, 1)
    else:
        x = x.reshape(B, C, n1, window, n2, window).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(B * n1 * n2, window * window, C)


def join(x: Tensor, window: int, scheme: str, shape: torch.Size) -> Tensor:
    """The inverse of `cut` for a padded map of this shape (channels aside)."""
    n1, n2 = shape[2] // window, shape[3] // window
    x = x.reshape(shape[0], n1, n2, window, window, x.shape[2])
    x = x.permute(0, 5, 3, 1, 4, 2) if scheme == "remote" else x.permute(0, 5, 1, 3, 2, 4)
    return x.reshape(shape[0], x.shape[1], shape[2], shape[3])


def attention(qk: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """``W N 2D`` and ``W N E`` -> ``W N E``."""
    W, N, _ = qk.shape
    q, k = qk.reshape(W, N, 2, heads, -1).permute(2, 0, 3, 1, 4)
    v = v.reshape(W, N, heads, -1).permute(0, 2, 1, 3)
    weights = (q @ k.transpose(-2, -1) * scale).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(W, N, -1)


def pad(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (0, -x.shape[3] % window, 0, -x.shape[2] % window))


class IRMB(nn.Module):
    """Block of EMO."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        ratio: float,
        kernel: int,
        stride: int,
        late: bool,
        head_dim: int,
        window: int,
        rate: float,
    ) -> None:
        super().__init__()
        mid = int(dim_in * ratio)
        self.skip = stride == 1
        self.norm = LayerNorm2d(dim_in) if late else nn.BatchNorm2d(dim_in, eps=EPS)
        self.qk = ConvUnit(dim_in, 2 * dim_in, bias=True) if late and self.skip else None
        self.v = ConvUnit(dim_in, mid, bias=True, act=nn.GELU if late else nn.SiLU)
        self.conv_local = ConvUnit(mid, mid, kernel, stride=stride, groups=mid, norm=True, act=nn.SiLU)
        self.proj = ConvUnit(mid, dim_out)
        self.drop_path = DropPath(rate)
        self.heads, self.scale, self.window = dim_in // head_dim, head_dim**-0.5, window

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(x)
        if self.qk is not None:
            H, W = t.shape[2:]
            t = pad(t, self.window)
            shape = t.shape
            tokens = attention(
                cut(self.qk(t), self.window, "remote"), cut(t, self.window, "remote"), self.heads, self.scale
            )
            t = self.v(join(tokens, self.window, "remote", shape))[:, :, :H, :W]
        else:
            t = self.v(t)
        t = t + self.conv_local(t) if self.skip else self.conv_local(t)
        t = self.proj(t)
        return x + self.drop_path(t) if self.skip else t


class Expand(nn.Module):
    def __init__(self, dim_in: int, mid: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.net = ConvUnit(dim_in, mid, bias=True, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class HybridAttention(nn.Module):
    """Remote windows, then close windows, added."""

    def __init__(self, dim_in: int, mid: int, act: type[nn.Module], *, head_dim: int, window: int) -> None:
        super().__init__()
        self.qk = ConvUnit(dim_in, 2 * dim_in, bias=True)
        self.v = ConvUnit(dim_in, mid, bias=True, act=act)
        self.heads, self.scale, self.window = dim_in // head_dim, head_dim**-0.5, window

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[2:]
        x = pad(x, self.window)
        qk, v = self.qk(x), self.v(x)
        maps = []
        for scheme in ("remote", "close"):
            tokens = attention(cut(qk, self.window, scheme), cut(v, self.window, scheme), self.heads, self.scale)
            maps.append(join(tokens, self.window, scheme, x.shape))
        return (maps[0] + maps[1])[:, :, :H, :W]


class I2RMB(nn.Module):
    """Block of EMOv2."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        ratio: float,
        kernel: int,
        stride: int,
        late: bool,
        head_dim: int,
        window: int,
        rate: float,
    ) -> None:
        super().__init__()
        mid = int(dim_in * ratio)
        act = nn.GELU if late else nn.SiLU
        self.skip = stride == 1
        self.norm = LayerNorm2d(dim_in) if late else nn.BatchNorm2d(dim_in, eps=EPS)
        self.eops = nn.ModuleList(
            [
                HybridAttention(dim_in, mid, act, head_dim=head_dim, window=window)
                if late and self.skip
                else Expand(dim_in, mid, act)
            ]
        )
        self.conv_local = ConvUnit(mid, mid, kernel, stride=stride, groups=mid, norm=True, act=nn.SiLU)
        self.proj = ConvUnit(mid, dim_out)
        self.ls = LayerScale2d(dim_out)
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(x)
        t = self.eops[0](t)
        t = t + self.conv_local(t) if self.skip else self.conv_local(t)
        t = self.ls(self.proj(t))
        return x + self.drop_path(t) if self.skip else t


class StemBlock(nn.Module):
    """First block of EMO."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_local = ConvUnit(channels, channels, 3, groups=channels, norm=True, act=nn.SiLU)
        self.se = SqueezeExcite(channels)
        self.proj = ConvUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.se(self.conv_local(x)))


class Network(nn.Module):
    """Stem, four stages, LayerNorm, mean, linear classifier."""

    def __init__(
        self, stem: nn.Module, block: Any, *, dims: Sequence[int], config: dict[str, Any], kernels: Sequence[int]
    ) -> None:
        super().__init__()
        self.stage0 = stem
        rates = drop_path_rates(config.get("drop_path", 0.05), tuple(config["depths"]))
        for s in range(4):
            blocks = []
            for d in range(config["depths"][s]):
                first = d == 0
                blocks.append(
                    block(
                        dims[s] if first else dims[s + 1],
                        dims[s + 1],
                        ratio=config["exp_ratios"][s] * (2 if first else 1),
                        kernel=kernels[s],
                        stride=2 if first else 1,
                        late=s >= 2,
                        head_dim=config["head_dims"][s],
                        window=config.get("window", 7),
                        rate=rates[s][d],
                    )
                )
            setattr(self, f"stage{s + 1}", nn.Sequential(*blocks))
        self.norm = LayerNorm2d(dims[4])
        self.head = nn.Linear(dims[4], 1000)

    def forward(self, x: Tensor) -> Tensor:
        for s in range(5):
            x = getattr(self, f"stage{s}")(x)
        return self.head(self.norm(x).mean((2, 3)))


def build(name: str) -> nn.Module:
    """An EMO, or an EMOv2 of the hybrid kind, by its catalog name, with fresh weights."""
    record = get_record(name)
    config = dict(record.config)
    widths = config["widths"]
    if record.family == "emo":
        stem = nn.Sequential(ConvUnit(3, 24, 3, stride=2, bias=True, norm=True), StemBlock(24))
        return Network(stem, IRMB, dims=(24, *widths), config=config, kernels=(3, 3, 5, 5))
    if record.family != "emov2" or config.get("attention", "hybrid") != "hybrid":
        raise ValueError(f"{name} is not written here; emo_* and hybrid emov2_* are")
    width = widths[0] // 2
    stem = nn.Sequential(
        ConvUnit(3, width, 3, stride=2, bias=True, norm=True, act=nn.SiLU),
        ConvUnit(width, width, 3, groups=width, norm=True, act=nn.SiLU),
        ConvUnit(width, width),
    )
    return Network(stem, I2RMB, dims=(width, *widths), config=config, kernels=(5, 5, 5, 5))
