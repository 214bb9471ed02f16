"""What training does to a picture, as a checked record; `phonecv.data.folders.transforms` turns it into a transform."""

from __future__ import annotations

import re
from dataclasses import dataclass

from phonecv.errors import UserError, did_you_mean
from phonecv.text import quoted

_ERASING_MODES = ("pixel", "rand", "const")
_INTERPOLATIONS = ("random", "bilinear", "bicubic")
_READINGS = ("fast", "exact")

#: Policy of timm's automatic augmentation -> the parts that may follow it. Checked here because timm itself passes over
#: parts it does not understand, such as "mnine".
_INTEGER, _NUMBER = r"\d+", r"\d+(\.\d+)?"
_POLICIES = {
    "rand": rf"(m|n|mmax){_INTEGER}|inc[01]|(p|mstd){_NUMBER}|t(weights|3aw?)",
    **dict.fromkeys(("original", "originalr", "v0", "v0r", "3a"), rf"mstd{_NUMBER}"),
    "augmix": rf"(m|w|b){_INTEGER}|d-?{_INTEGER}|(a|mstd){_NUMBER}",
}


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """What training does to a picture.

    Attributes:
        scale: range of the share of the picture's area that the random crop takes.
        ratio: range of the crop's aspect ratio.
        hflip: probability of a left-right flip.
        vflip: probability of an upside-down flip.
        auto_augment: timm's text, such as "rand-m9-mstd0.5-inc1", "original-mstd0.5", "augmix-m5-w4-d2"; None for none.
        magnitude_scale: factor on the magnitude of every operation of `auto_augment`, for curricula.
        color_jitter: strength of random brightness, contrast and saturation; as in timm, off if `auto_augment` is on.
        erasing: probability that a random rectangle of the normalised tensor is replaced.
        erasing_mode: by what: "pixel" (noise), "rand" (one random colour) or "const" (the mean).
        erasing_count: most rectangles in one picture.
        interpolation: of the random crop: "bilinear", "bicubic", or "random" for either.
        reading: "fast" decodes what the crop needs and resizes with torch; "exact" does all with Pillow, as timm does,
            in about twice the time. The random decisions are the same, the pixels nearly so.

    Raises:
        UserError: a value is out of range.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    vflip: float = 0.0
    auto_augment: str | None = None
    magnitude_scale: float = 1.0
    color_jitter: float = 0.0
    erasing: float = 0.0
    erasing_mode: str = "pixel"
    erasing_count: int = 1
    interpolation: str = "random"
    reading: str = "fast"

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise UserError(f"augment.scale {self.scale} needs 0 < lowest <= highest <= 1, such as (0.08, 1.0)")
        low, high = self.ratio
        if not 0 < low <= high:
            raise UserError(f"augment.ratio {self.ratio} needs 0 < lowest <= highest, such as (0.75, 1.333)")
        for name in ("hflip", "vflip", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augment.{name} {getattr(self, name)} is not a probability (0 to 1)")
        if self.magnitude_scale < 0 or self.color_jitter < 0 or self.erasing_count < 1:
            raise UserError("augment.magnitude_scale and color_jitter have to be >= 0, erasing_count >= 1")
        choices = {"interpolation": _INTERPOLATIONS, "erasing_mode": _ERASING_MODES, "reading": _READINGS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"augment.{name} {getattr(self, name)!r} is not one of {', '.join(known)}")
        if self.auto_augment:
            _check_policy(self.auto_augment)


def _check_policy(text: str) -> None:
    policy, *parts = text.split("-")
    if policy not in _POLICIES:
        problem = f"unknown policy {quoted(policy)}{did_you_mean(policy, _POLICIES)}"
    elif strange := [part for part in parts if not re.fullmatch(_POLICIES[policy], part)]:
        problem = f"unknown part {quoted(strange[0])}"
    else:
        return
    raise UserError(
        f"augment.auto_augment {quoted(text)} is not understood: {problem}; known policies: {', '.join(_POLICIES)},"
        " for instance rand-m9-mstd0.5-inc1, original-mstd0.5, augmix-m5-w4-d2"
    )
