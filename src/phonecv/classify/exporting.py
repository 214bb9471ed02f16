"""Classifiers, and their feature maps, as they go into a file: `logits` B C, or `stage1` B C h w and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from phonecv.data.class_mapping import display_names, map_classes
from phonecv.errors import UserError
from phonecv.exporting.comparing import MAX_DIFF
from phonecv.exporting.example import Example, first_example
from phonecv.exporting.pictures import Pictures
from phonecv.exporting.pictures import cropped_batch as input_batch
from phonecv.exporting.plain import compare, decoding, inputs, needs, nothing_compared, traceable
from phonecv.models import VisionModel


def as_module(network: VisionModel, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network itself: nothing is to be decoded."""
    del decode, size
    if network.out_indices is None:
        return network, ("logits",)
    return network, tuple(f"stage{stage}" for stage in network.out_indices)


def choose_example(pictures: Pictures, outputs: Mapping[str, np.ndarray], classes: Sequence[str] | None) -> Example:
    """The picture that the network gets right by the widest margin; without labels that of which it is surest."""
    logits = outputs.get("logits")
    if logits is None or logits.shape[1] < 2:
        return first_example(pictures, outputs, classes)
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


def timed(network: VisionModel) -> tuple[nn.Module, str]:
    """All of it."""
    return network, ""


__all__ = ["MAX_DIFF", "as_module", "choose_example", "compare", "decoding", "input_batch", "inputs", "needs",
           "nothing_compared", "timed", "traceable"]  # fmt: skip
