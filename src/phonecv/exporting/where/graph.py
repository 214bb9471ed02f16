"""What the rules look at: a file's operators, in whatever format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Value:
    """What operators read and make.

    Attributes:
        type: as "float32"; empty where the file does not tell.
        shape: lengths of its axes, None for one that is free; None where the file does not tell.
        constant: whether it stands in the file.
    """

    type: str = ""
    shape: tuple[int | None, ...] | None = None
    constant: bool = False

    @property
    def axes(self) -> int:
        """How many it has; 0 where that is not known."""
        return len(self.shape or ())


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a file.

    Attributes:
        kind: as its format calls it: CONV_2D, Conv, conv.
        layer: path of the module that it comes from, empty where not known.
        reads: what it takes, constants too.
        makes: what comes out.
        settings: attributes of the operator that rules ask for, by the format's names.
    """

    kind: str
    layer: str = ""
    reads: tuple[Value, ...] = ()
    makes: tuple[Value, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> tuple[Value, ...]:
        """All that it reads and makes."""
        return (*self.reads, *self.makes)

    @property
    def flowing(self) -> tuple[Value, ...]:
        """The same without constants."""
        return tuple(value for value in self.values if not value.constant)
