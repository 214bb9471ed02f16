"""Masks cut out of pictures and pasted into them, against slow but plain ways."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from phonecv.detect.masks import BoxMasks, crop_masks, target_masks
from phonecv.errors import UserError


def discs(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Random discs as masks, ``count height width``."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    centre = torch.rand(count, 2, 1, 1, generator=generator) * torch.tensor([height, width])[:, None, None]
    radius = 3 + torch.rand(count, 1, 1, generator=generator) * 12
    return ((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2) <= radius**2


def random_boxes(count: int, height: int, width: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height])
    corner = torch.rand(count, 2, generator=generator) * size * 0.7
    return torch.cat([corner, torch.minimum(corner + 1 + torch.rand(count, 2, generator=generator) * size, size)], 1)


def test_crops_against_one_region_at_a_time() -> None:
    masks = [discs(3, 40, 50), discs(1, 30, 20, seed=2), discs(2, 64, 33, seed=3)]
    boxes = torch.cat([random_boxes(6, 40, 50), random_boxes(5, 64, 33, seed=4)])
    picture = torch.tensor([0] * 6 + [2] * 5)
    number = torch.tensor([2, 0, 2, 1, 1, 0, 1, 1, 0, 1, 0])
    found = crop_masks(masks, boxes, picture, number, 28)
    assert found.dtype == torch.bool
    assert found.shape == (11, 28, 28)
    for square, box, i, j in zip(found, boxes, picture.tolist(), number.tolist(), strict=True):
        layer = masks[i][j][None, None].float()
        wanted = torchvision.ops.roi_align(layer, [box[None]], 28, sampling_ratio=0, aligned=True)[0, 0] >= 0.5
        assert torch.equal(square, wanted)


def test_crop_of_whole_pixels_is_the_mask_itself() -> None:
    mask = torch.rand(1, 60, 70, generator=torch.Generator().manual_seed(0)) < 0.5
    boxes = torch.tensor([[20.0, 10, 48, 38]])
    found = crop_masks([mask], boxes, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 28)
    assert torch.equal(found[0], mask[0, 10:38, 20:48])


def test_no_crops() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert crop_masks([discs(2, 9, 9), discs(0, 5, 5)], torch.zeros(0, 4), none, none, 28).shape == (0, 28, 28)


def test_pasting_against_a_loop() -> None:
    squares = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[2.3, 1.7, 9.1, 7.9], [0.0, 0.0, 12.0, 10.0], [5.0, 5.0, 6.0, 5.5]])
    found = BoxMasks(squares, boxes, 10, 12).paste()
    assert found.shape == (3, 1, 10, 12)
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for row in range(10):
            for column in range(12):
                y = (row + 0.5 - y1) / (y2 - y1) * 4 - 0.5
                x = (column + 0.5 - x1) / (x2 - x1) * 4 - 0.5
                wanted = sum(
                    squares[i, a, b].item() * max(0.0, 1 - abs(y - a)) * max(0.0, 1 - abs(x - b))
                    for a in range(4)
                    for b in range(4)
                )
                assert found[i, 0, row, column].item() == pytest.approx(wanted, abs=2e-6)


def test_pasting_against_grid_sample() -> None:
    """As torchvision's relatives do it: a lookup per pixel of the picture."""
    height, width = 97, 130
    squares = torch.rand(20, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = random_boxes(20, height, width)
    y = (torch.arange(height) + 0.5 - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    x = (torch.arange(width) + 0.5 - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    grid = torch.stack([x[:, None].expand(20, height, width), y[:, :, None].expand(20, height, width)], -1)
    wanted = F.grid_sample(squares[:, None], grid, align_corners=False)
    torch.testing.assert_close(BoxMasks(squares, boxes, height, width).paste(), wanted, atol=1e-4, rtol=1e-4)


def test_pasting_undoes_cropping() -> None:
    mask = discs(1, 80, 90)[0]
    rows, columns = mask.nonzero().T
    box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
    zero = torch.zeros(1, dtype=torch.int64)
    square = crop_masks([mask[None]], box, zero, zero, 28)
    again = BoxMasks(square.float(), box, 80, 90).paste()[0, 0] >= 0.5
    assert (again & mask).sum() / (again | mask).sum() > 0.95


def test_pasted_masks_are_probabilities_within_their_boxes() -> None:
    pasted = BoxMasks(torch.ones(1, 28, 28), torch.tensor([[10.0, 20, 30, 50]]), 60, 40).paste()
    assert pasted.min() == 0
    assert pasted.max() == 1
    assert (pasted[0, 0, 21:49, 11:29] == 1).all()
    # A cell of the mask is 0.7 pixels wide and 1.1 high: half of that lies outside.
    assert not pasted[0, 0, :19].any()
    assert not pasted[0, 0, 51:].any()
    assert not pasted[..., :9].any()
    assert not pasted[..., 31:].any()


def test_pasting_nothing() -> None:
    assert BoxMasks(torch.zeros(0, 28, 28), torch.zeros(0, 4), 7, 9).paste().shape == (0, 1, 7, 9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_pasting_of_other_precisions_under_autocast(dtype: torch.dtype) -> None:
    squares = torch.rand(2, 28, 28, generator=torch.Generator().manual_seed(0)).to(dtype)
    boxes = random_boxes(2, 30, 40)
    with torch.autocast("cpu", torch.bfloat16):
        found = BoxMasks(squares, boxes, 30, 40).paste()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, BoxMasks(squares.float(), boxes, 30, 40).paste())


def target(count: int, masks: Tensor | None) -> dict[str, Tensor]:
    found = {"boxes": torch.zeros(count, 4), "labels": torch.zeros(count, dtype=torch.int64)}
    return found if masks is None else found | {"masks": masks}


def test_targets_need_masks() -> None:
    with pytest.raises(UserError, match="target 1 has no 'masks'"):
        target_masks([target(2, discs(2, 5, 6)), target(1, None)], [(5, 6), (5, 6)])
    with pytest.raises(UserError, match=r"target 0 has masks of shape \(2, 5, 6\); \(2, 6, 5\) is expected"):
        target_masks([target(2, discs(2, 5, 6))], [(6, 5)])
    with pytest.raises(UserError, match=r"masks of shape \(0,\); \(1, 6, 5\)"):
        target_masks([target(1, torch.zeros(0))], [(6, 5)])
    # However the absence of objects is written.
    assert [m.shape for m in target_masks([target(0, torch.zeros(0))] * 2, [(6, 5), (3, 4)])] == [(0, 6, 5), (0, 3, 4)]
