from __future__ import annotations

import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import mostly_long
from phonecv.data.coco import masks as coco_masks
from phonecv.data.coco.masks import MaskError, compact, decode, pack, run_lengths, to_rle
from phonecv.data.coco.reader import CocoPaths, find_coco, read_coco
from phonecv.data.json_file import read_json_file
from phonecv.data.samples import run_lengths as uncompressed

pycoco = pytest.importorskip("pycocotools.mask")
# pycocotools 2.0 has not followed NumPy 2 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

H, W = 37, 53


def polygon(random: np.random.Generator, points: int, spread: float = 1.2) -> list[float]:
    """Random corners, some outside the picture, with COCO's two decimals."""
    corners = random.uniform((1 - spread) * np.array([W, H]), spread * np.array([W, H]), (points, 2))
    return corners.round(2).ravel().tolist()


def masks(count: int = 40) -> np.ndarray:
    random = np.random.default_rng(3)
    smooth = random.random((count, H // 4 + 1, W // 4 + 1)).repeat(4, 1).repeat(4, 2)[:, :H, :W]
    return (
        np.concatenate([smooth > 0.6, random.random((count, H, W)) > 0.7, np.zeros((1, H, W)), np.ones((1, H, W))]) > 0
    )


def test_polygons_are_pycocotools_masks() -> None:
    random = np.random.default_rng(0)
    for points in (3, 4, 5, 9, 40):
        for rings in (1, 2, 4):
            segmentation = [polygon(random, points) for _ in range(rings)]
            expected = pycoco.decode(pycoco.merge(pycoco.frPyObjects(segmentation, H, W)))
            for form in (segmentation, compact(segmentation)):
                packed = pack(form, H, W)
                assert np.array_equal(decode([packed], H, W)[0], expected)
                assert coco_masks.area(packed, H, W) == expected.sum()


def test_run_lengths_are_pycocotools_masks() -> None:
    for mask in masks():
        compressed = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = compressed["counts"].decode()
        assert run_lengths(text).tolist() == uncompressed(mask)
        plain = {"size": [H, W], "counts": uncompressed(mask)}
        for form in ({"size": [H, W], "counts": text}, plain, compact(plain)):
            packed = pack(form, H, W)
            assert to_rle(packed, H, W) == {"size": [H, W], "counts": text}
            assert np.array_equal(decode([packed], H, W)[0], mask)
            assert coco_masks.area(packed, H, W) == mask.sum()


def test_many_at_once() -> None:
    every = masks()
    packed = [pack({"size": [H, W], "counts": uncompressed(mask)}, H, W) for mask in every]
    decoded = decode(packed, H, W)
    assert decoded.dtype == bool
    assert decoded.flags.c_contiguous
    assert np.array_equal(decoded, every)
    assert decode([], H, W).shape == (0, H, W)


def test_large_numbers_in_the_compressed_form() -> None:
    mask = np.zeros((5000, 6000), dtype=np.uint8, order="F")
    mask[2000:4000, 1000:5000] = 1
    mask[10, 5999] = 1
    text = pycoco.encode(mask)["counts"].decode()
    lengths = run_lengths(text)
    assert lengths.sum() == mask.size
    assert lengths[1::2].sum() == mask.sum()


@pytest.mark.parametrize("nothing", [None, []])
def test_no_mask(nothing: Any) -> None:
    assert pack(nothing, H, W) == b""


def rle(counts: Any, size: Any = (H, W)) -> dict[str, Any]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


BAD: list[tuple[Any, str]] = [
    (7, "neither polygons nor run lengths"),
    ("text", "neither"),
    ({}, "of size None"),
    (rle([H * W], (W, H)), "picture has"),
    (rle([H * W], (2**70, 1)), "picture has"),
    (rle([H * W], "37"), "of size"),
    (rle(None), "neither a list"),
    (rle([]), "neither a list"),
    (rle([0, 10**9]), "cover 1,000,000,000 pixels"),
    (rle([5, 6]), "cover 11 pixels"),
    (rle([2**62, 2**62, 2**62, 2**62, H * W]), "cover|not all whole"),  # the sum would wrap around to H W
    (rle([2**63 - 1, 2**63 - 1, 2 + H * W]), "cover|not all whole"),
    (rle([-5, H * W + 5]), "negative"),
    (rle([H * W, 10**30]), "not all whole"),
    (rle([float(H * W)]), "not all whole"),
    (rle(["1"]), "not all whole"),
    (rle(""), "compressed form"),
    (rle("~~~~\\\\zzzz"), "compressed form"),
    (rle("é" * 5), "other letters"),
    (rle("o"), "compressed form"),  # says that more follows
    (rle("o" * 20 + "0"), "too large"),
    (rle("O"), "negative"),
    (rle("000"), "cover 0 pixels"),
    ([7], "not a list of numbers"),
    ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "not a list of numbers"),
    ([[1, 2, 3, 4, 5]], "5 numbers"),
    ([[1, 2, 3, 4]], "4 numbers"),
    ([[]], "0 numbers"),
    ([[1, 2, 3, 4, 5, "6"]], "not a list of numbers"),
    ([[1, 2, 3, 4, 5, None]], "not a list of numbers"),
    ([[1, 2, 3, 4, 5, float("nan")]], "not finite"),
    ([[1, 2, 3, 4, 5, float("inf")]], "not finite"),
    ([[1, 2, 3, 4, 5, 10**400]], "not finite"),
    ([[1, 2, 3, 4, 5, 1e9]], "far outside"),
    ([[0, 0, 50, 30] * 20_000], "outline"),
    ([[1, 2, 3, 4, 5, 6], [1, 2]], "2 numbers"),
]


@pytest.mark.parametrize(("segmentation", "message"), BAD)
def test_bad_masks_are_refused(segmentation: Any, message: str) -> None:
    for form in (segmentation, compact(segmentation)):
        with pytest.raises(MaskError, match=message):
            pack(form, H, W)


def test_compact_keeps_what_it_does_not_understand() -> None:
    assert compact([[1, 2.5]]) == [array("d", [1, 2.5])]
    for odd in ([[1, "x"]], [[10**400]], {"counts": [1.5]}, {"counts": "abc"}, 7, None, [7]):
        assert compact(odd) == odd


FUZZ = """
import numpy as np
from phonecv.data.coco.masks import MaskError, area, compact, decode, pack

random = np.random.default_rng({seed})
letters = np.array([chr(code) for code in range(48, 112)])
good = 0
for trial in range(3000):
    height, width = (int(side) for side in random.integers(1, 60, 2))
    kind = trial % 3
    if kind == 0:
        counts = "".join(random.choice(letters, int(random.integers(1, 12))))
        if trial % 2:  # a true start makes it likelier to get further
            counts = "0" + counts
        segmentation = {{"size": [height, width], "counts": counts}}
    elif kind == 1:
        counts = random.integers(-2, height * width, int(random.integers(1, 6))).tolist()
        if trial % 2:
            counts = [abs(count) for count in counts]
            counts.append(height * width - sum(counts))
        segmentation = {{"size": [height, width], "counts": counts}}
    else:
        scale = float(random.choice([1, 3, 1e3, 1e9]))
        points = int(random.integers(0, 20))
        segmentation = [(random.normal(size=points) * scale * max(height, width)).tolist() for _ in range(2)]
        if trial % 2:
            segmentation = [(random.random(6) * 2 * max(height, width)).tolist()]
    try:
        packed = pack(compact(segmentation), height, width)
    except MaskError:
        continue
    pixels = decode([packed], height, width)
    assert pixels.shape == (1, height, width)
    assert pixels.sum() == area(packed, height, width)
    good += 1
print(good)
"""


@pytest.mark.parametrize("seed", mostly_long([0, 1], 0))
def test_nothing_crashes_the_process(seed: int) -> None:
    done = subprocess.run([sys.executable, "-c", FUZZ.format(seed=seed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500, "the trials have to reach the library"


@pytest.mark.parametrize("name", mostly_long(["coco-tiny", "coco-ccby", "nuclei"], "coco-ccby", "nuclei"))
def test_reference_masks_are_pycocotools_masks(shared_dir: Path, name: str) -> None:
    paths = find_coco(shared_dir / "data" / name, "val")
    split = read_coco(CocoPaths(paths.annotations, None), masks=True)
    records: dict[int, list[dict[str, Any]]] = {}
    for record in read_json_file(paths.annotations)["annotations"]:
        records.setdefault(record["image_id"], []).append(record)
    for index, image in enumerate(split.images):
        targets = split.targets(index)
        given = records.get(image.id, [])
        assert len(given) == len(targets["masks"])
        for record, mask in zip(given, targets["masks"], strict=True):
            segmentation = record["segmentation"]
            code = (
                pycoco.frPyObjects(segmentation, image.height, image.width)
                if (isinstance(segmentation, list) or isinstance(segmentation["counts"], list))
                else segmentation
            )
            expected = pycoco.decode(pycoco.merge(code) if isinstance(code, list) else code)
            assert np.array_equal(mask.numpy(), expected)
