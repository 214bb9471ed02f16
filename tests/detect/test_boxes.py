"""Box codes and overlaps against the published implementation and torchvision."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from detect.golden import misc
from phonecv.detect.boxes import SSD_STDS, UNIT_STDS, decode, encode, pairwise_iou


def random_boxes(*shape: int, seed: int = 0, size: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * size / 2], -1)


@pytest.mark.parametrize(("name", "stds"), [("ssd", SSD_STDS), ("plain", UNIT_STDS)])
def test_published_numbers(name: str, stds: tuple[float, ...]) -> None:
    golden = misc()["coder"]
    anchors, boxes, codes = (torch.tensor(golden[key]) for key in ("priors", "gt", "delta"))
    torch.testing.assert_close(encode(anchors, boxes, stds), torch.tensor(golden[name]["encode"]), rtol=1e-5, atol=1e-5)
    decoded = torch.tensor(golden[name]["decode"])
    torch.testing.assert_close(decode(anchors, codes, stds), decoded, rtol=1e-5, atol=1e-3)
    clipped = torch.tensor(golden[name]["decode_clipped_h240_w320"])
    torch.testing.assert_close(decode(anchors, codes, stds, clip=(240, 320)), clipped, rtol=1e-5, atol=1e-3)


def test_decoding_undoes_encoding() -> None:
    anchors, boxes = random_boxes(50), random_boxes(50, seed=1)
    torch.testing.assert_close(decode(anchors, encode(anchors, boxes, SSD_STDS), SSD_STDS), boxes)


def test_sizes_are_limited_both_ways() -> None:
    anchor = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    for sign, side in ((1, 625.0), (-1, 0.16)):
        x1, y1, x2, y2 = decode(anchor, torch.tensor([[0.0, 0.0, sign * 50.0, sign * 50.0]]))[0].tolist()
        assert (x2 - x1, y2 - y1) == pytest.approx((side, side), rel=1e-5)


def test_cutting_to_a_size_per_box() -> None:
    anchors = torch.tensor([[-5.0, -5.0, 50.0, 60.0]]).repeat(2, 1)
    cut = decode(anchors, torch.zeros(2, 4), clip=torch.tensor([[20, 30], [40, 45]]))
    torch.testing.assert_close(cut, torch.tensor([[0.0, 0, 30, 20], [0, 0, 45, 40]]))


def test_overlap_equals_torchvision() -> None:
    boxes, others = random_boxes(3, 7), random_boxes(11, seed=2)
    found = pairwise_iou(boxes, others)
    assert found.shape == (3, 7, 11)
    for b in range(3):
        torch.testing.assert_close(found[b], torchvision.ops.box_iou(boxes[b], others))


def test_boxes_without_area_overlap_nothing() -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert pairwise_iou(point, point).tolist() == [[0.0]]
