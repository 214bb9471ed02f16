"""Where a training starts from: public weights, or whatever a checkpoint file holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from phonecv.errors import UserError
from phonecv.models.catalog import MODELS, get_record

if TYPE_CHECKING:
    from phonecv.models.base import Form
    from phonecv.training.config import TrainConfig

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
        return config  # heads on somebody else's backbone: loading says what stands against it
    own = {key: value for key, value in record.get("overrides", {}).items() if key not in _OF_THE_TRAINING}
    # A recipe's own arguments belong to the recipe's own network.
    overrides = own | (wanted.overrides if wanted.name == info.model else {})
    return replace(config, model=replace(wanted, name=info.model, overrides=overrides))
