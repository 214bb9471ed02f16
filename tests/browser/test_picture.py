"""The page's own resizing, run by Node.js, against Pillow and the package's transform: every byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phonecv.browser.fetch import FOLDER
from phonecv.data.pictures.reading import eval_transform
from phonecv.preprocessing import Preprocessing

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")

#: Width, height, crop side, share, filter: larger and smaller, even and odd, and one far too long.
CASES = [
    (640, 480, 224, 0.875, "bicubic"),
    (333, 500, 96, 0.9, "bilinear"),
    (31, 57, 64, 1.0, "bicubic"),
    (97, 61, 33, 0.7, "bicubic"),
    (50, 50, 50, 1.0, "bilinear"),
    (900, 7, 16, 0.5, "bicubic"),
    (5, 400, 9, 0.8, "bilinear"),
]

SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
const [page, folder] = process.argv.slice(2);
const { asInput, resizedCentre, stretched } = await import(page);
for (const [number, { width, height, spec, stretch }] of JSON.parse(readFileSync(`${folder}/cases.json`)).entries()) {
  const data = new Uint8ClampedArray(readFileSync(`${folder}/${number}.rgba`));
  const image = { width, height, data };
  const pixels = stretch ? stretched(image, ...stretch) : resizedCentre(image, spec);
  writeFileSync(`${folder}/${number}.rgb`, pixels);
  for (const layout of ["nchw", "nhwc"]) for (const baked of [false, true]) {
    const values = asInput(pixels, spec, { layout, baked });
    writeFileSync(`${folder}/${number}.${layout}.${baked}`, new Uint8Array(values.buffer));
  }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and what the page's code makes of them."""
    place = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    cases = []
    for number, (width, height, size, crop, interpolation) in enumerate([*CASES, CASES[0]]):
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        noise[: height // 2] //= 255  # hard edges, where bicubic overshoots
        noise[: height // 2] *= 255
        Image.fromarray(noise).save(place / f"{number}.png")
        (place / f"{number}.rgba").write_bytes(Image.fromarray(noise).convert("RGBA").tobytes())
        spec = Preprocessing(size=size, crop=crop, interpolation=interpolation).to_dict()
        stretch = [80, 45] if number == len(CASES) else None
        cases.append({"width": width, "height": height, "spec": spec, "stretch": stretch})
    (place / "cases.json").write_text(json.dumps(cases))
    (place / "run.mjs").write_text(SCRIPT)
    shutil.copy(FOLDER / "picture.js", place / "picture.mjs")
    done = subprocess.run(
        ["node", str(place / "run.mjs"), str(place / "picture.mjs"), str(place)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("number", range(len(CASES)))
def test_pixels_are_pillows(folder: Path, number: int) -> None:
    _, _, size, crop, interpolation = CASES[number]
    transform = eval_transform(Preprocessing(size=size, crop=crop, interpolation=interpolation))
    with Image.open(folder / f"{number}.png") as image:
        wanted = transform.pixels(image).permute(1, 2, 0).numpy()
        values = transform(image).numpy()
    got = np.frombuffer((folder / f"{number}.rgb").read_bytes(), np.uint8).reshape(size, size, 3)
    np.testing.assert_array_equal(got, wanted)
    for layout, shaped in (("nchw", values), ("nhwc", values.transpose(1, 2, 0))):
        read = np.frombuffer((folder / f"{number}.{layout}.false").read_bytes(), np.float32).reshape(shaped.shape)
        np.testing.assert_allclose(read, shaped, atol=1e-6)
        baked = np.frombuffer((folder / f"{number}.{layout}.true").read_bytes(), np.float32).reshape(shaped.shape)
        raw = wanted.transpose(2, 0, 1) if layout == "nchw" else wanted
        np.testing.assert_array_equal(baked, raw)


def test_a_whole_picture_stretched_is_pillows(folder: Path) -> None:
    number = len(CASES)
    with Image.open(folder / f"{number}.png") as image:
        wanted = np.array(image.resize((80, 45)))
    got = np.frombuffer((folder / f"{number}.rgb").read_bytes(), np.uint8).reshape(45, 80, 3)
    np.testing.assert_array_equal(got, wanted)
