"""What a classifier learns from: both splits, listed without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phonecv.classify.config import ClassifyConfig
from phonecv.data.folders.label_sets import Labels
from phonecv.data.folders.listing import Listing, read_split
from phonecv.errors import UserError
from phonecv.training.balance import class_weights
from phonecv.training.checks import read_listings

#: The listing made by `list_once`, for the training that follows it in this process.
_LISTED: list[tuple[ClassifyConfig, tuple[Listing, Listing]]] = []


def list_once(config: ClassifyConfig, *, keep: bool) -> None:
    """List both splits; with `keep` the next `read_splits` of the same configuration takes what was found."""
    listed = read_splits(config)
    loss_weights(config, listed[0], len(listed[0].classes))
    _LISTED[:] = [(config, listed)][: int(keep)]


def loss_weights(config: ClassifyConfig, train: Listing, outputs: int) -> list[float] | None:
    """Factors on the loss for each output of the network, or None; of several labels, of those that are there."""
    total = len(train) if train.sets is not None else None
    return class_weights(config.loss.class_weights, train.classes, train.counts.tolist(), outputs, total)


def read_splits(config: ClassifyConfig) -> tuple[Listing, Listing]:
    """Both splits of a classifier's data, with the same classes."""
    for known, listed in _LISTED:
        if known is config:
            _LISTED.clear()
            return listed
    if not config.data.path:
        raise UserError("no data set was given; pass --data DIR (data.path), a folder with train/ and val/")
    return read_listings(config, config.data.path, _reader(config.data.labels))


def _reader(labels: Labels) -> Callable[..., Listing]:
    """Reads splits, each with as many labels a picture as the first has."""

    def read(root: Path | str, split: str, **given: Any) -> Listing:
        nonlocal labels
        listing = read_split(root, split, labels=labels, **given)
        labels = "one" if listing.sets is None else "many"
        return listing

    return read
