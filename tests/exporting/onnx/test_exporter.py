"""ONNX export: every family and form against PyTorch, free sizes, fp16, the record, and files that must be refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import phonecv
from conftest import TINY, mostly_long
from exporting.small import tiny
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import ExportResult, export
from phonecv.exporting.onnx.opening import start_session
from phonecv.exporting.opening import open_session
from phonecv.preprocessing import Preprocessing

#: Batch, height, width: more than one window, a size that no window and no stride divides, not square, the smallest.
SIZES = ((1, 224, 224), (2, 97, 75), (3, 64, 160), (1, 250, 250), (2, 33, 33))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export(tiny("mobileone_s0"), tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.fixture(scope="module")
def written(deployed: ExportResult) -> Path:
    return deployed.path


def run_file(path: Path, images: torch.Tensor) -> list[np.ndarray]:
    """Straight through ONNX Runtime, independently of the export's own session."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"images": images.numpy()})]


def assert_close(got: np.ndarray, want: torch.Tensor) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want.numpy()).max() <= 1e-4 * max(1.0, want.abs().max().item())


@pytest.mark.parametrize(
    ("name", "form"),
    mostly_long(
        [(name, form) for name in TINY for form in ("deploy", "training")],
        ("mobileone_s0", "deploy"),
    ),
)  # fmt: skip
def test_every_family_agrees_with_pytorch(tmp_path: Path, deployed: ExportResult, name: str, form: Any) -> None:
    model = tiny(name)
    ready = (name, form) == ("mobileone_s0", "deploy")
    result = deployed if ready else export(model, tmp_path / "m.onnx", form=form)
    assert result.difference is not None
    assert result.difference < 1e-5
    assert (result.form, result.size, result.model) == (form, (64, 64), name)
    images = torch.randn(5, 3, 64, 64)  # another number than it was traced with
    with torch.no_grad():
        expected = model(images)
    assert_close(run_file(result.path, images)[0], expected)
    assert expected.std(0).min() > 1e-3  # the outputs depend on the input, or nothing was tested


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form", "side"),
    mostly_long(
        [*((name, "deploy", side) for name in TINY for side in (64, 256)), ("mobileone_s0", "training", 64)],
        ("emov2_1m", "deploy", 64),
    ),
)
def test_one_file_serves_every_size(tmp_path: Path, name: str, form: Any, side: int) -> None:
    """Traced where one window covers the last maps, and where several do."""
    model = tiny(name, depths=(1, 1, 2, 1))  # attention in one block, where the family has it
    export(model, tmp_path / "m.onnx", form=form, size=side, dynamic_size=True)
    for batch, height, width in SIZES:
        images = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            assert_close(run_file(tmp_path / "m.onnx", images)[0], model(images))
    graph = onnx.load(tmp_path / "m.onnx").graph
    axes = graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, "height", "width"]
    deepest = max(len(value.type.tensor_type.shape.dim) for value in graph.value_info)
    assert deepest <= 5
    assert open_classifier(tmp_path / "m.onnx").preprocessing.size == side


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    mostly_long([("emo_1m", {}), ("emov2_1m", {}), ("emo_1m", {"window": 0})], ("emov2_1m", {})),
    ids=["emo", "emov2", "whole map"],
)
def test_a_dense_backbone_of_every_size(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    model = tiny(name, num_classes=0, out_indices=(2, 3, 4), **options)
    export(model, tmp_path / "m.onnx", dynamic_size=True)
    for batch, height, width in SIZES[1:4]:
        images = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            wanted = model(images)
        for got, want in zip(run_file(tmp_path / "m.onnx", images), wanted, strict=True):
            assert_close(got, want)


@pytest.mark.parametrize("name", mostly_long(("mobileone_s0", "emov2_1m"), "mobileone_s0"))
def test_half_precision(tmp_path: Path, written: Path, name: str) -> None:
    half = export(tiny(name), tmp_path / "h.onnx", precision="fp16")
    assert half.difference is not None
    assert 1e-5 < half.difference < 0.02
    # The graph itself is a good part of so small a file.
    assert name != "mobileone_s0" or half.bytes < 0.75 * written.stat().st_size
    graph = onnx.load(tmp_path / "h.onnx").graph
    ends = [*graph.input, *graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    kinds = {item.data_type for item in graph.initializer if len(item.dims) == 4}
    assert kinds == {TensorProto.FLOAT16}


@pytest.mark.long
def test_deploy_form_leaves_nothing_to_fold(written: Path) -> None:
    graph = onnx.load(written).graph
    kinds = {node.op_type for node in graph.node}
    assert "BatchNormalization" not in kinds
    assert sum(node.op_type == "Conv" for node in graph.node) == 1 + 2 * sum((1, 1, 2, 1))


def test_non_square_input_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = export(tiny("mobileone_s0"), tmp_path / "m.onnx", size=(64, 96))
    assert capfd.readouterr() == ("", "")
    assert result.size == (64, 96)
    with pytest.raises(UserError, match="64 x 96 pixels"):
        open_classifier(tmp_path / "m.onnx")


def test_dense_backbone(tmp_path: Path) -> None:
    export(tiny("mobileone_s0", num_classes=0, out_indices=(2, 4)), tmp_path / "m.onnx")
    assert [output.name for output in onnx.load(tmp_path / "m.onnx").graph.output] == ["stage2", "stage4"]
    with pytest.raises(UserError, match="a classifier gives one table"):
        open_classifier(tmp_path / "m.onnx")


def test_the_normalisation_can_be_in_the_file(tmp_path: Path) -> None:
    model = tiny("mobileone_s0")
    export(model, tmp_path / "m.onnx", bake=True)
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.preprocessing.mean, model.preprocessing.std))
    normalised = (pixels / 255 - mean) / std
    with torch.no_grad():
        expected = model(normalised)
    assert_close(run_file(tmp_path / "m.onnx", pixels)[0], expected)
    # A reader that normalises, such as evaluation, is told.
    torch.testing.assert_close(open_classifier(tmp_path / "m.onnx")(normalised), expected, rtol=1e-4, atol=1e-4)


