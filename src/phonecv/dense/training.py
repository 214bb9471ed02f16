"""What training a detector and training a segmenter have in common: network, starting weights, preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from phonecv.dense.model import DenseModel
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing
from phonecv.training.config import TrainConfig
from phonecv.training.optim import freeze
from phonecv.training.setup import class_count, with_settings
from phonecv.training.start import starting_file
from phonecv.weights import load_checkpoint, read_checkpoint

M = TypeVar("M", bound=DenseModel)


def make_dense(
    config: TrainConfig,
    create: Callable[..., M],
    architecture: str,
    options: Mapping[str, Any],
    classes: Sequence[str],
) -> M:
    """A detector or segmenter with its starting weights, class names and preprocessing; frozen parts marked.

    Raises:
        UserError: something of it does not exist or does not fit.
    """
    wanted, count = config.model, class_count(config, len(classes))
    file = starting_file(config)
    found = read_checkpoint(file) if file is not None else None
    # Heads of the same kind go on in the form they have; fresh ones are trained in training form.
    fused_heads = found is not None and (found.architecture, found.form) == (architecture, "deploy")
    net = create(
        architecture,
        wanted.name,
        num_classes=count,
        weights=wanted.weights if file is None else None,
        form="deploy" if fused_heads else "training",
        options=options,
        **wanted.arguments,
    )
    if file is not None and found is not None:
        if found.backbone_form == "deploy" and not fused_heads:
            net.fuse_backbone()
        load_checkpoint(net, file, ema=wanted.ema_weights, head="auto")
    net.class_names = tuple(classes) if len(classes) == count else None
    net.preprocessing = dense_preprocessing(config, net.preprocessing)
    freeze(net, wanted.freeze, None)
    return net


def dense_preprocessing(config: TrainConfig, own: DensePreprocessing) -> DensePreprocessing:
    """The network's preprocessing with what the configuration sets."""
    data = config.data
    changes: dict[str, Any] = {}
    if data.longest is not None and own.longest is None:
        raise UserError(
            "data.longest is set, but this network stretches pictures to a square of data.size; leave it out"
        )
    if data.size is not None:
        changes["size"] = data.size
        if own.longest is not None:
            changes["longest"] = max(data.size, round(own.longest * data.size / own.size))
    if data.longest is not None:
        changes["longest"] = data.longest
    return replace(with_settings(own, config, "mean", "std", "bits"), **changes)


def frozen_note(config: TrainConfig) -> str:
    """What ``model.freeze=all`` means here."""
    if "all" not in config.model.freeze:
        return ""
    return "the backbone is frozen and runs at every step: maps of whole pictures are too large to keep"
