"""Classifiers, and their feature maps, as they go into a file: `logits` B C, or `stage1` B C h w and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from phonecv.classify.predict import sigmoid
from phonecv.data.class_mapping import display_names, map_classes
from phonecv.errors import UserError
from phonecv.exporting.comparing import MAX_DIFF, TIE, Compared, Sides, compare_numbers
from phonecv.exporting.example import Example, first_example
from phonecv.exporting.pictures import Pictures
from phonecv.exporting.pictures import cropped_batch as input_batch
from phonecv.exporting.plain import inputs, needs, nothing_compared, traceable
from phonecv.models import VisionModel


def as_module(network: VisionModel, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network itself: nothing is to be decoded."""
    del decode, size
    if network.out_indices is None:
        return network, ("logits",)
    return network, tuple(f"stage{stage}" for stage in network.out_indices)


def choose_example(pictures: Pictures, outputs: Mapping[str, np.ndarray], network: VisionModel) -> Example:
    """The picture that the network gets right by the widest margin; without labels that of which it is surest.

    Of labels that do not exclude each other the one whose probabilities are farthest from their thresholds, if any is
    told of it.
    """
    logits, classes = outputs.get("logits"), network.class_names
    if network.thresholds is not None and logits is not None:
        apart = sigmoid(logits) - np.asarray(network.thresholds)
        surest = np.abs(apart).min(1) + (apart >= 0).any(1)
        return Example(int(surest.argmax()), len(logits))
    if logits is None or logits.shape[1] < 2:
        return first_example(pictures, outputs, network)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares = np.sort(shifted / shifted.sum(1, keepdims=True), 1)
    margins, best = shares[:, -1] - shares[:, -2], logits.argmax(1)
    wanted = [_output_of(folder, classes, logits.shape[1]) for folder in pictures.folders[: len(logits)]]
    known = np.array([output is not None for output in wanted])
    right = np.array([output == found for output, found in zip(wanted, best, strict=True)])
    # Right ones first, then those that may be, then those that are wrong.
    number = int(np.lexsort((margins, np.where(known, 2 * right - 1, 0)))[-1])
    output = wanted[number]
    return Example(
        number=number,
        tried=len(logits),
        label=None if output is None else display_names(classes, logits.shape[1])[output],
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
    """Of logits of labels that do not exclude each other their activation and thresholds; other logits need no word."""
    del height, width, decode
    if network.thresholds is None or network.out_indices is not None:
        return {}
    return {"kind": "labels", "activation": "sigmoid", "thresholds": list(network.thresholds)}


def compare(sides: Sides, max_diff: float | None) -> Compared:
    """Number by number, and by the best class, or by which labels are told where they do not exclude each other."""
    compared = compare_numbers(sides, max_diff)
    thresholds = getattr(getattr(sides.module, "network", None), "thresholds", None)
    if thresholds is None or not compared.count:
        return compared
    (want,), (got,) = sides.wanted, sides.got
    level = np.log(np.clip(thresholds, 1e-7, 1 - 1e-7)) - np.log1p(-np.clip(thresholds, 1e-7, 1 - 1e-7))
    tolerance = min(max_diff or 0.0, TIE) * max(1.0, float(np.abs(want).max(initial=0)))
    same = ((want >= level) == (got >= level)) | (np.abs(want - level) <= tolerance)
    return replace(compared, same=int(same.sum()), count=same.size, unit="labels")


def timed(network: VisionModel) -> tuple[nn.Module, str]:
    """All of it."""
    return network, ""


__all__ = ["MAX_DIFF", "as_module", "choose_example", "compare", "decoding", "input_batch", "inputs", "needs",
           "nothing_compared", "timed", "traceable"]  # fmt: skip
