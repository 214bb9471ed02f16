"""Pictures with any of three labels, each a band of its colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("red", "green", "blue")


def write_bands(root: Path, *, train: int = 32, val: int = 16, side: int = 24) -> Path:
    """A folder with train.csv and val.csv, columns of 0 and 1; some pictures have no label."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        (root / split).mkdir(parents=True)
        lines: list[str] = [",".join(("filename", *LABELS))]
        for number in range(count):
            there = generator.integers(0, 2, 3)
            pixels = generator.integers(0, 60, (side, side, 3), dtype=np.uint8)
            for label in np.flatnonzero(there):
                pixels[label * side // 3 : (label + 1) * side // 3, :, label] += 150
            Image.fromarray(pixels).save(root / split / f"{number}.png")
            lines.append(f"{number}.png," + ",".join(map(str, there)))
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root
