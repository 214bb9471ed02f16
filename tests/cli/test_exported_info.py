"""`phonecv info` of exported files: what they are and how they were checked, without running anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Run
from conftest import mostly_long


@pytest.mark.parametrize("suffix", mostly_long([".onnx", ".pt2"], ".pt2"))
def test_an_exported_file_is_described(run: Run, checkpoints: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s0{suffix}"
    done = run("export", checkpoints / "mobileone_s0.safetensors", path)
    assert done.status == 0, done.err
    shown = run("info", path)
    assert shown.status == 0, shown.err
    for text in (
        "classifier",
        "mobileone_s0",
        "deploy",
        "float32",
        "red, green, blue",
        "32x32 px",
        "any batch",
        "logits",
    ):
        assert text in shown.out
    checked = next(line for line in shown.out.splitlines() if line.startswith("checked"))
    assert "difference" in checked
    assert json.loads(run("info", path, "--json").out)["exported"]["precision"] == "float32"
    # Alone, the file still says what it is.
    path.with_name(path.name + ".json").unlink()
    alone = run("info", path)
    assert "mobileone_s0" in alone.out
    assert "checked" not in alone.out


def test_hostile_files_are_refused(run: Run, shared_dir: Path) -> None:
    for name, message in (("external_escape.onnx", "outside its folder"), ("noise.onnx", "not an ONNX file")):
        done = run("info", shared_dir / "data" / "hostile" / "ckpt" / name)
        assert done.status == 2
        assert message in done.err


def test_an_empty_file_is_no_network(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    done = run("info", tmp_path / "empty.onnx")
    assert done.status == 2
    assert "empty.onnx is not an ONNX file (there is no graph in it)" in done.err
