"""Options in Python are as strict as on the command line: known, of this model, of the right type, in range."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import phonecv
from conftest import TINY
from opened import open_classifier
from phonecv.classify.opening import ClassifyRunner
from phonecv.detect.opening import DetectRunner
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.options import Checked, Count, Positive, by_keywords
from phonecv.segment.opening import SegmentRunner
from phonecv.weights import Loading, save_checkpoint


@pytest.fixture(scope="module")
def model() -> VisionModel:
    torch.manual_seed(0)
    model = phonecv.create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"]).eval()
    model.preprocessing = type(model.preprocessing)(size=32)
    return model


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def detector() -> DetectRunner:
    return DetectRunner("nothing", lambda pictures: [], ("a",))


def segmenter() -> SegmentRunner:
    return SegmentRunner("nothing", _black, ("a", "b"), True, torch.device("cpu"))


def _black(pictures: Any) -> list[Tensor]:
    return [torch.zeros(picture.shape[1:], dtype=torch.uint8) for picture in pictures]


@pytest.mark.parametrize("verb", [phonecv.predict, phonecv.evaluate])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batchsize": 2}, "no option 'batchsize'; did you mean 'batch_size'"),
        ({"batch_size": -5}, "batch_size=-5 is out of range; it must be >= 1"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not a whole number"),
        ({"workers": -1}, "workers=-1 is out of range"),
        ({"devise": "cpu"}, "did you mean 'device'"),
        ({"amp": "bf-16"}, "amp='bf-16' is not one of none, bf16, fp16; did you mean 'bf16'"),
        ({"ema": True}, "ema: for reading checkpoint files; this model is a MobileOne already"),
        ({"threshold": 0.3}, "threshold(=0.3)? is for "),
        ({"flip": True}, "flip is for a segmenter; this model is a classifier"),
        ({"window": 10}, "window: for reading checkpoint files"),
    ],
)
def test_classifiers(
    model: VisionModel, photo: Path, verb: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    (photo.parent / "val" / "a").mkdir(parents=True)
    photo.rename(photo.parent / "val" / "a" / "photo.png")
    with pytest.raises(UserError, match=message):
        verb(model, photo.parent, **options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (detector, {"treshold": 0.5}, "did you mean 'threshold'"),
        (detector, {"threshold": 30}, "threshold=30.0 is out of range; it must be >= 0 and <= 1"),
        (detector, {"topk": 3}, "topk is for a classifier and a video classifier; this model is a detector"),
        (detector, {"device": "cpu"}, "device and amp are for networks; this DetectRunner has its own"),
        (
            segmenter,
            {"thresold": 1},
            "no option 'thresold'; threshold is for a classifier and a detector; this model is a segmenter",
        ),
        (segmenter, {"zzz": 1}, "no option 'zzz' .*slide, scales, flip"),
        (segmenter, {"threshold": 0.5}, "threshold is for a classifier and a detector; this model is a segmenter"),
        (segmenter, {"slide": (64, 0)}, "slide.1=0 is out of range"),
        (segmenter, {"slide": 64}, "slide=.* has 1 values; it needs 2"),
        (segmenter, {"scales": (1, -2)}, "scales.1=-2.0 is out of range; it must be > 0"),
        (segmenter, {"flip": "yes"}, "flip='yes' is not true or false"),
        (segmenter, {"batch_size": 0}, "batch_size=0 is out of range"),
        (segmenter, {"flip": True}, "this runner has its way of inference already"),
    ],
)
def test_detectors_and_segmenters(photo: Path, kind: Callable[[], Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        phonecv.predict(kind(), photo, **options)


def test_values_in_range_reach_the_model(model: VisionModel, photo: Path) -> None:
    two: Any = np.int64(2)
    assert len(phonecv.predict(model, photo, topk=two, batch_size=1, device="cpu")[0].labels) == 2
    seen: list[int] = []

    def run(pictures: Any) -> list[Tensor]:
        seen.append(len(pictures))
        return _black(pictures)

    runner = SegmentRunner("black", run, ("a", "b"), True, torch.device("cpu"))
    found = phonecv.predict(runner, [photo] * 3, batch_size=2)
    assert [entry.shares for entry in found] == [(("a", 1.0),)] * 3
    assert seen == [2, 1]


def test_options_of_one_task_are_as_strict(model: VisionModel, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no option 'topK'; did you mean 'topk'"):
        phonecv.predict(model, photo, topK=1)  # type: ignore[call-overload]
    saved = phonecv.save_checkpoint(model, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"camera is for a detector and a video classifier; '.*a.safetensors' is a c"):
        phonecv.predict(saved, [], camera="0")


def test_a_file_of_results_takes_what_it_can_use(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    with pytest.raises(UserError, match=r"device is for .*; '.*found.json' is a file of COCO results"):
        phonecv.evaluate(tmp_path / "found.json", tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "m.onnx is an exported file, run on the CPU; device 'cuda' is for networks"),
        ({"amp": "bf16"}, "amp 'bf16' is for networks"),
        ({"ema": True}, "ema: only for checkpoints"),
    ],
)
def test_exported_files(options: dict[str, Any], message: str, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(UserError, match=message):
        phonecv.predict(tmp_path / "m.onnx", photo, **options)


def test_names_of_public_weights_leave_nothing_to_choose(photo: Path) -> None:
    with pytest.raises(UserError, match=r"topK.*did you mean 'topk'"):
        phonecv.predict("mobileone_s0", photo, topK=1)
    with pytest.raises(UserError, match="'mobileone_s0' is no file"):
        phonecv.predict("mobileone_s0", photo, ema=True)


def test_options_of_checkpoints_reach_them(model: VisionModel, photo: Path) -> None:
    path = save_checkpoint(model, photo.parent / "a.safetensors")
    opened = open_classifier(path, device="cpu", loading=Loading(form="deploy"))
    assert "deploy form" in opened.description
    with pytest.raises(UserError, match="did you mean 'form'"):
        phonecv.predict(path, photo, fom="deploy")
    with pytest.raises(UserError, match="this ClassifyRunner has its own"):
        open_classifier(opened, device="cpu")
    assert isinstance(open_classifier(opened), ClassifyRunner)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formt": "onnx"}, "did you mean 'format'"),
        ({"size": -5}, "size=-5 is out of range"),
        ({"size": (0, 32)}, "size.0=0 is out of range"),
        ({"verify": "no"}, "verify='no' is not true or false"),
    ],
)
def test_export(model: VisionModel, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        phonecv.export(model, tmp_path / "a.onnx", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"licens": "MIT"}, "no option 'licens'; did you mean 'licence'"),
        ({"bak": True}, "did you mean 'bake'"),
        ({"format": "onnx"}, "did you mean 'formats'"),
    ],
)
def test_bundle(model: VisionModel, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        phonecv.bundle(model, tmp_path / "bundle", **options)
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(Checked):
    """Of a verb.

    Attributes:
        count: How many.
        shares: Of what.
        names: Any.
    """

    count: Count = 1
    shares: tuple[Positive, ...] = ()
    names: Any = None


def test_what_a_signature_says_is_what_arrives() -> None:
    def verb_with(path: Any, options: Wanted) -> tuple[Any, ...]:
        """Do it."""
        return path, options.count, options.shares, options.names

    verb = by_keywords(verb_with, Wanted)
    options: dict[str, Any] = {"count": np.int32(3), "shares": [1, 2.5], "names": [1]}
    assert verb("x", **options) == ("x", 3, (1.0, 2.5), [1])
    with pytest.raises(UserError, match=r"no option 'cont'; did you mean 'count'\? \(options: count, shares, names\)"):
        verb("x", cont=2)  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"verb\(\) was given 2 values without a name; call verb\(path\), with options"):
        verb("x", 2)  # type: ignore[call-arg]
    assert verb.__name__ == "verb"
    assert list(inspect.signature(verb).parameters) == ["path", "count", "shares", "names"]
    assert "count: How many." in str(verb.__doc__)
