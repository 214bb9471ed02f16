"""The picture that travels with a file for the app's own test: one that the network gets right, and clearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phonecv.data.class_mapping import display_names, map_classes
from phonecv.errors import UserError
from phonecv.exporting.pictures import Pictures


@dataclass(frozen=True, slots=True)
class Example:
    """One of the pictures that a file was compared on.

    Attributes:
        number: which.
        tried: of how many it was chosen.
        label: its class, where the picture lies in a folder of that name; None where nobody told it.
        margin: by how much the probability of the network's best class is above the second one's; None for other tasks.
        right: whether the network's best class is its label; None where that is not known.
    """

    number: int
    tried: int
    label: str | None = None
    margin: float | None = None
    right: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the record."""
        return {key: value for key, value in asdict(self).items() if key != "number"}


def choose_example(pictures: Pictures, outputs: Mapping[str, np.ndarray], classes: Sequence[str] | None) -> Example:
    """The picture that the network gets right by the widest margin; without labels that of which it is surest.

    Args:
        pictures: candidates.
        outputs: PyTorch's by name, for some of them from the first on.
        classes: the network's own names, or None.
    """
    logits = outputs.get("logits")
    if logits is None or logits.ndim != 2 or logits.shape[1] < 2:
        return Example(0, 1)
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


def example_text(test: Mapping[str, Any]) -> str:
    """What to think of a record's test picture, in a sentence; empty where nothing is known."""
    margin, label, tried = test.get("margin"), test.get("label"), test.get("tried")
    if margin is None:
        return ""
    if test.get("right"):
        return f"It shows {label}, and the network is right, {margin:.2f} ahead of the second class."
    if test.get("right") is False:
        return (
            f"It shows {label}, and the network is wrong, as for all of {tried} pictures tried: the app has to find the"
            " same, but this is no example of what the network can do."
        )
    return (
        f"Nobody told what it shows: of {tried} pictures it is the one of which the network is surest, {margin:.2f}"
        " ahead of the second class. Pictures in folders called after their classes (--images) would tell."
    )
