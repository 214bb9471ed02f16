"""What training does to pictures and their label maps: as the published systems do it, and milder for small data sets.

Both are resized, cropped and flipped together, label maps only ever by their nearest pixel. Pictures stay bytes; the
network normalises them. Everything random comes from torch's global generator, seeded by the data set for every sample.
For evaluation there is nothing to do here: the network resizes pictures itself, and scores count at the original size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from phonecv.data.labelmaps.listing import IGNORE
from phonecv.data.pictures.colours import hue_turned, saturated
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing


def train_transform(
    crop: int | tuple[int, int],
    preprocessing: DensePreprocessing,
    *,
    ratio: tuple[float, float] = (0.5, 2.0),
    hflip: float = 0.5,
) -> v2.Compose:
    """The published training transform: resize by a random ratio, varied crop, flip, photometric distortion, pad.

    Args:
        crop: side of the result, or its height and width.
        preprocessing: the network's; its size times the ratio is what pictures are resized to, and its mean is what
            small ones are padded with.
        ratio: range of the ratio.
        hflip: probability of a left-right flip.
    """
    return v2.Compose(
        [
            RandomResize(preprocessing, ratio),
            VariedCrop(crop),
            v2.RandomHorizontalFlip(hflip),
            ByteDistortion(),
            PadTo(crop, preprocessing.mean_colour),
        ]
    )


def light_transform(
    crop: int | tuple[int, int],
    preprocessing: DensePreprocessing,
    *,
    ratio: tuple[float, float] = (0.5, 2.0),
    aspect: float = 1.0,
    rotate: float = 0.0,
    shear: float = 0.0,
    elastic: float = 0.0,
    hflip: float = 0.5,
    color: float = 0.2,
) -> v2.Compose:
    """For small data sets: the same with any crop, milder colours, and label maps that stay on their pictures.

    The published transform resizes label maps by the pixel at the corner of each new one, pictures around its middle:
    so labels slip by half a pixel to the lower right, which thin things feel.

    Args:
        crop: side of the result, or its height and width.
        preprocessing: see `train_transform`.
        ratio: range of the ratio.
        aspect: most that width and height are stretched against each other.
        rotate: most that crops are turned either way, degrees.
        shear: most that crops lean to either side, degrees.
        elastic: most that crops are bent, pixels; see `RandomWarp`.
        hflip: probability of a left-right flip; 0 where left and right differ, as in writing.
        color: strength of random brightness, contrast and saturation; 0 for none.

    Raises:
        UserError: a value out of range.
    """
    resize = RandomResize(preprocessing, ratio, aspect=aspect, centered=True)
    cut: list[v2.Transform] = [resize, VariedCrop(crop, most=1.0, tries=0)]
    if rotate or shear or elastic:
        cut = [RandomWarp(crop, resize, rotate=rotate, shear=shear, elastic=elastic)]
    return v2.Compose(
        [
            *cut,
            v2.RandomHorizontalFlip(hflip),
            *([v2.ColorJitter(color, color, color)] if color else []),
            PadTo(crop, preprocessing.mean_colour),
        ]
    )


class RandomResize(v2.Transform):
    """To the size that a network takes, times a random ratio. Bilinear without antialiasing, as the networks resize.

    Args:
        preprocessing: the network's.
        ratio: range of the ratio.
        aspect: most that width and height are stretched against each other, the area staying the same.
        centered: label maps take the pixel nearest to the middle of each new one, as pictures do; False takes that
            nearest to its upper left corner, as OpenCV does and so the published systems.
    """

    def __init__(
        self,
        preprocessing: DensePreprocessing,
        ratio: tuple[float, float],
        *,
        aspect: float = 1.0,
        centered: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < ratio[0] <= ratio[1]:
            raise UserError(f"ratio {list(ratio)} must be positive and rise, for example [0.5, 2.0]")
        if aspect < 1:
            raise UserError(f"aspect {aspect} has to be at least 1, for example 1.2")
        self.preprocessing, self.ratio, self.aspect, self.centered = preprocessing, ratio, aspect, centered

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size of the result."""
        low, high = self.ratio
        factor = low + (high - low) * float(torch.rand(()))
        spec = self.preprocessing
        size = max(1, int(spec.size * factor))
        longest = None if spec.longest is None else max(size, int(spec.longest * factor))
        height, width = F.get_size(flat_inputs[0])
        tall, wide = replace(spec, size=size, longest=longest).target(height, width)
        if self.aspect > 1:
            stretch = self.aspect ** (float(torch.rand(())) - 0.5)
            tall, wide = max(1, round(tall / stretch)), max(1, round(wide * stretch))
        return {"size": [tall, wide]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """A picture or label map resized; torchvision takes the nearest pixel for a `tv_tensors.Mask`."""
        if self.centered and isinstance(inpt, tv_tensors.Mask):
            nearest = v2.InterpolationMode.NEAREST_EXACT
            return tv_tensors.Mask(F.resize_image(inpt.as_subclass(Tensor)[None], params["size"], nearest)[0])
        return F.resize(inpt, params["size"], v2.InterpolationMode.BILINEAR, antialias=False)


class VariedCrop(v2.Transform):
    """A random rectangle, drawn again until it shows two classes or more, none on too much of what is labelled.

    Pictures that are smaller keep what they have; see `PadTo`.

    Args:
        size: side of a square, or height and width.
        most: a class on this share of the labelled pixels, or more, is too much.
        tries: after so many the next one is taken, whatever it shows.
    """

    def __init__(self, size: int | tuple[int, int], *, most: float = 0.75, tries: int = 10) -> None:
        super().__init__()
        self.size, self.most, self.tries = _sides(size), most, tries

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The rectangle."""
        height, width = F.get_size(flat_inputs[0])
        labels = next((one for one in flat_inputs if isinstance(one, tv_tensors.Mask)), None)
        box = self._box(height, width)
        if labels is None or (height <= self.size[0] and width <= self.size[1]):
            return box
        for _ in range(self.tries):
            if self.varied(F.crop(labels, **box)):
                break
            box = self._box(height, width)
        return box

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """A picture or label map cropped."""
        return F.crop(inpt, **params)

    def varied(self, labels: Tensor) -> bool:
        """Whether a label map shows enough."""
        counts = torch.bincount(labels.as_subclass(Tensor).reshape(-1), minlength=IGNORE + 1)[:IGNORE]
        return int((counts > 0).sum()) > 1 and int(counts.max()) < self.most * int(counts.sum())

    def _box(self, height: int, width: int) -> dict[str, int]:
        tall, wide = min(self.size[0], height), min(self.size[1], width)
        top, left = (int(torch.randint(room + 1, ())) for room in (height - tall, width - wide))
        return {"top": top, "left": left, "height": tall, "width": wide}


#: Cells of the grid that bends crops, along the longer side.
BENDS = 7


class RandomWarp(v2.Transform):
    """Resize, crop, turn, lean and bend in one resampling, so that a crop shows the picture to its very corners.

    Bending moves the points of a coarse grid at random and all others smoothly with them: the augmentation that taught
    the first UNet from thirty pictures (Ronneberger et al., arXiv 1505.04597, section 3.1, with a grid of 3 x 3).

    Outside of it the picture is mirrored, so that BatchNorm sees nothing but pictures; labels are ignored there.

    Args:
        size: side of the result, or its height and width.
        resize: draws how large the picture is before the crop.
        rotate: most that crops are turned either way, degrees.
        shear: most that crops lean to either side, degrees.
        elastic: the grid's points move by a normal distribution of this many pixels of the crop at most; how many is
            drawn for every crop.

    Raises:
        UserError: a value out of range.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        resize: RandomResize,
        *,
        rotate: float = 0.0,
        shear: float = 0.0,
        elastic: float = 0.0,
    ) -> None:
        super().__init__()
        if not (0 <= rotate <= 180 and 0 <= shear < 90):
            raise UserError(f"rotate {rotate} has to be 0..180 degrees and shear {shear} 0..89, for example 10")
        if elastic < 0:
            raise UserError(f"elastic {elastic} has to be 0 or more pixels, for example 3")
        self.size, self.resize, self.rotate, self.shear, self.elastic = _sides(size), resize, rotate, shear, elastic

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """For every pixel of the crop the place in the picture that it shows, in pixels, and whether that is inside."""
        height, width = F.get_size(flat_inputs[0])
        tall, wide = self.resize.make_params(flat_inputs)["size"]
        turn, lean, strength = (2 * torch.rand(3, dtype=torch.float64) - 1).tolist()
        rows, columns = (torch.arange(side, dtype=torch.float32) + 0.5 - side / 2 for side in self.size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")  # from the middle of the crop
        if self.elastic:
            moved = self._bend() * (self.elastic * abs(strength))
            y, x = y + moved[0], x + moved[1]
        x = x + y * math.tan(math.radians(self.shear * lean))
        cos, sin = (part(math.radians(self.rotate * turn)) for part in (math.cos, math.sin))
        y, x = sin * x + cos * y, cos * x - sin * y
        # The middle of the crop, in the resized picture; smaller pictures begin at the upper left.
        top, left = (
            float(torch.rand(())) * max(0, full - part) for full, part in zip((tall, wide), self.size, strict=True)
        )
        y, x = y + (top + self.size[0] / 2), x + (left + self.size[1] / 2)
        y, x = y * (height / tall), x * (width / wide)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return {"y": _mirrored(y, height), "x": _mirrored(x, width), "inside": inside}

    def _bend(self) -> Tensor:
        """How far each pixel of the crop moves down and to the right, ``2 H W``, as a share of the strength."""
        cell = max(self.size) / BENDS
        points = torch.randn(1, 2, *(math.ceil(side / cell) + 1 for side in self.size))
        return torch.nn.functional.interpolate(points, self.size, mode="bicubic", align_corners=True)[0]

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """A picture sampled bilinearly, or a label map at the nearest pixel."""
        y, x = params["y"], params["x"]
        height, width = F.get_size(inpt)
        plain = inpt.as_subclass(Tensor)
        if isinstance(inpt, tv_tensors.Mask):
            found = plain[y.long().clamp_(max=height - 1), x.long().clamp_(max=width - 1)]
            return tv_tensors.wrap(torch.where(params["inside"], found, IGNORE), like=inpt)
        # Of a large picture only the part that the crop shows is made to floats.
        top, left = max(0, int(y.min()) - 1), max(0, int(x.min()) - 1)
        part = plain[:, top : int(y.max()) + 2, left : int(x.max()) + 2].float()
        across, down = 2 * (x - left) / part.shape[2] - 1, 2 * (y - top) / part.shape[1] - 1
        grid = torch.stack([across, down], -1)[None]
        sampled = torch.nn.functional.grid_sample(part[None], grid, padding_mode="border", align_corners=False)[0]
        return tv_tensors.wrap(_bytes(sampled.round_()), like=inpt)


def _mirrored(places: Tensor, side: int) -> Tensor:
    """Places on an axis, those outside of ``0..side`` mirrored at its ends as often as it takes."""
    places = places.remainder(2 * side)
    return torch.minimum(places, 2 * side - places)


def _sides(crop: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    sides = (crop, crop) if isinstance(crop, int) else crop
    if min(sides) < 1:
        raise UserError(f"crop {crop} is not a positive whole number of pixels, or two of them")
    return sides


class ByteDistortion(v2.Transform):
    """Random brightness, contrast, saturation and hue, one after the other on bytes, clipped and cut to whole numbers.

    Contrast comes second or last. Each with probability one half: brightness adds -32 to 32; contrast multiplies by 0.5
    to 1.5; saturation multiplies the S of HSV by as much; hue turns by -18 to 17 of 180 steps. Unlike the distortion of
    detectors, channels are not shuffled.
    """

    _transformed_types = (tv_tensors.Image,)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """What is done in which order; None for what is left out."""
        contrast_first, *done = torch.rand(5).lt(0.5).tolist()
        shift, factor, colourful = (2 * torch.rand(3, dtype=torch.float64) - 1).tolist()
        values = (32 * shift, 1 + 0.5 * factor, 1 + 0.5 * colourful, int(torch.randint(-18, 18, ())))
        names = ("brightness", "contrast", "saturation", "hue")
        chosen = {name: value if use else None for name, value, use in zip(names, values, done, strict=True)}
        return {"contrast_first": contrast_first, **chosen}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """A picture distorted."""
        image = inpt.as_subclass(Tensor)
        if params["brightness"] is not None:
            image = _bytes(image.float().add_(params["brightness"]))
        if params["contrast_first"]:
            image = self._contrast(image, params["contrast"])
        if params["saturation"] is not None:
            image = _bytes(saturated(image.float(), params["saturation"]) + 0.5)
        if params["hue"]:
            image = _bytes(hue_turned(image.float(), 2 * params["hue"]) + 0.5)
        if not params["contrast_first"]:
            image = self._contrast(image, params["contrast"])
        return tv_tensors.wrap(image, like=inpt)

    @staticmethod
    def _contrast(image: Tensor, factor: float | None) -> Tensor:
        return image if factor is None else _bytes(image.float().mul_(factor))


def _bytes(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


class PadTo(v2.Transform):
    """At least so large, padded at the right and bottom: pictures by their mean, label maps by 255.

    A network's input is to be zero there. As pictures are still bytes, it is so to within half a gray level.
    """

    def __init__(self, size: int | tuple[int, int], mean: Sequence[float]) -> None:
        super().__init__()
        self.size, self.fill = _sides(size), [float(round(255 * value)) for value in mean]

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Left, top, right, bottom."""
        height, width = F.get_size(flat_inputs[0])
        return {"padding": [0, 0, max(0, self.size[1] - width), max(0, self.size[0] - height)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """A picture or label map padded."""
        if not any(params["padding"]):
            return inpt
        return F.pad(inpt, params["padding"], fill=IGNORE if isinstance(inpt, tv_tensors.Mask) else self.fill)
