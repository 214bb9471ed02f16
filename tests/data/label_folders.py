"""Small data sets with label maps."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from data.picture_files import noise

#: Height and width.
SIZE = (24, 32)


def squares(seed: int = 0, *, values: tuple[int, ...] = (0, 1, 2), size: tuple[int, int] = SIZE) -> np.ndarray:
    """A label map: the first value, with a rectangle of each of the others."""
    random = np.random.default_rng(seed)
    labels = np.full(size, values[0], dtype=np.uint8)
    for value in values[1:]:
        top, left = (int(random.integers(0, side // 2)) for side in size)
        labels[top : top + size[0] // 3, left : left + size[1] // 3] = value
    return labels


def save_map(labels: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


def write_labels(
    root: Path,
    *,
    images: str = "images/{split}",
    labels: str = "annotations/{split}",
    counts: Mapping[str, int] | None = None,
    values: tuple[int, ...] = (0, 1, 2),
    classes: str | None = "0 floor\n1 box\n2 ball\n",
) -> Path:
    """Pictures with label maps of 24 x 32 pixels, named 0, 1, ..., and a class file."""
    for split, count in (counts or {"train": 4, "val": 3}).items():
        for index in range(count):
            seed = index + 100 * split.startswith("val")
            folder = root / images.format(split=split)
            folder.mkdir(parents=True, exist_ok=True)
            noise(SIZE[::-1], seed).save(folder / f"{index}.jpg", quality=95)
            save_map(squares(seed, values=values), root / labels.format(split=split) / f"{index}.png")
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return root


def gray_png(values: np.ndarray, bits: int) -> bytes:
    """A gray PNG of 2 or 4 bits, which Pillow reads but has no way to write."""
    height, width = values.shape
    per = 8 // bits
    padded = np.pad(values, ((0, 0), (0, -width % per))).reshape(height, -1, per)
    shifts = np.arange(per)[::-1] * bits
    rows = (padded.astype(np.uint8) << shifts.astype(np.uint8)).sum(2).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
