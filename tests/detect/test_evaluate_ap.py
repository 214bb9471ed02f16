"""Average precision against pycocotools, on the same detections."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import mostly_long
from detect.scenes import CATEGORY_IDS, jittered, random_truth, to_detections, write_scenes
from phonecv.api import evaluate
from phonecv.data.coco.reader import find_coco, read_coco
from phonecv.detect.average_precision import average_precision, plain, shown
from phonecv.detect.detections import Detections, Kind, decode_masks, encode_masks, with_boxes
from phonecv.errors import UserError

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def by_pycocotools(
    truth: Mapping[str, Any], results: Sequence[dict[str, Any]], kind: Kind, most: int = 100
) -> dict[str, float]:
    """COCO's own figures in percent, NaN where it says -1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        reference: Any = COCO()  # its types take files alone
        reference.dataset = copy.deepcopy(dict(truth))
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(copy.deepcopy(list(results))), kind)
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
        if most != 100:  # its summary knows 100 alone
            every = evaluation.eval["precision"][..., -1]
            parts = [every[..., 0], every[0, ..., 0], every[5, ..., 0], *(every[..., area] for area in (1, 2, 3))]
            evaluation.stats = np.array([part[part > -1].mean() if (part > -1).any() else -1.0 for part in parts])
        else:
            evaluation.summarize()
    return {name: 100 * value if value >= 0 else math.nan for name, value in zip(NAMES, evaluation.stats, strict=False)}


def same(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    assert list(ours) == list(theirs)
    # In percent, so this is 1e-8 of the figures as shares.
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), atol=1e-6, rtol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_pycocotools(kind: Kind, seed: int) -> None:
    truth = random_truth(12, seed)
    image_ids = [image["id"] for image in truth["images"]]
    found = to_detections(jittered(truth, seed), image_ids, CATEGORY_IDS)
    before = copy.deepcopy(truth)
    ours = average_precision(truth, found, CATEGORY_IDS, kind).figures()
    same(ours, by_pycocotools(truth, found.records(image_ids, CATEGORY_IDS, kind), kind))
    assert 5 < ours["ap"] < 95
    assert truth == before


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_each_class_is_evaluated_as_if_alone(kind: Kind) -> None:
    truth = random_truth(12, 5)
    image_ids = [image["id"] for image in truth["images"]]
    found = to_detections(jittered(truth, 5), image_ids, CATEGORY_IDS)
    part = average_precision(truth, found, CATEGORY_IDS, kind)
    for label, category in enumerate(CATEGORY_IDS):
        alone = {
            **truth,
            "categories": [entry for entry in truth["categories"] if entry["id"] == category],
            "annotations": [entry for entry in truth["annotations"] if entry["category_id"] == category],
        }
        results = [r for r in found.records(image_ids, CATEGORY_IDS, kind) if r["category_id"] == category]
        theirs = by_pycocotools(alone, results, kind)
        assert part.of_class(label) == pytest.approx((theirs["ap"], theirs["ap50"]), abs=1e-6)


def test_perfect_detections_score_full_marks_and_none_score_nothing() -> None:
    truth = random_truth(6, 1, crowds=False)
    image_ids = [image["id"] for image in truth["images"]]
    results = [{**entry, "score": 0.9} for entry in truth["annotations"]]
    full = average_precision(truth, to_detections(results, image_ids, CATEGORY_IDS), CATEGORY_IDS, "bbox").figures()
    assert full["ap"] == full["ap50"] == 100
    nothing = average_precision(truth, Detections.none(), CATEGORY_IDS, "bbox").figures()
    assert nothing["ap"] == 0


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_without_objects_ap_is_not_defined(kind: Kind) -> None:
    truth = random_truth(4, 2)
    image_ids = [image["id"] for image in truth["images"]]
    found = to_detections(jittered(truth), image_ids, CATEGORY_IDS)
    figures = average_precision(truth | {"annotations": []}, found, CATEGORY_IDS, kind).figures()
    assert all(math.isnan(value) for value in figures.values())
    assert set(plain(figures).values()) == {None}
    assert json.loads(json.dumps(plain(figures), allow_nan=False))["ap"] is None
    assert shown(figures["ap"]) == shown(None) == "-"
    assert shown(12.345) == "12.3"


def test_only_the_hundred_best_of_a_picture_count() -> None:
    truth = random_truth(2, 3, crowds=False)
    image_ids = [image["id"] for image in truth["images"]]
    right = [{**entry, "score": 0.1} for entry in truth["annotations"]]
    noise = [
        {
            "image_id": image_ids[0],
            "category_id": key,
            "bbox": [1, 1, 2, 2],
            "score": 0.5,
            "segmentation": right[0]["segmentation"],
        }
        for key in CATEGORY_IDS
        for _ in range(100)
    ]
    found = to_detections(right + noise, image_ids, CATEGORY_IDS)
    ours = average_precision(truth, found, CATEGORY_IDS, "bbox").figures()
    same(ours, by_pycocotools(truth, found.records(image_ids, CATEGORY_IDS, "bbox"), "bbox"))
    assert ours["ap"] == 0


