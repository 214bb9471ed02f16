"""Evaluations of which only tables and figures are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from phonecv.detect import report


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation's pictures are a white pixel: drawing them takes longer than all else."""

    def white(*given: object, **_: object) -> Path:
        (path,) = [each for each in given if isinstance(each, Path)]
        Image.new("L", (1, 1), 255).save(path)
        return path

    for name in ("save_precision_recall", "save_confusion", "save_image_grid"):
        monkeypatch.setattr(report, name, white)
