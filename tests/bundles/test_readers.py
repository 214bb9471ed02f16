"""The readers of a bundle, compiled and run: the same input as evaluation's, for pictures of many shapes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import mostly_long
from phonecv.bundles.languages import LANGUAGES
from phonecv.classify.bundling import reader_files
from phonecv.data.pictures.reading import eval_transform
from phonecv.exporting.fields import FileRecord
from phonecv.preprocessing import Preprocessing

#: Width and height: landscape, portrait, smaller than the crop, square, and so long that its ends are cut off.
SIZES = ((123, 77), (61, 110), (20, 31), (64, 64), (700, 9))
SETTINGS = (
    Preprocessing(size=48, crop=0.875, interpolation="bicubic"),
    Preprocessing(size=33, crop=0.9, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
    Preprocessing(size=30, mean=(0.4,), std=(0.2,)),
)
#: Of the gray one's labels, which do not exclude each other.
THRESHOLDS = {2: (0.7, 0.9, 0.1, 0.95)}
EACH = mostly_long(
    [(place, layout, layout == "nhwc") for place in range(len(SETTINGS)) for layout in ("nchw", "nhwc")],
    (0, "nchw", False),
    (1, "nhwc", True),
    (2, "nchw", False),
)

_CPP = """
#include <cstdio>
#include <fstream>
#include <iterator>
#include "phonecv_reader.hpp"
int main(int, char** argv) {
  std::ifstream file(argv[1], std::ios::binary);
  std::vector<uint8_t> pixels((std::istreambuf_iterator<char>(file)), {});
  const auto input = phonecv::preprocess(pixels.data(), std::stoi(argv[2]), std::stoi(argv[3]), std::stoi(argv[4]));
  std::ofstream(argv[5], std::ios::binary).write(reinterpret_cast<const char*>(input.data()), 4 * input.size());
  const float logits[4] = {0.5f, 3.0f, -1.0f, 2.0f};
  for (auto [index, share] : phonecv::@ANSWER@) std::printf("%d %.6f\\n", index, share);
  try {
    phonecv::preprocess(pixels.data(), 0, 5, 3);
  } catch (const std::invalid_argument& error) {
    std::printf("%s\\n", error.what());
  }
}
"""

_NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import { preprocess, @NAME@ } from "./phonecv_reader.mjs";
for (const [source, width, height, target] of JSON.parse(process.argv[2])) {
  const data = new Uint8ClampedArray(readFileSync(source));
  const input = preprocess({ data, width, height });
  writeFileSync(target, Buffer.from(input.buffer));
}
console.log(JSON.stringify(@NAME@([0.5, 3, -1, 2], 2)));
"""


def picture(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width * 1000 + height)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8), "RGB").resize((width, height))
    noise = random.integers(-40, 40, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8), "RGB")


def record_of(place: int, layout: str, *, baked: bool) -> FileRecord:
    """What a file of four classes says of itself, as far as its readers ask."""
    return {
        "preprocessing": SETTINGS[place].to_dict(),
        "num_classes": 4,
        "report": {"inputs": [{"layout": layout.upper()}]},
        "input_range": "pixels 0..255" if baked else "normalised",
        "decoding": {"thresholds": THRESHOLDS.get(place)},
    }


def written(folder: Path, place: int, layout: str, *, baked: bool) -> Path:
    for name, text in reader_files(record_of(place, layout, baked=baked), "m").items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def answer(place: int) -> list[tuple[int, float]]:
    """What a reader says of the logits 0.5, 3, -1, 2: two classes, or the labels that reach their threshold."""
    shares = np.exp([0.5, 3.0, -1.0, 2.0])
    if place not in THRESHOLDS:
        return [(label, shares[label] / shares.sum()) for label in (1, 3)]
    return [(label, shares[label] / (1 + shares[label])) for label in (1, 2)]


