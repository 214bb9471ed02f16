"""Cross-layer equalisation (Nagel et al. 2019, section 4.1): a factor per channel moves from a layer to the next one.

Channels of one tensor then reach about as far as each other, so that one scale serves them all. The network computes
the same as before.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.quantization.layers import input_reach, layer, links_of, scale_link

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
    links = links_of(network)
    if not links:
        raise UserError(f"{getattr(network, 'name', 'the network')} cannot be equalised: {NO_LINKS}")
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


NO_LINKS = "SiLU, GELU, norms or sums stand between its layers, and no factor passes through these"


def _factor(first: nn.Conv2d | nn.Linear, reader: nn.Conv2d | nn.Linear) -> Tensor:
    """What the first layer's channels are divided by, so that both layers' weights reach equally far."""
    own, read = first.weight.abs().flatten(1).amax(1), input_reach(reader)
    alive = (own > DEAD * own.max()) & (read > DEAD * read.max())
    return torch.where(alive, (own / read.clamp(min=torch.finfo(own.dtype).tiny)).sqrt(), torch.ones_like(own))
