"""Tiny clips: a light bar that moves right or left, as videos and as folders of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phonecv.data.samples import save_clip

SIDE, FRAMES = 32, 9
CLASSES = ("left", "right")

#: Settings that make the network tiny.
TINY = {"depths": [1, 1, 2, 1], "widths": [8, 16, 16, 24], "exp_ratios": [2, 2, 2, 2], "head_dims": [8, 8, 8, 8],
        "window": 2}  # fmt: skip


def bar(number: int, *, right: bool, frames: int = FRAMES, width: int = SIDE, height: int = SIDE) -> list[Image.Image]:
    """A clip of a bar; `number` decides the noise around it."""
    random = np.random.default_rng(number)
    still = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
    found = []
    for frame in range(frames):
        place = round(frame / max(1, frames - 1) * (width - 6))
        pixels = still.copy()
        left = place if right else width - 6 - place
        pixels[:, left : left + 6] = 230
        found.append(Image.fromarray(pixels))
    return found


def save_frames(frames: list[Image.Image], folder: Path) -> None:
    """A folder of frames; their numbers are not filled with zeros."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        frame.save(folder / f"{number}.png")


def write_clips(root: Path, *, train: int, val: int) -> Path:
    """So many clips in class folders, every third one a folder of frames."""
    for split, count, first in (("train", train, 0), ("val", val, 100)):
        for number in range(count):
            name = CLASSES[number % 2]
            (root / split / name).mkdir(parents=True, exist_ok=True)
            frames, path = bar(first + number, right=name == "right"), root / split / name / f"{number:02d}"
            if number % 3:
                save_clip(frames, path.with_suffix(".mp4"))
            else:
                save_frames(frames, path)
    return root


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips to train on and 6 to validate on."""
    return write_clips(tmp_path_factory.mktemp("clips"), train=12, val=6)
