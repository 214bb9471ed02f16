"""Files to pixels: what a transform that reads files itself looks like, and the one for evaluation.

Nothing here imports torchvision or timm, which takes longer than loading a network and evaluating a thousand pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from phonecv.data.pictures.normalising import Erasure, Normalise
from phonecv.data.pictures.opening import open_image
from phonecv.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

Transform = Callable[[Image.Image], "Tensor"]

#: Pillow's filters by their names in a `Preprocessing`.
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

#: Pictures longer than this many times their short side are cut to it before they are resized by the short side:
#: 3000 x 1 pixels would become 768000 x 256 otherwise. The centre crop afterwards keeps far less than that.
MAX_ASPECT = 16


class Pixels(NamedTuple):
    """A picture (3 H W) on its way to the network, in bytes or normalised, and rectangles to be replaced after that."""

    image: Tensor
    erasures: tuple[Erasure, ...] = ()


class Reader(ABC):
    """A transform that reads the file itself and leaves normalising to the batch.

    Attributes:
        side: of the square that it gives.
        normalise: what the batch still needs.
        seeded: whether it draws random numbers.
    """

    side: int
    normalise: Normalise
    seeded: bool

    @property
    def bytes(self) -> int:
        """Of what it gives."""
        return 3 * self.side**2

    @abstractmethod
    def read(self, path: Path) -> Pixels:
        """The picture at `path`; raises an ImageError if it can't be used."""

    def blank(self) -> Pixels:
        """A black picture."""
        import torch

        return Pixels(torch.zeros(3, self.side, self.side, dtype=torch.uint8))


def eval_transform(preprocessing: Preprocessing) -> EvalTransform:
    """Short side to ``int(size / crop)`` by Pillow, centre crop, scale to 0..1, normalise."""
    return EvalTransform(preprocessing)


class EvalTransform(Reader):
    """See `eval_transform`. Files are decoded in full, and every pixel is what Pillow makes it."""

    seeded = False

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing, self.side = preprocessing, preprocessing.size
        self.normalise = Normalise(preprocessing.mean, preprocessing.std)
        self._resample = FILTERS[preprocessing.interpolation]

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB picture as 3 H W, float32."""
        return self.normalise(self.pixels(image)[None])[0]

    def read(self, path: Path) -> Pixels:
        """See `Reader`."""
        return Pixels(self.pixels(open_image(path, bits=self.preprocessing.bits)))

    def pixels(self, image: Image.Image) -> Tensor:
        """An RGB picture as 3 H W, uint8, still to be normalised."""
        return to_tensor(self._cropped(image))

    def array(self, path: Path) -> np.ndarray:
        """As `read`, H W 3, without torch."""
        return np.array(self._cropped(open_image(path, bits=self.preprocessing.bits)))

    def _cropped(self, image: Image.Image) -> Image.Image:
        return resized_centre(LimitAspect()(image), self.preprocessing, self._resample)

    def __repr__(self) -> str:
        return f"EvalTransform({self.preprocessing})"


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as 3 H W, uint8, its colours side by side in memory."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def planes(image: Image.Image) -> Tensor:
    """An RGB picture as 3 H W, uint8, one colour after the other in memory, as detectors and segmenters take it."""
    return to_tensor(image).contiguous()


def resized_centre(image: Image.Image, preprocessing: Preprocessing, resample: Image.Resampling) -> Image.Image:
    """Short side to `preprocessing.resize`, then the centre of `preprocessing.size`, as torchvision places it."""
    size, short = preprocessing.size, preprocessing.resize
    width, height = image.size
    scaled = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = (round((side - size) / 2) for side in scaled)
    return image.resize(scaled, resample).crop((left, top, left + size, top + size))


class LimitAspect:
    """Cuts the ends off a picture that is longer than `MAX_ASPECT` times its short side; leaves any other as it is."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture, or its middle."""
        width, height = image.size
        longest = MAX_ASPECT * min(width, height)
        if max(width, height) <= longest:
            return image
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        return image.crop((left, top, left + min(width, longest), top + min(height, longest)))

    def __repr__(self) -> str:
        return f"LimitAspect({MAX_ASPECT})"