def test_the_file_carries_its_record(written: Path) -> None:
    model = tiny("mobileone_s0")
    record = json.loads(written.with_name("model.onnx.json").read_text(encoding="utf-8"))
    assert record["classes"] == list("abcdefß")
    assert record["model"] == "mobileone_s0"
    assert record["preprocessing"]["size"] == 64
    alone = written.with_name("alone.onnx")  # without the JSON beside it
    alone.write_bytes(written.read_bytes())
    runner = open_classifier(alone)
    assert runner.preprocessing == model.preprocessing
    assert runner.class_names == model.class_names
    assert runner.num_classes == 7
    assert runner.batch is None
    assert runner.details["form"] == "deploy"
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(runner(images), model(images), rtol=1e-4, atol=1e-4)


def test_no_path_of_this_machine_is_in_it(written: Path) -> None:
    content = written.read_bytes()
    for folder in (Path(phonecv.__file__).parent, Path(torch.__file__).parent):
        assert str(folder).encode() not in content
    assert b"name_scopes" in content  # but the layer of each operator is


@pytest.mark.long
def test_another_size_is_recorded(tmp_path: Path) -> None:
    export(tiny("mobileone_s0"), tmp_path / "m.onnx", size=96)
    assert open_classifier(tmp_path / "m.onnx").preprocessing.size == 96


def test_threads_are_those_asked_for_and_do_not_spin(written: Path) -> None:
    options = start_session(written, 2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


# --------------------------------------------------------------------------------- foreign files


def foreign(path: Path, *, batch: int | str = "N", channels: int = 3, location: str = "") -> Path:
    """A classifier that nobody of ours wrote: global mean, then a matrix."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [channels, 4], np.eye(channels, 4).ravel().tolist())
    if location:
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, 48, 48])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    return path


def test_foreign_files_run_with_the_usual_preprocessing(tmp_path: Path) -> None:
    runner = open_classifier(foreign(tmp_path / "f.onnx", batch=2))
    assert runner.preprocessing == Preprocessing(size=48)
    assert (runner.class_names, runner.num_classes) == (None, 4)
    assert open_session(tmp_path / "f.onnx").batch == 2
    images = torch.rand(5, 3, 48, 48)
    torch.testing.assert_close(runner(images)[:, :3], images.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_files_that_are_no_classifier_are_refused(tmp_path: Path, shared_dir: Path) -> None:
    with pytest.raises(UserError, match=r"B x 3 x H x W"):
        open_classifier(foreign(tmp_path / "gray.onnx", channels=1))
    with pytest.raises(UserError, match="lie outside its folder"):
        open_classifier(foreign(tmp_path / "escape.onnx", location="../secret.bin"))
    with pytest.raises(UserError, match="lie outside its folder"):
        open_classifier(foreign(tmp_path / "absolute.onnx", location="/etc/passwd"))
    for name in ("noise.onnx", "external_escape.onnx"):
        with pytest.raises(UserError, match=name) as caught:
            open_classifier(shared_dir / "data" / "hostile" / "ckpt" / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.onnx"):
        open_classifier(tmp_path / "empty.onnx")
    with pytest.raises(UserError, match=r"none of the suffixes"):
        open_session(tmp_path / "x.pth")


@pytest.mark.long
@pytest.mark.slow
def test_the_real_network_keeps_its_score(tmp_path: Path, shared_dir: Path) -> None:
    path = tmp_path / "s0.onnx"
    result = export(shared_dir / "weights" / "mobileone_s0_apple_fused.pth", path)
    assert result.difference is not None
    assert result.difference < 1e-4
    scored = phonecv.evaluate(path, shared_dir / "data" / "imagenet-samples")
    assert (scored.top1, scored.top5, scored.count) == (171, 192, 200)


@pytest.mark.long
def test_int8_can_follow_fp16_in_one_process(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from onnx import TensorProto, helper, save\n"
        "from phonecv.exporting.onnx.exporter import _halve\n"
        "ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in 'xy']\n"
        "graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', ends[:1], ends[1:])\n"
        "source, half = Path(sys.argv[1]) / 'a.onnx', Path(sys.argv[1]) / 'b.onnx'\n"
        "save(helper.make_model(graph), source)\n"
        "before = list(sys.path)\n"
        "_halve(source, half)\n"
        "assert sys.path == before\n"
        "from onnxruntime.quantization.shape_inference import quant_pre_process\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
