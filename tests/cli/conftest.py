"""The command line run in this process, a few small checkpoints and a folder of small pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import phonecv
from conftest import TINY
from phonecv.cli import main
from phonecv.preprocessing import Preprocessing
from settle import settle

CLASSES = ("red", "green", "blue")


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line as the installed program does."""
    monkeypatch.delenv("PHONECV_DEBUG", raising=False)

    def call(*argv: str | Path) -> Outcome:
        capsys.readouterr()
        status = main([str(item) for item in argv])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a settled tiny network of each family, three classes, 32 px: emo_1m.safetensors and so on."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, overrides in TINY.items():
        model = phonecv.create_model(name, num_classes=len(CLASSES), **overrides)
        model.class_names = CLASSES
        model.preprocessing = Preprocessing(size=32, crop=1.0)
        phonecv.save_checkpoint(settle(model, size=32), folder / f"{name}.safetensors", training={"epochs": 3})
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder: 8 training and 4 validation pictures per class, coloured noise of 40x36 px."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for channel, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = generator.integers(0, 90, (36, 40, 3), dtype=np.uint8)
                noise[..., channel] += 150
                Image.fromarray(noise).save(folder / f"{split}-{i}.png")
    return root
