"""Small jobs for the tests of int8 files, and how near an output is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import phonecv
from conftest import TINY
from phonecv.exporting.deployable import deployable
from phonecv.exporting.job import Job
from phonecv.models import VisionModel
from settle import settle

SIZE = 64
FIRST = "mobileone_s0"


def network(name: str = FIRST) -> VisionModel:
    """A settled network in deploy form."""
    torch.manual_seed(0)
    return phonecv.fuse(settle(phonecv.create_model(name, num_classes=7, **TINY[name]), size=SIZE))


def images(count: int, seed: int) -> torch.Tensor:
    """Random pictures: calibration has seed 1, those that are compared have another."""
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def int8_job(name: str = FIRST, *, scale: float = 1.0, **settings: Any) -> Job:
    """A job with 12 calibration pictures, which may be darker or brighter than those that are compared."""
    module, outputs = deployable(network(name))
    pictures = (images(12, 1) * scale).numpy()
    return Job(module, (images(2, 2),), outputs, "m", precision="int8", calibration=pictures, settings=settings)


@torch.no_grad()
def signal_to_noise(job: Job, got: np.ndarray, pictures: torch.Tensor) -> float:
    """Decibels by which PyTorch's outputs stand above the difference from them."""
    want = job.module(pictures)[0].double().numpy()
    return float(10 * np.log10(want.var() / np.square(got - want).mean()))
