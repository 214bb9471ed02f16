"""Second stage: which regions it learns from, and its losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from phonecv.detect.base import Truth
from phonecv.detect.boxes import SSD_STDS, encode
from phonecv.detect.roi_heads import BoxHead, MaskHead, Regions, box_losses, choose_regions, mask_loss
from phonecv.detect.rpn import Proposals
from phonecv.detect.sampling import Sampling

ALL = Sampling(None, positive=0.25)
SIZES = torch.tensor([[100, 100], [100, 100]])
CLASSES = 4


def proposals_of(*pictures: list[list[float]]) -> Proposals:
    most = max(len(boxes) for boxes in pictures)
    boxes = torch.zeros(len(pictures), most, 4)
    valid = torch.zeros(len(pictures), most, dtype=torch.bool)
    for i, some in enumerate(pictures):
        if some:
            boxes[i, : len(some)] = torch.tensor(some)
            valid[i, : len(some)] = True
    return Proposals(boxes, valid)


def truth_of(*pictures: list[tuple[list[float], int]]) -> Truth:
    most = max([len(objects) for objects in pictures] + [1])
    boxes = torch.zeros(len(pictures), most, 4)
    labels = torch.zeros(len(pictures), most, dtype=torch.int64)
    valid = torch.zeros(len(pictures), most, dtype=torch.bool)
    for i, objects in enumerate(pictures):
        for j, (box, label) in enumerate(objects):
            boxes[i, j], labels[i, j], valid[i, j] = torch.tensor(box), label, True
    return Truth(boxes, labels, valid)


def rows(regions: Regions) -> list[tuple[int, list[float], int, int]]:
    return sorted(
        (int(roi[0]), roi[1:].tolist(), label, number)
        for roi, label, number in zip(regions.rois, regions.labels.tolist(), regions.object.tolist(), strict=True)
    )


def test_objects_are_proposals_themselves() -> None:
    truth = truth_of([([10.0, 10, 50, 50], 2), ([60.0, 60, 90, 95], 1)], [([0.0, 0, 30, 30], 3)])
    proposals = proposals_of([[12.0, 10, 50, 52], [70, 0, 90, 20]], [[0.0, 0, 30, 16], [1, 0, 30, 29], [0, 50, 9, 70]])
    regions = choose_regions(proposals, truth, SIZES, CLASSES, ALL)
    assert rows(regions) == [
        (0, [10, 10, 50, 50], 2, 0),
        (0, [12, 10, 50, 52], 2, 0),
        (0, [60, 60, 90, 95], 1, 1),
        (0, [70, 0, 90, 20], CLASSES, 0),
        (1, [0, 0, 30, 16], 3, 0),  # just over one half
        (1, [0, 0, 30, 30], 3, 0),
        (1, [0, 50, 9, 70], CLASSES, 0),
        (1, [1, 0, 30, 29], 3, 0),
    ]
    assert torch.equal(regions.positive, regions.labels != CLASSES)
    assert regions.rois[:, 0].tolist() == sorted(regions.rois[:, 0].tolist())


def test_an_object_takes_its_best_proposal_even_from_a_better_match() -> None:
    # The proposal overlaps the first object more, but the second has no better one: the rule's later object wins.
    truth = truth_of([([0.0, 0, 40, 40], 0), ([0.0, 0, 40, 28], 1)])
    proposals = proposals_of([[0.0, 0, 40, 36], [0, 0, 40, 40]])
    regions = choose_regions(proposals, truth, SIZES[:1], CLASSES, ALL)
    assert (0, [0, 0, 40, 36], 1, 1) in rows(regions)


def test_objects_reach_no_further_than_their_picture() -> None:
    truth = truth_of([([-1e6, 50, 1e6, 1e6], 2), ([200.0, 0, 300, 50], 1)])
    regions = choose_regions(proposals_of([]), truth, SIZES[:1], CLASSES, ALL)
    # What lies outside altogether is no proposal.
    assert rows(regions) == [(0, [0, 50, 100, 100], 2, 0)]


def test_nothing_to_learn_from() -> None:
    truth = truth_of([], [])
    regions = choose_regions(proposals_of([], []), truth, SIZES, CLASSES, Sampling(512, 0.25))
    assert regions.rois.shape == (0, 5)
    head = BoxHead(2, CLASSES, hidden=8)
    logits, codes = head(torch.zeros(0, 2, 7, 7))
    losses = box_losses(logits, codes, regions, truth)
    mask_head = MaskHead(2, CLASSES)
    losses["mask"] = mask_loss(mask_head(torch.zeros(0, 2, 14, 14)), regions.labels, torch.zeros(0, 28, 28))
    assert {name: loss.item() for name, loss in losses.items()} == {"cls": 0, "box": 0, "mask": 0}
    torch.stack(list(losses.values())).sum().backward()
    # Distributed training waits for a gradient of every parameter.
    for parameter in (*head.parameters(), *mask_head.parameters()):
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_samples_per_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 300, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 10 + torch.rand(2, 300, 2, generator=generator) * 30], -1)
    truth = truth_of([([0.0, 0, 40, 40], 0)], [([20.0, 20, 70, 60], 1), ([50.0, 50, 90, 90], 2)])
    proposals = Proposals(boxes, torch.ones(2, 300, dtype=torch.bool))
    regions = choose_regions(proposals, truth, SIZES, CLASSES, Sampling(32, 0.25))
    assert torch.bincount(regions.rois[:, 0].long()).tolist() == [32, 32]
    for picture in range(2):
        assert 1 <= int(regions.positive[regions.rois[:, 0] == picture].sum()) <= 8


def test_box_losses_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = truth_of([([10.0, 10, 50, 50], 2), ([60.0, 60, 90, 95], 1)], [([0.0, 0, 30, 30], 3)])
    proposals = proposals_of([[12.0, 10, 50, 52], [70, 0, 90, 20]], [[0.0, 0, 30, 16], [1, 0, 30, 29]])
    regions = choose_regions(proposals, truth, SIZES, CLASSES, ALL)
    count = len(regions.labels)
    logits = torch.randn(count, CLASSES + 1, generator=generator)
    codes = torch.randn(count, CLASSES, 4, generator=generator)
    found = box_losses(logits, codes, regions, truth)

    cross_entropy = distance = 0.0
    for row in range(count):
        label = int(regions.labels[row])
        values = logits[row].double().numpy()
        cross_entropy += np.log(np.exp(values).sum()) - values[label]
        if label < CLASSES:
            box = truth.boxes[int(regions.rois[row, 0]), int(regions.object[row])]
            goal = encode(regions.rois[row, 1:], box, SSD_STDS)
            distance += (codes[row, label] - goal).abs().sum().item()
    assert found["cls"].item() == pytest.approx(cross_entropy / count, rel=1e-5)
    assert found["box"].item() == pytest.approx(distance / count, rel=1e-5)


def test_mask_loss_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, CLASSES, 28, 28, generator=generator)
    labels = torch.tensor([2, 0, 3])
    goals = torch.rand(3, 28, 28, generator=generator) < 0.4
    total = 0.0
    for row, label in enumerate(labels.tolist()):
        probability = logits[row, label].double().sigmoid()
        total -= torch.where(goals[row], probability, 1 - probability).log().sum().item()
    assert mask_loss(logits, labels, goals).item() == pytest.approx(total / goals.numel(), rel=1e-5)


def test_only_the_own_class_learns() -> None:
    logits = torch.zeros(2, CLASSES, 28, 28, requires_grad=True)
    mask_loss(logits, torch.tensor([1, 3]), torch.ones(2, 28, 28)).backward()
    assert logits.grad is not None
    assert logits.grad.ne(0).any(-1).any(-1).nonzero().tolist() == [[0, 1], [1, 3]]


def test_shapes() -> None:
    x: Tensor = torch.randn(5, 6, 7, 7)
    logits, codes = BoxHead(6, CLASSES, hidden=9)(x)
    assert logits.shape == (5, CLASSES + 1)
    assert codes.shape == (5, CLASSES, 4)
    assert MaskHead(6, CLASSES)(torch.randn(5, 6, 14, 14)).shape == (5, CLASSES, 28, 28)
