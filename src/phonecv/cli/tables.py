"""Catalog and recipes as rows, for the terminal and for the tables in docs/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phonecv.catalog import MODELS, ModelRecord, get_record, list_models
from phonecv.errors import UserError, did_you_mean

#: Header, rows, and the numbers of the columns that hold figures.
Table = tuple[Sequence[str], list[tuple[Any, ...]], Sequence[int]]


def select(pattern: str) -> list[ModelRecord]:
    """The records whose name matches a shell-style pattern; a bare word also matches within names.

    Raises:
        UserError: nothing matches.
    """
    names = list_models(pattern) or list_models(f"*{pattern}*")
    if not names:
        raise UserError(
            f"no model matches {pattern!r}{did_you_mean(pattern, MODELS)}; `phonecv models` lists all {len(MODELS)}"
        )
    return [get_record(name) for name in names]


def model_rows(records: Sequence[ModelRecord]) -> Table:
    """One row per network; accuracy, licence and source are those of its first weight file."""
    rows = []
    for record in records:
        first = record.weights[0] if record.weights else None
        rows.append(
            (
                record.name,
                f"{record.parameters / 1e6:.2f}",
                f"{record.deploy_parameters / 1e6:.2f}",
                f"{record.macs / 1e6:.0f}",
                record.preprocessing.size,
                f"{first.top1:.1f}" if first else "",
                ", ".join(weights.tag for weights in record.weights) or "none published",
                first.licence if first else "",
                first.source if first else record.note,
            )
        )
    header = ("name", "params M", "fused M", "MACs M", "input", "top-1 %", "weights", "licence", "source")
    return header, rows, (1, 2, 3, 4, 5)


def weight_rows(records: Sequence[ModelRecord]) -> Table:
    """One row per public weight file."""
    rows = [
        (
            record.name,
            weights.tag,
            weights.form,
            weights.layout,
            f"{weights.top1:.2f}".rstrip("0").rstrip("."),
            "" if weights.top5 is None else f"{weights.top5:.2f}".rstrip("0").rstrip("."),
            weights.licence,
            weights.source,
        )
        for record in records
        for weights in record.weights
    ]
    return ("name", "weights", "form", "layout", "top-1 %", "top-5 %", "licence", "source"), rows, (4, 5)


def recipe_rows() -> Table:
    """One row per shipped recipe: its first line, and the score and time it promises."""
    from phonecv.train.config import find_recipe, recipe_names

    rows = []
    for name in recipe_names():
        title, promises = "", dict[str, str]()
        for line in find_recipe(name).read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            key, found, value = line.lstrip("# ").partition(": ")
            if not title:
                title = line.lstrip("# ")
            elif found:
                promises.setdefault(key.lower(), value)
        rows.append((name, title, promises.get("score", ""), promises.get("time", "")))
    return ("recipe", "what", "score", "time"), rows, ()
