"""ncnn in 8 bits: near PyTorch in ncnn itself, smaller, and float where asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, mostly_long
from exporting.int8_jobs import images, int8_job, signal_to_noise
from phonecv.errors import UserError
from phonecv.exporting.job import Job, Written
from phonecv.exporting.perform import captured

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


@pytest.fixture(scope="module")
def percentile(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Job, Written]]:
    """A network's file with ranges by percentile, written once."""
    from phonecv.exporting.ncnn.exporter import write

    @cache
    def made(name: str) -> tuple[Job, Written]:
        job = int8_job(name, range="percentile")
        with captured():
            return job, write(job, tmp_path_factory.mktemp("ncnn"))

    return made


@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_it_is_near_pytorch(percentile: Callable[[str], tuple[Job, Written]], name: str) -> None:
    from phonecv.exporting.ncnn.opening import open_session

    job, written = percentile(name)
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


def test_a_layers_input_darker_than_calibration_is_no_worse(
    percentile: Callable[[str], tuple[Job, Written]], tmp_path: Path
) -> None:
    from phonecv.exporting.ncnn.exporter import write
    from phonecv.exporting.ncnn.opening import open_session

    narrow = int8_job(scale=0.1, range="percentile")
    with captured():
        cut = write(narrow, tmp_path)
    found = []
    for job, written in (percentile("mobileone_s0"), (narrow, cut)):
        (got,) = open_session(written.path, threads=1)(images(8, 2).numpy())
        found.append(signal_to_noise(job, got, images(8, 2)))
    assert found[1] < found[0] - 5  # the pictures of the calibration decide what is cut
    assert np.isfinite(found).all()
