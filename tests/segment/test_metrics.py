"""Counts and figures against plain loops and a golden case."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from phonecv.data.labelmaps.loading import SegmentationBatch
from phonecv.segment.metrics import SegmentMeter, SegmentScores, classes_of, confusion
from phonecv.training.world import World

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/segmentation/misc.json").read_text())["iou"]


def loop(found: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, list[float]]:
    """The figures, class by class with sets of pixels."""
    counted = labels != 255
    result: dict[str, list[float]] = {"iou": [], "accuracy": [], "dice": []}
    for index in range(classes):
        is_so, found_so = (labels == index) & counted, (found == index) & counted
        both, either = int((is_so & found_so).sum()), int((is_so | found_so).sum())
        result["iou"].append(both / either if either else np.nan)
        result["accuracy"].append(both / is_so.sum() if is_so.any() else np.nan)
        result["dice"].append(2 * both / (is_so.sum() + found_so.sum()) if either else np.nan)
    result["aacc"] = [float((found == labels)[counted].sum() / counted.sum())]
    return result


def random_maps(seed: int, classes: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape)
    found = np.where(random.random(shape) < 0.6, labels, random.integers(0, classes, shape))
    labels[random.random(shape) < 0.1] = 255
    return found, labels


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 7, 150])
def test_equal_to_a_plain_loop(seed: int, classes: int) -> None:
    found, labels = random_maps(seed, classes, (5, 21, 17))
    found[found == 1] = 0  # a class that is never found
    labels[labels == 0] = 1  # one that never is
    meter = SegmentMeter(classes)
    for one, true in zip(found, labels, strict=True):
        meter.add(torch.from_numpy(one), torch.from_numpy(true))
    scores, wanted = meter.scores, loop(found, labels, classes)
    for name in ("iou", "accuracy", "dice"):
        np.testing.assert_allclose(getattr(scores, name), wanted[name], rtol=1e-12)
        mean = {"iou": scores.miou, "accuracy": scores.macc, "dice": scores.mdice}[name]
        assert mean == pytest.approx(np.nanmean(wanted[name]), rel=1e-12)
    assert scores.aacc == pytest.approx(wanted["aacc"][0], rel=1e-12)


def test_golden_case() -> None:
    counts = {name: np.array(GOLDEN[name]) for name in ("intersect", "label", "pred", "union")}
    scores = SegmentScores(counts["intersect"], counts["label"], counts["pred"])
    np.testing.assert_array_equal(scores.union, counts["union"])
    golden = GOLDEN["metrics"]
    np.testing.assert_allclose(scores.iou, golden["IoU"], rtol=1e-12)
    np.testing.assert_allclose(scores.accuracy, golden["Acc"], rtol=1e-12)
    np.testing.assert_allclose(scores.dice, golden["Dice"], rtol=1e-12)
    assert scores.aacc == pytest.approx(golden["aAcc"], rel=1e-12)


def batch_of(labels: list[Tensor], errors: list[str] | None = None) -> SegmentationBatch:
    images = [torch.zeros(3, *one.shape, dtype=torch.uint8) for one in labels]
    return SegmentationBatch(images, labels, torch.arange(len(labels)), errors or [""] * len(labels))


def test_batches_of_any_form_count_the_same() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 6, 8)
    labels = torch.randint(4, (3, 6, 8), dtype=torch.uint8)
    labels[0, :2] = 255
    stacked, listed, wide, classes = (SegmentMeter(4) for _ in range(4))
    classes.update(logits.argmax(1).to(torch.uint8), batch_of(list(labels)))
    stacked.update(logits, batch_of(list(labels)))
    listed.update(list(logits), batch_of(list(labels)))
    wide.update([logits[0], logits[1].mT], batch_of([labels[0], labels[1].T]))
    wide.update(logits[2:], batch_of([labels[2]]))
    assert torch.equal(stacked.matrix, listed.matrix)
    assert torch.equal(stacked.matrix, wide.matrix)
    assert torch.equal(stacked.matrix, classes.matrix)
    assert int(stacked.matrix.sum()) == 3 * 48 - 16


def test_samples_with_errors_do_not_count() -> None:
    labels = [torch.zeros(4, 4, dtype=torch.uint8)] * 2
    logits = torch.zeros(2, 3, 4, 4)
    meter = SegmentMeter(3)
    meter.update(logits, batch_of(labels, ["", "unreadable"]))
    assert int(meter.matrix.sum()) == 16


def test_a_pixel_that_is_not_a_number_is_never_right() -> None:
    logits = torch.zeros(2, 3, 3)
    logits[0] = 1
    logits[1, 0, 0] = float("nan")
    assert classes_of(logits).flatten().tolist() == [2, *[0] * 8]
    meter = SegmentMeter(2)
    meter.update([logits], batch_of([torch.zeros(3, 3, dtype=torch.uint8)]))
    assert meter.matrix.tolist() == [[8, 0, 1], [0, 0, 0]]
    assert meter.scores.aacc == pytest.approx(8 / 9)
    assert meter.scores.iou[0] == pytest.approx(8 / 9)


def test_nothing_labelled_is_no_number_that_misleads() -> None:
    meter = SegmentMeter(3)
    meter.update(torch.zeros(1, 3, 4, 4), batch_of([torch.full((4, 4), 255, dtype=torch.uint8)]))
    assert meter.result(World()) == {"miou": 0.0, "aacc": 0.0, "macc": 0.0}
    assert np.isnan(meter.scores.iou).all()
    assert meter.scores.labelled.sum() == 0


def test_bad_labels_and_shapes_are_refused() -> None:
    zeros = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="not one of"):
        confusion(zeros, zeros + 3, 3)
    with pytest.raises(ValueError, match="shape"):
        confusion(zeros, zeros[:1], 3)


class Sums:
    """As many worlds as there are processes, whose sums wait for each other."""

    def __init__(self, size: int) -> None:
        self.barrier, self.parts = threading.Barrier(size), cast("dict[int, Tensor]", {})

    def world(self, rank: int) -> World:
        sums = self

        class Shared:
            def sum(self, tensor: Tensor) -> Tensor:
                sums.parts[rank] = tensor
                sums.barrier.wait(10)
                return torch.stack(list(sums.parts.values())).sum(0)

        return cast(World, Shared())


def test_exact_over_processes() -> None:
    """Figures of shares of the data are those of all of it, not a mean of means."""
    found, labels = random_maps(3, 5, (9, 12, 12))
    whole = SegmentMeter(5)
    meters = [SegmentMeter(5) for _ in range(3)]
    for index, (one, true) in enumerate(zip(found, labels, strict=True)):
        # Very unequal shares.
        for meter in (whole, meters[0 if index < 7 else index - 6]):
            meter.add(torch.from_numpy(one), torch.from_numpy(true))
    sums = Sums(3)
    results: dict[int, dict[str, float]] = {}

    def finish(rank: int) -> None:
        results[rank] = meters[rank].result(sums.world(rank))

    threads = [threading.Thread(target=finish, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    expected = whole.result(World())
    assert [results[rank] for rank in range(3)] == [expected] * 3
    assert expected["miou"] == 100 * whole.scores.miou
