"""How much noise rounding adds, layer by layer, and which layers lose most by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.exporting.ranges import Int8Settings, watched
from phonecv.models.quantized import layers_of
from phonecv.quantization.layers import batches
from phonecv.quantization.simulation import USUAL, input_ranges, rounded_activation, rounded_weight, simulate

#: Pixels of the pictures that go through the network at once to see what one layer does to the outputs.
_TOGETHER = 16 * 320 * 320


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
        """Take in a part."""
        self.signal += float(wanted.square().sum(dtype=torch.float64))
        self.noise += float((got - wanted).square().sum(dtype=torch.float64))

    @property
    def decibels(self) -> float:
        """Signal-to-noise ratio."""
        return signal_to_noise(self.signal, self.noise)


def outputs_decibels(wanted: Sequence[Sequence[Tensor]], got: Sequence[Sequence[Tensor]]) -> float:
    """Signal-to-noise ratio of a network's outputs over parts; of several outputs the mean share of noise counts.

    It is minus infinity if any number of `got` is not finite.
    """
    shares = []
    for have, want in zip(zip(*got, strict=True), zip(*wanted, strict=True), strict=True):
        noise = _Noise()
        for one, other in zip(want, have, strict=True):
            noise.add(one, other)
        if not math.isfinite(noise.noise):
            return -math.inf
        shares.append(10 ** (-noise.decibels / 10))
    return signal_to_noise(len(shares), sum(shares)) if math.isfinite(sum(shares)) else -math.inf


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
        network: in deploy form and evaluation mode, right in floating point; it gives a tensor or a sequence of them.
        images: ``N 3 H W``; a few dozen tell the layers apart.
        settings: of the ranges of activations.
        alone: also run the network once for each layer, with only this one rounded.
    """
    ranges = input_ranges(network, images, settings or USUAL)
    layers = layers_of(network)
    rounded = {name: _rounded(module) for name, module in layers.items()}
    # A layer that no picture goes through has no range. One that a head uses on several maps comes several times.
    layers = {name: module for name, module in layers.items() if name in ranges}
    own, total = {name: _Noise() for name in layers}, {name: _Noise() for name in layers}
    simulated = simulate(network, ranges)
    kept: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        kept[name].append(output.clone())  # the activation after it may overwrite it
        own[name].add(output, rounded[name](rounded_activation(given[0], ranges[name])))

    def judge(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        total[name].add(kept[name].pop(0), output)

    with watched(network, layers, keep), watched(simulated, layers, judge):
        for part in batches(images):
            network(part)
            simulated(part)
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
    def outputs(module: nn.Module) -> list[list[Tensor]]:
        found = [module(part) for part in batches(images, _TOGETHER)]
        return [[result] if isinstance(result, Tensor) else list(result) for result in found]

    wanted = outputs(network)
    return {name: outputs_decibels(wanted, outputs(simulate(network, ranges, [name]))) for name in ranges}


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
