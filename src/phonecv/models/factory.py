"""`create_model`: from a catalog name to a network."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, get_args

from phonecv.catalog import get_record
from phonecv.errors import UserError, did_you_mean
from phonecv.models.base import Form, VisionModel


def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int = 1000,
    form: Form | None = None,
    **overrides: Any,
) -> VisionModel:
    """Build a network by its catalog name.

    Args:
        name: see `phonecv.list_models`.
        weights: None for fresh values; "official" or another tag of the catalog for public weights, downloaded
            to the cache; or the path of a checkpoint of any layout that `phonecv.load_checkpoint` reads. With
            another class count than the file's, the classifier stays fresh.
        num_classes: classes of the classifier; 0 for none.
        form: "training", or "deploy" for the fused network; None for the form of the weights, training without any.
        **overrides: constructor arguments that replace the catalog's, such as ``window=10``, ``drop_path=0.1``,
            ``out_indices=(1, 2, 3, 4)`` (dense backbone), ``frozen_stages=1``, ``norm_eval=True``.

    Returns:
        The network in training mode, as PyTorch makes modules.

    Raises:
        UserError: unknown name, override or weights; a value out of range.
    """
    record = get_record(name)
    if form is not None and form not in get_args(Form):
        raise UserError(f"form {form!r} is not one of {', '.join(get_args(Form))}")
    module, _, class_name = record.builder.partition(":")
    builder = getattr(importlib.import_module(module), class_name)
    known = [key for key in inspect.signature(builder).parameters if key != "num_classes"]
    for key in overrides:
        if key not in known:
            raise UserError(f"{name} has no argument {key!r}{did_you_mean(key, known)} (it takes {', '.join(known)})")
    model: VisionModel = builder(num_classes=num_classes, **(dict(record.config) | overrides))
    model.name = name
    model.overrides = {key: _plain(value) for key, value in overrides.items()}
    model.preprocessing = record.preprocessing
    if weights is not None:
        from phonecv.weights import load_public_or_file

        model = load_public_or_file(model, weights, form=form)
    if form == "deploy" and model.form != "deploy":
        from phonecv.fuse import fuse

        # A fresh network has nothing to get wrong in train mode; its statistics are those it will be fused with.
        model = fuse(model.eval()).train()
    return model


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
