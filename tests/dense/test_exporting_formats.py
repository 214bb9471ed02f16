"""Detectors with suppression in the file, and in half precision, in every format's own runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from detect.detectors import pictures
from exporting.dense_files import busy, found_by
from opened import open_detector
from phonecv.dense.exporting import MAX_DIFF_FP16
from phonecv.detect.exporting_checks import compare_objects
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.checks import Limits
from phonecv.task import TASKS
from segment.tiny import tiny

LONG = pytest.mark.long


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "architecture"),
    [
        pytest.param("executorch", "ssdlite320", marks=LONG),
        pytest.param("litert", "ssdlite320", marks=LONG),
        ("coreml", "ssdlite320"),
        pytest.param("openvino", "retinanet_fpn", marks=LONG),
        pytest.param("litert", "retinanet_fpn", marks=LONG),
        pytest.param("executorch", "retinanet_fpn", marks=LONG),
        pytest.param("coreml", "retinanet_fpn", marks=LONG),
    ],
)
def test_suppression_in_the_file(tmp_path: Path, format: str, architecture: str) -> None:
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    detector = busy(architecture, candidates=200, score_threshold=0.6)
    size = (64, 96) if architecture == "retinanet_fpn" else None
    result = export(detector, tmp_path / f"a{EXPORTERS[format].suffix}", decode="final", size=size)
    assert result.difference is not None
    assert result.difference < 1e-4
    images = pictures((64, 96), (128, 192))
    wanted, found = (found_by(objects, 30) for objects in (detector(images), open_detector(result.path)(images)))
    assert wanted["count"].sum() > 10
    assert compare_objects(wanted, found) < 1e-4


def test_ncnn_refuses_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written as ncnn: .*sort, gather and compare.*decode 'boxes'"):
        export(busy("ssdlite320"), tmp_path / "a.param", decode="final")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------- half precision


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "architecture", "decode"),
    [
        pytest.param("onnx", "ssdlite320", "final", marks=LONG),
        pytest.param("onnx", "segformer", "raw", marks=LONG),
        pytest.param("openvino", "ssdlite320", "final", marks=LONG),
        ("ncnn", "ssdlite320", "boxes"),
        pytest.param("litert", "ssdlite320", "raw", marks=LONG),
        pytest.param("coreml", "ssdlite320", "raw", marks=LONG),
        pytest.param("onnx", "retinanet_fpn", "final", marks=LONG),
        pytest.param("onnx", "segformer", "final", marks=LONG),
        pytest.param("openvino", "segformer", "final", marks=LONG),
        pytest.param("litert", "ssdlite320", "final", marks=LONG),
        pytest.param("coreml", "ssdlite320", "final", marks=LONG),
        pytest.param("coreml", "segformer", "final", marks=LONG),
    ],
)
def test_half_precision(tmp_path: Path, format: str, architecture: str, decode: str) -> None:
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    segmenter = architecture == "segformer"
    network = tiny(architecture, "mobileone_s0") if segmenter else busy(architecture, candidates=100)
    size = None if architecture == "ssdlite320" else (64, 96)
    path = tmp_path / f"a{EXPORTERS[format].suffix}"
    result = export(network, path, decode=decode, size=size, precision="fp16")
    assert result.difference is not None
    # Rounded somewhere, and within what is allowed: 7e-4 to 1.4e-2, the most in OpenVINO.
    assert 0 <= result.difference < MAX_DIFF_FP16
    assert decode == "final" or result.difference > 1e-6
    assert (result.agreement is not None) == (segmenter and decode == "raw")
    if result.agreement is not None:
        assert result.agreement > 0.97


def test_how_far_half_precision_may_go() -> None:
    def allowed(precision: str, task: str) -> float | None:
        return Limits.of(TASKS[task], precision).max_diff

    assert allowed("fp16", "classify") == 0.15
    assert allowed("fp16", "detect") == allowed("fp16", "segment") == MAX_DIFF_FP16
    assert allowed("float32", "detect") == allowed("float32", "classify") == 1e-4
