"""Whether an exported file gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from phonecv.detect.exporting_checks import compare_choice, compare_decoded, offered
from phonecv.errors import UserError
from phonecv.exporting.comparing import nothing_compared
from phonecv.exporting.job import Job
from phonecv.exporting.tracing import LEAST

#: Largest difference allowed by default, divided by max(1, largest output); None: agreement alone counts.
MAX_DIFF: dict[str, float | None] = {"float32": 1e-4, "fp16": 0.15, "int8": None, "int8-weights": None}
#: The same for detectors and segmenters in half precision: of scores 0..1, of boxes as a share of the picture's longest
#: side, of objects with suppression in the file, and as a share of pixels where it gives classes.
MAX_DIFF_DENSE_FP16 = 0.02
#: Pixels of a segmenter that may be of another class however many are asked to stay.
MAX_DIFF_PIXELS = 1e-4
#: Least share of pictures with the same best class.
MIN_AGREEMENT = {"float32": 1.0, "fp16": 0.95, "int8": 0.0, "int8-weights": 0.0}
#: Classes closer than this share of the largest output count as tied, whatever difference is allowed.
TIE = 5e-3


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing.

    Attributes:
        difference: largest absolute difference of an output from PyTorch's, divided by max(1, largest output).
        agreement: share of pictures, or of a segmenter's pixels, whose best class is PyTorch's (ties within the allowed
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


def allowed(precision: str, task: str) -> float | None:
    """The largest difference allowed where a person says nothing.

    Args:
        precision: of the file.
        task: of the network.
    """
    return MAX_DIFF_DENSE_FP16 if precision == "fp16" and task != "classify" else MAX_DIFF[precision]


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
    batches: Sequence[np.ndarray] = (),
) -> Comparison:
    """Compare the outputs of all batches.

    Args:
        job: what was written.
        expected: of PyTorch, per batch.
        outputs: of the file, per batch.
        max_diff: see `phonecv.exporting.export`.
        min_agreement: likewise.
        sizes: of the batches.
        source: of the pictures, for people.
        file: likewise.
        batches: themselves; without them objects must be those that PyTorch chose among equally sure ones.

    Raises:
        UserError: they differ too much, naming figures and limits.
    """
    worst, same, count, what = 0.0, 0, 0, ""
    for number, (wanted, got) in enumerate(zip(expected, outputs, strict=True)):
        if len(wanted) != len(got):
            raise UserError(f"{file} was not written: it gives {len(got)} outputs, PyTorch {len(wanted)}")
        for name, want, have in zip(job.outputs, wanted, got, strict=True):
            if want.shape != have.shape:
                raise UserError(f"{file} was not written: {name} has shape {have.shape}, PyTorch's has {want.shape}")
        decoded = compare_decoded(job.outputs, wanted, got)
        if decoded is not None:
            if max_diff is not None and not decoded <= max_diff and number < len(batches):
                decoded = _or_another_choice(job, batches[number], got, decoded, max_diff)
            worst = decoded if not decoded <= worst else worst
            continue
        for name, want, have in zip(job.outputs, wanted, got, strict=True):
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            difference = float(np.abs(have.astype(np.float64) - want).max(initial=0)) / scale
            worst = difference if not difference <= worst else worst  # NaN stays
            if name == "logits" and number == 0:
                tolerance = min(max_diff or 0.0, TIE) * scale
                winners = same_winner(_rows(want), _rows(have), tolerance)
                what = "pictures" if want.ndim == 2 else "pixels"
                same, count = int(winners.sum()), len(winners)
    agreement = same / count if count else None
    if max_diff is not None and not worst <= max_diff:
        raise UserError(
            f"{file} was not written: its outputs differ from PyTorch's by {worst:.2e} of the largest, "
            f"{max_diff:.0e} is allowed (max_diff)"
        )
    if not np.isfinite(worst):
        raise UserError(f"{file} was not written: its outputs are not finite")
    # Among so many pixels some are at the border of two classes, as in a map of classes.
    least = min(min_agreement, 1 - MAX_DIFF_PIXELS) if what == "pixels" else min_agreement
    if agreement is not None and agreement < least:
        raise UserError(
            f"{file} was not written: its best class is PyTorch's for {same} of {count} {what}, "
            f"{100 * least:g}% are asked for (min_agreement)"
        )
    remark = nothing_compared(job.outputs, expected, outputs)
    return Comparison(worst, agreement, len(expected[0][0]), tuple(sizes), source, remark)


def _or_another_choice(
    job: Job, batch: np.ndarray, got: Sequence[np.ndarray], difference: float, max_diff: float
) -> float:
    """The difference, or that from another choice among objects that are equally sure, if it is less."""
    named = dict(zip(job.outputs, got, strict=True))
    offer = offered(job.module, batch, named) if "count" in named else None
    if offer is None:
        return difference
    # However much a person allows: with scores that far apart as equals, no choice would be wrong.
    found = compare_choice(offer, named, min(max_diff, MAX_DIFF_DENSE_FP16))
    return found if found < difference else difference


def _rows(logits: np.ndarray) -> np.ndarray:
    """One row of classes per picture, or per pixel of a segmenter's ``B classes h w``."""
    return np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])


def same_winner(want: np.ndarray, got: np.ndarray, tolerance: float) -> np.ndarray:
    """For each row, whether the best class is the same; classes that tie within rounding may swap."""
    chosen = np.take_along_axis(want, got.argmax(1)[:, None], 1)[:, 0]
    return want.max(1) - chosen <= 2 * tolerance
