"""ReLU6 rescaling: every layer is scaled until nearly all it gives lies below 6, and ReLU becomes ReLU6.

Scaling a chain of ReLU layers changes nothing, so all that happens is that the few largest activations are cut. Any
toolkit then finds the range 0..6, however it looks for ranges.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.exporting.ranges import Int8Settings
from phonecv.models.quantized import put_relu6
from phonecv.quantization.equalization import NO_LINKS
from phonecv.quantization.layers import links_of, scale_link
from phonecv.quantization.simulation import value_ranges

M = TypeVar("M", bound=nn.Module)


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
    links = links_of(network)
    if not links:
        raise UserError(f"{getattr(network, 'name', 'the network')} cannot be rescaled to ReLU6: {NO_LINKS}")
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
