"""Normalising and erasing batches against torchvision and timm."""

from __future__ import annotations

import random

import pytest
import torch
from timm.data.random_erasing import RandomErasing
from torchvision import transforms

from phonecv.data.pictures.normalising import Erasure, Normalise, choose_erasures

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalising_equals_torchvision_to_the_bit(layout: torch.memory_format) -> None:
    pixels = torch.randint(0, 256, (5, 3, 20, 24), dtype=torch.uint8)
    images = Normalise(MEAN, STD)(pixels.to(memory_format=layout))
    assert torch.equal(images, transforms.Normalize(MEAN, STD)(pixels.float().div(255)))
    assert images.is_contiguous(memory_format=layout)
    arrays = Normalise(MEAN, STD).arrays(pixels.permute(0, 2, 3, 1).numpy())
    assert torch.equal(torch.from_numpy(arrays), images)


@pytest.mark.parametrize("count", [1, 3])
def test_rectangles_equal_timm(count: int) -> None:
    eraser, size, found = RandomErasing(0.6, mode="const", max_count=count, device="cpu"), 64, 0
    for number in range(60):
        random.seed(number)
        wanted = eraser(torch.ones(3, size, size))
        random.seed(number)
        if count == 1:
            chosen = choose_erasures(0.6, "const", count, size)
            got = Normalise((0, 0, 0), (1, 1, 1))(torch.full((1, 3, size, size), 255, dtype=torch.uint8), [chosen])[0]
            assert torch.equal(got, wanted)
        else:
            # The seed of each rectangle is drawn between them here, so only their number can be compared.
            chosen = choose_erasures(0.6, "const", count, size)
            assert bool(chosen) == bool((wanted == 0).any())
        found += len(chosen)
    assert found > 20


def test_erased_values() -> None:
    pixels, place = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), (10, 20, 30, 40)
    inside = (0, slice(None), slice(10, 40), slice(20, 60))
    normalise = Normalise(MEAN, STD)
    plain = normalise(pixels)
    noise = normalise(pixels, [(Erasure(*place, "pixel", 5),)])
    assert abs(float(noise[inside].mean())) < 0.1
    assert abs(float(noise[inside].std()) - 1) < 0.1
    assert torch.equal(noise, normalise(pixels, [(Erasure(*place, "pixel", 5),)]))
    assert not torch.equal(noise, normalise(pixels, [(Erasure(*place, "pixel", 6),)]))
    colour = normalise(pixels, [(Erasure(*place, "rand", 5),)])
    assert len(colour[inside].flatten(1).unique(dim=1).T) == 1
    assert (normalise(pixels, [(Erasure(*place, "const", 5),)])[inside] == 0).all()
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[10:40, 20:60] = False
    assert torch.equal(noise[0][:, outside], plain[0][:, outside])
