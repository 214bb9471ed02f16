"""Operators of files as they lie on the disk, and what `phonecv info` says of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phonecv.errors import UserError
from phonecv.exporting.flatbuffer import Table
from phonecv.exporting.litert.graph import KINDS, TYPES, layer_of
from phonecv.exporting.where.finding import places_of
from phonecv.exporting.where.graph import Operator, Value
from phonecv.inspection import info

PARAM = """7767517
4 4
Input in0 0 1 in0 0=8 1=8 2=3
Split splitncnn_0 1 2 in0 1 2
MatMul matmul_7 2 1 1 2 3
Softmax softmax_1 1 1 3 out0 0=1
"""


def test_ncnn(tmp_path: Path) -> None:
    path = tmp_path / "m.param"
    path.write_text(PARAM)
    (place,) = places_of(path, {})
    assert (place["operators"], place["left"]) == (3, 1)
    assert [(one["rule"], one["layers"]) for one in place["outside"]] == [("layer", ["matmul_7"])]


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from phonecv.exporting.onnx.graph import read_operators

    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    sizes = helper.make_tensor("sizes", onnx.TensorProto.INT64, [4], [1, 3, 16, 16])
    resize = helper.make_node("Resize", ["images", "", "", "sizes"], ["big"], name="up", mode="cubic")
    entry = resize.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'network', 'network.neck.up', 'resize']"
    nodes = [resize, helper.make_node("Relu", ["big"], ["out"])]
    values = {
        "images": ["batch", 3, 8, 8], "big": ["2*batch", 3, 16, 16], "out": ["batch", 3, "height", 16],
    }  # fmt: skip
    made = {name: helper.make_tensor_value_info(name, float_, shape) for name, shape in values.items()}
    graph = helper.make_graph(
        nodes, "g", [made["images"]], [made["out"]], initializer=[sizes], value_info=[made["big"]]
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    first, second = read_operators(path)
    assert (first.kind, first.layer, first.settings) == ("Resize", "neck.up", {"mode": "cubic"})
    assert first.reads == (Value("float32", (1, 3, 8, 8)), Value("int64", (4,), constant=True))
    assert second.makes == (Value("float32", (1, 3, None, 16)),)
    nnapi, coreml = places_of(path, {})
    assert [one["rule"] for one in nnapi["outside"]] == ["resize", "dynamic"]
    assert [one["rule"] for one in coreml["outside"]] == ["dynamic"]
    # `info` has the same for a file of anyone.
    assert [place["left"] for place in info(str(path)).where] == [2, 1]


def test_litert_kinds_are_those_of_its_schema() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    assert tuple(kinds[number] for number in range(len(kinds))) == KINDS
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    assert tuple(types[number].lower() for number in range(len(TYPES))) == TYPES


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("phonecv.exporting.deployable.Deployable/phonecv.models.emo.EMO_network/torch.nn.modules.container."
         "Sequential_stage3/phonecv.models.emo.IRMB_0/phonecv.models.blocks.LayerNorm2d_norm;", "stage3.0.norm"),
        ("a.B/a.C_network/a._D_v;;a.B/a.C_network/a._D_se_1;2", "se_1"),
        ("a.B/a.C_network", ""),
        ("serving_default_images", ""),
    ],
)  # fmt: skip
def test_litert_layers(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def executorch_file(build: Callable[[Any], int]) -> bytes:
    flatbuffers = pytest.importorskip("flatbuffers")
    builder = flatbuffers.Builder(256)
    builder.Finish(build(builder), b"ET12")
    return bytes(builder.Output())


def test_executorch(tmp_path: Path) -> None:
    """A program of a part for XNNPACK and one operator outside, written by the schema's own field numbers."""
    from phonecv.exporting.executorch.graph import read_operators

    def vector(b: Any, items: list[int], *, tables: bool) -> int:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item) if tables else b.PrependInt32(item)
        return b.EndVector()

    def build(b: Any) -> int:
        def table(count: int, *fields: tuple[int, str, int]) -> int:
            b.StartObject(count)
            for place, kind, value in fields:
                getattr(b, f"Prepend{kind}Slot")(place, value, 0)
            return b.EndObject()

        name, overload, backend = (
            b.CreateString("aten::topk"),
            b.CreateString("values"),
            b.CreateString("XnnpackBackend"),
        )
        sizes = vector(b, [1, 5], tables=False)
        tensor = table(10, (0, "Int8", 4), (2, "UOffsetTRelative", sizes))
        value = table(2, (0, "Uint8", 5), (1, "UOffsetTRelative", tensor))
        arguments = vector(b, [0], tables=False)
        call = table(2, (1, "UOffsetTRelative", arguments))
        delegated = table(2, (0, "Uint8", 2), (1, "UOffsetTRelative", call))
        outside = table(2, (0, "Uint8", 1), (1, "UOffsetTRelative", call))
        instructions = vector(b, [delegated, outside], tables=True)
        chains = vector(b, [table(4, (2, "UOffsetTRelative", instructions))], tables=True)
        operators = vector(b, [table(2, (0, "UOffsetTRelative", name), (1, "UOffsetTRelative", overload))], tables=True)
        delegates = vector(b, [table(3, (0, "UOffsetTRelative", backend))], tables=True)
        values = vector(b, [value], tables=True)
        plan = table(
            10, (2, "UOffsetTRelative", values), (5, "UOffsetTRelative", chains), (6, "UOffsetTRelative", operators),
            (7, "UOffsetTRelative", delegates),
        )  # fmt: skip
        return table(8, (1, "UOffsetTRelative", vector(b, [plan], tables=True)))

    path = tmp_path / "m.pte"
    path.write_bytes(executorch_file(build))
    taken = Value("int64", (1, 5))
    assert read_operators(path) == [
        Operator("delegate XnnpackBackend", "", (taken,), settings={"delegated": True}),
        Operator("aten::topk.values", "", (taken,), settings={"delegated": False}),
    ]
    (place,) = places_of(path, {})
    assert [one["rule"] for one in place["outside"]] == ["int64"]


@pytest.mark.parametrize(("suffix", "start"), [(".pte", b"ET12"), (".tflite", b"TFL3")])
def test_damaged_files_are_told(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(struct.pack("<I", 4_000_000_000) + start + b"\xff" * 100)
    with pytest.raises(UserError, match="is damaged"):
        places_of(path, {})
    path.write_bytes(b"something else entirely" * 5)
    with pytest.raises(UserError, match="does not start as one"):
        places_of(path, {})


def test_a_vector_that_leaves_the_file() -> None:
    # A table at 8 whose table of offsets lies at 0; its only field, at 12, leads to a vector of 999 bytes.
    content = struct.pack("<HHHHiII", 6, 8, 4, 0, 8, 4, 999)
    with pytest.raises(ValueError, match="behind the file"):
        Table(content, 8).vector(0)
