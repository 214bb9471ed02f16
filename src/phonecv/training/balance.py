"""Rare classes may count for more: how often pictures are taken, and weights of the loss. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from phonecv.errors import UserError, did_you_mean
from phonecv.text import some_names

if TYPE_CHECKING:
    import numpy as np

#: Factors on the loss, by class: in inverse proportion to the pictures of each, or as given.
ClassWeights = Literal["balanced"] | dict[str, float]


def pick_rates(pictures: np.ndarray, classes: np.ndarray, total: int, power: float) -> np.ndarray | None:
    """How often each of `total` pictures is taken in an epoch that is as long as before; None where power is 0.

    A picture is taken in proportion to ``f ** -power``, f being the share of the pictures that hold the rarest of its
    classes: with power 1 every class comes equally often where a picture has one, 0.5 is the square root that repeat
    factor sampling has (Gupta et al., LVIS, CVPR 2019, section 4.2). A picture without a class counts as one with the
    most frequent.

    Args:
        pictures: numbers of pictures, a class of each at the same place in `classes`; pairs may repeat.
        classes: labels.
        total: how many pictures there are.
        power: 0..1.
    """
    if not power or not len(pictures):
        return None
    import numpy as np  # settings are read without it

    width = int(classes.max()) + 1
    pairs = np.unique(pictures.astype(np.int64) * width + classes)
    holders, held = pairs // width, pairs % width
    weights = (np.bincount(held).clip(1) / total) ** -power
    rates = np.full(total, weights[np.unique(held)].min())
    np.maximum.at(rates, holders, weights[held])
    return rates * (total / rates.sum())


def class_weights(
    wanted: ClassWeights | None, classes: Sequence[str], counts: Sequence[int], outputs: int, total: int | None = None
) -> list[float] | None:
    """Factors on the loss for each of so many outputs; None for none.

    "balanced" is n / (k count) for n pictures of k classes, so that every class counts the same in all and the mean
    over the pictures is one. Of labels that do not exclude each other, in `total` pictures, it is how often a label is
    missing over how often it is there. Classes that are not named, and outputs without a class, have 1.

    Raises:
        UserError: a name that is no class, or a factor that is no number from 0 on.
    """
    if wanted is None:
        return None
    factors = [1.0] * outputs
    if wanted == "balanced" and total is not None:
        factors[: len(counts)] = [max(total - count, 1) / max(count, 1) for count in counts]
        return factors
    if wanted == "balanced":
        there = [count for count in counts if count]
        factors[: len(counts)] = [sum(there) / (len(there) * max(count, 1)) for count in counts]
        return factors
    for name, value in check_factors(wanted).items():
        if name not in classes:
            raise UserError(
                f"class_weights: {name!r} is no class of the data{did_you_mean(name, classes)}"
                f" (classes: {some_names(list(classes), 20)})"
            )
        factors[list(classes).index(name)] = value
    return factors


def check_factors(wanted: Mapping[str, float]) -> Mapping[str, float]:
    """The factors, each of which has to be a number from 0 on."""
    for name, value in wanted.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UserError(f"class_weights: {name}={value!r} is no number from 0 on, such as 2.5")
    return wanted
