"""Classifiers, and their feature maps, as they go into a file.

| decoding | outputs |
|---|---|
| raw | `logits` B C, or `stage1` B C h w and so on |
| final | `probabilities` B C |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from phonecv.classify.predict import sigmoid
from phonecv.data.class_mapping import display_names, map_classes
from phonecv.errors import UserError
from phonecv.exporting.comparing import MAX_DIFF, TIE, Compared, Sides, compare_numbers
from phonecv.exporting.example import Example, first_example
from phonecv.exporting.pictures import Pictures
from phonecv.exporting.pictures import cropped_batch as input_batch
from phonecv.exporting.plain import inputs, needs, nothing_compared, timed, traceable
from phonecv.models import VisionModel


def as_module(network: VisionModel, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network itself, or with a softmax behind it.

    Raises:
        UserError: probabilities of feature maps.
    """
    if network.out_indices is None:
        return (network, ("logits",)) if decode == "raw" else (Probabilities(network), ("probabilities",))
    if decode != "raw":
        raise UserError(
            f"{network.name} gives feature maps, which have no decoding {decode!r}; leave it out (--decode)"
        )
    return network, tuple(f"stage{stage}" for stage in network.out_indices)


class Probabilities(nn.Module):
    """A classifier with its softmax, or its sigmoid where labels do not exclude each other."""

    def __init__(self, network: VisionModel) -> None:
        super().__init__()
        self.network, self.thresholds = network, network.thresholds

    def forward(self, batch: Tensor) -> Tensor:
        """``B 3 H W`` -> ``B classes``."""
        logits = self.network(batch)
        return logits.softmax(1) if self.thresholds is None else logits.sigmoid()


def choose_example(pictures: Pictures, outputs: Mapping[str, np.ndarray], network: VisionModel) -> Example:
    """The picture that the network gets right by the widest margin; without labels that of which it is surest.

    Of labels that do not exclude each other the one whose probabilities are farthest from their thresholds, if any is
    told of it.
    """
    every, classes = outputs.get("probabilities"), network.class_names
    if every is None and "logits" in outputs:
        logits = outputs["logits"]
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        every = shifted / shifted.sum(1, keepdims=True) if network.thresholds is None else sigmoid(logits)
    if network.thresholds is not None and every is not None:
        apart = every - np.asarray(network.thresholds)
        surest = np.abs(apart).min(1) + (apart >= 0).any(1)
        return Example(int(surest.argmax()), len(every))
    if every is None or every.shape[1] < 2:
        return first_example(pictures, outputs, network)
    count, shares, best = every.shape[1], np.sort(every, 1), every.argmax(1)
    margins = shares[:, -1] - shares[:, -2]
    wanted = [_output_of(folder, classes, count) for folder in pictures.folders[: len(every)]]
    known = np.array([output is not None for output in wanted])
    right = np.array([output == found for output, found in zip(wanted, best, strict=True)])
    # Right ones first, then those that may be, then those that are wrong.
    number = int(np.lexsort((margins, np.where(known, 2 * right - 1, 0)))[-1])
    output = wanted[number]
    return Example(
        number=number,
        tried=len(every),
        label=None if output is None else display_names(classes, count)[output],
        margin=round(float(margins[number]), 4),
        right=None if output is None else bool(right[number]),
    )


def _output_of(folder: str, classes: Sequence[str] | None, num_classes: int) -> int | None:
    """The class that a folder is called after."""
    if not folder:
        return None
    try:
        return map_classes([0], [folder], [folder], classes, num_classes)[0]
    except UserError:
        return None


def decoding(network: VisionModel, height: int, width: int, decode: str) -> dict[str, Any]:
    """Of labels that do not exclude each other their activation and thresholds; other logits need no word."""
    if network.out_indices is not None:
        return {}
    if network.thresholds is None:
        return {} if decode == "raw" else {"kind": decode}
    return {
        "kind": "labels" if decode == "raw" else decode,
        "activation": "sigmoid",
        "thresholds": list(network.thresholds),
    }


def compare(sides: Sides, max_diff: float | None) -> Compared:
    """Number by number, and by the best class, or by which labels are told where they do not exclude each other."""
    compared = compare_numbers(sides, max_diff)
    thresholds = getattr(getattr(sides.module, "network", None), "thresholds", None)
    if thresholds is None or not compared.count:
        return compared
    (want,), (got,) = sides.wanted, sides.got
    level = np.clip(thresholds, 1e-7, 1 - 1e-7)
    if tuple(sides.names) == ("logits",):
        level = np.log(level) - np.log1p(-level)
    tolerance = min(max_diff or 0.0, TIE) * max(1.0, float(np.abs(want).max(initial=0)))
    same = ((want >= level) == (got >= level)) | (np.abs(want - level) <= tolerance)
    return replace(compared, same=int(same.sum()), count=same.size, unit="labels")


__all__ = ["MAX_DIFF", "as_module", "choose_example", "compare", "decoding", "input_batch", "inputs", "needs",
           "nothing_compared", "timed", "traceable"]  # fmt: skip
