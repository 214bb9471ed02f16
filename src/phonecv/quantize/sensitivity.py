"""How much noise rounding adds, layer by layer, and which layers lose most by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.export.ranges import Int8Settings
from phonecv.quantize.layers import batches, layers_of
from phonecv.quantize.simulation import USUAL, input_ranges, rounded_activation, rounded_weight, simulate


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """Signal-to-noise ratios of one layer in decibels: 20 is noise of a tenth of the signal, less is worse.

    Attributes:
        name: of the layer.
        kind: "depthwise", "convolution" or "linear".
        parameters: its values.
        own: its output, when only this layer is rounded.
        total: its output, when all layers before it are rounded too.
        alone: the network's output, when only this layer is rounded; None where that was not measured.
    """

    name: str
    kind: str
    parameters: int
    own: float
    total: float
    alone: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an unlimited ratio (no noise at all) is None."""
        values = asdict(self)
        rounded = {
            key: None if values[key] is None or math.isinf(values[key]) else round(values[key], 2)
            for key in ("own", "total", "alone")
        }
        return values | rounded


class _Noise:
    """Powers of signal and noise, summed over parts."""

    def __init__(self) -> None:
        self.signal, self.noise = 0.0, 0.0

    def add(self, wanted: Tensor, got: Tensor) -> None:
        self.signal += float(wanted.square().sum(dtype=torch.float64))
        self.noise += float((got - wanted).square().sum(dtype=torch.float64))

    @property
    def decibels(self) -> float:
        return signal_to_noise(self.signal, self.noise)


def signal_to_noise(signal: float, noise: float) -> float:
    """Decibels from the powers of both; infinite without noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


@torch.no_grad()
def layer_noise(
    network: nn.Module,
    images: Tensor,
    settings: Int8Settings | None = None,
    *,
    alone: bool = False,
) -> list[LayerNoise]:
    """The noise of every layer, in the order of the network.

    Args:
        network: in deploy form and evaluation mode, right in floating point.
        images: ``N 3 H W``; a few dozen tell the layers apart.
        settings: of the ranges of activations.
        alone: also run the network once for each layer, with only this one rounded.
    """
    ranges = input_ranges(network, images, settings or USUAL)
    layers = layers_of(network)
    rounded = {name: _rounded(module) for name, module in layers.items()}
    own, total = {name: _Noise() for name in layers}, {name: _Noise() for name in layers}
    simulated = simulate(network, ranges)
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            kept[name] = output.clone()  # the activation after it may overwrite it
            own[name].add(output, rounded[name](rounded_activation(given[0], ranges[name])))

        return hook

    def judge(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            total[name].add(kept.pop(name), output)

        return hook

    played = layers_of(simulated)
    hooks = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    try:
        for name, module in played.items():
            module.register_forward_hook(judge(name))
        for part in batches(images):
            network(part)
            simulated(part)
    finally:
        for hook in hooks:
            hook.remove()
    effect = _effects(network, images, ranges) if alone else {}
    return [
        LayerNoise(
            name=name,
            kind=_kind(module),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            own=own[name].decibels,
            total=total[name].decibels,
            alone=effect.get(name),
        )
        for name, module in layers.items()
    ]


def _effects(network: nn.Module, images: Tensor, ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    wanted = network(images)
    found = {}
    for name in ranges:
        noise = _Noise()
        noise.add(wanted, simulate(network, ranges, [name])(images))
        found[name] = noise.decibels
    return found


#: A layer with more than this share of all values stays in 8 bits: its float32 weights would take back what was saved.
LARGE = 0.02


def most_sensitive(noises: Sequence[LayerNoise], count: int, *, large: float = LARGE) -> list[str]:
    """Names of the layers that cost the network's output most, the worst first; large ones are not among them."""
    most = large * sum(noise.parameters for noise in noises)
    return [noise.name for noise in sorted(noises, key=_loss) if noise.parameters <= most][:count]


def _loss(noise: LayerNoise) -> float:
    return noise.own if noise.alone is None else noise.alone


def _rounded(module: nn.Conv2d | nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = rounded_weight(module.weight)
    if isinstance(module, nn.Linear):
        return lambda x: nn.functional.linear(x, weight, module.bias)
    return lambda x: module._conv_forward(x, weight, module.bias)


def _kind(module: nn.Conv2d | nn.Linear) -> str:
    if isinstance(module, nn.Linear):
        return "linear"
    return "depthwise" if module.groups == module.in_channels > 1 else "convolution"


__all__ = ["LayerNoise", "layer_noise", "most_sensitive", "signal_to_noise"]
