"""A network for one picture of one size, without tensors of more than four axes, batch included.

ncnn has no batch axis and at most four others, and its converter gives up where an axis is joined with the batch's;
Apple's Neural Engine and the GPU delegate of LiteRT work on four axes. The window attention of `phonecv.models` works
on rows of pixels of the whole batch. Here the same windows are cut out of a map ``1 C H W`` by two moves of an axis,
one per direction, with channels first throughout.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phonecv.models.blocks import ConvNormAct, LayerNorm2d, Scheme, WindowGrid
from phonecv.models.emo import IRMB
from phonecv.models.emov2 import WindowExpansion


def with_four_axes(module: nn.Module, example: Tensor) -> nn.Module:
    """A copy with the same outputs for one picture ``1 3 H W`` of the example's size; the module stays as it was."""
    module = copy.deepcopy(module)
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def note(block: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes[block] = (inputs[0].shape[2], inputs[0].shape[3])

    attending = [block for block in module.modules() if isinstance(block, IRMB | WindowExpansion)]
    hooks = [block.register_forward_pre_hook(note) for block in attending]
    with torch.no_grad():
        module(example)
    for hook in hooks:
        hook.remove()
    for block in list(module.modules()):
        if isinstance(block, IRMB) and block.qk is not None:
            # Takes the place of the method; the rest of the block needs no change.
            vars(block)["attend"] = _Attention(block, sizes[block])
        for name, child in block.named_children():
            if isinstance(child, WindowExpansion):
                setattr(block, name, _WindowExpansion(child, sizes[child]))
            elif isinstance(child, LayerNorm2d):
                setattr(block, name, _LayerNorm2d(child.norm))
    return module


class _LayerNorm2d(nn.Module):
    """`LayerNorm2d` that keeps the batch axis apart."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Attention:
    """`IRMB.attend` at one size."""

    def __init__(self, block: IRMB, size: tuple[int, int]) -> None:
        self.block, self.grid = block, WindowGrid(*size, block.window)

    def __call__(self, x: Tensor, qk: ConvNormAct) -> Tensor:
        x = self.grid.pad(x, self.block.pad_value)
        return _mixed(self.grid, qk(x), x, ("remote",), heads=self.block.heads, scale=self.block.scale)


class _WindowExpansion(nn.Module):
    """`WindowExpansion` at one size."""

    def __init__(self, source: WindowExpansion, size: tuple[int, int]) -> None:
        super().__init__()
        self.qk, self.v = source.qk, source.v  # under the names that reports and settings know them by
        self.schemes, self.heads, self.scale = source.schemes, source.heads, source.scale
        self.pad_value: Tensor | None
        self.register_buffer("pad_value", source.pad_value)
        self.grid = WindowGrid(*size, source.window)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grid.pad(x, self.pad_value)
        return _mixed(self.grid, self.qk(x), self.v(x), self.schemes, heads=self.heads, scale=self.scale)


def _mixed(grid: WindowGrid, qk: Tensor, v: Tensor, schemes: Sequence[Scheme], *, heads: int, scale: float) -> Tensor:
    """Padded maps ``1 2*D H W`` and ``1 E H W`` -> ``1 E H W``, the sum over the schemes, without the padding."""
    once = schemes[:1] if grid.single else schemes
    maps = [_merge(grid, _attend(_split(grid, qk, s), _split(grid, v, s), heads, scale), s) for s in once]
    total = maps[0] if len(maps) == 1 else maps[0] + maps[1]
    if len(once) != len(schemes):
        total = total * len(schemes)
    if grid.pad_bottom or grid.pad_right:
        total = total[:, :, : grid.height, : grid.width]
    return total


def _split(grid: WindowGrid, x: Tensor, scheme: Scheme) -> Tensor:
    """Padded map ``1 C R*h K*w`` -> ``1 K*R C h*w``, windows first.

    The row's axis is ``h R`` in remote windows and ``R h`` in close ones; the column's likewise.
    """
    C = x.shape[1]
    R, K, h, w = grid.rows, grid.columns, grid.window_h, grid.window_w
    if R > 1:
        x = x.reshape(1, C * h, R, K * w) if scheme == "remote" else x.reshape(1, C, R, h * K * w)
        x = x.permute(0, 2, 1, 3)  # 1 R C*h K*w
    if K > 1 and scheme == "remote":
        x = x.reshape(1, R * C * h, w, K).permute(0, 3, 1, 2)
    elif K > 1:
        x = x.reshape(1, R * C * h, K, w).permute(0, 2, 1, 3)  # 1 K R*C*h w
    return x.reshape(1, K * R, C, h * w)


def _merge(grid: WindowGrid, x: Tensor, scheme: Scheme) -> Tensor:
    """``1 K*R C h*w`` -> padded map ``1 C R*h K*w``; the inverse of `_split`."""
    C = x.shape[2]
    R, K, h, w = grid.rows, grid.columns, grid.window_h, grid.window_w
    if K > 1:
        x = x.reshape(1, K, R * C * h, w)
        x = x.permute(0, 2, 3, 1) if scheme == "remote" else x.permute(0, 2, 1, 3)
    if R > 1:
        x = x.reshape(1, R, C * h, K * w) if scheme == "remote" else x.reshape(1, R, C, h * K * w)
        x = x.permute(0, 2, 1, 3)
    return x.reshape(1, C, R * h, K * w)


def _attend(qk: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """`multi_head_attention` with tokens last: ``1 W 2*D N`` and ``1 W E N`` -> ``1 W E N``."""
    W, E, N = v.shape[1:]
    q, k = (part.reshape(1, W * heads, qk.shape[2] // 2 // heads, N) for part in qk.chunk(2, 2))
    q = q.transpose(2, 3)
    weights = ((q if scale == 1.0 else q * scale) @ k).softmax(-1)  # 1 W*heads N N
    v = v.reshape(1, W * heads, E // heads, N) @ weights.transpose(2, 3)
    return v.reshape(1, W, E, N)
