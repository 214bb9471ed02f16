"""Pictures to batches: sizes as published, values as torchvision makes them, padding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from phonecv.dense.inputs import Prepared, prepare
from phonecv.errors import UserError
from phonecv.preprocessing import IMAGENET_MEAN, IMAGENET_STD, DensePreprocessing

GOLDEN = Path(__file__).parents[1] / "golden" / "detection" / "misc.json"
COCO = DensePreprocessing(size=800, longest=1333, multiple=32)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_sizes_equal_the_published_ones() -> None:
    for case in json.loads(GOLDEN.read_text())["resize_1333x800"]:
        size = COCO.target(case["h"], case["w"])
        assert list(size) == case["new"]
        prepared = Prepared(torch.zeros(1, 3, *size), (size,), ((case["h"], case["w"]),))
        assert list(prepared.padded(32)[0]) == case["pad32"]
        assert prepared.scales[0].tolist() == pytest.approx([size[1] / case["w"], size[0] / case["h"]])


def by_torchvision(image: Tensor, size: tuple[int, int]) -> Tensor:
    values = F.to_dtype(image, torch.float32, scale=True)
    if tuple(image.shape[1:]) != size:
        values = F.resize(values, list(size), antialias=False)
    return F.normalize(values, list(IMAGENET_MEAN), list(IMAGENET_STD))


def test_unequal_pictures_are_resized_normalised_and_padded() -> None:
    spec = DensePreprocessing(size=32, longest=50, multiple=16)
    images = [picture(40, 60, 1), picture(64, 33, 2), picture(20, 90, 3)]
    prepared = prepare(images, spec)
    assert prepared.originals == ((40, 60), (64, 33), (20, 90))
    assert prepared.sizes == ((32, 48), (50, 26), (11, 50))
    assert prepared.batch.shape == (3, 3, 64, 64)
    for row, image, (height, width) in zip(prepared.batch, images, prepared.sizes, strict=True):
        torch.testing.assert_close(row[:, :height, :width], by_torchvision(image, (height, width)))
        assert not row[:, height:].any()
        assert not row[:, :, width:].any()
    assert prepared.padded(16) == ((32, 48), (64, 32), (16, 64))


def test_a_square_is_stretched_to() -> None:
    spec = DensePreprocessing(size=48)
    images = [picture(30, 70), picture(48, 48)]
    prepared = prepare(images, spec)
    assert prepared.sizes == ((48, 48),) * 2
    for row, image in zip(prepared.batch, images, strict=True):
        torch.testing.assert_close(row, by_torchvision(image, (48, 48)))
    torch.testing.assert_close(prepared.scales, torch.tensor([[48 / 70, 48 / 30], [1, 1]]))


@pytest.mark.parametrize("multiple", [1, 32])
def test_equal_pictures_take_the_short_way_with_the_same_result(multiple: int) -> None:
    spec = DensePreprocessing(size=32, longest=64, multiple=multiple)
    images = [picture(40, 60, seed) for seed in range(3)]
    together = prepare(images, spec)
    assert torch.equal(together.batch, prepare(torch.stack(images), spec).batch)
    for i, image in enumerate(images):
        torch.testing.assert_close(together.batch[i : i + 1], prepare([image], spec).batch)


def test_floats_are_taken_as_shares_and_keep_their_precision() -> None:
    image = picture(32, 32)
    spec = DensePreprocessing(size=32)
    torch.testing.assert_close(prepare([image.float() / 255], spec).batch, prepare([image], spec).batch)
    assert prepare([image.double() / 255], spec).batch.dtype == torch.float64
    # Colour changes of a training may leave 0..1; nothing is cut.
    bright = prepare([torch.full((3, 32, 32), 1.5)], spec).batch
    assert bright[0, 0, 0, 0].item() == pytest.approx((1.5 - IMAGENET_MEAN[0]) / IMAGENET_STD[0])


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    image = picture(33, 57)
    spec = DensePreprocessing(size=33, longest=57)
    torch.testing.assert_close(prepare([image], spec).batch[0], by_torchvision(image, (33, 57)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "no pictures"),
        ([torch.zeros(4, 8, 8)], r"\(4, 8, 8\)"),
        ([torch.zeros(8, 8)], r"\(8, 8\)"),
        ([torch.zeros(3, 0, 8)], r"\(3, 0, 8\)"),
        ([torch.zeros(3, 8, 8, dtype=torch.int64)], "int64"),
    ],
)
def test_what_is_no_picture_is_refused(images: list[Tensor], said: str) -> None:
    with pytest.raises(UserError, match=said):
        prepare(images, DensePreprocessing())


@pytest.mark.parametrize(
    "arguments",
    [{"size": 0}, {"size": 2.5}, {"multiple": 0}, {"longest": 100, "size": 200}, {"std": (1, 0, 1)}, {"mean": (0, 0)}],
)
def test_impossible_preprocessing_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError):
        DensePreprocessing(**arguments)  # pyrefly: ignore


def test_preprocessing_as_plain_values() -> None:
    spec = DensePreprocessing(size=640, longest=900, multiple=32, mean=(0.5, 0.5, 0.5))
    assert DensePreprocessing.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(UserError, match="did you mean 'longest'"):
        DensePreprocessing.from_dict({"longst": 3})


def test_one_size_for_all_stretches_or_fits() -> None:
    images = [picture(40, 60, 1), picture(90, 30, 2)]
    stretched = prepare(images, DensePreprocessing(size=32), canvas=(48, 64))
    assert stretched.sizes == ((48, 64), (48, 64))
    for row, image in zip(stretched.batch, images, strict=True):
        torch.testing.assert_close(row, by_torchvision(image, (48, 64)), atol=1e-5, rtol=1e-5)
    fitted = prepare(images, DensePreprocessing(size=32, longest=64, multiple=32), canvas=(48, 64))
    assert fitted.batch.shape == (2, 3, 48, 64)
    assert fitted.sizes == ((43, 64), (48, 16))
    assert not fitted.batch[1, :, :, 16:].any()
    torch.testing.assert_close(fitted.batch[1, :, :, :16], by_torchvision(images[1], (48, 16)), atol=1e-5, rtol=1e-5)
    # A picture that fills it is as without.
    usual = DensePreprocessing(size=48, longest=64, multiple=16)
    same = [picture(96, 128, 3)]
    assert torch.equal(prepare(same, usual, canvas=(48, 64)).batch, prepare(same, usual).batch)
