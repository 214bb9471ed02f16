"""How well scores tell pictures with a label from those without: average precision, thresholds, F-scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Pictures with a label from which on its threshold is its own; with fewer one of all labels together is steadier.
LEAST = 5


class Ranked(NamedTuple):
    """Scores of each class from the largest to the smallest, ``C N``.

    Attributes:
        scores: sorted; what is no number comes last.
        hits: pictures with the label among the first, those of equal scores included.
        taken: how many these first are.
        own: whether the picture at a place has the label.
        positives: pictures with the label, ``C``.
    """

    scores: Tensor
    hits: Tensor
    taken: Tensor
    own: Tensor
    positives: Tensor


def ranked(scores: Tensor, truth: Tensor) -> Ranked:
    """`scores` and `truth` are ``N C``; equal scores stand and fall together, whatever their order."""
    order = scores.double().nan_to_num(float("-inf")).T.sort(1, descending=True)
    own = truth.T.gather(1, order.indices).bool()
    falling = (-order.values).contiguous()
    taken = torch.searchsorted(falling, falling, right=True)
    hits = own.cumsum(1).gather(1, taken - 1)
    return Ranked(order.values, hits, taken, own, own.sum(1))


def average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    """Average precision of every class, ``C`` from 0 to 1; not a number where no picture has the label.

    The sum over thresholds of precision times the rise of recall, without interpolation: as scikit-learn's
    ``average_precision_score`` and torchmetrics' ``MultilabelAveragePrecision``.

    Args:
        scores: ``N C``, larger for surer; any monotone scale gives the same.
        truth: ``N C``, whether a picture has a label.
    """
    places = ranked(scores, truth)
    precision = places.hits.double() / places.taken
    return (precision * places.own).sum(1) / places.positives


def mean_defined(values: Tensor) -> float:
    """The mean of those that are numbers; not a number if none is."""
    return float(values.nanmean()) if len(values) else float("nan")


def best_thresholds(probabilities: Tensor, truth: Tensor) -> Tensor:
    """For every class the threshold of its probability with the best F1 score on these pictures, ``C``.

    It lies in the middle between the last picture that counts and the next. Labels of fewer than `LEAST` pictures take
    that of all labels together.

    Args:
        probabilities: ``N C``.
        truth: ``N C``, whether a picture has a label.
    """
    together = _best(probabilities.reshape(-1, 1), truth.reshape(-1, 1))
    return torch.where(truth.sum(0) < LEAST, together, _best(probabilities, truth))


def _best(probabilities: Tensor, truth: Tensor) -> Tensor:
    if not len(probabilities):
        return torch.full((probabilities.shape[1],), 0.5, dtype=torch.float64)
    places = ranked(probabilities, truth)
    f1 = 2 * places.hits.double() / (places.taken + places.positives[:, None])
    best = f1.argmax(1, keepdim=True)
    last = places.taken.gather(1, best)
    lower = torch.cat([places.scores, torch.zeros_like(places.scores[:, :1])], 1).gather(1, last)
    middle = (places.scores.gather(1, best) + lower.clamp_min(0))[:, 0] / 2
    return torch.where(places.positives > 0, middle, 0.5)


class Counts(NamedTuple):
    """Per class: pictures with the label that were told, without it that were, and with it that were not."""

    hits: Tensor
    false: Tensor
    missed: Tensor

    @property
    def precision(self) -> Tensor:
        """Share of what was told that is right; 1 where nothing was told, for nothing was wrong."""
        told = self.hits + self.false
        return torch.where(told > 0, self.hits / told.clamp_min(1), 1.0)

    @property
    def recall(self) -> Tensor:
        """Share of the label's pictures that was told; not a number without any."""
        return self.hits / (self.hits + self.missed)

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of both; not a number where the label occurs on neither side."""
        return 2 * self.hits / (2 * self.hits + self.false + self.missed)


def counted(told: Tensor, truth: Tensor) -> Counts:
    """What was told against what is, both ``N C`` bool."""
    truth = truth.bool()
    return Counts((told & truth).sum(0), (told & ~truth).sum(0), (~told & truth).sum(0))
