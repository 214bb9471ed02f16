"""What is read from ONNX files, against counts taken from PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarking.conftest import SIZE, Small
from phonecv.benchmarking import count_cost
from phonecv.benchmarking.exported import write_for_timing
from phonecv.benchmarking.onnx_files import count_macs, is_quantized
from phonecv.benchmarking.subject import Subject, network_subject
from phonecv.errors import UserError
from phonecv.exporting.inputs import picture_input
from phonecv.exporting.onnx.int8 import quantize_file


@pytest.mark.parametrize("name", ["mobileone", pytest.param("emov2", marks=pytest.mark.long)])
def test_multiply_adds_of_a_file_are_those_of_its_network(name: str, request: pytest.FixtureRequest) -> None:
    small: Small = request.getfixturevalue(name)
    executed = count_cost(small.network, SIZE).executed_macs
    assert count_macs(small.onnx, (picture_input(SIZE, SIZE),)) == executed
    # In 8 bits the first layer has a 2 x 2 kernel on 12 channels, zeros among it, for a 3 x 3 one on 3.
    first = next(module for module in small.network.modules() if isinstance(module, nn.Conv2d))
    zeros = first.out_channels * (12 * 4 - 3 * 9) * (SIZE // 2) ** 2
    assert count_macs(small.int8, (picture_input(SIZE, SIZE),)) == executed + zeros


def test_grouped_convolutions_and_turned_products_are_counted(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(6 * 36, 10))
    subject = network_subject(network, name="x", form="deploy", size=8)
    path = write_for_timing("onnx", "float32", tmp_path, subject)
    assert count_macs(path, subject.inputs) == 6 * 36 * 9 + 6 * 36 * 10


def test_quantized_files_are_told_apart(mobileone: Small) -> None:
    assert is_quantized(mobileone.int8)
    assert not is_quantized(mobileone.onnx)


def test_weights_are_quantized_per_channel_and_symmetrically(mobileone: Small) -> None:
    graph = onnx.load(mobileone.int8).graph
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    undo = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    assert convolutions
    for node in convolutions:
        weight = undo[node.input[1]]
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == (len(values[weight.input[0]]),)
        assert not values[weight.input[2]].any()
        assert values[undo[node.input[0]].input[2]].dtype == np.uint8


def test_a_fixed_batch_is_calibrated_in_its_size(mobileone: Small, tmp_path: Path) -> None:
    model = onnx.load(mobileone.onnx)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    quantize_file(tmp_path / "two.onnx", mobileone.images, tmp_path / "two.int8.onnx")
    assert is_quantized(tmp_path / "two.int8.onnx")


class Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.sort(x.numpy()))


def test_a_failed_export_says_how_to_go_on(tmp_path: Path) -> None:
    subject = Subject("x", "deploy", (8, 8), (picture_input(8, 8),), Unexportable())
    with pytest.raises(UserError, match="leave onnxruntime and openvino out with --runtime"):
        write_for_timing("onnx", "float32", tmp_path, subject)
