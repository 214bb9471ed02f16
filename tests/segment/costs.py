"""Counting as the published tables did, over and above `phonecv.benchmarking.count`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from phonecv.benchmarking.count import count_cost
from phonecv.models.blocks import SqueezeExcite, WindowGrid
from phonecv.models.emo import IRMB
from phonecv.segment.base import Segmenter
from phonecv.segment.layers import PixelClassifier


class Raw(nn.Module):
    """A segmenter from the normalised batch to the decode head's logits, without what evaluation adds."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.network(x, auxiliary=False)[0]


class _Resizing(TorchFunctionMode):
    """Counts what resizing costs: 4 per element that a bilinear one makes, 1 for a nearest one."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is F.interpolate:
            assert kwargs is not None
            self.flops += {"bilinear": 4, "nearest": 1}[kwargs["mode"]] * out.numel()
        return out


def traced_flops(model: Segmenter, size: int) -> int:
    """FLOPs as EMOv2's tables trace them, without the auxiliary head: `flops` of count_cost, resizing and pooling.

    The reference does work that we leave out, which is added: it resizes maps that have the size asked for already, and
    EMO's `v` also runs on the cells that fill the last windows. EMO's squeeze-excite pools by a layer there.
    """
    pooled = excited = 0

    def count_pooling(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal pooled, excited
        if isinstance(module, SqueezeExcite):
            excited += inputs[0].numel()
        else:
            pooled += inputs[0].numel()

    pools = (nn.AdaptiveAvgPool2d, SqueezeExcite)
    with _hooked(model, pools, count_pooling), _PaddedValues(model) as padded, _Resizing() as resizing:
        cost = count_cost(Raw(model), size)
    needless = {"segformer": 1, "semantic_fpn": 3}.get(model.architecture, 0) * 4 * (size // 4) ** 2
    width = next(module.conv.in_channels for module in model.head.modules() if isinstance(module, PixelClassifier))
    return cost.flops + resizing.flops + pooled + excited + padded.macs + needless * width


def hooked_flops(model: Segmenter, size: int) -> int:
    """FLOPs as EMO's tables count them by hooks on modules, without the auxiliary head.

    Convolutions with bias, LayerNorm, ReLU and pooling. Neither attention products, SiLU and GELU nor BatchNorm are in
    them: it was synchronised in these trainings, a module the counter does not know. Without BatchNorm the six figures
    of the reference come out to all four decimals, with it none does.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            pixels = output.shape[0] * output.shape[2] * output.shape[3]
            total += pixels * (module.weight.numel() + (module.out_channels if module.bias is not None else 0))
        else:
            total += inputs[0].numel() * (2 if isinstance(module, nn.LayerNorm) else 1)

    counted = (nn.Conv2d, nn.LayerNorm, nn.ReLU, nn.AdaptiveAvgPool2d)
    device = next(model.parameters()).device
    with _hooked(model, counted, count), _PaddedValues(model) as padded, torch.no_grad():
        Raw(model).eval()(torch.zeros(1, 3, size, size, device=device))
    return total + padded.macs + padded.biases


class _PaddedValues:
    """What EMO's `v` costs on the cells that fill the last windows: the reference cuts them off after it, we before."""

    def __init__(self, model: Segmenter) -> None:
        self.macs = self.biases = 0
        self.context = _hooked(model, (IRMB,), self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, IRMB)
        if module.qk is not None:
            height, width = inputs[0].shape[2:]
            grid = WindowGrid(height, width, module.window)
            cells = (height + grid.pad_bottom) * (width + grid.pad_right) - height * width
            self.macs += cells * module.v.conv.weight.numel()
            self.biases += cells * module.v.conv.out_channels

    def __enter__(self) -> Self:
        self.context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)


@contextmanager
def _hooked(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], hook: Callable[[nn.Module, Any, Any], None]
) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in model.modules() if isinstance(module, kinds)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
