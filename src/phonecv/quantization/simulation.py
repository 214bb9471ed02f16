"""int8 arithmetic played in PyTorch: symmetric weights per channel, unsigned activations per tensor.

The rounding of runtimes differs in details; what a network loses is close enough to see which layers lose most, and to
correct biases by. Where activations are quantized: at the input of every convolution and linear layer, as runtimes do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from phonecv.exporting.ranges import Int8Settings, Tails, watched
from phonecv.models.quantized import layers_of
from phonecv.quantization.layers import batches, chosen_layers

Range = tuple[float, float]
M = TypeVar("M", bound=nn.Module)

#: Ranges that leave the rarest values out suit bias correction and estimates best.
USUAL = Int8Settings(range="percentile")


def rounded_weight(weight: Tensor) -> Tensor:
    """Weights as 8 bits hold them: symmetric, a scale for each output channel."""
    scale = weight.abs().flatten(1).amax(1) / 127
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight.contiguous(), scale, zero, 0, -127, 127)


def rounded_activation(values: Tensor, limits: Range) -> Tensor:
    """Values as 8 bits without sign hold them; zero is always among them."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / 255 or 1.0
    return torch.fake_quantize_per_tensor_affine(values, scale, round(-low / scale), 0, 255)


@torch.no_grad()
def input_ranges(
    network: nn.Module, images: Tensor, settings: Int8Settings, left_out: Sequence[str] = ()
) -> dict[str, Range]:
    """The range of what each quantized layer reads.

    Args:
        network: in evaluation mode.
        images: ``N 3 H W``.
        settings: how ranges are found.
        left_out: layers that stay in floating point.
    """
    return value_ranges(network, images, list(chosen_layers(network, left_out)), settings, outputs=False)


@torch.no_grad()
def value_ranges(
    network: nn.Module, images: Tensor, names: Sequence[str], settings: Int8Settings, *, outputs: bool
) -> dict[str, Range]:
    """The range of the inputs (or outputs) of modules over all pictures."""
    tails: dict[str, Tails] = {}

    def look(name: str, module: nn.Module, given: tuple[Tensor, ...], result: Tensor | None = None) -> None:
        values = given[0] if result is None else result
        if name not in tails:
            # A head's layer that goes over several maps sees a few more: the first is the largest by far.
            tails[name] = Tails(values.numel() // len(values) * len(images), settings.span)
        tails[name].add(values.numpy())

    with watched(network, names, look, before=not outputs):
        for part in batches(images):
            network(part)
    return {name: tail.range() for name, tail in tails.items()}


def simulate(network: M, ranges: Mapping[str, Range] | None, layers: Sequence[str] | None = None) -> M:
    """A copy that computes as the int8 file would, nearly.

    Args:
        network: in deploy form and evaluation mode.
        ranges: of the layers' inputs, see `input_ranges`; None quantizes weights alone.
        layers: names of those that are quantized; None for all that have a range (all, without ranges).
    """
    simulated = copy.deepcopy(network)
    own = layers_of(simulated)
    if layers is None:
        layers = list(own) if ranges is None else list(ranges)
    with torch.no_grad():
        for name in layers:
            own[name].weight.copy_(rounded_weight(own[name].weight))
            if ranges is not None:
                own[name].register_forward_pre_hook(rounding(ranges[name]))
    return simulated


def rounding(limits: Range) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor]]:
    """A hook before a layer: what it reads, as 8 bits hold it."""
    return lambda module, given: (rounded_activation(given[0], limits),)
