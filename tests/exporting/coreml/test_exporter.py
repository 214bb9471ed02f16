"""Core ML export: networks as coremltools writes them, read back and evaluated, against PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import phonecv
from conftest import TINY, mostly_long
from kept import kept
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.comparing import same_winner
from phonecv.exporting.coreml import exporter as coreml
from phonecv.exporting.coreml.graph import operators_of
from phonecv.exporting.coreml.interpreter import Interpreter
from phonecv.exporting.coreml.package import open_package
from phonecv.exporting.coreml.preview import preview
from phonecv.exporting.coreml.program import Operation, Program, Reference, TensorType, is_constant, read_program
from phonecv.exporting.deployable import Deployable, deployable
from phonecv.exporting.job import Job, Written
from phonecv.exporting.perform import captured
from phonecv.models.fusing import fuse
from phonecv.segment.architectures import list_segmenters
from settle import settle

pytestmark = pytest.mark.skipif(bool(EXPORTERS["coreml"].missing()), reason="coremltools is not installed")

FP16 = 0.15


@kept
def tiny(name: str, **overrides: Any) -> Any:
    torch.manual_seed(0)
    return settle(phonecv.create_model(name, num_classes=7, **(TINY[name] | overrides)), size=64)


def pictures(count: int = 3, *, baked: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if baked:
        return torch.randint(0, 256, (count, 3, 64, 64), generator=generator).float()
    return torch.randn(count, 3, 64, 64, generator=generator)


def write(folder: Path, module: nn.Module, names: Sequence[str], example: torch.Tensor, **changes: Any) -> Written:
    """Here rather than in a process of its own, which would import coremltools anew for every test."""
    record = {"model": "m", "task": "classify", "version": "1", "outputs": list(names), **changes.pop("record", {})}
    job = Job(module=module, examples=(example,), outputs=tuple(names), stem="m", record=record, **changes)
    with captured():
        return coreml.write(job, folder)


def compared(module: nn.Module, written: Written, images: torch.Tensor) -> tuple[float, list[np.ndarray]]:
    """Largest difference as a share of the largest output, and the outputs of the file."""
    with torch.no_grad():
        wanted = [output.numpy() for output in module(images)]
    got = coreml.open_session(written.path, threads=1)(images.numpy())
    assert [output.shape for output in got] == [output.shape for output in wanted]
    return max(np.abs(a - b).max() / max(1, np.abs(b).max()) for a, b in zip(got, wanted, strict=True)), got


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    mostly_long(
        [*((name, "deploy") for name in TINY), ("mobileone_s0", "training")],
        ("emov2_1m", "deploy"),
    ),
)
def test_every_family_agrees_with_pytorch(tmp_path: Path, name: str, form: str) -> None:
    model = tiny(name, depths=(1, 1, 2, 1))  # attention in one block, where the family has it
    module, names = deployable(fuse(model) if form == "deploy" else model)
    written = write(tmp_path, module, names, pictures())
    difference, (logits,) = compared(module, written, pictures())
    assert difference < 1e-5
    assert logits.std(0).min() > 1e-3  # it depends on the pictures, or nothing was tested
    assert [path.name for path in tmp_path.iterdir()] == ["m.mlpackage"]
    assert not list(tmp_path.rglob("executorch*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_half_precision_on_pictures(tmp_path: Path, name: str) -> None:
    module, names = deployable(fuse(tiny(name)), bake=True)
    record = {"input_range": "pixels 0..255", "preprocessing": {"mean": [0.5] * 3, "std": [0.2] * 3}, "licence": "MIT"}
    written = write(tmp_path, module, names, pictures(baked=True), precision="fp16", record=record)
    difference, (logits,) = compared(module, written, pictures(baked=True))
    assert 0 < difference < 0.05  # far below the 0.15 that is allowed, and not float32 by mistake
    assert logits.dtype == np.float32
    description = open_package(written.path).model.description
    assert description.input[0].type.WhichOneof("Type") == "imageType"
    assert description.metadata.license == "MIT"
    assert json.loads(description.metadata.userDefined["phonecv"])["licence"] == "MIT"
    program = read_program(open_package(written.path))
    computing = [item for item in program.operations if not is_constant(item) and item.kind != "cast"]
    floats = {type_.kind for item in computing for _, type_ in item.outputs}
    assert "fp16" in floats
    assert "fp32" not in floats


@pytest.mark.slow
def test_weights_of_eight_bits(tmp_path: Path) -> None:
    model = fuse(tiny("mobileone_s0", widths=(32, 64, 96, 128)))
    module, names = deployable(model)
    folders = [tmp_path / name for name in ("half", "small")]
    for folder in folders:
        folder.mkdir()
    write(folders[0], module, names, pictures(), precision="fp16")
    settings = {"float_layers": ["linear", "stage2.0"], "weight_threshold": 500}
    small = write(folders[1], module, names, pictures(), precision="int8-weights", settings=settings)
    difference, (logits,) = compared(module, small, pictures())
    assert 0 < difference < 0.1
    with torch.no_grad():
        assert same_winner(module(pictures())[0].numpy(), logits, 0.05).all()
    sizes = [sum(file.stat().st_size for file in path.rglob("weight.bin")) for path in folders]
    assert sizes[1] < 0.65 * sizes[0]
    program = read_program(open_package(small.path))
    compressed = {item.outputs[0][0] for item in program.operations if item.kind == "constexpr_affine_dequantize"}
    assert any("stage3_0" in name for name in compressed)
    assert not any("linear" in name or "stage2_0" in name for name in compressed)
    assert small.report["settings"]["float_layers"] == ["linear", "stage2.0"]
    with pytest.raises(UserError, match="no layer 'stage9'"):
        write(tmp_path, module, names, pictures(), precision="int8-weights", settings={"float_layers": ["stage9"]})


@pytest.mark.slow
# unet_hrf has a network of its own, which is no member of TINY.
@pytest.mark.parametrize(
    "architecture", mostly_long([name for name in list_segmenters() if name != "unet_hrf"], "segformer")
)
def test_segmenters(tmp_path: Path, architecture: str) -> None:
    from phonecv.segment.exporting import as_module

    torch.manual_seed(0)
    model: Any = phonecv.create_segmenter(architecture, "mobileone_s0", num_classes=5, **TINY["mobileone_s0"])
    settle(model.backbone, size=64)
    network, names = as_module(fuse(model.eval()), decode="raw", size=None)
    module = Deployable(network).eval()
    images = torch.nn.functional.interpolate(pictures(2), size=(72, 100))  # what no stride divides
    difference, (logits,) = compared(module, write(tmp_path, module, names, images), images)
    assert difference < 1e-5
    assert logits.std() > 1e-4


@pytest.mark.long
@pytest.mark.slow
def test_the_command_writes_and_checks(tmp_path: Path) -> None:
    result = export(tiny("mobileone_s0"), tmp_path / "m.mlpackage", size=64)
    assert result.difference is not None
    assert result.difference < 1e-5
    assert result.checked_by.startswith("interpreter of Core ML programs")
    assert result.operators == sum(result.report["operators"].values())
    assert [one["rule"] for place in result.report["where"] for one in place["outside"]] == ["float32"]
    assert (tmp_path / "m.mlpackage").is_dir()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "most"), [("fp16", FP16), pytest.param("int8-weights", 0.5, marks=pytest.mark.long)]
)
def test_real_weights(tmp_path: Path, shared_dir: Path, precision: str, most: float) -> None:
    weights = shared_dir / "weights" / "mobileone_s0_apple_fused.pth"
    images = shared_dir / "data" / "imagenet-samples"
    result = export(
        weights, tmp_path / "s0.mlpackage", precision=precision, images=_some(images), max_diff=most, bake=True
    )
    assert result.agreement is not None
    assert result.agreement >= (0.75 if precision == "int8-weights" else 1.0)


def _some(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[::100][:8]


def test_a_free_size_is_refused(tmp_path: Path) -> None:
    module = Deployable(nn.Identity())
    job = Job(module=module, examples=(pictures(),), outputs=("x",), stem="m", dynamic_size=True)
    with pytest.raises(UserError, match="one input size"):
        coreml.write(job, tmp_path)


def test_an_old_version_is_named() -> None:
    coreml.check_version("9.0")
    coreml.check_version("10.1")
    with pytest.raises(UserError, match=r'coremltools 8\.3 is too old.*pip install "coremltools>=9\.0"'):
        coreml.check_version("8.3")


def operation(kind: str, output: tuple[str, str, tuple[int, ...]], *read: str, **parameters: Any) -> Operation:
    name, type_, shape = output
    inputs = {f"in{number}": (Reference(one),) for number, one in enumerate(read)}
    inputs |= {key: (item,) for key, item in parameters.items()}
    attributes = {"val": torch.zeros(1)} if kind == "const" else {}
    return Operation(kind, name, inputs, ((name, TensorType(type_, shape)),), attributes)


def test_operators_know_their_layers_types_and_shapes() -> None:
    program = Program(
        {"images": TensorType("fp32", (1, 3, 8, 8))},
        ("z",),
        (
            operation("const", ("p_w", "fp16", (1,))),
            operation("cast", ("a", "fp16", (1, 3, 8, 8)), "images"),
            operation(
                "conv", ("b", "fp16", (1, 3, 8, 8)), "a", weight=Reference("p_w"), dilations=torch.tensor([2, 2])
            ),
            operation("conv", ("c", "fp16", (1, 3, 8, 8)), "b", dilations=torch.tensor([1, 1])),
            operation("reshape", ("new_1", "fp16", (1, 3, 2, 4, 8)), "c"),
            operation("gather", ("d_cast_fp16", "fp16", (1, 3, 2, 4, 8)), "new_1"),
            operation("exp", ("z", "fp32", (1, 3)), "d_cast_fp16"),
        ),
    )
    operators = operators_of(program, {"p_w": "stem", "b": "elsewhere", "c": "body.0", "d": "head"})
    assert [(item.kind, item.layer) for item in operators] == [
        ("cast", ""), ("conv", "stem"), ("conv", "body.0"), ("reshape", "body.0"), ("gather", "head"), ("exp", "head"),
    ]  # fmt: skip
    assert operators[1].settings == {"dilations": (2, 2)}
    assert [(value.type, value.constant) for value in operators[1].reads] == [("float16", False), ("float16", True)]
    assert operators[-1].makes[0].shape == (1, 3)


def test_outputs_in_the_middle_are_kept() -> None:
    shape = (1, 3)
    chain = [
        Operation("exp", str(n), {"x": (Reference(str(n)),)}, ((str(n + 1), TensorType("fp32", shape)),), {})
        for n in range(3)
    ]
    program = Program({"0": TensorType("fp32", shape)}, ("3", "1"), tuple(chain))
    zeros = torch.zeros(shape)
    third, first = Interpreter(program, "m")({"0": zeros})
    assert torch.equal(first, zeros.exp())
    assert torch.equal(third, zeros.exp().exp().exp())


@pytest.mark.slow
def test_a_classifier_of_vision(tmp_path: Path) -> None:
    """Labels and probabilities in the place of logits, and the same numbers read back by the interpreter."""
    module, names = deployable(fuse(tiny("mobileone_s0")), bake=True, decode="final")
    record = {
        "input_range": "pixels 0..255",
        "classes": [*"abcdef", "a"],
        "num_classes": 7,
    }  # of two a's a dictionary keeps one
    written = write(tmp_path, module, names, pictures(baked=True), precision="fp16", record=record)
    difference, (shares,) = compared(module, written, pictures(baked=True))
    assert difference < 0.02
    np.testing.assert_allclose(shares.sum(1), 1, atol=2e-3)
    package = open_package(written.path)
    description = package.model.description
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == (
        "classLabel", "classLabel_probs",
    )  # fmt: skip
    kinds = {one.name: one.type.WhichOneof("Type") for one in description.output}
    assert kinds == {"classLabel": "stringType", "classLabel_probs": "dictionaryType"}
    operations = package.model.mlProgram.functions["main"].block_specializations["CoreML6"].operations
    (step,) = [item for item in operations if item.type == "classify"]
    (classes,) = step.inputs["classes"].arguments
    labels = [one.immediateValue.tensor.strings.values[0] for one in classes.value.immediateValue.list.values]
    assert labels == ["a (0)", "b", "c", "d", "e", "f", "a (6)"]
    assert description.metadata.userDefined["com.apple.coreml.model.preview.type"] == "imageClassifier"


@pytest.mark.parametrize(("outputs", "axes", "shown"), [
    (("logits",), 4, "imageSegmenter"), (("classes",), 3, "imageSegmenter"), (("probabilities",), 2, "imageClassifier"),
    (("logits",), 2, None), (("boxes", "scores"), 3, None),
])  # fmt: skip
def test_what_xcode_shows(outputs: tuple[str, ...], axes: int, shown: str | None) -> None:
    record = {"classes": ["background", "cat"], "num_classes": 2}
    found = preview(Job(torch.nn.Identity(), (torch.zeros(1, 3, 8, 8),), outputs, "m", record=record), axes)
    assert found.get("com.apple.coreml.model.preview.type") == shown
    if shown == "imageSegmenter":
        said = json.loads(found["com.apple.coreml.model.preview.params"])
        assert said["labels"] == ["background", "cat"]
        assert said["colors"][0] == "#000000"
        assert len(said["colors"][1]) == 7
