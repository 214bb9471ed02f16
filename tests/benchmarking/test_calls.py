"""Every runtime gives PyTorch's outputs, at batch sizes that were not traced; and wrong ones are noticed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from benchmarking.conftest import Small
from conftest import mostly_long
from phonecv.benchmarking.calls import Call, difference, tiled
from phonecv.benchmarking.candidates import Candidate
from phonecv.benchmarking.onnx_calls import onnxruntime_call, openvino_call
from phonecv.benchmarking.torch_calls import torch_call
from phonecv.benchmarking.worker import check
from phonecv.errors import UserError
from phonecv.models.compiling import compile_for_inference


@pytest.fixture(params=mostly_long(("mobileone", "emov2"), "mobileone"))
def small(request: pytest.FixtureRequest) -> Small:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_eager_agrees_in_both_layouts_and_leaves_the_network_alone(small: Small, batch: int, layout: str) -> None:
    before = copy.deepcopy(small.network.state_dict())
    call = torch_call(
        small.network, (tiled(small.images, batch),), precision="float32", layout=layout, device="cpu", compiled=False
    )
    assert call.layout == layout
    assert difference(call.outputs(), [tiled(small.expected[0], batch)]) < 1e-4
    assert all(torch.equal(before[name], value) for name, value in small.network.state_dict().items())


def test_eager_chooses_one_of_the_layouts_by_itself(small: Small) -> None:
    call = torch_call(small.network, (small.images,), precision="float32", layout="auto", device="cpu", compiled=False)
    assert call.layout in ("nchw", "nhwc")
    assert difference(call.outputs(), small.expected) < 1e-4


def test_eager_in_bfloat16_computes_in_it(small: Small) -> None:
    call = torch_call(small.network, (small.images,), precision="bf16", layout="nchw", device="cpu", compiled=False)
    assert 1e-5 < difference(call.outputs(), small.expected) < 0.5


@pytest.mark.parametrize("batch", [1, 5])
def test_onnxruntime_agrees(small: Small, batch: int) -> None:
    call = onnxruntime_call(small.onnx, (tiled(small.images, batch),), threads=1)
    assert difference(call.outputs(), [tiled(small.expected[0], batch)]) < 1e-4


@pytest.mark.parametrize("batch", [1, 5])
def test_openvino_agrees_and_does_not_take_bfloat16_by_itself(small: Small, batch: int) -> None:
    pytest.importorskip("openvino")
    call = openvino_call(small.onnx, (tiled(small.images, batch),), threads=1, precision="float32")
    assert call.layout == "nhwc"
    assert difference(call.outputs(), [tiled(small.expected[0], batch)]) < 1e-4


def test_int8_files_run_in_both_runtimes(mobileone: Small) -> None:
    """On the pictures that the ranges were taken from, an int8 network is near, but not equal."""
    calls = [onnxruntime_call(mobileone.int8, (mobileone.images,), threads=1)]
    pytest.importorskip("openvino")
    calls.append(openvino_call(mobileone.int8, (mobileone.images,), threads=1, precision="int8"))
    for call in calls:
        assert 1e-5 < difference(call.outputs(), mobileone.expected) < 0.5


def test_a_file_of_another_size_is_named(mobileone: Small) -> None:
    with pytest.raises(UserError, match="not 1 x 3 x 40 x 40"):
        onnxruntime_call(mobileone.onnx, (np.zeros((1, 3, 40, 40), np.float32),), threads=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_agrees(small: Small) -> None:
    """The first stages; whole networks are compiled in models/test_golden_speed.py."""
    images, whole = torch.from_numpy(small.images), small.network
    network = torch.nn.Sequential(whole.get_submodule("stage0"), whole.get_submodule("stage1")).eval()
    try:
        compiled = compile_for_inference(network, images)
    except Exception as error:
        if "compiler" not in str(error).lower():
            raise
        pytest.skip(f"torch.compile needs a C++ compiler: {error}")
    with torch.inference_mode():
        assert difference([compiled(images).numpy()], [network(images).numpy()]) < 1e-5


def test_pictures_are_repeated_in_order() -> None:
    images = np.arange(3.0)[:, None]
    assert tiled(images, 5)[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert tiled(images, 2)[:, 0].tolist() == [0, 1]


def test_difference_is_relative_to_large_outputs_and_absolute_to_small_ones() -> None:
    want = np.array([[100.0, -50.0]])
    assert difference([want + 1], [want]) == pytest.approx(0.01)
    assert difference([np.array([0.1])], [np.array([0.2])]) == pytest.approx(0.1)
    assert difference([np.array([np.nan])], [np.array([0.2])]) == float("inf")
    assert difference([np.zeros(3)], [np.zeros(4)]) == float("inf")


def candidate(limit: float | None) -> Candidate:
    return Candidate("net/eager/float32", "eager", "float32", "auto", "", "", limit)


def call_giving(value: float) -> Call:
    return Call(lambda: None, lambda: [np.full((1, 3), value, np.float32)], "nchw")


def test_wrong_outputs_are_an_error_not_a_row() -> None:
    expected = [np.ones((1, 3), np.float32)]
    assert check(candidate(1e-4), call_giving(1.00005), expected) == pytest.approx(5e-5, rel=0.01)
    with pytest.raises(UserError, match="net/eager/float32 gives wrong outputs"):
        check(candidate(1e-4), call_giving(1.001), expected)
    assert check(candidate(None), call_giving(3.0), expected) == pytest.approx(2.0)
    with pytest.raises(UserError, match="not finite"):
        check(candidate(None), call_giving(float("nan")), expected)
