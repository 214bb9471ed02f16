"""The choice of final boxes against plain loops over pictures, levels and classes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from detect.golden import misc
from detect.test_boxes import random_boxes
from phonecv.dense.inputs import Prepared
from phonecv.detect.boxes import SSD_STDS, UNIT_STDS, decode
from phonecv.detect.one_stage import OneStage
from phonecv.detect.postprocess import Found, best_pairs, class_nms

LEVELS, C, B = (40, 25, 9), 4, 3


def chosen(
    scores: list[Tensor],
    codes: list[Tensor],
    anchors: list[Tensor],
    prepared: Prepared,
    *,
    threshold: float,
    candidates: int,
    overlap: float,
    keep: int,
    stds: Sequence[float] = UNIT_STDS,
    logits: bool = False,
) -> list[Found]:
    """What a detector of one stage makes of levels ``B N classes`` and ``B N 4``, logits or scores as they are."""
    detector = SimpleNamespace(
        box_rule=SimpleNamespace(activation="sigmoid" if logits else "", stds=stds, scores=lambda level: level),
        num_classes=scores[0].shape[2],
        score_threshold=threshold,
        candidates=candidates,
        nms_overlap=overlap,
        max_detections=keep,
        class_agnostic=False,
        anchors=lambda sizes, device: anchors,
    )
    maps = [
        [level.movedim(2, 1)[..., None] for level in levels] for levels in (scores, codes)
    ]  # a cell for each anchor
    return OneStage.postprocess(cast(Any, detector), (maps[0], maps[1]), prepared)


@pytest.mark.parametrize("overlap", [0.45, 0.5, 0.7])
def test_suppression_equals_the_published_numbers(overlap: float) -> None:
    golden = misc()["nms"]
    boxes, scores, labels = (torch.tensor(golden[key]) for key in ("boxes", "scores", "labels"))
    kept = class_nms(boxes, scores, labels, overlap)
    assert kept.tolist() == golden[f"keep_{overlap}"]


def test_suppression_of_many_classes_far_apart() -> None:
    boxes = random_boxes(300, size=1000.0)
    boxes = torch.cat([boxes, boxes + torch.rand(300, 4, generator=torch.Generator().manual_seed(1)) * 4])
    scores = torch.rand(600, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(600) % 1000
    wanted = [i for c in range(1000) for i in of_class(boxes, scores, labels, c, 0.5)]
    assert sorted(class_nms(boxes, scores, labels, 0.5).tolist()) == sorted(wanted)


def of_class(boxes: Tensor, scores: Tensor, labels: Tensor, c: int, overlap: float) -> list[int]:
    mine = (labels == c).nonzero().flatten()
    return mine[torchvision.ops.nms(boxes[mine], scores[mine], overlap)].tolist()


def looped(
    scores: list[Tensor], codes: list[Tensor], anchors: list[Tensor], prepared: Prepared, threshold: float, top: int
) -> list[list[tuple[float, ...]]]:
    """Rows of score, label and box per picture, best first."""
    results = []
    for b, (height, width) in enumerate(prepared.sizes):
        rows = []
        for score, code, anchor in zip(scores, codes, anchors, strict=True):
            boxes = decode(anchor, code[b], SSD_STDS, clip=(height, width))
            pairs = [
                (score[b, n, c].item(), n, c)
                for n in range(len(anchor))
                for c in range(C)
                if score[b, n, c] > threshold
            ]
            rows += [(value, c, *boxes[n].tolist()) for value, n, c in sorted(pairs, reverse=True)[:top]]
        rows = [row for row in rows if row[4] > row[2] and row[5] > row[3]]
        kept = []
        for c in range(C):
            mine = torch.tensor([row for row in rows if row[1] == c]).reshape(-1, 6)
            kept += mine[torchvision.ops.nms(mine[:, 2:], mine[:, 0], 0.5)].tolist()
        scale = prepared.scales[b].repeat(2).tolist()
        kept = [(*row[:2], *(v / s for v, s in zip(row[2:], scale, strict=True))) for row in kept]
        results.append(sorted(kept, reverse=True)[:20])
    return results


@pytest.mark.parametrize(("threshold", "top"), [(0.3, 1000), (0.1, 30), (0.999, 10)])
@pytest.mark.parametrize("logits", [False, True])
def test_equals_a_plain_loop(threshold: float, top: int, logits: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    anchors = [random_boxes(n, seed=n, size=200.0) for n in LEVELS]
    raw = [torch.randn(B, n, C, generator=generator) for n in LEVELS]
    codes = [torch.randn(B, n, 4, generator=generator) * 3 for n in LEVELS]
    prepared = Prepared(
        torch.zeros(B, 3, 192, 256), ((192, 256), (150, 256), (192, 100)), ((384, 256), (75, 128), (192, 100))
    )
    scores = [x.sigmoid() for x in raw]
    found = chosen(
        raw if logits else scores, codes, anchors, prepared,
        threshold=threshold, candidates=top, overlap=0.5, keep=20, stds=SSD_STDS, logits=logits,
    )  # fmt: skip
    wanted = looped(scores, codes, anchors, prepared, threshold, top)
    for result, rows in zip(found, wanted, strict=True):
        assert result["scores"].tolist() == pytest.approx([row[0] for row in rows])
        assert result["labels"].tolist() == [row[1] for row in rows]
        np.testing.assert_allclose(
            result["boxes"].reshape(-1, 4), np.array([row[2:] for row in rows]).reshape(-1, 4), atol=1e-3
        )


def test_nothing_found() -> None:
    prepared = Prepared(torch.zeros(2, 3, 32, 32), ((32, 32),) * 2, ((32, 32),) * 2)
    found = chosen(
        [torch.zeros(2, 5, C)], [torch.zeros(2, 5, 4)], [random_boxes(5)], prepared,
        threshold=0.5, candidates=10, overlap=0.5, keep=10,
    )  # fmt: skip
    for result in found:
        assert {key: tuple(value.shape) for key, value in result.items()} == {
            "boxes": (0, 4), "scores": (0,), "labels": (0,)
        }  # fmt: skip
        assert result["labels"].dtype == torch.int64


def test_boxes_outside_the_picture_are_dropped() -> None:
    prepared = Prepared(torch.zeros(1, 3, 32, 32), ((32, 32),), ((32, 32),))
    anchors = torch.tensor([[40.0, 40, 60, 60], [0, 0, 10, 10]])
    (found,) = chosen(
        [torch.ones(1, 2, 1)], [torch.zeros(1, 2, 4)], [anchors], prepared,
        threshold=0.5, candidates=10, overlap=0.5, keep=10,
    )  # fmt: skip
    assert found["boxes"].tolist() == [[0, 0, 10, 10]]


def test_best_pairs_of_each_picture() -> None:
    scores = torch.tensor([[[3.0, 9], [1, 7]], [[5, 2], [0, 0]]])
    best = {(0, 0, 1, 9.0), (0, 1, 1, 7.0), (1, 0, 0, 5.0)}
    for top, wanted in ((4, best | {(0, 0, 0, 3.0)}), (2, best)):
        found = best_pairs(scores, 2.5, top)
        assert set(zip(*(x.tolist() for x in found), strict=True)) == wanted
