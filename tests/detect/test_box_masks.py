"""Run lengths made from small masks, against those of masks pasted into whole pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from detect import test_mask_rcnn as mask_rcnn
from detect.test_mask_rcnn_masks import random_boxes
from opened import open_detector
from phonecv.detect.detections import Detections, decode_masks, encode_masks
from phonecv.detect.masks import BoxMasks


def squares(count: int, seed: int = 0) -> Tensor:
    """Smooth masks, as heads give them."""
    coarse = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, 28, mode="bilinear")[:, 0]


@pytest.mark.parametrize(("height", "width"), [(97, 130), (30, 41), (1, 1)])
def test_run_lengths_are_those_of_the_pasted_masks(height: int, width: int) -> None:
    boxes = random_boxes(40, height, width)
    boxes[0] = torch.tensor([0.0, 0.0, width, height])
    boxes[1] = torch.tensor([0.0, 0.3 * height, width, height])  # its runs end at the foot and go on at the top
    small = BoxMasks(squares(40), boxes, height, width)
    codes, wanted = encode_masks(small), encode_masks(small.paste())
    assert [code["size"] for code in codes] == [[height, width]] * 40
    # A probability that is a half but for rounding may fall on either side.
    assert (decode_masks(codes) != decode_masks(wanted)).sum() <= 2
    assert sum(code == other for code, other in zip(codes, wanted, strict=True)) >= 38


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("box", [(0, 0, 9, 7), (0, 0, 3, 7), (2, 0, 9, 7), (2, 1, 5, 4), (8, 6, 9, 7)])
def test_full_and_empty_masks_exactly(value: float, box: tuple[int, int, int, int]) -> None:
    small = BoxMasks(torch.full((1, 28, 28), value), torch.tensor([box]).float(), 7, 9)
    assert encode_masks(small) == encode_masks(small.paste())


def test_nothing_found() -> None:
    assert encode_masks(BoxMasks(torch.zeros(0, 28, 28), torch.zeros(0, 4), 5, 6)) == []


def test_some_of_them() -> None:
    small = BoxMasks(squares(5), random_boxes(5, 20, 30), 20, 30)
    rows = torch.tensor([True, False, True, False, False])
    assert len(small[rows]) == 2
    torch.testing.assert_close(small[rows].paste(), small.paste()[rows])


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor had."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_no_whole_picture_is_made() -> None:
    """Objects of 60 pixels in a picture of 12 megapixels."""
    corner = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) * 2900
    small = BoxMasks(squares(50), torch.cat([corner, corner + 60], 1), 3000, 4000)
    with Largest() as seen:
        codes = encode_masks(small)
    assert len(codes) == 50
    assert seen.numbers <= 50 * 28 * 28
    assert decode_masks(codes[:1]).sum() > 0


def test_the_runner_keeps_masks_small_and_finds_the_same() -> None:
    detector = mask_rcnn.sure(mask_rcnn.make("mobileone_s0"))
    images = [mask_rcnn.picture(), mask_rcnn.picture(50, 40, 1)]
    with Largest() as seen:
        found = open_detector(detector)(images)
    assert all(isinstance(one["masks"], BoxMasks) for one in found)
    assert sum(len(one["masks"]) for one in found) > 20
    pasted = detector(images)
    assert isinstance(pasted[0]["masks"], Tensor)  # who calls the detector itself still gets pixels
    ours, theirs = Detections.of(found, [0, 1]), Detections.of(pasted, [0, 1])
    assert ours.masks is not None
    assert theirs.masks is not None
    assert seen.numbers > 0
    same = sum(a == b for a, b in zip(ours.masks, theirs.masks, strict=True))
    assert same >= 0.95 * len(ours)
