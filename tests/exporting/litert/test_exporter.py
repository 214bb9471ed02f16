"""LiteRT files: all families against PyTorch, layouts and types, the record inside, files that must be refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phonecv
from conftest import TINY, mostly_long
from kept import kept
from opened import open_classifier
from phonecv.benchmarking.page_models import open_models
from phonecv.cli import main
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.deployable import deployable
from phonecv.exporting.job import Job, Written
from phonecv.exporting.litert import exporter
from phonecv.exporting.litert.exporter import outside_xnnpack
from phonecv.exporting.litert.graph import read_nodes
from phonecv.exporting.opening import open_session
from phonecv.exporting.perform import captured
from phonecv.exporting.record import find_record, record_path
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
flatbuffer_utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")


@kept
def tiny(name: str, **overrides: Any) -> VisionModel:
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_classes": 7, **TINY[name], **overrides}
    return settle(phonecv.create_model(name, **options), size=64)


def job_of(model: VisionModel, height: int, width: int, **values: Any) -> Job:
    module, outputs = deployable(phonecv.fuse(model))
    images = torch.randn(4, 3, height, width, generator=torch.Generator().manual_seed(1))
    record = {"model": model.name, "classes": ["ß", "b"], "outputs": list(outputs)}
    return Job(module, (images,), outputs, "m", record=record, **values)


def written(job: Job, folder: Path) -> Written:
    with captured():  # the converter and what it imports warn and print
        return exporter.write(job, folder)


@torch.no_grad()
def check(job: Job, path: Path, tolerance: float) -> None:
    wanted = [output.numpy() for output in job.module(job.examples[0])]
    got = open_session(path, threads=1, precision=job.precision)(job.examples[0].numpy())
    assert [output.shape for output in got] == [output.shape for output in wanted]
    for have, want in zip(got, wanted, strict=True):
        assert np.abs(want - want[:1]).max() > 20 * tolerance * np.abs(want).max() or tolerance > 0.01
        assert np.abs(have - want).max() <= tolerance * max(1.0, np.abs(want).max())
        if want.ndim == 2:
            assert (have.argmax(1) == want.argmax(1)).all()


# --------------------------------------------------------------------------- small files made by hand


def file_of_another(
    path: Path, shape: tuple[int, ...], *, axes: tuple[int, ...], quantized: bool = False, inputs: int = 1
) -> Path:
    """Means over `axes`, in a file without signature and metadata; inputs beyond the first go nowhere."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    empty, data = schema.BufferT(), schema.BufferT()
    data.data = np.array(axes, np.int32).view(np.uint8)
    code, operator, options = schema.OperatorCodeT(), schema.OperatorT(), schema.ReducerOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
    code.version = 2
    operator.inputs, operator.outputs = [0, 1], [2]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.ReducerOptions, options
    kind = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    left = [side for axis, side in enumerate(shape) if axis not in axes]

    def tensor(name: str, sides: list[int], type_: int, buffer: int = 0) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, sides, type_, buffer
        if type_ == schema.TensorType.INT8:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.02], [3]
        return made

    graph.tensors = [
        tensor("x", list(shape), kind),
        tensor("axes", [len(axes)], schema.TensorType.INT32, 1),
        tensor("y", left, kind),
        tensor("z", list(shape), kind),
    ]
    graph.inputs, graph.outputs, graph.operators = [0, 3][:inputs], [2], [operator]
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [empty, data]
    flatbuffer_utils.write_model(model, str(path))
    return path


