"""Files of ONNX Runtime's own format: the same numbers, the record inside, the list for a reduced build."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, mostly_long
from exporting.small import tiny
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.opening import open_session
from phonecv.exporting.record import find_record

pytest.importorskip("onnxruntime")

#: What ONNX Runtime makes of a family's convolutions and activations.
FUSED = {"mobileone_s0": "FusedConv", "emo_1m": "QuickGelu", "emov2_1m": "QuickGelu"}


@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_every_family_agrees_with_pytorch(tmp_path: Path, name: str) -> None:
    model = tiny(name)
    result = export(model, tmp_path / "m.ort")
    assert result.difference is not None
    assert result.difference < 1e-5
    # Optimised already: activations belong to their convolutions, or are one operator.
    assert result.report["operators"].get(kind := FUSED[name], 0) > 3
    assert result.operators == sum(result.report["operators"].values())
    needed = (tmp_path / "m.required_operators_and_types.config").read_text()
    assert kind in next(line for line in needed.splitlines() if line.startswith("com.microsoft;1;"))
    assert '"float"' in needed  # types, too
    alone = shutil.copy(tmp_path / "m.ort", tmp_path / "alone.ort")
    assert find_record(Path(alone))["classes"] == list(model.class_names or ())
    images = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        want = model(images).numpy()
    (got,) = open_session(alone, threads=1)(images.numpy())
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.long
@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.02), ("int8-weights", 0.1)])
def test_smaller_files(tmp_path: Path, precision: str, most: float) -> None:
    result = export(tiny("mobileone_s0"), tmp_path / "m.ort", precision=precision, min_agreement=0.0)
    assert result.difference is not None
    assert 1e-6 < result.difference < most


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.ort"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError, match=r"m.ort is not a file of ONNX Runtime's own format"):
        open_session(path, threads=1)
    path.write_bytes(b"\x08\x00\x00\x00ORTM" + bytes(200))
    with pytest.raises(UserError, match=r"m.ort"):
        open_session(path, threads=1)
