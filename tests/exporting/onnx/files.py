"""Small ONNX files made by hand, in milliseconds: networks without weights, with a record beside or inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: A record as `phonecv export` writes it, of `classifier`.
RECORD: dict[str, Any] = {
    "version": "0", "task": "classify", "model": "means", "form": "deploy", "num_classes": 3,
    "classes": ["red", "green", "blue"], "input_size": [32, 32], "input_range": "normalised", "outputs": ["logits"],
    "decoded": False, "overrides": {},
    "preprocessing": {"size": 32, "crop": 1.0, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
    "format": "onnx", "precision": "float32", "file": "a.onnx", "dynamic_batch": True, "dynamic_size": False,
    "difference": 1e-6, "checked": {"by": "ONNX Runtime", "difference": 1e-6, "agreement": 1.0, "pictures": 1},
    "report": {"inputs": [{"name": "images", "layout": "NCHW", "type": "float32"}]},
    "test": {"picture": "a.test.png", "outputs": {"logits": {"shape": [3], "values": [1.0, 2.0, 3.0]}}},
}  # fmt: skip

#: The same of `detector`.
DETECTOR: dict[str, Any] = {
    **{key: value for key, value in RECORD.items() if key not in ("test", "decoded")},
    "task": "detect", "architecture": "ssdlite320", "options": {}, "backbone": "emov2_5m",
    "outputs": ["boxes", "scores", "labels", "count"], "preprocessing": {"size": 32},
    "decoding": {"kind": "final", "score_threshold": 0.1},
}  # fmt: skip


def classifier(path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Logits are the means of the three colours."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("GlobalAveragePool", ["images"], ["m"]), helper.make_node("Flatten", ["m"], ["logits"])]
    return _saved(path, nodes, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 3])], metadata)


def detector(path: Path, label: int = 2) -> Path:
    """Always the same two boxes, the second of the class `label`."""
    from onnx import helper, numpy_helper

    values = {
        "boxes": np.array([[[1, 1, 9, 9], [2, 2, 20, 20]]], np.float32),
        "scores": np.array([[0.9, 0.8]], np.float32),
        "labels": np.array([[0, label]], np.int64),
        "count": np.array([2], np.int64),
    }
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v)) for n, v in values.items()]
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in values.items()}
    return _saved(path, nodes, [helper.make_tensor_value_info(n, kinds[n], v.shape) for n, v in values.items()], None)


def with_record(path: Path, record: object) -> Path:
    """The same file, with this as the record beside it."""
    path.with_name(f"{path.name}.json").write_text(json.dumps(record), encoding="utf-8")
    return path


def inside(record: Mapping[str, Any]) -> dict[str, str]:
    """A record as metadata."""
    from phonecv.exporting.onnx.opening import PREFIX

    return {PREFIX + key: value if isinstance(value, str) else json.dumps(value) for key, value in record.items()}


def _saved(path: Path, nodes: Sequence[Any], outputs: Sequence[Any], metadata: Mapping[str, str] | None) -> Path:
    import onnx
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, 32, 32])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [images], outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path
