"""Networks in a state in which comparisons mean something."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.models import VisionModel
from phonecv.models.blocks import LayerScale2d


def settle(model: VisionModel, *, size: int = 64, seed: int = 0) -> VisionModel:
    """Random layer scales near one, random affine values and real statistics in every norm; evaluation mode.

    A fresh MobileOne in evaluation mode has activations near 1e14, and a fresh EMOv2 ignores its input:
    comparing those would test nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LayerScale2d):
                module.gamma.uniform_(0.5, 1.0, generator=generator)
            elif isinstance(module, _BatchNorm | nn.LayerNorm) and module.weight is not None:
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(std=0.1, generator=generator)
        for norm in norms:
            norm.momentum = 1.0
        model.train()
        model(torch.randn(8, getattr(model, "in_chans", 3), size, size, generator=generator))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return model.eval()
