"""ONNX files in older operator sets: the same numbers, and nothing that an old runtime does not know."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporting.small import tiny
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.onnx.opset import lower

PICTURE = np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32)


def graph(*nodes: onnx.NodeProto, axes: int = 4, **constants: np.ndarray) -> onnx.ModelProto:
    """From `x` to `y`, in opset 18."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 6, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"axis {number}" for number in range(axes)])
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", [x], [y], held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": PICTURE})[0])


GRAPHS = {
    "norm": graph(
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["y"], axis=-1, epsilon=1e-3),
        scale=np.linspace(1, 2, 8, dtype=np.float32),
        bias=np.linspace(-1, 1, 8, dtype=np.float32),
    ),
    "norm without bias": graph(
        helper.make_node("LayerNormalization", ["x", "scale"], ["y"]), scale=np.linspace(1, 2, 8, dtype=np.float32)
    ),
    "mean": graph(
        helper.make_node("ReduceMean", ["x", "map"], ["y"], keepdims=0, noop_with_empty_axes=0),
        axes=2,
        map=np.array([2, 3]),
    ),
    "parts": graph(
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), helper.make_node("Sub", ["a", "b"], ["y"])
    ),
    "resize": graph(
        helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", antialias=0),
        scales=np.array([1, 1, 2, 2], np.float32),
    ),
    "hard swish": graph(helper.make_node("HardSwish", ["x"], ["y"])),
    "a part of the shape": graph(
        helper.make_node("Shape", ["x"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1),
        axes=2,
        rest=np.array([-1]),
    ),
    "padding": graph(helper.make_node("Pad", ["x", "pads", "", ""], ["y"]), pads=np.array([0, 0, 1, 1, 0, 0, 2, 2])),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_older_operators_give_the_same(name: str) -> None:
    want = run(GRAPHS[name])
    for opset in (17, 16, 15, 14, 13):
        model = onnx.ModelProto()
        model.CopyFrom(GRAPHS[name])
        lower(model, opset)
        assert [entry.version for entry in model.opset_import] == [opset]
        assert model.ir_version <= {17: 8, 16: 8, 15: 8, 14: 7, 13: 7}[opset]
        np.testing.assert_allclose(run(model), want, rtol=1e-5, atol=1e-5)


def test_an_operator_without_older_words_is_refused() -> None:
    model = graph(helper.make_node("Mish", ["x"], ["y"]))
    with pytest.raises(UserError, match=r"cannot be said in opset 17: .*Mish.*--opset"):
        lower(model, 17)


@pytest.mark.parametrize(
    ("format", "opset", "message"),
    [
        ("onnx", 12, r"opset 12 cannot be written; ONNX files have 13 to 20"),
        ("litert", 15, r"LiteRT files have no ONNX opset; .* write onnx"),
    ],
)
def test_what_cannot_be_written_is_told_first(tmp_path: Path, format: str, opset: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export("mobileone_s0", tmp_path / "x", format=format, opset=opset)


def test_other_programs_find_names_and_axes(tmp_path: Path) -> None:
    network = tiny("mobileone_s0")
    network.class_names = tuple(f"kind {number}" for number in range(network.num_classes))
    result = export(network, tmp_path / "m.onnx", opset=13, bake=True)
    assert result.difference is not None
    assert result.difference < 1e-5
    model = onnx.load(tmp_path / "m.onnx")
    assert [entry.version for entry in model.opset_import] == [13]
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["names"].startswith("{0: 'kind 0', 1: 'kind 1'")
    assert (said["imgsz"], said["Image.NominalPixelRange"]) == ("[64, 64]", "NominalRange_0_255")
    (images,) = model.graph.input
    assert images.type.denotation == "IMAGE"
    assert [axis.denotation for axis in images.type.tensor_type.shape.dim][:2] == ["DATA_BATCH", "DATA_CHANNEL"]


#: Oldest ONNX Runtime for this Python, and what its numbers for opset and file may be (19 and 9).
OLD = "onnxruntime==1.15.0"
CODE = """
import sys, numpy, onnxruntime
assert onnxruntime.__version__ == "1.15.0"
file, given, wanted = sys.argv[1:]
got = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"images": numpy.load(given)})
numpy.testing.assert_allclose(got[0], numpy.load(wanted), rtol=1e-4, atol=1e-4)
"""


@pytest.mark.long
@pytest.mark.network
@pytest.mark.skipif(shutil.which("uv") is None or sys.version_info >= (3, 12), reason="needs uv, and Python 3.11")
@pytest.mark.parametrize("name", ["mobileone_s0", "emo_1m"])
def test_a_runtime_of_2023_takes_them(tmp_path: Path, name: str) -> None:
    """In an environment of its own. It refuses what is written without an opset."""
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(tmp_path / "old")], check=True)
    python = str(tmp_path / "old" / "bin" / "python")
    subprocess.run(["uv", "pip", "install", "-q", "--python", python, OLD, "numpy<2"], check=True)
    network = tiny(name)
    images = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(np.float32)
    np.save(tmp_path / "given.npy", images)
    codes = []
    for opset in (None, 17, 13):
        export(network, path := tmp_path / f"{opset}.onnx", opset=opset)
        session = onnxruntime.InferenceSession(str(path))
        np.save(tmp_path / "wanted.npy", np.asarray(session.run(None, {"images": images})[0]))
        files = [str(path), str(tmp_path / "given.npy"), str(tmp_path / "wanted.npy")]
        codes.append(subprocess.run([python, "-c", CODE, *files], check=False, capture_output=True).returncode)
    assert codes == [1, 0, 0]
