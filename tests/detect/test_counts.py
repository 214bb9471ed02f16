"""Parameters and operation counts of every published row."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import phonecv
from conftest import mostly_long
from phonecv.benchmarking.count import count_cost, count_parameters
from phonecv.dense.fpn import FPN
from phonecv.detect.base import Detector
from phonecv.detect.published import PUBLISHED, PublishedDetector
from phonecv.models.blocks import SqueezeExcite, WindowGrid
from phonecv.models.emo import IRMB

ONE_STAGE = [row for row in PUBLISHED if row.architecture != "mask_rcnn_fpn"]


def name_of(row: PublishedDetector) -> str:
    return f"{row.architecture}-{row.backbone}"


def one_of_each(rows: list[PublishedDetector]) -> list[Any]:
    """The first row of each architecture; the others, which differ in their backbone, are `long`."""
    firsts = {row.architecture: row for row in reversed(rows)}
    return mostly_long(rows, *firsts.values())


class Network(nn.Module):
    """A detector without pre- and post-processing."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Any:
        return self.detector.network(x)


def weightless(row: PublishedDetector) -> Network:
    """The row's detector without memory for weights: shapes are enough for counting."""
    with torch.device("meta"):
        detector = phonecv.create_detector(row.architecture, row.backbone, **row.overrides)
    return Network(detector).eval()


@pytest.mark.parametrize("row", ONE_STAGE, ids=name_of)
def test_parameters(row: PublishedDetector) -> None:
    assert count_parameters(weightless(row)) == row.parameters


def resized(network: nn.Module, size: tuple[int, int]) -> int:
    """Elements that a feature pyramid's up-sampling makes; fvcore counts one operation each."""
    total = 0

    def count(module: nn.Module, inputs: tuple[list[Tensor]], output: list[Tensor]) -> None:
        nonlocal total
        total += sum(x[0].numel() for x in output[: len(inputs[0]) - 1])

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, FPN)]
    with torch.no_grad():
        network(torch.zeros(1, 3, *size, device="meta"))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize("row", one_of_each([row for row in ONE_STAGE if row.operators]), ids=name_of)
def test_operators(row: PublishedDetector) -> None:
    network = weightless(row)
    flops = count_cost(network, row.input_size).flops + resized(network, row.input_size)
    assert flops == row.operators
    assert flops / 1e9 == pytest.approx(row.giga_exact, abs=6e-4)


def published_extras(network: nn.Module, size: tuple[int, int]) -> tuple[int, int, int]:
    """What the published EMO computes and ours spares, and what only fvcore counts.

    The published block cuts the padding of its windows after the expansion that follows the attention, ours before it,
    with the same result. The mean over the map in squeeze-excite is an operator that fvcore counts.

    Returns:
        Multiply-adds of those expansions, their biases, and elements of the mean.
    """
    macs = biases = pooled = 0

    def expansion(block: IRMB, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal macs, biases
        if block.qk is not None:
            grid = WindowGrid(inputs[0].shape[2], inputs[0].shape[3], block.window)
            cells = (grid.height + grid.pad_bottom) * (grid.width + grid.pad_right) - grid.height * grid.width
            macs += cells * block.v.conv.in_channels * block.v.conv.out_channels
            biases += cells * block.v.conv.out_channels

    def mean(module: SqueezeExcite, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal pooled
        pooled += inputs[0].numel()

    handles = [m.register_forward_hook(expansion) for m in network.modules() if isinstance(m, IRMB)]
    handles += [m.register_forward_hook(mean) for m in network.modules() if isinstance(m, SqueezeExcite)]
    with torch.no_grad():
        network(torch.zeros(1, 3, *size, device="meta"))
    for handle in handles:
        handle.remove()
    return macs, biases, pooled


#: EMO counted the way EMOv2's paper counts.
EMO_OPERATORS = {
    "ssdlite320-emo_1m": 0.6217,
    "ssdlite320-emo_2m": 1.0261,
    "ssdlite320-emo_5m": 1.9713,
    "retinanet_fpn-emo_1m": 163.9883,
    "retinanet_fpn-emo_2m": 168.0989,
    "retinanet_fpn-emo_5m": 179.405,
}


@pytest.mark.parametrize("row", one_of_each([row for row in ONE_STAGE if row.paper == "EMO"]), ids=name_of)
def test_operators_of_emo(row: PublishedDetector) -> None:
    network = weightless(row)
    macs, _, pooled = published_extras(network, row.input_size)
    flops = count_cost(network, row.input_size).flops + resized(network, row.input_size) + macs + pooled
    assert flops / 1e9 == pytest.approx(EMO_OPERATORS[name_of(row)], abs=5.1e-5)


def modules_cost(network: Network, size: tuple[int, int]) -> int:
    """The way of EMO's paper: modules with hooks, no attention products, neither SiLU nor GELU.

    Its backbones had synchronised BatchNorm, which that tool does not know; so only necks' and heads' are counted.
    """
    total = 0
    inside = set(network.detector.backbone.modules())

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            taps = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            total += output.numel() * (taps + (module.bias is not None))
        elif isinstance(module, nn.LayerNorm) or (isinstance(module, _BatchNorm) and module not in inside):
            total += 2 * output.numel()
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            total += output.numel()

    handles = [m.register_forward_hook(count) for m in network.modules() if not list(m.children())]
    with torch.no_grad():
        network(torch.zeros(1, 3, *size, device="meta"))
    for handle in handles:
        handle.remove()
    macs, biases, _ = published_extras(network, size)
    return total + macs + biases


@pytest.mark.parametrize("row", one_of_each([row for row in ONE_STAGE if row.counted == "modules"]), ids=name_of)
def test_modules(row: PublishedDetector) -> None:
    found = modules_cost(weightless(row), row.input_size) / 1e9
    assert found == pytest.approx(row.giga_exact, abs=5.1e-5 if found < 10 else 5.1e-3)


def test_fused_detectors_cost_no_norms() -> None:
    detector = phonecv.create_detector("ssdlite320", "mobileone_s0", num_classes=3).eval()
    fused = phonecv.fuse(copy.deepcopy(detector))
    assert not [m for m in fused.modules() if isinstance(m, _BatchNorm)]
    cost = count_cost(Network(fused), 320)
    assert cost.flops == cost.executed_macs < count_cost(Network(detector), 320).executed_macs
