from __future__ import annotations

import colorsys
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors

from conftest import mostly_long
from phonecv.data.coco.geometry import View, bounding_boxes, expanded, flipped, min_iou_crop, see, visible_share
from phonecv.data.coco.transforms import (
    LightTransform,
    ResizeTransform,
    SSDTransform,
    photometric_distortion,
)
from phonecv.data.loading.loader import seeded
from phonecv.data.pictures.colours import hue_turned, saturated
from phonecv.errors import UserError

W, H = 60, 44
MEAN = (0.485, 0.456, 0.406)


def picture() -> tv_tensors.Image:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 8, generator=generator)
    smooth = functional.interpolate(small, (H, W), mode="bicubic").clamp(0, 1)[0]
    return tv_tensors.Image((smooth * 255).byte())


def objects(boxes: list[list[float]] | None = None, crowd: int = 0) -> dict[str, Any]:
    """Targets whose masks fill their boxes."""
    boxes = [[5, 4, 25, 20], [30, 10, 58, 40], [12, 24, 24, 42]] if boxes is None else boxes
    masks = torch.zeros(len(boxes), H, W, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[int(top) : int(bottom), int(left) : int(right)] = 1
    return {
        "boxes": bounding_boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), (H, W)),
        "labels": torch.arange(len(boxes)),
        "crowd": torch.arange(len(boxes)) < crowd,
        "masks": tv_tensors.Mask(masks),
    }


TRANSFORMS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "ssd": SSDTransform(48),
    "light": LightTransform(48, 80, vflip=0.5),
    "light square": LightTransform(48, scale=(0.4, 3.0), visible=0.0),
    "resize": ResizeTransform(33, 70),
    "resize square": ResizeTransform(48),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_boxes_and_masks_stay_together(name: str) -> None:
    seen = 0
    for trial in range(80):
        with seeded(trial):
            image, targets = TRANSFORMS[name](picture(), objects(crowd=1))
        height, width = image.shape[-2:]
        boxes, masks = targets["boxes"].as_subclass(Tensor), targets["masks"].as_subclass(Tensor)
        assert boxes.shape[0] == masks.shape[0] == len(targets["labels"]) == len(targets["crowd"])
        assert masks.shape[1:] == (height, width)
        assert targets["boxes"].canvas_size == (height, width)
        assert (targets["crowd"] == (targets["labels"] == 0)).all()
        limits = torch.tensor([width, height] * 2)
        assert (boxes >= 0).all()
        assert (boxes <= limits).all()
        for box, mask in zip(boxes, masks, strict=True):
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            if (box[2:] - box[:2]).min() < 1:  # may hide between pixels
                continue
            tight = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            # Pixels are in or out by their centres; torch's "nearest" looks up to a pixel of the source aside.
            source = max(1.0, width / W, height / H) if name.startswith("resize") else 0.5
            assert (tight - box).abs().max() <= source + 1e-3, (trial, box, tight)
            seen += 1
    assert seen > 80


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_kind_of_result(name: str) -> None:
    for trial in range(5):
        with seeded(trial):
            image, targets = TRANSFORMS[name](picture(), objects())
        assert isinstance(image, tv_tensors.Image)
        assert isinstance(targets["boxes"], tv_tensors.BoundingBoxes)
        assert isinstance(targets["masks"], tv_tensors.Mask)
        assert image.dtype == (torch.float32 if name == "ssd" else torch.uint8)
        assert targets["labels"].dtype == torch.int64


def test_a_view_is_expand_crop_and_resize() -> None:
    """Against a canvas that is made, cut and resized."""
    image, targets = picture(), objects()
    for trial in range(40):
        with seeded(trial):
            canvas = expanded(W, H)
            left, top = random.randrange(int(canvas.width) // 2), random.randrange(int(canvas.height) // 2)
            wide = random.randrange(1, int(canvas.width) - left + 1)
            tall = random.randrange(1, int(canvas.height) - top + 1)
            size = (random.randrange(1, 70), random.randrange(1, 70))
        full = torch.tensor(MEAN)[:, None, None].repeat(1, int(canvas.height), int(canvas.width))
        masks = torch.zeros(3, int(canvas.height), int(canvas.width))
        x, y = -int(canvas.left), -int(canvas.top)
        full[:, y : y + H, x : x + W] = image.as_subclass(Tensor) / 255
        masks[:, y : y + H, x : x + W] = targets["masks"].as_subclass(Tensor)
        cut = (slice(None), slice(top, top + tall), slice(left, left + wide))
        expected = functional.interpolate(full[cut][None], size, mode="bilinear", align_corners=False)[0]
        nearest = functional.interpolate(masks[cut][None], size, mode="nearest-exact")[0]
        view = View(canvas.left + left, canvas.top + top, wide, tall)
        keep = torch.ones(3, dtype=torch.bool)
        seen, moved = see(image, targets, view, size, keep=keep, fill=MEAN)
        assert torch.allclose(seen.as_subclass(Tensor), expected, atol=2e-4), trial
        assert (moved["masks"].as_subclass(Tensor) != nearest).float().mean() < 0.02, "but for rounding of centres"
        boxes = targets["boxes"].as_subclass(Tensor) + torch.tensor([x - left, y - top] * 2)
        boxes = boxes * torch.tensor([size[1] / wide, size[0] / tall] * 2)
        boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([size[1], size[0]] * 2))
        assert torch.allclose(moved["boxes"].as_subclass(Tensor), boxes, atol=1e-3)


