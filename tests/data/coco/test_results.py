from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.coco_files import HEIGHT, WIDTH
from data.coco_files import coco_dir as coco_dir
from phonecv.data.coco.reader import CocoSplit, find_coco, read_coco, read_results
from phonecv.errors import UserError

MASK = {"size": [HEIGHT, WIDTH], "counts": [10, HEIGHT * WIDTH - 10]}
GOOD: list[dict[str, Any]] = [
    {"image_id": 20, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.2},
    {"image_id": 10, "category_id": 7, "bbox": [5, 6, 7, 8], "score": 0.3},
    {"image_id": 10, "category_id": 2, "bbox": [0, 0, 2.5, 2], "score": 0.9},
    {"image_id": 10, "category_id": 7, "bbox": [9, 6, 7, 8], "score": 0.3},
]


@pytest.fixture
def split(coco_dir: Path) -> CocoSplit:
    return read_coco(find_coco(coco_dir, "val"))


def write(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(value))
    return path


def test_ordered_by_picture_and_score(split: CocoSplit, tmp_path: Path) -> None:
    found = read_results(write(tmp_path, GOOD), split)
    assert found.pictures.tolist() == [1, 1, 1, 2]
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert found.boxes.tolist() == [[0, 0, 2.5, 2], [5, 6, 12, 14], [9, 6, 16, 14], [1, 2, 4, 6]]
    assert np.allclose(found.scores, [0.9, 0.3, 0.3, 0.2])
    assert found.masks is None


def test_masks(split: CocoSplit, tmp_path: Path) -> None:
    records = [{**record, "segmentation": MASK} for record in GOOD if record["image_id"] == 10]
    del records[0]["bbox"]
    found = read_results(write(tmp_path, records), split)
    assert found.masks is not None
    assert all(mask["size"] == [HEIGHT, WIDTH] and isinstance(mask["counts"], str) for mask in found.masks)
    assert found.boxes[1].tolist() == [0, 0, 0, 0]


def test_no_detections(split: CocoSplit, tmp_path: Path) -> None:
    found = read_results(write(tmp_path, []), split)
    assert found.boxes.shape == (0, 4)
    assert all(len(column) == 0 for column in found[:4])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"images": []}, "a data set, not its results"),
        (3, "not a list"),
        ([*GOOD, 3], "result 4 .3.: not an object"),
        ([*GOOD, {}], "image_id None"),
        ([GOOD[0] | {"image_id": 55}], "image_id 55 is not among the 3"),
        ([GOOD[0] | {"image_id": 2**70}], "not among"),
        ([GOOD[0] | {"category_id": 3}], "category_id 3 is not among the 2"),
        ([GOOD[0] | {"score": float("nan")}], "score is nan"),
        ([GOOD[0] | {"score": float("inf")}], "score is inf"),
        ([GOOD[0] | {"score": "0.5"}], "score is '0.5'"),
        ([GOOD[0] | {"score": True}], "score is True"),
        ([GOOD[0] | {"bbox": [1, 2, 3]}], "bbox is not"),
        ([GOOD[0] | {"bbox": [1, 2, -3, 4]}], "bbox is not"),
        ([GOOD[0] | {"bbox": [1, 2, float("nan"), 4]}], "bbox is not"),
        ([{"image_id": 20, "category_id": 2, "score": 0.2}], "no bbox and no mask"),
        ([GOOD[0] | {"segmentation": MASK}], "run-length mask of size"),
        ([GOOD[1] | {"segmentation": MASK | {"counts": "~"}}], "compressed form"),
    ],
)
def test_bad_results_are_refused_by_record(split: CocoSplit, tmp_path: Path, value: Any, message: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(UserError, match=message) as caught:
        read_results(path, split)
    assert str(path) in str(caught.value)


def test_reading_what_the_evaluation_writes(split: CocoSplit, tmp_path: Path) -> None:
    truth = split.to_ground_truth()
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1 / (1 + number)}
        for number, entry in enumerate(truth["annotations"])
    ]
    found = read_results(write(tmp_path, results), split)
    for place in range(len(split)):
        assert found.boxes[found.pictures == place].tolist() == split.targets(place)["boxes"].tolist()
