"""`build_model`: from a catalog name to a network with fresh values."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from phonecv.errors import UserError, did_you_mean
from phonecv.models.base import VisionModel
from phonecv.models.catalog import get_record


def build_model(name: str, *, num_classes: int = 1000, **overrides: Any) -> VisionModel:
    """Build a network in training form by its catalog name; `phonecv.create_model` also gives it weights.

    Args:
        name: see `phonecv.list_models`.
        num_classes: classes of the classifier; 0 for none.
        **overrides: constructor arguments that replace the catalog's.

    Raises:
        UserError: unknown name or override; a value out of range.
    """
    record = get_record(name)
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
    return model


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
