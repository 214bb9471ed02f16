"""Bundles: complete, checked, with true digests, and never half there."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import phonecv
from conftest import TINY
from exporting.fake_formats import fake
from phonecv.bundles import BundleResult, bundle, verify
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.targets import claimed
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle


def tiny() -> VisionModel:
    torch.manual_seed(0)
    model = settle(phonecv.create_model("mobileone_s0", num_classes=7, **TINY["mobileone_s0"]), size=64)
    model.preprocessing = Preprocessing(size=64, crop=0.9)
    model.class_names = ("ant", "bee", "cat", "dog", "<b>eel</b>", "fox", "gnu")
    return model


@pytest.fixture
def fake_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that is written at once."""
    monkeypatch.setitem(EXPORTERS, "fake", fake())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> BundleResult:
    folder = tmp_path_factory.mktemp("bundle")
    return bundle(tiny(), folder / "app", formats=["onnx", "pt2"], name="animals", licence="CC BY 4.0, me")


def test_everything_is_there(made: BundleResult) -> None:
    there = {file.relative_to(made.path).as_posix() for file in made.path.rglob("*") if file.is_file()}
    assert there == set(made.files)
    wanted = {"animals.onnx", "animals.onnx.json", "animals.pt2", "labels.txt", "animals.test.png", "index.html"}
    assert wanted <= there
    assert {"readers/phonecv_reader.hpp", "readers/picture.js", "LICENCE-weights.txt", "manifest.json"} <= there
    assert (made.path / "labels.txt").read_text().splitlines() == list(tiny().class_names or ())
    assert (made.path / "LICENCE-weights.txt").read_text() == "CC BY 4.0, me\n"


def test_the_manifest_tells_the_truth(made: BundleResult) -> None:
    manifest = json.loads((made.path / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        content = (made.path / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {model["format"] for model in manifest["models"]} == {"onnx", "pt2"}
    assert manifest["licence_of_weights"] == "CC BY 4.0, me"
    assert verify(made.path) == []


def test_the_test_picture_gives_the_outputs_told(made: BundleResult) -> None:
    record = json.loads((made.path / "animals.onnx.json").read_text())
    assert record["licence"] == "CC BY 4.0, me"
    image = Image.open(made.path / record["test"]["picture"])
    batch = eval_transform(Preprocessing.from_dict(record["preprocessing"]))(image)[None].numpy()
    session = onnxruntime.InferenceSession(str(made.path / "animals.onnx"), providers=["CPUExecutionProvider"])
    got = np.asarray(session.run(None, {"images": batch})[0])[0]
    told = np.array(record["test"]["outputs"]["logits"]["values"])
    assert told.std() > 1e-3
    np.testing.assert_allclose(got, told, atol=1e-4 * max(1.0, float(np.abs(told).max())))


def test_the_page_stands_alone(made: BundleResult) -> None:
    page = (made.path / "index.html").read_text()
    assert "animals.onnx" in page
    assert "CC BY 4.0, me" in page
    assert "data:image/png;base64," in page
    for outside in ("http://", "https://", "<script", "<link"):
        assert outside not in page


def test_a_changed_bundle_is_noticed(tmp_path: Path, fake_format: None) -> None:
    folder = bundle(tiny(), tmp_path / "app", formats=["fake"], name="m").path
    (folder / "labels.txt").write_text("other\n")
    (folder / "index.html").unlink()
    (folder / "more.txt").touch()
    assert verify(folder) == ["index.html is missing", "labels.txt was changed", "more.txt was added"]
    with pytest.raises(UserError, match=r"no manifest\.json"):
        verify(tmp_path)


def test_a_zip_of_files_made_before(tmp_path: Path) -> None:
    export(tiny(), tmp_path / "first.onnx")
    result = bundle(tiny(), tmp_path / "app.zip", formats=[], include=[tmp_path / "first.onnx"], name="m")
    with zipfile.ZipFile(result.path) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    assert {"app/first.onnx", "app/first.onnx.json", "app/first.test.png", "app/manifest.json"} <= names
    assert "not stated" in result.licence
    assert {path.name for path in tmp_path.iterdir()} == {
        "app.zip", "first.onnx", "first.onnx.json", "first.test.png",
    }  # fmt: skip


def test_licence_from_the_catalog(monkeypatch: pytest.MonkeyPatch, fake_format: None, tmp_path: Path) -> None:
    monkeypatch.setattr("phonecv.bundles.build.load_network", lambda *_, **__: tiny())
    result = bundle("mobileone_s0", tmp_path / "app", formats=["fake"], size=64)
    assert "Apple sample code licence" in result.licence
    monkeypatch.setattr("phonecv.exporting.run.load_network", lambda *_, **__: tiny())
    alone = export("mobileone_s0:apple", tmp_path / "alone.fake", size=64)
    assert json.loads(alone.record.read_text())["licence"] == result.licence


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"formats": ["onxx"]}, "did you mean 'onnx'"),
        ({"formats": []}, "at least one model file"),
        ({"include": ["missing.onnx"]}, "no exported file that exists"),
        ({"formats": ["onnx"], "max_diff": 1e-12}, "was not written"),
    ],
)
def test_mistakes_leave_nothing(tmp_path: Path, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        bundle(tiny(), tmp_path / "app", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_destination(tmp_path: Path, fake_format: None) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine.txt").touch()
    with pytest.raises(UserError, match="--force"):
        bundle(tiny(), tmp_path / "app", formats=["fake"])
    bundle(tiny(), tmp_path / "app", formats=["fake"], force=True)
    assert not (tmp_path / "app" / "mine.txt").exists()


def test_of_two_at_a_time_one_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path / "app.zip", replace=True), pytest.raises(UserError, match="another export is writing"):
        bundle(tiny(), tmp_path / "app.zip", formats=["pt2"], force=True)
