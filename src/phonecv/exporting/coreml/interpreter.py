"""Evaluates Core ML programs, as far as they are what networks of this package become.

It stands in for Core ML where there is none. Every operator is computed in float32, and its result is rounded to half
precision where the program says so. Core ML is free to keep fewer digits inside an operator, as the Neural Engine does,
so agreement here means that the right program was written, not that a phone gives these digits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.coreml import elementwise as coreml_elementwise
from phonecv.exporting.coreml import shapes as coreml_shapes
from phonecv.exporting.coreml import spatial as coreml_spatial
from phonecv.exporting.coreml import weights as coreml_weights
from phonecv.exporting.coreml.arguments import Arguments, Rule
from phonecv.exporting.coreml.program import KINDS, Operation, Program, Reference, TensorType, Value, is_constant

#: By the kind of an operation.
RULES: dict[str, Rule] = {
    **coreml_elementwise.RULES,
    **coreml_shapes.RULES,
    **coreml_spatial.RULES,
    **coreml_weights.RULES,
}


class Interpreter:
    """A program that can be called; refused where it has operators without a rule, or values that nothing gives.

    The constants are made ready now; `name` is of the file, for messages.
    """

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name
        missing = {item.kind: item.name for item in program.operations if item.kind not in {*RULES, "const"}}
        if missing:
            listed = ", ".join(f"{kind} ({place})" for kind, place in missing.items())
            raise UserError(
                f"{name} cannot be checked here: phonecv's interpreter of Core ML programs has no rule for {listed};"
                " write it unchecked (verify=False, --no-verify) and compare on a Mac"
            )
        self.constants: dict[str, Value] = {}
        steps = []
        for item in program.operations:
            if is_constant(item):
                self._keep(item)
            else:
                steps.append(item)
        self.steps = tuple(steps)
        self._check_references()
        self.last_use = {ref: index for index, item in enumerate(self.steps) for ref in _references(item)}

    def _keep(self, item: Operation) -> None:
        name, wanted = item.outputs[0]
        if item.kind != "const":
            # Up to the opset of iOS 17 what such an operator is made of are its attributes.
            values = {key: (value,) for key, value in item.attributes.items()} | self._bound(item, self.constants)
            (self.constants[name],) = self._evaluated(item, values)
            return
        if "val" not in item.attributes:
            raise UserError(f"{self.name} is damaged: the constant {item.name} has no value")
        value = item.attributes["val"]
        self.constants[name] = self._declared(value, wanted, item) if isinstance(value, Tensor) else value

    def _check_references(self) -> None:
        known = {*self.constants, *self.program.inputs}
        for item in self.steps:
            for reference in _references(item):
                if reference not in known:
                    raise UserError(f"{self.name} is damaged: {item.name} reads {reference!r}, which nothing gives")
            known.update(name for name, _ in item.outputs)
        for output in self.program.outputs:
            if output not in known:
                raise UserError(f"{self.name} is damaged: nothing gives its output {output!r}")

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The program's outputs, in its order, from inputs of the declared shapes.

        Raises:
            UserError: an operator fails, or gives another shape than the program declares.
        """
        known: dict[str, Value] = dict(self.constants)
        known.update(inputs)
        kept = set(self.program.outputs)
        for index, item in enumerate(self.steps):
            results = self._evaluated(item, self._bound(item, known))
            known.update(zip((name for name, _ in item.outputs), results, strict=True))
            for reference in _references(item):
                if self.last_use[reference] == index and reference not in kept:
                    known.pop(reference, None)
        found = [known[name] for name in self.program.outputs]
        return [value for value in found if isinstance(value, Tensor)]

    def _bound(self, item: Operation, known: Mapping[str, Value]) -> dict[str, tuple[Value, ...]]:
        return {
            parameter: tuple(known[one.name] if isinstance(one, Reference) else one for one in bindings)
            for parameter, bindings in item.inputs.items()
        }

    def _evaluated(self, item: Operation, values: Mapping[str, tuple[Value, ...]]) -> list[Tensor]:
        types = tuple(type_ for _, type_ in item.outputs)
        try:
            result = RULES[item.kind](Arguments(values, types))
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{self.name}: the operator {item.kind} ({item.name}) cannot be computed: {reason}") from (
                error
            )
        results = (result,) if isinstance(result, Tensor) else result
        if len(results) != len(types):
            raise UserError(f"{self.name}: {item.kind} ({item.name}) gives {len(results)} values, not {len(types)}")
        return [self._declared(value, wanted, item) for value, wanted in zip(results, types, strict=True)]

    def _declared(self, value: Tensor, wanted: TensorType, item: Operation) -> Tensor:
        """A result as the program says it is: half precision rounds, and another shape is a fault in a rule or file."""
        if not wanted.fits(value.shape) or wanted.kind not in KINDS:
            raise UserError(
                f"{self.name}: {item.kind} ({item.name}) gives {list(value.shape)}, the program declares"
                f" {wanted.kind} {list(wanted.shape)}"
            )
        if wanted.kind == "fp16":
            return value.half().float()
        return value.to(KINDS[wanted.kind][1])


def _references(item: Operation) -> set[str]:
    return {one.name for bindings in item.inputs.values() for one in bindings if isinstance(one, Reference)}
