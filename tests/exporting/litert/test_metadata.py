"""Metadata of .tflite files for other programs: MediaPipe's own classifier reads them and gives our numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exporting.small import tiny
from phonecv.exporting import export
from phonecv.exporting.inputs import picture_input
from phonecv.exporting.job import Job
from phonecv.exporting.opening import open_session

pytest.importorskip("ai_edge_litert")


def test_class_names_lie_behind_the_model(tmp_path: Path) -> None:
    from phonecv.exporting.litert.metadata import append_labels, metadata

    file = tmp_path / "m.tflite"
    file.write_bytes(b"model")
    append_labels(file, ["a dog", "two\nlines"])
    assert file.read_bytes().startswith(b"model")
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode() == "a dog\ntwo lines\n"
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED  # as MediaPipe wants it
    record = {"model": "net", "preprocessing": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}}
    job = Job(torch.nn.Identity(), (torch.zeros(1, 3, 8, 6),), ("logits",), "m", record=record)
    assert job.taken == (picture_input(8, 6),)
    said = metadata(job, ["logits"], ["logits"])
    assert said[4:8] == b"M001"
    values = np.frombuffer(said[len(said) % 4 :], "<f4")
    for mean in (127.5, 102.0, 76.5):
        assert np.float32(mean) in values


CODE = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
file, picture = sys.argv[1:]
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=file))
with vision.ImageClassifier.create_from_options(options) as classifier:
    found = classifier.classify(mediapipe.Image.create_from_file(picture)).classifications[0].categories
print(json.dumps({one.category_name: one.score for one in found}))
"""


@pytest.mark.long
@pytest.mark.network
@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, to install mediapipe in an environment of its own")
def test_mediapipe_finds_names_and_gives_our_numbers(tmp_path: Path) -> None:
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(tmp_path / "mp")], check=True)
    python = str(tmp_path / "mp" / "bin" / "python")
    subprocess.run(["uv", "pip", "install", "-q", "--python", python, "mediapipe>=1.2"], check=True)
    export(tiny("mobileone_s0"), file := tmp_path / "m.tflite", bake=True)
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(values).save(picture := tmp_path / "picture.png")
    (want,) = open_session(file, threads=1)(values.transpose(2, 0, 1)[None].astype(np.float32))
    done = subprocess.run([python, "-c", CODE, str(file), str(picture)], capture_output=True, text=True, check=True)
    got = json.loads(done.stdout.splitlines()[-1])
    assert list(got) == [name for _, name in sorted(zip(-want[0], "abcdefß", strict=True))]
    np.testing.assert_allclose(sorted(got.values()), np.sort(want[0]), atol=1e-4)