def test_masks_keep_their_own_areas() -> None:
    """A thin diagonal in a large box is a small object; with the box in the results COCO would call it large."""
    mask = torch.eye(120, dtype=torch.bool)[None]
    code = encode_masks(mask)[0]
    image = {"id": 1, "file_name": "a.png", "width": 120, "height": 120}
    entry = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 120, 120], "area": 120, "iscrowd": 0}
    truth = {
        "images": [image],
        "annotations": [entry | {"segmentation": code}],
        "categories": [{"id": 7, "name": "ball"}],
    }
    found = Detections(
        np.zeros(2, np.int64),
        np.array([[0, 0, 120, 120]] * 2, np.float32),
        np.array([0.9, 0.8], np.float32),
        np.zeros(2, np.int64),
        (encode_masks(~mask)[0], code),
    )
    figures = average_precision(truth, found, (7,), "segm").figures("mask_")
    assert figures["mask_ap_small"] == 100  # the wrong one is large, so it does not count among the small
    assert figures["mask_ap"] == 50


def test_masks_survive_their_encoding() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 1, 37, 23, generator=generator)
    codes = encode_masks(masks)
    assert torch.equal(decode_masks(codes), masks[:, 0] >= 0.5)
    assert all(code["size"] == [37, 23] and isinstance(code["counts"], str) for code in codes)
    assert encode_masks(masks[:0]) == []
    bare = Detections(np.zeros(5, np.int64), np.zeros((5, 4), np.float32), np.ones(5, np.float32), np.zeros(5, np.int64), tuple(codes))  # fmt: skip  # noqa: E501
    from torchvision.ops import masks_to_boxes

    expected = masks_to_boxes(masks[:, 0] >= 0.5).numpy()
    expected[:, 2:] += 1  # a pixel is one wide
    np.testing.assert_array_equal(with_boxes(bare).boxes, expected)


def test_columns_follow_the_pictures() -> None:
    truth = random_truth(7, 4)
    image_ids = [image["id"] for image in truth["images"]]
    found = to_detections(jittered(truth, 4), image_ids, CATEGORY_IDS)
    halves = Detections.joined([found[found.pictures >= 3], found[found.pictures < 3], Detections.none()])
    assert halves.masks == found.masks
    for name in ("pictures", "boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(halves, name), getattr(found, name))
    assert sum(len(found.of_picture(place)) for place in range(7)) == len(found)
    assert len(found.of_picture(99)) == 0


@pytest.mark.parametrize("prefix", ["", "mask_"])
def test_a_file_of_results(tmp_path: Path, prefix: str) -> None:
    root = write_scenes(tmp_path / "scenes", 8)
    truth = json.loads((root / "annotations" / "instances_val.json").read_text())
    results = jittered(truth, 7)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results))
    result = evaluate(file, root / "annotations" / "instances_val.json")
    kind: Kind = "segm" if prefix else "bbox"
    name = "segmentation" if prefix else "bbox"
    other = [{key: r[key] for key in ("image_id", "category_id", "score", name)} for r in results]
    theirs = by_pycocotools(truth, other, kind)
    same({n: result.figures[prefix + n] for n in NAMES}, theirs)


@pytest.mark.parametrize("split", mostly_long(["val", "train"], "train"))
def test_coco_itself(shared_dir: Path, tmp_path: Path, split: str) -> None:
    """Real annotations: polygons, crowd regions of run lengths, 80 classes with gaps in their numbers."""
    paths = find_coco(shared_dir / "data" / "coco-tiny", split)
    data = read_coco(paths, masks=True)
    original = json.loads(paths.annotations.read_text())
    assert sum(entry["iscrowd"] for entry in original["annotations"]) == (11 if split == "val" else 4)
    truth = data.to_ground_truth()
    found = to_detections(jittered(truth, 3, extra=5), [i["id"] for i in truth["images"]], data.category_ids)
    for kind in ("bbox", "segm"):
        records = found.records([i["id"] for i in truth["images"]], data.category_ids, kind)
        same(
            average_precision(truth, found, data.category_ids, kind).figures(), by_pycocotools(original, records, kind)
        )
    assert len(data.classes) == 80


def crowded(count: int = 340) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One picture with so many objects of one class, all found, the last with the least score."""
    boxes = [[12 * (number % 25), 12 * (number // 25), 10, 10] for number in range(count)]
    common = {"image_id": 1, "category_id": 1}
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 320, "height": 200}],
        "categories": [{"id": 1, "name": "ball"}],
        "annotations": [
            {"id": number, "bbox": box, "area": 100, "iscrowd": 0, **common} for number, box in enumerate(boxes, 1)
        ],
    }
    return truth, [{"bbox": box, "score": 0.9 - number / 1000, **common} for number, box in enumerate(boxes)]


def test_more_than_a_hundred_objects(tmp_path: Path) -> None:
    """COCO's figures count a hundred and say so; with more they are pycocotools' with as many."""
    truth, results = crowded()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    files = tmp_path / "results.json", tmp_path / "truth.json"
    plain, more = evaluate(*files), evaluate(*files, max_objects=400)
    assert plain.figures == pytest.approx(by_pycocotools(truth, results, "bbox"), nan_ok=True)
    assert 25 < plain.figures["ap"] < 35
    assert "AP counts the best 100 detections of a class in a picture" in str(plain)
    assert "340 objects of a class; --max-objects 340" in str(plain)
    assert more.figures == pytest.approx(by_pycocotools(truth, results, "bbox", most=400), nan_ok=True)
    assert more.figures["ap"] == pytest.approx(100)
    assert "AP counts 400 detections of a class in a picture; COCO's published figures count 100" in str(more)
    with pytest.raises(UserError, match="tile"):
        evaluate(*files, tile=640)
