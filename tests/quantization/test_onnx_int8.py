"""int8 ONNX files: what stays float, what the ranges are, and agreement with ONNX Runtime's own calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from conftest import mostly_long
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.job import Job
from phonecv.exporting.onnx.exporter import write_graph
from phonecv.exporting.onnx.int8 import fold_first, measure_ranges, nodes_of, quantize_file, silus
from phonecv.models import VisionModel
from quantization.networks import images, small


@pytest.fixture(scope="module")
def mobileone() -> VisionModel:
    return small()


def quantized_layers(path: Path) -> int:
    graph = onnx.load(path).graph
    made = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(node.op_type in ("Conv", "Gemm") and node.input[1] in made for node in graph.node)


@pytest.mark.long
def test_layers_by_name_stay_float(mobileone: VisionModel, tmp_path: Path) -> None:
    counts = []
    for number, layers in enumerate(([], ["stage0", "linear"], ["stage3"])):
        path = tmp_path / f"{number}.onnx"
        result = export(
            mobileone, path, precision="int8", calibration=images().numpy(), settings={"float_layers": layers}
        )
        counts.append(quantized_layers(path))
        report = result.report["settings"]
        assert report["operators"]["quantized"] == counts[-1]
    every = counts[0]
    assert counts == [every, every - 2, every - 4]  # stage 3 has two pairs
    with pytest.raises(UserError, match="stage9"):
        export(
            mobileone, tmp_path / "x.onnx", precision="int8", calibration=images().numpy(),
            settings={"float_layers": ["stage9"]},
        )  # fmt: skip
    assert not (tmp_path / "x.onnx").exists()
    with pytest.raises(UserError, match="calibrat"):
        export(mobileone, tmp_path / "x.onnx", precision="int8")


def test_float_layers_are_not_rounded_when_the_file_is_loaded(mobileone: VisionModel, tmp_path: Path) -> None:
    """ONNX Runtime's optimizer would quantize float weights between quantized tensors, with a single scale."""
    import onnxruntime

    source, path, pictures = tmp_path / "x.onnx", tmp_path / "q.onnx", images().numpy()
    write_graph(Job(mobileone, (images(2),), ("logits",), "m"), source)
    stay = nodes_of(source, ["stage1", "stage3.1.reparam_conv"])
    assert len(stay) == 3
    quantize_file(source, pictures, path, stay=stay)
    outputs = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        outputs.append(np.asarray(session.run(None, {"images": pictures})[0]))
    # Integer kernels round a little differently; a weight rounded by the wrong scale is another matter.
    assert np.abs(outputs[0] - outputs[1]).max() < 0.02 * np.abs(outputs[0]).max()


@pytest.mark.parametrize(("height", "width"), mostly_long([(64, 64), (32, 70)], (32, 70)))
def test_the_first_layer_reads_blocks_and_gives_the_same(
    mobileone: VisionModel, tmp_path: Path, height: int, width: int
) -> None:
    import onnxruntime

    source = tmp_path / "x.onnx"
    pictures = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    write_graph(Job(mobileone, (pictures,), ("logits",), "m"), source)
    model = onnx.load(source)
    fold_first(model)
    onnx.checker.check_model(model, full_check=True)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    assert list(weights.dims)[1:] == [12, 2, 2]
    plain, folded = (
        np.asarray(onnxruntime.InferenceSession(data).run(None, {"images": pictures.numpy()})[0])
        for data in (source.read_bytes(), model.SerializeToString())
    )
    assert np.abs(plain - folded).max() < 1e-5 * np.abs(plain).max()


@pytest.mark.parametrize(
    ("size", "free", "folds"),
    [
        ((64, 64), False, True),
        pytest.param((64, 65), False, False, marks=pytest.mark.long),
        pytest.param((64, 64), True, False, marks=pytest.mark.long),
    ],
)
def test_a_first_layer_of_which_kind_is_folded(
    mobileone: VisionModel, tmp_path: Path, size: tuple[int, int], free: bool, folds: bool
) -> None:
    source = tmp_path / "x.onnx"
    write_graph(Job(mobileone, (torch.randn(2, 3, *size),), ("logits",), "m", dynamic_size=free), source)
    model = onnx.load(source)
    before = model.SerializeToString()
    fold_first(model, [node.name for node in model.graph.node])  # one that stays in floating point
    assert model.SerializeToString() == before
    fold_first(model)
    assert (model.SerializeToString() != before) == folds


def test_ranges_are_those_of_onnx_runtimes_calibrator(mobileone: VisionModel, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    pictures = images(6).numpy()

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(np.split(pictures, 6))

        def get_next(self) -> dict[str, np.ndarray]:
            part = next(self.left, None)
            return None if part is None else {"images": part}  # type: ignore[return-value]

    source = tmp_path / "x.onnx"
    write_graph(Job(mobileone, (torch.from_numpy(pictures[:2]),), ("logits",), "m"), source)
    calibrator = create_calibrator(
        source, ["Conv", "Gemm"], str(tmp_path / "augmented.onnx"), calibrate_method=CalibrationMethod.MinMax
    )
    calibrator.collect_data(Reader())
    wanted = calibrator.compute_data()
    model = onnx.load(source)
    names = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    ours = measure_ranges(model, pictures, 100.0, names, tmp_path)
    assert set(ours) <= set(wanted.keys())
    assert len(ours) > len(names)
    for name, (low, high) in ours.items():
        theirs = wanted[name]
        assert low == pytest.approx(min(0.0, np.min(theirs.lowest)), rel=1e-5, abs=1e-6)
        assert high == pytest.approx(max(0.0, np.max(theirs.highest)), rel=1e-5, abs=1e-6)


@pytest.mark.long
def test_a_percentile_makes_ranges_smaller(mobileone: VisionModel, tmp_path: Path) -> None:
    source = tmp_path / "x.onnx"
    write_graph(Job(mobileone, (images(2),), ("logits",), "m"), source)
    scales = []
    for percentile in (100.0, 99.0):
        quantize_file(source, images(8).numpy(), tmp_path / "q.onnx", percentile=percentile)
        graph = onnx.load(tmp_path / "q.onnx").graph
        values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
        scales.append(float(values[first.input[1]]))
    assert scales[1] < 0.9 * scales[0]


def test_silu_is_computed_in_eight_bits(tmp_path: Path) -> None:
    """By ONNX Runtime's own kernels; gates of other values, and what is behind layers left float, stay float."""
    import onnxruntime

    class Gated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.Conv2d(8, 8, 3)

        def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor]:
            features = torch.nn.functional.silu(self.first(pictures))
            features = features * features.mean((2, 3), keepdim=True).sigmoid()
            return (torch.nn.functional.silu(self.second(features)).mean((2, 3)),)

    torch.manual_seed(0)
    network = Gated().eval()
    source, path, pictures = tmp_path / "x.onnx", tmp_path / "q.onnx", images().numpy()
    write_graph(Job(network, (images()[:2],), ("logits",), "m"), source)
    graph = onnx.load(source)
    assert len(silus(graph)) == 4
    (behind,) = nodes_of(source, ["second"])
    assert len(silus(graph, [behind])) == 2
    quantize_file(source, pictures, path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    assert kinds.count("QLinearSigmoid") == kinds.count("QLinearMul") == 2
    (got,) = session.run(None, {session.get_inputs()[0].name: pictures})
    with torch.no_grad():
        want = network(images())[0].numpy()
    assert 10 * np.log10(want.var() / np.square(got - want).mean()) > 15
