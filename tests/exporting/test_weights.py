"""8-bit weights with float arithmetic: every weight within half a step, outputs as PyTorch gives for those weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exporting.int8_jobs import FIRST, images, int8_job, signal_to_noise
from phonecv.exporting.job import Job
from phonecv.exporting.onnx.exporter import write_graph
from phonecv.exporting.onnx.weights import SMALLEST, quantize_weights
from phonecv.exporting.perform import captured

# What the toolkits' own imports and passes use.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def rounded(job: Job, smallest: int = 0) -> nn.Module:
    """The module with the weights that 8 bits can hold, made without the exporter."""
    module = copy.deepcopy(job.module)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() >= smallest:
                scale = layer.weight.abs().flatten(1).amax(1) / 127
                scale = scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
                layer.weight.copy_((layer.weight / scale).round() * scale)
    return module


def near(job: Job, got: np.ndarray, smallest: int = 0, tolerance: float = 1e-5) -> None:
    pictures = images(8, 3)
    with torch.no_grad():
        want = rounded(job, smallest)(pictures)[0].numpy()
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()
    assert 20 < signal_to_noise(job, got, pictures) < 60  # near the float network, and not the float network


def test_weights_round_to_the_nearest_step() -> None:
    values = np.random.default_rng(0).normal(size=(4, 6, 3, 3)).astype(np.float32)
    values[1] = 0
    values[2] *= 1e-4
    for axis in (0, 1):
        integers, scales = quantize_weights(values, axis)
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        step = scales.reshape(shape)
        assert integers.dtype == np.int8
        assert len(scales) == values.shape[axis]
        assert np.all(np.abs(integers * step - values) <= step / 2 * (1 + 1e-5))
        assert np.abs(integers).max() == 127
    assert not quantize_weights(values, 0)[0][1].any()


@pytest.mark.parametrize("name", [FIRST, pytest.param("emov2_1m", marks=pytest.mark.long)])
def test_onnx(tmp_path: Path, name: str) -> None:
    import onnx
    import onnxruntime

    from phonecv.exporting.onnx import weights as onnx_weights

    job = int8_job(name)
    source, path = tmp_path / "f.onnx", tmp_path / "q.onnx"
    with captured():
        write_graph(job, source)
    used = onnx_weights.quantize(job, source, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    near(job, np.asarray(session.run(None, {"images": images(8, 3).numpy()})[0]), SMALLEST)
    graph = onnx.load(path).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert len(weights) == used["tensors"]
    for node in weights:
        assert held[node.input[0]].data_type == onnx.TensorProto.INT8
        assert list(held[node.input[1]].dims) == [held[node.input[0]].dims[node.attribute[0].i]]
    shapes = [module.weight.numel() for module in job.module.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert used["tensors"] == sum(count >= SMALLEST for count in shapes)


def test_onnx_leaves_weights_with_another_reader(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from phonecv.exporting.onnx import weights as onnx_weights

    weight = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Gemm", ["a", "v"], ["b"], transB=1),
        helper.make_node("Add", ["b", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [40, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [40, 40])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight, "v")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "f.onnx")
    used = onnx_weights.quantize(int8_job(), tmp_path / "f.onnx", tmp_path / "q.onnx")
    assert used["tensors"] == 1
    assert "w" in {tensor.name for tensor in onnx.load(tmp_path / "q.onnx").graph.initializer}


@pytest.mark.long
def test_openvino(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    with captured():
        from phonecv.exporting.openvino.exporter import quantize_weights

        job = int8_job()
        write_graph(job, tmp_path / "f.onnx")
        model = openvino.Core().read_model(tmp_path / "f.onnx")
        openvino.save_model(model, tmp_path / "f.xml", compress_to_fp16=False)
        model, used = quantize_weights(model)
        openvino.save_model(model, tmp_path / "q.xml", compress_to_fp16=False)
    compiled = openvino.Core().compile_model(tmp_path / "q.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = compiled(images(8, 3).numpy())[0]
    assert 20 < signal_to_noise(job, got, images(8, 3)) < 60  # its scales are 16-bit floats
    layers = [module for module in job.module.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert used["tensors"] == len(layers)  # convolutions too
    sizes = [(tmp_path / f"{stem}.bin").stat().st_size for stem in "fq"]
    assert sizes[0] / sizes[1] > 2.5  # of these tiny layers much is biases


@pytest.mark.long
@pytest.mark.slow
def test_litert(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    from phonecv.exporting.litert import exporter as litert
    from phonecv.exporting.litert.opening import open_session

    job = int8_job()
    with captured():
        source = litert.write(replace(job, precision="float32"), tmp_path).path
        litert.quantize_weights("int8-weights", source, tmp_path / "q.tflite")
    session = open_session(tmp_path / "q.tflite", threads=1)
    near(job, session(images(8, 3).numpy())[0], tolerance=1e-4)
    assert (tmp_path / "q.tflite").stat().st_size < source.stat().st_size
