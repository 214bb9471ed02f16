"""What passes between the export and the formats: a job in, files out, and a session that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phonecv.exporting.fields import FileRecord
from phonecv.exporting.inputs import Input, picture_input

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Job:
    """One file to write.

    Attributes:
        module: on the CPU, float32, in evaluation mode; one batch in, a tuple of tensors out.
        examples: a batch of each input, with more than one row and real values; mostly pictures ``B 3 H W``.
        outputs: a name for each output.
        stem: name of the files without suffix.
        precision: of `phonecv.exporting.formats.PRECISIONS`.
        dynamic_batch: leave the batch size free, where the format can.
        dynamic_size: leave height and width free, where the format can.
        record: what travels with the file: model, task, form, classes, preprocessing; JSON values.
        calibration: ``N 3 H W`` float32, for int8; as the example, of real pictures.
        settings: of the quantization, see `phonecv.quantize`.
        inputs: what the module takes; empty for one batch of pictures called "images".
        opset: operator set of ONNX; None for what PyTorch's exporter writes.
    """

    module: nn.Module
    examples: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    stem: str
    precision: str = "float32"
    dynamic_batch: bool = True
    dynamic_size: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    calibration: np.ndarray | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    opset: int | None = None

    @property
    def taken(self) -> tuple[Input, ...]:
        """What the module takes."""
        height, width = self.examples[0].shape[-2:]
        return self.inputs or (picture_input(height, width, self.examples[0].shape[1]),)

    @property
    def row(self) -> tuple[Tensor, ...]:
        """The first row of each example, which formats without a free batch are written for."""
        return tuple(example[:1].contiguous() for example in self.examples)


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
        run: inputs as the network takes them, mostly one of ``B 3 H W`` float32 (whatever layout and type the file
            itself has) -> its outputs, float32 or integer.
        runtime: name and version.
        batch: the only batch size it takes, or None for any.
        size: the only height and width it takes; None for any, and where it takes no pictures or maps.
        record: as in `Job`, if the file carries one or has one beside it; otherwise empty.
    """

    run: Callable[..., list[np.ndarray]]
    runtime: str
    batch: int | None = None
    size: tuple[int, int] | None = None
    record: FileRecord = field(default_factory=FileRecord)

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Outputs for a batch of any size: a fixed one is served in parts, the last one padded."""
        count = len(arrays[0])
        if self.batch is None or count == self.batch:
            return self.run(*arrays)
        parts = []
        for start in range(0, count, self.batch):
            rows = np.minimum(np.arange(start, start + self.batch), count - 1)
            parts.append([output[: count - start] for output in self.run(*(array[rows] for array in arrays))])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
