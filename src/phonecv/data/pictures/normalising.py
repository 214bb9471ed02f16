"""The last steps from pixels to network input, for a whole batch at once and where the network is.

Pictures travel from the workers as bytes, a quarter of what floats take. Scaling and normalising them is one pass over
the batch, on whatever device it is by then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the picture that one erased rectangle takes, and the range of its height over its width (as timm's).
_AREA = (0.02, 1 / 3)
_LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))
_ATTEMPTS = 10

#: Pictures that are normalised together on a CPU.
_FEW = 4


class Erasure(NamedTuple):
    """A rectangle replaced after normalising: by "pixel" (noise), "rand" (one random colour) or "const" (the mean)."""

    top: int
    left: int
    height: int
    width: int
    mode: str
    seed: int

    def values(self, channels: int = 3) -> Tensor:
        """channels height width or channels 1 1: what stands there afterwards; random values have variance one."""
        import torch

        if self.mode == "const":
            return torch.zeros(channels, 1, 1)
        generator = torch.Generator().manual_seed(self.seed)
        shape = (channels, self.height, self.width) if self.mode == "pixel" else (channels, 1, 1)
        return torch.empty(shape).normal_(generator=generator)


@dataclass(frozen=True, slots=True)
class Normalise:
    """Bytes to floats: scaled to 0..1, less `mean`, divided by `std`, in torchvision's order of operations.

    With one mean colours become gray first, to the bit as Pillow converts to "L" (the luma of ITU-R 601-2).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor, erasures: Sequence[Sequence[Erasure]] = ()) -> Tensor:
        """Float32 of the layout of `pixels`, B 3 H W bytes; `erasures` are rectangles of every picture, or none.

        Where there is one mean, B 1 H W.
        """
        images = self._scaled(pixels if len(self.mean) == pixels.shape[1] else gray(pixels, 1))
        for image, rectangles in zip(images, erasures, strict=False):
            for one in rectangles:
                area = image[:, one.top : one.top + one.height, one.left : one.left + one.width]
                area.copy_(one.values(len(self.mean)).to(image.device, non_blocking=True).expand_as(area))
        return images

    def arrays(self, pixels: np.ndarray) -> np.ndarray:
        """The same to the bit, without torch: B H W 3 bytes -> B 3 H W, or B 1 H W."""
        values = (pixels if len(self.mean) == pixels.shape[-1] else gray(pixels, -1)).astype(np.float32)
        values /= np.float32(255)
        values -= np.asarray(self.mean, np.float32)
        values /= np.asarray(self.std, np.float32)
        return values.transpose(0, 3, 1, 2)

    def _scaled(self, pixels: Tensor) -> Tensor:
        import torch

        mean, std = torch.tensor(self.mean, device=pixels.device), torch.tensor(self.std, device=pixels.device)
        channels, width, last = pixels.shape[1], pixels.shape[-1], pixels.movedim(1, -1)
        if pixels.is_contiguous() or not last.is_contiguous():
            source, mean, std = pixels, *(one.view(channels, *[1] * (pixels.ndim - 2)) for one in (mean, std))
        else:
            # Rows at a time: an innermost axis of three takes seven times as long.
            source, mean, std = last.flatten(-2), mean.repeat(width), std.repeat(width)
        result = torch.empty(source.shape, device=pixels.device)
        # A few pictures at a time stay in a processor's cache from one operation to the next.
        few = _FEW if pixels.device.type == "cpu" else max(1, len(pixels))
        for values, raw in zip(result.split(few), source.split(few), strict=True):
            values.copy_(raw).div_(255).sub_(mean).div_(std)
        if source is pixels:
            return result
        return result.view(last.shape).movedim(-1, 1)


#: Shares of red, green and blue in gray, of 65536, as Pillow has them.
LUMA = (19595, 38470, 7471)


def gray(pixels: Any, axis: int) -> Any:
    """Bytes of three colours along an axis, as an array or a tensor, to one: Pillow's ``convert("L")``."""
    wide = pixels.astype(np.int32) if isinstance(pixels, np.ndarray) else pixels.int()
    parts = np.split(wide, 3, axis) if isinstance(wide, np.ndarray) else wide.split(1, axis)
    red, green, blue = (share * part for share, part in zip(LUMA, parts, strict=True))
    luma = (red + green + blue + 0x8000) >> 16
    return luma.astype(np.uint8) if isinstance(luma, np.ndarray) else luma.byte()


def choose_erasures(probability: float, mode: str, count: int, size: int) -> tuple[Erasure, ...]:
    """Random rectangles of a square picture, drawn like timm's random erasing draws them."""
    if not probability or random.random() > probability:
        return ()
    chosen = []
    number = random.randint(1, count) if count > 1 else 1
    for _ in range(number):
        for _ in range(_ATTEMPTS):
            area = random.uniform(*_AREA) * size * size / number
            aspect = math.exp(random.uniform(*_LOG_ASPECT))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < size and width < size:
                top, left = random.randint(0, size - height), random.randint(0, size - width)
                chosen.append(Erasure(top, left, height, width, mode, random.getrandbits(63)))
                break
    return tuple(chosen)
