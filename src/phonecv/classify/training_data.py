"""What a classifier learns from: both splits, listed without torch."""

from __future__ import annotations

from phonecv.classify.config import ClassifyConfig
from phonecv.classify.unlabelled import read_pictures
from phonecv.data.folders.listing import PICTURES, Listing
from phonecv.training.balance import class_weights
from phonecv.training.checks import data_folder, read_listings
from phonecv.training.dividing import Divided, divide_listing

DATA = "a folder with train/ and val/, or with a folder of pictures for each class"

#: The listing made by `list_once`, for the training that follows it in this process.
_LISTED: list[tuple[ClassifyConfig, tuple[Listing, Listing | None]]] = []


def list_once(config: ClassifyConfig, *, keep: bool) -> None:
    """List the data; with `keep` the next `read_splits` of the same configuration takes what was found."""
    listed = _list(config)
    loss_weights(config, listed[0], len(listed[0].classes))
    _LISTED[:] = [(config, listed)][: int(keep)]


def loss_weights(config: ClassifyConfig, train: Listing, outputs: int) -> list[float] | None:
    """Factors on the loss for each output of the network, or None; of several labels, of those that are there."""
    total = len(train) if train.sets is not None else None
    return class_weights(config.loss.class_weights, train.classes, train.counts.tolist(), outputs, total)


def read_splits(config: ClassifyConfig) -> Divided[Listing]:
    """Both splits of a classifier's data, with the same classes; without any where a teacher's features are learned."""
    listed = next((listed for known, listed in _LISTED if known is config), None)
    _LISTED.clear()
    return divide_listing(config, *(listed or _list(config)))


def _list(config: ClassifyConfig) -> tuple[Listing, Listing | None]:
    if config.distill.kind == "features":
        return read_pictures(config)
    return read_listings(config, data_folder(config, DATA), PICTURES, config.data.labels)
