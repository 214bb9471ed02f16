"""Pictures for tests."""

from __future__ import annotations

import numpy as np
from PIL import Image


def noise(size: tuple[int, int] = (40, 32), seed: int = 0) -> Image.Image:
    """A picture with smooth random colours, so that crops and flips of it differ."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
