"""The operators of a Core ML program, for the rules of `phonecv.exporting.where`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from phonecv.exporting.coreml.package import open_package
from phonecv.exporting.coreml.program import (
    Operation,
    Program,
    Reference,
    TensorType,
    is_constant,
    read_program,
)
from phonecv.exporting.where.graph import Operator, Value

_NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


def read_operators(path: Path) -> list[Operator]:
    """The operators of a package, in order; it does not tell their layers."""
    return operators_of(read_program(open_package(path)), {})


def operators_of(program: Program, modules: Mapping[str, str]) -> list[Operator]:
    """The operators of a program, in order.

    `modules` maps names of PyTorch's graph (operations and parameters) to the path of the module they belong to.
    """
    layers = layers_of(program, modules)
    values = {name: _value(type_) for name, type_ in program.inputs.items()}
    constants: dict[str, Tensor] = {}
    found = []
    for item in program.operations:
        constant = is_constant(item)
        values |= {name: _value(type_, constant=constant) for name, type_ in item.outputs}
        if constant:
            if isinstance(held := item.attributes.get("val"), Tensor):
                constants[item.outputs[0][0]] = held
            continue
        reads = [one for bindings in item.inputs.values() for one in bindings if isinstance(one, Reference)]
        found.append(
            Operator(
                item.kind,
                layers[item.outputs[0][0]],
                tuple(values[one.name] for one in reads),
                tuple(values[name] for name, _ in item.outputs),
                _settings(item, constants),
            )
        )
    return found


def _value(type_: TensorType, *, constant: bool = False) -> Value:
    return Value(_NAMES.get(type_.kind, type_.kind), type_.shape, constant)


def _settings(item: Operation, constants: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    for one in item.inputs.get("dilations", ()):
        held = constants.get(one.name) if isinstance(one, Reference) else one
        if isinstance(held, Tensor):
            return {"dilations": tuple(held.flatten().int().tolist())}
    return {}


def layers_of(program: Program, modules: Mapping[str, str]) -> dict[str, str]:
    """For every value of the program, the path of the module that makes it.

    Passes of the converter rename operations and put in new ones; those belong to the module whose parameters they
    read, or else to the one their input comes from.
    """
    layers: dict[str, str] = {}
    for item in program.operations:
        name = item.outputs[0][0]
        read = [one.name for bindings in item.inputs.values() for one in bindings if isinstance(one, Reference)]
        own = [_plain(one.name) for one in item.inputs.get("weight", ()) if isinstance(one, Reference)]
        known = [modules[other] for other in [*own, _plain(name)] if other in modules]
        before = [layers[other] for other in read if layers.get(other)]
        for output, _ in item.outputs:
            layers[output] = (known or before or [""])[0] if not is_constant(item) else ""
    return layers


def _plain(name: str) -> str:
    """A name as it was before the pass that makes a program half precision."""
    for suffix in ("_cast_fp16", "_to_fp16", "_quantized"):
        name = name.removesuffix(suffix)
    return name
