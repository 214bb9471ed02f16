"""Small networks and pictures for the tests of quantization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import phonecv
from conftest import TINY
from kept import kept
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle

SIZE = 32
CLASSES = ("red", "green", "blue")


@kept
def small(name: str = "mobileone_s0", **overrides: Any) -> VisionModel:
    """A settled network in deploy form."""
    torch.manual_seed(0)
    more: dict[str, Any] = {**TINY[name], **overrides}
    network = phonecv.create_model(name, num_classes=5, **more)
    network.preprocessing = Preprocessing(size=SIZE, crop=1.0)
    return phonecv.fuse(settle(network, size=SIZE))


def coloured(root: Path, count: int, seed: int) -> Path:
    """Noise in the colour of its class, in a folder for each."""
    generator = np.random.default_rng(seed)
    for channel, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 120, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels[..., channel] += 130
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def told_apart(data: Path) -> VisionModel:
    """A network that tells these colours apart: its classifier is solved for, the rest is random."""
    from phonecv.classify.quantizing_data import find

    made = small()
    made.reset_classifier(3)
    made.class_names = CLASSES
    made.eval()
    pictures = find(data, made).read(made, 100)
    assert pictures.labels is not None
    with torch.no_grad():
        features = made.forward_head(made.forward_features(pictures.tensor()), pre_logits=True)
        wanted = torch.nn.functional.one_hot(pictures.labels, 3).float() * 2 - 1
        classifier = made.get_classifier()
        assert isinstance(classifier, nn.Linear)
        # With more features than pictures the plain solution would learn them by heart.
        damping = 0.1 * features.square().sum(0).mean() * torch.eye(features.shape[1])
        classifier.weight.copy_(torch.linalg.solve(features.T @ features + damping, features.T @ wanted).T)
        classifier.bias.zero_()
    return made


def images(count: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def relative(got: Tensor, want: Tensor) -> float:
    """Largest difference as a share of the largest value."""
    return float((got - want).abs().max() / want.abs().max())
