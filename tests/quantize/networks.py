"""Small networks and pictures for the tests of quantization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import phonecv
from conftest import TINY
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle

SIZE = 32


def small(name: str = "mobileone_s0", **overrides: Any) -> VisionModel:
    """A settled network in deploy form."""
    torch.manual_seed(0)
    more: dict[str, Any] = {**TINY[name], **overrides}
    network = phonecv.create_model(name, num_classes=5, **more)
    network.preprocessing = Preprocessing(size=SIZE, crop=1.0)
    return phonecv.fuse(settle(network, size=SIZE))


def images(count: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def relative(got: Tensor, want: Tensor) -> float:
    """Largest difference as a share of the largest value."""
    return float((got - want).abs().max() / want.abs().max())
