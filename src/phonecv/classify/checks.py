"""What a classifier learns from, and what can be wrong with its training, said before torch is loaded."""

from __future__ import annotations

from phonecv.classify.config import ClassifyConfig
from phonecv.classify.unlabelled import read_pictures
from phonecv.data.folders.listing import PICTURES, Listing
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS
from phonecv.training.balance import class_weights
from phonecv.training.checks import check_file, data_folder, read_listings
from phonecv.training.dividing import Divided, divide_listing

DATA = "a folder with train/ and val/, or with a folder of pictures for each class"

#: The listing made by `check_training`, for the training that follows it in this process.
_LISTED: list[tuple[ClassifyConfig, tuple[Listing, Listing | None]]] = []


def check_training(config: ClassifyConfig, *, keep: bool) -> None:
    """Check that the teacher is known or there, and that the data can be listed.

    With `keep` the next `read_splits` of the same configuration takes what was found.
    """
    teacher = config.distill.teacher
    if teacher is None and config.distill.kind == "features":
        raise UserError(
            "distill.kind=features needs a teacher; pass --teacher (distill.teacher): timm:NAME, a network's name or a"
            " checkpoint"
        )
    if teacher is not None and not teacher.startswith("timm:") and teacher not in MODELS:
        check_file(teacher, f"distill.teacher={teacher!r}", [f"timm:NAME, {len(MODELS)} of `phonecv models`"])
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
