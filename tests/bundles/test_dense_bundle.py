"""Bundles of detectors and segmenters: all that a person needs who builds the app, and all of it true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bundles.dense_cases import NAMES, segmenter
from bundles.test_bundle import tiny
from bundles.test_readers import picture
from exporting.dense_files import busy, busy_masks
from exporting.fake_formats import fake
from opened import open_detector, open_segmenter
from phonecv.bundles import BundleResult, bundle, verify
from phonecv.bundles.expected import write_expected
from phonecv.bundles.tensors import input_texts, output_texts
from phonecv.data.pictures.reading import planes
from phonecv.detect.bundling import preparation, reading
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.opening import open_session


@pytest.fixture(autouse=True)
def fake_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS, "fake", fake())


def photographs(folder: Path) -> Path:
    """Of an odd shape, so that nothing is right by chance."""
    folder.mkdir()
    for number in range(3):
        picture(140 + number, 91).save(folder / f"{number}.png")
    return folder


def bundled(network: Any, folder: Path, **options: Any) -> BundleResult:
    """In a format that PyTorch keeps as it is, written at once."""
    defaults: dict[str, Any] = {
        "formats": ["fake"],
        "name": "app",
        "images": photographs(folder / "photos"),
        "licence": "mine",
    }
    return bundle(network, folder / "bundle", **(defaults | options))


def test_a_segmenter(tmp_path: Path) -> None:
    result = bundled(segmenter(), tmp_path, size=(64, 96))
    there = {file.relative_to(result.path).as_posix() for file in result.path.rglob("*") if file.is_file()}
    readers = {f"readers/{name}" for name in ("phonecv_reader.hpp", "phonecv_reader.mjs")}
    readers |= {"readers/PhonecvReader.kt", "readers/PhonecvReader.swift"}
    assert there == set(result.files) == readers | {
        "app.fake", "app.fake.json", "app.part", "app.test.png", "expected.json", "expected.png", "index.html",
        "labels.txt", "legend.json", "LICENCE-weights.txt", "manifest.json", "README.md", "result.png",
    }  # fmt: skip
    assert verify(result.path) == []
    expected = json.loads((result.path / "expected.json").read_text())
    image = Image.open(result.path / expected["picture"])
    assert (expected["width"], expected["height"]) == image.size == (140, 91)
    labels = open_segmenter(result.path / expected["through"])([planes(image.convert("RGB"))])[0].numpy()
    assert np.array_equal(np.asarray(Image.open(result.path / "expected.png")), labels)
    shares = {one["label"]: one["share"] for one in expected["shares"]}
    assert shares == {int(label): pytest.approx(np.mean(labels == label), abs=1e-5) for label in np.unique(labels)}
    assert len(shares) > 1
    classes = json.loads((result.path / "legend.json").read_text())["classes"]
    assert [one["name"] for one in classes] == list(NAMES)
    with Image.open(result.path / "result.png") as drawn:
        assert drawn.width >= 140


def test_a_detector(tmp_path: Path) -> None:
    result = bundled(busy("retinanet_fpn"), tmp_path, size=(64, 96), decode="final")
    expected = json.loads((result.path / "expected.json").read_text())
    (found,) = open_detector(result.path / "app.fake")([planes(Image.open(result.path / expected["picture"]))])
    strong = found["scores"] >= expected["threshold"]
    assert expected["count"] == int(strong.sum()) > 3
    for one, box, score, label in zip(
        expected["objects"], found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=False
    ):
        assert [one[side] for side in ("left", "top", "right", "bottom")] == pytest.approx(box, abs=0.01)
        assert (one["label"], one["score"]) == (label, pytest.approx(score, abs=1e-5))
    drawn = np.asarray(Image.open(result.path / "result.png").convert("RGB")).astype(int)
    photo = np.asarray(Image.open(result.path / expected["picture"])).astype(int)
    assert 0.01 < np.mean(np.abs(drawn - photo).max(-1) > 40) < 0.9  # lines and names, and the photograph between
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert [(model["task"], model["decoding"]) for model in manifest["models"]] == [("detect", "final")]


@pytest.mark.long
def test_the_readme_and_the_page_say_what_the_tensors_are(tmp_path: Path) -> None:
    result = bundled(busy("retinanet_fpn"), tmp_path, size=(64, 96), decode="final")
    readme, page = ((result.path / name).read_text() for name in ("README.md", "index.html"))
    for name in result.files:
        assert name in readme or name.startswith("readers/"), name
    for said in ("B x 3 x 64 x 96", "B x 30 x 4", "int32", "to fit into 64 x 96", "from 0; -1 for places"):
        assert said in readme
        assert said in page
    assert "| B |" in readme  # the number of objects, one for each picture
    assert "at the threshold" in readme
    for outside in ("http://", "https://", "<script", "<link"):
        assert outside not in page
    assert "data:image/png;base64," in page


def test_shapes_in_the_words_are_those_of_the_file(tmp_path: Path) -> None:
    result = bundled(busy("ssdlite320"), tmp_path, bake=True)
    (record,) = result.exported
    (given,) = input_texts(record)
    assert (given.shape, given.type) == ("B x 3 x 96 x 96", "float32")
    assert "0..255" in given.meaning
    outputs = open_session(result.path / "app.fake")(np.full((2, 3, 96, 96), 99, np.float32))
    for said, output in zip(output_texts(record), outputs, strict=True):
        assert said.shape == " x ".join(["B", *map(str, output.shape[1:])])
        assert said.type == str(output.dtype)
    assert dict(preparation(record))["resize"].startswith("the whole picture to 96 x 96")
    assert any("softmax over classes and background" in line for line in reading(record))


@pytest.mark.parametrize(
    ("report", "shape", "logits"),
    [
        ({"inputs": [{"layout": "NHWC"}]}, "1 x 64 x 96 x 3", "1 x 5 x 16 x 24"),
        ({"inputs": [{"layout": "RGB picture", "type": "uint8"}]}, "64 x 96 RGB picture", "1 x 5 x 16 x 24"),
        ({"inputs": [{"layout": "CHW", "name": "in0"}], "outputs": {"logits": "out0"}}, "3 x 64 x 96", "5 x 16 x 24"),
    ],
)
def test_words_for_other_layouts(report: dict[str, Any], shape: str, logits: str) -> None:
    record = {
        "task": "segment", "report": report, "input_size": [64, 96], "outputs": ["logits"], "num_classes": 5,
        "preprocessing": {"mean": [0.5] * 3}, "decoding": {"kind": "raw"},
        "test": {"outputs": {"logits": {"shape": [5, 16, 24]}}},
    }  # fmt: skip
    assert input_texts(record)[0].shape == shape
    (output,) = output_texts(record)
    assert (output.shape, output.name) == (logits, "out0" if "outputs" in report else "logits")


def test_nothing_sure_in_the_picture_lowers_the_threshold(tmp_path: Path) -> None:
    model: Any = busy("ssdlite320", score_threshold=0.01)
    with torch.no_grad():
        for head in model.class_heads:
            head[-1].weight *= 0.2  # nothing is more probable than a third or so
            head[-1].bias.zero_()
    result = bundled(model, tmp_path, decode="boxes")
    expected = json.loads((result.path / "expected.json").read_text())
    best = max(one["score"] for one in expected["objects"])
    assert expected["threshold"] <= best
    assert len(expected["objects"]) <= 20 <= max(20, expected["count"])


def test_files_of_another_network_are_refused(tmp_path: Path) -> None:
    export(tiny(), tmp_path / "other.fake")
    for network, told in ((busy("ssdlite320"), "a classifier of 7 classes"), (segmenter(), "a segmenter of 5")):
        with pytest.raises(UserError, match=told):
            bundle(network, tmp_path / "app", formats=[], include=[tmp_path / "other.fake"])
    named = tiny()
    named.class_names = tuple("abcdefg")
    with pytest.raises(UserError, match="with other names"):
        bundle(named, tmp_path / "app", formats=[], include=[tmp_path / "other.fake"])


def test_without_a_test_picture_nothing_is_expected(tmp_path: Path) -> None:
    record = {"task": "segment", "file": "a.onnx", "test": {"picture": "a.test.png"}}
    assert write_expected(tmp_path, [record], tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.long
def test_masks_and_several_formats(tmp_path: Path) -> None:
    result = bundled(busy_masks(), tmp_path, size=(64, 96), decode="final", max_diff=0.05, formats=["onnx", "pt2"])
    assert {"readers/PhonecvReader.swift", "app.onnx", "app.pt2"} <= set(result.files)
    assert "masks" in (result.path / "README.md").read_text()
    assert "mask(" in (result.path / "readers" / "phonecv_reader.hpp").read_text()
    with pytest.raises(UserError, match="always holds the decoding"):
        bundle(busy_masks(), tmp_path / "raw", formats=["pt2"], size=(64, 96))
    assert not (tmp_path / "raw").exists()
