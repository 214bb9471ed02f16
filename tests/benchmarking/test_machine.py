"""What is said about the machine, and its peaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from phonecv.benchmarking import machine
from phonecv.benchmarking.machine import (
    PRECISIONS,
    describe_machine,
    disturbances,
    has_peak,
    measure_peaks,
    processor_flags,
    processor_name,
)
from phonecv.errors import UserError


def test_the_description_is_plain_and_names_the_versions() -> None:
    found = describe_machine()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["cores"] >= 1
    assert found["cpu"]


def test_the_processor_is_read_as_linux_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu avx2 avx512f notavx512_vnni\n"
    monkeypatch.setattr(machine, "_cpuinfo", lambda: text)
    assert processor_name() == "Some CPU @ 3 GHz"
    assert processor_flags() == ["avx2", "avx512f"]
    monkeypatch.setattr(machine, "_cpuinfo", lambda: "Features\t: fp asimd i8mm\n")
    assert processor_flags() == ["asimd", "i8mm"]
    monkeypatch.setattr(machine, "_cpuinfo", lambda: "")
    assert processor_flags() == []
    assert processor_name()


@pytest.mark.parametrize(
    ("flags", "known"),
    [
        ("flags: avx2 fma f16c", {"float32"}),  # neither bfloat16 nor VNNI: products of int8 are imitated
        ("flags: avx2 avx512f avx512_vnni", {"float32", "int8"}),
        ("flags: avx2 avx_vnni", {"float32", "int8"}),
        ("flags: avx512f avx512_vnni avx512_bf16", {"float32", "int8", "bf16"}),
        ("flags: avx512f amx_int8 amx_bf16 avx512_fp16", {"float32", "int8", "bf16", "fp16"}),
        ("Features: asimd asimdhp asimddp", {"float32", "int8", "fp16"}),
        ("", {"float32"}),  # hidden: nothing is known
    ],
)
def test_a_peak_needs_instructions(monkeypatch: pytest.MonkeyPatch, flags: str, known: set[str]) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: flags)
    for name in ("bf16", "fp16"):  # what PyTorch says of a processor that can run it somehow
        monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: True)
    assert {precision for precision in PRECISIONS if has_peak(precision)} == known


def test_load_governor_and_battery_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(machine, "_read", lambda path: "")
    assert disturbances() == []
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr(machine, "_read", lambda path: "powersave" if "governor" in path.name else "")
    busy, governor = disturbances()
    assert "load 99.0" in busy
    assert "powersave" in governor


def test_peaks_are_positive_and_leave_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    found = measure_peaks(before + 1, rounds=1)
    assert torch.get_num_threads() == before
    assert (found.device, found.threads) == ("cpu", before + 1)
    assert set(found.gflops) == {precision for precision in PRECISIONS if has_peak(precision)}
    assert {"float32", "int8"} <= set(found.gflops)
    assert all(value > 0 for value in [*found.gflops.values(), found.copy_gbs])


def test_no_threads_is_a_mistake() -> None:
    with pytest.raises(UserError, match="threads 0"):
        measure_peaks(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peaks_of_a_gpu() -> None:
    found = measure_peaks(device="cuda", rounds=1)
    assert found.threads == 0
    assert found.gflops["float32"] > 0
