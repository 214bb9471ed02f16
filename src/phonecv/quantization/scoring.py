"""What a quantized file lost, on pictures with labels or without."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.classify.metrics import label_rank
from phonecv.quantization.data import Pictures
from phonecv.quantization.sensitivity import signal_to_noise


@dataclass(frozen=True, slots=True)
class Score:
    """A file against the floating-point network, on the same pictures.

    Attributes:
        count: pictures.
        right: of these, how many the file gets right; None without labels.
        float_right: how many the floating-point network gets right; None without labels.
        same: how many have the same best class in both.
        drop: points of top-1 lost; without labels, percent of pictures whose best class changed.
        standard_error: of `drop`, from the pictures on which the two differ.
        decibels: signal-to-noise ratio of the logits, which tells methods apart long before answers change.
    """

    count: int
    right: int | None
    float_right: int | None
    same: int
    drop: float
    standard_error: float
    decibels: float

    @property
    def top1(self) -> float | None:
        """Percent right, or None without labels."""
        return None if self.right is None else 100 * self.right / self.count

    @property
    def agreement(self) -> float:
        """Share with the same best class."""
        return self.same / self.count

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        figures: dict[str, Any] = {
            key: round(value, 4) for key, value in asdict(self).items() if isinstance(value, float)
        }
        figures["decibels"] = None if math.isinf(self.decibels) else round(self.decibels, 2)
        top1 = None if self.top1 is None else round(self.top1, 4)
        return asdict(self) | figures | {"top1": top1, "agreement": round(self.agreement, 4)}

    def __str__(self) -> str:
        if self.right is None:
            return f"{self.same}/{self.count} same best class ({self.drop:.1f} ± {self.standard_error:.1f} % changed)"
        return (
            f"{self.right}/{self.count} right, float32 {self.float_right} "
            f"({self.drop:+.1f} ± {self.standard_error:.1f} points lost)"
        )


def logits_of(run: Callable[[Tensor], Tensor], pictures: Pictures) -> Tensor:
    """Outputs for all pictures."""
    return torch.cat([run(part).float() for part in pictures.batches()])


def score(reference: Tensor, logits: Tensor, labels: Tensor | None) -> Score:
    """Compare outputs ``N classes`` with those of the floating-point network."""
    count = len(reference)
    same = (reference.argmax(1) == logits.argmax(1)) & logits.isfinite().all(1)
    signal = float(reference.square().sum(dtype=torch.float64))
    noise = float((logits - reference).square().sum(dtype=torch.float64))
    decibels = signal_to_noise(signal, noise) if math.isfinite(noise) else -math.inf
    if labels is None:
        lost = (~same).double().numpy()
        right = float_right = None
    else:
        hits = [(label_rank(values, labels) == 0).double().numpy() for values in (logits, reference)]
        lost = hits[1] - hits[0]
        right, float_right = int(hits[0].sum()), int(hits[1].sum())
    error = float(np.std(lost)) / math.sqrt(count)
    return Score(count, right, float_right, int(same.sum()), 100 * float(np.mean(lost)), 100 * error, decibels)
