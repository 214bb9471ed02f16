"""A fresh person's way, as docs/train.md has it: from class folders without splits to a bundle, in six commands."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phonecv.cli import main
from phonecv.data.splitting.lists import list_of, read_names
from training.conftest import SMALL


def test_from_a_folder_of_photos_to_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        Path("photos", name).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(f"photos/{name}/{number}.png")

    def run(*words: str) -> str:
        assert main(words) == 0
        return capsys.readouterr().out

    assert "a training holds 6 of the 30 pictures out" in run("audit", "photos")
    said = run("train", "from_scratch_small", "--data", "photos", "--out", "runs/photos", *SMALL)
    assert "24 training pictures and 6 for validation, from photos" in said
    assert "runs/photos/split/val.txt" in said
    best = "runs/photos/best.safetensors"
    said = run("eval", best, "--data", "photos", "--out", "runs/photos/eval")
    assert "/6 top-1" in said
    assert "as runs/photos/split/val.txt lists them" in said
    held = read_names(list_of(Path("runs/photos"), "val"))
    assert held[0] in run("predict", best, f"photos/{held[0]}")
    assert "photos.zip" in run("bundle", best, "photos.zip", "--to", "onnx", "--images", "photos")
    assert "is as it was made" in run("verify", "photos.zip")
    with zipfile.ZipFile("photos.zip") as bundle:
        assert any(name.endswith(".onnx") for name in bundle.namelist())
