"""Proposals: anchors and their assignment against the reference, choice of boxes, losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from detect import golden
from phonecv.detect.anchors import grid_anchors
from phonecv.detect.assign import IGNORED, NEGATIVE, assign
from phonecv.detect.base import Truth
from phonecv.detect.boxes import decode, encode
from phonecv.detect.rpn import ProposalHead, proposal_losses, propose
from phonecv.detect.sampling import Sampling

STRIDES = (4, 8, 16, 32, 64)
ALL = Sampling(None, positive=0.5)


def rpn_anchors(sizes: list[tuple[int, int]]) -> list[Tensor]:
    return grid_anchors(sizes, strides=STRIDES, scales=(8.0,), ratios=(0.5, 1.0, 2.0))


def test_anchors_are_the_references() -> None:
    wanted = golden.misc()["anchors"]["rpn"]
    levels = rpn_anchors([tuple(size) for size in wanted["maps"]])
    assert [len(level) for level in levels] == wanted["counts"]
    assert sum(wanted["counts"]) == wanted["total"]
    for level, first, second, last in zip(levels, wanted["first"], wanted["second_cell"], wanted["last"], strict=True):
        np.testing.assert_allclose(level[0], first, atol=1e-4)
        np.testing.assert_allclose(level[3], second, atol=1e-4)
        np.testing.assert_allclose(level[-1], last, atol=2e-4)


def test_assignment_is_the_references() -> None:
    wanted = golden.misc()["assign"]["rpn"]
    boxes = torch.tensor(wanted["gt"])[None]
    anchors = torch.cat(rpn_anchors([tuple(size) for size in wanted["maps"]]))
    assert len(anchors) == wanted["anchors"]
    valid = torch.ones(1, boxes.shape[1], dtype=torch.bool)
    index = assign(anchors, boxes, valid, positive=0.7, negative=0.3, least=0.3).index[0]
    assert int((index == IGNORED).sum()) == wanted["ignored"]
    assert int((index == NEGATIVE).sum()) == wanted["background"]
    places = (index >= 0).nonzero()[:, 0]
    assert {str(place): index[place].item() for place in places.tolist()} == wanted["positive"]


def random_outputs(pictures: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Scores, codes and anchors of a small pyramid (64 x 96 pixels)."""
    generator = torch.Generator().manual_seed(seed)
    anchors = rpn_anchors([(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)])
    scores = [torch.randn(pictures, len(level), generator=generator) * 3 for level in anchors]
    codes = [torch.randn(pictures, len(level), 4, generator=generator) * 0.5 for level in anchors]
    return scores, codes, anchors


def test_proposals_against_one_picture_and_level_at_a_time() -> None:
    scores, codes, anchors = random_outputs(3)
    sizes = [(64, 96), (50, 96), (12, 12)]
    found = propose(scores, codes, anchors, torch.tensor(sizes), candidates=200, keep=100)
    for picture, (height, width) in enumerate(sizes):
        boxes, values = [], []
        for score, code, anchor in zip(scores, codes, anchors, strict=True):
            order = score[picture].argsort(descending=True)[:200]
            box = decode(anchor[order], code[picture, order], clip=(height, width))
            real = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
            box, value = box[real], score[picture, order][real]
            kept = torchvision.ops.nms(box, value, 0.7)
            boxes.append(box[kept])
            values.append(value[kept])
        best = torch.cat(values).argsort(descending=True)[:100]
        valid = found.valid[picture]
        torch.testing.assert_close(found.boxes[picture][valid], torch.cat(boxes)[best])
        assert not found.boxes[picture][~valid].any()
    # The small picture has fewer: most anchors are outside and leave nothing.
    assert not found.valid.all()


def test_proposals_skip_what_is_not_a_number() -> None:
    scores, codes, anchors = random_outputs(1)
    scores[0][0, 5] = 100.0
    codes[0][0, 5] = torch.nan
    found = propose(scores, codes, anchors, torch.tensor([[64, 96]]), candidates=50, keep=20)
    assert found.boxes.isfinite().all()


