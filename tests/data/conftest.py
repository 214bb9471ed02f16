"""Small data sets made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.picture_files import noise


@pytest.fixture
def dataset_dir(tmp_path: Path) -> Path:
    """Two classes; 6 + 4 training and 2 + 2 validation pictures."""
    for split, counts in {"train": {"cat": 6, "dog": 4}, "val": {"cat": 2, "dog": 2}}.items():
        for number, (name, count) in enumerate(counts.items()):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                seed = index + 10 * number + (100 if split == "val" else 0)
                noise(seed=seed).save(folder / f"{index}.png")
    return tmp_path / "data"
