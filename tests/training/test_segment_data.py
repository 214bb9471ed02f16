"""Label maps as a training of a segmenter meets them: what it refuses before its first step, and what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.label_folders import SIZE, save_map, write_labels
from phonecv.errors import UserError
from phonecv.segment.training import SegmentSetup
from phonecv.training import train
from training.conftest import Configure


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "maps")


def fill(root: Path, split: str, value: int) -> None:
    for path in (root / "annotations" / split).iterdir():
        save_map(np.full(SIZE, value, np.uint8), path)


@pytest.mark.parametrize(
    ("value", "words"), [(255, "no pixel belongs to a class"), (0, "every labelled pixel is 'floor'")]
)
def test_nothing_to_learn_is_refused(root: Path, value: int, words: str, configure_dense: Configure) -> None:
    fill(root, "train", value)
    config = configure_dense("segformer", f"data.path={root}")
    with pytest.raises(UserError, match=f"{words}: there is nothing to learn"):
        train(config)
    assert not Path(config.run.out).exists()


def test_nothing_to_score_by_is_told_once(root: Path, configure_dense: Configure) -> None:
    fill(root, "val", 0)
    told = SegmentSetup(configure_dense("segformer", f"data.path={root}")).findings()
    assert told == [f"warning: {root}/annotations/val: every labelled pixel is 'floor': its scores say nothing"]


def test_the_reading_of_maps_is_told(root: Path, configure_dense: Configure) -> None:
    (root / "classes.txt").write_text("background\nthing\n")
    for path in (root / "annotations").rglob("*.png"):
        labels = np.zeros(SIZE, np.uint8)
        labels[4:9, 4:20] = 255
        save_map(labels, path)
    setup = SegmentSetup(configure_dense("segformer", f"data.path={root}"))
    assert [line[:5] for line in setup.findings()] == ["note:"]
    assert "black and white masks" in setup.findings()[0]
    assert setup.train.read(0)[1].sum() == 80
    shutil.move(root / "images", root / "photos")
    named = (f"segment.{split}_{kind}={folder}/{split}" for split in ("train", "val")
             for kind, folder in (("images", "photos"), ("labels", "annotations")))  # fmt: skip
    setup = SegmentSetup(configure_dense("segformer", f"data.path={root}", *named))
    assert "black and white masks" in setup.findings()[0]


def test_what_belongs_to_other_tasks_is_not_told(root: Path, configure_dense: Configure) -> None:
    """Lists with errors beside good label maps."""
    (root / "train.txt").write_text("images/train/absent.jpg 0\n")
    assert SegmentSetup(configure_dense("segformer", f"data.path={root}")).findings() == []
