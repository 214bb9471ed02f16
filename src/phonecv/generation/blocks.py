"""The blocks of a diffusion network: EMOv2's i2RMB and, to compare with, DiT's.

Both take a map and a condition; what they add starts at zero (DiT's adaLN-zero, section 3.2), so that a fresh stack of
them changes nothing. Shapes are written ``B C H W``; a token is a place of the map.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.generation.catalog import Blocks
from phonecv.models.blocks import EMO_EPS, ConvNormAct, LayerNorm2d
from phonecv.models.emov2 import OPERATORS, WindowExpansion
from phonecv.models.recompute import recomputed

LocalNorm = Literal["layer", "batch"]


class ModulatedI2RMB(nn.Module):
    """EMOv2's block under a condition, ``B C H W, B C -> B C H W``: one residual, so one shift, scale and gate.

    D-EMO's code was never published. The parameters in its logs, ``13 C^2 + 119 C`` a block at four widths, leave this
    structure: norm, modulation, expansion by 4 with attention in close and remote windows, a depthwise 5 x 5
    convolution beside an identity, projection, gate. What counts cannot tell:

    - The local norm. Published operations (69.3 G of L) are met if it counts 5 per value, which is a layer norm, or a
      batch norm counted in training mode. A layer norm is the default: batch statistics would mix pictures of all
      noise levels, and those of averaged weights belong to no network. On digits, early and in two seeds of
      two, a batch norm was ahead: 82.0 and 84.8 % read after 800 steps against 75.6 and 78.4 %
      (`benchmarks/generation.py choices`).
    - The activation after it: GELU behind a layer norm and SiLU behind a batch norm, the two pairs that EMOv2 has.
    - The channels of a head: 32, as in EMOv2's late stages. 16 gave 77.0 and 78.8 % there, 96 gave 72.4
      and 78.2: no clear difference.

    Args:
        width: C.
        head_dim: channels of queries and keys per head; divides `width`.
        window: side of the attention windows in tokens.
        local_norm: behind the depthwise convolution.
    """

    def __init__(self, width: int, *, head_dim: int, window: int, local_norm: LocalNorm) -> None:
        super().__init__()
        mid = 4 * width
        self.norm = LayerNorm2d(width)
        self.modulation = nn.Linear(width, 3 * width)
        self.expansion = WindowExpansion(
            width, mid, nn.GELU, schemes=OPERATORS["hybrid"][0], head_dim=head_dim, window=window, qkv_bias=True
        )
        layer = local_norm == "layer"
        act = nn.GELU if layer else nn.SiLU
        self.conv_local = ConvNormAct(mid, mid, 5, groups=mid, norm=not layer, act=act)
        if layer:
            self.conv_local.norm = LayerNorm2d(mid)  # type: ignore[assignment]
        self.proj = ConvNormAct(mid, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The map, and what the block adds under the condition."""
        shift, scale, gate = self.modulation(F.silu(condition))[:, :, None, None].chunk(3, 1)
        t = self.expansion(self.norm(x) * (1 + scale) + shift)
        return x + gate * self.proj(t + self.conv_local(t))


class DiTBlock(nn.Module):
    """DiT's block, ``B C H W, B C -> B C H W``: attention over all tokens, then an MLP, both modulated."""

    def __init__(self, width: int, *, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.norm1 = nn.LayerNorm(width, eps=EMO_EPS, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, eps=EMO_EPS, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The map, and what attention and MLP add under the condition."""
        H, W = x.shape[2:]
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition))[:, None].chunk(6, 2)
        x = x.flatten(2).transpose(1, 2)  # B T C
        x = x + gate1 * self._attend(self.norm1(x) * (1 + scale1) + shift1)
        x = x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)
        return x.transpose(1, 2).unflatten(2, (H, W))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DiffusionBackbone(nn.Module):
    """The blocks of a generator, ``B C H W, B C -> B C H W``.

    Attributes:
        name: catalog name of the generator they are of.
        overrides: constructor arguments of the generator that differ from the catalog's.
        checkpoint_activations: see `phonecv.models.base.VisionModel`.

    Args:
        blocks: whose.
        width: C.
        depth: how many.
        head_dim: channels of queries and keys per head.
        window: side of EMOv2's windows in tokens.
        local_norm: of EMOv2's blocks.

    Raises:
        UserError: a head does not divide the width, or a value is out of range.
    """

    def __init__(
        self, blocks: Blocks, *, width: int, depth: int, head_dim: int, window: int, local_norm: LocalNorm
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("head_dim", head_dim), ("window", window)):
            if not (isinstance(value, int) and value >= 1):
                raise UserError(f"{name} {value!r} is not a whole number above 0")
        if width % head_dim:
            raise UserError(f"head_dim {head_dim} does not divide the width {width}")
        if blocks not in ("emov2", "dit") or local_norm not in ("layer", "batch"):
            raise UserError(f"blocks {blocks!r} are not emov2 or dit, or local_norm {local_norm!r} not layer or batch")
        self.name = ""
        self.overrides: dict[str, Any] = {}
        self.checkpoint_activations = False

        def block() -> nn.Module:
            if blocks == "dit":
                return DiTBlock(width, head_dim=head_dim)
            return ModulatedI2RMB(width, head_dim=head_dim, window=window, local_norm=local_norm)

        self.blocks = nn.ModuleList(block() for _ in range(depth))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The map after all blocks."""
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for block in self.blocks:
            x = recomputed(block, x, condition) if recompute else block(x, condition)
        return x
