"""What passes between the export and the formats: a job in, files out, and a session that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from phonecv.exporting.fields import FileRecord


@dataclass(frozen=True, slots=True)
class Job:
    """One file to write.

    Attributes:
        module: on the CPU, float32, in evaluation mode; one batch of pictures in, a tuple of tensors out.
        example: a batch it takes, ``B 3 H W`` with B > 1, real values.
        outputs: a name for each output.
        stem: name of the files without suffix.
        precision: of `phonecv.exporting.formats.PRECISIONS`.
        dynamic_batch: leave the batch size free, where the format can.
        dynamic_size: leave height and width free, where the format can.
        record: what travels with the file: model, task, form, classes, preprocessing; JSON values.
        calibration: ``N 3 H W`` float32, for int8; as `example`, of real pictures.
        settings: of the quantization, see `phonecv.quantize`.
    """

    module: nn.Module
    example: Tensor
    outputs: tuple[str, ...]
    stem: str
    precision: str = "float32"
    dynamic_batch: bool = True
    dynamic_size: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    calibration: np.ndarray | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """What a format's writer made.

    Attributes:
        path: the main file, in the folder the writer was given.
        operators: of the graph.
        report: what runs outside the accelerator and why, by layer where known; JSON values, free by format.
    """

    path: Path
    operators: int
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """An exported file in its runtime.

    Attributes:
        run: ``B 3 H W`` float32 (whatever layout and type the file itself takes) -> its outputs, float32 or integer.
        runtime: name and version.
        batch: the only batch size it takes, or None for any.
        size: the only height and width it takes, or None for any.
        record: as in `Job`, if the file carries one or has one beside it; otherwise empty.
    """

    run: Callable[[np.ndarray], list[np.ndarray]]
    runtime: str
    batch: int | None = None
    size: tuple[int, int] | None = None
    record: FileRecord = field(default_factory=FileRecord)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Outputs for a batch of any size: a fixed one is served in parts, the last one padded."""
        if self.batch is None or len(images) == self.batch:
            return self.run(images)
        parts = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            missing = self.batch - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
            parts.append([output[: len(part)] for output in self.run(padded)])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
