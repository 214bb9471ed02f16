"""Where a training starts from: public weights, or whatever a checkpoint file holds."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from phonecv.errors import UserError
from phonecv.models.catalog import MODELS, get_record
from phonecv.text import some_names

if TYPE_CHECKING:
    from phonecv.data.folders.listing import Listing
    from phonecv.models import VisionModel
    from phonecv.models.base import Form
    from phonecv.training.config import TrainConfig

_log = logging.getLogger("phonecv")

#: Arguments of a network that say how it was trained, not what it is.
_OF_THE_TRAINING = ("drop_path", "frozen_stages", "norm_eval", "training_form", "out_indices")


def starting_form(weights: str | None) -> Form | None:
    """The form that a training asks for: of the public files the training form, else whichever the weights have.

    A training-form network can be fused later; a file that is fused already is trained as it is.
    """
    return "training" if weights in (None, "official") else None


def starting_file(config: TrainConfig) -> Path | None:
    """The checkpoint that `model.weights` names, downloaded where it is a tag of a fused public file; None for fresh
    values and for public weights in training form.

    Raises:
        UserError: the download failed.
    """
    name, weights = config.model.name, config.model.weights
    if weights is None:
        return None
    if name in MODELS and any(weights == record.tag and record.form == "deploy" for record in get_record(name).weights):
        from phonecv.weights import fetch

        return fetch(get_record(name).find_weights(weights))
    return Path(weights) if Path(weights).is_file() else None


def follow_weights(config: TrainConfig) -> TrainConfig:
    """The configuration with the network that the file `model.weights` holds, where it holds another than the recipe's.

    For a person who names a file and no network.

    Raises:
        UserError: the file cannot be read, or fits several networks and the recipe's is none of them.
    """
    path = Path(config.model.weights or "")
    if not path.is_file():
        return config
    from phonecv.weights import read_checkpoint

    info, wanted = read_checkpoint(path), config.model
    record = info.record or {}
    if not info.candidates or (wanted.name in info.candidates and not record):
        return config
    if info.model is None:
        some = ", ".join(info.candidates)
        raise UserError(f"{path} fits {some}; say which, for example model.name={info.candidates[0]}")
    if info.model not in MODELS and config.in_catalog(info.model):
        return config  # a detector on somebody else's backbone: loading says what stands against it
    own = {key: value for key, value in record.get("overrides", {}).items() if key not in _OF_THE_TRAINING}
    # A recipe's own arguments belong to the recipe's own network.
    overrides = own | (wanted.overrides if wanted.name == info.model else {})
    return replace(config, model=replace(wanted, name=info.model, overrides=overrides))


def follow_classes(net: VisionModel, data: Listing) -> None:
    """Give every class of the data the classifier's row that means it, where the starting weights name their classes.

    The same number of classes says nothing of their order. Where some of the names are others, all rows start fresh.

    Args:
        net: with the class names of its weights; None leaves it as it is.
        data: the training split.
    """
    from phonecv.data.class_mapping import map_classes

    known, classes = net.class_names, data.classes
    if known is None or tuple(known) == tuple(classes):
        return
    try:
        outputs = map_classes(range(len(classes)), data.class_ids or classes, classes, known, net.num_classes)
    except UserError:
        net.reset_classifier(net.num_classes)
        theirs, ours = some_names(list(known), 3), some_names(list(classes), 3)
        _log.warning("the weights' classes (%s) are not the data's (%s): the classifier stays fresh", theirs, ours)
        return
    rows = list(outputs.values())
    if rows == sorted(rows):
        return
    rows += [row for row in range(net.num_classes) if row not in outputs.values()]
    for parameter in net.get_classifier().parameters():
        parameter.data = parameter.data[rows]
    _log.info("the classifier's rows follow the data's classes, which the weights have in another order")
