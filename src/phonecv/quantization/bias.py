"""Bias correction (Nagel et al. 2019, section 4.2): what rounding adds to a channel on average is taken off its bias.

The largest gain of all remedies for MobileOne. The result is right as int8 only: in floating point there is no error
to make up for, and it is worse than the network it came from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from phonecv.exporting.ranges import Int8Settings, watched
from phonecv.models.quantized import give_biases, layers_of
from phonecv.quantization.layers import batches, chosen_layers
from phonecv.quantization.simulation import USUAL, input_ranges, simulate

#: Pixels of all pictures together that are looked at: they pass through the network side by side, and a map of them
#: has to fit the memory.
_PIXELS = 128 * 224 * 224

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def correct_biases(
    network: M,
    images: Tensor,
    settings: Int8Settings | None = None,
    *,
    left_out: Sequence[str] = (),
    weights_only: bool = False,
) -> M:
    """A copy whose every quantized layer has, over the pictures, the mean outputs of the floating-point network.

    Layers are corrected in the order in which they run, each behind the corrected ones before it. A layer that a head
    uses on several maps is corrected by the first, which is the largest and has most of the pixels.

    Args:
        network: in deploy form and evaluation mode, or a module around one that takes a batch and gives its outputs.
        images: ``N 3 H W``; of very many, evenly picked ones are used.
        settings: of the ranges of activations.
        left_out: layers that stay in floating point.
        weights_only: activations are not quantized.
    """
    images = _few(images)
    corrected = copy.deepcopy(network)
    give_biases(corrected, list(chosen_layers(corrected, left_out)))
    names = list(chosen_layers(corrected, left_out))
    wanted = _mean_outputs(corrected, images, names)
    names = list(wanted)  # a layer that no picture goes through has nothing to correct
    ranges = None if weights_only else input_ranges(network, images, settings or USUAL, left_out)
    simulated = simulate(corrected, ranges, names)
    own, played = layers_of(corrected), layers_of(simulated)

    found: dict[str, Tensor] = {}

    def correct(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if name not in found:
            found[name] = wanted[name] - _channel_means(output, module)
            bias = own[name].bias
            assert bias is not None
            bias.add_(found[name].to(bias.dtype))
        return output + found[name].to(output.dtype).reshape(-1, *[1] * (output.ndim - 2))

    for name in names:
        played[name].register_forward_hook(partial(correct, name))
    simulated(images)  # one pass: a hook corrects its layer before the next one reads it
    return corrected


def _mean_outputs(network: nn.Module, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    seen: set[str] = set()

    def add(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if name in seen:  # on the next map
            return
        seen.add(name)
        part = _channel_means(output, module) * len(output)
        sums[name] = sums[name] + part if name in sums else part

    with watched(network, names, add):
        for part in batches(images):
            seen.clear()
            network(part)
    return {name: total / len(images) for name, total in sums.items()}


def _channel_means(output: Tensor, module: nn.Module) -> Tensor:
    """Mean of each output channel over pictures and places, float64."""
    others = (0, 2, 3) if isinstance(module, nn.Conv2d) else tuple(range(output.ndim - 1))
    return output.double().mean(others) if output.numel() < 1e6 else output.mean(others).double()


def _few(images: Tensor) -> Tensor:
    most = max(1, _PIXELS // (images.shape[-2] * images.shape[-1]))
    if len(images) <= most:
        return images
    return images[torch.arange(most) * len(images) // most]
