"""What training does to pictures and label maps, against plain loops and other libraries."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from data.label_folders import squares
from phonecv.data.labelmaps.listing import IGNORE
from phonecv.data.labelmaps.transforms import (
    ByteDistortion,
    PadTo,
    RandomResize,
    RandomWarp,
    VariedCrop,
    light_transform,
    train_transform,
)
from phonecv.data.loading.loader import seeded
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing

ADE = DensePreprocessing(size=512, longest=2048)
SMALL = DensePreprocessing(size=24, longest=96)


def picture(height: int = 24, width: int = 32, seed: int = 0) -> tv_tensors.Image:
    generator = torch.Generator().manual_seed(seed)
    return tv_tensors.Image(torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator))


def mask(labels: np.ndarray | Tensor) -> tv_tensors.Mask:
    return tv_tensors.Mask(torch.as_tensor(labels))


@pytest.mark.parametrize(("height", "width"), [(512, 683), (300, 1600), (96, 64)])
def test_resized_to_a_random_ratio_of_the_networks_size(height: int, width: int) -> None:
    resize = RandomResize(ADE, (0.5, 2.0))
    shape = tv_tensors.Image(torch.empty(0, dtype=torch.uint8).new_empty(3, height, width))
    sizes = []
    for seed in range(200):
        with seeded(seed):
            sizes.append(resize.make_params([shape])["size"])
    # Short side 512 unless the long one would pass 2048, times the ratio.
    factor = min(512 / min(height, width), 2048 / max(height, width))
    low, high = (np.array([height, width]) * factor * ratio for ratio in (0.5, 2.0))
    measured = np.array(sizes)
    assert (measured.min(0) >= low - 2).all()
    assert (measured.max(0) <= high + 2).all()
    assert (measured.min(0) < 1.1 * low).all()
    assert (measured.max(0) > 0.95 * high).all()
    assert np.abs(measured[:, 1] / measured[:, 0] / (width / height) - 1).max() < 0.02


def test_labels_are_taken_from_the_nearest_pixel() -> None:
    labels = squares(values=(3, 90, 200))
    resize = RandomResize(SMALL, (0.5, 2.0))
    for seed in range(10):
        with seeded(seed):
            image, resized = resize(picture(), mask(labels))
        height, width = resized.shape
        assert image.shape == (3, height, width)
        rows, columns = (np.arange(new) * old // new for new, old in ((height, 24), (width, 32)))
        np.testing.assert_array_equal(resized, labels[np.ix_(rows, columns)])


def test_labels_that_stay_centered_on_their_pictures() -> None:
    labels = squares(values=(3, 90, 200))
    resize = RandomResize(SMALL, (0.5, 2.0), centered=True)
    for seed in range(10):
        with seeded(seed):
            _, resized = resize(picture(), mask(labels))
        height, width = resized.shape
        rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in ((height, 24), (width, 32)))
        np.testing.assert_array_equal(resized, labels[np.ix_(rows, columns)])


@pytest.mark.parametrize(("make", "slip"), [(train_transform, 0.5), (light_transform, 0.0)])
def test_how_far_labels_slip_from_their_pictures(make: Callable[..., v2.Compose], slip: float) -> None:
    # A bar in the middle of both: what resizing does to the one it should do to the other.
    bar = torch.zeros(96, 96, dtype=torch.uint8)
    bar[:, 40:56] = 1
    image = tv_tensors.Image((255 * bar).expand(3, -1, -1).contiguous())
    found = []
    for seed in range(40):
        with seeded(seed):
            transform = make(192, DensePreprocessing(size=96), ratio=(1.2, 1.9), hflip=0.0)
            resized, labels = v2.Compose(transform.transforms[:1])(image, mask(bar))
        columns = torch.arange(resized.shape[-1], dtype=torch.float32)
        light, dark = resized[0, 0].float(), labels[0].float()
        found.append(float((columns * dark).sum() / dark.sum() - (columns * light).sum() / light.sum()))
    assert np.mean(found) == pytest.approx(slip, abs=0.1)


def test_stretched_by_no_more_than_the_aspect() -> None:
    resize = RandomResize(ADE, (1.0, 1.0), aspect=1.5)
    sizes = []
    for seed in range(200):
        with seeded(seed):
            sizes.append(resize.make_params([tv_tensors.Image(torch.empty(3, 512, 640))])["size"])
    measured = np.array(sizes)
    stretch = measured[:, 1] / measured[:, 0] / 1.25
    assert 1 / 1.51 < stretch.min() < 0.7
    assert 1.43 < stretch.max() < 1.51
    np.testing.assert_allclose(measured.prod(1), 512 * 640, rtol=0.01)


@pytest.mark.parametrize(
    "how", [{"rotate": 40.0}, {"shear": 30.0}, {"rotate": 10.0, "shear": 10.0}, {"rotate": 20.0, "elastic": 4.0}]
)
def test_labels_turn_lean_and_bend_with_their_pictures(how: dict[str, Any]) -> None:
    bar = torch.zeros(96, 96, dtype=torch.uint8)
    bar[20:76, 40:56] = 1
    image = tv_tensors.Image((255 * bar).expand(3, -1, -1).contiguous())
    spec = DensePreprocessing(size=96)
    transform = light_transform(96, spec, ratio=(1.0, 1.0), hflip=0.0, color=0.0, **how)
    moved = 0
    for seed in range(20):
        with seeded(seed):
            seen, labels = transform(image, mask(bar))
        known = labels != IGNORE
        assert (seen[0][~known] < 128).all()  # what comes in mirrors the dark edges
        light, dark = (seen[0] >= 128) & known, labels == 1
        assert (light & dark).sum() / (light | dark).sum() > 0.95
        moved += int((light ^ (bar == 1)).sum() > 100 and not known.all())
    assert moved > 10


def warp(size: int | tuple[int, int], spec: DensePreprocessing, **how: float) -> RandomWarp:
    return RandomWarp(size, RandomResize(spec, (1.0, 1.0), centered=True), **how)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (48, 130)])
def test_a_warp_of_a_millionth_of_a_pixel_resizes_as_the_networks_do(height: int, width: int) -> None:
    spec = DensePreprocessing(size=72, longest=400)
    image, labels = picture(height, width), mask(squares(values=(3, 90, 200), size=(height, width)))
    tall, wide = spec.target(height, width)
    with seeded(3):
        seen, known = warp((tall, wide), spec, elastic=1e-6)(image, labels)
    resized = torch.nn.functional.interpolate(image[None].float(), (tall, wide), mode="bilinear")[0]
    # A millionth of a pixel is enough to look over the very edge.
    inner = slice(1, -1)
    assert (seen[:, inner, inner].float() - resized[:, inner, inner]).abs().max() <= 0.51
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in ((tall, height), (wide, width)))
    same = np.asarray(known) == np.asarray(labels)[np.ix_(rows, columns)]
    assert same[inner, inner].mean() > 0.98  # a place between two pixels may fall to either


@pytest.mark.parametrize("how", [{"rotate": 40.0}, {"shear": 30.0}])
def test_turning_and_leaning_are_torchvisions(how: dict[str, float]) -> None:
    image, spec = tv_tensors.Image(smooth(96)), DensePreprocessing(size=96)
    for seed in range(5):
        with seeded(seed):
            params = warp(96, spec, **how).make_params([image])
        with seeded(seed):
            seen = warp(96, spec, **how)(image)
        with seeded(seed):
            torch.rand(())  # the ratio
            turn, lean = (2 * torch.rand(3, dtype=torch.float64) - 1).tolist()[:2]
        degrees, slope = how.get("rotate", 0.0) * turn, how.get("shear", 0.0) * lean
        expected = v2.functional.affine(
            image, -degrees, [0, 0], 1.0, [slope, 0.0], v2.InterpolationMode.BILINEAR, fill=[0.0]
        )
        edge = torch.nn.functional.max_pool2d((~params["inside"]).float()[None], 5, 1, 2)[0] > 0
        edge[[0, -1]] = edge[:, [0, -1]] = True  # the one mirrors, the other darkens
        assert (~edge).sum() > 5000
        assert (seen.float() - expected.float())[:, ~edge].abs().max() <= 2


def smooth(side: int) -> Tensor:
    """A picture that changes by little from pixel to pixel."""
    rows, columns = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    return (torch.stack([rows, columns, rows * columns]) * 255).to(torch.uint8)


def test_bends_are_smooth_and_as_strong_as_asked() -> None:
    bend = warp((160, 112), SMALL, elastic=3.0)
    for seed in range(5):
        with seeded(seed):
            moved = bend._bend()
        assert moved.shape == (2, 160, 112)
        assert 0.4 < moved.std() < 1.2
        assert max(moved.diff(dim=1).abs().max(), moved.diff(dim=2).abs().max()) < 0.35


def test_a_warp_mirrors_small_pictures() -> None:
    image, labels = picture(20, 30), mask(torch.full((20, 30), 7, dtype=torch.uint8))
    with seeded(0):
        seen, known = warp((50, 80), DensePreprocessing(size=20, longest=90), elastic=1e-6)(image, labels)
    expected = np.pad(np.asarray(image), ((0, 0), (0, 30), (0, 50)), mode="symmetric").astype(int)
    inner = np.abs(np.asarray(seen).astype(int) - expected)[:, 1:-1, 1:-1]
    assert inner.max() <= 1
    assert (known[:20, :30] == 7).float().mean() > 0.95
    assert (known[21:] == IGNORE).all()
    assert (known[:, 31:] == IGNORE).all()


def test_a_warp_shows_the_picture_to_its_corners() -> None:
    # Of a picture larger than the crop by more than turning needs, nothing comes in from outside.
    labels = mask(torch.full((400, 400), 7, dtype=torch.uint8))
    image = tv_tensors.Image(torch.full((3, 400, 400), 200, dtype=torch.uint8))
    spec, whole = DensePreprocessing(size=400), 0
    for seed in range(40):
        with seeded(seed):
            seen, known = warp(96, spec, rotate=20.0, shear=10.0, elastic=2.0)(image, labels)
        assert seen.shape == (3, 96, 96)
        assert set(known.unique().tolist()) <= {7, IGNORE}
        assert (seen[:, known == 7] == 200).all()
        whole += int((known == 7).all())
    assert whole > 20


@pytest.mark.parametrize("wrong", [{"aspect": 0.5}, {"rotate": 181.0}, {"shear": -1.0}, {"elastic": -2.0}])
def test_turns_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))} "):
        light_transform(24, SMALL, **wrong)


def test_pictures_are_resized_as_the_networks_do_it() -> None:
    resize = RandomResize(SMALL, (1.5, 1.5))
    image, _ = resize(picture(), mask(squares()))
    expected = torch.nn.functional.interpolate(
        picture().as_subclass(Tensor).float()[None], size=(36, 48), mode="bilinear", align_corners=False
    )[0]
    assert float((image.as_subclass(Tensor).float() - expected).abs().max()) < 1.001


def by_hand(labels: np.ndarray) -> bool:
    """The rule of the varied crop."""
    values, counts = np.unique(labels[labels != IGNORE], return_counts=True)
    return len(values) >= 2 and counts.max() / counts.sum() < 0.75


@pytest.mark.parametrize("seed", range(20))
def test_variety(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.dirichlet([0.4] * 3)
    labels = random.choice([0, 7, IGNORE], (8, 8), p=shares).astype(np.uint8)
    assert VariedCrop(8).varied(torch.from_numpy(labels)) == by_hand(labels)


def test_variety_at_its_limit() -> None:
    crop = VariedCrop(8)
    quarter = torch.tensor([0, 0, 0, 1], dtype=torch.uint8)
    assert not crop.varied(quarter.view(2, 2))  # exactly .75
    assert crop.varied(torch.tensor([[0, 0, 0, 1, 1]], dtype=torch.uint8))
    assert not crop.varied(torch.zeros(2, 2, dtype=torch.uint8))
    assert not crop.varied(torch.full((2, 2), IGNORE, dtype=torch.uint8))


def test_crops_are_drawn_again_for_variety() -> None:
    """One object in a wide picture: a crop shows it far more often than chance would have it."""
    labels = np.zeros((20, 200), dtype=np.uint8)
    labels[:, 100:107] = 1
    varied, plain = VariedCrop(20), VariedCrop(20, tries=0)
    hits = dict.fromkeys((varied, plain), 0)
    for seed in range(100):
        for crop in hits:
            with seeded(seed):
                _, part = crop(picture(20, 200), mask(labels))
            assert part.shape == (20, 20)
            hits[crop] += by_hand(np.asarray(part))
    assert hits[plain] < 20
    assert hits[varied] > 45
    # The rule can't be met: the eleventh crop is taken as it is.
    with seeded(1):
        _, part = varied(picture(20, 200), mask(np.zeros((20, 200), dtype=np.uint8)))
    assert part.shape == (20, 20)


@pytest.mark.parametrize("size", [8, (8, 8), (10, 7)])
def test_crops_reach_every_corner_and_belong_together(size: int | tuple[int, int]) -> None:
    image = picture(12, 10)
    where = torch.arange(120, dtype=torch.uint8).view(12, 10)
    tall, wide = (size, size) if isinstance(size, int) else size
    tops = set()
    for seed in range(100):
        with seeded(seed):
            part, labels = VariedCrop(size, tries=0)(image, mask(where))
        top, left = divmod(int(labels[0, 0]), 10)
        tops.add((top, left))
        assert torch.equal(part.as_subclass(Tensor), image.as_subclass(Tensor)[:, top : top + tall, left : left + wide])
    assert tops == {(top, left) for top in range(13 - tall) for left in range(11 - wide)}


def test_rectangles_of_pictures_smaller_and_larger() -> None:
    for make in (train_transform, light_transform):
        for size in ((24, 32), (60, 20), (20, 60)):
            image, labels = make((40, 28), replace(SMALL, size=min(size)), ratio=(1.0, 1.0))(
                picture(*size), mask(np.ones(size, np.uint8))
            )
            assert image.shape == (3, 40, 28)
            assert labels.shape == (40, 28)


def test_pad() -> None:
    mean = (0.485, 0.456, 0.406)
    image, labels = PadTo(40, mean)(picture(), mask(squares()))
    assert image.shape == (3, 40, 40)
    assert torch.equal(image.as_subclass(Tensor)[:, :24, :32], picture().as_subclass(Tensor))
    np.testing.assert_array_equal(labels[:24, :32], squares())
    for outside in (labels[24:], labels[:, 32:]):
        assert (outside == IGNORE).all()
    # Normalised it is nothing, to within half a gray level.
    rest = image.as_subclass(Tensor)[:, 24:].double() / 255 - torch.tensor(mean).view(3, 1, 1)
    assert float(rest.abs().max()) <= 0.5 / 255 + 1e-6
    same, _ = PadTo(10, mean)(picture(), mask(squares()))
    assert torch.equal(same, picture())


def test_brightness_and_contrast_on_bytes() -> None:
    image = picture()
    values = np.asarray(image).astype(np.float32)
    params = {"brightness": 31.5, "contrast": 1.4, "saturation": None, "hue": None}
    first = ByteDistortion().transform(image, {**params, "contrast_first": True})
    last = ByteDistortion().transform(image, {**params, "contrast_first": False})
    expected = np.clip(np.floor(np.clip(np.floor(values + 31.5), 0, 255) * np.float32(1.4)), 0, 255)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(last, expected)
    darker = ByteDistortion().transform(
        image, {**params, "brightness": -31.5, "contrast": None, "contrast_first": True}
    )
    np.testing.assert_array_equal(darker, np.clip(np.trunc(values - 31.5), 0, 255))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_saturation_is_that_of_hsv(factor: float) -> None:
    image = picture(6, 7)
    image[:, 0, 0], image[:, 0, 1], image[:, 0, 2] = 0, 255, 90
    params = {"brightness": None, "contrast": None, "saturation": factor, "hue": None, "contrast_first": True}
    found = ByteDistortion().transform(image, params).as_subclass(Tensor)
    for row in range(6):
        for column in range(7):
            hue, saturation, value = colorsys.rgb_to_hsv(*(int(part) / 255 for part in image[:, row, column]))
            wanted = colorsys.hsv_to_rgb(hue, min(1, factor * saturation), value)
            difference = np.abs(np.array(wanted) * 255 - found[:, row, column].numpy())
            assert difference.max() <= 1.001


@pytest.mark.parametrize("turn", [-18, 5, 17])
def test_hue_turns_the_wheel_of_180_steps(turn: int) -> None:
    image = picture(6, 7)
    params = {"brightness": None, "contrast": None, "saturation": None, "hue": turn, "contrast_first": True}
    found = np.asarray(ByteDistortion().transform(image, params))
    for row in range(6):
        for column in range(7):
            hue, saturation, value = colorsys.rgb_to_hsv(*(int(part) / 255 for part in image[:, row, column]))
            wanted = colorsys.hsv_to_rgb((hue + turn / 180) % 1, saturation, value)
            assert np.abs(np.array(wanted) * 255 - found[:, row, column]).max() <= 1.001


def test_distortions_are_drawn_by_the_published_chances() -> None:
    distortion = ByteDistortion()
    drawn = []
    for seed in range(400):
        with seeded(seed):
            drawn.append(distortion.make_params([]))
    ranges = {"brightness": (-32, 32), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-18, 17)}
    for name, (low, high) in ranges.items():
        values = [one[name] for one in drawn if one[name] is not None]
        assert 160 < len(values) < 240
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert 160 < sum(one["contrast_first"] for one in drawn) < 240


def test_gray_stays_gray_and_channels_stay_in_place() -> None:
    gray = tv_tensors.Image(torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16).contiguous())
    red = gray.clone()
    red[1:] = 0
    for seed in range(40):
        with seeded(seed):
            image, _ = ByteDistortion()(tv_tensors.wrap(gray, like=picture()), mask(squares()))
        assert int((image.amax(0).int() - image.amin(0).int()).max()) == 0
    for seed in range(40):
        with seeded(seed):
            params = ByteDistortion().make_params([])
        image = ByteDistortion().transform(
            tv_tensors.wrap(red, like=picture()), {**params, "brightness": None, "hue": None}
        )
        assert int(image[1:].max()) <= 128  # washed out at most by half, never moved


@pytest.mark.parametrize("make", [train_transform, light_transform])
def test_picture_and_labels_stay_together(make: type) -> None:
    """A picture that shows its own labels still does after everything but the colours."""
    labels = squares(3, values=(0, 1, 2, 3), size=(60, 80))
    shown = np.repeat((60 * labels)[None], 3, 0)
    for seed in range(20):
        with seeded(seed):
            transform = make(40, DensePreprocessing(size=60, longest=240), ratio=(0.5, 2.0))
            kept = [step for step in transform.transforms if not isinstance(step, ByteDistortion)]
            image, found = tv_tensors.Image(torch.from_numpy(shown)), mask(labels)
            for step in kept:
                if "Jitter" not in type(step).__name__:
                    image, found = step(image, found)
        assert image.shape[1:] == found.shape == (40, 40)
        values, pixels = np.asarray(found).astype(int), np.asarray(image)[0].astype(int)
        inside = values != IGNORE
        # Away from edges, where bilinear and nearest may differ.
        assert (np.abs(pixels - 60 * values)[inside] <= 1).mean() > 0.75


def test_whole_transforms_give_what_is_promised() -> None:
    for make in (train_transform, light_transform):
        transform = make(32, SMALL)
        outputs = []
        for seed in range(6):
            with seeded(seed):
                image, labels = transform(picture(), mask(squares(values=(0, 9, 200))))
            assert (image.dtype, image.shape) == (torch.uint8, (3, 32, 32))
            assert set(np.unique(labels)) <= {0, 9, 200, IGNORE}
            outputs.append(image)
        assert all(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_flips_are_drawn_and_can_be_left_out() -> None:
    labels = np.zeros((24, 24), dtype=np.uint8)
    labels[:, :12] = 1
    one = DensePreprocessing(size=24, longest=24)
    for probability in (0.0, 1.0):
        for make in (train_transform, light_transform):
            with seeded(0):
                _, found = make(24, one, ratio=(1.0, 1.0), hflip=probability)(picture(24, 24), mask(labels))
            np.testing.assert_array_equal(found, labels if probability == 0 else labels[:, ::-1])


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="ratio"):
        train_transform(32, SMALL, ratio=(2.0, 0.5))
    for wrong in (0, (16, 0)):
        with pytest.raises(UserError, match=re.escape(f"crop {wrong}")):
            light_transform(wrong, SMALL)
