"""Files with suppression: right in any order of equally sure objects, and refused when they are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import mostly_long
from detect import test_mask_rcnn as mask_rcnn
from exporting.dense_files import busy, busy_masks
from exporting.fake_formats import fake
from phonecv.detect.exporting_boxes import final
from phonecv.detect.exporting_checks import Offer, compare_choice, compare_objects
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.checks import Limits, compare, expected_outputs
from phonecv.exporting.deployable import deployable
from phonecv.exporting.job import Job

OVERLAP, PLACES = 0.5, 80


def greedy(offer: Offer, seed: int, *, overlap: float = OVERLAP, keep: int = PLACES) -> dict[str, np.ndarray]:
    """Suppression by hand, in a random order among equal scores."""
    random = np.random.default_rng(seed)
    got = {
        "boxes": np.zeros((len(offer.boxes), keep, 4), np.float32),
        "scores": np.zeros((len(offer.boxes), keep), np.float32),
        "labels": np.full((len(offer.boxes), keep), -1, np.int32),
        "count": np.zeros(len(offer.boxes), np.int32),
    }
    for picture, (boxes, scores, labels) in enumerate(zip(offer.boxes, offer.scores, offer.labels, strict=True)):
        shown: list[int] = []
        for one in np.lexsort((random.random(len(scores)), -scores)):
            near = (iou(boxes[one], boxes[other]) > overlap for other in shown if labels[other] == labels[one])
            if scores[one] > offer.threshold and len(shown) < keep and not any(near):
                shown.append(one)
        for name, values in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            got[name][picture, : len(shown)] = values[shown]
        got["count"][picture] = len(shown)
    return got


def iou(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod((high - low).clip(0)))
    return shared / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


@pytest.fixture
def offer() -> Offer:
    """Crowds of boxes, half of which are as sure as can be."""
    random = np.random.default_rng(0)
    centre = random.uniform(0, 400, (2, 12, 1, 2)) + random.normal(0, 6, (2, 12, 10, 2))
    half = random.uniform(15, 25, (2, 12, 10, 2))
    boxes = np.concatenate([centre - half, centre + half], -1).reshape(2, 120, 4).astype(np.float32)
    scores = -np.sort(-np.where(random.random((2, 120)) < 0.5, 1.0, random.uniform(0.02, 1, (2, 120))), 1)
    labels = random.integers(0, 3, (2, 120))
    return Offer(boxes, scores.astype(np.float32), labels, 120, 0.05, OVERLAP, PLACES)


def test_any_order_among_equals_is_right(offer: Offer) -> None:
    first, second = greedy(offer, 1), greedy(offer, 2)
    assert compare_objects(first, second) > 0.01
    for got in (first, second):
        assert compare_choice(offer, got, 1e-4) == 0
    crowded = replace(offer, keep=10)  # fewer places than there are sure ones
    assert greedy(offer, 1)["count"].min() > 10
    assert compare_choice(crowded, greedy(offer, 1, keep=10), 1e-4) == 0
    late = replace(offer, considered=60)  # more equal ones than the file considers
    chosen = replace(offer, **{name: getattr(offer, name)[:, :60] for name in ("boxes", "scores", "labels")})
    assert compare_choice(late, greedy(chosen, 3), 1e-4) == 0


def without(got: dict[str, np.ndarray], gone: int) -> dict[str, np.ndarray]:
    """Without the first objects of each picture."""
    moved = {name: np.roll(values, -gone, 1) for name, values in got.items() if name != "count"}
    return moved | {"count": got["count"] - gone}


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        (lambda offer, got: got | {"boxes": got["boxes"] + 1.0}, 1e-3),
        (lambda offer, got: got | {"scores": got["scores"] - 0.01}, 5e-3),
        (lambda offer, got: got | {"labels": np.where(got["labels"] >= 0, (got["labels"] + 1) % 3, -1)}, 1e-2),
        (lambda offer, got: without(got, 3), 0.5),
        (lambda offer, got: greedy(offer, 1, overlap=0.8), 0.5),  # leaves doubles
        (lambda offer, got: greedy(offer, 1, overlap=0.2), 0.05),  # and drops too many
        # Suppression from the worst score up.
        (lambda offer, got: backwards(offer), 0.5),
        (lambda offer, got: greedy(offer, 1, keep=5), 0.5),
        (lambda offer, got: greedy(replace(offer, threshold=0.5), 1), 0.1),
    ],
    ids=["moved", "less sure", "labels", "missing", "doubles", "too few", "backwards", "places", "threshold"],
)
def test_wrong_choices_are_seen(offer: Offer, fault: Any, least: float) -> None:
    assert compare_choice(offer, fault(offer, greedy(offer, 1)), 1e-4) > least


def backwards(offer: Offer) -> dict[str, np.ndarray]:
    got = greedy(replace(offer, scores=1.04 - offer.scores, threshold=0.0), 1)
    return got | {"scores": np.where(got["labels"] >= 0, 1.04 - got["scores"], 0)}


def test_masks_belong_to_their_boxes(offer: Offer) -> None:
    got = greedy(offer, 1)
    masks = np.random.default_rng(2).uniform(0, 1, (2, PLACES, 28, 28)).astype(np.float32)
    known = replace(offer, masks=masks)
    assert compare_choice(known, got | {"masks": masks + 1e-6}, 1e-4) < 1e-5
    assert compare_choice(known, got | {"masks": np.roll(masks, 1, 1)}, 1e-4) > 0.3


# ------------------------------------------------------------------------------------ whole checks


@torch.inference_mode()
def test_a_very_sure_mask_rcnn() -> None:
    """Many scores of exactly 1, in the order of PyTorch and in that of another runtime."""
    detector = busy_masks(candidates=50, proposals=40, max_detections=20)
    detector.box_head.cls.weight *= 60
    module, names = deployable(detector, decode="final", size=(64, 96))
    batch = detector.prepare(torch.stack([mask_rcnn.picture(seed=seed) for seed in range(3)])).batch
    job = Job(module, (batch,), names, "a", record={"task": "detect"})
    inner: Any = module.network
    boxes, scores, labels = inner.offered(batch, inner.candidates)
    assert (scores == 1).sum() > 30
    generator = torch.Generator().manual_seed(5)
    shuffled = torch.rand(scores.shape, generator=generator).argsort(1)
    order = shuffled.gather(1, scores.gather(1, shuffled).sort(dim=1, descending=True, stable=True).indices)
    *chosen, count = final(
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        scores.gather(1, order),
        labels.gather(1, order),
        threshold=inner.threshold,
        overlap=inner.overlap,
        keep=inner.keep,
    )
    masks = inner.masks(batch, chosen[0], chosen[2])
    got = [value.numpy() for value in (*chosen, count, masks)]
    expected = expected_outputs(job, [(batch.numpy(),)])

    def difference(outputs: list[np.ndarray], *, batches: bool = True) -> float:
        return compare(
            job,
            expected,
            [outputs],
            limits=Limits(1e-4, 0),
            source="",
            file="a.onnx",
            batches=[(batch.numpy(),) if batches else None],
        ).difference

    assert difference(expected[0]) == 0
    assert difference(got) < 1e-5
    with pytest.raises(UserError, match="differ from PyTorch's"):
        difference(got, batches=False)
    for place, wrong in ((0, got[0] + 0.5), (1, got[1] * 0.99), (3, got[3] // 2), (4, got[4].swapaxes(2, 3))):
        outputs = [wrong if number == place else value for number, value in enumerate(got)]
        with pytest.raises(UserError, match="differ from PyTorch's"):
            difference(outputs)


@pytest.mark.parametrize("architecture", mostly_long(["ssdlite320", "retinanet_fpn"], "ssdlite320"))
@pytest.mark.parametrize(
    "fault",
    mostly_long(
        ["open_session", "open_moved", "open_doubled", "open_strict", "open_unsorted"],
        "open_session",
        "open_doubled",
        "open_unsorted",
    ),
)
def test_the_exports_own_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, fault: str) -> None:
    """Files that are wrong in what is new about them never get their name."""
    monkeypatch.setitem(EXPORTERS, "fake", fake(session=fault))
    detector = busy(architecture, max_detections=300)
    if fault == "open_session":
        result = export(detector, tmp_path / "a.fake", decode="final")
        assert result.difference == 0
        return
    with pytest.raises(UserError, match="was not written: its outputs differ"):
        export(detector, tmp_path / "a.fake", decode="final")
    assert list(tmp_path.iterdir()) == []
