"""How a picture becomes an input tensor: a small record that travels with every model and file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from phonecv.errors import UserError, did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RGB = 3
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Normalising:
    """What all preprocessing has.

    Attributes:
        mean: per RGB channel, or of gray, of values in 0..1.
        std: likewise.
        bits: that the values of 16-bit gray pictures hold, 8 to 16; None goes by the pictures at hand.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bits: int | None = None

    def _check_values(self) -> None:
        count = 1 if len(self.mean) == 1 else RGB
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != count or not all(map(_is_number, values)):
                needs = "one number, as the mean" if count == 1 else "three numbers, one per RGB channel"
                raise UserError(f"{name} {values!r:.80} needs {needs}")
        if min(self.std) <= 0:
            raise UserError(f"std {self.std!r} holds a value that is not positive")
        if self.bits is not None and not (isinstance(self.bits, int) and 8 <= self.bits <= 16):
            raise UserError(f"bits {self.bits!r} is not a whole number from 8 to 16")

    @property
    def channels(self) -> int:
        """Of the network's input: 3, or 1 for gray."""
        return len(self.mean)

    @property
    def mean_colour(self) -> tuple[float, ...]:
        """The mean as a colour of three, for what is put around RGB pictures."""
        return self.mean * (RGB // len(self.mean))

    def of_channels(self, channels: int) -> Self:
        """The same for a network of one channel: mean and std are those of the three colours on average."""
        if channels != 1 or len(self.mean) == 1:
            return self
        return replace(self, mean=(sum(self.mean) / RGB,), std=(sum(self.std) / RGB,))

    @classmethod
    def _names(cls) -> list[str]:
        """Its own fields before those that all have."""
        return [one.name for one in sorted(fields(cls), key=lambda one: bool(one.kw_only))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self._names()}
        values |= {"mean": list(self.mean), "std": list(self.std)}
        if self.bits is None:  # most networks never meet such pictures
            del values["bits"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The record written by `to_dict`."""
        known, plain = cls._names(), dict(values)
        for key in values:
            if key not in known:
                raise UserError(
                    f"unknown preprocessing field {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})"
                )
        for key in [name for name in ("mean", "std") if name in plain]:
            if not isinstance(plain[key], list | tuple) or not all(map(_is_number, plain[key])):
                raise UserError(f"{key} {plain[key]!r:.80} needs three numbers, one per RGB channel")
            plain[key] = tuple(float(value) for value in plain[key])
        return cls(**plain)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e30 and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Preprocessing(_Normalising):
    """Evaluation preprocessing: short side to `resize`, centre crop of `size`, scale to 0..1, normalise.

    With one mean and std instead of three the network takes gray pictures: the crop is made gray, by Pillow's rule for
    "L", before values are scaled.

    Attributes:
        size: side of the square crop, pixels.
        crop: share of the resized short side that the crop keeps, 0 < crop <= 1.
        interpolation: "bilinear" or "bicubic", antialiased (Pillow's).

    Raises:
        UserError: a field is out of range.
    """

    size: int = 224
    crop: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size >= 1):
            raise UserError(f"input size {self.size!r} is not a positive whole number of pixels, such as 224")
        if not _is_number(self.crop) or not 0 < self.crop <= 1:
            raise UserError(f"crop {self.crop!r} is not in (0, 1]; the usual value is 0.875")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
        self._check_values()

    @property
    def resize(self) -> int:
        """Length of the short side before the crop, pixels (224 at crop 0.875 gives 256)."""
        return int(self.size / self.crop)

    def in_words(self) -> str:
        """What is done, on one line."""
        triples = " ".join(
            f"{name} {', '.join(f'{value:g}' for value in getattr(self, name))}" for name in ("mean", "std")
        )
        resize = f"short side to {self.resize} px ({self.interpolation})"
        gray = "gray, " if self.channels == 1 else ""
        return f"{resize}, centre crop {self.size} px, {gray}values 0..1, {triples}"


#: Coarsest stride of the backbones. Maps of all strides lie on each other exactly where it divides a picture's sides.
COARSEST_STRIDE = 32


@dataclass(frozen=True, slots=True)
class DensePreprocessing(_Normalising):
    """Preprocessing of detectors and segmenters: resize the whole picture, scale to 0..1, normalise, pad with zeros.

    With one mean and std instead of three the network takes gray pictures: the luma of what was resized and scaled.

    Attributes:
        size: side of the square that pictures are stretched to; with `longest` the length of the short side, pixels.
        longest: None for a square; otherwise the aspect is kept, and the long side is at most this, pixels.
        multiple: height and width are padded at the bottom and right to multiples of this; 1 for no padding.

    Raises:
        UserError: a field is out of range.
    """

    size: int = 320
    longest: int | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        for name in ("size", "multiple", "longest"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1) and not (name == "longest" and value is None):
                raise UserError(f"{name} {value!r} is not a positive whole number of pixels")
        if self.longest is not None and self.longest < self.size:
            raise UserError(f"longest {self.longest} is less than the short side's size {self.size}")
        self._check_values()

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing a picture of `height` x `width`, before padding."""
        if self.longest is None:
            return self.size, self.size
        factor = min(self.longest / max(height, width), self.size / min(height, width))
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def in_words(self) -> str:
        """How large pictures become, on one line."""
        gray = ", gray" if self.channels == 1 else ""
        if self.longest is None:
            return f"stretched to {self.size} x {self.size} px{gray}"
        return f"short side to {self.size} px, long side at most {self.longest} px{gray}"
