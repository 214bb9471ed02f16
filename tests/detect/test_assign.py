"""Assignment against the published implementation and a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from detect.golden import misc
from detect.test_anchors import levels_of
from detect.test_boxes import random_boxes
from phonecv.detect.assign import IGNORED, NEGATIVE, assign, pad_targets
from phonecv.detect.boxes import pairwise_iou
from phonecv.errors import UserError

RULES: dict[str, dict[str, Any]] = {
    "ssd320": {"positive": 0.5, "negative": 0.5, "least": 0.0, "ties": "first"},
    "retinanet": {"positive": 0.5, "negative": 0.4, "least": 0.0},
    "rpn": {"positive": 0.7, "negative": 0.3, "least": 0.3},
}


@pytest.mark.parametrize("name", list(RULES))
def test_published_numbers(name: str) -> None:
    golden = misc()["assign"][name]
    anchors = torch.cat(levels_of(name, [tuple(size) for size in golden["maps"]]))
    boxes = torch.tensor(golden["gt"], dtype=torch.float32)[None]
    index = assign(anchors, boxes, torch.ones(1, 5, dtype=torch.bool), **RULES[name]).index[0]
    assert len(index) == golden["anchors"]
    assert int((index == IGNORED).sum()) == golden["ignored"]
    assert int((index == NEGATIVE).sum()) == golden["background"]
    where = (index >= 0).nonzero().flatten().tolist()
    assert {str(i): int(index[i]) for i in where} == golden["positive"]


def looped(
    anchors: Tensor,
    boxes: Tensor,
    valid: Tensor,
    positive: float,
    negative: float,
    least: float,
    ties: str,
    usable: Tensor,
) -> list[int]:
    """The rule, anchor by anchor and object by object."""
    overlap = pairwise_iou(boxes, anchors)
    index = []
    for n in range(len(anchors)):
        if not usable[n]:
            index.append(IGNORED)
            continue
        values = [overlap[g, n].item() if valid[g] else -1.0 for g in range(len(boxes))]
        best = max(range(len(values)), key=lambda g: values[g])
        if values[best] >= positive:
            index.append(best)
        else:
            index.append(NEGATIVE if values[best] < negative else IGNORED)
    places = [n for n in range(len(anchors)) if usable[n]]
    for g in range(len(boxes)):
        if not valid[g] or not places:
            continue
        best = max(overlap[g, n].item() for n in places)
        if best < least or best == 0:
            continue
        takers = [n for n in places if overlap[g, n].item() == best]
        for n in takers[:1] if ties == "first" else takers:
            index[n] = g
    return index


@pytest.mark.parametrize("ties", ["all", "first"])
@pytest.mark.parametrize("shared", [True, False])
def test_equals_a_plain_loop(ties: Any, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    B, G, N = 5, 6, 80
    anchors = random_boxes(B, N, seed=4).round()
    anchors[:, 40:] = anchors[:, :40]  # ties
    boxes = random_boxes(B, G, seed=5).round()
    boxes[1, 3] = boxes[1, 0]  # two objects that want the same anchors
    valid = torch.rand(B, G, generator=generator) < 0.7
    valid[2] = False
    usable = torch.rand(B, N, generator=generator) < 0.8
    if shared:
        anchors = anchors[:1].expand(B, -1, -1)
    rule = {"positive": 0.3, "negative": 0.2, "least": 0.1}
    given = anchors[0] if shared else anchors
    found = assign(given, boxes, valid, **rule, ties=ties, usable=usable).index
    for b in range(B):
        assert found[b].tolist() == looped(anchors[b], boxes[b], valid[b], **rule, ties=ties, usable=usable[b])
    # Large batches are taken in groups of pictures.
    monkeypatch.setattr("phonecv.detect.assign._PAIRS", 2 * G * N)
    assert torch.equal(found, assign(given, boxes, valid, **rule, ties=ties, usable=usable).index)


def test_without_objects_everything_is_background() -> None:
    anchors = random_boxes(9)
    usable = torch.ones(2, 9, dtype=torch.bool)
    usable[1, 4] = False
    for boxes, valid in (
        (torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool)),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool)),
    ):
        found = assign(anchors, boxes, valid, positive=0.5, negative=0.4, least=0.0, usable=usable)
        assert found.negative.sum() == 17
        assert found.index[1, 4] == IGNORED
        assert not found.positive.any()


def test_an_object_far_from_every_anchor_takes_none() -> None:
    found = assign(
        random_boxes(9), torch.tensor([[[900.0, 900, 910, 910]]]), torch.ones(1, 1, dtype=torch.bool),
        positive=0.5, negative=0.5, least=0.0,
    )  # fmt: skip
    assert found.negative.all()


def test_padding_marks_what_cannot_be_learnt() -> None:
    boxes, labels, valid = pad_targets(
        [
            {
                "boxes": torch.tensor([[1, 2, 3, 4], [5, 5, 9, 9], [5, 5, 5, 9]]),
                "labels": torch.tensor([3, 4, 5]),
                "crowd": torch.tensor([False, True, False]),
            },
            {"boxes": torch.zeros(0), "labels": torch.zeros(0)},
            {
                "boxes": torch.tensor([[0, 0, float("nan"), 3], [0, 0, float("inf"), 3], [4, 0, 2, 3], [0, 0, 1, 1]]),
                "labels": torch.arange(4),
            },
        ]
    )
    assert boxes.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert valid.tolist() == [[True, False, False, False], [False] * 4, [False, False, False, True]]
    assert boxes[0, 0].tolist() == [1, 2, 3, 4]
    assert boxes.isfinite().all()
    assert labels[2].tolist() == [0, 1, 2, 3]


def test_a_batch_without_objects_has_one_unusable_row() -> None:
    boxes, labels, valid = pad_targets([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}] * 2)
    assert boxes.shape == (2, 1, 4)
    assert labels.shape == (2, 1)
    assert not valid.any()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"labels": torch.zeros(1)}, "no boxes"),
        ({}, "no boxes and no labels"),
        ({"boxes": torch.zeros(2, 4), "labels": torch.zeros(3)}, r"\(2, 4\).*\(3,\)"),
        ({"boxes": torch.zeros(2, 5), "labels": torch.zeros(2)}, "N x 4"),
    ],
)
def test_targets_of_other_shapes_are_refused(target: dict[str, Tensor], said: str) -> None:
    with pytest.raises(UserError, match=said):
        pad_targets([target])
