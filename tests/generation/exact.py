"""A generator that is known in closed form: every picture of a class has one colour."""

from __future__ import annotations

import torch
from torch import Tensor

from phonecv.generation.diffusion import ALPHA_PRODUCTS
from phonecv.generation.opening import GenerateRunner, Noisy
from phonecv.preprocessing import Preprocessing

SIDE = 16
NAMES = ("red", "green", "blue")
#: Of each class, values -1..1.
COLOURS = torch.tensor([[0.8, -0.6, -0.6], [-0.6, 0.8, -0.6], [-0.6, -0.6, 0.8]])


def exact_noise(given: Noisy) -> Tensor:
    """The noise in a picture whose class is known; the variance at its lower bound."""
    kept = torch.from_numpy(ALPHA_PRODUCTS).float()[given.timesteps.long()][:, None, None, None]
    grey = torch.cat([COLOURS, COLOURS.mean(0, keepdim=True)])
    clean = grey[given.classes.long()][:, :, None, None].expand_as(given.pictures)
    noise = (given.pictures - kept**0.5 * clean) / (1 - kept) ** 0.5
    return torch.cat([noise, torch.full_like(noise, -1.0)], 1)


def exact_runner() -> GenerateRunner:
    spec = Preprocessing(SIDE, 1.0, "bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    return GenerateRunner("an exact generator", exact_noise, NAMES, preprocessing=spec, size=SIDE)
