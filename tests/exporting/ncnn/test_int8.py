"""ncnn in 8 bits: near PyTorch in ncnn itself, smaller, and float where asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, mostly_long
from exporting.int8_jobs import images, int8_job, signal_to_noise
from phonecv.errors import UserError
from phonecv.exporting.perform import captured

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_it_is_near_pytorch(tmp_path: Path, name: str) -> None:
    from phonecv.exporting.ncnn.exporter import write
    from phonecv.exporting.ncnn.opening import open_session

    job = int8_job(name, range="percentile")
    with captured():
        written = write(job, tmp_path)
    lines = [line.split() for line in written.path.read_text().splitlines()]
    kinds = [words[0] for words in lines if "8=1" in words]
    settings = written.report["settings"]
    assert len(kinds) == settings["operators"]["quantized"] > 5
    assert {"Convolution", "ConvolutionDepthWise", "InnerProduct"} == set(kinds)
    (got,) = open_session(written.path, threads=1)(images(8, 2).numpy())
    assert signal_to_noise(job, got, images(8, 2)) > 12  # symmetric inputs: a bit less behind a ReLU


def test_layers_can_stay_float(tmp_path: Path) -> None:
    from phonecv.exporting.ncnn.exporter import write

    job = int8_job(float_layers=["linear"])
    with captured():
        written = write(job, tmp_path)
    assert written.report["settings"]["operators"]["float"] == 1
    (line,) = [line for line in written.path.read_text().splitlines() if line.startswith("InnerProduct")]
    assert "8=1" not in line.split()
    with pytest.raises(UserError, match=r"no layer 'stage9'"), captured():
        write(int8_job(float_layers=["stage9"]), tmp_path)


def test_a_layers_input_darker_than_calibration_is_no_worse(tmp_path: Path) -> None:
    from phonecv.exporting.ncnn.exporter import write
    from phonecv.exporting.ncnn.opening import open_session

    (tmp_path / "narrow").mkdir()
    found = []
    for folder, scale in ((tmp_path, 1.0), (tmp_path / "narrow", 0.1)):
        job = int8_job(scale=scale)
        with captured():
            written = write(job, folder)
        (got,) = open_session(written.path, threads=1)(images(8, 2).numpy())
        found.append(signal_to_noise(job, got, images(8, 2)))
    assert found[1] < found[0] - 5  # the pictures of the calibration decide what is cut
    assert np.isfinite(found).all()
