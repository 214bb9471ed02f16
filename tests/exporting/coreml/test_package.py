"""Reading Core ML packages: a small one by hand, what its types mean, and files that must be refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from exporting.coreml import made
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS
from phonecv.exporting.coreml.exporter import open_session
from phonecv.exporting.coreml.package import open_package
from phonecv.exporting.coreml.program import read_program

pytestmark = pytest.mark.skipif(bool(EXPORTERS["coreml"].missing()), reason="coremltools is not installed")

WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
BIAS = np.arange(4, dtype=np.float32)
CONTENT, (AT,) = made.weights(WEIGHT)
IMAGES = {"images": ("fp32", (1, 3, 8, 8))}
CONV = {"y": ("fp32", (1, 4, 6, 6))}


def small(**changes: Any) -> Any:
    """A convolution with its weights in the file, ReLU and the mean over the picture."""
    weight = changes.pop("weight", None) or made.stored("fp32", WEIGHT.shape, offset=AT)
    operations = changes.pop("operations", None) or [
        made.operation("const", {"w": ("fp32", WEIGHT.shape)}, {"val": weight}),
        made.const("b", "fp32", BIAS),
        made.operation("conv", CONV, x="images", weight="w", bias="b", pad_type=made.value("string", "valid")),
        made.operation("relu", {"z": ("fp32", (1, 4, 6, 6))}, x="y"),
        made.operation("reduce_mean", {"logits": ("fp32", (1, 4))}, x="z", axes=made.value("int32", [2, 3])),
    ]
    wanted: dict[str, Any] = {"inputs": IMAGES, "outputs": ["logits"], **changes}
    return made.model(operations, **wanted)


def expected(images: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(images)
    return F.conv2d(tensor, torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)).relu().mean((2, 3)).numpy()


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_a_package_is_evaluated(tmp_path: Path) -> None:
    record = json.dumps({"task": "classify", "model": "ours", "classes": list("abcd"), "form": "deploy"})
    path = made.package(tmp_path / "m.mlpackage", small(record=record), CONTENT)
    session = open_session(path, threads=1)
    assert (session.batch, session.size) == (1, (8, 8))
    assert session.runtime.startswith("interpreter of Core ML programs")
    assert session.record["model"] == "ours"
    (got,) = session(pictures(3))  # one at a time
    np.testing.assert_allclose(got, expected(pictures(3)), rtol=1e-5, atol=1e-6)


def test_it_is_a_classifier_for_evaluation(tmp_path: Path) -> None:
    record = {"model": "ours", "classes": list("abcd"), "preprocessing": {"size": 8}}
    path = made.package(tmp_path / "m.mlpackage", small(record=json.dumps(record)), CONTENT)
    runner = open_classifier(path)
    assert runner.class_names == tuple("abcd")
    torch.testing.assert_close(runner(torch.from_numpy(pictures(2))).numpy(), expected(pictures(2)))


def test_half_precision_rounds_where_the_program_says_so(tmp_path: Path) -> None:
    shape = (1, 3, 8, 8)
    operations = [
        made.operation("cast", {"h": ("fp16", shape)}, x="images", dtype=made.value("string", "fp16")),
        made.operation("mul", {"p": ("fp16", shape)}, x="h", y=made.value("fp16", 1000.0)),
        made.operation("cast", {"wide": ("fp32", shape)}, x="p", dtype=made.value("string", "fp32")),
        made.operation("cast", {"whole": ("int32", shape)}, x="p", dtype=made.value("string", "int32")),
    ]
    content = small(operations=operations, outputs=["wide", "whole"])
    session = open_session(made.package(tmp_path / "m.mlpackage", content), threads=1)
    images = pictures(1)
    wide, whole = session(images)
    product = images.astype(np.float16) * np.float16(1000)
    assert product.dtype == np.float16
    np.testing.assert_array_equal(wide, product.astype(np.float32))
    np.testing.assert_array_equal(whole, np.trunc(product.astype(np.float32)))
    assert whole.dtype == np.int32
    assert np.isinf(session(images * 100)[0]).any()  # beyond 65504, as on a phone


@pytest.mark.parametrize("space", ["RGB", "BGR"])
def test_an_image_input_takes_what_a_picture_can_hold(tmp_path: Path, space: str) -> None:
    path = made.package(tmp_path / "m.mlpackage", small(picture=space), CONTENT)
    images = pictures(1) * 200
    held = images.round().clip(0, 255)
    (got,) = open_session(path, threads=1)(images)
    np.testing.assert_allclose(got, expected(held if space == "RGB" else held[:, ::-1].copy()), rtol=1e-5)


def test_compressed_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    data, scale = rng.integers(-127, 128, (3, 8), dtype=np.int8), rng.random(3).astype(np.float32)
    zero = np.array([0, 5, -7], dtype=np.int8)
    indices, table = rng.integers(0, 4, 24), np.array([0.5, -1.0, 2.0, 8.0], dtype=np.float32)
    packed = np.array([sum(int(part) << 2 * n for n, part in enumerate(four)) for four in indices.reshape(-1, 4)])
    there = rng.random(24) < 0.5
    mask = np.array([sum(int(bit) << n for n, bit in enumerate(eight)) for eight in there.reshape(-1, 8)])
    nonzero = rng.normal(size=int(there.sum())).astype(np.float16)
    shape = made.value("uint32", [3, 8])
    affine = {
        "quantized_data": made.value("int8", data),
        "zero_point": made.value("int8", zero),
        "scale": made.value("fp32", scale),
        "axis": made.value("int32", 0),
    }
    lut = {"indices": made.value("uint8", packed), "lut": made.value("fp32", table), "shape": shape}
    sparse = {"mask": made.value("uint8", mask), "nonzero_data": made.value("fp16", nonzero), "shape": shape}
    zeros = made.value("fp32", np.zeros((3, 8), np.float32))
    operations = [
        made.operation("constexpr_affine_dequantize", {"affine": ("fp32", (3, 8))}, affine),
        made.operation("constexpr_lut_to_dense", {"lut": ("fp32", (3, 8))}, lut),
        made.operation("constexpr_sparse_to_dense", {"sparse": ("fp16", (3, 8))}, sparse),
        made.operation(
            "constexpr_cast", {"cast": ("fp32", nonzero.shape)}, {"source_val": made.value("fp16", nonzero)}
        ),
        made.operation("add", {"one": ("fp32", (3, 8))}, x="affine", y=zeros),
        made.operation("add", {"two": ("fp32", (3, 8))}, x="lut", y=zeros),
        made.operation("add", {"three": ("fp32", (3, 8))}, x="sparse", y=zeros),
        made.operation("identity", {"four": ("fp32", nonzero.shape)}, x="cast"),
    ]
    content = small(operations=operations, outputs=["one", "two", "three", "four"])
    one, two, three, four = open_session(made.package(tmp_path / "m.mlpackage", content), threads=1)(pictures(1))
    np.testing.assert_allclose(one, (data.astype(np.float32) - zero[:, None]) * scale[:, None], rtol=1e-6)
    np.testing.assert_array_equal(two, table[indices].reshape(3, 8))
    dense = np.zeros(24, np.float32)
    dense[there] = nonzero
    np.testing.assert_array_equal(three, dense.reshape(3, 8))
    np.testing.assert_array_equal(four, nonzero.astype(np.float32))


def test_rules_without_an_input(tmp_path: Path) -> None:
    numbers = {key: made.value("int32", number) for key, number in {"start": 3, "end": -8, "step": -4}.items()}
    operations = [
        made.operation(
            "fill", {"f": ("fp32", (2, 3))}, shape=made.value("int32", [2, 3]), value=made.value("fp32", 2.5)
        ),
        made.operation("fill", {"zeros": ("int32", (4,))}, shape=made.value("int32", [4])),
        made.operation("range_1d", {"r": ("int32", (3,))}, **numbers),
    ]
    content = small(operations=operations, outputs=["f", "zeros", "r"])
    full, zeros, steps = open_session(made.package(tmp_path / "m.mlpackage", content), threads=1)(pictures(1))
    np.testing.assert_array_equal(full, np.full((2, 3), 2.5))
    np.testing.assert_array_equal(zeros, np.zeros(4))
    np.testing.assert_array_equal(steps, [3, -1, -5])


@pytest.mark.long
def test_reading_needs_no_coremltools() -> None:
    # Its import takes seconds, imports every toolkit it finds, and prints.
    code = "import sys, phonecv.exporting.coreml.exporter;"
    code += "from phonecv.exporting.coreml.toolkit import messages; messages();"
    code += "sys.exit('coremltools' in sys.modules or 'torchao' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def op(kind: str = "relu", **inputs: Any) -> Any:
    return small(operations=[made.operation(kind, {"logits": ("fp32", (1, 3, 8, 8))}, **(inputs or {"x": "images"}))])


def with_weight(**changes: Any) -> Any:
    wanted: dict[str, Any] = {"kind": "fp32", "shape": WEIGHT.shape, "offset": AT, **changes}
    return small(weight=made.stored(**wanted))


#: What is wrong -> a model, its weight file, and what the message says.
BROKEN: dict[str, tuple[Callable[[], Any], bytes, str]] = {
    "garbage": (lambda: b"\xff" * 300, CONTENT, "is not a Core ML model"),
    "empty": (lambda: b"", CONTENT, "a model of the kind none"),
    "no weights": (small, b"", "weights/weight.bin are missing"),
    "weights above": (lambda: with_weight(name="@model_path/../../../w.bin"), CONTENT, "lies outside the package"),
    "weights absolute": (lambda: with_weight(name="/etc/passwd"), CONTENT, "lies outside the package"),
    "weights hidden": (lambda: with_weight(name="@model_path//etc/passwd"), CONTENT, "lies outside the package"),
    "weights with a zero": (lambda: with_weight(name="@model_path/\0"), CONTENT, "unusable path"),
    "weights without a start": (lambda: with_weight(name="weights/weight.bin"), CONTENT, "are not inside"),
    "short weights": (small, CONTENT[:-64], "ends before the weights"),
    "no weights there": (lambda: with_weight(offset=2**40), CONTENT, "ends before the weights"),
    "other place": (lambda: with_weight(offset=128), CONTENT, "has no weights at byte 128"),
    "other type": (lambda: with_weight(kind="fp16"), CONTENT, "432 bytes of fp32 at byte 64"),
    "other shape": (lambda: with_weight(shape=(4, 3, 3, 4)), CONTENT, "the model expects 576"),
    "huge tensor": (lambda: with_weight(shape=(2**20, 2**20)), CONTENT, "asks for a tensor"),
    "unknown operator": (lambda: op("lstm"), b"", r"no rule for lstm \(logits\)"),
    "unknown name": (lambda: op(x="nowhere"), b"", "reads 'nowhere', which nothing gives"),
    "no output": (lambda: small(outputs=["elsewhere"]), CONTENT, "nothing gives its output 'elsewhere'"),
    "grey": (
        lambda: small(picture="GRAYSCALE"),
        CONTENT,
        r"GRAYSCALE, but its program \[1, 3, 8, 8\]",
    ),
    "alpha": (lambda: small(picture="INVALID_COLOR_SPACE"), CONTENT, "takes pictures in INVALID_COLOR_SPACE"),
    "four channels": (lambda: small(inputs={"x": ("fp32", (1, 4, 8, 8))}), CONTENT, r"takes x \[1, 4, 8, 8\]"),
    "record": (lambda: small(record="[1"), CONTENT, "the record in .* is not JSON"),
    "record of a list": (lambda: small(record="[1]"), CONTENT, "the record in .* is a list of 1, not a table"),
    "value without a value": (
        lambda: small(operations=[made.operation("const", {"logits": ("fp32", (2,))}, {})]),
        b"",
        "has no value",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_packages_are_refused(tmp_path: Path, what: str) -> None:
    content, weight_file, message = BROKEN[what]
    path = made.package(tmp_path / "m.mlpackage", content(), weight_file)
    with pytest.raises(UserError, match=message) as raised:
        open_session(path, threads=1)
    assert len(str(raised.value)) < 400


#: Models that are found out when they run.
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "missing parameter": (lambda: op("softmax", axis=made.value("int32", 1)), "the parameter x is missing"),
    "text for a tensor": (lambda: op(x=made.value("string", "images")), "the parameter x is no tensor"),
    "shape that does not fit": (
        lambda: op("reshape", x="images", shape=made.value("int32", [1, 7])),
        "reshape .* cannot be computed",
    ),
    "declares another shape": (
        lambda: op("reshape", x="images", shape=made.value("int32", [192])),
        r"gives \[192\], the program declares fp32 \[1, 3, 8, 8\]",
    ),
    "index out of range": (
        lambda: op("gather", x="images", indices=made.value("int32", [99])),
        "gather .* cannot be computed",
    ),
    "too many results": (
        lambda: op("split", x="images", axis=made.value("int32", 1), num_splits=made.value("int32", 3)),
        "gives 3 values, not 1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_programs_say_where(tmp_path: Path, what: str) -> None:
    content, message = WRONG[what]
    session = open_session(made.package(tmp_path / "m.mlpackage", content()), threads=1)
    with pytest.raises(UserError, match=message):
        session(pictures(1))


def test_pictures_of_another_size(tmp_path: Path) -> None:
    session = open_session(made.package(tmp_path / "m.mlpackage", small(), CONTENT), threads=1)
    with pytest.raises(UserError, match=r"takes pictures of \[1, 3, 8, 8\], not of \[1, 3, 9, 8\]"):
        session(np.zeros((1, 3, 9, 8), np.float32))


def test_a_link_to_weights_elsewhere(tmp_path: Path) -> None:
    path = made.package(tmp_path / "m.mlpackage", small())
    (tmp_path / "elsewhere.bin").write_bytes(CONTENT)
    link = path / "Data/com.apple.CoreML/weights/weight.bin"
    link.symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(UserError, match="lies outside the package"):
        open_session(path, threads=1)
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(UserError, match=r"unusable path|are missing"):
        open_session(path, threads=1)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "no Manifest.json"),
        ("{", "names no model"),
        ("[]", "names no model"),
        ('{"rootModelIdentifier": "1", "itemInfoEntries": {}}', "names no model"),
        ('{"rootModelIdentifier": "1", "itemInfoEntries": {"1": {"path": "../../x"}}}', "lies outside"),
        ('{"rootModelIdentifier": "1", "itemInfoEntries": {"1": {"path": "none"}}}', "its model none is missing"),
    ],
)
def test_manifests(tmp_path: Path, manifest: str | None, message: str) -> None:
    path = made.package(tmp_path / "m.mlpackage", small(), CONTENT)
    (path / "Manifest.json").unlink()
    if manifest is not None:
        (path / "Manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=message):
        open_package(path)


def test_a_file_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "m.mlpackage").write_bytes(b"x")
    with pytest.raises(UserError, match="is not a Core ML package"):
        open_package(tmp_path / "m.mlpackage")


def test_other_kinds_of_models(tmp_path: Path) -> None:
    content = small()
    content.neuralNetwork.SetInParent()
    path = made.package(tmp_path / "m.mlpackage", content, CONTENT)
    with pytest.raises(UserError, match="kind neuralNetwork"):
        open_package(path)


def test_values_of_every_type(tmp_path: Path) -> None:
    contents = {
        "bool": [True, False],
        "fp16": [0.1, -3],
        "int8": [-128, 127],
        "uint8": [0, 255],
        "int32": [-(2**31), 7],
    }
    operations = [made.const(kind, kind, content) for kind, content in contents.items()]
    operations.append(made.operation("relu", {"logits": ("fp32", (1, 3, 8, 8))}, x="images"))
    path = made.package(tmp_path / "m.mlpackage", small(operations=operations))
    program = read_program(open_package(path))
    for item, (kind, content) in zip(program.operations, contents.items(), strict=False):
        found = item.attributes["val"]
        assert isinstance(found, torch.Tensor)
        wanted = np.asarray(content).astype(made.ARRAYS.get(kind, bool))
        np.testing.assert_array_equal(found.numpy(), wanted.astype(found.numpy().dtype))
