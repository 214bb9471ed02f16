"""LiteRT, ncnn and ExecuTorch give PyTorch's outputs when they are timed, at any batch; their files are subjects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import phonecv
from benchmarking.conftest import SIZE, Small
from conftest import mostly_long
from phonecv.benchmarking.calls import Call, difference, tiled
from phonecv.benchmarking.exported import write_for_timing
from phonecv.benchmarking.native_calls import executorch_call, litert_call, ncnn_call
from phonecv.benchmarking.opening import open_subject
from phonecv.benchmarking.run import bench
from phonecv.benchmarking.subject import Subject, network_subject
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS

CALLS: dict[str, Callable[..., Call]] = {"litert": litert_call, "ncnn": ncnn_call, "executorch": executorch_call}

pytestmark = pytest.mark.timeout(900)  # toolkits take minutes on a busy machine

Write = Callable[[str, str], Path]


def subject(small: Small) -> Subject:
    return network_subject(small.network, name="small", form="deploy", size=SIZE)


@pytest.fixture(scope="module")
def write(mobileone: Small, tmp_path_factory: pytest.TempPathFactory) -> Write:
    """A function that gives the small network as a file of a format and precision, written once."""
    made: dict[tuple[str, str], Path] = {}

    def file(format: str, precision: str) -> Path:
        if EXPORTERS[format].missing():
            pytest.skip(f"{format} is not installed")
        if (format, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{format}-{precision}") / "work"
            made[format, precision] = write_for_timing(format, precision, folder, subject(mobileone))
        return made[format, precision]

    return file


@pytest.mark.slow
@pytest.mark.parametrize("format", mostly_long(CALLS, "ncnn"))
def test_outputs_at_any_batch(format: str, write: Write, mobileone: Small) -> None:
    path = write(format, "float32")
    for batch in (1, 5):
        call = CALLS[format](path, (tiled(mobileone.images, batch),), threads=1)
        for _ in range(2):  # timing in between changes nothing
            call.run()
            assert difference(call.outputs(), [tiled(mobileone.expected[0], batch)]) < 1e-4
        assert call.layout == ("nhwc" if format == "litert" else "nchw")
    if format != "ncnn":  # it takes what it is given
        with pytest.raises(UserError, match="40"):
            CALLS[format](path, (np.zeros((1, 3, 40, 40), np.float32),), threads=1)


@pytest.mark.long
@pytest.mark.slow
def test_int8_is_near_but_not_equal(write: Write, mobileone: Small) -> None:
    call = litert_call(write("litert", "int8"), (mobileone.images,), threads=1)
    assert 1e-5 < difference(call.outputs(), mobileone.expected) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("format", mostly_long(["litert", "ncnn"], "ncnn"))
def test_memory_is_measured_without_torch(format: str, write: Write) -> None:
    code = (
        "import sys, numpy\n"
        f"from phonecv.benchmarking.native_calls import {format}_call as call\n"
        f"call(sys.argv[1], (numpy.zeros((1, 3, {SIZE}, {SIZE}), numpy.float32),), threads=1).run()\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(write(format, "float32"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(bool(EXPORTERS["ncnn"].missing()), reason="ncnn is not installed")
def test_the_whole_way_from_a_network(mobileone: Small, tmp_path: Path) -> None:
    found = bench(
        [str(mobileone.checkpoint)], batches=[2], threads=[1], runtimes=["eager", "ncnn"], rounds=3,
        precisions=["float32"], memory=False, out=tmp_path / "run",
    )  # fmt: skip
    assert {row.runtime for row in found.rows} == {"eager", "ncnn"}
    assert all(row.difference < 1e-4 for row in found.rows)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("format", ["litert", "executorch", "ncnn", "openvino"])
def test_exported_files_are_timed_in_their_own_runtime(format: str, mobileone: Small, tmp_path: Path) -> None:
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    path = tmp_path / f"signs{EXPORTERS[format].suffix}"
    phonecv.export(mobileone.checkpoint, path, verify=False)
    subject = open_subject(str(path))
    assert (subject.name, subject.form, subject.size, subject.format) == ("signs", "deploy", (SIZE, SIZE), format)
    found = bench([str(path)], batches=[1], threads=[1], precisions=["float32"], rounds=3, memory=False)
    (row,) = found.rows
    assert (row.runtime, row.precision) == (format, "float32")
    assert row.difference < 1e-5
    if format != "openvino":  # its files take any size
        with pytest.raises(UserError, match=f"takes {SIZE}x{SIZE} pixels, not 64x64"):
            open_subject(str(path), size=64)


@pytest.mark.parametrize("suffix", [".tflite", ".pte", ".param", ".xml"])
def test_files_that_are_not_there(suffix: str) -> None:
    with pytest.raises(UserError, match=f"there is no file 'missing{suffix}'"):
        open_subject(f"missing{suffix}")


@pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed")
def test_a_graph_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.param").write_text("7767517\n1 1\nInput in0 0 1 in0 0=8 1=8 2=3\n")
    with pytest.raises(UserError, match=r"there is no .*x\.ncnn\.bin"):
        ncnn_call(tmp_path / "x.param", (np.zeros((1, 3, 8, 8), np.float32),), threads=1)


def test_a_broken_export_names_the_way_on(mobileone: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UserError("LiteRT ended with signal SIGSEGV while writing it (network)")

    monkeypatch.setattr("phonecv.benchmarking.exported.perform", refuse)
    with pytest.raises(UserError, match=r"SIGSEGV.*leave litert out with --runtime to time small elsewhere"):
        write_for_timing("litert", "float32", tmp_path / "x", subject(mobileone))
