"""`build_model`: from a catalog name to a network with fresh values."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pkgutil import resolve_name
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
    builder = resolve_name(record.builder)
    known = [key for key in inspect.signature(builder).parameters if key != "num_classes"]
    check_known(name, "argument", overrides, known)
    model: VisionModel = builder(num_classes=num_classes, **(dict(record.config) | overrides))
    model.name = name
    model.overrides = listed(overrides)
    model.preprocessing = record.preprocessing.of_channels(model.in_chans)
    return model


def check_known(owner: str, kind: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names that are not known, with the nearest; `kind` is "argument" or "option" of `owner`."""
    for name in given:
        if name not in known:
            raise UserError(f"{owner} has no {kind} {name!r}{did_you_mean(name, known)} (it takes {', '.join(known)})")


def listed(value: Any) -> Any:
    """The same with lists for tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value