def test_expanding() -> None:
    views = []
    for trial in range(400):
        with seeded(trial):
            views.append(expanded(W, H))
    ratios = np.array([view.width / W for view in views])
    assert ((ratios >= 1 - 1 / W) & (ratios <= 4)).all()
    assert abs(ratios.mean() - 2.5) < 0.15
    for view in views:
        assert view.left <= 0 <= W <= view.left + view.width
        assert view.top <= 0 <= H <= view.top + view.height
        assert abs(view.width / W - view.height / H) < 1 / W + 1 / H
    shares = np.array([-view.left / (view.width - W) for view in views if view.width > 1.5 * W])
    assert abs(shares.mean() - 0.5) < 0.08
    assert shares.min() < 0.1
    assert shares.max() > 0.9


# The crop of the published SSD


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, wide) * max(0.0, tall)
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return both / (area - both)


def plain_crop(boxes: list[list[float]], width: int, height: int) -> tuple[int, list[int]]:
    """The rule as it is stated, one try after the other: how many modes were drawn, and the crop."""
    drawn = 0
    while True:
        drawn += 1
        mode = random.choice(["keep", 0.1, 0.3, 0.5, 0.7, 0.9, 0])
        if mode == "keep":
            return drawn, [0, 0, width, height]
        for _ in range(50):
            wide, tall = random.uniform(0.3 * width, width), random.uniform(0.3 * height, height)
            if not 0.5 <= tall / wide <= 2:
                continue
            left, top = random.uniform(0, width - wide), random.uniform(0, height - tall)
            crop = [int(left), int(top), int(left + wide), int(top + tall)]
            if crop[2] == crop[0] or crop[3] == crop[1]:
                continue
            if min(iou(crop, box) for box in boxes) < float(mode):
                continue
            centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes]
            if any(crop[0] < x < crop[2] and crop[1] < y < crop[3] for x, y in centres):
                return drawn, crop


CROP_CASES = {
    "one large": [[5.0, 5.0, 50.0, 40.0]],
    "one small": [[40.0, 30.0, 50.0, 38.0]],
    "two apart": [[2.0, 2.0, 20.0, 20.0], [40.0, 20.0, 58.0, 42.0]],
    "two together": [[10.0, 8.0, 40.0, 35.0], [15.0, 10.0, 45.0, 38.0]],
}


@pytest.mark.parametrize("case", mostly_long(CROP_CASES, "one small", "two together"))
def test_crops_are_distributed_as_the_rule_says(case: str) -> None:
    boxes = CROP_CASES[case]
    count = 1500
    with seeded(1):
        ours = []
        for _ in range(count):
            view, keep = min_iou_crop(torch.tensor(boxes), W, H)
            crop = [view.left, view.top, view.left + view.width, view.top + view.height]
            inside = [crop[0] < (b[0] + b[2]) / 2 < crop[2] and crop[1] < (b[1] + b[3]) / 2 < crop[3] for b in boxes]
            whole = crop == [0, 0, W, H]
            assert whole or (keep.tolist() == inside and any(inside))
            assert whole or (0.3 * W - 1 <= view.width <= W and 0.3 * H - 1 <= view.height <= H)
            assert crop[0] >= 0
            assert crop[1] >= 0
            assert crop[2] <= W
            assert crop[3] <= H
            ours.append([*crop, float(whole), min(iou(crop, box) for box in boxes)])
    with seeded(2):
        plain = []
        for _ in range(count):
            _, crop = plain_crop(boxes, W, H)
            plain.append([*crop, float(crop == [0, 0, W, H]), min(iou([*map(float, crop)], box) for box in boxes)])
    one, other = np.array(ours), np.array(plain)
    # Means of every column agree within four standard errors; equal distributions fail that once in 16,000.
    error = np.sqrt((one.var(0) + other.var(0)) / count)
    assert (np.abs(one.mean(0) - other.mean(0)) <= 4 * error + 1e-9).all(), (one.mean(0), other.mean(0), error)
    quantiles = np.abs(np.quantile(one, [0.25, 0.5, 0.75], axis=0) - np.quantile(other, [0.25, 0.5, 0.75], axis=0))
    assert (quantiles[:, :4] <= 0.12 * W).all()