def expected(image: Image.Image, spec: Preprocessing, layout: str, *, baked: bool) -> np.ndarray:
    transform = eval_transform(spec)
    pixels = transform.pixels(image)
    if spec.channels == 1:
        pixels = torch.from_numpy(np.array(Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")))[None]
    values = (pixels.float() if baked else transform(image)).numpy()
    return values if layout == "nchw" else values.transpose(1, 2, 0)


def check(got: Path, image: Image.Image, spec: Preprocessing, layout: str, *, baked: bool) -> None:
    wanted = expected(image, spec, layout, baked=baked)
    values = np.fromfile(got, np.float32).reshape(wanted.shape)
    assert wanted.std() > 0.1  # a picture, not a gray plane
    np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("place", "layout", "baked"), EACH)
def test_cpp(tmp_path: Path, place: int, layout: str, baked: bool) -> None:
    spec = SETTINGS[place]
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    folder = written(tmp_path, place, layout, baked=baked)
    call = "told(logits)" if place in THRESHOLDS else "top(logits, 4, 2)"
    (folder / "main.cpp").write_text("#include <string>\n" + _CPP.replace("@ANSWER@", call), encoding="utf-8")
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    for channels, size in zip((3, 4, 3, 4, 4), SIZES, strict=True):
        image = picture(*size)
        (folder / "pixels").write_bytes(image.convert("RGB" if channels == 3 else "RGBA").tobytes())
        arguments = ["pixels", *map(str, size), str(channels), "input"]
        done = subprocess.run(["./main", *arguments], cwd=folder, check=True, capture_output=True, text=True)
        check(folder / "input", image, spec, layout, baked=baked)
        lines = [f"{label} {share:.6f}" for label, share in answer(place)]
        assert done.stdout.splitlines() == [*lines, "phonecv: no picture was given"]


@pytest.mark.parametrize(("place", "layout", "baked"), EACH)
def test_javascript(tmp_path: Path, place: int, layout: str, baked: bool) -> None:
    spec = SETTINGS[place]
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    folder = written(tmp_path, place, layout, baked=baked)
    source = _NODE.replace("@NAME@", "told" if place in THRESHOLDS else "top")
    (folder / "main.mjs").write_text(source, encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    images = [picture(*size) for size in SIZES]
    for number, image in enumerate(images):
        (folder / f"pixels{number}").write_bytes(image.convert("RGBA").tobytes())
    asked = [[f"pixels{number}", *size, f"input{number}"] for number, size in enumerate(SIZES)]
    command = [node, "main.mjs", json.dumps(asked)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    for number, image in enumerate(images):
        check(folder / f"input{number}", image, spec, layout, baked=baked)
    found = json.loads(done.stdout)
    assert [tuple(one) for one in found] == [(label, pytest.approx(share)) for label, share in answer(place)]


def test_how_far_tall_pictures_may_be_off() -> None:
    """Pillow 13 resizes tall pictures in the other order of passes than the readers and older versions."""
    image, spec = picture(61, 200), SETTINGS[0]
    usual = image.resize((54, 200), Image.Resampling.BICUBIC).resize((54, 177), Image.Resampling.BICUBIC)
    ours = np.asarray(usual.crop((3, 64, 51, 112))).transpose(2, 0, 1).astype(int)
    assert np.abs(ours - eval_transform(spec).pixels(image).numpy()).max() <= 8


@pytest.mark.parametrize("place", [1, 2])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_placeholder_is_filled(language: str, place: int) -> None:
    spec, thresholds = SETTINGS[place], THRESHOLDS.get(place)
    made = reader_files(record_of(place, "nhwc", baked=False), "a */ b\nc")
    text = made[LANGUAGES[language].file]
    assert not re.search(r"@[A-Z_]+@|^//(if|end)", text, re.MULTILINE)
    if thresholds:
        assert all(repr(value) in text for value in thresholds)
        assert "0x8000" in text or language == "JavaScript"
        return
    assert "a  b c" in text  # neither ends a comment nor breaks a line
    for value in (*spec.mean, *spec.std):
        assert repr(value) in text
    resized = {"C++": "kResize = 36", "Kotlin": "RESIZE = 36", "Swift": "resize = 36", "JavaScript": '"size": 33'}
    assert resized[language] in text
