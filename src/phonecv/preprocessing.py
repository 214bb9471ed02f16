"""How a picture becomes an input tensor: a small record that travels with every model and file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from phonecv.errors import UserError, did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Evaluation preprocessing: short side to `resize`, centre crop of `size`, scale to 0..1, normalise.

    Attributes:
        size: side of the square crop, pixels.
        crop: share of the resized short side that the crop keeps, 0 < crop <= 1.
        interpolation: "bilinear" or "bicubic", antialiased (Pillow's).
        mean: per RGB channel, of values in 0..1.
        std: per RGB channel, of values in 0..1.

    Raises:
        UserError: a field is out of range.
    """

    size: int = 224
    crop: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and self.size >= 1):
            raise UserError(f"input size {self.size!r} is not a positive whole number of pixels, such as 224")
        if not 0 < self.crop <= 1:
            raise UserError(f"crop {self.crop!r} is not in (0, 1]; the usual value is 0.875")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise UserError(f"{name} {getattr(self, name)!r} needs three values, one per RGB channel")
        if min(self.std) <= 0:
            raise UserError(f"std {self.std!r} holds a value that is not positive")

    @property
    def resize(self) -> int:
        """Length of the short side before the crop, pixels (224 at crop 0.875 gives 256)."""
        return int(self.size / self.crop)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The record written by `to_dict`.

        Raises:
            UserError: an unknown key, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise UserError(
                    f"unknown preprocessing field {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})"
                )
        plain = dict(values)
        for key in ("mean", "std"):
            if key in plain:
                plain[key] = tuple(float(value) for value in plain[key])
        return cls(**plain)
