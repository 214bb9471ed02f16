"""Pictures of samples: from values to bytes, and many in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

#: Pictures in a grid.
MOST = 100


def to_bytes(pictures: Tensor) -> Tensor:
    """``B 3 H W``, or gray ``B 1 H W``, with values -1..1 -> ``B 3 H W`` uint8; what lies beyond is cut."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().expand(-1, 3, -1, -1)


def to_images(pictures: Tensor) -> list[Image.Image]:
    """``B 3 H W`` uint8 -> pictures of Pillow."""
    return [Image.fromarray(one) for one in pictures.permute(0, 2, 3, 1).numpy()]


def save_grid(pictures: Tensor, path: Path | str, *, columns: int | None = None, captions: Sequence[str] = ()) -> Path:
    """The first pictures (``B 3 H W``, uint8) in rows, with captions below."""
    from phonecv.plots import save_image_grid  # matplotlib, for those who want pictures

    shown = to_images(pictures[:MOST])
    named = list(captions[:MOST]) or [""] * len(shown)
    return save_image_grid(shown, named, path, columns=columns, cell=(0.9, 0.9))
