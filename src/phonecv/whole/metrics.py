"""Top-1 and top-5 as counts, never as averages of averages: they add up over batches and processes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: With so many classes or fewer, "within five guesses" says nothing.
FIVE = 5


def standard_error(right: float, count: float) -> float:
    """Standard error in percent points of a share of right answers: how much it would differ on other such images.

    That of the binomial distribution. All or none right is counted as if half an image were not: a few images that are
    all right do not prove that every image would be.
    """
    if not count:
        return 0.0
    share = min(max(right, 0.5), count - 0.5) / count
    return 100.0 * math.sqrt(share * (1 - share) / count)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of `count` images were right at the first guess, and within the first five.

    Attributes:
        count: images.
        top1: right at the first guess.
        top5: right within five guesses.
        classes: among how many; with five or fewer, or 0 for unknown, see `__str__`.
    """

    count: int
    top1: int
    top5: int
    classes: int = 0

    @property
    def top1_percent(self) -> float:
        """Share right at the first guess, in percent; 0 for no images."""
        return 100.0 * self.top1 / self.count if self.count else 0.0

    @property
    def top5_percent(self) -> float:
        """Share right within five guesses, in percent; 0 for no images."""
        return 100.0 * self.top5 / self.count if self.count else 0.0

    @property
    def error(self) -> float:
        """Standard error of `top1_percent`."""
        return standard_error(self.top1, self.count)

    @property
    def five_guesses(self) -> bool:
        """Whether top-5 says anything."""
        return not 0 < self.classes <= FIVE

    def __str__(self) -> str:
        """Top-1 with its standard error; top-5 where there are more than five classes."""
        text = f"{self.top1}/{self.count} top-1 ({self.top1_percent:.2f} ± {self.error:.2f} %)"
        return f"{text}, {self.top5}/{self.count} top-5 ({self.top5_percent:.2f} %)" if self.five_guesses else text


class TopK:
    """Counts right answers over batches.

    With fewer than five classes "top-5" means "among all of them", so it is still defined. Equal
    logits rank by class index (as argmax does), so a constant output earns no credit for ties. A row
    that holds a NaN is never right, and neither is a label outside the classes.

    Attributes:
        counts: int64 tensor [images, right at 1, right within 5]; sum it over processes with all_reduce.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(3, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: `logits` B C, `labels` B (class indices). Stays on the device, no host sync."""
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(f"logits of shape {tuple(logits.shape)}; expected B x {self.num_classes}")
        rank = label_rank(logits, labels)
        hits = torch.stack([torch.full_like(rank, 1), (rank < 1).long(), (rank < 5).long()])
        self.counts += hits.sum(1).to(self.counts.device)

    def result(self) -> Accuracy:
        """The counts so far, as plain numbers."""
        return Accuracy(*(int(value) for value in self.counts.tolist()))


def label_rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Place of the true class in each row, 0 for the best; the number of classes if it cannot be right."""
    B, C = logits.shape
    labels = labels.to(logits.device)
    known = (labels >= 0) & (labels < C)
    target = labels.clamp(0, C - 1).unsqueeze(1)
    own = logits.gather(1, target)
    before = torch.arange(C, device=logits.device) < target
    rank = ((logits > own) | ((logits == own) & before)).sum(1)
    valid = known & ~logits.isnan().any(1)
    # Fewer than five classes: a row that cannot be right must miss top-5 as well.
    return torch.where(valid, rank, rank.new_full((B,), max(C, 5)))
