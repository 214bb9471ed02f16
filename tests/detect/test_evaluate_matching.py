"""Greedy matching of a whole data set against a plain loop, and what is counted from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from detect.scenes import CATEGORY_IDS, jittered, random_truth, to_detections
from phonecv.detect import matching
from phonecv.detect.detections import Detections
from phonecv.detect.judging import THRESHOLD, best_threshold, judge, objects_of
from phonecv.detect.matching import Objects, match


def data(seed: int, pictures: int = 10) -> tuple[Detections, Objects]:
    truth = random_truth(pictures, seed, most=14)
    image_ids = [image["id"] for image in truth["images"]]
    results = jittered(truth, seed, spread=0.25, extra=8)
    return to_detections(results, image_ids, CATEGORY_IDS), objects_of(truth, CATEGORY_IDS)


def one_by_one(found: Detections, objects: Objects, iou: float, same_class: bool) -> tuple[list[int], list[bool]]:
    """COCO's rule, a detection at a time."""
    matched, excused, taken = [-1] * len(found), [False] * len(found), set()
    overlaps = box_iou(torch.from_numpy(found.boxes).double(), torch.from_numpy(objects.boxes)).numpy()
    for row in np.argsort(-found.scores, kind="stable"):
        fitting = [
            other
            for other in range(len(objects))
            if objects.pictures[other] == found.pictures[row]
            and (objects.labels[other] == found.labels[row] or not same_class)
        ]
        free = [other for other in fitting if not objects.crowd[other] and other not in taken]
        best = max(free, key=lambda other: overlaps[row, other], default=None)
        if best is not None and overlaps[row, best] >= iou:
            matched[row] = best
            taken.add(best)
            continue
        x0, y0, x1, y1 = found.boxes[row]
        for other in fitting:
            left, top, right, bottom = objects.boxes[other]
            w, h = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
            if objects.crowd[other] and w > 0 and h > 0 and w * h >= iou * (x1 - x0) * (y1 - y0):
                excused[row] = True
    return matched, excused


@pytest.mark.parametrize("same_class", [True, False])
@pytest.mark.parametrize("iou", [0.3, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_all_at_once_is_one_by_one(seed: int, iou: float, same_class: bool) -> None:
    found, objects = data(seed)
    result = match(found, objects, iou=iou, same_class=same_class)
    matched, excused = one_by_one(found, objects, iou, same_class)
    assert result.objects.tolist() == matched
    assert result.excused.tolist() == excused
    assert (result.objects >= 0).sum() > 10
    assert ((result.overlaps >= iou) == (result.objects >= 0)).all()


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, objects = data(11)
    whole = match(found, objects)
    monkeypatch.setattr(matching, "_PORTION", 7)
    parts = match(found, objects)
    np.testing.assert_array_equal(whole.objects, parts.objects)
    np.testing.assert_array_equal(whole.excused, parts.excused)


def test_what_scores_less_changes_nothing_above() -> None:
    found, objects = data(12)
    everything, strong = match(found, objects), found.scores >= 0.5
    np.testing.assert_array_equal(match(found[strong], objects).objects, everything.objects[strong])


def test_nothing_to_match() -> None:
    found, objects = data(13)
    assert (match(found, objects[:0]).objects == -1).all()
    assert len(match(Detections.none(), objects).objects) == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_best_threshold_is_the_best(seed: int) -> None:
    found, objects = data(seed)
    matching_ = match(found, objects)
    real = ~objects.crowd

    def f1(threshold: float) -> float:
        strong = (found.scores >= threshold) & ~matching_.excused
        return 2 * (strong & (matching_.objects >= 0)).sum() / (strong.sum() + real.sum())

    best = best_threshold(found, objects, matching_)
    assert f1(best) >= max(f1(float(score)) for score in found.scores) - 1e-9
    assert best == round(best, 2)  # scores of this data are hundredths
    assert best_threshold(found[:0], objects, match(found[:0], objects)) == THRESHOLD


@pytest.mark.parametrize("threshold", [None, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_counts_add_up(seed: int, threshold: float | None) -> None:
    found, objects = data(seed)
    size = len(CATEGORY_IDS)
    result = judge(found, objects, 10, size, threshold)
    confusion = result.confusion
    np.testing.assert_array_equal(confusion[:size].sum(1), result.classes.objects)
    np.testing.assert_array_equal(confusion[:, :size].sum(0), result.classes.found)
    np.testing.assert_array_equal(np.diag(confusion)[:size], result.classes.right)
    assert confusion[size, size] == 0
    for name in ("objects", "found", "right"):
        assert getattr(result.classes, name).sum() == getattr(result.pictures, name).sum()
    assert result.classes.objects.sum() == (~objects.crowd).sum()
    quality = result.pictures.quality
    nothing = (result.pictures.objects == 0) & (result.pictures.found == 0)
    np.testing.assert_array_equal(np.isnan(quality), nothing)
    assert ((quality[~nothing] >= 0) & (quality[~nothing] <= 1)).all()


def test_a_confusion_by_hand() -> None:
    """One right, one of the wrong class, one missed, one for nothing, one in a crowd, one too weak."""
    objects = Objects(
        np.zeros(4, np.int64),
        np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 100, 40]], np.float64),
        np.array([0, 0, 1, 1]),
        np.array([False, False, False, True]),
    )
    found = Detections(
        np.zeros(5, np.int64),
        np.array([[0, 0, 10, 9], [20, 0, 30, 10], [0, 50, 10, 60], [70, 10, 80, 20], [40, 0, 50, 10]], np.float32),
        np.array([0.9, 0.8, 0.7, 0.6, 0.1], np.float32),
        np.array([0, 1, 0, 1, 1]),
    )
    result = judge(found, objects, 1, 2, 0.5)
    assert result.confusion.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert result.pictures.quality[0] == pytest.approx(0.9 / 3)
    assert result.classes.precision.tolist() == [0.5, 0.0]
    assert result.classes.recall.tolist() == [0.5, 0.0]
