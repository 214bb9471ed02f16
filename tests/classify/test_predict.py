"""Predictions: names, files that parse back, odd pictures and odd names."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import phonecv
from conftest import TINY
from exporting.dense_files import pretend
from phonecv.api import predict
from phonecv.classify.predict import write_predictions
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def model() -> VisionModel:
    torch.manual_seed(0)
    model = phonecv.create_model("mobileone_s0", num_classes=6, **TINY["mobileone_s0"]).train()
    with torch.no_grad():
        model(torch.randn(8, 3, 32, 32))
    model.preprocessing = Preprocessing(size=32)
    model.class_names = ("a", "b,c", 'say "x"', "größe", "日本", "$f$")
    return model.eval()


def test_probabilities_are_a_sorted_softmax(model: VisionModel, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (50, 40), (80 * number, 30, 200)).save(tmp_path / f"{number}.png")
    predictions = predict(model, tmp_path, topk=9, batch_size=2, device="cpu")
    assert [entry.path.name for entry in predictions] == ["0.png", "1.png", "2.png"]
    for entry in predictions:
        assert len(entry.labels) == 6
        assert sum(entry.probabilities) == pytest.approx(1.0, abs=1e-5)
        assert list(entry.probabilities) == sorted(entry.probabilities, reverse=True)
        assert model.class_names is not None
        assert [model.class_names[index] for index in entry.indices] == list(entry.labels)
    single = predict(model, str(tmp_path / "1.p*"), topk=1, device="cpu")
    assert single[0].labels == predictions[1].labels[:1]
    assert single[0].probabilities[0] == pytest.approx(predictions[1].probabilities[0], rel=1e-5)


def test_files_parse_back(model: VisionModel, tmp_path: Path) -> None:
    odd = os.fsdecode(b'caf\xe9 $x$,\n"q" \xff.png')
    for name in ("plain.png", odd, "日本語.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_text("no picture")
    predictions = predict(model, tmp_path, topk=2, device="cpu")
    write_predictions(predictions, tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parsed = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert len(parsed) == 4
    assert len(rows) == 3 * 2 + 1
    assert [row["label"] for row in rows if row["path"].endswith("plain.png")] == list(
        next(entry for entry in predictions if entry.path.name == "plain.png").labels
    )
    broken = next(entry for entry in parsed if entry["path"].endswith("broken.jpg"))
    assert broken["predictions"] == []
    assert "text" in broken["error"]
    assert (tmp_path / "out" / "predictions.png").stat().st_size > 1000


def test_hostile_pictures_are_reported(model: VisionModel, shared_dir: Path) -> None:
    with (shared_dir / "data" / "hostile" / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith("images/")]
    must_load = [r["path"] for r in rows if r["expected"].startswith("load as ordinary")]
    must_fail = [r["path"] for r in rows if r["expected"].startswith("report the file by name")]
    assert len(must_load) > 10
    assert len(must_fail) > 5
    root = shared_dir / "data" / "hostile"
    for path, entry in zip(must_load, predict(model, [root / p for p in must_load], device="cpu"), strict=True):
        assert not entry.error, path
    for path, entry in zip(must_fail, predict(model, [root / p for p in must_fail], device="cpu"), strict=True):
        assert entry.error, path
        assert "\n" not in str(entry)
        assert Path(path).name in str(entry)


def test_mistakes_are_explained(model: VisionModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        predict(model, tmp_path / "nothing.jpg")
    with pytest.raises(UserError, match="no pictures"):
        predict(model, tmp_path)
    with pytest.raises(UserError, match="topk=0"):
        predict(model, tmp_path, topk=0)
    with pytest.raises(UserError, match="no pictures were named"):
        predict(model, [])


def test_files_of_probabilities_say_the_same(
    model: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Image.new("RGB", (50, 40), (80 * number, 30, 200)).save(tmp_path / f"{number}.png")
    wanted = predict(model, tmp_path, topk=6, device="cpu")
    file = pretend(model, tmp_path / "m.onnx", monkeypatch, decode="final", size=(32, 32))
    for ours, theirs in zip(wanted, predict(file, sorted(tmp_path.glob("*.png")), topk=6), strict=True):
        assert theirs.labels == ours.labels
        assert theirs.probabilities == pytest.approx(ours.probabilities, rel=1e-4)
