"""Metadata of .tflite files for other programs: MediaPipe's own tasks read them and give our numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from exporting.dense_files import busy
from exporting.small import tiny
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.inputs import picture_input
from phonecv.exporting.job import Job
from phonecv.exporting.opening import open_session
from segment.tiny import tiny as tiny_segmenter

pytest.importorskip("ai_edge_litert")

NAMES = ("cup", "a plate", "fork")
RECORD: Mapping[str, Any] = {
    "model": "net",
    "classes": NAMES,
    "preprocessing": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
}


def job_of(**record: Any) -> Job:
    return Job(torch.nn.Identity(), (torch.zeros(1, 3, 8, 6),), ("logits",), "m", record={**RECORD, **record})


def test_class_names_lie_behind_the_model(tmp_path: Path) -> None:
    from phonecv.exporting.litert.metadata import append_labels, metadata

    file = tmp_path / "m.tflite"
    file.write_bytes(b"model")
    append_labels(file, ["a dog", "two\nlines"])
    assert file.read_bytes().startswith(b"model")
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode() == "a dog\ntwo lines\n"
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED  # as MediaPipe wants it
    job = job_of()
    assert job.taken == (picture_input(8, 6),)
    said, names = metadata(job, {"logits": [1, 3]})
    assert (said[4:8], names) == (b"M001", NAMES)
    values = np.frombuffer(said[len(said) % 4 :], "<f4")
    for mean in (127.5, 102.0, 76.5):
        assert np.float32(mean) in values
    assert metadata(job, {"stage4": [1, 8, 2, 2]})[1] == ()


def test_what_is_laid_out_for_mediapipe() -> None:
    from phonecv.exporting.litert.metadata import check_normalisation, metadata

    job = job_of(decoding={"kind": "mediapipe"}, input_range="pixels 0..255")
    check_normalisation(job)
    said, names = metadata(job, {"boxes": [1, 9, 4], "count": [1], "labels": [1, 9], "scores": [1, 9]})
    assert names == NAMES
    for text in (b"location", b"number of detections", b"category", b"score", b"labels.txt"):
        assert text in said
    said, names = metadata(job, {"logits_last": [1, 4, 4, 3]})
    assert names == NAMES
    assert b"SEGMENTER_METADATA" in said
    inner = said.index(b"V001") - 4
    assert inner % 16 == 0  # a FlatBuffer within one
    with pytest.raises(UserError, match=r"red, green and blue alike.*--bake"):
        check_normalisation(job_of(decoding={"kind": "mediapipe"}))


@pytest.mark.parametrize("format", ["onnx", "coreml"])
def test_only_litert_files_are_laid_out_so(tmp_path: Path, format: str) -> None:
    with pytest.raises(UserError, match=r"MediaPipe reads .tflite files alone; write litert"):
        export(busy("ssdlite320"), tmp_path / "x", format=format, decode="mediapipe", bake=True)


CODE = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
kind, file, picture = sys.argv[1:]
image = mediapipe.Image.create_from_file(picture)
base = BaseOptions(model_asset_path=file)
if kind == "classify":
    with vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base_options=base)) as task:
        found = task.classify(image).classifications[0].categories
    said = {one.category_name: one.score for one in found}
elif kind == "detect":
    with vision.ObjectDetector.create_from_options(vision.ObjectDetectorOptions(base_options=base)) as task:
        found = task.detect(image).detections
    said = []
    for one in found:
        box = one.bounding_box  # several categories where the model gave the same box for each
        sides = [box.origin_x, box.origin_y, box.width, box.height]
        said += [[category.category_name, category.score, *sides] for category in one.categories]
    said.sort(key=lambda one: -one[1])
else:
    options = vision.ImageSegmenterOptions(base_options=base, output_category_mask=True, output_confidence_masks=True)
    with vision.ImageSegmenter.create_from_options(options) as task:
        found, labels = task.segment(image), task.labels
        shares = [mask.numpy_view().squeeze().tolist() for mask in found.confidence_masks]
        said = {"labels": labels, "shares": shares, "classes": found.category_mask.numpy_view().squeeze().tolist()}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def mediapipe_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an environment of its own: mediapipe asks for other versions than we do."""
    if shutil.which("uv") is None:
        pytest.skip("needs uv, to install mediapipe in an environment of its own")
    place = tmp_path_factory.mktemp("mediapipe")
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(place / "mp")], check=True)
    python = str(place / "mp" / "bin" / "python")
    subprocess.run(["uv", "pip", "install", "-q", "--python", python, "mediapipe>=1.2"], check=True)
    return python


