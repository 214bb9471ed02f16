"""ONNX files as TensorRT engines, on a GPU: built, run at two batch sizes, and compared with PyTorch.

`pip install tensorrt`, then `pytest -m gpu tests/exporting/onnx/test_tensorrt.py`. docs/deploy.md has the command that
builds an engine for an app.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY
from exporting.dense_files import busy
from exporting.small import tiny
from phonecv.detect.exporting import OBJECTS
from phonecv.detect.exporting_checks import compare_objects
from phonecv.exporting import export
from phonecv.exporting.deployable import deployable
from phonecv.models.fusing import fuse

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def run_engine(file: Path, images: np.ndarray, names: tuple[str, ...]) -> list[np.ndarray]:
    """What an engine made of an ONNX file, in the file's own types, gives for pictures."""
    trt: Any = pytest.importorskip("tensorrt")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(file)), [str(parser.get_error(place)) for place in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.clear_flag(trt.BuilderFlag.TF32)
    side = images.shape[1:]
    profile.set_shape("images", (1, *side), (2, *side), (8, *side))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context, given = engine.create_execution_context(), torch.from_numpy(images).cuda()
    context.set_input_shape("images", tuple(images.shape))
    context.set_tensor_address("images", given.data_ptr())
    kinds = {trt.DataType.FLOAT: torch.float32, trt.DataType.INT32: torch.int32, trt.DataType.INT64: torch.int64}
    found = {}
    for name in names:
        kind = kinds[engine.get_tensor_dtype(name)]
        found[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=kind, device="cuda")
        context.set_tensor_address(name, found[name].data_ptr())
    stream = torch.cuda.Stream()
    assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    return [found[name].cpu().numpy() for name in names]


@pytest.mark.parametrize("name", list(TINY))
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("fp16", 0.02)])
def test_classifiers(tmp_path: Path, name: str, precision: str, most: float) -> None:
    model = tiny(name)
    export(model, file := tmp_path / "m.onnx", precision=precision, min_agreement=0.0)
    for count in (1, 3):
        images = torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            want = model(images).numpy()
        (got,) = run_engine(file, images.numpy(), ("logits",))
        assert np.abs(got - want).max() < most * max(1, np.abs(want).max())


@pytest.mark.parametrize("architecture", ["ssdlite320", "retinanet_fpn"])
def test_detectors_with_suppression(tmp_path: Path, architecture: str) -> None:
    detector = busy(architecture)
    export(detector, file := tmp_path / "m.onnx", decode="final", size=(96, 96))
    module, names = deployable(fuse(detector), decode="final", size=(96, 96))
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        want = [output.numpy() for output in module(images)]
    got = run_engine(file, images.numpy(), names)
    assert names == OBJECTS
    assert compare_objects(*(dict(zip(names, side, strict=True)) for side in (want, got))) < 1e-3
