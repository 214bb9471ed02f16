"""Whether an exported file gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from phonecv.errors import UserError
from phonecv.export.dense_checks import compare_decoded
from phonecv.export.job import Job
from phonecv.export.tracing import LEAST

#: Largest difference allowed by default, divided by max(1, largest output); None: agreement alone counts.
MAX_DIFF: dict[str, float | None] = {"float32": 1e-4, "fp16": 0.15, "int8": None, "int8-weights": None}
#: Least share of pictures with the same best class.
MIN_AGREEMENT = {"float32": 1.0, "fp16": 0.95, "int8": 0.0, "int8-weights": 0.0}
#: Classes closer than this share of the largest output count as tied, whatever difference is allowed.
TIE = 5e-3


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing.

    Attributes:
        difference: largest absolute difference of an output from PyTorch's, divided by max(1, largest output).
        agreement: share of pictures whose best class is PyTorch's (ties within the allowed difference count); None
            where the file has no logits.
        pictures: how many, at the file's own size.
        sizes: heights and widths that were tried.
        source: where the pictures came from.
    """

    difference: float
    agreement: float | None
    pictures: int
    sizes: tuple[tuple[int, int], ...]
    source: str


def check_inputs(job: Job, images: np.ndarray, *, dynamic_batch: bool, dynamic_size: bool) -> list[np.ndarray]:
    """Batches to compare on.

    All pictures at once, one alone where the batch is free, and where the size is free four others: one that no
    window and no stride divides, and one that is not square.
    """
    batches = [images] + ([images[:1]] if dynamic_batch and len(images) > 1 else [])
    if dynamic_size and job.dynamic_size:
        height, width = images.shape[2:]
        batches += [resampled(images[:2], *size) for size in other_sizes(height, width)]
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
    """Pictures at another size."""
    scaled = torch.nn.functional.interpolate(torch.from_numpy(images), (height, width), mode="bilinear")
    return scaled.numpy()


@torch.inference_mode()
def expected_outputs(job: Job, batches: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """PyTorch's outputs.

    Raises:
        UserError: they are not finite.
    """
    found = []
    for batch in batches:
        outputs = [output.numpy() for output in job.module(torch.from_numpy(batch))]
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
    max_diff: float | None,
    min_agreement: float,
    sizes: Sequence[tuple[int, int]],
    source: str,
    file: str,
) -> Comparison:
    """Compare the outputs of all batches.

    Raises:
        UserError: they differ too much, naming figures and limits.
    """
    worst, same, count = 0.0, 0, 0
    for number, (wanted, got) in enumerate(zip(expected, outputs, strict=True)):
        if len(wanted) != len(got):
            raise UserError(f"{file} was not written: it gives {len(got)} outputs, PyTorch {len(wanted)}")
        for name, want, have in zip(job.outputs, wanted, got, strict=True):
            if want.shape != have.shape:
                raise UserError(f"{file} was not written: {name} has shape {have.shape}, PyTorch's has {want.shape}")
        decoded = compare_decoded(job.outputs, wanted, got)
        if decoded is not None:
            worst = decoded if not decoded <= worst else worst
            continue
        for name, want, have in zip(job.outputs, wanted, got, strict=True):
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            difference = float(np.abs(have.astype(np.float64) - want).max(initial=0)) / scale
            worst = difference if not difference <= worst else worst  # NaN stays
            if name == "logits" and want.ndim == 2 and number == 0:
                same += int(same_winner(want, have, min(max_diff or 0.0, TIE) * scale).sum())
                count += len(want)
    agreement = same / count if count else None
    if max_diff is not None and not worst <= max_diff:
        raise UserError(
            f"{file} was not written: its outputs differ from PyTorch's by {worst:.2e} of the largest, "
            f"{max_diff:.0e} is allowed (max_diff)"
        )
    if not np.isfinite(worst):
        raise UserError(f"{file} was not written: its outputs are not finite")
    if agreement is not None and agreement < min_agreement:
        raise UserError(
            f"{file} was not written: its best class is PyTorch's for {same} of {count} pictures, "
            f"{min_agreement:.0%} are asked for (min_agreement)"
        )
    return Comparison(worst, agreement, len(expected[0][0]), tuple(sizes), source)


def same_winner(want: np.ndarray, got: np.ndarray, tolerance: float) -> np.ndarray:
    """For each row, whether the best class is the same; classes that tie within rounding may swap."""
    chosen = np.take_along_axis(want, got.argmax(1)[:, None], 1)[:, 0]
    return want.max(1) - chosen <= 2 * tolerance
