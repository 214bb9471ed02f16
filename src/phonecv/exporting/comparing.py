"""How far the outputs of a file are from PyTorch's, and whether comparing them could have found a wrong file at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from phonecv.exporting.inputs import Arrays

#: Largest difference allowed by default, divided by max(1, largest output); None: agreement alone counts.
MAX_DIFF: dict[str, float | None] = {"float32": 1e-4, "fp16": 0.15, "int8": None, "int8-weights": None}
#: Classes closer than this share of the largest output count as tied, whatever difference is allowed.
TIE = 5e-3
#: Outputs that move by less from picture to picture, as a share of max(1, largest output), count as constant: a file
#: that answers every picture alike would pass.
LEAST_VARIATION = 1e-4
#: Outputs of which the largest value tells the class.
CHOSEN = ("logits", "probabilities")
#: What helps where nothing could be compared.
HINT = "give pictures like the app's with --images (images=)"


@dataclass(frozen=True, slots=True)
class Compared:
    """One batch of outputs against PyTorch's.

    Attributes:
        difference: the largest, on the scale of what is allowed; NaN where a file gives no numbers.
        same: of `count`, how many have PyTorch's best class.
        count: rows of classes that were looked at; 0 where nothing is chosen.
        unit: what has a row: "pictures", or parts of them.
        tipping: share of the rows that may be of another class, however many are asked to stay.
    """

    difference: float
    same: int = 0
    count: int = 0
    unit: str = "pictures"
    tipping: float = 0.0


@dataclass(frozen=True, slots=True)
class Sides:
    """What PyTorch and a file gave for one batch.

    Attributes:
        names: of the outputs.
        wanted: PyTorch's, with the batch in front.
        got: the file's, of the same shapes.
        module: that gave PyTorch's, a `phonecv.exporting.deployable.Deployable`.
        batch: what both were given; None where it is not known.
    """

    names: Sequence[str]
    wanted: Sequence[np.ndarray]
    got: Sequence[np.ndarray]
    module: nn.Module
    batch: Arrays | None = None


def compare_numbers(sides: Sides, max_diff: float | None, *, unit: str = "pictures", tipping: float = 0.0) -> Compared:
    """Number by number, and by the best class in an output of `CHOSEN`.

    Classes are its second axis; those that are within `max_diff` may swap. For `unit` and `tipping` see
    `Compared`.
    """
    worst, same, count = 0.0, 0, 0
    for name, want, have in zip(sides.names, sides.wanted, sides.got, strict=True):
        scale = max(1.0, float(np.abs(want).max(initial=0)))
        difference = float(np.abs(have.astype(np.float64) - want).max(initial=0)) / scale
        worst = difference if not difference <= worst else worst  # NaN stays
        if name in CHOSEN:
            winners = same_winner(_rows(want), _rows(have), min(max_diff or 0.0, TIE) * scale)
            same, count = int(winners.sum()), len(winners)
    return Compared(worst, same, count, unit, tipping)


def _rows(logits: np.ndarray) -> np.ndarray:
    """One row of classes per picture, or per place of a map ``B classes h w``."""
    return np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])


def same_winner(want: np.ndarray, got: np.ndarray, tolerance: float) -> np.ndarray:
    """For each row, whether the best class is the same; classes that tie within rounding may swap."""
    chosen = np.take_along_axis(want, got.argmax(1)[:, None], 1)[:, 0]
    return want.max(1) - chosen <= 2 * tolerance


def unvaried(names: Sequence[str], wanted: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]) -> str:
    """Why comparing numbers says nothing of a file: its outputs (PyTorch's tell enough) do not vary; or empty."""
    del got
    still = [name for name, output in zip(names, wanted[0], strict=True) if _variation(output) < LEAST_VARIATION]
    if still:
        return (
            f"{' and '.join(still)} of {len(wanted[0][0])} pictures are all the same, as an untrained network's can be;"
            f" export trained weights, or {HINT}"
        )
    return ""


def _variation(output: np.ndarray) -> float:
    """How far the outputs of the pictures are apart; of a single picture, how far its values are."""
    other = output[:1] if len(output) > 1 else output.ravel()[:1]
    return float(np.abs(output - other).max(initial=0)) / max(1.0, float(np.abs(output).max(initial=0)))
