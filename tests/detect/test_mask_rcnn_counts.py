"""Parameters and operation counts of the published Mask R-CNN rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phonecv
from phonecv.benchmarking.count import count_cost, count_parameters
from phonecv.detect.mask_rcnn import MaskRCNN
from phonecv.detect.published import PUBLISHED, PublishedDetector

ROWS = [row for row in PUBLISHED if row.architecture == "mask_rcnn_fpn"]
#: Published counts hold for so many proposals and masks.
BOXES, MASKS = 1000, 100
HEADS = 67_290_112_000


def weightless(row: PublishedDetector) -> MaskRCNN:
    """The row's detector without memory for weights: shapes are enough for counting."""
    with torch.device("meta"):
        detector = phonecv.create_detector(row.architecture, row.backbone, **row.overrides)
    assert isinstance(detector, MaskRCNN)
    return detector.eval()


class Heads(nn.Module):
    """The second stage on a fixed number of boxes, whatever the picture."""

    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.box_head, self.mask_head = detector.box_head, detector.mask_head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, _ = self.box_head(x.new_zeros(BOXES, 256, 7, 7))
        return logits, self.mask_head(x.new_zeros(MASKS, 256, 14, 14))


class Network(nn.Module):
    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.detector, self.heads = detector, Heads(detector)

    def forward(self, x: Tensor) -> None:
        self.detector.network(x)
        self.heads(x)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.backbone)
def test_parameters(row: PublishedDetector) -> None:
    detector = weightless(row)
    assert count_parameters(detector) == row.parameters
    assert count_parameters(detector.rpn) == 593_935
    assert count_parameters(detector.box_head) + count_parameters(detector.mask_head) == 16_949_985


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.backbone)
def test_operators(row: PublishedDetector) -> None:
    height, width = row.input_size
    # The pyramid's up-sampling, one operation per element, which `count_cost` leaves out.
    resized = sum(256 * (height // stride) * (width // stride) for stride in (4, 8, 16))
    flops = count_cost(Network(weightless(row)), row.input_size).flops + resized
    assert flops == row.operators
    assert flops / 1e9 == pytest.approx(row.giga_exact, abs=6e-4)


def test_operators_of_the_second_stage() -> None:
    assert count_cost(Heads(weightless(ROWS[0])), 32).flops == HEADS
