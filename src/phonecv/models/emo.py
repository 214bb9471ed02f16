"""EMO: efficient attention-based mobile networks of one block, the iRMB.

Zhang et al., "Rethinking Mobile Block for Efficient Attention-based Models", ICCV 2023, arXiv 2301.01146.
The inverted residual mobile block expands by a 1x1 convolution, mixes space by window attention (stages 3
and 4) and a depthwise convolution, and projects back. Where paper and released code differ this follows the
code, whose weights people hold: the pre-norm's padding cells are zeros, the value of the attention is the
normed input itself, and `v` acts on the attended values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import VisionModel, init_emo_weights
from phonecv.models.blocks import (
    EMO_EPS,
    ConvNormAct,
    DropPath,
    LayerNorm2d,
    SqueezeExcite,
    WindowGrid,
    drop_path_rates,
    multi_head_attention,
)


class StemBlock(nn.Module):
    """First block after the stem convolution: depthwise, squeeze-excite, projection; no expansion, no residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_local = ConvNormAct(channels, channels, 3, groups=channels, norm=True, act=nn.SiLU)
        self.se = SqueezeExcite(channels, channels, nn.SiLU)
        self.proj = ConvNormAct(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.se(self.conv_local(x)))


class IRMB(nn.Module):
    """Inverted residual mobile block (paper, section 3.2), ``B dim_in H W -> B dim_out H/stride W/stride``."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        ratio: float,
        kernel: int,
        stride: int,
        late: bool,
        attention: bool,
        head_dim: int,
        window: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        dim_mid = int(dim_in * ratio)
        self.residual = stride == 1 and dim_in == dim_out
        self.norm: nn.Module = LayerNorm2d(dim_in) if late else nn.BatchNorm2d(dim_in, eps=EMO_EPS)
        self.qk = ConvNormAct(dim_in, 2 * dim_in, bias=True) if attention else None
        self.v = ConvNormAct(dim_in, dim_mid, bias=True, act=nn.GELU if late else nn.SiLU)
        self.conv_local = ConvNormAct(dim_mid, dim_mid, kernel, stride=stride, groups=dim_mid, norm=True, act=nn.SiLU)
        self.proj = ConvNormAct(dim_mid, dim_out)
        self.drop_path = DropPath(drop_path if self.residual else 0.0)
        self.heads, self.scale, self.window = dim_in // head_dim, head_dim**-0.5, window
        # What an appended window cell holds. None: zero. Fusing moves the norm's affine map into the
        # convolutions, and then the value that means zero is another one per channel.
        self.pad_value: Tensor | None
        self.register_buffer("pad_value", None)

    def attend(self, x: Tensor, qk: ConvNormAct) -> Tensor:
        """Attention in remote windows with the input itself as value, ``B dim_in H W`` to the same."""
        grid = WindowGrid(x.shape[2], x.shape[3], self.window)
        x = grid.pad(x, self.pad_value)
        queries_keys, values = grid.to_rows(qk(x)), grid.to_rows(x)
        tokens = multi_head_attention(
            grid.split(queries_keys, "remote"), grid.split(values, "remote"), heads=self.heads, scale=self.scale
        )
        return grid.to_map(grid.merge(tokens, "remote"))

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(x)
        if self.qk is not None:
            t = self.attend(t, self.qk)
        t = self.v(t)
        t = t + self.conv_local(t) if self.residual else self.conv_local(t)
        t = self.proj(t)
        return x + self.drop_path(t) if self.residual else t


class EMO(VisionModel):
    """The network: stem at stride 2, then four stages at strides 4 to 32.

    Args:
        depths: blocks per stage, the first of which halves the size.
        widths: channels per stage.
        exp_ratios: expansion of the blocks per stage; the halving block expands twice as much.
        head_dims: channels per attention head; only stages 3 and 4 have attention.
        stem_width: channels of the stem.
        kernels: depthwise kernel per stage.
        window: side of the attention windows in tokens; <= 0 for one window over the whole map.
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
        stem_width: int = 24,
        kernels: Sequence[int] = (3, 3, 5, 5),
        window: int = 7,
        drop_path: float = 0.05,
        num_classes: int = 1000,
        in_chans: int = 3,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
    ) -> None:
        super().__init__(
            widths=(stem_width, *widths),
            num_classes=num_classes,
            in_chans=in_chans,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        check_stages(depths=depths, widths=widths, exp_ratios=exp_ratios, head_dims=head_dims, kernels=kernels)
        check_heads(widths, head_dims)
        self.stage0 = nn.Sequential(
            ConvNormAct(in_chans, stem_width, 3, stride=2, bias=True, norm=True), StemBlock(stem_width)
        )
        rates = drop_path_rates(drop_path, tuple(depths))
        block = partial(IRMB, window=window)
        add_stages(self, block, stem_width, widths, exp_ratios, kernels, head_dims, rates, attention=(False, True))
        self.norm = LayerNorm2d(widths[-1]) if out_indices is None else nn.Identity()
        self._add_classifier()
        self.apply(init_emo_weights)
        self._freeze()


def add_stages(
    model: nn.Module,
    block: Callable[..., nn.Module],
    stem_width: int,
    widths: Sequence[int],
    exp_ratios: Sequence[float],
    kernels: Sequence[int],
    head_dims: Sequence[int],
    rates: Sequence[Sequence[float]],
    *,
    attention: tuple[Any, Any],
    attention_stages: Sequence[int] = (3, 4),
) -> None:
    """Give a network its stages 1 to 4 of inverted residual blocks; the first of each halves the size.

    `rates` has the drop path of every block; `attention` what blocks without and with attention are told of it.
    """
    dim_in = stem_width
    for s, width in enumerate(widths):
        blocks = []
        for d, rate in enumerate(rates[s]):
            first = d == 0
            blocks.append(
                block(
                    dim_in,
                    width,
                    ratio=exp_ratios[s] * (2 if first else 1),
                    kernel=kernels[s],
                    stride=2 if first else 1,
                    late=s >= 2,
                    attention=attention[s + 1 in attention_stages and not first],
                    head_dim=head_dims[s],
                    drop_path=rate,
                )
            )
            dim_in = width
        setattr(model, f"stage{s + 1}", nn.Sequential(*blocks))


def check_stages(**per_stage: Sequence[float]) -> None:
    """Every argument holds four positive numbers, one per stage."""
    for name, values in per_stage.items():
        if len(values) != 4 or any(value <= 0 for value in values):
            raise UserError(f"{name} {tuple(values)!r} needs four positive numbers, one for each of stages 1 to 4")


def check_heads(widths: Sequence[int], head_dims: Sequence[int], stages: Sequence[int] = (3, 4)) -> None:
    """The stages that have attention split their channels into whole heads."""
    for stage in stages:
        width, head = widths[stage - 1], head_dims[stage - 1]
        if width % head:
            raise UserError(f"head_dims {head} does not divide the width {width} of stage {stage}")
