"""Whether an exported file gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from phonecv.errors import UserError
from phonecv.exporting.comparing import Sides, unvaried
from phonecv.exporting.inputs import Arrays
from phonecv.exporting.job import Job
from phonecv.exporting.room import exporting_of
from phonecv.exporting.tracing import LEAST
from phonecv.task import TASKS, Task

#: Least share of pictures with the same best class.
MIN_AGREEMENT = {"float32": 1.0, "fp16": 0.95, "int8": 0.0, "int8-weights": 0.0}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing.

    Attributes:
        difference: largest absolute difference of an output from PyTorch's, divided by max(1, largest output).
        agreement: share of pictures, or of their pixels, whose best class is PyTorch's (ties within the allowed
            difference count); None where the file has no logits.
        pictures: how many, at the file's own size.
        sizes: heights and widths that were tried.
        source: where the pictures came from.
        remark: why it says nothing of the file, see `phonecv.exporting.comparing`; empty if it does.
    """

    difference: float
    agreement: float | None
    pictures: int
    sizes: tuple[tuple[int, int], ...]
    source: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a file may be from PyTorch.

    Attributes:
        max_diff: largest difference; None for any.
        min_agreement: least share of best classes that are PyTorch's.
    """

    max_diff: float | None
    min_agreement: float

    @classmethod
    def of(cls, task: Task, precision: str, max_diff: float | None = None, min_agreement: float | None = None) -> Self:
        """The usual ones of a task and a precision where a person says nothing."""
        return cls(
            exporting_of(task).MAX_DIFF[precision] if max_diff is None else max_diff,
            MIN_AGREEMENT[precision] if min_agreement is None else min_agreement,
        )

    @staticmethod
    def check(max_diff: float | None, min_agreement: float | None) -> None:
        """Check what a person says, before any work."""
        if max_diff is not None and not 0 < max_diff < 1:
            raise UserError(f"max_diff {max_diff!r} is not between 0 and 1; the usual value is 1e-4")
        if min_agreement is not None and not 0 <= min_agreement <= 1:
            raise UserError(f"min_agreement {min_agreement!r} is not a share between 0 and 1, such as 0.99")


def check_inputs(job: Job, rows: Arrays, *, dynamic_batch: bool, dynamic_size: bool) -> list[Arrays]:
    """Batches to compare on.

    All rows at once, one alone where the batch is free, and where the size is free four others: one that no
    window and no stride divides, and one that is not square.
    """
    batches = [rows]
    if dynamic_batch and len(rows[0]) > 1:
        batches.append(tuple(array[:1] for array in rows))
    if dynamic_size and job.dynamic_size:
        height, width = rows[0].shape[-2:]
        for size in other_sizes(height, width):
            batches.append(
                tuple(
                    resampled(array[:2], *size) if one.free else array[:2]
                    for one, array in zip(job.taken, rows, strict=True)
                )
            )
    return batches


def other_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Four sizes beside the one a file was traced at."""
    return [
        (height + 32, width + 32),
        (height + 27, width + 13),
        (max(LEAST, height - 64), width + 64),
        (max(LEAST, height // 2), max(LEAST, width // 2)),
    ]


def resampled(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pictures, or the frames of clips, at another size."""
    maps = torch.from_numpy(images).flatten(0, -4)
    scaled = torch.nn.functional.interpolate(maps, (height, width), mode="bilinear")
    return scaled.reshape(*images.shape[:-2], height, width).numpy()


@torch.inference_mode()
def expected_outputs(job: Job, batches: Sequence[Arrays]) -> list[list[np.ndarray]]:
    """PyTorch's outputs, which have to be finite."""
    found = []
    for batch in batches:
        outputs = [output.numpy() for output in job.module(*map(torch.from_numpy, batch))]
        for name, output in zip(job.outputs, outputs, strict=True):
            if not np.isfinite(output).all():
                model = job.record.get("model", job.stem)
                raise UserError(f"{name} of {model} holds NaN or infinity in PyTorch already; its weights are broken")
        found.append(outputs)
    return found


def compare(
    job: Job,
    expected: Sequence[Sequence[np.ndarray]],
    outputs: Sequence[Sequence[np.ndarray]],
    *,
    limits: Limits,
    source: str,
    file: str,
    batches: Sequence[Arrays | None],
) -> Comparison:
    """Compare the outputs of all batches.

    Without `batches`, objects must be those that PyTorch chose among equally sure ones; `source` (of the pictures)
    and `file` are for people.

    Raises:
        UserError: they differ too much, naming figures and limits.
    """
    room = exporting_of(TASKS[job.record["task"]])
    worst, found = 0.0, []
    for batch, wanted, got in zip(batches, expected, outputs, strict=True):
        if len(wanted) != len(got):
            raise UserError(f"{file} was not written: it gives {len(got)} outputs, PyTorch {len(wanted)}")
        for name, want, have in zip(job.outputs, wanted, got, strict=True):
            if want.shape != have.shape:
                raise UserError(f"{file} was not written: {name} has shape {have.shape}, PyTorch's has {want.shape}")
        found.append(room.compare(Sides(job.outputs, wanted, got, job.module, batch), limits.max_diff))
        worst = found[-1].difference if not found[-1].difference <= worst else worst  # NaN stays
    whole = found[0]
    agreement = whole.same / whole.count if whole.count else None
    if limits.max_diff is not None and not worst <= limits.max_diff:
        # Where nothing varies, equally sure objects are chosen by rounding: the figure is no fault of the file.
        still = unvaried(job.outputs, expected, outputs)
        raise UserError(
            f"{file} was not written: its outputs differ from PyTorch's by {worst:.2e} of the largest, "
            f"{limits.max_diff:.0e} is allowed (max_diff){'; ' if still else ''}{still}"
        )
    if not np.isfinite(worst):
        raise UserError(f"{file} was not written: its outputs are not finite")
    least = min(limits.min_agreement, 1 - whole.tipping)
    if agreement is not None and agreement < least:
        raise UserError(
            f"{file} was not written: its best class is PyTorch's for {whole.same} of {whole.count} {whole.unit}, "
            f"{100 * least:g}% are asked for (min_agreement)"
        )
    remark = room.nothing_compared(job.outputs, expected, outputs)
    sizes = tuple((batch[0].shape[-2], batch[0].shape[-1]) for batch in batches if batch is not None)
    return Comparison(worst, agreement, len(expected[0][0]), sizes, source, remark)
