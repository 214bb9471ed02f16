"""Windows over a picture that is too large to be looked at in one piece."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phonecv.errors import UserError


@dataclass(frozen=True, slots=True)
class Windows:
    """Sliding windows.

    Attributes:
        crop: side of the windows, pixels.
        stride: from one window to the next; the last ones are moved back to end with the picture.

    Raises:
        UserError: they leave gaps.
    """

    crop: int
    stride: int

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.crop:
            raise UserError(
                f"windows of {self.crop} pixels every {self.stride} would leave gaps; the stride is 1 to {self.crop}"
            )

    def starts(self, length: int) -> list[int]:
        """First pixels of the windows along an axis."""
        count = math.ceil(max(length - self.crop, 0) / self.stride) + 1
        return [max(min(i * self.stride, length - self.crop), 0) for i in range(count)]

    def views(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """All windows of a picture: left, top, right, bottom."""
        return [
            (left, top, min(left + self.crop, width), min(top + self.crop, height))
            for top in self.starts(height)
            for left in self.starts(width)
        ]


def tile_windows(side: int, overlap: float) -> Windows:
    """Tiles of a side, each of which shows a share of that of the next one, too."""
    return Windows(side, max(1, round(side * (1 - overlap))))
