"""Core ML packages made by hand, message by message: small, quick, and damaged where a test wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.exporting.coreml.toolkit import messages

#: Numbers of the element types in the messages, and in weight files.
TYPES = {"bool": 1, "string": 2, "fp16": 10, "fp32": 11, "int8": 21, "int32": 23, "uint8": 31, "uint32": 33}
BLOBS = {"fp16": 1, "fp32": 2, "uint8": 3, "int8": 4}
ARRAYS = {"fp16": np.float16, "fp32": np.float32, "int8": np.int8, "int32": np.int32, "uint8": np.uint8}


def typed(kind: str, shape: Sequence[int]) -> Any:
    """A ValueType."""
    found = messages().MIL_pb2.ValueType()
    found.tensorType.dataType, found.tensorType.rank = TYPES[kind], len(shape)
    for length in shape:
        found.tensorType.dimensions.add().constant.size = length
    return found


def value(kind: str, content: Any) -> Any:
    """A constant inside the model."""
    array = np.asarray(content)
    found = messages().MIL_pb2.Value(type=typed(kind, array.shape))
    tensor = found.immediateValue.tensor
    if kind == "string":
        tensor.strings.values.append(content)
    elif kind == "fp32":
        tensor.floats.values.extend(array.ravel().tolist())
    elif kind in ("fp16", "int8", "uint8"):
        tensor.bytes.values = array.astype(ARRAYS[kind]).tobytes()
    elif kind == "bool":
        tensor.bools.values.extend(array.ravel().tolist())
    else:
        tensor.ints.values.extend(array.ravel().tolist())
    return found


def stored(kind: str, shape: Sequence[int], *, offset: int, name: str = "@model_path/weights/weight.bin") -> Any:
    """A constant in the weight file."""
    found = messages().MIL_pb2.Value(type=typed(kind, shape))
    found.blobFileValue.fileName, found.blobFileValue.offset = name, offset
    return found


def operation(
    kind: str,
    outputs: Mapping[str, tuple[str, Sequence[int]]],
    attributes: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> Any:
    """One line: inputs are names, lists of names, or values."""
    found = messages().MIL_pb2.Operation(type=kind)
    for name, item in (attributes or {}).items():
        found.attributes[name].CopyFrom(item)
    for parameter, bound in inputs.items():
        for one in bound if isinstance(bound, list) else [bound]:
            binding = found.inputs[parameter].arguments.add()
            if isinstance(one, str):
                binding.name = one
            else:
                binding.value.CopyFrom(one)
    for name, (type_, shape) in outputs.items():
        found.outputs.add(name=name).type.CopyFrom(typed(type_, shape))
    return found


def const(name: str, kind: str, content: Any) -> Any:
    """A named constant inside the model."""
    item = value(kind, content)
    return operation("const", {name: (kind, np.shape(content))}, {"val": item})


def weights(*arrays: np.ndarray, sentinel: int = 0xDEADBEEF) -> tuple[bytes, list[int]]:
    """The content of a weight file, and where each array's header lies."""
    kinds = {np.dtype(array): BLOBS[kind] for kind, array in ARRAYS.items() if kind in BLOBS}
    content, offsets = bytearray(64), []
    for array in arrays:
        offsets.append(len(content))
        header = np.array([(sentinel, kinds[array.dtype], array.nbytes, len(content) + 64)], dtype="<u4, <u4, <u8, <u8")
        content += header.tobytes().ljust(64, b"\0") + array.tobytes()
        content += bytes(-len(content) % 64)
    return bytes(content), offsets


def model(
    operations: Sequence[Any],
    *,
    inputs: Mapping[str, tuple[str, Sequence[int]]],
    outputs: Sequence[str],
    picture: str | None = None,
    record: str | None = None,
) -> Any:
    """A model of one function; `picture` is a colour space, for an input that is an image."""
    found = messages().Model_pb2.Model(specificationVersion=7)
    main = found.mlProgram.functions["main"]
    main.opset = "CoreML6"
    for name, (kind, shape) in inputs.items():
        main.inputs.add(name=name).type.CopyFrom(typed(kind, shape))
        described = found.description.input.add(name=name).type
        if picture is None:
            described.multiArrayType.shape.extend(shape)
        else:
            described.imageType.height, described.imageType.width = shape[2:]
            described.imageType.colorSpace = described.imageType.ColorSpace.Value(picture)
    block = main.block_specializations["CoreML6"]
    block.outputs.extend(outputs)
    block.operations.extend(operations)
    for name in outputs:
        found.description.output.add(name=name)
    if record is not None:
        found.description.metadata.userDefined["phonecv"] = record
    return found


def package(path: Path, content: Any, weight_file: bytes = b"") -> Path:
    """Write it as a folder."""
    folder = path / "Data" / "com.apple.CoreML"
    (folder / "weights").mkdir(parents=True)
    (folder / "model.mlmodel").write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    if weight_file:
        (folder / "weights" / "weight.bin").write_bytes(weight_file)
    entries = {"1": {"path": "com.apple.CoreML/model.mlmodel"}, "2": {"path": "com.apple.CoreML/weights"}}
    (path / "Manifest.json").write_text(
        json.dumps({"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": "1"})
    )
    return path
