"""EMOv2: the iRMB with attention in two kinds of windows, the i2RMB.

Zhang et al., "EMOv2: Pushing 5M Vision Model Frontier", arXiv 2412.06674. Against EMO: queries and keys
attend both in dilated (remote) and in contiguous (close) windows with one set of weights, and the two
results are added; values are expanded before the attention; every projection has a layer scale, the halving
blocks included; the stem has no squeeze-excite; depthwise kernels are 5x5.

The family called `EMO1` in the released EMOv2 code is this network with remote windows alone and EMO's
kernels. It is not EMO: see `emo.py` for that.

A fresh network ignores its input almost entirely, because the layer scale starts at 1e-6; AdamW leaves that
state within a few steps. Load weights or settle the scale before testing anything numerical.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import VisionModel, init_emo_weights
from phonecv.models.blocks import (
    EMO_EPS,
    ConvNormAct,
    DropPath,
    LayerNorm2d,
    LayerScale2d,
    SavesWork,
    Scheme,
    WindowGrid,
    drop_path_rates,
    multi_head_attention,
)
from phonecv.models.emo import add_stages, check_heads, check_stages

#: remote or close windows; both with one set of weights (hybrid); both with a set each (remote+close).
Attention = Literal["remote", "close", "hybrid", "remote+close"]

#: Per choice, the operators of a block and the window schemes each of them adds up.
OPERATORS: dict[Attention, tuple[tuple[Scheme, ...], ...]] = {
    "remote": (("remote",),),
    "close": (("close",),),
    "hybrid": (("remote", "close"),),
    "remote+close": (("remote",), ("close",)),
}


class Expansion(nn.Module):
    """The operator without attention: 1x1 convolution and activation, ``B dim_in H W -> B dim_mid H W``."""

    def __init__(self, dim_in: int, dim_mid: int, act: type[nn.Module], *, bias: bool) -> None:
        super().__init__()
        self.net = ConvNormAct(dim_in, dim_mid, bias=bias, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class WindowExpansion(SavesWork):
    """Expanded values mixed by window attention, ``B dim_in H W -> B dim_mid H W`` (paper, section 3.2)."""

    def __init__(
        self,
        dim_in: int,
        dim_mid: int,
        act: type[nn.Module],
        *,
        schemes: tuple[Scheme, ...],
        head_dim: int,
        window: int,
        qkv_bias: bool,
    ) -> None:
        super().__init__()
        self.qk = ConvNormAct(dim_in, 2 * dim_in, bias=qkv_bias)
        self.v = ConvNormAct(dim_in, dim_mid, bias=qkv_bias, act=act)
        self.schemes, self.window = schemes, window
        self.heads, self.scale = dim_in // head_dim, head_dim**-0.5
        # See `IRMB.pad_value`.
        #: How a map is cut into windows, by height, width and window; networks of clips have their own.
        self.grid: Callable[[int, int, int], WindowGrid] = WindowGrid
        self.pad_value: Tensor | None
        self.register_buffer("pad_value", None)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid(x.shape[2], x.shape[3], self.window)
        x = grid.pad(x, self.pad_value)
        qk, v = grid.to_rows(self.qk(x)), grid.to_rows(self.v(x))
        # Under one window all cuts are the same, so is the result.
        schemes = self.schemes[:1] if grid.single else self.schemes
        maps = [
            grid.merge(
                multi_head_attention(grid.split(qk, scheme), grid.split(v, scheme), heads=self.heads, scale=self.scale),
                scheme,
            )
            for scheme in schemes
        ]
        total = maps[0] if len(maps) == 1 else maps[0] + maps[1]
        return grid.to_map(total if len(schemes) == len(self.schemes) else total * len(self.schemes))

    def saved_macs(self, x: Tensor) -> int:
        """Those of the cuts that are the same as the first one."""
        grid = self.grid(x.shape[2], x.shape[3], self.window)
        if not grid.single:
            return 0
        return (len(self.schemes) - 1) * grid.tokens**2 * (self.qk.conv.in_channels + self.v.conv.out_channels)


class I2RMB(nn.Module):
    """Improved iRMB (paper, section 3.2), ``B dim_in H W -> B dim_out H/stride W/stride``."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        ratio: float,
        kernel: int,
        stride: int,
        late: bool,
        attention: Attention | None,
        head_dim: int,
        window: int,
        qkv_bias: bool,
        layer_scale: float | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        dim_mid = int(dim_in * ratio)
        act = nn.GELU if late else nn.SiLU
        self.residual = stride == 1 and dim_in == dim_out
        self.norm: nn.Module = LayerNorm2d(dim_in) if late else nn.BatchNorm2d(dim_in, eps=EMO_EPS)
        self.eops = nn.ModuleList(
            [Expansion(dim_in, dim_mid, act, bias=qkv_bias)]
            if attention is None
            else [
                WindowExpansion(
                    dim_in, dim_mid, act, schemes=schemes, head_dim=head_dim, window=window, qkv_bias=qkv_bias
                )
                for schemes in OPERATORS[attention]
            ]
        )
        self.conv_local = ConvNormAct(dim_mid, dim_mid, kernel, stride=stride, groups=dim_mid, norm=True, act=nn.SiLU)
        self.proj = ConvNormAct(dim_mid, dim_out)
        self.ls = nn.Identity() if layer_scale is None else LayerScale2d(dim_out, layer_scale)
        self.drop_path = DropPath(drop_path if self.residual else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(x)
        expanded = self.eops[0](t)
        for operator in list(self.eops)[1:]:
            expanded = expanded + operator(t)
        t = expanded + self.conv_local(expanded) if self.residual else self.conv_local(expanded)
        t = self.ls(self.proj(t))
        return x + self.drop_path(t) if self.residual else t


class EMOv2(VisionModel):
    """The network: stem at stride 2, then four stages at strides 4 to 32.

    Args:
        depths: blocks per stage, the first of which halves the size.
        widths: channels per stage; the stem has half of the first.
        exp_ratios: expansion of the blocks per stage; the halving block expands twice as much.
        head_dims: channels of queries and keys per attention head.
        kernels: depthwise kernel per stage.
        attention: window scheme: "remote", "close", "hybrid" (both, shared weights) or "remote+close" (both, a set
            of weights each).
        attention_stages: which stages have attention, in all blocks but the halving one; empty for none.
        window: side of the attention windows in tokens; <= 0 for one window over the whole map.
        qkv_bias: biases in queries, keys, values and in the expansion of blocks without attention.
        layer_scale: initial layer scale; None for no layer scale.
        drop_path: drop path rate of the last block; earlier ones less, linearly.
        num_classes: 0 for none.
        in_chans: input channels.
        out_indices: turns the network into a dense backbone that returns these stages' maps.
        frozen_stages: stages 0..n keep their weights and statistics; -1 freezes none.
        norm_eval: BatchNorm keeps its statistics in training.

    Raises:
        UserError: an argument is out of range, or a head does not divide its width.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        exp_ratios: Sequence[float],
        head_dims: Sequence[int],
        kernels: Sequence[int] = (5, 5, 5, 5),
        attention: Attention = "hybrid",
        attention_stages: Sequence[int] = (3, 4),
        window: int = 7,
        qkv_bias: bool = True,
        layer_scale: float | None = 1e-6,
        drop_path: float = 0.05,
        num_classes: int = 1000,
        in_chans: int = 3,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
    ) -> None:
        stem_width = widths[0] // 2
        super().__init__(
            widths=(stem_width, *widths),
            num_classes=num_classes,
            in_chans=in_chans,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        check_stages(depths=depths, widths=widths, exp_ratios=exp_ratios, head_dims=head_dims, kernels=kernels)
        if not set(attention_stages) <= {1, 2, 3, 4}:
            raise UserError(f"attention_stages {tuple(attention_stages)!r} are not among the stages 1 to 4")
        check_heads(widths, head_dims, attention_stages)
        if attention not in get_args(Attention):
            raise UserError(f"attention {attention!r} is not one of {', '.join(get_args(Attention))}")
        self.stage0 = nn.Sequential(
            ConvNormAct(in_chans, stem_width, 3, stride=2, bias=True, norm=True, act=nn.SiLU),
            ConvNormAct(stem_width, stem_width, 3, groups=stem_width, norm=True, act=nn.SiLU),
            ConvNormAct(stem_width, stem_width),
        )
        rates = drop_path_rates(drop_path, tuple(depths))
        block = partial(I2RMB, window=window, qkv_bias=qkv_bias, layer_scale=layer_scale)
        add_stages(
            self, block, stem_width, widths, exp_ratios, kernels, head_dims, rates,
            attention=(None, attention), attention_stages=attention_stages,
        )  # fmt: skip
        self.norm = LayerNorm2d(widths[-1]) if out_indices is None else nn.Identity()
        self._add_classifier()
        self.apply(init_emo_weights)
        self._freeze()
