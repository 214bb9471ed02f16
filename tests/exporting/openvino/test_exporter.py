"""OpenVINO files: every family against PyTorch, the record inside, and files that must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phonecv
from conftest import TINY, mostly_long
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.deployable import deployable
from phonecv.exporting.job import Job, Written
from phonecv.exporting.opening import open_session
from phonecv.exporting.openvino import exporter
from phonecv.exporting.openvino.exporter import computed_in
from phonecv.models import VisionModel
from phonecv.models.fusing import fuse
from settle import settle

openvino = pytest.importorskip("openvino")

# What PyTorch's ONNX exporter says about PyTorch's own parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

#: With what XML and JSON want escaped.
CARRIED = {"model": "any", "classes": ["a", "b", 'ß"<&\\\n']}


def tiny(name: str, **overrides: Any) -> VisionModel:
    torch.manual_seed(0)
    return fuse(settle(phonecv.create_model(name, num_classes=7, **(TINY[name] | overrides)), size=64))


def job_of(model: VisionModel, **values: Any) -> Job:
    module, names = deployable(model)
    example = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return Job(module, (example,), names, "m", record=CARRIED, **values)


def written(model: VisionModel, folder: Path, **values: Any) -> Written:
    return exporter.write(job_of(model, **values), folder)


@pytest.fixture(scope="module")
def mobileone(tmp_path_factory: pytest.TempPathFactory) -> tuple[VisionModel, Path]:
    model, folder = tiny("mobileone_s0"), tmp_path_factory.mktemp("openvino")
    return model, written(model, folder).path


def logits(model: VisionModel, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(images).numpy()


def difference(want: np.ndarray, got: np.ndarray) -> float:
    return float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("name", mostly_long(TINY, "emov2_1m"))
def test_every_family_agrees_with_pytorch(tmp_path: Path, name: str) -> None:
    model = tiny(name, depths=(1, 1, 2, 1))  # attention in one block, where the family has it
    result = written(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    session = open_session(result.path, threads=1)
    assert (session.batch, session.size) == (None, (64, 64))
    for count in (1, 3):
        images = torch.randn(count, 3, 64, 64)
        want, got = logits(model, images), session(images.numpy())[0]
        assert got.dtype == np.float32
        assert difference(want, got) < 1e-4
        assert (got.argmax(1) == want.argmax(1)).all()
    assert want.std(0).min() > 1e-3  # the outputs depend on the input, or nothing was tested


@pytest.mark.long
def test_operators_are_those_of_the_file(mobileone: tuple[VisionModel, Path], tmp_path: Path) -> None:
    result = written(mobileone[0], tmp_path)
    text = result.path.read_text(encoding="utf-8")
    data = sum(text.count(f'type="{kind}"') for kind in ("Const", "Parameter", "Result"))
    assert result.operators == text.count("<layer ") - data
    assert text.count('type="Convolution"') + text.count('type="GroupConvolution"') == 1 + 2 * sum((1, 1, 2, 1))


@pytest.mark.long
@pytest.mark.parametrize("name", TINY)
def test_free_height_and_width(tmp_path: Path, name: str) -> None:
    model = tiny(name)
    session = open_session(written(model, tmp_path, dynamic_size=True).path, threads=1)
    assert (session.batch, session.size) == (None, None)
    for height, width in ((64, 64), (91, 77), (32, 128), (224, 250)):
        images = torch.randn(2, 3, height, width)
        assert difference(logits(model, images), session(images.numpy())[0]) < 1e-4


@pytest.mark.long
def test_half_precision_halves_the_weights(mobileone: tuple[VisionModel, Path], tmp_path: Path) -> None:
    model, whole = mobileone
    path = written(model, tmp_path, precision="fp16").path
    assert path.with_suffix(".bin").stat().st_size < 0.55 * whole.with_suffix(".bin").stat().st_size
    images = torch.randn(3, 3, 64, 64)
    found = difference(logits(model, images), open_session(path, threads=1, precision="fp16")(images.numpy())[0])
    assert 1e-6 < found < 0.15


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_nothing_is_computed_in_bfloat16(
    mobileone: tuple[VisionModel, Path], monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """That is OpenVINO's own choice on processors that have it, and in place of a half precision that they lack."""
    half = precision == "fp16" and "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    seen: list[dict[str, Any]] = []
    honest = openvino.Core.compile_model

    def spy(core: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        compiled = honest(core, model, device, config)
        names = ("INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS")
        seen.append({name: compiled.get_property(name) for name in names})
        return compiled

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    open_session(mobileone[1], threads=1, precision=precision)
    used = openvino.Type.f16 if half else openvino.Type.f32
    assert seen == [{"INFERENCE_PRECISION_HINT": used, "INFERENCE_NUM_THREADS": 1}]


def test_half_precision_is_asked_for_only_where_it_is() -> None:
    assert computed_in("fp16", ["BF16", "FP32", "FP16", "INT8"]) == "f16"
    assert computed_in("fp16", ["BF16", "FP32", "INT8"]) == "f32"
    assert computed_in("int8", ["BF16", "FP32", "FP16", "INT8"]) == "f32"


def test_the_record_travels_inside(mobileone: tuple[VisionModel, Path]) -> None:
    assert open_session(mobileone[1], threads=1).record == CARRIED


def test_eight_bit_weights(mobileone: tuple[VisionModel, Path], tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    model, whole = mobileone
    result = written(model, tmp_path, precision="int8-weights")
    assert result.report["settings"]["tensors"] > 0
    assert result.path.with_suffix(".bin").stat().st_size < 0.5 * whole.with_suffix(".bin").stat().st_size
    images = torch.randn(3, 3, 64, 64)
    assert difference(logits(model, images), open_session(result.path, threads=1)(images.numpy())[0]) < 0.15


def test_broken_files_are_refused(mobileone: tuple[VisionModel, Path], tmp_path: Path) -> None:
    text = mobileone[1].read_text(encoding="utf-8")
    weights = mobileone[1].with_suffix(".bin").read_bytes()
    cases: dict[str, tuple[str, bytes | None]] = {
        "garbage": ("not a model at all", weights),
        "empty": ("", weights),
        "cut": (text[: len(text) // 2], weights),
        "no weights": (text, None),
        "few weights": (text, weights[: len(weights) // 2]),
        "another net": ("<net name='x' version='11'><layers/><edges/></net>", weights),
    }
    for name, (graph, beside) in cases.items():
        path = tmp_path / f"{name}.xml"
        path.write_text(graph, encoding="utf-8")
        if beside is not None:
            path.with_suffix(".bin").write_bytes(beside)
        with pytest.raises(UserError, match=r"cannot be used as an OpenVINO model|takes ") as caught:
            open_session(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < len(str(path)) + 400, name


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    words = openvino.opset13.parameter([1, 16], openvino.Type.f32)
    openvino.save_model(openvino.Model([openvino.opset13.relu(words)], [words]), tmp_path / "words.xml")
    with pytest.raises(UserError, match=r"\[1, 16\] float32; a network of ours takes one batch of pictures"):
        open_session(tmp_path / "words.xml")


@pytest.mark.long
def test_export_end_to_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = tiny("mobileone_s0")
    result = export(model, tmp_path / "m.xml", size=64)
    assert result.difference is not None
    assert result.difference < 1e-4
    assert result.agreement == 1.0
    assert result.checked_by.startswith("OpenVINO")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.test.png", "m.xml", "m.xml.json"]
    assert capfd.readouterr() == ("", "")
    runner = open_classifier(tmp_path / "m.xml")
    assert runner.num_classes == 7
    images = torch.randn(3, 3, 64, 64)
    assert difference(logits(model, images), runner(images).numpy()) < 1e-4


@pytest.mark.long
@pytest.mark.slow
def test_apples_network(shared_dir: Path, tmp_path: Path) -> None:
    result = export(shared_dir / "weights" / "mobileone_s0_apple_fused.pth", tmp_path / "s0.xml")
    assert result.difference is not None
    assert result.difference < 1e-4
    assert result.agreement == 1.0
    half = export(shared_dir / "weights" / "mobileone_s0_apple_fused.pth", tmp_path / "half.xml", precision="fp16")
    assert half.bytes < 0.55 * result.bytes
    assert half.agreement == 1.0
