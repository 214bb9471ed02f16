"""The program in a Core ML package as plain Python: operations in order, their types, and the values of constants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.coreml.package import Package
from phonecv.exporting.coreml.toolkit import messages

#: Element types, how they are stored, and what they are computed in here: half precision is held in float32, and
#: rounded wherever the program says fp16.
KINDS: dict[str, tuple[type[np.generic], torch.dtype]] = {
    "bool": (np.bool_, torch.bool),
    "fp16": (np.float16, torch.float32),
    "fp32": (np.float32, torch.float32),
    "fp64": (np.float64, torch.float64),
    "int8": (np.int8, torch.int8),
    "int16": (np.int16, torch.int16),
    "int32": (np.int32, torch.int32),
    "int64": (np.int64, torch.int64),
    "uint8": (np.uint8, torch.uint8),
    "uint16": (np.uint16, torch.int32),
    "uint32": (np.uint32, torch.int64),
}
_NAMES = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64"}

#: Elements of one tensor: far above what a phone can hold, and below what would bring this machine down.
MOST_ELEMENTS = 2**28

Value = Tensor | str


@dataclass(frozen=True, slots=True)
class TensorType:
    """Of a value: a name in `KINDS` or "string", and its shape, None where a length is free."""

    kind: str
    shape: tuple[int | None, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether values of this shape are of the type."""
        return len(self.shape) == len(shape) and all(
            side in (None, length) for side, length in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """To what another operation gave."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a program.

    Attributes:
        kind: such as "conv".
        name: of the line, for people.
        inputs: by parameter; several bindings where it takes a tuple.
        outputs: names and types.
        attributes: values that belong to the line itself, those of constants among them.
    """

    kind: str
    name: str
    inputs: Mapping[str, tuple[Reference | Value, ...]]
    outputs: tuple[tuple[str, TensorType], ...]
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Program:
    """The function "main".

    Attributes:
        inputs: by name.
        outputs: names, in the order of the model's description; of a classifier, the probabilities that it reads.
        operations: in order.
    """

    inputs: Mapping[str, TensorType]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


def is_constant(operation: Operation) -> bool:
    """Whether it is a value that is known before any picture comes, compressed ones included."""
    return operation.kind == "const" or operation.kind.startswith("constexpr_")


def read_program(package: Package) -> Program:
    """Read the program of an opened package, weights included."""
    functions = package.model.mlProgram.functions
    if "main" not in functions:
        raise UserError(f"{package.path} has no function 'main' but {', '.join(functions) or 'none at all'}")
    main = functions["main"]
    if main.opset not in main.block_specializations:
        raise UserError(f"{package.path} is damaged: it has no program for its own opset {main.opset!r}")
    block = main.block_specializations[main.opset]
    # The step that makes a name and a dictionary of probabilities is read by Core ML alone.
    chosen = [
        _binding(package, item.inputs["probabilities"].arguments[0])
        for item in block.operations
        if item.type == "classify"
    ]
    operations = tuple(_operation(package, item) for item in block.operations if item.type != "classify")
    outputs = tuple(item.name for item in package.model.description.output)
    if set(outputs) != set(block.outputs):
        raise UserError(f"{package.path} is damaged: its description and its program disagree about the outputs")
    if chosen:
        outputs = tuple(one.name for one in chosen if isinstance(one, Reference))
    return Program(
        inputs={item.name: _type(package, item.type) for item in main.inputs},
        outputs=outputs,
        operations=operations,
    )


def _operation(package: Package, item: Any) -> Operation:
    attributes = {name: _value(package, value) for name, value in item.attributes.items()}
    inputs = {name: tuple(_binding(package, one) for one in value.arguments) for name, value in item.inputs.items()}
    outputs = tuple((output.name, _type(package, output.type)) for output in item.outputs)
    if not outputs:
        raise UserError(f"{package.path} holds an operator {item.type!r} without outputs, which is not read here")
    name = attributes.get("name")
    return Operation(item.type, name if isinstance(name, str) else outputs[0][0], inputs, outputs, attributes)


def _binding(package: Package, one: Any) -> Reference | Value:
    if one.WhichOneof("binding") == "name":
        return Reference(one.name)
    return _value(package, one.value)


def _type(package: Package, item: Any) -> TensorType:
    if item.WhichOneof("type") != "tensorType":
        raise UserError(f"{package.path} holds a value of the type {item.WhichOneof('type')}, which is not read here")
    tensor = item.tensorType
    try:
        long = messages().MIL_pb2.DataType.Name(tensor.dataType)
    except ValueError:
        long = f"number {tensor.dataType}"
    kind = _NAMES.get(long, long.lower())
    if kind not in KINDS and kind != "string":
        raise UserError(f"{package.path} holds values of the type {kind}, which is not read here")
    shape = tuple(
        dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
        for dimension in tensor.dimensions
    )
    if math.prod(length or 1 for length in shape) > MOST_ELEMENTS:
        raise UserError(f"{package.path} was refused: it asks for a tensor of {' x '.join(map(str, shape))} elements")
    return TensorType(kind, shape)


def _value(package: Package, item: Any) -> Value:
    found = _type(package, item.type)
    if None in found.shape:
        raise UserError(f"{package.path} is damaged: a constant of unknown shape")
    shape = tuple(length or 0 for length in found.shape)
    if item.WhichOneof("value") == "blobFileValue" and found.kind != "string":
        stored = KINDS[found.kind][0]
        blob = item.blobFileValue
        data = package.blob(blob.fileName, blob.offset, found.kind, math.prod(shape) * np.dtype(stored).itemsize)
        return _tensor(data.view(stored), found.kind, shape)
    tensor = item.immediateValue.tensor
    field = tensor.WhichOneof("value")
    if item.WhichOneof("value") != "immediateValue" or field is None:
        raise UserError(f"{package.path} is damaged: a constant without a value")
    values = getattr(tensor, field).values
    if found.kind == "string":
        if field != "strings" or len(values) != 1:
            raise UserError(f"{package.path} holds a list of texts as a constant, which is not read here")
        return values[0]
    if field == "strings":
        raise UserError(f"{package.path} is damaged: text where {found.kind} belongs")
    stored = KINDS[found.kind][0]
    try:
        data = np.frombuffer(values, stored) if field == "bytes" else np.asarray(list(values)).astype(stored)
        return _tensor(data, found.kind, shape)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{package.path} is damaged: a constant of {shape} with other values ({error})") from error


def _tensor(data: np.ndarray, kind: str, shape: tuple[int, ...]) -> Tensor:
    wide = {"fp16": np.float32, "uint16": np.int32, "uint32": np.int64}.get(kind)
    # A copy in any case: what comes from a file cannot be written, and torch warns of that.
    return torch.from_numpy(np.array(data, dtype=wide or data.dtype).reshape(shape))
