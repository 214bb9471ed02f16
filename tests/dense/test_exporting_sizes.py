"""One file of a detector or segmenter for every batch, height and width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import mostly_long
from detect.detectors import small
from exporting.dense_files import busy, found_by
from phonecv.dense.inputs import Prepared
from phonecv.detect.base import Detector
from phonecv.detect.exporting import map_sizes, traceable
from phonecv.detect.exporting_checks import compare_objects
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.deployable import deployable
from phonecv.exporting.opening import open_session
from phonecv.segment import exporting as segment
from segment.tiny import OPTIONS, tiny

#: Batch, height, width: what no stride divides, a single pixel in the coarsest maps and several, wide and high ones.
SIZES = ((1, 96, 96), (3, 61, 75), (2, 200, 129), (1, 33, 140), (1, 321, 322))
OBJECTS = ("boxes", "scores", "labels", "count")


def noise(batch: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


@pytest.mark.parametrize("architecture", ["ssdlite320", "retinanet_fpn"])
@torch.no_grad()
def test_graphs_of_free_size_are_the_networks(architecture: str) -> None:
    """Against what the detector itself finds, without any module for files."""
    places = 30
    detector = busy(architecture, score_threshold=0.6, max_detections=places)
    module, names = deployable(detector, decode="final")
    assert names == OBJECTS
    for size in SIZES:
        batch = noise(*size)
        got = {name: value.numpy() for name, value in zip(names, module(batch), strict=True)}
        sizes = (size[1:],) * size[0]
        predicted = detector.postprocess(detector.network(batch), Prepared(batch, sizes, sizes))
        assert compare_objects(found_by(predicted, places), got) < 1e-4
        assert got["count"].min() > 0


def test_graphs_are_traced_with_more_than_a_pixel_everywhere() -> None:
    for architecture, side in (("ssdlite320", 96), ("retinanet_fpn", 64)):
        detector = small(architecture, "mobileone_s0").eval()
        network, batch = traceable(detector, noise(2, side, side))
        assert network is detector
        assert min(min(size) for size in map_sizes(detector, (batch.shape[2], batch.shape[3]))) > 1
        assert traceable(detector, batch)[1] is batch
    assert segment.traceable(tiny("segformer", "mobileone_s0"), noise(1, 33, 33))[1].shape == (1, 3, 33, 33)


def same_everywhere(path: Path, detector: Detector, decode: str) -> None:
    """Assert that a file gives what graphs of one size do, whose anchors are computed beforehand."""
    session = open_session(path, threads=1)
    assert (session.batch, session.size) == (None, None)
    # Nothing keeps PyTorch from other sizes than the square of the anchors.
    detector.preprocessing = replace(detector.preprocessing, longest=10_000)
    for size in SIZES:
        batch = noise(*size)
        outputs = session(batch.numpy())
        with torch.no_grad():
            fixed = [value.numpy() for value in deployable(detector, decode=decode, size=size[1:])[0](batch)]
        if decode == "final":
            objects = (dict(zip(OBJECTS, values, strict=True)) for values in (fixed, outputs))
            assert compare_objects(*objects) < 1e-4
            continue
        for got, want in zip(outputs, fixed, strict=True):
            assert np.abs(got - want).max() < 1e-4 * max(1.0, float(np.abs(want).max()))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "backbone", "decode"),
    [
        ("ssdlite320", "mobileone_s0", "final"),
        ("retinanet_fpn", "mobileone_s0", "final"),
        ("retinanet_fpn", "mobileone_s0", "raw"),
        ("ssdlite320", "emov2_1m", "boxes"),
    ],
)
def test_onnx(tmp_path: Path, architecture: str, backbone: str, decode: str) -> None:
    detector = busy(architecture, backbone, candidates=100)
    result = export(detector, tmp_path / "a.onnx", decode=decode, dynamic_size=True)
    assert result.difference is not None
    assert result.difference < 1e-4
    same_everywhere(tmp_path / "a.onnx", detector, decode)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".xml", ".pt2"])
def test_openvino_and_torch_export(tmp_path: Path, suffix: str) -> None:
    format = {".xml": "openvino", ".pt2": "pt2"}[suffix]
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    detector = busy("ssdlite320", candidates=100)
    result = export(detector, tmp_path / f"a{suffix}", decode="final", dynamic_size=True)
    assert result.difference is not None
    assert result.difference < 1e-4
    same_everywhere(result.path, detector, "final")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(OPTIONS, "pspnet"))
def test_segmenters(tmp_path: Path, architecture: str) -> None:
    model: Any = tiny(architecture, "mobileone_s0")
    for decode in ("raw", "final") if architecture == "segformer" else ("raw",):
        export(model, tmp_path / f"{decode}.onnx", decode=decode, dynamic_size=True)
        session = open_session(tmp_path / f"{decode}.onnx", threads=1)
        module, _ = deployable(model, decode=decode)
        for size in SIZES:
            batch = noise(*size)
            with torch.no_grad():
                (want,) = module(batch)
            (got,) = session(batch.numpy())
            assert got.shape == want.shape
            if decode == "raw":
                assert np.abs(got - want.numpy()).max() < 1e-4 * max(1.0, float(want.abs().max()))
                assert want.std() > 1e-3
            else:
                assert np.mean(got != want.numpy()) <= 1e-3
