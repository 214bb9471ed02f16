"""Comparing what files with suppression give: sets of objects, which no difference of numbers tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phonecv.detect.boxes import pairwise_iou

#: Share of the objects that may have no partner. Two overlaps or scores that are equal but for rounding let suppression
#: choose another of two boxes, and those that hang on it.
ODD = 0.02

#: Overlaps this close to the limit of suppression may have been decided either way.
_SLACK = 0.01


def compare_objects(wanted: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> float:
    """Largest difference between objects and their partners, `ODD` of them aside.

    Every object is paired with the most similar one of its label on the other side; both sides are gone through, so
    nothing may be missing and nothing added. Their difference is that of the scores, of the corners divided by the
    picture's longest side, or of the masks, whichever is largest; without a partner it is the score, since it is the
    weak ones that rounding brings and takes.
    """
    scale = max(1.0, float(np.abs(wanted["boxes"]).max(initial=0)))
    differences = []
    for picture in range(len(wanted["count"])):
        ours, theirs = (
            {name: values[picture][: int(side["count"][picture])] for name, values in side.items() if name != "count"}
            for side in (wanted, got)
        )
        apart = _apart(ours, theirs, scale)
        for axis, side in ((1, ours), (0, theirs)):
            alone = side["scores"].astype(np.float64)
            best = apart.min(axis) if apart.shape[axis] else np.full(len(alone), np.inf)
            differences.append(np.minimum(best, np.abs(alone)))
    every = np.sort(np.concatenate(differences)) if differences else np.zeros(0)
    if not len(every):
        return 0.0
    if not np.isfinite(every).all():
        return float("nan")
    return float(every[max(0, int(np.ceil(len(every) * (1 - ODD))) - 1)])


def _apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray], scale: float) -> np.ndarray:
    """Differences of all pairs, infinite between labels."""
    scores = np.abs(one["scores"][:, None].astype(np.float64) - other["scores"][None])
    corners = np.abs(one["boxes"][:, None].astype(np.float64) - other["boxes"][None]).max(-1, initial=0) / scale
    apart = np.where(one["labels"][:, None] == other["labels"][None], np.maximum(scores, corners), np.inf)
    if "masks" in one and apart.size:
        # Of the most similar box alone: masks of all pairs would be many.
        rows, nearest = np.arange(len(apart)), apart.argmin(1)
        masks = np.abs(one["masks"].astype(np.float64) - other["masks"][nearest]).max((1, 2))
        apart[rows, nearest] = np.maximum(apart[rows, nearest], masks)
    return apart


@dataclass(frozen=True, slots=True)
class Offer:
    """What suppression in a file had to choose from, as PyTorch computes it.

    Attributes:
        boxes: ``B K 4``, best first; more than the file considers, so that one knows who just missed.
        scores: ``B K``.
        labels: ``B K``.
        considered: so many of them the file considers.
        threshold: scores above it count.
        overlap: intersection over union above which the weaker of two boxes of a label goes.
        keep: places for objects.
        masks: ``B M S S``, of the objects that the file gave.
        agnostic: whether boxes of different labels suppress each other, too.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    considered: int
    threshold: float
    overlap: float
    keep: int
    masks: np.ndarray | None = None
    agnostic: bool = False


@torch.inference_mode()
def offered(module: Any, batch: np.ndarray, got: Mapping[str, np.ndarray]) -> Offer | None:
    """What there was to choose from, by a `Deployable` that was given `batch`; None where it does not say.

    Nor where `got`, what the file gave by name, holds no numbers to look at.
    """
    inner = module.network
    if not hasattr(inner, "offered") or not all(np.isfinite(values).all() for values in got.values()):
        return None
    images = module.normalised(torch.from_numpy(batch))
    boxes, scores, labels = (values.numpy() for values in inner.offered(images, 2 * inner.candidates))
    masks = None
    if "masks" in got:
        # Of the boxes that the file shows: the network itself may have chosen others.
        known = torch.from_numpy(got["labels"]).clamp(-1, inner.network.num_classes - 1)
        masks = inner.masks(images, torch.from_numpy(got["boxes"]), known).numpy()
    rules = inner.candidates, inner.threshold, inner.overlap, inner.keep
    return Offer(boxes, scores, labels, *rules, masks, inner.agnostic)


