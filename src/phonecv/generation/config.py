"""What a training of a generator sets, and how pictures are sampled. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from phonecv.options import Checked
from phonecv.settings import Range


@dataclass(frozen=True, slots=True)
class Sampling(Checked):
    """How noise becomes a picture.

    Attributes:
        sampler: "ddpm", with noise at every step (DiT: 250 steps); "ddim", with noise once, needs fewer steps.
        steps: of the training's 1000, evenly spread.
        guidance: how far to go from no class to the class asked for: 1 to the class itself; more, further: clearer
            pictures, less alike the data (classifier-free guidance, Ho and Salimans, arXiv 2207.12598).
    """

    sampler: Literal["ddpm", "ddim"] = "ddpm"
    steps: Annotated[int, Range(1, 1000)] = 250
    guidance: Annotated[float, Range(0)] = 1.0
