"""From the folder of another tool to a trained network and its figures, by the commands that people type."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.foreign import scene
from data.picture_files import noise
from phonecv.cli import main

TINY = (
    "schedule.epochs=1", "schedule.warmup_epochs=0", "data.batch_size=2", "data.size=64", "data.workers=0",
    "model.overrides={depths: [1, 1, 1, 1], widths: [16, 16, 32, 32], branches: 1}",
)  # fmt: skip


def yolo(root: Path) -> None:
    """Both splits as Roboflow exports them."""
    scene.write(root, {"data.yaml": "names: [cat, dog]\ntrain: ../train/images\nval: ../valid/images\n"})
    for seed, split in enumerate(("train", "train", "valid")):
        scene.write(root, {f"{split}/labels/{seed}.txt": scene.YOLO_RINGS})
        (root / split / "images").mkdir(exist_ok=True)
        noise((64, 48), seed).save(root / split / f"images/{seed}.png")


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "figure"), [("detect_scratch", "AP"), ("segment_scratch", "mIoU")])
def test_trained_and_judged(tmp_path: Path, recipe: str, figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    yolo(tmp_path / "data")
    out = tmp_path / "run"
    assert main(["train", recipe, "--data", str(tmp_path / "data"), "--out", str(out), *TINY]) == 0
    assert "YOLO's label files" in capsys.readouterr().out
    assert main(["eval", str(out / "best.safetensors"), "--data", str(tmp_path / "data")]) == 0
    printed = capsys.readouterr().out
    assert figure in printed
    assert "1 image" in printed


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["detect_scratch", "segment_scratch"])
def test_a_training_split_alone(tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was held out of it is judged, and all of it by --split all, as the evaluation says."""
    data, out = tmp_path / "data", tmp_path / "run"
    scene.write(data, {"data.yaml": "names: [cat, dog]\ntrain: ../train/images\nval: ../valid/images\n"})
    scene.write(data, {f"train/labels/{seed}.txt": scene.YOLO_RINGS for seed in range(3)})
    scene.write(data, {f"train/images/{seed}.png": "" for seed in range(3)})
    assert main(["train", recipe, "--data", str(data), "--out", str(out), *TINY]) == 0
    capsys.readouterr()
    for more, count in (([], "1 image"), (["--split", "all"], "3 images")):
        assert main(["eval", str(out / "best.safetensors"), "--data", str(data), *more]) == 0
        assert count in capsys.readouterr().out
