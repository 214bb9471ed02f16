"""Generators in every format but ncnn, and what all three inputs are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import phonecv
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.opening import open_session

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize("precision", ["float32", "fp16"])
@pytest.mark.parametrize("format", ["onnx", "pt2", "openvino", "litert", "coreml", "executorch"])
def test_files_agree(checkpoint: Path, tmp_path: Path, format: str, precision: str) -> None:
    exporter = EXPORTERS[format]
    if exporter.missing() or precision not in exporter.precisions:
        pytest.skip(f"{format} is not installed, or has no {precision}")
    result = phonecv.export(checkpoint, tmp_path / f"net{exporter.suffix}", precision=precision)  # type: ignore[arg-type]
    assert result.difference is not None
    assert result.difference < (1e-5 if precision == "float32" else 0.02)
    assert result.remark == ""
    record = phonecv.info(str(result.path)).to_dict()["exported"]
    assert [one["name"] for one in record["inputs"]] == ["noisy", "timesteps", "classes"]
    session = open_session(result.path)
    random, (channels, size, _) = np.random.default_rng(0), record["inputs"][0]["shape"]
    given = [
        random.normal(size=(1, channels, size, size)).astype(np.float32),
        np.array([600], np.float32),
        np.array([1], np.int32),
    ]
    (first,) = session(*given)
    for place, other in ((0, -given[0]), (1, given[1] - 500), (2, given[2] + 1)):
        (changed,) = session(*given[:place], other, *given[place + 1 :])
        assert np.abs(changed - first).max() > 1e-3, record["inputs"][place]["name"]
    with torch.inference_mode():
        wanted = load_network(checkpoint, task=None).eval()(*map(torch.from_numpy, given)).numpy()
    np.testing.assert_allclose(first, wanted, atol=1e-4 if precision == "float32" else 0.05)


def test_a_published_one_keeps_its_size(tmp_path: Path) -> None:
    net = phonecv.create_generator("d_emov2_s", num_classes=3, width=32, depth=1, size=16)
    with pytest.raises(UserError, match="takes one size"):
        phonecv.export(net, tmp_path / "net.onnx", size=64)
    assert phonecv.export(net, tmp_path / "net.onnx").size == (16, 16)