@pytest.mark.parametrize("mode", [0.1, 0.5, 0.7])
def test_the_least_overlap_counts(mode: float) -> None:
    boxes = CROP_CASES["two together"]
    with seeded(0):
        for _ in range(50):
            view, _ = min_iou_crop(torch.tensor(boxes), W, H, modes=(mode, None))
            crop = [view.left, view.top, view.left + view.width, view.top + view.height]
            assert crop == [0, 0, W, H] or min(iou(crop, box) for box in boxes) >= mode


def test_without_boxes_any_crop_will_do() -> None:
    with seeded(0):
        views = [min_iou_crop(torch.zeros(0, 4), W, H) for _ in range(100)]
    assert len({view for view, _ in views}) > 50
    assert all(len(keep) == 0 for _, keep in views)


def test_a_picture_no_crop_fits_stays_whole() -> None:
    with seeded(0):
        assert min_iou_crop(torch.tensor([[0.0, 0.0, 1.0, 300.0]]), 1, 300)[0] == View(0, 0, 1, 300)


# Colours


def test_hue_and_saturation_are_those_of_colorsys() -> None:
    image = picture().as_subclass(Tensor)[:, ::7, ::9] / 255
    for degrees in (-18, -3.5, 11, 18, 170):
        turned = hue_turned(image, degrees)
        for pixel, result in zip(image.flatten(1).T.tolist(), turned.flatten(1).T, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            expected = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
            assert np.allclose(result, expected, atol=1e-5)
    for factor in (0.5, 0.9, 1.5, 5.0):
        changed = saturated(image, factor)
        for pixel, result in zip(image.flatten(1).T.tolist(), changed.flatten(1).T, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            assert np.allclose(result, colorsys.hsv_to_rgb(hue, min(1, saturation * factor), value), atol=1e-5)


def test_colours_of_gray_black_and_negative_pixels() -> None:
    image = torch.tensor([[0.5, 0.0, -0.1, -0.05], [0.5, 0.0, -0.1, -0.1], [0.5, 0.0, -0.1, 0.2]])[:, :, None]
    for changed in (saturated(image, 1.4), hue_turned(image, 12)):
        assert changed.isfinite().all()
        assert torch.allclose(changed[:, :3], image[:, :3])
    # Of the last one the saturation is (0.2 + 0.1) / 0.2 and cut at 1, so its least channel becomes black.
    assert torch.allclose(saturated(image, 1.4)[:, 3, 0], torch.tensor([0.05 / 0.3 * 0.2, 0.0, 0.2]), atol=1e-6)


def test_bounds_of_the_colours() -> None:
    white = torch.full((3, 4, 4), 0.6)
    values = []
    for trial in range(600):
        with seeded(trial):
            values.append(float(photometric_distortion(white)[0, 0, 0]))
    lowest, highest = (0.6 - 32 / 255) * 0.5, (0.6 + 32 / 255) * 1.5
    assert lowest - 1e-6 <= min(values) < lowest + 0.05
    assert highest - 0.1 < max(values) <= highest + 1e-6
    assert max(values) > 1, "values are not cut"
    # Neither brightness nor contrast are changed one time in four; a gray picture knows nothing of the rest.
    assert abs(np.mean([abs(value - 0.6) < 1e-6 for value in values]) - 0.25) < 0.06


def test_channels_are_shuffled_half_of_the_time() -> None:
    image = torch.stack([torch.full((2, 2), value) for value in (0.2, 0.5, 0.9)])
    moved = 0
    for trial in range(400):
        with seeded(trial):
            moved += not (photometric_distortion(image)[:, 0, 0].diff() > 0).all()
    # Of the six orders one is the old one.
    assert abs(moved / 400 - 0.5 * 5 / 6) < 0.08


def test_flips() -> None:
    image, targets = flipped(picture(), objects(), horizontal=1.0)
    assert torch.equal(image.as_subclass(Tensor), picture().as_subclass(Tensor).flip(2))
    assert targets["boxes"][0].tolist() == [W - 25, 4, W - 5, 20]
    assert torch.equal(targets["masks"].as_subclass(Tensor), objects()["masks"].as_subclass(Tensor).flip(2))
    _, targets = flipped(picture(), objects(), vertical=1.0)
    assert targets["boxes"][0].tolist() == [5, H - 20, 25, H - 4]
    assert torch.equal(flipped(picture(), objects())[0], picture())


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 640), (800, 1067)), ((427, 640), (800, 1199)), ((333, 1000), (444, 1333)),
                           ((640, 480), (1067, 800)), ((500, 375), (1067, 800)), ((1, 300), (4, 1333))],
)  # fmt: skip
def test_published_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Keep the aspect, at most 1333 by 800, floor(old * factor + .5)."""
    factor = min(1333 / max(size), 800 / min(size))
    assert expected == tuple(int(side * factor + 0.5) for side in size)
    image = tv_tensors.Image(torch.zeros(3, *size, dtype=torch.uint8))
    targets = {"boxes": bounding_boxes(torch.tensor([[0.0, 0.0, size[1], size[0]]]), size)}
    image, targets = ResizeTransform(800, 1333, hflip=0)(image, targets)
    assert tuple(image.shape[1:]) == expected
    assert targets["boxes"].tolist() == [[0, 0, expected[1], expected[0]]]


def test_resizing_is_that_of_the_detector() -> None:
    image, _ = ResizeTransform(33, 70, hflip=0)(picture(), objects())
    expected = functional.interpolate(picture()[None].float(), image.shape[-2:], mode="bilinear")[0]
    assert (image.float() - expected).abs().max() <= 1.001


# The light transform


def test_visible_share() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 25], [20, 0, 30, 10]])
    assert visible_share(boxes, View(0, 0, 10, 10)).tolist() == [1, 25 / 200, 0]
    assert visible_share(boxes, View(-5, -5, 100, 100)).tolist() == [1, 1, 1]
    assert visible_share(torch.zeros(0, 4), View(0, 0, 1, 1)).shape == (0,)


def test_light_transform_shows_an_object_and_drops_the_hidden() -> None:
    transform = LightTransform(48, 80, scale=(1.0, 4.0), hflip=0, color=0)
    counts = set()
    for trial in range(200):
        with seeded(trial):
            _, targets = transform(picture(), objects())
        assert len(targets["boxes"]) >= 1
        counts.add(len(targets["boxes"]))
    assert counts == {1, 2, 3}


def test_light_transform_scales_both_ways() -> None:
    transform = LightTransform(44, 60, scale=(0.5, 2.0), aspect=1.0, hflip=0, color=0, visible=0)
    sides = []
    for trial in range(300):
        with seeded(trial):
            _, targets = transform(picture(), objects([[28.0, 20.0, 32.0, 24.0]]))
        width, height = (targets["boxes"][0, 2:] - targets["boxes"][0, :2]).tolist()
        sides.append(max(width, height) / 4)
    assert min(sides) < 0.6
    assert 1.8 < max(sides) < 2.1
    assert abs(np.mean(np.log(sides))) < 0.15


def test_light_transform_left_alone_only_resizes() -> None:
    transform = LightTransform(H, W, scale=(1.0, 1.0), aspect=1.0, hflip=0, color=0)
    image, targets = transform(picture(), objects())
    assert torch.equal(image, picture())
    assert torch.equal(targets["boxes"], objects()["boxes"])
    assert torch.equal(targets["masks"], objects()["masks"])


def test_crowds_alone_do_not_count() -> None:
    with seeded(0):
        _, targets = LightTransform(48, scale=(4.0, 8.0))(picture(), objects([[0.0, 0.0, 3.0, 3.0]], crowd=1))
    assert len(targets["boxes"]) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: SSDTransform(0),
        lambda: SSDTransform(48, hflip=1.5),
        lambda: ResizeTransform(48, 40),
        lambda: LightTransform(48, scale=(2.0, 1.0)),
        lambda: LightTransform(48, scale=(0.0, 1.0)),
        lambda: LightTransform(48, aspect=0.5),
        lambda: LightTransform(48, color=-1),
        lambda: LightTransform(48, vflip=-0.1),
        lambda: LightTransform(48, visible=2),
    ],
)
def test_values_out_of_range(make: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        make()
