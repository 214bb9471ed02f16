"""The report on the installation: whole whatever is missing."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from cli.conftest import Run
from phonecv import installation
from phonecv.exporting import EXPORTERS
from phonecv.exporting.formats import Exporter


def test_doctor_finds_a_working_installation(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "cache"))
    done = run("doctor")
    assert done.status == 0, done.out
    for word in ("torch", "threads", "onnx", "samples", "tensorboard", str(tmp_path / "cache")):
        assert word in done.out
    found = json.loads(run("doctor", "--json").out)
    sections = {"software", "machine", "extras", "kernels", "exporters", "cache"}
    assert {item["section"] for item in found} == sections
    assert {item["name"] for item in found if item["section"] == "exporters"} == set(EXPORTERS)


def test_the_formats_are_those_of_the_table(run: Run) -> None:
    rows = json.loads(run("doctor", "--formats", "--json").out)
    assert [row["format"] for row in rows] == list(EXPORTERS)
    assert all(row["precisions"] == ", ".join(EXPORTERS[row["format"]].precisions) for row in rows)
    assert run("doctor", "--formats", "--markdown").out.count("|\n") == len(EXPORTERS) + 2


def test_a_missing_extra_names_its_pip_line_and_is_no_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_onnxruntime(name: str) -> str:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_onnxruntime)
    done = run("doctor")
    assert done.status == 0
    assert done.out.count("missing: onnx: pip install 'phonecv[onnx]'") == 1


def test_an_extra_is_listed_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missed as an extra and by a format; declared twice, as extras of extras are."""
    monkeypatch.setattr(Exporter, "missing", lambda self: ["ncnn"] if self.format == "ncnn" else [])
    needed = ["torch>=2", *['ncnn-none>=1; extra == "ncnn"'] * 2, 'numpy; extra == "ncnn"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    out = run("doctor").out
    assert out.count("pip install 'phonecv[ncnn]'") == 1
    assert out.count("ncnn-none missing") == 1
    found = [item for item in installation.doctor() if item.section == "extras"]
    assert [item.name for item in found] == ["ncnn"]


def test_an_old_requirement_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2" if name == "timm" else version(name))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["timm>=1.10", "torch>=2"])
    done = run("doctor")
    assert done.status == 1
    assert "1.2 is older than 1.10" in done.out


def test_a_requirement_that_is_too_new_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.4.1" if name == "numpy" else version(name))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ['numpy<2.4; extra == "coreml"'])
    assert "2.4.1 is not <2.4" in run("doctor").out


def test_a_part_that_fails_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[installation.Finding]:
        raise OSError("libcuda is broken")

    monkeypatch.setattr(installation, "_machine", fail)
    found = installation.doctor()
    assert [item.value for item in found if item.section == "machine"] == ["OSError: libcuda is broken"]
    assert {"software", "extras", "cache"} <= {item.section for item in found}


def test_a_cache_that_cannot_be_written_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(installation.os, "access", lambda *_: False)
    finding = installation._cache()[0]
    assert (finding.state, "PHONECV_CACHE" in finding.fix) == ("missing", True)
