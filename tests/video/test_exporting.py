"""Classifiers of clips in files: numbers, the order of frames, and formats that refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import phonecv
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.opening import open_session
from phonecv.models.fusing import fuse
from phonecv.video.create import create_video_classifier
from phonecv.video.network import VideoClassifier
from video.conftest import SIDE, TINY


@pytest.fixture(scope="module")
def network() -> VideoClassifier:
    torch.manual_seed(0)
    made = create_video_classifier("v_emov2_5m", num_classes=3, **TINY)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith(("gamma", "layer_scale")):  # they start near zero
                parameter.uniform_(0.5, 1.0)
        made.train()(torch.randn(8, 3, 4, SIDE, SIDE))
        made.get_parameter("head.weight").mul_(100)  # so tiny a network hardly tells clips apart
    return fuse(made.eval())


FORMATS = [
    "onnx",
    *(pytest.param(name, marks=[pytest.mark.slow, pytest.mark.long]) for name in ("pt2", "litert", "coreml")),
]


@pytest.mark.parametrize("format", FORMATS)
def test_files_agree_on_clips_in_their_order(network: VideoClassifier, tmp_path: Path, format: str) -> None:
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    result = phonecv.export(network, tmp_path / f"net{EXPORTERS[format].suffix}", size=SIDE)
    assert result.difference is not None
    assert result.difference < 1e-5
    clips = np.random.default_rng(0).normal(size=(3, 3, 4, SIDE, SIDE)).astype(np.float32)
    session = open_session(result.path)
    with torch.inference_mode():
        for given in (clips, np.ascontiguousarray(clips[:, :, ::-1])):
            np.testing.assert_allclose(
                session(given)[0], network(torch.from_numpy(given)).numpy(), rtol=1e-4, atol=1e-3
            )
    assert np.abs(session(clips)[0] - session(np.ascontiguousarray(clips[:, :, ::-1]))[0]).max() > 1e-2


@pytest.mark.parametrize("format", ["ncnn", "openvino"])
def test_formats_that_refuse(network: VideoClassifier, tmp_path: Path, format: str) -> None:
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    with pytest.raises(UserError, match="cannot be written as"):
        phonecv.export(network, tmp_path / f"net{EXPORTERS[format].suffix}", size=SIDE)
