"""What a rule of the Core ML interpreter is, and how it asks for its operator's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from phonecv.exporting.coreml.program import TensorType, Value


@dataclass(frozen=True, slots=True)
class Arguments:
    """Parameters of one operation, with values in place of references.

    Attributes:
        values: by name; those that are left out have the operator's default, which the rule knows.
        outputs: types of the results, as the program declares them.
    """

    values: Mapping[str, tuple[Value, ...]]
    outputs: tuple[TensorType, ...]

    def tensor(self, name: str) -> Tensor:
        """A tensor that has to be there."""
        found = self.optional(name)
        if found is None:
            raise ValueError(f"the parameter {name} is missing")
        return found

    def optional(self, name: str) -> Tensor | None:
        """A tensor that may be left out."""
        if name not in self.values:
            return None
        (found,) = self.tensors(name)
        return found

    def tensors(self, name: str) -> list[Tensor]:
        """All tensors of a parameter that takes several."""
        found = [value for value in self.values.get(name, ()) if isinstance(value, Tensor)]
        if not found or len(found) != len(self.values[name]):
            raise ValueError(f"the parameter {name} is no tensor")
        return found

    def number(self, name: str, default: float | None = None) -> float:
        """A single number."""
        return default if default is not None and name not in self.values else float(self.tensor(name).item())

    def whole(self, name: str, default: int | None = None) -> int:
        """A single whole number."""
        return default if default is not None and name not in self.values else int(self.tensor(name).item())

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        return default if name not in self.values else bool(self.tensor(name).item())

    def wholes(self, name: str, default: list[int] | None = None) -> list[int]:
        """A row of whole numbers."""
        if default is not None and name not in self.values:
            return default
        return [int(value) for value in self.tensor(name).reshape(-1).tolist()]

    def axes(self) -> list[int]:
        """Those of `x` that a rule works along; all of them by default."""
        return self.wholes("axes", list(range(self.tensor("x").ndim)))

    def flags(self, name: str, count: int) -> list[bool]:
        """A row of `count` truths, all false by default."""
        return [bool(value) for value in self.wholes(name, [0] * count)]

    def text(self, name: str, default: str) -> str:
        """One of an operator's modes."""
        if name not in self.values:
            return default
        (found,) = self.values[name]
        if not isinstance(found, str):
            raise ValueError(f"the parameter {name} is no text")
        return found


Rule = Callable[[Arguments], Tensor | tuple[Tensor, ...]]