def compare_choice(offer: Offer, got: Mapping[str, np.ndarray], tolerance: float) -> float:
    """How far a file's objects are from a right choice among what was offered, whatever the order among equal scores.

    Suppression goes from the best score down, and among equal ones in an order of the runtime's own: of two boxes that
    are equally sure and overlap, either may stay. Right is every choice where

    - each object is one of those offered (and its mask is that of its box),
    - no two of a label overlap by more than the limit, and
    - whoever is not shown is overlapped by one that is shown and no weaker, or all places went to no weaker ones.

    Without equal scores only one choice is right, the network's own.

    Args:
        offer: from `offered`.
        got: the file's outputs, by name.
        tolerance: scores this close count as equal.

    Returns:
        The largest difference, `ODD` of the objects aside: of scores, corners divided by the picture's longest side, or
        masks; for an object that should not be there, or is missing, its score.
    """
    scale = max(1.0, float(np.abs(offer.boxes).max(initial=0)))
    differences, shown = [], 0
    for picture, count in enumerate(np.maximum(got["count"], 0).astype(int).tolist()):
        mine = {name: got[name][picture][:count] for name in ("boxes", "scores", "labels")}
        order = np.argsort(-mine["scores"], kind="stable")
        mine = {name: values[order] for name, values in mine.items()}
        theirs = {name: getattr(offer, name)[picture] for name in ("boxes", "scores", "labels")}
        wrong = _apart(mine, theirs, scale).min(1, initial=np.inf)
        wrong = np.minimum(wrong, np.abs(mine["scores"]))
        if offer.masks is not None:
            apart = np.abs(got["masks"][picture][:count][order] - offer.masks[picture][:count][order])
            wrong = np.maximum(wrong, apart.max((1, 2), initial=0))
        doubles = np.triu(_same(mine, mine, offer.overlap + _slack(tolerance), offer.agnostic), 1).any(0)
        wrong = np.where(doubles, np.maximum(wrong, mine["scores"]), wrong)
        differences += [wrong, _missing(offer, mine, theirs, tolerance, thin=scale * tolerance / 10)]
        shown += len(wrong)
    every = -np.sort(-np.concatenate(differences)) if differences else np.zeros(0)
    tipped = int(ODD * shown)
    return float(every[tipped]) if len(every) > tipped else 0.0


def _missing(
    offer: Offer, mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float, *, thin: float
) -> np.ndarray:
    """Scores of those that were offered and are not shown, without a reason."""
    scores = theirs["scores"]
    beyond = scores[offer.considered] if len(scores) > offer.considered else -np.inf
    sides = (theirs["boxes"][:, 2:] - theirs["boxes"][:, :2]).min(1, initial=np.inf)
    # Neither so weak nor so thin that rounding takes it away.
    counts = (scores > max(offer.threshold, float(beyond)) + tolerance) & (sides > thin)
    covered = _same(mine, theirs, offer.overlap - _slack(tolerance), offer.agnostic)
    reason = (covered & (mine["scores"][:, None] >= scores - tolerance)).any(0)
    if len(mine["scores"]) >= offer.keep:
        reason |= scores <= mine["scores"].min() + tolerance
    return scores[counts & ~reason]


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray], overlap: float, agnostic: bool) -> np.ndarray:
    """Pairs, of a label or of any, whose overlap is above a limit."""
    boxes = (torch.from_numpy(side["boxes"].astype(np.float64)) for side in (one, other))
    near = pairwise_iou(*boxes).numpy() > overlap
    return near if agnostic else near & (one["labels"][:, None] == other["labels"][None])


def _slack(tolerance: float) -> float:
    return max(_SLACK, 2 * tolerance)
