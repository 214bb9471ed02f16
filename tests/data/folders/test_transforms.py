from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import AugmentOp
from timm.data.auto_augment import posterize as timm_posterize
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.data.transforms_factory import create_transform

import phonecv.data.folders.transforms as transforms_module
from data.picture_files import noise
from phonecv.data.folders.augment import AugmentConfig
from phonecv.data.folders.transforms import (
    LimitAspect,
    TrainTransform,
    eval_transform,
    from_planes,
    posterize,
    to_planes,
    train_transform,
)
from phonecv.data.loading.loader import seeded
from phonecv.data.pictures.opening import open_image
from phonecv.data.pictures.reading import Reader
from phonecv.errors import UserError
from phonecv.preprocessing import Preprocessing


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (299, 299), (50, 700), (224, 225)])
def test_eval_is_pillow_resize_of_the_short_side_and_centre_crop(size: tuple[int, int], interpolation: str) -> None:
    image = noise(size)
    short = int(224 / 0.875)
    scaled = [short if side == min(size) else int(short * side / min(size)) for side in size]
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    left, top = (round((side - 224) / 2) for side in scaled)
    expected = np.asarray(image.resize((scaled[0], scaled[1]), method).crop((left, top, left + 224, top + 224)))
    expected = (expected / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    result = eval_transform(Preprocessing(interpolation=interpolation))(image)
    assert result.shape == (3, 224, 224)
    assert np.abs(result.permute(1, 2, 0).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (256, 292), (512, 585)])
def test_resize_rule_of_the_published_models(size: int, resize: int) -> None:
    assert Preprocessing(size=size).resize == resize
    assert eval_transform(Preprocessing(size=size))(noise()).shape == (3, size, size)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1), (1, 300), (20000, 3)])
