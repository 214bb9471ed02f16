"""What can be said of a Core ML program's chances on the Neural Engine without an iPhone.

Core ML decides on the phone, by chip and system, and Apple publishes no list. What follows are statements that somebody
made in public, each with its source; only Xcode's performance report shows what really happens (docs/coreml.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from phonecv.exporting.coreml.program import Operation, Program, Reference, is_constant

_GUIDE = "Apple, Core ML Tools guide, Typed Execution"
_ARTICLE = "Apple, Deploying Transformers on the Apple Neural Engine, machinelearning.apple.com, 2022"
_HOLLEMANS = "M. Hollemans, github.com/hollance/neural-engine, unsupported-layers.md (partly guesses, he says)"


@dataclass(frozen=True, slots=True)
class Doubt:
    """A statement about operators.

    Attributes:
        why: what is said of them.
        source: who says so.
        holds: whether an operation is one of them, given the constants it reads.
    """

    why: str
    source: str
    holds: Callable[[Operation, Mapping[str, Tensor]], bool]


def _float32(item: Operation, _: Mapping[str, Tensor]) -> bool:
    return item.kind != "cast" and any(type_.kind == "fp32" for _, type_ in item.outputs)


def _gathers(item: Operation, _: Mapping[str, Tensor]) -> bool:
    return item.kind.startswith("gather")


def _dilated(item: Operation, read: Mapping[str, Tensor]) -> bool:
    return item.kind == "conv" and "dilations" in read and int(read["dilations"].max()) > 1


def _many_axes(item: Operation, _: Mapping[str, Tensor]) -> bool:
    return any(len(type_.shape) > 4 for _, type_ in item.outputs)


def _moves(item: Operation, _: Mapping[str, Tensor]) -> bool:
    return item.kind in ("reshape", "transpose")


DOUBTS = (
    Doubt("computed in float32; the Neural Engine takes float16 alone (precision fp16)", _GUIDE, _float32),
    Doubt("gathers values, which is said to run on the CPU or GPU", _HOLLEMANS, _gathers),
    Doubt("a dilated convolution, which is said to run on the CPU or GPU", _HOLLEMANS, _dilated),
    Doubt("more than 4 axes; the Neural Engine works on (batch, channels, height, width)", _ARTICLE, _many_axes),
    Doubt("moves values without computing; taken, but it costs copies", _ARTICLE, _moves),
)


def report(program: Program, modules: Mapping[str, str]) -> dict[str, Any]:
    """Operators by kind, and what is doubtful about them, by layer.

    `modules` maps names of PyTorch's graph (operations and parameters) to the path of the module they belong to.
    """
    computing = list(program.computing())
    layers = layers_of(program, modules)
    constants = {item.outputs[0][0]: item.attributes.get("val") for item in program.operations if is_constant(item)}
    doubts = []
    for doubt in DOUBTS:
        found = [item for item in computing if doubt.holds(item, _read(item, constants))]
        if found:
            doubts.append(
                {
                    "why": doubt.why,
                    "source": doubt.source,
                    "operators": dict(Counter(item.kind for item in found)),
                    "layers": ["all"] if len(found) == len(computing) else _places(found, layers),
                }
            )
    kinds = Counter(item.kind for item in computing)
    return {
        "operators": dict(kinds.most_common()),
        "axes": max((len(type_.shape) for item in computing for _, type_ in item.outputs), default=0),
        "neural_engine": doubts,
        "note": "statements of others, not a measurement: Core ML decides on the device; see docs/coreml.md",
    }


def _places(found: Iterable[Operation], layers: Mapping[str, str]) -> list[str]:
    return sorted({layers[item.outputs[0][0]] for item in found} - {""})


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


def _read(item: Operation, constants: Mapping[str, Any]) -> dict[str, Tensor]:
    found = {}
    for parameter, bindings in item.inputs.items():
        for one in bindings:
            value = constants.get(one.name) if isinstance(one, Reference) else one
            if isinstance(value, Tensor):
                found[parameter] = value
    return found
