"""Exported detectors and segmenters in evaluation and prediction: the same as their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor

import phonecv
from conftest import mostly_long
from detect.detectors import pictures
from detect.scenes import CLASSES
from exporting.dense_files import busy, busy_masks, pretend
from opened import open_detector, open_segmenter
from phonecv.cli import main
from phonecv.detect.base import Detector
from phonecv.detect.masks import BoxMasks
from phonecv.detect.verbs import OpeningOptions
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.record import record_path
from phonecv.inspection import info
from phonecv.opening import task_of
from phonecv.weights import Loading
from segment.tiny import OPTIONS, tiny

#: Odd sizes, wide and high.
SIZES = ((75, 101), (64, 96), (131, 60))


def same(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], *, atol: float = 1e-2) -> int:
    """Assert that two runs found the same; how many objects."""
    for one, other in zip(found, wanted, strict=True):
        assert one["labels"].tolist() == other["labels"].tolist()
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=atol, rtol=1e-3)
    return sum(len(one["labels"]) for one in found)


def partners(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """For each object its best overlap with one of the same label, and which that is."""
    overlap = torchvision.ops.box_iou(one["boxes"], other["boxes"])
    best, partner = (overlap * (one["labels"][:, None] == other["labels"])).max(1)
    return best, partner


def mostly_same(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> int:
    """Likewise where proposals whose overlap is at the very limit may come or go."""
    for one, other in zip(found, wanted, strict=True):
        best, partner = partners(one, other)
        assert (best > 0.99).float().mean() > 0.9
        if "masks" in one:
            apart = (one["masks"].paste() - other["masks"][partner])[best > 0.99].abs().amax((1, 2, 3))
            assert (apart < 0.05).float().mean() > 0.9
        assert abs(len(best) - len(other["boxes"])) <= 2
    return sum(len(one["labels"]) for one in found)


@pytest.mark.parametrize("decode", ["raw", "boxes", "final", "mediapipe"])
@pytest.mark.parametrize("bake", [False, True])
def test_a_square_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: str, bake: bool) -> None:
    detector = busy("ssdlite320")
    detector.class_names = CLASSES
    path = pretend(detector, tmp_path / "a.onnx", monkeypatch, decode=decode, size=(96, 96), bake=bake, batch=None)
    runner = open_detector(path)
    images = pictures(*SIZES)
    assert same(runner(images), detector(images)) > 20
    assert (runner.classes, runner.named, runner.masks) == (CLASSES, True, False)
    assert runner.details["decoding"] == decode
    assert task_of(path) == "detect"


@pytest.mark.parametrize("decode", ["raw", "boxes", "final"])
@pytest.mark.parametrize("free", [False, True])
def test_a_detector_that_keeps_the_aspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: str, free: bool
) -> None:
    detector = busy("retinanet_fpn")
    path = pretend(detector, tmp_path / "a.onnx", monkeypatch, decode=decode, size=(64, 96), free=free)
    runner = open_detector(path)
    # Of 3:2, so that a file of one size shrinks them as the network does.
    images = pictures((64, 96), (128, 192))
    assert same(runner(images), detector(images)) > 20
    if free and decode != "final":
        # Here pictures that end before others do are cut after suppression in a file that does it itself.
        images = pictures(*SIZES)
        assert same(runner(images), detector(images)) > 20


def test_other_shapes_fit_into_a_file_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pretend(busy("retinanet_fpn"), tmp_path / "a.onnx", monkeypatch, decode="raw", size=(64, 96))
    (found,) = open_detector(path)(pictures((200, 50)))
    assert len(found["boxes"])
    assert found["boxes"].min() >= 0
    assert (found["boxes"].amax(0) <= torch.tensor([50, 200, 50, 200]) + 1e-3).all()


def test_mask_rcnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = busy_masks()
    path = pretend(detector, tmp_path / "a.onnx", monkeypatch, decode="final", size=(64, 96))
    runner = open_detector(path)
    assert runner.masks
    images = pictures((64, 96), (128, 192))
    found, wanted = runner(images), detector(images)
    assert mostly_same(found, wanted) > 10
    assert all(isinstance(one["masks"], BoxMasks) for one in found)
    for image, one, other in zip(images, found, wanted, strict=True):
        assert one["masks"].paste().shape[1:] == other["masks"].shape[1:] == (1, *image.shape[1:])


def test_weak_objects_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = busy("ssdlite320")
    images = pictures(*SIZES)
    for decode in ("raw", "final"):
        path = pretend(detector, tmp_path / "a.onnx", monkeypatch, decode=decode, size=(96, 96))
        everything, strong = (
            open_detector(path, options=OpeningOptions(threshold=least))(images) for least in (0.0, 0.5)
        )
        count = sum(int((found["scores"] >= 0.5).sum()) for found in everything)
        assert 0 < count == sum(len(found["scores"]) for found in strong)
        assert count < sum(len(found["scores"]) for found in everything)


# ------------------------------------------------------------------------------------- segmenters


def labelled(model: Any, images: list[Tensor], **options: Any) -> list[Tensor]:
    return list(open_segmenter(model, **options)(images))


@pytest.mark.parametrize("free", [False, True])
def test_a_segmenter_of_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: bool) -> None:
    model = tiny("segformer", "mobileone_s0")
    path = pretend(
        model, tmp_path / "a.onnx", monkeypatch, decode="raw" if free else "mediapipe", size=(64, 96), free=free
    )
    images = pictures((64, 96), (128, 192), *(SIZES if free else ()))
    found, wanted = labelled(path, images), labelled(model, images)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert len(found[0].unique()) > 1
    assert task_of(path) == "segment"
    options: dict[str, Any] = {"flip": True, "scales": (0.5, 1.0)} if free else {"flip": True}
    for one, other in zip(labelled(path, images, **options), labelled(model, images, **options), strict=True):
        assert (one != other).float().mean() < 1e-3


def test_windows_over_a_file_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("segformer", "mobileone_s0")
    path = pretend(model, tmp_path / "a.onnx", monkeypatch, decode="raw", size=(64, 64))
    images = pictures((100, 150), (64, 64))
    for one, other in zip(labelled(path, images, slide=(64, 40)), labelled(model, images, slide=(64, 40)), strict=True):
        assert (one != other).float().mean() < 1e-3
    # Pictures that are smaller than the file, in windows that are smaller, too.
    (found,) = labelled(path, pictures((40, 50)), slide=(48, 32))
    assert found.shape == (40, 50)
    with pytest.raises(UserError, match="windows of 80 do not fit"):
        open_segmenter(path, slide=(80, 40))
    with pytest.raises(UserError, match="cannot be scaled"):
        open_segmenter(path, scales=(0.5, 1.0))


def test_a_segmenter_of_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("segformer", "mobileone_s0")
    path = pretend(model, tmp_path / "a.onnx", monkeypatch, decode="final", size=(64, 96))
    images = pictures((64, 96))
    assert torch.equal(labelled(path, images)[0], labelled(model, images)[0])
    (found,) = labelled(path, pictures((131, 60)))  # padded at the side
    assert found.shape == (131, 60)
    assert found.dtype == torch.uint8
    with pytest.raises(UserError, match="export it without decoding"):
        open_segmenter(path, flip=True)


# --------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pretend(busy("ssdlite320"), tmp_path / "a.onnx", monkeypatch, decode="raw", size=(96, 96))
    with pytest.raises(UserError, match="this needs 'segment'"):
        open_segmenter(path)
    with pytest.raises(UserError, match="ema: only for checkpoints"):
        open_detector(path, loading=Loading(ema=True))
    with pytest.raises(UserError, match="amp 'bf16' is for networks"):
        open_detector(path, amp="bf16")
    with pytest.raises(UserError, match="run on the CPU"):
        open_detector(path, device="cuda")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoding": None}, "outputs cannot be read"),
        ({"decoding": {"kind": "raw", "score_threshold": 0.1}}, "lacks 'candidates'"),
        ({"decoding": {"kind": "some"}}, "how its outputs are decoded"),
    ],
)
def test_damaged_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str) -> None:
    detector = busy("ssdlite320")
    import exporting.dense_files as files

    honest = files.describe
    monkeypatch.setattr(files, "describe", lambda *args, **more: honest(*args, **more) | change)
    path = pretend(detector, tmp_path / "a.onnx", monkeypatch, decode="raw", size=(96, 96))
    with pytest.raises(UserError, match=message):
        open_detector(path)(pictures((64, 64)))


def test_files_without_a_record_classify(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    (tmp_path / "noise.tflite").write_bytes(b"noise")
    (tmp_path / "noise.tflite.json").write_text("[]")
    assert task_of(tmp_path / "noise.onnx") == task_of(tmp_path / "noise.tflite") == "classify"
    with pytest.raises(UserError, match="there is no file"):
        task_of(tmp_path / "none.onnx")


# -------------------------------------------------------------------------- through the toolkits


def truth_of(detector: Detector, root: Path) -> Path:
    """A data set in which much of what the detector finds is true, so that its AP says something."""
    folder = root / "images" / "val"
    folder.mkdir(parents=True)
    (root / "annotations").mkdir()
    images = pictures(*SIZES, (96, 96), (64, 64), seed=5)
    random = np.random.default_rng(0)
    listed, annotations = [], []
    for number, (image, found) in enumerate(zip(images, detector(images), strict=True)):
        height, width = image.shape[1:]
        listed.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
        for box, label in zip(found["boxes"].tolist(), found["labels"].tolist(), strict=True):
            if random.random() < 0.6:
                x1, y1, x2, y2 = (np.array(box) + random.normal(0, 1.5, 4)).tolist()
                if x2 - x1 < 1 or y2 - y1 < 1:
                    continue
                entry = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                annotations.append(entry | {"id": len(annotations) + 1, "image_id": number, "category_id": label})
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    data = {"images": listed, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(data))
    return root


@pytest.mark.long
@pytest.mark.slow
def test_onnx_files_have_their_checkpoints_ap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = busy("ssdlite320")
    detector.class_names = CLASSES
    data = truth_of(detector, tmp_path / "data")
    saved = phonecv.save_checkpoint(detector, tmp_path / "a.safetensors")
    wanted = phonecv.evaluate(saved, data).figures
    assert 20 < wanted["ap"] < 90
    for decode in ("raw", "boxes", "final"):
        path = tmp_path / f"{decode}.onnx"
        result = export(saved, path, decode=decode)
        assert result.difference is not None
        assert result.difference < 1e-4
        found = phonecv.evaluate(path, data).figures
        assert found["ap"] == pytest.approx(wanted["ap"], abs=0.1)
        assert found["ap50"] == pytest.approx(wanted["ap50"], abs=0.1)
    record_path(path).unlink()
    assert task_of(path) == "detect"  # by what stands in the file itself
    capsys.readouterr()
    assert main(["eval", str(path), "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ap"] == pytest.approx(wanted["ap"], abs=0.1)
    named = ["predict", str(path), str(data / "images"), "--out", str(tmp_path / "out"), "--threshold", "0.5"]
    assert main(named) == 0
    drawn = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert sum(len(entry["detections"]) for entry in drawn["images"]) > 5
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    assert "ssdlite320 on mobileone_s0" in capsys.readouterr().out
    facts = dict(info(str(path)).fields())
    assert facts["outputs"] == "boxes, scores, labels, count"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(OPTIONS, "segformer"))
@pytest.mark.parametrize("decode", mostly_long(["raw", "final"], "final"))  # raw ones are evaluated in test_quantizing
def test_segmenters_as_onnx(tmp_path: Path, architecture: str, decode: str) -> None:
    model = tiny(architecture, "mobileone_s0")
    images = pictures((64, 96), (128, 192), (60, 90))
    wanted = labelled(model, images)
    result = export(model, tmp_path / f"{decode}.onnx", decode=decode, size=(64, 96))
    assert result.difference is not None
    assert result.difference < 1e-4
    found = labelled(tmp_path / f"{decode}.onnx", images)
    least = 0.999 if decode == "raw" else 0.9  # maps of classes are resized pixel by pixel
    assert all((one == other).float().mean() > least for one, other in zip(found, wanted, strict=True))
