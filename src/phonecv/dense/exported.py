"""What opening an exported detector has in common with opening an exported segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.opening import OpenedFile
from phonecv.preprocessing import DensePreprocessing


@dataclass(frozen=True, slots=True)
class DenseFile:
    """An exported detector or segmenter.

    `size` is the only height and width it takes, or None for any; `named` tells whether `classes` are the file's own.
    """

    opened: OpenedFile
    spec: DensePreprocessing
    size: tuple[int, int] | None
    decoding: Mapping[str, Any]
    classes: tuple[str, ...]
    named: bool
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, opened: OpenedFile, wanted: Mapping[str, tuple[str, ...]]) -> DenseFile:
        """A file whose record says all that reading its outputs takes; `wanted` are those it needs, by decoding.

        Raises:
            UserError: its record lacks something.
        """
        path, record = opened.path, opened.record
        try:
            spec = DensePreprocessing.from_dict(record["preprocessing"])
            decoding = dict(record["decoding"])
            names, count = tuple(record["outputs"]), int(record["num_classes"])
            height, width = record["input_size"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the record of {path} lacks {error}, without which its outputs cannot be read; export it again"
            ) from error
        kind = decoding.get("kind")
        if kind not in wanted:
            raise UserError(f"the record of {path} does not say how its outputs are decoded; export it again")
        if not set(wanted[kind]) <= set(names):
            raise UserError(f"the record of {path} names no outputs {', '.join(wanted[kind])}; export it again")
        size = opened.session.size
        if size is None and spec.longest is None:
            size = (int(height), int(width))
        classes = record.get("classes")
        return cls(opened, spec, size, decoding, numbered(classes or None, count), bool(classes), names)

    @property
    def path(self) -> Path:
        """The main file."""
        return self.opened.path

    @property
    def details(self) -> dict[str, Any]:
        """For reports."""
        record = self.opened.record
        return {
            "architecture": record.get("architecture", ""),
            "backbone": record.get("backbone", ""),
            **self.opened.details,
            "decoding": self.decoding.get("kind", ""),
            "preprocessing": self.spec.to_dict(),
        }

    def run(self, batch: Tensor) -> dict[str, Tensor]:
        """Outputs by name for normalised pictures ``B 3 H W``."""
        outputs, names = self.opened.outputs(batch, self.spec), self.outputs
        if len(outputs) != len(names):
            raise UserError(f"{self.path} gives {len(outputs)} outputs, its record names {len(names)}; export it again")
        return dict(zip(names, outputs, strict=True))


def numbered(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """A name for every class, or its number where there are no names."""
    return tuple(map(str, range(count) if names is None else names))
