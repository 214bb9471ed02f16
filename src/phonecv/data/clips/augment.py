"""What training does to a clip, as a checked record; `phonecv.data.clips.transforms` makes a transform of it."""

from __future__ import annotations

from dataclasses import dataclass

from phonecv.errors import UserError


@dataclass(frozen=True, slots=True)
class ClipAugment:
    """What training does to a clip, to all its frames alike. The defaults are those published.

    Attributes:
        resize: short side before everything else, as a multiple of the crop's (192 for 160 pixels).
        rand_augment: operations and magnitude, of 31, of RandAugment; null for none.
        scale: range of the share of the area that the random crop takes.
        ratio: range of the crop's aspect ratio.
        hflip: probability of a left-right flip; 0 where left and right matter.

    Raises:
        UserError: a value is out of range.
    """

    resize: float = 1.2
    rand_augment: tuple[int, int] | None = (4, 7)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5

    def __post_init__(self) -> None:
        for name, top in (("scale", 1.0), ("ratio", float("inf"))):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                raise UserError(f"clips.{name} {[low, high]} needs 0 < lowest <= highest" + " <= 1" * (name == "scale"))
        if not self.resize >= 1:
            raise UserError(f"clips.resize {self.resize} is less than 1, the side of the crop itself")
        if not 0 <= self.hflip <= 1:
            raise UserError(f"clips.hflip {self.hflip} is not a probability (0 to 1)")
        if self.rand_augment is not None and not (self.rand_augment[0] >= 1 and 0 <= self.rand_augment[1] < 31):
            raise UserError(f"clips.rand_augment {list(self.rand_augment)} needs operations >= 1 and magnitude 0 to 30")
