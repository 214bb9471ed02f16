"""Graphs of detectors and segmenters, against what the networks themselves predict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from detect import test_mask_rcnn as mask_rcnn
from detect.detectors import pictures, small
from exporting.dense_files import busy, busy_masks
from phonecv.detect.exporting import decoding
from phonecv.detect.exporting_boxes import ROUNDS, survivors
from phonecv.detect.exporting_checks import compare_objects
from phonecv.errors import UserError
from phonecv.exporting.deployable import deployable
from segment.tiny import tiny


def random_boxes(batch: int, count: int, *, seed: int = 0, side: float = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, count, 2, generator=generator) * 100
    return torch.cat([corner, corner + 1 + torch.rand(batch, count, 2, generator=generator) * side], -1)


@pytest.mark.parametrize("overlap", [0.1, 0.45, 0.7])
def test_suppression_is_torchvisions(overlap: float) -> None:
    boxes = random_boxes(3, 300)
    boxes[0, 10] = boxes[0, 3]  # a double
    boxes[1, 5, 2:] = boxes[1, 5, :2]  # no area
    labels = torch.randint(0, 3, (3, 300), generator=torch.Generator().manual_seed(1))
    there = torch.arange(300) < torch.tensor([300, 250, 0])[:, None]
    kept = survivors(boxes, there, overlap, labels)
    scores = torch.linspace(1, 0, 300)
    for picture in range(3):
        usable = (there[picture] & (boxes[picture, :, 2:] > boxes[picture, :, :2]).all(1)).nonzero()[:, 0]
        wanted = torchvision.ops.batched_nms(
            boxes[picture, usable].double(), scores[usable].double(), labels[picture, usable], overlap
        )
        assert kept[picture].nonzero()[:, 0].tolist() == sorted(usable[wanted].tolist())
    assert 0 < kept.sum() < there.sum()


@pytest.mark.parametrize("length", [2, 3, ROUNDS, ROUNDS + 1])
def test_chains_of_boxes_are_followed(length: int) -> None:
    """Each overlaps its neighbours alone, so that every second one stays."""
    left = torch.arange(length) * 6.0
    boxes = torch.stack([left, torch.zeros(length), left + 10, torch.full((length,), 10.0)], -1)[None]
    kept = survivors(boxes, torch.ones(1, length, dtype=torch.bool), 0.2)
    assert kept[0].tolist() == [place % 2 == 0 for place in range(length)]


def same_objects(outputs: dict[str, Tensor], wanted: Sequence[Mapping[str, Any]], scales: Tensor) -> int:
    """Assert that a file's objects are the network's; how many there are."""
    found = 0
    for picture, expected in enumerate(wanted):
        count = int(outputs["count"][picture])
        assert count == len(expected["scores"])
        torch.testing.assert_close(outputs["scores"][picture, :count], expected["scores"], atol=1e-5, rtol=1e-5)
        assert outputs["labels"][picture, :count].tolist() == expected["labels"].tolist()
        boxes = expected["boxes"] * scales[picture].repeat(2)
        torch.testing.assert_close(outputs["boxes"][picture, :count], boxes, atol=1e-3, rtol=1e-4)
        assert not outputs["scores"][picture, count:].any()
        assert not outputs["boxes"][picture, count:].any()
        assert (outputs["labels"][picture, count:] == -1).all()
        found += count
    return found


@pytest.mark.parametrize("architecture", ["ssdlite320", "retinanet_fpn"])
@torch.no_grad()
def test_final_boxes_are_the_networks(architecture: str) -> None:
    detector = busy(architecture)
    prepared = detector.prepare(torch.stack(pictures((64, 96), (64, 96), (64, 96))))
    size = (prepared.batch.shape[2], prepared.batch.shape[3])
    module, names = deployable(detector, decode="final", size=size)
    assert names == ("boxes", "scores", "labels", "count")
    outputs = dict(zip(names, module(prepared.batch), strict=True))
    wanted = detector.postprocess(detector.network(prepared.batch), prepared)
    assert same_objects(outputs, wanted, prepared.scales) > 20
    assert outputs["labels"].dtype == outputs["count"].dtype == torch.int32
    free = deployable(detector, decode="final")[0](prepared.batch) if architecture == "retinanet_fpn" else ()
    for one, other in zip(free, outputs.values(), strict=False):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("architecture", ["ssdlite320", "retinanet_fpn"])
@torch.no_grad()
def test_raw_outputs_and_boxes_belong_together(architecture: str) -> None:
    detector = busy(architecture)
    batch = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    raw, names = deployable(detector, decode="raw")
    assert names == ("class_logits", "box_codes")
    logits, codes = raw(batch)
    module, names = deployable(detector, decode="boxes", size=(96, 96))
    assert names == ("scores", "boxes")
    scores, boxes = module(batch)
    assert scores.shape == (2, codes.shape[1], 3)
    # By hand, one anchor after the other.
    record = decoding(detector, 96, 96, "raw")
    levels = detector.make_anchors([tuple(size) for size in record["maps"]])
    anchors = torch.cat(levels)
    assert len(anchors) == codes.shape[1]
    for place in range(0, len(anchors), max(1, len(anchors) // 50)):
        x1, y1, x2, y2 = anchors[place].tolist()
        dx, dy, dw, dh = (codes[0, place] * torch.tensor(record["stds"])).tolist()
        x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
        wanted = [min(max(side, 0), 96) for side in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
        assert boxes[0, place].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-2)
        shares = logits[0, place].softmax(0)[:3] if record["activation"] == "softmax" else logits[0, place].sigmoid()
        torch.testing.assert_close(scores[0, place], shares)


@torch.no_grad()
def test_masks_and_boxes_are_mask_rcnns() -> None:
    detector = busy_masks()
    prepared = detector.prepare(torch.stack([mask_rcnn.picture(seed=seed) for seed in range(3)]))
    module, names = deployable(detector, decode="final", size=(64, 96))
    outputs = dict(zip(names, module(prepared.batch), strict=True))
    detector.paste = False
    wanted = detector.postprocess(detector.network(prepared.batch), prepared)
    # As checks of files do: an overlap at the very limit may decide otherwise in another precision.
    places = outputs["boxes"].shape[1]
    theirs = {name: np.zeros(outputs[name].shape, np.float32) for name in names}
    for picture, expected in enumerate(wanted):
        count = min(places, len(expected["scores"]))
        theirs["count"][picture] = count
        theirs["boxes"][picture, :count] = expected["boxes"] * prepared.scales[picture].repeat(2)
        theirs["masks"][picture, :count] = expected["masks"].squares
        for name in ("scores", "labels"):
            theirs[name][picture, :count] = expected[name]
    theirs["count"] = theirs["count"].astype(int)
    assert theirs["count"].min() > 5
    assert compare_objects(theirs, {name: value.numpy() for name, value in outputs.items()}) < 1e-4


@torch.no_grad()
def test_classes_are_the_largest_resized_logits() -> None:
    model = tiny("segformer", "mobileone_s0")
    batch = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    raw, names = deployable(model, decode="raw")
    assert names == ("logits",)
    (logits,) = raw(batch)
    assert logits.shape == (2, 5, 16, 24)
    module, names = deployable(model, decode="final")
    assert names == ("classes",)
    whole = torch.nn.functional.interpolate(logits, (64, 96), mode="bilinear")
    assert torch.equal(module(batch)[0], whole.argmax(1).int())
    assert len(module(batch)[0].unique()) > 1


@pytest.mark.parametrize(
    ("decode", "size", "message"),
    [
        ("finl", (96, 96), "did you mean 'final'"),
        ("final", (128, 96), "anchors for 96x96 pixels, not for 128x96"),
        ("boxes", (64, 64), "any-size. keeps these anchors"),
        ("raw", (64, 96), "not for 64x96"),
    ],
)
def test_what_a_detector_refuses(decode: str, size: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        deployable(small("ssdlite320", "mobileone_s0").eval(), decode=decode, size=size)


def test_what_mask_rcnn_and_segmenters_refuse() -> None:
    detector = mask_rcnn.make("mobileone_s0").eval()
    with pytest.raises(UserError, match="always holds the decoding"):
        deployable(detector, decode="raw", size=(64, 96))
    with pytest.raises(UserError, match="fixed number of proposals"):
        deployable(detector, decode="final")
    with pytest.raises(UserError, match=r"has no decoding 'boxes' .*final: the class of every pixel"):
        deployable(tiny("segformer", "mobileone_s0"), decode="boxes")
