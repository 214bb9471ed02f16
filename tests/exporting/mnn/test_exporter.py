"""MNN files: networks against PyTorch, precisions, files of others, and files that must be refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, mostly_long
from exporting.dense_files import busy
from exporting.small import tiny
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.opening import open_session

pytest.importorskip("MNN")


@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_every_family_agrees_with_pytorch(tmp_path: Path, name: str) -> None:
    model = tiny(name)
    result = export(model, tmp_path / "m.mnn")
    assert result.difference is not None
    assert result.difference < 1e-5  # 6e-4 with MNN's own GELU
    assert result.report["operators"]["Convolution"] > 3
    session = open_session(tmp_path / "m.mnn", threads=1)
    images = torch.randn(5, 3, 64, 64)  # another number than it was traced with
    with torch.no_grad():
        want = model(images).numpy()
    np.testing.assert_allclose(session(images.numpy())[0], want, atol=1e-4 * np.abs(want).max())
    assert want.std(0).min() > 1e-3


@pytest.mark.parametrize(("precision", "most"), mostly_long([("fp16", 0.02), ("int8-weights", 0.1)], ("fp16", 0.02)))
def test_smaller_files(tmp_path: Path, capfd: pytest.CaptureFixture[str], precision: str, most: float) -> None:
    result = export(tiny("mobileone_s0"), tmp_path / "m.mnn", precision=precision, min_agreement=0.0)
    open_session(tmp_path / "m.mnn", threads=1)
    assert capfd.readouterr().out == ""
    assert str(result).startswith(f"wrote       {tmp_path / 'm.mnn'} (")
    assert result.difference is not None
    assert 1e-6 < result.difference < most


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["ssdlite320", "retinanet_fpn"])
def test_suppression(tmp_path: Path, architecture: str) -> None:
    result = export(busy(architecture), tmp_path / "m.mnn", decode="final", size=(96, 96))
    assert result.difference is not None
    assert result.difference < 1e-4


def test_what_it_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"MNN files are written as float32, fp16, int8-weights, not as int8"):
        export("mobileone_s0", tmp_path / "m.mnn", precision="int8")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.mnn").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError, match=r"MNN"):
        open_session(tmp_path / "m.mnn", threads=1)


def test_its_tools_are_never_imported(tmp_path: Path) -> None:
    """`MNN.tools` runs pip and asks a server for the right to report to it."""
    assert not any(name.startswith("MNN.tools") for name in sys.modules)
    sources = Path(__file__).parents[3] / "src"
    assert not [
        file
        for file in sources.rglob("*.py")
        if "import MNN.tools" in (text := file.read_text()) or "from MNN.tools" in text
    ]
