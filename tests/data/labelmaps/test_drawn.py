"""Label maps drawn from the outlines of objects: their pixels, their classes, and what can't be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.foreign import scene
from phonecv.data.audit import audit
from phonecv.data.labelmaps.drawn import DrawnSplit, read_split
from phonecv.errors import UserError


def shape(label: str, *points: tuple[int, int]) -> dict[str, object]:
    return {"label": label, "points": [list(point) for point in points], "shape_type": "polygon"}


CAT = shape("cat", (8, 12), (24, 12), (24, 36), (8, 36))
DOG = shape("dog", (16, 24), (40, 24), (40, 40), (16, 40))


def write(root: Path, *shapes: object, split: str = "train") -> Path:
    text = json.dumps({"version": "5", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageWidth": 64,
                       "imageHeight": 48})  # fmt: skip
    empty = scene.LABELME_EMPTY
    files = {f"{split}/a.json": text, f"{split}/a.png": "", f"{split}/b.json": empty, f"{split}/b.png": ""}
    return scene.write(root, files)


def test_later_objects_lie_on_top(tmp_path: Path) -> None:
    split = read_split(write(tmp_path, CAT, DOG))
    assert isinstance(split, DrawnSplit)
    assert split.classes == ("background", "cat", "dog")
    picture, labels = split.read(0)
    assert picture.size == (64, 48)
    expected = np.zeros((48, 64), dtype=np.uint8)
    expected[12:36, 8:24] = 1
    expected[24:40, 16:40] = 2
    assert np.array_equal(labels, expected)
    assert not split.read_label(1).any()
    assert len(split.select([0])) == 1
    assert np.array_equal(split.select([1, 0]).read_label(1), expected)
    assert "later objects lie on top" in "\n".join(split.problems)


def test_classes_are_those_of_training(tmp_path: Path) -> None:
    """Numbers follow the names of training; a class called background is what is in no object."""
    write(tmp_path, CAT, DOG)
    train = read_split(tmp_path)
    write(tmp_path, DOG, split="val")
    val = read_split(tmp_path, "val", classes=train.classes)
    assert set(np.unique(val.read_label(0))) == {0, 2}
    own = read_split(write(tmp_path / "own", shape("Background", (0, 0), (9, 0), (9, 9)), CAT))
    assert own.classes == ("Background", "cat")
    assert set(np.unique(own.read_label(0))) == {0, 1}
    with pytest.raises(UserError, match="3 with the background"):
        read_split(tmp_path, classes=5)


def test_boxes_can_not_be_drawn(tmp_path: Path) -> None:
    scene.write(tmp_path, {"train/a.png": "", "train/a.txt": scene.YOLO, "train/_darknet.labels": "cat\ndog"})
    with pytest.raises(UserError, match="mask"):
        read_split(tmp_path)
    report = audit(tmp_path, task="segment")
    assert report.layouts == ("outlines of objects in YOLO's label files (segment)",)
    assert any(finding.kind == "no-mask" for finding in report.errors)
    with pytest.raises(UserError, match="leave out reduce_zero_label"):
        read_split(tmp_path, reduce_zero_label=True)


def test_label_maps_come_first(tmp_path: Path) -> None:
    scene.write(write(tmp_path, CAT), {"images/train/a.png": "", "classes.txt": "0 a\n1 b\n"})
    (tmp_path / "masks/train").mkdir(parents=True)
    Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(tmp_path / "masks/train/a.png")
    assert not isinstance(read_split(tmp_path), DrawnSplit)


def test_boxes_of_a_file_without_splits_can_not_be_drawn(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 12, 16, 24]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    report = audit(tmp_path, task="segment", quick=True)
    assert "not all objects have outlines" in "\n".join(error.message for error in report.errors)
    with pytest.raises(UserError, match="mask"):
        read_split(tmp_path, "all")
