"""Features of boxes: the choice of the map, and pooling against torchvision and a loop."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor

from phonecv.detect.roi import level_of, pool, with_picture

STRIDES = (4, 8, 16, 32)


def square(side: float) -> list[float]:
    return [10.0, 20.0, 10.0 + side, 20.0 + side]


@pytest.mark.parametrize(
    ("side", "level"),
    [(0, 0), (1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (895, 3), (896, 3), (5000, 3)],
)
def test_level_at_its_borders(side: float, level: int) -> None:
    assert level_of(torch.tensor([square(side)]), 4).tolist() == [level]
    assert level_of(torch.tensor([square(side)], dtype=torch.float64), 4).tolist() == [level]


def test_level_of_the_area_not_the_side() -> None:
    boxes = torch.tensor([[0.0, 0, 224, 56], [0, 0, 1000, 1], [0, 0, 448, 448]])
    assert level_of(boxes, 4).tolist() == [1, 0, 3]
    assert level_of(boxes, 2).tolist() == [1, 0, 1]


def test_level_just_below_a_border_is_lifted() -> None:
    side = 112 * (1 - 1e-7)
    assert level_of(torch.tensor([[0.0, 0, side, side]], dtype=torch.float64), 4).tolist() == [1]
    side = 112 * (1 - 1e-5)
    assert level_of(torch.tensor([[0.0, 0, side, side]], dtype=torch.float64), 4).tolist() == [0]


def pyramid(channels: int = 3, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Maps of two pictures of 512 x 640."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, 512 // s, 640 // s, generator=generator).to(dtype) for s in STRIDES]


def boxes_of_all_levels(count: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    side = 8 * 120 ** torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([640.0, 512.0]) * 0.5
    picture = torch.randint(0, 2, (count,), generator=generator)
    return with_picture(picture, torch.cat([corner, corner + side], 1))


@pytest.mark.parametrize("size", [7, 14])
def test_pooling_is_torchvisions_per_level(size: int) -> None:
    levels, rois = pyramid(), boxes_of_all_levels()
    number = level_of(rois[:, 1:], 4)
    assert set(number.tolist()) == {0, 1, 2, 3}
    found = pool(levels, rois, size, STRIDES)
    for one, roi, level in zip(found, rois, number.tolist(), strict=True):
        wanted = torchvision.ops.roi_align(
            levels[level], roi[None], size, 1 / STRIDES[level], sampling_ratio=0, aligned=True
        )
        assert torch.equal(one, wanted[0])


def test_pooling_against_a_loop() -> None:
    levels, rois = pyramid(1, torch.float64), boxes_of_all_levels(12).double()
    found = pool(levels, rois, 2, STRIDES)
    for one, roi in zip(found, rois.tolist(), strict=True):
        level = int(level_of(torch.tensor([roi[1:]]), 4))
        wanted = mean_of_bins(levels[level][int(roi[0]), 0], [v / STRIDES[level] - 0.5 for v in roi[1:]], 2)
        torch.testing.assert_close(one[0], torch.tensor(wanted, dtype=torch.float64))


def mean_of_bins(level: Tensor, box: list[float], bins: int) -> list[list[float]]:
    """Bilinear samples on a grid of one per cell, averaged per bin."""
    x1, y1, x2, y2 = box
    height, width = (y2 - y1) / bins, (x2 - x1) / bins
    rows, columns = math.ceil(height), math.ceil(width)
    return [
        [
            sum(
                bilinear(level, y1 + (i + (a + 0.5) / rows) * height, x1 + (j + (b + 0.5) / columns) * width)
                for a in range(rows)
                for b in range(columns)
            )
            / (rows * columns)
            for j in range(bins)
        ]
        for i in range(bins)
    ]


def bilinear(level: Tensor, y: float, x: float) -> float:
    """Zero more than a cell outside, the border's value up to there."""
    height, width = level.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = level[top, left] * (1 - dx) + level[top, right] * dx
    lower = level[bottom, left] * (1 - dx) + level[bottom, right] * dx
    return float(upper * (1 - dy) + lower * dy)


def test_gradients_reach_every_map() -> None:
    levels, rois = [level.requires_grad_() for level in pyramid()], boxes_of_all_levels()
    pool(levels, rois, 7, STRIDES).square().sum().backward()
    number = level_of(rois[:, 1:], 4)
    for i, level in enumerate(levels):
        again = level.detach().requires_grad_()
        part = torchvision.ops.roi_align(again, rois[number == i], 7, 1 / STRIDES[i], 0, aligned=True)
        part.square().sum().backward()
        assert level.grad is not None
        assert again.grad is not None
        torch.testing.assert_close(level.grad, again.grad)


def test_no_boxes() -> None:
    levels = [level.requires_grad_() for level in pyramid()]
    found = pool(levels, torch.zeros(0, 5), 7, STRIDES)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()


def test_lower_precision_is_pooled_in_float32() -> None:
    levels, rois = pyramid(dtype=torch.bfloat16), boxes_of_all_levels()
    wanted = pool([level.float() for level in levels], rois, 7, STRIDES)
    found = pool(levels, rois, 7, STRIDES)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pool(levels, rois, 7, STRIDES), found)
