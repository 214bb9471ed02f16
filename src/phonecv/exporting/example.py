"""The picture that travels with a file for the app's own test: one that the network gets right, and clearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

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


def first_example(pictures: Pictures, outputs: Mapping[str, np.ndarray], network: object) -> Example:
    """The first picture, where nothing says which one a network gets right."""
    del pictures, outputs, network
    return Example(0, 1)


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