@pytest.mark.parametrize(("shape", "axes"), [((1, 8, 6, 3), (1, 2)), ((1, 3, 8, 6), (2, 3)), ((2, 8, 6, 3), (1, 2))])
def test_files_of_others_run_in_both_layouts(tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    session = open_session(file_of_another(tmp_path / "f.tflite", shape, axes=axes))
    assert (session.batch, session.size, dict(session.record)) == (shape[0], (8, 6), {})
    assert session.runtime.startswith("LiteRT 2.")
    images = np.random.default_rng(0).standard_normal((5, 3, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(session(images)[0], images.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_quantized_input_and_output(tmp_path: Path) -> None:
    session = open_session(file_of_another(tmp_path / "q.tflite", (1, 8, 6, 3), axes=(1, 2), quantized=True))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 6)).astype(np.float32)
    (got,) = session(images)
    assert got.dtype == np.float32
    assert np.abs(got - images.mean((2, 3))).max() < 0.02  # a step of the quantization


def test_the_record_beside_a_file_of_another_counts(tmp_path: Path) -> None:
    path = file_of_another(tmp_path / "f.tflite", (1, 8, 8, 3), axes=(1, 2))
    record = {"classes": ["r", "g", "b"], "preprocessing": Preprocessing(size=8).to_dict()}
    path.with_name("f.tflite.json").write_text(json.dumps(record))
    runner = open_classifier(path)
    assert runner.class_names == ("r", "g", "b")
    assert (runner.preprocessing.size, runner.num_classes) == (8, 3)


def with_record(path: Path, record: Mapping[str, Any]) -> Path:
    """A file for pictures of 8 x 8 with the record inside and nothing beside it."""
    model = flatbuffer_utils.read_model(str(file_of_another(path, (1, 8, 8, 3), axes=(1, 2))))
    exporter._add_metadata(model, exporter.METADATA, json.dumps(record).encode())
    flatbuffer_utils.write_model(model, str(path))
    return path


INSIDE = {
    "model": "m",
    "classes": ["r", "g", "b"],
    "num_classes": 3,
    "input_size": [8, 8],
    "preprocessing": Preprocessing(size=8, mean=(0.1, 0.2, 0.3)).to_dict(),
}


def test_a_file_alone_is_known_by_the_record_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = with_record(tmp_path / "f.tflite", INSIDE)
    assert find_record(path) == INSIDE
    assert main(["info", str(path)]) == 0
    assert "r, g, b" in capsys.readouterr().out
    runner = open_classifier(path)
    assert (runner.class_names, runner.preprocessing.mean) == (("r", "g", "b"), (0.1, 0.2, 0.3))
    (offered,) = open_models([path])
    page = offered.to_page(0)
    assert (page["classes"], page["input_size"]) == (["r", "g", "b"], [8, 8])
    assert page["preprocessing"]["mean"] == [0.1, 0.2, 0.3]
    assert not caplog.records
    # What lies beside it says more, and counts.
    record_path(path).write_text(json.dumps(INSIDE | {"precision": "int8"}))
    assert find_record(path)["precision"] == "int8"


@pytest.mark.parametrize("record", [b"[]", b"{", b"\xff\xfe{", b"[" * 100_000])
def test_a_damaged_record_inside_is_named(tmp_path: Path, record: bytes) -> None:
    path = with_record(tmp_path / "f.tflite", {"padding": "x" * len(record)})
    content, own = path.read_bytes(), json.dumps({"padding": "x" * len(record)}).encode()
    assert content.count(own) == 1
    path.write_bytes(content.replace(own, record.ljust(len(own))))
    with pytest.raises(UserError, match=r"the record in .*f\.tflite"):
        find_record(path)


def test_the_record_is_read_without_litert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_record(tmp_path / "f.tflite", INSIDE)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ai_edge_litert"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert find_record(path).get("classes") == ["r", "g", "b"]


def test_damage_anywhere_in_a_file_is_no_traceback(tmp_path: Path) -> None:
    content = with_record(tmp_path / "f.tflite", INSIDE).read_bytes()
    random, path = np.random.default_rng(0), tmp_path / "g.tflite"
    outcomes: set[type] = set()
    for _ in range(300):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = random.integers(8, len(damaged), 40)
        damaged[places] = random.integers(0, 256, 40)
        path.write_bytes(damaged.tobytes())
        try:
            outcomes.add(type(find_record(path)))
        except UserError:
            outcomes.add(UserError)
    assert outcomes == {dict, UserError}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "does not start as one"),
        (lambda content: b"garbage" * 100, "does not start as one"),
        (lambda content: content[:4] + b"TFL3" + bytes(range(256)) * 8, "cannot be used in LiteRT|crashes LiteRT"),
        (lambda content: content[: len(content) // 2], "cannot be used in LiteRT|crashes LiteRT"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = file_of_another(tmp_path / "g.tflite", (1, 8, 6, 3), axes=(1, 2))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        open_session(path)
    assert "\n" not in str(caught.value)
    assert "g.tflite" in str(caught.value)


def test_files_that_take_no_picture_are_refused(tmp_path: Path) -> None:
    for shape, inputs in (((1, 8, 6, 4), 1), ((1, 8, 6, 3), 2)):
        path = file_of_another(tmp_path / "f.tflite", shape, axes=(1, 2), inputs=inputs)
        with pytest.raises(UserError, match="takes one batch of pictures"):
            open_session(path)
    session = open_session(file_of_another(tmp_path / "f.tflite", (1, 8, 6, 3), axes=(1, 2)))
    with pytest.raises(UserError, match="takes 8 x 6 pixels, not 6 x 8"):
        session(np.zeros((1, 3, 6, 8), np.float32))


def test_operators_outside_xnnpack_are_found(tmp_path: Path) -> None:
    """A mean is computed by XNNPACK; the place of the largest value by the interpreter itself."""
    path = file_of_another(tmp_path / "mean.tflite", (1, 8, 6, 3), axes=(1, 2))
    assert outside_xnnpack(read_nodes(path), path) == []
    model = flatbuffer_utils.read_model(str(path))
    graph, options = model.subgraphs[0], schema.ArgMaxOptionsT()
    options.outputType = graph.tensors[2].type = schema.TensorType.INT32
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.ARG_MAX
    graph.operators[0].builtinOptionsType = schema.BuiltinOptions.ArgMaxOptions
    graph.operators[0].builtinOptions = options
    graph.tensors[1].shape, graph.tensors[2].shape = [1], [1, 8, 6]
    model.buffers[graph.tensors[1].buffer].data = np.array([3], np.int32).view(np.uint8)
    path = tmp_path / "largest.tflite"
    flatbuffer_utils.write_model(model, str(path))
    (node,) = outside_xnnpack(read_nodes(path), path)
    assert node.operator.kind == "ARG_MAX"


# ------------------------------------------------------------------------------- converted networks


@pytest.fixture(scope="module")
def converted() -> tuple[Job, bytes]:
    """What every precision of a network starts from."""
    job = job_of(tiny("mobileone_s0"), 64, 64)
    with captured():
        return job, exporter.converted(job)


@pytest.fixture(scope="module")
def mobileone(converted: tuple[Job, bytes], tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Written]:
    job, content = converted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "converted", lambda job: content)
        return job, written(job, tmp_path_factory.mktemp("litert"))


@pytest.mark.slow
def test_mobileone_agrees_with_pytorch(mobileone: tuple[Job, Written]) -> None:
    job, made = mobileone
    check(job, made.path, 1e-5)
    assert [file.name for file in made.path.parent.iterdir()] == ["m.tflite"]


@pytest.mark.slow
def test_the_file_describes_itself(mobileone: tuple[Job, Written]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    job, made = mobileone
    assert open_session(made.path).record == job.record
    interpreter = Interpreter(str(made.path))
    runner = interpreter.get_signature_runner()
    (entry,) = runner.get_input_details().values()
    assert list(runner.get_input_details()) == ["images"]
    assert entry["shape"].tolist() == [1, 64, 64, 3]
    assert list(runner.get_output_details()) == ["logits"]


@pytest.mark.slow
def test_the_report_is_by_operator_and_layer(mobileone: tuple[Job, Written]) -> None:
    _, made = mobileone
    report = made.report
    assert report["inputs"] == [{"name": "images", "layout": "NHWC", "type": "float32"}]
    assert report["operators"]["CONV_2D"] == 6
    assert report["operators"]["DEPTHWISE_CONV_2D"] == 5
    assert sum(report["operators"].values()) == made.operators
    # No transpose of the picture: the first operator works on what the phone gives.
    assert report["operators"].get("TRANSPOSE", 0) <= 1
    assert report["xnnpack"] == {"share": 1.0, "outside": []}
    assert [(place["accelerator"], place["outside"]) for place in report["where"]] == [("gpu", []), ("npu", [])]


@pytest.mark.slow
@pytest.mark.parametrize("size", [pytest.param((64, 64), marks=pytest.mark.long), (128, 160)])
@pytest.mark.parametrize("name", mostly_long(["emo_1m", "emov2_1m"], "emov2_1m"))
def test_emo_agrees_with_pytorch(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    job = job_of(tiny(name, depths=(1, 1, 2, 1)), *size)  # attention in one block
    made = written(job, tmp_path)
    check(job, made.path, 1e-5)
    outside = made.report["where"][0]["outside"]
    if size == (64, 64):
        assert outside == []
    else:  # windows are cut with five axes
        (entry,) = outside
        assert (entry["rule"], set(entry["operators"])) == ("axes", {"RESHAPE", "TRANSPOSE"})
        # An operator that was merged with one of the next layer is named after that.
        assert {layer[:8] for layer in entry["layers"]} >= {"stage3.1"}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_half_precision(tmp_path: Path, name: str) -> None:
    job = job_of(tiny(name, widths=(32, 48, 64, 96)), 256, 160, precision="fp16")
    made = written(job, tmp_path)
    check(job, made.path, 0.02)
    weights = sum(value.numel() for value in job.module.state_dict().values())
    assert made.path.stat().st_size < 2.6 * weights + 200_000
    assert made.report["settings"]["weights"] == "float16"
    assert made.report["where"][0]["outside"] == []  # windows with four axes, too
    assert open_session(made.path).record == job.record


@pytest.mark.long
@pytest.mark.slow
def test_several_outputs_come_in_order(tmp_path: Path) -> None:
    job = job_of(tiny("mobileone_s0", out_indices=(4, 1, 2)), 64, 96)
    check(job, written(job, tmp_path).path, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", mostly_long(["int8", "int8-weights"], "int8-weights"))
def test_int8_goes_through_the_same_writer(
    converted: tuple[Job, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    job, content = converted
    monkeypatch.setattr(exporter, "converted", lambda job: content)
    job = replace(job, precision=precision, calibration=job.examples[0].numpy())
    made = written(job, tmp_path)
    with torch.no_grad():
        want = job.module(job.examples[0])[0].numpy()
    session = open_session(made.path)
    (got,) = session(job.examples[0].numpy())
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.95
    assert session.record == job.record
    assert "int8" in made.report["settings"]["weights"]
    assert [file.name for file in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.long
@pytest.mark.slow
def test_the_real_network_from_end_to_end(tmp_path: Path, shared_dir: Path) -> None:
    path, images = tmp_path / "s0.tflite", shared_dir / "data" / "imagenet-samples"
    weights = shared_dir / "weights" / "mobileone_s0_apple_fused.pth"
    result = export(weights, path, images=images)
    assert result.difference is not None
    assert result.difference < 1e-5
    assert (result.agreement, result.checked_by[:7]) == (1.0, "LiteRT ")
    assert result.bytes < 8.6e6
    runner = open_classifier(path)
    assert runner.num_classes == 1000
    assert runner.details["form"] == "deploy"
    half = export(weights, tmp_path / "h.tflite", images=images, precision="fp16")
    assert half.difference is not None
    assert half.difference < 0.02
    assert half.bytes < 4.4e6
