"""Classifiers, and their feature maps, as they go into a file: `logits` B C, or `stage1` B C h w and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from phonecv.data.class_mapping import display_names, map_classes
from phonecv.errors import UserError
from phonecv.exporting import comparing
from phonecv.exporting.comparing import Compared, compare_numbers
from phonecv.exporting.example import Example, first_example
from phonecv.exporting.pictures import Pictures, cropped_batch
from phonecv.exporting.record import at_size
from phonecv.models import VisionModel

MAX_DIFF = comparing.MAX_DIFF

input_batch = cropped_batch
nothing_compared = comparing.unvaried


def as_module(network: VisionModel, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network itself: nothing is to be decoded."""
    del decode, size
    if network.out_indices is None:
        return network, ("logits",)
    return network, tuple(f"stage{stage}" for stage in network.out_indices)


def needs(network: VisionModel, decode: str) -> tuple[str, ...]:
    """Nothing but a backbone's operators."""
    del network, decode
    return ()


def traceable(network: VisionModel, batch: Tensor) -> tuple[VisionModel, Tensor]:
    """Both as they are."""
    return network, batch


def record_fields(network: VisionModel, height: int, width: int, decode: str) -> dict[str, Any]:
    """How to build it again, and the preprocessing at the file's size."""
    del decode
    return {"overrides": network.overrides, "preprocessing": at_size(network.preprocessing, height, width).to_dict()}


def compare(
    module: nn.Module,
    names: Sequence[str],
    wanted: Sequence[np.ndarray],
    got: Sequence[np.ndarray],
    *,
    batch: np.ndarray | None,
    max_diff: float | None,
) -> Compared:
    """Number by number, and by the best class of every picture."""
    del module, batch
    return compare_numbers(names, wanted, got, max_diff=max_diff)


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
