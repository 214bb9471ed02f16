"""`phonecv eval` and `phonecv predict` with a real, tiny detector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import phonecv
from cli.conftest import Run
from conftest import TINY
from detect.scenes import CLASSES, write_scenes
from phonecv.errors import UserError
from phonecv.opening import task_of
from settle import settle


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained SSDLite whose scores pass its own threshold."""
    torch.manual_seed(0)
    backbone = phonecv.create_model("emov2_1m", num_classes=3, **TINY["emov2_1m"])
    saved = phonecv.save_checkpoint(settle(backbone, size=64), tmp_path_factory.mktemp("backbone") / "a.safetensors")
    model = phonecv.create_detector("ssdlite320", "emov2_1m", num_classes=3, weights=saved, **TINY["emov2_1m"])
    model.class_names = CLASSES
    return phonecv.save_checkpoint(model.eval(), tmp_path_factory.mktemp("detector") / "tiny.safetensors")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"), 4)


def test_the_file_says_what_it_is(detector: Path, checkpoints: Path) -> None:
    assert task_of(detector) == task_of(phonecv.load_checkpoint(None, detector)) == "detect"
    assert task_of(checkpoints / "emo_1m.safetensors") == "classify"
    assert task_of("emo_1m") == "classify"
    with pytest.raises(UserError, match=r"there is no file 'absent.safetensors'"):
        task_of(Path("absent.safetensors"))


def test_eval(detector: Path, scenes: Path, run: Run, tmp_path: Path) -> None:
    shown = run("eval", detector, "--data", scenes, "--out", tmp_path / "out")
    assert shown.status == 0, shown.err
    assert "boxes: AP" in shown.out
    assert f"are in {tmp_path / 'out'}" in shown.out
    found = json.loads(run("eval", detector, "--data", scenes, "--json", "--limit", "3").out)
    assert found["count"] == 3
    assert found["architecture"] == "ssdlite320"
    again = json.loads(run("eval", tmp_path / "out" / "detections.json", "--data", scenes, "--json").out)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {name: again[name] for name in again if name.startswith("ap")} == {
        name: summary[name] for name in summary if name.startswith("ap")
    }


def test_predict(detector: Path, scenes: Path, run: Run, tmp_path: Path) -> None:
    folder = scenes / "images" / "val"
    (tmp_path / "broken.jpg").write_bytes(b"")
    shown = run("predict", detector, folder, "--out", tmp_path / "out", "--threshold", "0.01")
    assert shown.status == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0].split() == ["picture", "objects", "best", "what"]
    assert sum(str(folder) in line for line in lines) == 4
    with Image.open(tmp_path / "out" / "000.jpg") as image:
        assert image.size == (96, 64)
    shown = run("predict", detector, folder / "000.png", tmp_path / "broken.jpg", "--json", "--threshold", "0.01")
    assert shown.status == 1
    first, second = json.loads(shown.out)
    assert second["error"] == "empty file"
    assert set(first["detections"][0]) == {"label", "category", "bbox", "score"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["eval", "DETECTOR", "--data", "PICTURES"], "folder of pictures for each class"),
        (["eval", "CLASSIFIER", "--data", "SCENES", "--annotations", "a.json"], "annotations is for a detector"),
        (["eval", "DETECTOR", "--data", "SCENES", "--reduce-zero-label"], "reduce_zero_label is for a segmenter"),
        (["eval", "DETECTOR", "--data", "SCENES", "--flip"], "flip is for a segmenter"),
        (["predict", "DETECTOR", "SCENES", "--topk", "3"], "topk is for a classifier"),
        (["predict", "CLASSIFIER", "--camera", "0"], "camera is for a detector"),
        (["predict", "DETECTOR", "--camera", "96"], "no camera that can be opened"),
        (["predict", "DETECTOR", "absent.mp4"], "no such file"),
        (["predict", "DETECTOR"], "no pictures were named"),
    ],
)
def test_mistakes(
    options: list[str], message: str, detector: Path, scenes: Path, checkpoints: Path, pictures: Path, run: Run
) -> None:
    places = {
        "DETECTOR": detector,
        "CLASSIFIER": checkpoints / "emo_1m.safetensors",
        "SCENES": scenes,
        "PICTURES": pictures,
    }
    shown = run(*(places.get(option, option) for option in options))
    assert shown.status == 2
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_fuse_and_convert_take_detectors(detector: Path, run: Run, tmp_path: Path) -> None:
    found = json.loads(run("fuse", detector, tmp_path / "fused.safetensors", "--json").out)
    assert [form["form"] for form in found["forms"]] == ["training", "deploy"]
    assert found["forms"][0]["parameters"] > found["forms"][1]["parameters"] > 0
    assert found["forms"][0]["macs"] > 0
    fused = phonecv.load_checkpoint(None, tmp_path / "fused.safetensors")
    assert (fused.form, task_of(fused)) == ("deploy", "detect")
    assert run("convert", detector, tmp_path / "copy.safetensors").status == 0
    refused = run("convert", detector, tmp_path / "copy.pth", "--to", "emov2")
    assert refused.status == 2
    assert "phonecv" in refused.err
