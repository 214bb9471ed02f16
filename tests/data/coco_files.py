"""Small COCO data sets made on the spot."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from data.picture_files import noise

WIDTH, HEIGHT = 64, 48

#: Two pictures with objects, one without; category ids with a gap and out of order; a crowd; polygons and run lengths.
CONTENT: dict[str, Any] = {
    "info": {"description": "made for tests"},
    "images": [
        {"id": 30, "file_name": "c.png", "width": WIDTH, "height": HEIGHT, "coco_url": "http://nowhere/c.png"},
        {"id": 10, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
        {"id": 20, "file_name": "b.png", "width": HEIGHT, "height": WIDTH},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 10,
            "category_id": 7,
            "bbox": [4, 5, 20, 10],
            "area": 200,
            "iscrowd": 0,
            "segmentation": [[4, 5, 24, 5, 24, 15, 4, 15]],
        },
        {
            "id": 2,
            "image_id": 20,
            "category_id": 2,
            "bbox": [0, 0, 10.5, 30],
            "area": 300.5,
            "iscrowd": 0,
            "segmentation": [[0, 0, 10.5, 0, 10.5, 12, 0, 12], [0, 20, 10, 20, 10, 30, 0, 30]],
        },
        {
            "id": 5,
            "image_id": 10,
            "category_id": 2,
            "bbox": [30, 0, 34, 48],
            "area": 1632,
            "iscrowd": 1,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": [30 * HEIGHT, 34 * HEIGHT]},
        },
    ],
    "categories": [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}],
}


def content(**changes: Any) -> dict[str, Any]:
    """`CONTENT` as a copy of one's own, with some of its lists replaced."""
    return copy.deepcopy(CONTENT) | changes


def changed(number: int = 0, *, images: bool = False, **values: Any) -> dict[str, Any]:
    """`CONTENT` with some values of one annotation (or picture) changed; None takes the key away."""
    result = content()
    record = result["images" if images else "annotations"][number]
    for key, value in values.items():
        record[key] = value
        if value is None:
            del record[key]
    return result


def write_coco(root: Path, data: Any = None, split: str = "train", seed: int = 0) -> Path:
    """Pictures in images/{split} and annotations/instances_{split}.json; returns the latter."""
    data = content() if data is None else data
    (root / "images" / split).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    for number, image in enumerate(CONTENT["images"]):
        noise((image["width"], image["height"]), 10 * seed + number).save(root / "images" / split / image["file_name"])
    path = root / "annotations" / f"instances_{split}.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def coco_dir(tmp_path: Path) -> Path:
    """A good data set with both splits."""
    root = tmp_path / "coco"
    write_coco(root, split="train")
    write_coco(root, split="val", seed=1)
    return root
