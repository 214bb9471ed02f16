"""Tiny settled networks in deploy form, their exported files, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import phonecv
from conftest import TINY
from phonecv.benchmarking.exported import write_for_timing
from phonecv.benchmarking.subject import network_subject
from phonecv.benchmarking.torch_calls import arrays
from phonecv.exporting.onnx.int8 import quantize_file
from phonecv.exporting.pictures import probe_images
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle

SIZE = 32


@dataclass(frozen=True)
class Small:
    """A network, what it makes of the probe pictures, and its files."""

    network: VisionModel
    images: np.ndarray
    expected: list[np.ndarray]
    onnx: Path
    int8: Path
    checkpoint: Path


def make(name: str, folder: Path) -> Small:
    torch.manual_seed(0)
    training = settle(phonecv.create_model(name, num_classes=5, **TINY[name]), size=SIZE)
    training.preprocessing = Preprocessing(size=SIZE, crop=1.0)
    network = phonecv.fuse(training)
    images = probe_images(SIZE, SIZE).numpy()
    with torch.inference_mode():
        expected = arrays(network(torch.from_numpy(images)))
    onnx, int8 = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    subject = network_subject(network, name=name, form="deploy", size=SIZE)
    write_for_timing("onnx", "float32", folder, subject).rename(onnx)
    quantize_file(onnx, images, int8)
    checkpoint = phonecv.save_checkpoint(training, folder / f"{name}.safetensors")
    return Small(network, images, expected, onnx, int8, checkpoint)


@pytest.fixture(scope="session")
def mobileone(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make("mobileone_s0", tmp_path_factory.mktemp("mobileone"))


@pytest.fixture(scope="session")
def emov2(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make("emov2_1m", tmp_path_factory.mktemp("emov2"))
