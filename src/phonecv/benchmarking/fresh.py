"""Fresh networks in a state worth timing."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.preprocessing import RGB

M = TypeVar("M", bound=nn.Module)


def _pictures(size: int, channels: int, generator: torch.Generator) -> torch.Tensor:
    """Fine and coarse noise: without both, whatever has the other's frequencies would come out far too large."""
    fine = torch.randn(4, channels, size, size, generator=generator)
    coarse = torch.randn(4, channels, 4, 4, generator=generator)
    return torch.cat([fine, nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")])


def settle(network: M, *, size: int, seed: int = 0) -> M:
    """Give a network with random weights the statistics and layer scales of a trained one, in place; returns it.

    A fresh MobileOne in evaluation mode grows its activations to 1e14, and a fresh EMOv2 hardly has any: numbers that
    overflow, or too small for the processor's fast path, are timed wrongly, and comparing outputs shows nothing.
    BatchNorm statistics become those of one random batch of this size.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for drop path and the like, which draw from PyTorch's own generator
        for name, parameter in network.named_parameters():
            # Layer scale, as timm, torchvision and we call it; it starts near zero.
            if name.rpartition(".")[2] in ("gamma", "layer_scale"):
                parameter.uniform_(0.5, 1.0, generator=generator)
        for norm in norms:
            norm.momentum = 1.0
        network.train()
        network(_pictures(size, getattr(network, "in_chans", RGB), generator))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return network.eval()
