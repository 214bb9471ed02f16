"""What to take of a checkpoint; imports no torch until one is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phonecv.models.base import Form
    from phonecv.models.headed import Network
    from phonecv.weights.fill import Head


@dataclass(frozen=True, slots=True)
class Loading:
    """What to take of a checkpoint, and as what: arguments of `load_checkpoint`, which tells of them.

    Attributes:
        name: catalog name, or None to take it from the file.
        ema: the moving average or the live weights.
        strict: False loads what fits.
        head: what becomes of the classifier or heads.
        num_classes: of a network made here.
        form: that is wanted.
        overrides: constructor arguments of the network.
    """

    name: str | None = None
    ema: bool | None = None
    strict: bool = True
    head: Head = "keep"
    num_classes: int | None = None
    form: Form | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def names(cls) -> list[str]:
        """Of all but the overrides."""
        return [one.name for one in fields(cls) if one.name != "overrides"]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Loading:
        """From options by name; those that are not its own are overrides."""
        own = {name: value for name, value in given.items() if name in cls.names()}
        return cls(**own, overrides={name: value for name, value in given.items() if name not in own})

    @property
    def given(self) -> list[str]:
        """Names of what is not as it is by itself."""
        plain = type(self)()
        return [name for name in self.names() if getattr(self, name) != getattr(plain, name)] + [*self.overrides]

    def read(self, path: Path | str) -> Network:
        """The network in a file."""
        from phonecv.weights.checkpoint import load_checkpoint

        chosen = {name: getattr(self, name) for name in self.names() if name != "name"}
        return load_checkpoint(self.name, path, **chosen, **self.overrides)
