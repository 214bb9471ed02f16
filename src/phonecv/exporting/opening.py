"""Exported files in their runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import EXPORTERS, exporter_for
from phonecv.exporting.job import Session
from phonecv.exporting.pictures import as_pixels
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.task import DEFAULT_TASK


def open_session(path: Path | str, *, threads: int | None = None, precision: str = "float32") -> Session:
    """An exported file in its runtime, by its suffix; `precision` is what that may compute in, where it can choose.

    Raises:
        UserError: no format has this suffix, its runtime is not installed, or the file is broken.
    """
    path = Path(path)
    exporter = exporter_for(path)
    if exporter is None:
        known = ", ".join(sorted(record.suffix for record in EXPORTERS.values()))
        raise UserError(f"{path} has none of the suffixes of exported files ({known})")
    if not path.exists():
        raise UserError(f"there is no file {path}")
    exporter.require()
    return resolve_name(exporter.session)(path, threads=threads or torch.get_num_threads(), precision=precision)


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """An exported file in its runtime.

    Attributes:
        path: the main file.
        session: runs it.
    """

    path: Path
    session: Session

    @property
    def record(self) -> FileRecord:
        """What the file says of itself, perhaps nothing."""
        return self.session.record

    @property
    def task(self) -> str:
        """Key of `phonecv.task.TASKS`."""
        return self.record.get("task", DEFAULT_TASK)

    @property
    def name(self) -> str:
        """Of the network, or of the file where it does not say."""
        return self.record.get("model") or self.path.name

    @property
    def description(self) -> str:
        """For people."""
        return f"{self.name}, {self.details['form']} form, {self.session.runtime}"

    @property
    def details(self) -> dict[str, Any]:
        """For reports."""
        return {
            "form": self.record.get("form", "unknown"),
            "runtime": self.session.runtime,
            "file": str(self.path),
        }

    def outputs(self, batch: Tensor, spec: Preprocessing | DensePreprocessing) -> list[Tensor]:
        """What it gives for normalised pictures ``B 3 H W`` or clips ``B 3 T H W``, whatever the file itself takes."""
        if self.record.get("input_range") == "pixels 0..255":
            batch = as_pixels(batch, spec)
        return self.run(batch)

    def run(self, *batch: Tensor) -> list[Tensor]:
        """What it gives for its inputs just as they are, in the order of its record."""
        return [torch.from_numpy(output) for output in self.session(*(np.ascontiguousarray(one) for one in batch))]


def open_file(path: Path | str) -> OpenedFile:
    """An exported file for evaluation or prediction."""
    return OpenedFile(Path(path), open_session(path))
