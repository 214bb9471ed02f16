"""Shears and translations of a picture, several times faster than Pillow's.

Pillow asks a function for the source of every pixel and mixes 4 or 16 neighbours. In a shear or a translation along the
rows all pixels of a row move by the same distance, so a row is a mix of 2 or 4 shifted copies of itself. Results equal
Pillow's to one level: it cuts off what follows the point, so rounding decides where a value is nearly whole.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: Added before the digits behind the point are cut off: flat colours stay what they are.
_ROUNDING = 5e-4


def shear_x(img: Image.Image, factor: float, **options: Any) -> Image.Image:
    """timm's operation of that name."""
    return _move(img, factor * (np.arange(img.height) + 0.5), across=False, **options)


def shear_y(img: Image.Image, factor: float, **options: Any) -> Image.Image:
    """timm's operation of that name."""
    return _move(img, factor * (np.arange(img.width) + 0.5), across=True, **options)


def translate_x_rel(img: Image.Image, pct: float, **options: Any) -> Image.Image:
    """timm's operation of that name."""
    return _move(img, np.full(img.height, pct * img.width), across=False, **options)


def translate_y_rel(img: Image.Image, pct: float, **options: Any) -> Image.Image:
    """timm's operation of that name."""
    return _move(img, np.full(img.width, pct * img.height), across=True, **options)


#: By the names of timm's operations.
FASTER = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateXRel": translate_x_rel,
    "TranslateYRel": translate_y_rel,
}


def _move(
    img: Image.Image,
    shift: np.ndarray,
    *,
    across: bool,
    fillcolor: tuple[int, int, int],
    resample: Image.Resampling | tuple[Image.Resampling, ...],
) -> Image.Image:
    """Rows moved to the left by `shift` pixels each, or columns upwards where `across`."""
    if isinstance(resample, (tuple, list)):
        resample = random.choice(resample)  # as timm draws it
    # Four bytes a pixel, as Pillow holds them: rows and columns of whole pixels are cheaper to move than bytes.
    pixels = np.frombuffer(img.tobytes("raw", "RGBX"), np.uint32).reshape(img.height, img.width)
    fill = np.array([*fillcolor, 255], np.uint8).view(np.uint32)[0]
    moved = shift_rows(pixels.T if across else pixels, shift, fill, bicubic=resample == Image.Resampling.BICUBIC)
    return Image.frombytes("RGB", img.size, np.ascontiguousarray(moved.T if across else moved), "raw", "RGBX")


def shift_rows(pixels: np.ndarray, shift: np.ndarray, fill: np.uint32, *, bicubic: bool) -> np.ndarray:
    """Rows of a picture, each moved to the left by `shift` (H, pixels); `fill` comes from outside.

    Pixels are H W, four channels of 8 bits in each uint32; `bicubic` mixes four neighbours, not two.
    """
    height, width = pixels.shape
    whole = np.floor(shift)
    share = torch.from_numpy((shift - whole).astype(np.float32)[:, None])
    reach, before = (3, 1) if bicubic else (1, 0)
    start = np.clip(whole, -width - 2, width + 2).astype(np.int64) - before
    # Inside the picture, neighbours beyond its edge look like the edge.
    margin = max(-int(start.min()), int(start.max()) + reach, 0)
    padded = np.empty((height, width + 2 * margin), np.uint32)
    padded[:, margin : margin + width] = pixels
    padded[:, :margin] = pixels[:, :1]
    padded[:, margin + width :] = pixels[:, -1:]
    row, pixel = padded.strides
    windows = np.lib.stride_tricks.as_strided(
        padded, (height, 2 * margin - reach + 1, width + reach), (row, pixel, pixel), writeable=False
    )
    values = torch.from_numpy(windows[np.arange(height), start + margin].view(np.uint8)).float()
    taps = [values[:, 4 * k : 4 * (k + width)] for k in range(reach + 1)]
    mixed = _cubic(taps, share).clamp_(0, 255) if bicubic else taps[0].lerp(taps[1], share)
    moved = mixed.add_(_ROUNDING).to(torch.uint8).numpy().view(np.uint32)
    source = np.arange(width) + 0.5 + shift[:, None]
    moved[(source < 0) | (source >= width)] = fill
    return moved


def _cubic(taps: list[Tensor], d: Tensor) -> Tensor:
    """Pillow's cubic of geometric transforms, a = -1; its resize uses a = -1/2."""
    v1, v2, v3, v4 = taps
    mixed = v1 * (-d + 2 * d**2 - d**3)
    mixed.addcmul_(v2, 1 - 2 * d**2 + d**3)
    mixed.addcmul_(v3, d + d**2 - d**3)
    return mixed.addcmul_(v4, d**3 - d**2)
