"""Class names that a training program kept beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from phonecv.errors import UserError
from phonecv.text import brief

#: A list of names, or a mapping of numbers to names.
_LISTS = (
    "classes", "class_names", "CLASSES", "idx_to_class", "idx_to_label", "index_to_class", "id2label", "names",
    "labels", "label_names", "categories", "vocab", "idx2class",
)  # fmt: skip
#: A mapping of names to numbers.
_NUMBERS = ("class_to_idx", "label_to_idx", "cat_to_idx", "label2id", "class_to_index", "class2idx")

#: Where such entries stand: beside the weights, or in what describes the data or the run.
_PLACES: tuple[tuple[str, ...], ...] = (
    (),
    ("meta",),
    ("meta", "dataset_meta"),
    ("hyper_parameters",),
    ("datamodule_hyper_parameters",),
    ("hparams",),
    ("config",),
    ("args",),
    ("opt",),
    ("metadata",),
    ("extra",),
    ("model",),
)

_LONGEST, _MOST = 1000, 1_000_000


def class_names_in(
    content: Mapping[str, Any], metadata: Mapping[str, str], num_classes: int | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Class names kept in a checkpoint of somebody's, and remarks on those that could not be used."""
    found: dict[tuple[str, ...], str] = {}
    notes = []
    for place, entry in _entries(content, metadata):
        try:
            names = _names(entry, numbered=place.rpartition(".")[2] in _NUMBERS)
        except UserError as error:
            notes.append(f"its {place!r} is not used: {error}")
            continue
        if num_classes is not None and len(names) != num_classes:
            notes.append(f"its {place!r} is not used: {len(names)} names for {num_classes} outputs")
        else:
            found.setdefault(names, place)
    if len(found) > 1:
        notes.append(f"its class names are not used: {' and '.join(map(repr, found.values()))} disagree")
    names = next(iter(found)) if len(found) == 1 and num_classes is not None else None
    if names is not None:
        notes.append(f"class names from its {found[names]!r}")
    return names, tuple(notes)


def _entries(content: Mapping[str, Any], metadata: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Places of what may be class names, and what is there."""
    entries = []
    for path in _PLACES:
        inner: Any = content
        for key in path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if not isinstance(inner, Mapping):
            continue
        for key in (*_LISTS, *_NUMBERS):
            value = inner.get(key)
            if (isinstance(value, Mapping) and value) or (isinstance(value, list | tuple) and value):
                entries.append((".".join((*path, key)), value))
    for key in (*_LISTS, *_NUMBERS):
        text = metadata.get(key, "").strip()
        if text.startswith(("[", "{")):
            try:
                entries.append((key, json.loads(text)))
            except (ValueError, RecursionError):
                continue
    return entries


def _names(entry: Any, *, numbered: bool) -> tuple[str, ...]:
    """Names in the order of their numbers."""
    if len(entry) > _MOST:
        raise UserError(f"{len(entry):,} names")
    if isinstance(entry, Mapping):
        pairs = [(number, name) if numbered else (name, number) for name, number in entry.items()]
        by_number: dict[int, Any] = {}
        for number, name in pairs:
            by_number[_number(number)] = name
        if sorted(by_number) != list(range(len(entry))):
            raise UserError("its numbers are not 0, 1, 2, ... with a name each")
        entry = [by_number[n] for n in range(len(entry))]
    return _checked(entry)


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if type(value) is not int:
        raise UserError(f"{brief(value)} is not the number of a class")
    return value


def _checked(entry: Sequence[Any]) -> tuple[str, ...]:
    for name in entry:
        if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST:
            raise UserError(f"{brief(name)} is not a name")
    if len(set(entry)) < len(entry):
        raise UserError("a name occurs twice")
    return tuple(entry)
