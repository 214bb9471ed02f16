"""Exported files in their runtimes; what takes and gives arrays needs no torch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from phonecv.devices import usable_cores
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import EXPORTERS, exporter_for
from phonecv.exporting.job import Session
from phonecv.exporting.record import refuse_placeholder
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.task import DEFAULT_TASK

if TYPE_CHECKING:
    from torch import Tensor


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
    if path.is_file():
        refuse_placeholder(path)
    exporter.require()
    return resolve_name(exporter.session)(path, threads=threads or _threads(), precision=precision)


def _threads() -> int:
    """What torch is set to, where somebody has imported it; otherwise what it would be."""
    torch: Any = sys.modules.get("torch")
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return torch.get_num_threads() if torch else int(asked) if asked.isdigit() and int(asked) else usable_cores()


def as_pixels(batch: np.ndarray, spec: Preprocessing | DensePreprocessing) -> np.ndarray:
    """Normalised pictures ``B C H W``, or clips ``B C T H W``, as pixel values 0..255."""
    mean, std = (
        np.asarray(values, np.float32).reshape(-1, *[1] * (batch.ndim - 2)) for values in (spec.mean, spec.std)
    )
    return ((batch * std + mean) * np.float32(255)).clip(0, 255)


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
        import torch

        return [torch.from_numpy(output) for output in self.arrays(batch.numpy(), spec)]

    def arrays(self, batch: np.ndarray, spec: Preprocessing | DensePreprocessing) -> list[np.ndarray]:
        """The same from and to arrays."""
        if self.record.get("input_range") == "pixels 0..255":
            batch = as_pixels(batch, spec)
        return self.session(np.ascontiguousarray(batch))

    def run(self, *batch: Tensor) -> list[Tensor]:
        """What it gives for its inputs just as they are, in the order of its record."""
        import torch

        return [torch.from_numpy(output) for output in self.session(*(np.ascontiguousarray(one) for one in batch))]


def open_file(path: Path | str) -> OpenedFile:
    """An exported file for evaluation or prediction."""
    return OpenedFile(Path(path), open_session(path))
