"""Networks in a state in which comparisons mean something."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.bench.fresh import M
from phonecv.bench.fresh import settle as settle_statistics


def settle(model: M, *, size: int = 64, seed: int = 0) -> M:
    """Random affine values in every norm, then real statistics and layer scales near one; evaluation mode.

    A fresh MobileOne in evaluation mode has activations near 1e14, and a fresh EMOv2 ignores its input:
    comparing those would test nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm | nn.LayerNorm) and module.weight is not None:
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(std=0.1, generator=generator)
    return settle_statistics(model, size=size, seed=seed)
