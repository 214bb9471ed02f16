"""Remedies for chains of layers with only ReLU between them, through which factors pass: the network computes the same.

Cross-layer equalisation (Nagel et al. 2019, section 4.1): a factor per channel moves from a layer to the next one.
Channels of one tensor then reach about as far as each other, so that one scale serves them all.

ReLU6 rescaling: every layer is scaled until nearly all it gives lies below 6, and ReLU becomes ReLU6. All that happens
is that the few largest activations are cut. Any toolkit then finds the range 0..6, however it looks for ranges.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from phonecv.exporting.ranges import Int8Settings
from phonecv.models.quantized import put_relu6
from phonecv.quantization.layers import chain_of, input_reach, layer, scale_link
from phonecv.quantization.simulation import value_ranges

#: A channel whose weights are this much below those of the layer's largest is dead: a factor for it would be enormous,
#: and would blow up a bias that does matter.
DEAD = 1e-4

#: Factors of a channel stay within this and its inverse.
MOST = 100.0

_SWEEPS = 30
_SETTLED = 1e-3

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def equalize(network: M) -> M:
    """A copy with equalised channels and the same outputs, up to rounding.

    Args:
        network: in deploy form.

    Raises:
        UserError: no two of its layers have only ReLU between them.
    """
    links = chain_of(network, "equalised")
    dtype = next(network.parameters()).dtype
    equal = copy.deepcopy(network).double()  # many factors in a row, rounded once
    total = [torch.ones(layer(equal, link.first).weight.shape[0], dtype=torch.float64) for link in links]
    for _ in range(_SWEEPS):
        largest = 0.0
        for number, link in enumerate(links):
            wanted = _factor(layer(equal, link.first), layer(equal, link.reader))
            bounded = (total[number] * wanted).clamp(1 / MOST, MOST)
            factor = bounded / total[number]
            total[number] = bounded
            scale_link(equal, link, factor)
            largest = max(largest, float(factor.log().abs().max()))
        if largest < _SETTLED:
            break
    return equal.to(dtype)


def _factor(first: nn.Conv2d | nn.Linear, reader: nn.Conv2d | nn.Linear) -> Tensor:
    """What the first layer's channels are divided by, so that both layers' weights reach equally far."""
    own, read = first.weight.abs().flatten(1).amax(1), input_reach(reader)
    alive = (own > DEAD * own.max()) & (read > DEAD * read.max())
    return torch.where(alive, (own / read.clamp(min=torch.finfo(own.dtype).tiny)).sqrt(), torch.ones_like(own))


@torch.no_grad()
def rescale_to_relu6(network: M, images: Tensor, percentile: float = 99.99) -> M:
    """A copy with ReLU6 for ReLU; outputs change only where an activation beyond the percentile is cut.

    Args:
        network: in deploy form and evaluation mode.
        images: ``N 3 H W``, to find the percentiles on.
        percentile: see `phonecv.exporting.ranges.Int8Settings`; 100 cuts nothing of these pictures.

    Raises:
        UserError: no two of its layers have only ReLU between them.
    """
    links = chain_of(network, "rescaled to ReLU6")
    settings = Int8Settings("percentile", percentile)
    found = value_ranges(network, images, [link.activation for link in links], settings, outputs=True)
    dtype = next(network.parameters()).dtype
    rescaled = copy.deepcopy(network).double()
    for link in links:
        high = found[link.activation][1]
        if high > 0:  # a layer that gives only zeros stays as it is
            scale_link(rescaled, link, torch.tensor(high / 6, dtype=torch.float64))
    put_relu6(rescaled)
    return rescaled.to(dtype)
