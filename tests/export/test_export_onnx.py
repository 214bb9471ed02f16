"""ONNX export: every family and form against PyTorch, the record in the file, and files that must be refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import phonecv
from conftest import TINY
from phonecv.errors import UserError
from phonecv.export import EXPORTERS, export, open_exported, resolve
from phonecv.export import onnx as exporter
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from settle import settle


def tiny(name: str, **overrides: Any) -> VisionModel:
    torch.manual_seed(0)
    model = settle(phonecv.create_model(name, num_classes=7, **TINY[name], **overrides), size=64)
    model.preprocessing = Preprocessing(size=64, crop=0.9, interpolation="bilinear", mean=(0.1, 0.2, 0.3))
    model.class_names = tuple("abcdefß")
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(tiny("mobileone_s0"), path)
    return path


@pytest.mark.parametrize("form", ["deploy", "training"])
@pytest.mark.parametrize(
    "name", [name if name == "mobileone_s0" else pytest.param(name, marks=pytest.mark.slow) for name in TINY]
)
def test_every_family_agrees_with_pytorch(tmp_path: Path, name: str, form: str) -> None:
    model = tiny(name)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    result = export(model, tmp_path / "m.onnx", form=form)
    assert result.difference is not None
    assert result.difference < 1e-5
    assert (result.form, result.size, result.model) == (form, (64, 64), name)
    # The network given is as it was.
    assert model.form == "training"
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())

    # Independently of the export's own check: another batch size, straight through ONNX Runtime.
    images = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        expected = model(images).numpy()
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    got = np.asarray(session.run(None, {"images": images.numpy()})[0])
    assert np.abs(got - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert expected.std(0).min() > 1e-3  # the outputs depend on the input, or nothing was tested


def test_deploy_form_leaves_nothing_to_fold(written: Path) -> None:
    graph = onnx.load(written).graph
    kinds = {node.op_type for node in graph.node}
    assert "BatchNormalization" not in kinds
    assert sum(node.op_type == "Conv" for node in graph.node) == 1 + 2 * sum((1, 1, 2, 1))


def test_non_square_input(tmp_path: Path) -> None:
    result = export(tiny("emov2_1m"), tmp_path / "m.onnx", size=(64, 96))
    assert result.size == (64, 96)
    with pytest.raises(UserError, match="64 x 96 pixels"):
        open_exported(tmp_path / "m.onnx")


def test_dense_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = settle(phonecv.create_model("mobileone_s0", out_indices=(2, 4), **TINY["mobileone_s0"]), size=64)
    export(model, tmp_path / "m.onnx", size=64)
    assert [output.name for output in onnx.load(tmp_path / "m.onnx").graph.output] == ["stage2", "stage4"]
    with pytest.raises(UserError, match="a classifier gives one table"):
        open_exported(tmp_path / "m.onnx")


def test_the_file_carries_its_record(written: Path) -> None:
    runner = open_exported(written)
    model = tiny("mobileone_s0")
    assert runner.preprocessing == model.preprocessing
    assert runner.class_names == model.class_names
    assert runner.num_classes == 7
    assert runner.batch is None
    assert runner.details["form"] == "deploy"
    record = json.loads(written.with_name("model.onnx.json").read_text(encoding="utf-8"))
    assert record["classes"] == list("abcdefß")
    assert record["model"] == "mobileone_s0"
    assert record["preprocessing"]["size"] == 64
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(runner(images), model(images), rtol=1e-4, atol=1e-4)


def test_another_size_is_recorded(tmp_path: Path) -> None:
    export(tiny("mobileone_s0"), tmp_path / "m.onnx", size=96)
    assert open_exported(tmp_path / "m.onnx").preprocessing.size == 96


def test_threads_follow_torch_and_do_not_spin(written: Path) -> None:
    options = exporter.start_session(written).get_session_options()
    assert options.intra_op_num_threads == torch.get_num_threads()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(tiny("mobileone_s0"), tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_differs_never_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = exporter.reference

    def shifted(network: VisionModel, images: torch.Tensor) -> dict[str, np.ndarray]:
        return {name: value + 0.01 * np.abs(value).max() for name, value in honest(network, images).items()}

    monkeypatch.setattr(exporter, "reference", shifted)
    with pytest.raises(UserError, match=r"differ from PyTorch's by .*max_diff"):
        export(tiny("mobileone_s0"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_swapped_winner_is_noticed() -> None:
    want = np.array([[1.0, 2.0, 0.0]])
    assert exporter.same_winner(want, want + 1e-6, 1e-5)
    assert not exporter.same_winner(want, np.array([[2.0, 1.0, 0.0]]), 1e-5)
    assert exporter.same_winner(np.array([[1.0, 1.0 + 1e-6]]), np.array([[1.0 + 1e-6, 1.0]]), 1e-5)


def test_a_failing_exporter_leaves_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        print("what the exporter said")
        raise RuntimeError("unsupported thing\nsecond line")

    monkeypatch.setattr(exporter, "write_graph", fail)
    with pytest.raises(UserError, match="unsupported thing; whole log"):
        export(tiny("mobileone_s0"), tmp_path / "m.onnx")
    log = (tmp_path / "m.onnx.log").read_text()
    assert "what the exporter said" in log
    assert "Traceback" in log
    assert not (tmp_path / "m.onnx").exists()


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    model = tiny("mobileone_s0")
    with torch.no_grad():
        model.get_classifier().get_parameter("weight").fill_(float("nan"))
    with pytest.raises(UserError, match="NaN or infinity"):
        export(model, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: export(tiny("mobileone_s0"), folder / "m.onnx", format="onx"), "did you mean 'onnx'"),
        (lambda folder: export(tiny("mobileone_s0"), folder / "m.tflite"), r"does not end in \.onnx"),
        (lambda folder: export(tiny("mobileone_s0"), folder / "m.onnx", form="fused"), "deploy, training"),
        (lambda folder: export(tiny("mobileone_s0"), folder / "m.onnx", size=0), "0x0"),
        (lambda folder: export(tiny("mobileone_s0"), folder / "m.onnx", max_diff=2.0), "max_diff"),
        (lambda folder: export(phonecv.fuse(tiny("mobileone_s0")), folder / "m.onnx", form="training"), "deploy form"),
        (lambda folder: export("mobileone_s8", folder / "m.onnx"), "did you mean 'mobileone_s"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, call: Callable[[Path], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(tmp_path)


def test_a_missing_package_names_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(EXPORTERS["onnx"], packages=("no_such",))
    monkeypatch.setitem(EXPORTERS, "onnx", absent)
    with pytest.raises(UserError, match=r'no_such.*pip install "phonecv\[onnx\]"'):
        export(tiny("mobileone_s0"), tmp_path / "m.onnx")


def test_the_table_points_at_functions() -> None:
    for key, record in EXPORTERS.items():
        assert record.format == key
        assert callable(resolve(record.function))
        assert callable(resolve(record.runner))
    assert len({record.suffix for record in EXPORTERS.values()}) == len(EXPORTERS)


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
    runner = open_exported(foreign(tmp_path / "f.onnx", batch=2))
    assert runner.preprocessing == Preprocessing(size=48)
    assert (runner.class_names, runner.num_classes, runner.batch) == (None, 4, 2)
    images = torch.rand(5, 3, 48, 48)
    torch.testing.assert_close(runner(images)[:, :3], images.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_files_that_are_no_classifier_are_refused(tmp_path: Path, shared_dir: Path) -> None:
    with pytest.raises(UserError, match=r"B x 3 x H x W"):
        open_exported(foreign(tmp_path / "gray.onnx", channels=1))
    with pytest.raises(UserError, match="lie outside its folder"):
        open_exported(foreign(tmp_path / "escape.onnx", location="../secret.bin"))
    with pytest.raises(UserError, match="lie outside its folder"):
        open_exported(foreign(tmp_path / "absolute.onnx", location="/etc/passwd"))
    for name in ("noise.onnx", "external_escape.onnx"):
        with pytest.raises(UserError, match=name) as caught:
            open_exported(shared_dir / "data" / "hostile" / "ckpt" / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.onnx"):
        open_exported(tmp_path / "empty.onnx")
    with pytest.raises(UserError, match=r"none of the suffixes"):
        open_exported(tmp_path / "x.pth")


@pytest.mark.slow
def test_the_real_network_keeps_its_score(tmp_path: Path, shared_dir: Path) -> None:
    path = tmp_path / "s0.onnx"
    result = export(shared_dir / "weights" / "mobileone_s0_apple_fused.pth", path)
    assert result.difference is not None
    assert result.difference < 1e-4
    scored = phonecv.evaluate(path, shared_dir / "data" / "imagenet-samples")
    assert (scored.top1, scored.top5, scored.count) == (171, 192, 200)
