"""`phonecv quantize` on a tiny network: files, figures, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Run

pytest.importorskip("onnxruntime")


def test_a_file_is_written_and_its_cost_is_told(run: Run, checkpoints: Path, pictures: Path, tmp_path: Path) -> None:
    # Fresh weights answer at random, so any loss is allowed.
    source = checkpoints / "mobileone_s0.safetensors"
    command = ["quantize", source, tmp_path, "--to", "onnx", "--data", pictures, "--max-drop", "99"]
    found = run(*command)
    assert found.status == 0, found.err
    path = tmp_path / "mobileone_s0-int8.onnx"
    assert path.is_file()
    assert "onnx: ranges: percentile: " in found.out
    assert f"wrote {path}" in found.out
    assert "signal-to-noise in dB" in found.out
    assert "12 pictures chose the method, and one of them is 8.3 points" in found.out
    judged = run("eval", path, "--data", pictures, "--json")
    assert json.loads(judged.out)["count"] == 12
    again = run(*command)
    assert again.status == 2
    assert "exists already; --force" in again.err


def test_no_file_and_status_1_where_the_budget_cannot_be_met(
    run: Run, checkpoints: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phonecv.classify.quantizing import AnswersScore, ClassifyWorkshop
    from phonecv.quantization import search
    from phonecv.quantization.methods import RANGES_MINMAX

    monkeypatch.setattr(search, "methods_for", lambda *given, **more: [RANGES_MINMAX])
    poor = AnswersScore(count=12, right=3, float_right=9, same=4, drop=50.0, standard_error=14.4, decibels=3.0)
    monkeypatch.setattr(ClassifyWorkshop, "judge", lambda *given: poor)
    source = checkpoints / "mobileone_s0.safetensors"
    found = run("quantize", source, tmp_path, "--to", "onnx", "--data", pictures)
    assert found.status == 1
    assert "onnx: no file. At most 1 points of top-1 lost are allowed; the best was 'ranges: extremes'" in found.out
    assert "quantization-aware fine-tuning" in found.out
    assert [path.name for path in tmp_path.iterdir()] == ["mobileone_s0-int8.quantize.json"]
    as_json = run("quantize", source, tmp_path, "--to", "onnx", "--data", pictures, "--json")
    assert as_json.status == 1
    assert json.loads(as_json.out)["formats"]["onnx"]["path"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "onxn"], "unknown export format 'onxn'; did you mean 'onnx'"),
        (["--to", " , "], "names no format"),
        (["--to", "pt2"], "torch.export files are written as float32"),
        (["--to", "onnx", "--calibrate", "3"], "too few"),
    ],
)
def test_mistakes(
    options: list[str], message: str, run: Run, checkpoints: Path, pictures: Path, tmp_path: Path
) -> None:
    found = run("quantize", checkpoints / "emo_1m.safetensors", tmp_path / "out", "--data", pictures, *options)
    assert found.status == 2
    assert message in found.err
    assert not list(tmp_path.rglob("*.onnx"))
