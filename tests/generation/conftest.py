"""The command line, run in this process as in the tests of the verbs, and a small generator with values of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phonecv
from cli.conftest import checkpoints, run
from generation.exact import NAMES
from phonecv.generation.create import create_generator

__all__ = ["checkpoints", "run"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = create_generator("d_emov2_digits", num_classes=3, width=32, depth=1, size=24, patch=4, window=3, channels=1)
    with torch.no_grad():
        for parameter in net.parameters():  # a fresh one predicts zeros
            parameter.add_(0.05 * torch.randn_like(parameter))
    net.class_names = NAMES
    return phonecv.save_checkpoint(net, tmp_path_factory.mktemp("generator") / "best.safetensors")