def test_extreme_shapes_stay_small(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    resize = Image.Image.resize

    def spy(self: Image.Image, wanted: tuple[int, int], *args: object, **kwargs: object) -> Image.Image:
        nonlocal largest
        largest = max(largest, wanted[0] * wanted[1])
        return resize(self, wanted, *args, **kwargs)  # type: ignore

    monkeypatch.setattr(Image.Image, "resize", spy)
    image = Image.new("RGB", size, (10, 200, 30))
    for transform in (
        eval_transform(Preprocessing()),
        train_transform(AugmentConfig(), 224, Preprocessing()),
        train_transform(AugmentConfig(), 32, Preprocessing()),
    ):
        assert torch.isfinite(transform(image)).all()
    assert largest <= 16 * 256 * 256


def test_limit_aspect_leaves_ordinary_pictures_alone() -> None:
    image = noise((160, 10))
    assert LimitAspect()(image) is image
    assert LimitAspect()(noise((161, 10))).size == (160, 10)


@pytest.mark.parametrize(
    ("augment", "timm_arguments"),
    [
        (AugmentConfig(), {"color_jitter": None}),
        (AugmentConfig(auto_augment="rand-m9-mstd0.5-inc1"), {"auto_augment": "rand-m9-mstd0.5-inc1"}),
        (AugmentConfig(color_jitter=0.4, hflip=0.3, vflip=0.2), {"color_jitter": 0.4, "hflip": 0.3, "vflip": 0.2}),
        (AugmentConfig(auto_augment="augmix-m5-w4-d2"), {"auto_augment": "augmix-m5-w4-d2"}),
        (AugmentConfig(auto_augment="original-mstd0.5"), {"auto_augment": "original-mstd0.5"}),
        (
            AugmentConfig(scale=(0.4, 0.9), interpolation="bilinear", erasing=1.0),
            {"scale": (0.4, 0.9), "interpolation": "bilinear", "re_prob": 1.0, "color_jitter": None},
        ),
    ],
)  # fmt: skip
def test_training_transform_equals_timm(augment: AugmentConfig, timm_arguments: dict[str, object]) -> None:
    ours = train_transform(augment, 64, Preprocessing())
    reference = create_transform(
        64,
        is_training=True,
        **{"interpolation": "random", "re_mode": "pixel", **timm_arguments},  # type: ignore
    )
    for number in range(20):
        image = noise((90, 70), seed=number)
        with seeded(number):
            expected = reference(image)  # type: ignore
        with seeded(number):
            assert torch.equal(ours(image), expected)  # type: ignore


def photo(path: Path, size: tuple[int, int] = (260, 200), seed: int = 0) -> Path:
    noise(size, seed).save(path, "JPEG", quality=90)
    return path


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
def test_crops_are_those_of_timm(tmp_path: Path, scale: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same random state gives the same boxes, also of pictures so long that no box fits."""
    seen: list[tuple[int, int, int, int]] = []
    original = transforms_module.open_part

    def spy(path: Path, choose: Any, *, side: int, bits: int | None) -> Any:
        def noted(size: tuple[int, int]) -> tuple[int, int, int, int]:
            seen.append(choose(size))
            return seen[-1]

        return original(path, noted, side=side, bits=bits)

    monkeypatch.setattr(transforms_module, "open_part", spy)
    transform = train_transform(AugmentConfig(scale=scale), 48, Preprocessing())
    assert isinstance(transform, TrainTransform)
    for number, size in enumerate([(260, 200), (200, 260), (97, 53), (400, 40)] * 10):
        path = photo(tmp_path / f"{number}.jpg", size)
        with seeded(number):
            transform.read(path)
        with seeded(number):
            top, left, height, width = RandomResizedCropAndInterpolation.get_params(
                open_image(path), scale, (3 / 4, 4 / 3)
            )
        assert seen[-1] == (left, top, left + width, top + height)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "random"])
@pytest.mark.parametrize("policy", [None, "rand-m9-mstd0.5-inc1", "original-mstd0.5", "augmix-m5-w4-d2"])
def test_fast_reading_decides_like_timm_and_gives_nearly_its_pixels(
    tmp_path: Path, policy: str | None, interpolation: str
) -> None:
    plain = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
    config = AugmentConfig(auto_augment=policy, interpolation=interpolation, vflip=0.3)
    transform = train_transform(config, 48, plain)
    assert isinstance(transform, TrainTransform)
    differences = []
    for number in range(24):
        path = photo(tmp_path / f"{number}.jpg", seed=number)
        with seeded(number):
            fast = transform.read(path).image.float()
        with seeded(number):
            exact = transform(open_image(path)) * 255
        differences.append(float((fast - exact).abs().mean()))
    # Operations such as posterize make a step of many levels out of one level.
    assert sorted(differences)[len(differences) // 2] < 0.5
    assert max(differences) < 12
    if policy is None:
        assert max(differences) < 0.5


def test_exact_reading_is_not_a_reader() -> None:
    exact = train_transform(AugmentConfig(reading="exact"), 48, Preprocessing())
    assert not isinstance(exact, Reader)
    with pytest.raises(UserError, match="reading"):
        AugmentConfig(reading="quick")


def test_planes_and_pictures() -> None:
    image = noise((40, 30))
    planes = to_planes(image)
    assert torch.equal(planes, torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert np.array_equal(np.asarray(from_planes(planes.contiguous())), np.asarray(image))


def test_tiny_pictures_are_shifted_not_scaled() -> None:
    image = noise((32, 32))
    transform = train_transform(AugmentConfig(hflip=0), 32, Preprocessing(mean=(0, 0, 0), std=(1, 1, 1)))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    padded = torch.nn.functional.pad(pixels, (4, 4, 4, 4))
    windows = [padded[:, top : top + 32, left : left + 32] for top in range(9) for left in range(9)]
    seen = set()
    for number in range(60):
        with seeded(number):
            result = transform(image)
        matches = [place for place, window in enumerate(windows) if torch.equal(window, result)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 20


def test_posterize_with_no_bits_is_black_and_timm_is_untouched() -> None:
    image = noise()
    assert posterize(image, 0).getextrema() == ((0, 0),) * 3
    assert posterize(image, 8) is image
    for bits in range(1, 8):
        expected = np.asarray(image) & (0xFF00 >> bits & 0xFF)
        assert np.array_equal(np.asarray(posterize(image, bits)), expected)
    train_transform(AugmentConfig(auto_augment="rand-m9-mstd0.5-inc1"), 64, Preprocessing())
    assert AugmentOp("PosterizeIncreasing").aug_fn is timm_posterize


def test_strongest_rand_augment_survives() -> None:
    transform = train_transform(AugmentConfig(auto_augment="rand-m10-p1-n4-inc1"), 8, Preprocessing(size=8))
    assert any(op.name == "PosterizeIncreasing" for op in _ops(transform))
    for number in range(200):
        with seeded(number):
            transform(noise((12, 12), seed=number))


def _ops(transform: object) -> list[AugmentOp]:
    return next(step.ops for step in transform.transforms if hasattr(step, "ops"))  # type: ignore


def test_magnitude_scale() -> None:
    augment = AugmentConfig(auto_augment="rand-m7-mstd0.5-inc1", magnitude_scale=0.3)
    operations = _ops(train_transform(augment, 64, Preprocessing()))
    assert len(operations) == 15
    assert all(math.isclose(operation.magnitude, 2.1) for operation in operations)
    assert all(operation.magnitude_std == 0.5 for operation in operations)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auto_augment": "rand-mnine"}, "rand-mnine"),
        ({"auto_augment": "magic"}, "magic"),
        ({"auto_augment": "rand-q3"}, "rand-q3"),
        ({"auto_augment": "original-m9"}, "'m9'"),
        ({"scale": (0.5, 0.1)}, "scale"),
        ({"hflip": 1.5}, "hflip"),
        ({"interpolation": "nearest"}, "nearest"),
        ({"erasing_mode": "black"}, "black"),
    ],
)
def test_bad_augmentation_is_refused_early(values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        AugmentConfig(**values)  # type: ignore
