"""Shears and translations against Pillow's, through timm's operations."""

from __future__ import annotations

import random

import numpy as np
import pytest
import timm.data.auto_augment
from PIL import Image

from data.picture_files import noise
from phonecv.data.pictures.shears import FASTER

SHARES = [0.0, 0.3, -0.3, 0.5, 1 / 64, -0.123, 1.4, -3.0]


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("name", FASTER)
@pytest.mark.parametrize("share", SHARES)
def test_equal_to_pillow_within_a_level(name: str, share: float, resample: Image.Resampling) -> None:
    image = noise((64, 48))
    options = {"fillcolor": (124, 116, 104), "resample": resample}
    wanted = np.asarray(timm.data.auto_augment.NAME_TO_OP[name](image, share, **options)).astype(int)  # pyrefly: ignore[bad-argument-count]
    got = np.asarray(FASTER[name](image, share, **options)).astype(int)
    assert np.abs(got - wanted).max() <= 1
    assert (got != wanted).mean() < 0.03


@pytest.mark.parametrize("name", FASTER)
def test_flat_colours_stay(name: str) -> None:
    image = Image.new("RGB", (40, 30), (7, 128, 255))
    options = {"fillcolor": (7, 128, 255), "resample": Image.Resampling.BICUBIC}
    assert FASTER[name](image, 0.217, **options).getcolors() == [(1200, (7, 128, 255))]


def test_the_filter_is_drawn_as_timm_draws_it() -> None:
    image, filters = noise((40, 30)), (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    for number in range(10):
        random.seed(number)
        got = FASTER["ShearX"](image, 0.2, fillcolor=(0, 0, 0), resample=filters)
        random.seed(number)
        wanted = FASTER["ShearX"](image, 0.2, fillcolor=(0, 0, 0), resample=random.choice(filters))
        assert np.array_equal(np.asarray(got), np.asarray(wanted))
