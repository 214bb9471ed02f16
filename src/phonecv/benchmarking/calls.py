"""What a candidate is when it is timed: a call on a fixed input, and a look at what came out. Imports no runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: One batch of all inputs, in the network's order.
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A candidate ready to be timed.

    Attributes:
        run: one pass over the whole batch; ends when the outputs are there, or, on a GPU, are on their way.
        outputs: the outputs of a pass, as float32 arrays.
        layout: how the input lies in memory, "nchw" or "nhwc".
    """

    run: Callable[[], object]
    outputs: Callable[[], list[np.ndarray]]
    layout: str


def tiled(images: np.ndarray, batch: int) -> np.ndarray:
    """The probe pictures (or their outputs) again and again, until there are `batch` of them."""
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])


def difference(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Largest absolute difference divided by max(1, largest expected output); infinite if anything is not finite."""
    worst = 0.0
    for got, want in zip(outputs, expected, strict=True):
        if got.shape != want.shape or not np.isfinite(got).all():
            return float("inf")
        worst = max(worst, float(np.abs(got - want).max()) / max(1.0, float(np.abs(want).max())))
    return worst