def test_pictures_without_proposals() -> None:
    scores, codes, anchors = random_outputs(2)
    # Far off to the right: nothing is left of a box once it is cut to its picture.
    codes = [code + torch.tensor([1000.0, 0, 0, 0]) for code in codes]
    found = propose(scores, codes, anchors, torch.tensor([[64, 96]] * 2), candidates=50, keep=20)
    assert found.boxes.shape == (2, 0, 4)
    assert found.valid.shape == (2, 0)


def truth_of(boxes: list[list[list[float]]]) -> Truth:
    """Objects of one class in pictures that have equally many, or none."""
    most = max(len(some) for some in boxes) or 1
    padded = torch.zeros(len(boxes), most, 4)
    valid = torch.zeros(len(boxes), most, dtype=torch.bool)
    for i, some in enumerate(boxes):
        if some:
            padded[i, : len(some)] = torch.tensor(some)
            valid[i, : len(some)] = True
    return Truth(padded, torch.zeros(len(boxes), most, dtype=torch.int64), valid)


def flat_outputs(pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    scores, codes, anchors = random_outputs(pictures)
    return torch.cat(scores, 1), torch.cat(codes, 1), torch.cat(anchors)


def test_losses_against_a_loop() -> None:
    scores, codes, anchors = flat_outputs(3)
    truth = truth_of([[[3.0, 5, 40, 30], [50, 20, 90, 60]], [[20.0, 20, 36, 36]], []])
    usable = torch.rand(3, len(anchors), generator=torch.Generator().manual_seed(0)) < 0.9
    found = proposal_losses(scores, codes, anchors, truth, ALL, usable)

    assigned = assign(anchors, truth.boxes, truth.valid, positive=0.7, negative=0.3, least=0.3, usable=usable)
    cross_entropy = distance = 0.0
    count = 0
    for picture in range(3):
        positives = negatives = 0
        for place, index in enumerate(assigned.index[picture].tolist()):
            if index == IGNORED:
                continue
            probability = scores[picture, place].double().sigmoid().item()
            if index >= 0:
                positives += 1
                cross_entropy -= np.log(probability)
                goal = encode(anchors[place], truth.boxes[picture, index])
                distance += (codes[picture, place] - goal).abs().sum().item()
            else:
                negatives += 1
                cross_entropy -= np.log1p(-probability)
        count += max(positives, 1) + max(negatives, 1)
    assert found["rpn_cls"].item() == pytest.approx(cross_entropy / count, rel=1e-5)
    assert found["rpn_box"].item() == pytest.approx(distance / count, rel=1e-5)


def test_ignored_anchors_get_no_gradient() -> None:
    scores, codes, anchors = flat_outputs(1)
    scores.requires_grad_()
    codes.requires_grad_()
    truth = truth_of([[[3.0, 5, 40, 30]]])
    losses = proposal_losses(scores, codes, anchors, truth, ALL)
    (losses["rpn_cls"] + losses["rpn_box"]).backward()
    index = assign(anchors, truth.boxes, truth.valid, positive=0.7, negative=0.3, least=0.3).index
    assert scores.grad is not None
    assert codes.grad is not None
    assert torch.equal(scores.grad != 0, index != IGNORED)
    assert torch.equal((codes.grad != 0).any(-1), index >= 0)


def test_a_batch_without_objects_has_only_background_to_learn() -> None:
    scores, codes, anchors = flat_outputs(2)
    codes.requires_grad_()
    losses = proposal_losses(scores, codes, anchors, truth_of([[], []]), Sampling(32, 0.5))
    assert losses["rpn_cls"] > 0
    assert losses["rpn_box"] == 0
    losses["rpn_box"].backward()
    assert codes.grad is not None
    assert not codes.grad.any()


def test_head_is_the_same_for_all_levels() -> None:
    head = ProposalHead(8, 3)
    x = torch.randn(2, 8, 6, 5)
    scores, codes = head([x, x[..., :3]])
    assert [s.shape for s in scores] == [(2, 3, 6, 5), (2, 3, 6, 3)]
    assert [c.shape for c in codes] == [(2, 12, 6, 5), (2, 12, 6, 3)]
    torch.testing.assert_close(scores[1], head([x[..., :3]])[0][0])
