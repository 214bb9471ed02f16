"""What was found, as COCO's files: loaded by pycocotools, evaluated as `eval` does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from detect.scenes import CATEGORY_IDS, CLASSES, colour_runner, write_scenes
from phonecv.api import evaluate, predict
from phonecv.detect.detections import decode_masks
from phonecv.errors import UserError


def test_results_are_evaluated_like_the_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_scenes(tmp_path / "scenes", 6)
    truth, out = root / "annotations" / "instances_val.json", tmp_path / "out"
    runner = colour_runner(masks=True)
    predict(runner, root / "images" / "val", threshold=0.0, coco_ids=truth, out=out)
    wanted = evaluate(runner, root)
    found = evaluate(out / "coco_results.json", root)
    assert found.figures == pytest.approx(wanted.figures, nan_ok=True)
    assert wanted.figures["ap"] > 10
    reference = COCO(str(truth))
    results = reference.loadRes(str(out / "coco_results.json"))
    assert len(results.anns) == len(wanted.found)
    known, named = COCO(str(out / "coco.json")), list(zip(CLASSES, CATEGORY_IDS, strict=True))
    assert {entry["id"]: Path(entry["file_name"]).name for entry in known.imgs.values()} == {
        entry["id"]: entry["file_name"] for entry in reference.imgs.values()
    }
    assert [(entry["name"], entry["id"]) for entry in known.cats.values()] == named
    for entry in json.loads((out / "coco.json").read_text())["annotations"]:
        assert entry["area"] == decode_masks([entry["segmentation"]]).sum()


def test_without_ids_of_others_everything_is_numbered(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", 3)
    (root / "images" / "val" / "broken.png").write_bytes(b"no picture")
    predict(colour_runner(), root / "images" / "val", out=tmp_path / "out")
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [entry["id"] for entry in content["images"]] == [1, 2, 3]
    assert content["categories"] == [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    assert [entry["id"] for entry in content["annotations"]] == list(range(1, 1 + len(content["annotations"])))
    assert {"bbox", "score", "image_id", "category_id", "area", "iscrowd"} == set(content["annotations"][0]) - {"id"}


def test_a_picture_that_the_file_does_not_know(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", 3)
    folder = root / "images" / "val"
    (folder / "000.png").rename(folder / "other.png")
    truth = root / "annotations" / "instances_val.json"
    with pytest.raises(UserError, match=r"does not tell of 1 of 3 pictures.*other\.png"):
        predict(colour_runner(), folder, coco_ids=truth)
