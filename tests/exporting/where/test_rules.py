"""What stays on the processor: every rule on a pattern known to be bad, none on a good one, lists against others."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.where.finding import layers_text, places, rows, sources, summary
from phonecv.exporting.where.graph import Operator, Value
from phonecv.exporting.where.rules import ACCELERATORS

MAP = Value("float32", (1, 16, 16, 8))
INTS = Value("int32", (2,), constant=True)


def tensor(*shape: int | None, type: str = "float32", constant: bool = False) -> Value:
    return Value(type, shape, constant)


def operator(kind: str, *reads: Value, makes: Value = MAP, **settings: Any) -> Operator:
    return Operator(kind, "body.0", reads or (MAP,), (makes,), settings)


#: (accelerator, rule) -> an operator that it must name. Every rule of the table is here, which a test holds.
BAD = {
    ("neural_engine", "dynamic"): operator("conv", tensor(1, 3, None, None, type="float16")),
    ("neural_engine", "float32"): operator("conv"),
    ("neural_engine", "gather"): operator("gather_nd", makes=tensor(4, type="float16")),
    ("neural_engine", "recurrent"): operator("lstm", makes=tensor(4, type="float16")),
    ("neural_engine", "dilated"): operator("conv", makes=tensor(1, 8, 8, 8, type="float16"), dilations=(2, 2)),
    ("neural_engine", "custom"): operator("custom_layer", makes=tensor(4, type="float16")),
    ("neural_engine", "axes"): operator("reshape", makes=tensor(1, 2, 7, 2, 7, 8, type="float16")),
    ("gpu", "operator"): operator("GATHER_ND"),
    ("gpu", "dynamic"): operator("ADD", tensor(1, None, None, 8), tensor(1, None, None, 8)),
    ("gpu", "int64"): operator("ADD", tensor(4, type="int64"), tensor(4, type="int64"), makes=tensor(4, type="int64")),
    ("gpu", "cast"): operator("CAST", MAP, makes=tensor(1, 16, 16, 8, type="int8")),
    ("gpu", "axes"): operator("TRANSPOSE", tensor(1, 2, 7, 2, 56), INTS),
    ("gpu", "scalar"): operator("MUL", MAP, Value("float32", ())),
    ("gpu", "slice"): operator("STRIDED_SLICE", tensor(8, 4), INTS, INTS, INTS, makes=tensor(4, 4)),
    ("gpu", "gather"): operator("GATHER", MAP, tensor(2, 3, type="int32")),
    ("gpu", "computed-setting"): operator("MEAN", MAP, tensor(2, type="int32")),
    ("gpu", "resize"): operator("RESIZE_BILINEAR", MAP, INTS, align_corners=True, half_pixel=True),
    ("gpu", "select"): operator("SELECT_V2", MAP, tensor(1, 1, 1, 8), MAP),
    ("gpu", "broadcast"): operator("ADD", MAP, tensor(1, 16, 16, 4)),
    ("npu", "operator"): operator("SCATTER_ND"),
    ("npu", "dynamic"): operator("CONV_2D", tensor(1, None, None, 3)),
    ("npu", "int64"): operator("CAST", MAP, makes=tensor(4, type="int64")),
    ("npu", "axes"): operator("TRANSPOSE", tensor(1, 2, 7, 2, 7, 8), INTS),
    ("xnnpack", "backend"): operator("delegate OtherBackend", delegated=False),
    ("xnnpack", "int64"): operator("aten::topk.values", makes=tensor(4, type="int64")),
    ("xnnpack", "operator"): operator("aten::native_layer_norm.out"),
    ("vulkan", "layer"): operator("MatMul"),
    ("nnapi", "operator"): operator("GatherND"),
    ("nnapi", "dynamic"): operator("Conv", tensor(1, 3, None, None)),
    ("nnapi", "integers"): operator("Add", tensor(4, type="int64"), tensor(4, type="int64")),
    ("nnapi", "axes"): operator("Conv", tensor(1, 3, 4, 8, 8), tensor(8, 3, 3, 3, 3, constant=True)),
    ("nnapi", "resize"): operator("Resize", MAP, mode="cubic"),
    ("nnapi", "weights"): operator("Conv", MAP, tensor(8, 3, 3, 3)),
    ("coreml", "operator"): operator("NonMaxSuppression"),
    ("coreml", "dynamic"): operator("Conv", tensor(1, 3, None, None)),
    ("coreml", "integers"): operator("Mul", tensor(4, type="int64"), tensor(4, type="int64")),
    ("coreml", "axes"): operator("MaxPool", tensor(1, 3, 4, 8, 8)),
    ("coreml", "slice"): operator("Slice", MAP, tensor(4, type="int64"), INTS),
    ("coreml", "weights"): operator("Gemm", MAP, tensor(8, 8)),
}

#: Of each format, operators that every accelerator takes.
GOOD = {
    "coreml": [operator("conv", makes=tensor(1, 8, 8, 8, type="float16"), dilations=(1, 1)), operator("cast")],
    "litert": [
        operator("CONV_2D", MAP, tensor(8, 3, 3, 8, constant=True)),
        operator("MEAN", MAP, INTS),
        operator("ADD", MAP, tensor(8)),
        operator("RESIZE_BILINEAR", MAP, INTS, align_corners=False, half_pixel=True),
        operator("RESHAPE", MAP, tensor(2, type="int64", constant=True), makes=tensor(1, 2048)),
    ],
    "executorch": [operator("aten.convolution.default", delegated=True)],
    "ncnn": [operator("Convolution"), operator("SDPA")],
    "onnx": [
        operator("Conv", MAP, tensor(8, 16, 3, 3, constant=True)),
        operator("Resize", MAP, mode="linear", coordinate_transformation_mode="half_pixel"),
        operator("Cast", tensor(4, type="int64")),
        operator("Reshape", MAP, tensor(2, type="int64", constant=True)),
    ],
}


@pytest.mark.parametrize(("accelerator", "rule"), BAD)
def test_a_known_bad_pattern_is_named(accelerator: str, rule: str) -> None:
    format = next(one.format for one in ACCELERATORS if one.name == accelerator)
    bad = BAD[accelerator, rule]
    place = next(one for one in places(format, [bad, *GOOD[format]]) if one["accelerator"] == accelerator)
    (one,) = place["outside"]
    assert (one["rule"], one["operators"], one["layers"]) == (rule, {bad.kind: 1}, ["body.0"])
    assert (place["operators"], place["left"]) == (1 + len(GOOD[format]), 1)


def test_every_rule_has_a_pattern_and_a_source() -> None:
    assert {(place.name, rule.name) for place in ACCELERATORS for rule in place.rules} == set(BAD)
    assert all(rule.source and rule.why for place in ACCELERATORS for rule in place.rules)
    assert {place.format for place in ACCELERATORS} <= set(EXPORTERS)
    assert all(EXPORTERS[place.format].graph for place in ACCELERATORS)


@pytest.mark.parametrize("format", GOOD)
def test_good_patterns_are_not(format: str) -> None:
    found = places(format, GOOD[format])
    assert found
    assert all(place["outside"] == [] for place in found)
    assert all(row[2] == "nothing by the known rules" for row in rows(found))


def test_the_table_is_short_and_says_who_says_so() -> None:
    many = [replace(BAD["vulkan", "layer"], layer=f"stage3.{number}.attend") for number in range(9)]
    found = places("ncnn", [*many, *GOOD["ncnn"]])
    (row,) = rows(found)
    assert row == (
        "GPU by Vulkan in ncnn", "2 of 11", "9 MatMul", "has no Vulkan form", "1",
        "stage3: 0.attend to 8.attend (9 layers)",
    )  # fmt: skip
    assert sources(found) == ["Tencent/ncnn, src/layer/vulkan (ncnn 1.0.20261020)"]
    assert summary(found) == "GPU by Vulkan in ncnn: 9 of 11 operators left out"
    assert layers_text(["a.b", "c"]) == "a.b, c"
    (row,) = rows(places("executorch", [BAD["xnnpack", "operator"]]))
    assert row[1:3] == ("0 of 1", "1 aten::native_layer_norm.out")
    assert row[-1] == "all"


@pytest.mark.parametrize(("name", "file"), [("nnapi", "nnapi"), ("coreml", "coreml")])
def test_onnx_runtimes_lists_are_those_it_brings(name: str, file: str) -> None:
    pytest.importorskip("onnxruntime")
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "tools" / "mobile_helpers"
    listed = {"nnapi": "nnapi_supported_ops.md", "coreml": "coreml_supported_mlprogram_ops.md"}[file]
    theirs = set(re.findall(r"^\|(?:ai\.onnx|com\.microsoft)[.:](\w+)", (folder / listed).read_text(), re.MULTILINE))
    rule = next(place for place in ACCELERATORS if place.name == name).rules[0]
    assert not [kind for kind in theirs if rule.holds(operator(kind))]
    assert rule.holds(operator("NonMaxSuppression"))


@pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed")
def test_ncnns_list_is_that_of_its_layers() -> None:
    import ncnn

    rule = next(place for place in ACCELERATORS if place.name == "vulkan").rules[0]
    for kind in ("Convolution", "MatMul", "SDPA", "Softmax", "Pooling", "Swish", "Permute", "Einsum", "Embed", "Exp"):
        assert rule.holds(operator(kind)) != ncnn.create_layer(kind).support_vulkan, kind
