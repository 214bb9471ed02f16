"""Checks of the options that detectors have in common."""

from __future__ import annotations

from collections.abc import Sequence

from phonecv.errors import UserError


def check_boxes(score_threshold: float, candidates: int, nms_overlap: float, max_detections: int) -> None:
    """Refuse values out of range for the choice of final boxes."""
    if not 0 <= score_threshold < 1:
        raise UserError(f"score_threshold {score_threshold!r} is not in 0 .. 1 (1 excluded)")
    if not 0 <= nms_overlap <= 1:
        raise UserError(f"nms_overlap {nms_overlap!r} is not in 0 .. 1")
    for name, value in (("candidates", candidates), ("max_detections", max_detections)):
        if not (isinstance(value, int) and value >= 1):
            raise UserError(f"{name} {value!r} is not a whole number >= 1")


def check_numbers(name: str, values: Sequence[float] | None, default: Sequence[float]) -> tuple[float, ...]:
    """The values given, or the default's, as a tuple: as many as the default has, all positive."""
    values = tuple(default if values is None else values)
    if len(values) != len(default) or not all(isinstance(v, int | float) and v > 0 for v in values):
        raise UserError(f"{name} {values!r}: {len(default)} positive numbers are expected, such as {tuple(default)}")
    return values
