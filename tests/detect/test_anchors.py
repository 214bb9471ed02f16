"""Anchors against the published implementation and, where they agree, torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

import phonecv
from detect.golden import misc
from phonecv.detect.anchors import grid_anchors, ssd_anchors, usable_anchors

MINS, MAXS, STRIDES = (48, 100, 150, 202, 253, 304), (100, 150, 202, 253, 304, 320), (16, 32, 64, 107, 160, 320)
SCALES = tuple(4 * 2 ** (i / 3) for i in range(3))


def levels_of(name: str, sizes: list[tuple[int, int]]) -> list[Tensor]:
    if name.startswith("ssd"):
        return ssd_anchors(sizes, min_sizes=MINS, max_sizes=MAXS, strides=STRIDES)
    if name == "retinanet":
        return grid_anchors(sizes, strides=(8, 16, 32, 64, 128), scales=SCALES, ratios=(0.5, 1.0, 2.0))
    return grid_anchors(sizes, strides=(4, 8, 16, 32, 64), scales=(8.0,), ratios=(0.5, 1.0, 2.0))


@pytest.mark.parametrize("name", ["ssd320", "ssd512", "retinanet", "rpn"])
def test_published_numbers(name: str) -> None:
    golden: dict[str, Any] = misc()["anchors"][name]
    levels = levels_of(name, [tuple(size) for size in golden["maps"]])
    assert [len(level) for level in levels] == golden["counts"]
    assert sum(len(level) for level in levels) == golden["total"]
    for i, level in enumerate(levels):
        cell = golden["per_position"][i]
        assert level.dtype == torch.float32
        close(level[:cell], torch.tensor(golden["base"][i]))
        close(level[0], torch.tensor(golden["first"][i]))
        close(level[-1], torch.tensor(golden["last"][i]))
        if len(level) > cell:
            close(level[cell], torch.tensor(golden["second_cell"][i]))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-6, atol=2e-4)


@pytest.mark.parametrize("size", [320, 512])
def test_ssd_equals_torchvision(size: int) -> None:
    maps = [(-(-size // 2**k),) * 2 for k in range(4, 10)]
    generator = DefaultBoxGenerator(
        [[2, 3]] * 6, scales=[s / size for s in (*MINS, 320)], steps=list(STRIDES), clip=False
    )
    # Its squares of the second kind use the next level's size, which is our greatest size.
    images = ImageList(torch.zeros(1, 3, size, size), [(size, size)])
    theirs = generator(images, [torch.zeros(1, 1, *m) for m in maps])[0]
    torch.testing.assert_close(torch.cat(levels_of("ssd", maps)), theirs, rtol=0, atol=1e-3)


def centres(level: Tensor) -> Tensor:
    return (level[:, :2] + level[:, 2:]) / 2


@pytest.mark.parametrize(
    ("architecture", "last"),
    [
        ("ssdlite320", [312.0, 304.0, 288.0, 267.5, 240.0, 160.0]),
        ("ssdlite300", [312.0, 304.0, 288.0, 267.5, 240.0, 160.0]),
        ("ssdlite512", [504.0, 496.0, 480.0, 374.5, 240.0, 160.0]),
        ("ssdlite512_corrected", [504.0, 496.0, 480.0, 448.0, 384.0, 256.0]),
    ],
)
def test_the_published_512_keeps_the_anchors_of_320(architecture: str, last: list[float]) -> None:
    detector = phonecv.create_detector(architecture, "mobileone_s0", num_classes=2).eval()
    size = detector.preprocessing.size
    sizes = [(-(-size // 2**k),) * 2 for k in range(4, 10)]
    levels = detector.anchors(sizes, torch.device("cpu"))
    assert [level_centres[-1, 0].item() for level_centres in map(centres, levels)] == pytest.approx(last)
    assert sum(map(len, levels)) == (3234 if size == 320 else 8190)
    side = levels[0][0, 2] - levels[0][0, 0]
    assert side.item() == pytest.approx(76.8 if architecture.endswith("corrected") else 48.0)


def test_padding_of_the_batch_is_not_used() -> None:
    sizes, strides = [(4, 6), (2, 3)], (32, 64)
    assert usable_anchors(sizes, pictures=[(128, 192)], strides=strides, per_cell=2) is None
    mask = usable_anchors(sizes, pictures=[(128, 192), (96, 64)], strides=strides, per_cell=2)
    assert mask is not None
    assert mask.shape == (2, 2 * (24 + 6))
    assert mask[0].all()
    fine = torch.zeros(4, 6, 2, dtype=torch.bool)
    fine[:3, :2] = True
    coarse = torch.zeros(2, 3, 2, dtype=torch.bool)
    coarse[:2, :1] = True  # 96 pixels reach into the second row of 64
    assert torch.equal(mask[1], torch.cat([fine.flatten(), coarse.flatten()]))


def test_anchors_are_remembered_and_usable_in_training_after_inference_mode() -> None:
    detector = phonecv.create_detector("ssdlite320", "mobileone_s0", num_classes=2)
    sizes = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    with torch.inference_mode():
        first = detector.anchors(sizes, torch.device("cpu"))
    second = detector.anchors(sizes, torch.device("cpu"))
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert not second[0].is_inference()
    for side in range(1, 40):
        detector.anchors([(side, side)] * 6, torch.device("cpu"))
    assert len(detector._remembered) <= 16
