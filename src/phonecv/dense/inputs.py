"""Pictures of any size -> one normalised batch, and what undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.data.pictures.normalising import LUMA
from phonecv.errors import UserError
from phonecv.preprocessing import RGB, DensePreprocessing

#: Pixels of a picture that is handled with care for the memory.
_LARGE = 2**24


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch ready for a network.

    Attributes:
        batch: ``B C H W``, C as the network takes it, normalised; zeros where pictures end before the others do.
        sizes: height and width of every picture within the batch.
        originals: height and width as given.
    """

    batch: Tensor
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[tuple[int, int], ...]

    @property
    def scales(self) -> Tensor:
        """``B 2``, float32 on the batch's device: factors of x and y from given to prepared pictures."""
        return torch.tensor(
            [(w / w0, h / h0) for (h, w), (h0, w0) in zip(self.sizes, self.originals, strict=True)],
            device=self.batch.device,
        )

    def padded(self, multiple: int) -> tuple[tuple[int, int], ...]:
        """Height and width of every picture with the padding to multiples of its own, without that of the batch."""
        return tuple((-(-h // multiple) * multiple, -(-w // multiple) * multiple) for h, w in self.sizes)


def prepare(
    images: Sequence[Tensor] | Tensor, spec: DensePreprocessing, *, canvas: tuple[int, int] | None = None
) -> Prepared:
    """Resize (bilinear, without antialiasing, as the published systems do), make gray if wanted, normalise, pad, stack.

    A picture that has its target size already is not resampled, so a loader may resize beforehand.

    Args:
        images: RGB, ``3 H W`` each and of any sizes, or ``B 3 H W``; bytes, or floats in 0..1. Gray networks take
            ``1 H W`` as well.
        spec: how.
        canvas: height and width that the batch must have, whatever the sizes in `spec`: pictures are stretched to it,
            or made to fit into it where `spec` keeps their aspect. None where the network takes any.

    Raises:
        UserError: not pictures.
    """
    if not len(images):
        raise UserError("no pictures were given")
    for image in images:
        if image.ndim != 3 or image.shape[0] not in (RGB, spec.channels) or not image.numel():
            raise UserError(f"a picture has shape {tuple(image.shape)}; 3 x height x width is expected (RGB)")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise UserError(f"a picture holds {image.dtype}; bytes (uint8) or floats in 0..1 are expected")
    originals = tuple((int(image.shape[1]), int(image.shape[2])) for image in images)
    sizes = tuple(spec.target(*size) if canvas is None else _fitted(size, spec, canvas) for size in originals)
    tall, wide = canvas or (-(-max(size[axis] for size in sizes) // spec.multiple) * spec.multiple for axis in (0, 1))
    first = images[0]
    dtype = first.dtype if first.is_floating_point() else torch.float32
    mean = torch.tensor(spec.mean, dtype=dtype, device=first.device)[:, None, None]
    std = torch.tensor(spec.std, dtype=dtype, device=first.device)[:, None, None]
    large = any(height * width > _LARGE for height, width in originals)
    even = len(set(originals)) == 1 and sizes[0] == (tall, wide) and not large
    if even:  # one operation for all
        stacked = images if isinstance(images, Tensor) else torch.stack(list(images))
        return Prepared((_luma(_resized(_unit(stacked, dtype), sizes[0]), spec) - mean) / std, sizes, originals)
    batch = torch.zeros(len(images), spec.channels, tall, wide, dtype=dtype, device=first.device)
    for place, image, (h, w) in zip(batch, images, sizes, strict=True):
        # Of a large picture one colour at a time becomes floats, which take four times its memory.
        colours = image.split(1) if image[0].numel() > _LARGE else (image,)
        found = torch.cat([_resized(_unit(colour, dtype)[None], (h, w))[0] for colour in colours])
        place[:, :h, :w] = (_luma(found, spec) - mean) / std
    return Prepared(batch, sizes, originals)


def _fitted(size: tuple[int, int], spec: DensePreprocessing, canvas: tuple[int, int]) -> tuple[int, int]:
    if spec.longest is None:
        return canvas
    factor = min(room / side for room, side in zip(canvas, size, strict=True))
    height, width = (min(room, max(1, int(side * factor + 0.5))) for room, side in zip(canvas, size, strict=True))
    return height, width


def _luma(batch: Tensor, spec: DensePreprocessing) -> Tensor:
    """``... 3 H W`` as it is, or one channel of gray where the network takes that."""
    if spec.channels == batch.shape[-3]:
        return batch
    shares = torch.tensor(LUMA, dtype=batch.dtype, device=batch.device) / sum(LUMA)
    return (batch * shares[:, None, None]).sum(-3, keepdim=True)


def _unit(image: Tensor, dtype: torch.dtype) -> Tensor:
    return image.to(dtype) / 255 if image.dtype == torch.uint8 else image.to(dtype)


def _resized(batch: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(batch.shape[-2:]) == size:
        return batch
    return F.interpolate(batch, size=size, mode="bilinear", align_corners=False)
