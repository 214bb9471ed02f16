"""Comparing what decoded files give: sets of objects and maps of classes, which no difference of numbers tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Share of the objects that may have no partner. Two overlaps or scores that are equal but for rounding let suppression
#: choose another of two boxes, and those that hang on it.
ODD = 0.02


def compare_decoded(names: Sequence[str], wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float | None:
    """How far decoded outputs are apart, on the scale of relative differences.

    Args:
        names: of the outputs.
        wanted: PyTorch's, with the batch in front.
        got: the file's, of the same shapes.

    Returns:
        For objects, see `compare_objects`; for a map of classes the share of pixels that are of another class; None
        for other outputs, which are to be compared number by number.
    """
    if tuple(names) == ("classes",):
        return float(np.mean(wanted[0] != got[0]))
    if not {"boxes", "scores", "labels", "count"} <= set(names):
        return None
    return compare_objects(dict(zip(names, wanted, strict=True)), dict(zip(names, got, strict=True)))


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
