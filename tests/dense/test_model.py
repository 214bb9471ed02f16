"""The contract that detectors and segmenters share."""

from __future__ import annotations

import torch

import phonecv
from conftest import TINY
from detect.detectors import settled, small
from phonecv.models.fusing import FORM_TOLERANCE, form_difference
from phonecv.models.headed import RawOutputs


def test_raw_outputs_are_those_of_the_network_in_a_row() -> None:
    detector = settled(small("ssdlite320"))
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        logits, codes = detector.network(x)
        flat = RawOutputs(detector)(x)
    assert len(flat) == len(logits) + len(codes) == 12
    assert all(torch.equal(a, b) for a, b in zip(flat, [*logits, *codes], strict=True))


def test_a_head_that_gives_one_tensor_or_none_counts_too() -> None:
    segmenter = phonecv.create_segmenter("segformer", "emov2_1m", num_classes=3, **TINY["emov2_1m"]).eval()
    with torch.no_grad():
        assert [x.shape[1] for x in RawOutputs(segmenter)(torch.randn(1, 3, 64, 64))] == [3]


def test_forms_of_a_detector_are_compared_through_it() -> None:
    detector = settled(small("retinanet_fpn"))
    x = torch.randn(1, 3, 64, 96)
    assert form_difference(RawOutputs(detector), RawOutputs(phonecv.fuse(detector)), x) <= FORM_TOLERANCE