def said_by_mediapipe(python: str, kind: str, file: Path, side: int) -> tuple[Any, np.ndarray]:
    """What a task of MediaPipe finds in a picture of the file's size, and what the file gives in LiteRT: by name."""
    smooth = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    values = (F.interpolate(smooth, (side, side), mode="bicubic").clamp(0, 1) * 255).byte()[0].permute(1, 2, 0).numpy()
    Image.fromarray(values).save(picture := file.with_suffix(".png"))
    command = [python, "-c", CODE, kind, str(file), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), values.transpose(2, 0, 1)[None].astype(np.float32)


@pytest.mark.long
@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "decode"), [("mobileone_s0", "raw"), ("mobileone_s0", "final"), ("emo_1m", "final"), ("emov2_1m", "final")]
)
def test_mediapipe_classifies_by_our_numbers(tmp_path: Path, mediapipe_python: str, name: str, decode: str) -> None:
    export(tiny(name), file := tmp_path / "m.tflite", bake=True, decode=decode)
    got, images = said_by_mediapipe(mediapipe_python, "classify", file, 64)
    (want,) = open_session(file, threads=1)(images)
    assert list(got) == [name for _, name in sorted(zip(-want[0], "abcdefß", strict=True))]
    np.testing.assert_allclose(sorted(got.values()), np.sort(want[0]), atol=1e-4)
    assert decode == "raw" or abs(sum(got.values()) - 1) < 1e-4


@pytest.mark.long
@pytest.mark.network
@pytest.mark.parametrize(("architecture", "side"), [("ssdlite320", 96), ("retinanet_fpn", 64)])
def test_mediapipe_detects_what_we_do(tmp_path: Path, mediapipe_python: str, architecture: str, side: int) -> None:
    detector = busy(architecture)
    detector.class_names = NAMES
    export(detector, file := tmp_path / "m.tflite", bake=True, decode="mediapipe", size=side)
    got, images = said_by_mediapipe(mediapipe_python, "detect", file, side)
    boxes, scores, labels, count = (value[0] for value in open_session(file, threads=1)(images))
    assert len(got) == int(count) > 3
    for (name, score, left, top, width, height), box, wanted, label in zip(got, boxes, scores, labels, strict=False):
        assert name == NAMES[int(label)]
        assert abs(score - wanted) < 1e-4
        sides = np.array([left, top, left + width, top + height])
        assert np.abs(sides - side * box).max() <= 2  # MediaPipe gives whole pixels, of the corner and the sides


@pytest.mark.long
@pytest.mark.network
@pytest.mark.parametrize("architecture", ["deeplabv3", "semantic_fpn", "segformer", "unet"])
def test_mediapipe_segments_as_we_do(tmp_path: Path, mediapipe_python: str, architecture: str) -> None:
    segmenter = tiny_segmenter(architecture, num_classes=3)
    segmenter.class_names = NAMES
    export(segmenter, file := tmp_path / "m.tflite", bake=True, decode="mediapipe", size=64)
    got, images = said_by_mediapipe(mediapipe_python, "segment", file, 64)
    (logits,) = open_session(file, threads=1)(images)
    shares = torch.from_numpy(logits).softmax(-1).movedim(-1, 1)
    want = F.interpolate(shares, (64, 64), mode="bilinear")[0].numpy()
    assert tuple(got["labels"]) == NAMES
    assert want.std() > 0.01
    np.testing.assert_allclose(np.array(got["shares"]), want, atol=0.02)
    # MediaPipe enlarges classes in another way than shares: of coarse maps their borders lie elsewhere.
    assert (np.array(got["classes"]) == want.argmax(0)).mean() > 0.85
