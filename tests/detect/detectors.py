"""Small detectors and scenes for the tests."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

import phonecv
from conftest import TINY
from kept import kept
from phonecv.detect.base import Detector
from phonecv.models.blocks import LayerScale2d

D = TypeVar("D", bound=Detector)

OPTIONS: dict[str, dict[str, Any]] = {
    "ssdlite320": {"size": 96},
    "retinanet_fpn": {"size": 64, "longest": 96, "channels": 16},
}
ONE_STAGE = tuple(OPTIONS)
BACKBONES = tuple(TINY)
CLASSES = 3


@kept
def small(
    architecture: str, backbone: str = "emov2_1m", *, options: dict[str, Any] | None = None, **more: Any
) -> Detector:
    """A detector that runs in milliseconds, three classes."""
    torch.manual_seed(0)
    return phonecv.create_detector(
        architecture,
        backbone,
        num_classes=CLASSES,
        options=OPTIONS[architecture] | (options or {}),
        **(TINY.get(backbone, {}) | more),
    )


def settled(detector: D, *, size: int = 96) -> D:
    """Statistics in every norm and layer scales that let the input through; evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in detector.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, LayerScale2d):
                module.gamma.uniform_(0.5, 1.0, generator=generator)
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(std=0.1, generator=generator)
            norm.momentum = 1.0
        detector.train().network(torch.randn(4, 3, size, size, generator=generator))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return detector.eval()


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Bytes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]


def scene() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Four pictures of odd sizes: two objects, none, one and a crowd, only a crowd."""
    images = pictures((75, 101), (64, 64), (131, 60), (33, 47))
    targets = [
        {"boxes": torch.tensor([[4.0, 6, 60, 70], [30, 10, 95, 40]]), "labels": torch.tensor([0, 2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        {
            "boxes": torch.tensor([[5.0, 50, 55, 110], [0, 0, 60, 131]]),
            "labels": torch.tensor([1, 0]),
            "crowd": torch.tensor([False, True]),
        },
        {"boxes": torch.tensor([[3.0, 3, 40, 30]]), "labels": torch.tensor([1]), "crowd": torch.tensor([True])},
    ]
    return images, targets


def total(losses: dict[str, Tensor]) -> Tensor:
    """What is minimised."""
    return torch.stack(list(losses.values())).sum()
