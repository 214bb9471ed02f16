"""Parameters, multiply-adds and the published tables' FLOPs of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from phonecv.models.base import VisionModel
from phonecv.models.blocks import SavesWork


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one picture, or row of inputs.

    Attributes:
        executed_macs: multiply-adds of convolutions, linear layers and attention products that really run.
        macs: the same as published tables count it, which is more where a layer saves work (`SavesWork`): EMOv2's
            hybrid attention counts its remote and its close windows there, also where one window covers the map, both
            are the same and we compute them once; SegFormer's head its last convolution at full size, before which we
            do the smaller levels' part of it.
        flops: published counting: `macs`, plus 2 per BatchNorm element, 5 per LayerNorm element and 1 per
            input element of the pooling where the family pools by a layer (fvcore's rules, evaluation mode).
    """

    executed_macs: int
    macs: int
    flops: int


class _Counter(TorchDispatchMode):
    """Adds up torch's own formulas, as its `FlopCounterMode` does.

    That one keeps itself out of compiled graphs, for which its first operator imports the whole compiler: two seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=made)
        return made


def count_parameters(model: nn.Module) -> int:
    """Parameters that training changes; running statistics are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_cost(model: nn.Module, size: int | tuple[int, int], *, in_chans: int = 3) -> Cost:
    """Count the forward pass of one picture in evaluation mode, on the model's device.

    Args:
        model: a network; its mode is restored afterwards.
        size: input side, or (height, width), in pixels.
        in_chans: input channels.
    """
    height, width = (size, size) if isinstance(size, int) else size
    like = next(model.parameters())
    return count_cost_on(model, torch.zeros(1, in_chans, height, width, device=like.device, dtype=like.dtype))


def count_cost_on(model: nn.Module, *inputs: torch.Tensor) -> Cost:
    """Count one forward pass of these inputs, maps first, in evaluation mode; the model's mode is restored."""
    height, width = inputs[0].shape[-2:]
    extra = saved = 0
    handles: list[RemovableHandle] = []

    def count_norm(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal extra
        extra += output.numel() * (2 if isinstance(module, _BatchNorm) else 5)

    def count_pooling(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # MobileOne pools by a layer, which fvcore counts; EMO and EMOv2 take a mean, which it does not.
        nonlocal extra
        if isinstance(module, VisionModel) and module.classifier_name == "linear" and module.out_indices is None:
            stride = module.feature_info[-1]["reduction"]
            extra += module.num_features * -(-height // stride) * -(-width // stride)

    def count_saved(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        nonlocal saved
        assert isinstance(module, SavesWork)
        saved += module.saved_macs(*inputs)

    for module in model.modules():
        if isinstance(module, SavesWork):
            handles.append(module.register_forward_hook(count_saved))
        elif isinstance(module, _BatchNorm | nn.LayerNorm):
            handles.append(module.register_forward_hook(count_norm))
        elif isinstance(module, VisionModel):
            handles.append(module.register_forward_hook(count_pooling))
    was_training = model.training
    try:
        with torch.no_grad(), _Counter() as counter:
            model.eval()(*inputs)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    executed = counter.flops // 2
    return Cost(executed_macs=executed, macs=executed + saved, flops=executed + saved + extra)
