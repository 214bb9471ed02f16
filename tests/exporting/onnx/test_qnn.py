"""Context binaries for Qualcomm's NPU, made and run (by its emulator) with the lines of docs/deploy.md."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporting.small import tiny
from phonecv.exporting import export
from phonecv.exporting.opening import open_session

DOCUMENT = Path(__file__).parents[3] / "docs" / "deploy.md"

RUN = """
import numpy
numpy.save("got.npy", session.run(None, {"images": numpy.load("given.npy")})[0])
"""


@pytest.mark.long
@pytest.mark.network
@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, for an environment of its own")
def test_the_lines_of_the_document_make_a_context(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(import onnxruntime\n.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(tmp_path / "qnn")], check=True)
    python = str(tmp_path / "qnn" / "bin" / "python")
    subprocess.run(["uv", "pip", "install", "-q", "--python", python, "onnxruntime-qnn>=2.7", "numpy"], check=True)
    network, images = tiny("mobileone_s0"), np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    calibration = np.random.default_rng(1).standard_normal((12, 3, 64, 64)).astype(np.float32)
    export(network, tmp_path / "photos-int8.onnx", precision="int8", calibration=calibration, min_agreement=0.0)
    np.save(tmp_path / "given.npy", images)
    done = subprocess.run([python, "-c", code + RUN], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    kinds = [node.op_type for node in onnx.load(tmp_path / "photos-sm8550.onnx").graph.node]
    assert kinds.count("EPContext") == 1
    assert len(kinds) < 6  # beside it at most the ends
    (want,) = open_session(tmp_path / "photos-int8.onnx", threads=1)(images)
    assert np.corrcoef(np.load(tmp_path / "got.npy").ravel(), want.ravel())[0, 1] > 0.95
