"""What the verbs take for generators beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from phonecv import options
from phonecv.options import Checked, Count, VerbOptions
from phonecv.settings import Range

Seed = Annotated[int, Range(low=0)]


@dataclass(frozen=True, slots=True)
class Sampling(Checked):
    """How noise becomes a picture.

    Attributes:
        sampler: ddpm, with new noise at every step, or ddim, with noise once, which makes do with fewer steps.
        steps: Of the training's 1000, evenly spread; 250 by default, as DiT's.
        guidance: How far to go from no class to the class asked for, 1 to the class itself; more makes it clearer, and
            pictures less like the data (classifier-free guidance, Ho and Salimans, arXiv 2207.12598).
    """

    sampler: Literal["ddpm", "ddim"] = "ddpm"
    steps: Annotated[int, Range(1, 1000)] = 250
    guidance: Annotated[float, Range(0)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions(Sampling, options.GenerateOptions):
    """Of `phonecv.generate`.

    Attributes:
        classes: What to make, names or numbers separated by commas, in turn; all by default.
        count: Pictures, 16 by default.
        seed: Of the noise; picture number i of a seed is the same however many are made.
        autoencoder: Of generators that work on its latents, the folder or file (Stable Diffusion's).
    """

    classes: str | tuple[int | str, ...] = "all"
    count: Count = 16
    seed: Seed = 0
    autoencoder: Path | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(Sampling, options.EvaluateOptions):
    """Of `phonecv.evaluate`.

    Attributes:
        features: What pictures are compared by, a classifier's checkpoint, or weights of Inception v3 (torch-fidelity's
            for published distances, or torchvision's).
        count: Pictures to make; by default as many as the data has.
        seed: Of the noise.
        autoencoder: Of generators that work on its latents, the folder or file (Stable Diffusion's).
    """

    features: Path | str | None = None
    count: Count | None = None
    seed: Seed = 0
    autoencoder: Path | str | None = None


OPTIONS: dict[str, type[VerbOptions]] = {"generate": GenerateOptions, "evaluate": EvaluateOptions}
RESULTS: dict[str, str] = {}
